//! The reconciler by the command line: what it says, and what it does when it is told to.

use serde_json::{Value, json};

use super::CliFixture;
use crate::support::{TestApp, unique};

/// A database with our mark that nobody has.
async fn orphan(app: &TestApp, tenant_database: &str) -> String {
    let mark = format!("SELECT shobj_description('{tenant_database}'::regrole, 'pg_authid')");
    let mark = app.cluster.texts("postgres", &mark).await.remove(0);
    let name = format!("orphan_{}", unique());
    app.cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
    app.cluster.execute("postgres", &format!("COMMENT ON DATABASE {name} IS '{mark}'")).await;
    name
}

#[tokio::test]
async fn the_fix_that_is_offered_is_the_fix() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let staff = app.register().await;
    let nothing = place.run(&["reconcile"]).await.expect(0);
    assert_eq!(nothing, "0 finding(s)\n");
    assert_eq!(place.json(&["reconcile"]).await, json!([]));

    let name = orphan(&app, &staff.database()).await;
    app.router.close();
    let loss = format!("DROP DATABASE {} WITH (FORCE)", staff.database());
    app.cluster.execute("postgres", &loss).await;
    let found = place.json(&["reconcile"]).await;
    let slug = format!("SELECT slug FROM tenants WHERE id = '{}'", staff.tenant_id);
    let slug = app.cluster.texts(&app.registry_database, &slug).await.remove(0);
    let orphaned = format!("narthex reconcile --drop {name} --server registry");
    let missing = format!("narthex tenants provision {slug}");
    let row = |kind: &str, name: &str, tenant: Value, fix: &str| json!({"server": "registry", "kind": kind, "name": name, "tenant": tenant, "detail": null, "fix": fix});
    assert_eq!(
        found,
        json!([
            row("orphan_database", &name, json!(null), &orphaned),
            row("missing_database", &staff.database(), json!(slug), &missing),
        ])
    );
    let table = place.run(&["reconcile"]).await.expect(0);
    for text in [&*orphaned, &*missing, "2 finding(s)"] {
        assert!(table.contains(text), "{text} is missing in\n{table}");
    }

    let command = |fix: &str| fix.split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>();
    for (fix, more) in [(&orphaned, None), (&missing, Some("--accept-empty-database"))] {
        let command = command(fix);
        let command: Vec<&str> = command.iter().map(String::as_str).chain(more).collect();
        place.run(&command).await.expect(0);
    }
    assert_eq!(place.json(&["reconcile"]).await, json!([]));
}

#[tokio::test]
async fn what_is_not_an_orphan_is_refused_with_what_to_do() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let staff = app.register().await;
    let database = staff.database();
    let refused = place.run(&["reconcile", "--drop", &database, "--server", "registry"]).await;
    refused.expect_error(1, &[&database, "narthex tenants delete", "active", "not dropped"]);
    staff.get("/v1/members").await.expect(200);
    for strange in ["postgres", "template1", app.registry_database.as_str()] {
        let refused = place.run(&["reconcile", "--drop", strange, "--server", "registry"]).await;
        refused.expect_error(1, &[strange, "no mark of this installation"]);
    }
    let refused = place.run(&["reconcile", "--drop", "nothing_here", "--server", "registry"]).await;
    refused.expect_error(1, &["nothing_here", "narthex reconcile"]);
    let refused = place.run(&["reconcile", "--drop", &database, "--server", "nowhere"]).await;
    refused.expect_error(1, &["nowhere", "narthex servers list"]);
    place.run(&["reconcile", "--drop", &database]).await.expect_error(2, &["--server"]);
    place.run(&["reconcile", "--server", "registry"]).await.expect_error(2, &["--drop"]);
}

#[tokio::test]
async fn what_was_dropped_and_by_whom_is_written_down() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let staff = app.register().await;
    let name = orphan(&app, &staff.database()).await;
    let drop = ["reconcile", "--drop", &name, "--server", "registry"];
    let said = place.run(&drop).await.expect(0);
    assert_eq!(said, format!("dropped the database {name} on registry\n"));
    let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(app.cluster.count("postgres", &there).await, 0);
    place.run(&drop).await.expect_error(1, &[&name]);
    let noted = "SELECT action || ': ' || (detail::json ->> 'name') || ' on ' || (detail::json ->> 'server') || ' ' || left(actor_name, 4) FROM audit_log";
    let noted = app.cluster.texts(&app.registry_database, noted).await;
    assert_eq!(noted, [format!("orphan.dropped: {name} on registry cli:")]);
}
