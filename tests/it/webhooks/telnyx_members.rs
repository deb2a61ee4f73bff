//! Which member a conversation is with: the number says so, and numbers change hands.

use reqwest::Method;
use sea_orm::Database;
use sea_orm_migration::MigratorTrait;
use serde_json::{Value, json};

use super::{CONTACT, NUMBER, church, conversations, messages, receipt};
use crate::support::{Staff, TestApp};

const OTHER_CONTACT: &str = "+13125550143";

pub(super) async fn write(app: &TestApp, text: &str) {
    let event = app.provider.sms(CONTACT, NUMBER, text);
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
}

pub(super) fn path(member: &Value) -> String {
    format!("/v1/members/{}", member["id"].as_str().unwrap())
}

pub(super) async fn move_to(staff: &Staff, member: &Value, number: &str) {
    staff.patch(&path(member), json!({"phone_number": number})).await.expect(200);
}

/// The conversations, the newest first: with whom, whether it has ended, and what was written.
pub(super) async fn story(staff: &Staff) -> Vec<(Value, bool, Vec<String>)> {
    let mut story = Vec::new();
    for conversation in conversations(staff).await {
        let shown = staff
            .get(&format!("/v1/conversations/{}", conversation["id"].as_str().unwrap()))
            .await
            .expect(200);
        assert_eq!(shown, conversation);
        let texts = messages(staff, &conversation).await;
        let texts = texts.iter().rev().map(|m| m["body"].as_str().unwrap().to_owned()).collect();
        let has_ended = !conversation["ended_at"].is_null();
        story.push((conversation["member_id"].clone(), has_ended, texts));
    }
    story
}

pub(super) fn text(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[tokio::test]
async fn what_the_next_holder_of_a_number_writes_is_not_the_former_ones() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let anna = staff.add_member("Anna", CONTACT).await;
    write(&app, "Anna's").await;
    move_to(&staff, &anna, OTHER_CONTACT).await;
    write(&app, "a stranger's").await;
    let bert = staff.add_member("Bert", CONTACT).await;
    assert_eq!(
        story(&staff).await,
        [
            (bert["id"].clone(), false, text("a stranger's")),
            (anna["id"].clone(), true, text("Anna's"))
        ]
    );
    write(&app, "Bert's").await;
    assert_eq!(
        story(&staff).await,
        [
            (bert["id"].clone(), false, vec!["a stranger's".to_owned(), "Bert's".to_owned()]),
            (anna["id"].clone(), true, text("Anna's"))
        ]
    );
}

#[tokio::test]
async fn what_a_member_wrote_who_is_gone_is_not_shown_under_the_next_holder_of_the_number() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let anna = staff.add_member("Anna", CONTACT).await;
    write(&app, "Anna's").await;
    staff.call(Method::DELETE, &path(&anna), None).await.expect(204);
    let bert = staff.add_member("Bert", CONTACT).await;
    write(&app, "Bert's").await;
    let expected =
        [(bert["id"].clone(), false, text("Bert's")), (Value::Null, true, text("Anna's"))];
    assert_eq!(story(&staff).await, expected);
}

#[tokio::test]
async fn a_conversation_is_with_a_member_as_soon_as_the_member_has_the_number() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    write(&app, "Hello").await;
    let anna = staff.add_member("Anna", OTHER_CONTACT).await;
    move_to(&staff, &anna, CONTACT).await;
    assert_eq!(story(&staff).await, [(anna["id"].clone(), false, text("Hello"))]);
    // The same number again is no change of hands.
    move_to(&staff, &anna, CONTACT).await;
    staff.patch(&path(&anna), json!({"first_name": "Anne"})).await.expect(200);
    assert_eq!(story(&staff).await, [(anna["id"].clone(), false, text("Hello"))]);
}

/// Takes the tenant's database back to the schema that knows no hand-overs.
#[expect(clippy::disallowed_methods, reason = "this is a migration")]
pub(super) async fn schema_before(app: &TestApp, staff: &Staff) {
    let database = Database::connect(app.cluster.url(&staff.database())).await.unwrap();
    tenant_migrations::Migrator::down(&database, Some(1)).await.unwrap();
    database.close().await.unwrap();
    let before = "m20261121_000004_staff";
    app.registry_execute(&format!("UPDATE tenants SET schema_version = '{before}'")).await;
    app.router.directory().forget(staff.tenant_id);
}

/// A database of the schema before cannot hold two conversations with one number.
#[tokio::test]
async fn in_a_database_of_the_schema_before_the_next_holder_writes_under_their_own_name() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    schema_before(&app, &staff).await;
    let anna = staff.add_member("Anna", CONTACT).await;
    let mut group = app.provider.sms(CONTACT, NUMBER, "Anna's");
    group["data"]["payload"]["cc"] = json!([{"phone_number": "+442079460000"}]);
    assert_eq!(receipt(app.provider.send(&group).await), "accepted");
    assert_eq!(story(&staff).await, [(anna["id"].clone(), false, text("Anna's"))]);
    move_to(&staff, &anna, OTHER_CONTACT).await;
    assert_eq!(story(&staff).await, [(Value::Null, false, text("Anna's"))]);
    let bert = staff.add_member("Bert", CONTACT).await;
    write(&app, "Bert's").await;
    let texts = vec!["Anna's".to_owned(), "Bert's".to_owned()];
    assert_eq!(story(&staff).await, [(bert["id"].clone(), false, texts)]);
    staff.call(Method::DELETE, &path(&bert), None).await.expect(204);
    assert_eq!(story(&staff).await[0].0, Value::Null);
}

#[tokio::test]
async fn what_the_former_holder_sent_and_comes_late_is_not_shown_under_the_next_one() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let anna = staff.add_member("Anna", CONTACT).await;
    write(&app, "Anna's").await;
    let late = app.provider.sms(CONTACT, NUMBER, "Anna's secret");
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    move_to(&staff, &anna, OTHER_CONTACT).await;
    let bert = staff.add_member("Bert", CONTACT).await;
    write(&app, "Bert's").await;
    assert_eq!(receipt(app.provider.send(&late).await), "accepted");
    assert_eq!(receipt(app.provider.send(&late).await), "duplicate");
    assert_eq!(
        story(&staff).await,
        [
            (bert["id"].clone(), false, text("Bert's")),
            (anna["id"].clone(), true, vec!["Anna's".to_owned(), "Anna's secret".to_owned()])
        ]
    );
    let shown = &conversations(&staff).await[1];
    assert_eq!(
        (&shown["unread_count"], &shown["last_message_preview"]),
        (&json!(2), &json!("Anna's secret"))
    );
}
