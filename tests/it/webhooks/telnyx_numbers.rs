//! Numbers of ours and of those who write to them, however they are written.

use narthex::registry::people::operators::Role;
use reqwest::Method;
use serde_json::json;

use super::{CONTACT, NUMBER, church, conversations, receipt, texts};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn a_number_of_ours_is_known_however_the_provider_writes_it() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let member = staff.add_member("Ada", CONTACT).await;
    let ways = [
        "13125550111",
        "+1 312 555 0111",
        "+1 (312) 555-0111",
        "3125550111",
        "(312) 555-0111",
        "\u{202a}+1\u{a0}312\u{2011}555\u{2011}0111\u{202c}",
        "0013125550111",
        "tel:+13125550111",
    ];
    for to in ways {
        let event = app.provider.sms(CONTACT, to, "Hello");
        assert_eq!(receipt(app.provider.send(&event).await), "accepted", "{to}");
    }
    for from in ["13125550142", "+1 (312) 555-0142", "3125550142"] {
        let event = app.provider.sms(from, NUMBER, "Hello");
        assert_eq!(receipt(app.provider.send(&event).await), "accepted", "{from}");
    }
    let [conversation] = &conversations(&staff).await[..] else { panic!("not one conversation") };
    assert_eq!(conversation["contact_number"], CONTACT);
    assert_eq!(conversation["phone_number"], NUMBER);
    assert_eq!(conversation["member_id"], member["id"]);
    assert_eq!(texts(&staff).await.len(), ways.len() + 3);
}

/// `+4722345678` is a number in Norway, `+14722345678` one in North Carolina.
#[tokio::test]
async fn a_number_that_can_be_read_in_two_ways_is_nobodys() {
    let app = TestApp::start().await;
    let staff = church(&app, "+14722345678").await;
    let event = app.provider.sms(CONTACT, "4722345678", "Hello");
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    assert!(texts(&staff).await.is_empty());
}

#[tokio::test]
async fn a_short_code_can_be_given_written_to_and_taken_away() {
    let app = TestApp::start().await;
    let (operator, staff) = (app.operator(Role::Admin).await, app.register().await);
    let waiting = app.provider.sms(CONTACT, "54321", "one");
    assert_eq!(receipt(app.provider.send(&waiting).await), "parked");
    let numbers = format!("/v1/admin/tenants/{}/phone-numbers", staff.tenant_id);
    let given = operator.post(&numbers, json!({"number": "54321"})).await.expect(201);
    assert_eq!(given["number"], "54321");
    assert_eq!(
        receipt(app.provider.send(&app.provider.sms(CONTACT, "54321", "two")).await),
        "accepted"
    );
    eventually("both are there", async || texts(&staff).await == ["one", "two"]).await;
    assert_eq!(conversations(&staff).await[0]["phone_number"], "54321");
    for wrong in ["5432", "5432100", "05432a", "543-21-00"] {
        let answer = operator.post(&numbers, json!({"number": wrong})).await;
        assert_eq!(answer.faults(), ["number: invalid"], "{wrong}");
    }
    let path = format!("{numbers}/54321");
    operator.call(Method::DELETE, &path, None).await.expect(204);
}
