//! The life of a tenant by the command line: suspended and resumed, deleted and restored, mended.

use chrono::TimeDelta;
use narthex::audit::Actor;
use narthex::provisioning::RunFailure;
use narthex::registry::tenants::{self, Status};
use reqwest::Method;
use serde_json::{Value, json};

use super::CliFixture;
use crate::accounts::enroll;
use crate::support::{Staff, TestApp, eventually};

struct Chapel {
    app: TestApp,
    place: CliFixture,
    staff: Staff,
    slug: String,
}

impl Chapel {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let (place, staff) = (CliFixture::of(&app), app.register().await);
        let me = staff.get("/v1/auth/me").await.expect(200);
        let slug = me["tenant"]["slug"].as_str().unwrap().to_owned();
        Self { app, place, staff, slug }
    }

    async fn tenants(&self, verb: &str, more: &[&str]) -> super::Said {
        let arguments: Vec<&str> =
            ["tenants", verb, &self.slug].iter().chain(more).copied().collect();
        self.place.run(&arguments).await
    }

    async fn answers(&self, status: u16) {
        let what = format!("it answers {status}");
        eventually(&what, async || self.staff.get("/v1/members").await.status == status).await;
    }

    async fn set(&self, change: &str) {
        let sql = format!("UPDATE tenants SET {change} WHERE slug = '{}'", self.slug);
        self.app.registry_execute(&sql).await;
    }
}

#[tokio::test]
async fn a_tenant_is_suspended_and_resumed() {
    let chapel = Chapel::start().await;
    let slug = &chapel.slug;
    assert_eq!(chapel.tenants("suspend", &[]).await.expect(0), format!("{slug} is suspended\n"));
    chapel.answers(403).await;
    let again = chapel.tenants("suspend", &[]).await.expect(0);
    assert_eq!(again, format!("{slug} is suspended already\n"));
    assert_eq!(chapel.tenants("resume", &[]).await.expect(0), format!("{slug} is active\n"));
    chapel.answers(200).await;
    for (status, advice) in [
        ("provisioning", "narthex runs list --tenant"),
        ("failed", "narthex tenants provision"),
        ("deleted", "narthex tenants restore"),
        ("purging", "removed for good"),
    ] {
        chapel.set(&format!("status = '{status}'")).await;
        for verb in ["suspend", "resume"] {
            chapel.tenants(verb, &[]).await.expect_error(1, &[slug, status, advice]);
        }
    }
    let nobody = chapel.place.run(&["tenants", "suspend", "nobody"]).await;
    nobody.expect_error(1, &["`nobody`", "narthex tenants list"]);
}

#[tokio::test]
async fn a_deleted_tenant_is_restored_as_what_it_was_until_it_is_purged() {
    let chapel = Chapel::start().await;
    let slug = &chapel.slug;
    let wrong = chapel.tenants("delete", &["--confirm", "another"]).await;
    wrong.expect_error(1, &[slug, "nothing was done", &format!("--confirm {slug}")]);
    chapel.tenants("delete", &[]).await.expect_error(2, &["--confirm"]);
    chapel.answers(200).await;

    let until = (chapel.app.clock.now() + TimeDelta::days(30)).format("%F").to_string();
    for _ in 0..2 {
        let said = chapel.tenants("delete", &["--confirm", slug]).await.expect(0);
        assert!(said.contains("is deleted") && said.contains(&until), "{said}");
        assert!(said.contains(&format!("narthex tenants restore {slug}")), "{said}");
    }
    chapel.answers(403).await;
    chapel.tenants("suspend", &[]).await.expect_error(1, &["deleted", "narthex tenants restore"]);
    let said = chapel.tenants("restore", &[]).await.expect(0);
    assert_eq!(said, format!("{slug} is active again\n"));
    chapel.answers(200).await;
    assert_eq!(
        chapel.tenants("restore", &[]).await.expect(0),
        format!("{slug} is active already\n")
    );

    chapel.tenants("suspend", &[]).await.expect(0);
    chapel.tenants("delete", &["--confirm", slug]).await.expect(0);
    let said = chapel.tenants("restore", &[]).await.expect(0);
    assert_eq!(said, format!("{slug} is suspended again\n"));
    let shown = chapel.place.json(&["tenants", "show", slug]).await;
    let acts = shown["acts"].as_array().unwrap();
    let by_hand = |event: &&Value| event["actor"].as_str().unwrap().starts_with("cli:");
    assert!(acts.iter().all(|event| by_hand(&event)), "{shown}");
    let acts: Vec<_> = acts.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(
        acts,
        [
            "tenant.deleted",
            "tenant.restored",
            "tenant.suspended",
            "tenant.deleted",
            "tenant.restored"
        ]
    );
    assert!(chapel.tenants("show", &[]).await.expect(0).contains("cli:"));
    for status in ["purging", "purged"] {
        chapel.set(&format!("status = '{status}', deleted_at = now()")).await;
        chapel.tenants("restore", &[]).await.expect_error(1, &[status, "removed for good"]);
        let said = chapel.tenants("delete", &["--confirm", slug]).await;
        said.expect_error(1, &[status, "removed for good"]);
    }
}

#[tokio::test]
async fn a_tenant_whose_database_is_lost_is_mended_with_an_empty_one_and_an_owner() {
    let chapel = Chapel::start().await;
    let database = chapel.staff.database();
    chapel.app.router.close();
    chapel.app.cluster.execute("postgres", &format!("DROP DATABASE {database} WITH (FORCE)")).await;

    let refused = chapel.tenants("provision", &[]).await;
    refused.expect_error(1, &["mend_database", &database, "backup", "narthex runs show"]);
    assert!(refused.out.contains("hold completed\nmend_role completed\n"), "{refused:?}");
    let owner = ["--owner-email", "eve@example.org"];
    chapel.tenants("provision", &owner).await.expect_error(2, &["--owner-first-name"]);
    let arguments = [
        "tenants",
        "provision",
        &chapel.slug,
        "--accept-empty-database",
        "--owner-email",
        "eve@example.org",
        "--owner-first-name",
        "Eve",
        "--owner-last-name",
        "Hope",
    ];
    let said = chapel.place.run_with(&arguments, "a password for eve\n").await;
    said.never_says(&["a password for eve", "eve@example.org"]);
    let said = said.expect(0);
    assert!(said.contains("mend_database completed\n"), "{said}");
    assert!(said.ends_with(&format!("release completed\n{} is active\n", chapel.slug)), "{said}");
    let staff = chapel.app.cluster.texts(&database, "SELECT email FROM staff").await;
    assert_eq!(staff, ["eve@example.org"]);

    let shown = chapel.place.json(&["tenants", "show", &chapel.slug]).await;
    let kinds: Vec<_> = shown["runs"].as_array().unwrap().iter().map(|run| &run["kind"]).collect();
    assert_eq!(kinds, ["reprovision_tenant", "reprovision_tenant", "create_tenant"]);
    let things: Vec<_> = shown["resources"].as_array().unwrap().iter().collect();
    assert_eq!(things.len(), 2);
    assert!(things.iter().all(|thing| thing["reference"] == database.as_str()), "{shown}");
    let run = shown["runs"][0]["id"].as_str().unwrap();
    let history = chapel.place.json(&["runs", "history", run]).await;
    assert!(history[0]["actor"].as_str().unwrap().starts_with("cli:"), "{history}");
    let table = chapel.tenants("show", &[]).await.expect(0);
    for text in [run, "reprovision_tenant", "resources", "role"] {
        assert!(table.contains(text) != (text == "resources"), "{text} in\n{table}");
    }
}

#[tokio::test]
async fn what_cannot_be_mended_says_what_to_do() {
    let chapel = Chapel::start().await;
    for (status, advice) in
        [("deleted", "narthex tenants restore"), ("provisioning", "narthex runs list")]
    {
        chapel.set(&format!("status = '{status}'")).await;
        chapel.tenants("provision", &[]).await.expect_error(1, &[status, advice]);
    }
    chapel.set("status = 'active'").await;
    chapel
        .app
        .registry_execute(&format!(
            "INSERT INTO provisioning_runs (id, kind, tenant_id, status, created_at, next_attempt_at)
             VALUES (gen_random_uuid(), 'reprovision_tenant', '{}', 'pending', now(), now() + interval '1 hour')",
            chapel.staff.tenant_id
        ))
        .await;
    let busy = chapel.tenants("provision", &[]).await;
    busy.expect_error(1, &["still goes on", "narthex runs list --tenant"]);
}

/// Between the plan and its first step somebody suspends the tenant: it must not come back active.
#[tokio::test]
async fn a_suspension_outlives_the_mending_that_was_planned_before() {
    let chapel = Chapel::start().await;
    let (app, id) = (&chapel.app, chapel.staff.tenant_id);
    let db = app.registry.connect().await.unwrap();
    let tenant = tenants::find(&db, id).await.unwrap().unwrap();
    chapel.tenants("suspend", &[]).await.expect(0);
    let planned =
        app.provisioner.repair(&tenant, None, false, &Actor::command("test").into()).await.unwrap();
    let outcome = app.provisioner.finish(planned).await;
    let held =
        |failure: &RunFailure| matches!(failure, RunFailure::Broken { step, .. } if step == "hold");
    assert!(outcome.as_ref().is_err_and(held), "{outcome:?}");
    let status = tenants::find(&db, id).await.unwrap().unwrap().status;
    assert_eq!((status, json!(status)), (Status::Suspended, json!("suspended")));
}

#[tokio::test]
async fn a_sole_owner_who_has_lost_their_second_factor_is_helped_by_command() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    enroll(&app, &owner).await;
    let (place, id) = (CliFixture::of(&app), owner.tenant_id.to_string());
    let reset = async |email: &str| place.run(&["tenants", "reset-mfa", &id, email]).await;
    reset("nobody@example.org").await.expect_error(1, &["no such member of staff"]);
    reset(&owner.email).await.expect(0);
    reset(&owner.email).await.expect_error(1, &["no second factor"]);
    eventually("their sessions are over", async || {
        owner.get("/v1/auth/me").await.code() == "token_revoked"
    })
    .await;
    let credentials = json!({"email": owner.email, "password": owner.password});
    app.call(Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
    let noted = "SELECT left(actor_name, 4) FROM audit_log WHERE action = 'mfa.reset'";
    assert_eq!(app.cluster.texts(&owner.database(), noted).await, ["cli:"]);
}
