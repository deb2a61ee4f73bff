//! A damaged tenant is mended: what is missing is made, what is there stays.

use std::sync::{Arc, OnceLock};

use narthex::audit::Actor;
use narthex::provisioning::{
    FailpointAction, FailpointPosition, Failpoints, NewOwner, RepairError, RunFailure,
};
use narthex::registry::tenants::{self, Status, Tenant};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::at_once;
use crate::support::{Staff, TestApp, eventually, unique};

async fn row(app: &TestApp, staff: &Staff) -> Tenant {
    let db = app.registry.connect().await.unwrap();
    tenants::find(&db, staff.tenant_id).await.unwrap().unwrap()
}

async fn repair(
    app: &TestApp,
    staff: &Staff,
    owner: Option<&NewOwner>,
    accept_empty: bool,
) -> Result<(), RunFailure> {
    let tenant = row(app, staff).await;
    let planned = app
        .provisioner
        .repair(&tenant, owner, accept_empty, &Actor::command("test").into())
        .await
        .unwrap();
    app.provisioner.finish(planned).await.map(drop)
}

#[rstest]
#[case::role(
    "REASSIGN OWNED BY $name TO CURRENT_USER; DROP OWNED BY $name; REVOKE CONNECT ON DATABASE $name FROM $name; DROP ROLE $name"
)]
#[case::password("ALTER ROLE $name PASSWORD 'another one'")]
#[case::login("ALTER ROLE $name NOLOGIN")]
#[case::right_to_connect("REVOKE CONNECT ON DATABASE $name FROM $name")]
#[case::closed("ALTER DATABASE $name WITH ALLOW_CONNECTIONS false")]
#[case::group("REVOKE narthex_tenant FROM $name")]
#[tokio::test]
async fn what_is_broken_on_the_server_is_mended(#[case] damage: &str) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let member = staff.add_member("Grace", "+13125550101").await;
    app.router.close();
    app.cluster.execute("postgres", &damage.replace("$name", &staff.database())).await;
    assert_ne!(staff.get("/v1/members").await.status, 200);
    repair(&app, &staff, None, false).await.unwrap();
    assert_eq!(row(&app, &staff).await.status, Status::Active);
    eventually("it is served", async || staff.get("/v1/members").await.status == 200).await;
    assert_eq!(staff.get("/v1/members").await.expect(200)["data"], json!([member]));
}

#[rstest]
#[case::seed("DELETE FROM settings; DELETE FROM pipelines")]
#[case::identity("DELETE FROM tenant_identity")]
#[case::grants("REVOKE ALL ON members FROM narthex_tenant")]
#[tokio::test]
async fn what_is_missing_in_the_database_is_mended(#[case] damage: &str) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let member = staff.add_member("Grace", "+13125550101").await;
    app.cluster.execute(&staff.database(), damage).await;
    expect_mended(&app, &staff, &member).await;
}

/// All that later programs have added is missing.
#[tokio::test]
async fn a_database_of_an_older_program_is_brought_up_to_date() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let member = staff.add_member("Grace", "+13125550101").await;
    app.cluster.age(&staff.database(), 1).await;
    expect_mended(&app, &staff, &member).await;
    let session = json!({"email": staff.email, "password": staff.password});
    app.call(Method::POST, "/v1/auth/login", Some(session)).await.expect(200);
}

async fn expect_mended(app: &TestApp, staff: &Staff, member: &Value) {
    repair(app, staff, None, false).await.unwrap();
    app.router.close();
    let list = staff.get("/v1/members").await.expect(200);
    assert_eq!(list["data"], json!([member]));
    let settings = "SELECT count(*) FROM settings";
    assert!(app.cluster.count(&staff.database(), settings).await > 0);
}

#[tokio::test]
async fn a_database_that_is_gone_is_not_replaced_by_an_empty_one_unless_somebody_says_so() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.router.close();
    app.cluster
        .execute("postgres", &format!("DROP DATABASE {} WITH (FORCE)", staff.database()))
        .await;
    let refused = repair(&app, &staff, None, false).await.unwrap_err();
    assert!(
        matches!(&refused, RunFailure::Broken { step, reason } if step == "mend_database" && reason.contains("backup")),
        "{refused:?}"
    );
    assert_eq!(row(&app, &staff).await.status, Status::Failed);
    staff.get("/v1/members").await.expect_problem(503, "tenant_failed");

    // Somebody whom nothing has known before.
    let (password, email) =
        ("the password of the new owner", format!("{}@example.org", unique().to_lowercase()));
    let owner = NewOwner {
        email: email.parse().unwrap(),
        password_hash: app.accounts.hasher().hash(password.into()).await.unwrap(),
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
    };
    repair(&app, &staff, Some(&owner), true).await.unwrap();
    assert_eq!(row(&app, &staff).await.status, Status::Active);
    let credentials = json!({"email": email, "password": password});
    eventually("the owner is let in", async || {
        app.call(Method::POST, "/v1/auth/login", Some(credentials.clone())).await.status == 200
    })
    .await;
    // Whoever has somebody gets nobody.
    let stranger =
        NewOwner { email: format!("{}@example.org", unique()).parse().unwrap(), ..owner };
    repair(&app, &staff, Some(&stranger), true).await.unwrap();
    let people = app.cluster.texts(&staff.database(), "SELECT email FROM staff").await;
    assert_eq!(people, [email]);
}

/// An attempt before may have died before it looked into a warm database that it had taken.
#[tokio::test]
async fn what_nobody_has_written_down_as_the_tenants_is_not_taken_for_an_empty_database() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let member = staff.add_member("Intruder", "+13125550101").await;
    app.cluster.execute(&staff.database(), "DELETE FROM tenant_identity").await;
    let before = app.cluster.contents(&staff.database()).await;
    let refused = repair(&app, &staff, None, true).await.unwrap_err();
    assert!(
        matches!(&refused, RunFailure::Broken { step, reason } if step == "mend_database" && reason.contains("rows of members")),
        "{refused:?}"
    );
    assert_eq!(app.cluster.contents(&staff.database()).await, before);
    expect_mended(&app, &staff, &member).await;
}

#[tokio::test]
async fn the_database_of_another_is_left_alone() {
    let app = TestApp::start().await;
    let (staff, other) = (app.register().await, app.register().await);
    app.router.close();
    let identity = format!("UPDATE tenant_identity SET tenant_id = '{}'", other.tenant_id);
    app.cluster.execute(&staff.database(), &identity).await;
    let name = staff.database();
    let revoked = format!("REVOKE CONNECT ON DATABASE {name} FROM {name}");
    app.cluster.execute("postgres", &revoked).await;
    let before = app.cluster.contents(&staff.database()).await;
    let refused = repair(&app, &staff, None, false).await.unwrap_err();
    assert!(
        matches!(&refused, RunFailure::Broken { step, .. } if step == "mend_database"),
        "{refused:?}"
    );
    assert_eq!(app.cluster.contents(&staff.database()).await, before);
    let may = format!("SELECT has_database_privilege('{name}', '{name}', 'CONNECT')::int::bigint");
    assert_eq!(app.cluster.count("postgres", &may).await, 0);
    assert_eq!(row(&app, &staff).await.status, Status::Failed);
}

#[tokio::test]
async fn a_suspended_tenant_stays_suspended_and_a_deleted_one_is_refused() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let db = app.registry.connect().await.unwrap();
    let (from, to, now) = (Status::Active, Status::Suspended, app.clock.now());
    tenants::change_status(&db, staff.tenant_id, from, to, now).await.unwrap();
    repair(&app, &staff, None, false).await.unwrap();
    assert_eq!(row(&app, &staff).await.status, Status::Suspended);
    app.cluster
        .execute("postgres", &format!("DROP DATABASE {} WITH (FORCE)", staff.database()))
        .await;
    repair(&app, &staff, None, false).await.unwrap_err();
    assert_eq!(row(&app, &staff).await.status, Status::Suspended);
    tenants::delete(&db, staff.tenant_id, now).await.unwrap();
    let tenant = row(&app, &staff).await;
    let refused = app
        .provisioner
        .repair(&tenant, None, false, &Actor::command("test").into())
        .await
        .unwrap_err();
    assert!(matches!(refused, RepairError::Status(Status::Deleted)), "{refused:?}");
}

#[tokio::test]
async fn two_menders_at_once_are_one() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let tenant = row(&app, &staff).await;
    let origin = Actor::command("test").into();
    let plan = || app.provisioner.repair(&tenant, None, false, &origin);
    let (a, b) = tokio::join!(plan(), plan());
    let (planned, refused) = if a.is_ok() { (a, b) } else { (b, a) };
    assert!(matches!(refused, Err(RepairError::Busy(_))), "{refused:?}");
    app.provisioner.finish(planned.unwrap()).await.unwrap();
    staff.get("/v1/members").await.expect(200);
}

/// Somebody suspends the tenant just when it is held for the mending.
#[tokio::test]
async fn a_suspension_that_comes_in_between_stays() {
    let url: Arc<OnceLock<String>> = Arc::default();
    let registry = url.clone();
    let suspends: Failpoints = Arc::new(move |at, when| {
        if (at, when) == ("hold", FailpointPosition::AfterEffect) {
            at_once(registry.get().unwrap(), &["UPDATE tenants SET status = 'suspended'"]);
        }
        None::<FailpointAction>
    });
    let app = TestApp::interrupted(suspends, Box::new(|_| {})).await;
    url.set(app.cluster.url(&app.registry_database)).unwrap();
    let staff = app.register().await;
    repair(&app, &staff, None, false).await.unwrap();
    assert_eq!(row(&app, &staff).await.status, Status::Suspended);
}

const CANCEL: &str =
    "UPDATE provisioning_runs SET cancel_requested_at = now() WHERE status = 'running'";

/// Called off, it is what it was: nobody has said that it could not be mended.
#[rstest]
#[case(Status::Active)]
#[case(Status::Suspended)]
#[case(Status::Failed)]
#[tokio::test]
async fn a_tenant_whose_mending_is_cancelled_is_what_it_was(#[case] before: Status) {
    let url: Arc<OnceLock<String>> = Arc::default();
    let registry = url.clone();
    let cancels: Failpoints = Arc::new(move |at, when| {
        if (at, when) == ("mend_role", FailpointPosition::AfterEffect) {
            at_once(registry.get().unwrap(), &[CANCEL]);
        }
        None::<FailpointAction>
    });
    let app = TestApp::interrupted(cancels, Box::new(|_| {})).await;
    url.set(app.cluster.url(&app.registry_database)).unwrap();
    let staff = app.register().await;
    let db = app.registry.connect().await.unwrap();
    let now = app.clock.now();
    tenants::change_status(&db, staff.tenant_id, Status::Active, before, now).await.unwrap();
    let cancelled = repair(&app, &staff, None, false).await.unwrap_err();
    assert!(matches!(cancelled, RunFailure::Refused(_)), "{cancelled:?}");
    assert_eq!(row(&app, &staff).await.status, before);
}

/// A role's permissions and the stages of a pipeline are the tenant's to change.
#[tokio::test]
async fn what_a_tenant_has_taken_away_is_no_damage() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let changes = "UPDATE roles SET permissions = permissions[2:] WHERE name = 'viewer'";
    app.cluster.execute(&staff.database(), changes).await;
    repair(&app, &staff, None, false).await.unwrap();
    assert_eq!(row(&app, &staff).await.status, Status::Active);
}
