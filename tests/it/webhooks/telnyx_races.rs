//! A member takes or leaves a number in the moment in which a message from it is stored.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::telnyx_members::{move_to, path, schema_before, story, text, write};
use super::{CONTACT, NUMBER, church, patient};
use crate::support::{Staff, TestApp, eventually};

const OTHER_CONTACT: &str = "+13125550143";
/// Lock of the tests, which [`Halt`] has alone.
const HALT: i64 = 4711;

/// Statements on a table are carried out and do not come to an end.
struct Halt(PgConnection);

impl Halt {
    async fn on(app: &TestApp, staff: &Staff, table: &str) -> Self {
        let mut connection = app.cluster.connect(&staff.database()).await;
        let sql = format!(
            "CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock_shared({HALT}); RETURN NULL; END';
             CREATE TRIGGER halt AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION halt();
             SELECT pg_advisory_lock({HALT})"
        );
        connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        Self(connection)
    }

    async fn end(self) {
        self.0.close().await.unwrap();
    }
}

/// Starts the first until it halts, then the second until it waits or is over; then lets both come to their end.
async fn overlap<A, B>(app: &TestApp, staff: &Staff, halt: Halt, first: A, second: B)
where
    A: Future<Output = ()>,
    B: Future<Output = ()>,
{
    let waiting = async || {
        let sql = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE NOT granted AND datname = current_database()";
        app.cluster.count(&staff.database(), sql).await
    };
    let (second_begins, is_halted) = tokio::sync::oneshot::channel();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let second = async {
        is_halted.await.unwrap();
        second.await;
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let play = async {
        eventually("the first halts", async || waiting().await == 1).await;
        second_begins.send(()).unwrap();
        eventually("the second waits, or is over", async || {
            waiting().await == 2 || is_over.load(std::sync::atomic::Ordering::Relaxed)
        })
        .await;
        halt.end().await;
    };
    tokio::join!(first, second, play);
}

#[derive(Clone, Copy, PartialEq)]
enum First {
    Message,
    Member,
}

#[derive(Clone, Copy, PartialEq)]
enum Schema {
    Current,
    Before,
}

/// Anna, who gets the number, as a new member or from another number.
async fn take(staff: &Staff, before: Option<&Value>) {
    match before {
        Some(anna) => move_to(staff, anna, CONTACT).await,
        None => {
            staff.add_member("Anna", CONTACT).await;
        }
    }
}

async fn begin(schema: Schema) -> (TestApp, Staff) {
    let app = TestApp::start_with(patient()).await;
    let staff = church(&app, NUMBER).await;
    if schema == Schema::Before {
        schema_before(&app, &staff).await;
    }
    (app, staff)
}

async fn halt(app: &TestApp, staff: &Staff, first: First) -> Halt {
    let table = match first {
        First::Message => "conversation_messages",
        First::Member => "members",
    };
    Halt::on(app, staff, table).await
}

#[rstest]
#[tokio::test]
async fn a_message_that_meets_the_taking_of_its_number_is_the_members(
    #[values(Schema::Current, Schema::Before)] schema: Schema,
    #[values(First::Message, First::Member)] first: First,
    #[values(true, false)] is_new: bool,
) {
    let (app, staff) = begin(schema).await;
    let before = match is_new {
        true => None,
        false => Some(staff.add_member("Anna", OTHER_CONTACT).await),
    };
    let halt = halt(&app, &staff, first).await;
    let (message, member) = (write(&app, "Anna's"), take(&staff, before.as_ref()));
    match first {
        First::Message => overlap(&app, &staff, halt, message, member).await,
        First::Member => overlap(&app, &staff, halt, member, message).await,
    }
    let list = staff.get("/v1/members").await.expect(200);
    let anna = &list["data"][0];
    assert_eq!(story(&staff).await, [(anna["id"].clone(), false, text("Anna's"))]);

    staff.call(Method::DELETE, &path(anna), None).await.expect(204);
    let bert = staff.add_member("Bert", CONTACT).await;
    let expected = match schema {
        Schema::Current => (Value::Null, true, text("Anna's")),
        // It has one conversation for each number.
        Schema::Before => (bert["id"].clone(), false, text("Anna's")),
    };
    assert_eq!(story(&staff).await, [expected]);
}

#[rstest]
#[tokio::test]
async fn a_message_that_meets_the_leaving_of_its_number_is_the_former_members_or_a_strangers(
    #[values(Schema::Current, Schema::Before)] schema: Schema,
    #[values(First::Message, First::Member)] first: First,
    #[values(true, false)] is_removed: bool,
) {
    let (app, staff) = begin(schema).await;
    let anna = staff.add_member("Anna", CONTACT).await;
    write(&app, "before").await;
    let halt = halt(&app, &staff, first).await;
    let leaving = async {
        match is_removed {
            true => staff.call(Method::DELETE, &path(&anna), None).await.expect(204),
            false => {
                staff.patch(&path(&anna), json!({"phone_number": OTHER_CONTACT})).await.expect(200)
            }
        };
    };
    let message = write(&app, "meanwhile");
    match first {
        First::Message => overlap(&app, &staff, halt, message, leaving).await,
        First::Member => overlap(&app, &staff, halt, leaving, message).await,
    }
    let former = if is_removed { Value::Null } else { anna["id"].clone() };
    let both = || vec!["before".to_owned(), "meanwhile".to_owned()];
    let expected = match (schema, first) {
        (Schema::Current, First::Message) => vec![(former, true, both())],
        (Schema::Current, First::Member) => {
            vec![(Value::Null, false, text("meanwhile")), (former, true, text("before"))]
        }
        (Schema::Before, _) => vec![(Value::Null, false, both())],
    };
    assert_eq!(story(&staff).await, expected);
}

/// Such conversations are there: an earlier version did not see a member who came meanwhile.
#[rstest]
#[tokio::test]
async fn a_conversation_that_was_never_linked_ends_when_its_number_is_left(
    #[values(true, false)] is_removed: bool,
) {
    let (app, staff) = begin(Schema::Current).await;
    let anna = staff.add_member("Anna", CONTACT).await;
    write(&app, "Anna's").await;
    app.cluster.execute(&staff.database(), "UPDATE conversations SET member_id = NULL").await;
    match is_removed {
        true => {
            staff.call(Method::DELETE, &path(&anna), None).await.expect(204);
        }
        false => move_to(&staff, &anna, OTHER_CONTACT).await,
    }
    let bert = staff.add_member("Bert", CONTACT).await;
    write(&app, "Bert's").await;
    let expected =
        [(bert["id"].clone(), false, text("Bert's")), (Value::Null, true, text("Anna's"))];
    assert_eq!(story(&staff).await, expected);
}

#[tokio::test]
async fn a_group_message_that_meets_the_taking_of_its_number_is_the_members() {
    let (app, staff) = begin(Schema::Current).await;
    let halt = halt(&app, &staff, First::Member).await;
    let mut group = app.provider.sms(CONTACT, NUMBER, "Anna's");
    group["data"]["payload"]["cc"] = json!([{"phone_number": "+442079460000"}]);
    let message = async {
        assert_eq!(super::receipt(app.provider.send(&group).await), "accepted");
    };
    overlap(&app, &staff, halt, take(&staff, None), message).await;
    let list = staff.get("/v1/members").await.expect(200);
    assert_eq!(story(&staff).await, [(list["data"][0]["id"].clone(), false, text("Anna's"))]);
}
