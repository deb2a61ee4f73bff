//! What is on the servers, held against the registry: both directions, nothing of strangers, nothing that is under way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use narthex::audit::Actor;
use narthex::fleet::template;
use narthex::fleet::{DropOrphanError, Dropped, Finding, FindingKind, WARM_PREFIX};
use narthex::identifiers::TenantId;
use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints, Started};
use narthex::registry::tenants::database_servers::{self, DatabaseServer, State};
use rstest::rstest;
use sqlx::{Connection, Executor};

use crate::provisioning::{new_tenant, run};
use crate::support::{TestApp, TestCluster, TestSettings, eventually, own_cluster, unique};

/// What operators call the server that the registry is on.
const OWN: &str = "registry";

/// The mark on everything that this application makes.
async fn mark(app: &TestApp) -> String {
    let made = run(&app.provisioner, &new_tenant()).await.0.unwrap();
    let name = made.tenant_id.database_name();
    let sql = format!("SELECT shobj_description('{name}'::regrole, 'pg_authid')");
    app.cluster.texts("postgres", &sql).await.remove(0)
}

/// Makes a database and a role of this name by hand.
async fn make(cluster: &TestCluster, name: &str, mark: Option<&str>) {
    let comment = mark.map_or("NULL".to_owned(), |mark| format!("'{mark}'"));
    cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
    let close = format!("REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC");
    cluster.execute("postgres", &close).await;
    cluster.execute("postgres", &format!("COMMENT ON DATABASE {name} IS {comment}")).await;
    cluster.execute("postgres", &format!("CREATE ROLE {name}")).await;
    cluster.execute("postgres", &format!("COMMENT ON ROLE {name} IS {comment}")).await;
}

/// Databases and roles of this name.
async fn there(cluster: &TestCluster, name: &str) -> i64 {
    let sql = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{name}')
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{name}')"
    );
    cluster.count("postgres", &sql).await
}

/// What is found, as kind and name.
async fn found(app: &TestApp) -> Vec<(&'static str, String)> {
    told(&app.fleet.reconciler().reconcile().await.unwrap())
}

fn told(found: &[Finding]) -> Vec<(&'static str, String)> {
    found.iter().map(|finding| (finding.kind.name(), finding.name.clone())).collect()
}

async fn drop_orphan(app: &TestApp, name: &str) -> Result<Dropped, DropOrphanError> {
    app.fleet.reconciler().drop_orphan(name, OWN, "test").await
}

/// Compares when it is this application's turn: others have their registries on the same server.
async fn in_turn(app: &TestApp) -> Vec<(&'static str, String)> {
    let last = Mutex::new(None);
    eventually("it is its turn", async || {
        let found = app.fleet.reconciler().reconcile_exclusively().await.unwrap();
        *last.lock().unwrap() = found;
        last.lock().unwrap().is_some()
    })
    .await;
    told(&last.into_inner().unwrap().unwrap())
}

#[tokio::test]
async fn what_bears_our_mark_and_is_nobodys_is_found_and_dropped_on_command_alone() {
    let app = TestApp::start().await;
    let mark = mark(&app).await;
    let [ours, theirs, strange] =
        ["ours", "theirs", "strange"].map(|name| format!("{name}_{}", unique()));
    make(&app.cluster, &ours, Some(&mark)).await;
    make(&app.cluster, &theirs, Some("narthex 0123456789abcdef")).await;
    make(&app.cluster, &strange, None).await;
    let both = [("orphan_database", ours.clone()), ("orphan_role", ours.clone())];
    assert_eq!(found(&app).await, both);
    assert_eq!(in_turn(&app).await, both);
    let findings = app.fleet.reconciler().reconcile().await.unwrap();
    let command = format!("narthex reconcile --drop {ours} --server {OWN}");
    assert!(findings.iter().all(|finding| finding.fix == command), "{findings:?}");
    assert_eq!(there(&app.cluster, &ours).await, 2, "it was dropped by itself");

    for stranger in [&theirs, &strange] {
        let refused = drop_orphan(&app, stranger).await.unwrap_err();
        assert!(matches!(refused, DropOrphanError::NotOurs(_)), "{refused}");
        assert_eq!(there(&app.cluster, stranger).await, 2);
    }
    assert_eq!(drop_orphan(&app, &ours).await.unwrap(), Dropped { database: true, role: true });
    assert_eq!((there(&app.cluster, &ours).await, found(&app).await), (0, vec![]));
    let gone = drop_orphan(&app, &ours).await.unwrap_err();
    assert!(matches!(gone, DropOrphanError::NotThere(_)), "{gone}");
    let nowhere = app.fleet.reconciler().drop_orphan(&ours, "nowhere", "test").await.unwrap_err();
    assert!(matches!(nowhere, DropOrphanError::UnknownServer(_)), "{nowhere}");
}

/// Somebody else's database may bear the name of a role of ours.
#[tokio::test]
async fn of_two_that_bear_a_name_only_ours_is_dropped() {
    let app = TestApp::start().await;
    let mark = mark(&app).await;
    let name = format!("half_{}", unique());
    make(&app.cluster, &name, Some(&mark)).await;
    app.cluster.execute("postgres", &format!("COMMENT ON DATABASE {name} IS NULL")).await;
    assert_eq!(found(&app).await, [("orphan_role", name.clone())]);
    assert_eq!(drop_orphan(&app, &name).await.unwrap(), Dropped { database: false, role: true });
    assert_eq!((there(&app.cluster, &name).await, found(&app).await), (1, vec![]));
}

/// A row that somebody has removed by hand leaves the database, the role and two lines in the list of resources.
#[tokio::test]
async fn what_a_forgotten_tenant_has_left_is_an_orphan_and_its_resources_end_with_it() {
    let app = TestApp::start().await;
    let made = run(&app.provisioner, &new_tenant()).await.0.unwrap();
    let (id, name) = (made.tenant_id, made.tenant_id.database_name());
    assert_eq!(found(&app).await, []);
    app.registry_execute(&format!("DELETE FROM tenants WHERE id = '{id}'")).await;
    let both = [("orphan_database", name.clone()), ("orphan_role", name.clone())];
    assert_eq!(found(&app).await, both);
    let left = "SELECT count(*) FROM resources WHERE released_at IS NULL";
    assert_eq!(app.registry_count(left).await, 2);
    drop_orphan(&app, &name).await.unwrap();
    assert_eq!(app.registry_count(left).await, 0);
    assert_eq!((there(&app.cluster, &name).await, found(&app).await), (0, vec![]));
}

#[rstest]
#[case::database("DROP DATABASE $name WITH (FORCE)", "missing_database", true)]
#[case::role(
    "REVOKE ALL ON DATABASE $name FROM $name; DROP OWNED BY $name; DROP ROLE $name",
    "missing_role",
    false
)]
#[tokio::test]
async fn what_a_tenant_has_lost_is_missing_until_it_is_mended(
    #[case] loss: &str,
    #[case] kind: &str,
    #[case] accept_empty: bool,
) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let slug = format!("SELECT slug FROM tenants WHERE id = '{}'", staff.tenant_id);
    let slug = app.cluster.texts(&app.registry_database, &slug).await.remove(0);
    assert_eq!(found(&app).await, []);
    app.router.close();
    app.cluster.execute("postgres", &loss.replace("$name", &staff.database())).await;
    let findings = app.fleet.reconciler().reconcile().await.unwrap();
    assert_eq!(told(&findings), [(kind, staff.database())]);
    assert_eq!(findings[0].tenant.as_ref(), Some(&slug));
    assert_eq!(findings[0].fix, format!("narthex tenants provision {slug}"));

    app.registry_execute("UPDATE tenants SET status = 'deleted', deleted_at = now()").await;
    let findings = app.fleet.reconciler().reconcile().await.unwrap();
    assert!(findings[0].fix.starts_with("narthex tenants restore "), "{findings:?}");
    app.registry_execute("UPDATE tenants SET status = 'purged'").await;
    assert!(!found(&app).await.contains(&(kind, staff.database())));
    app.registry_execute("UPDATE tenants SET status = 'active', deleted_at = NULL").await;

    let db = app.registry.connect().await.unwrap();
    let tenant = narthex::registry::tenants::find(&db, staff.tenant_id).await.unwrap().unwrap();
    let planned = app
        .provisioner
        .repair(&tenant, None, accept_empty, &Actor::command("test").into())
        .await
        .unwrap();
    assert_eq!(found(&app).await, [], "it is being mended");
    app.provisioner.finish(planned).await.unwrap();
    assert_eq!(found(&app).await, []);
}

/// A run that stands still between two steps, an hour long.
async fn stuck_after(step: &'static str) -> (TestApp, Started) {
    let fails: Failpoints = Arc::new(move |at, when| {
        ((at, when) == (step, FailpointPosition::AfterEffect)).then_some(FailpointAction::Fails)
    });
    let app = TestApp::interrupted(fails, Box::new(|_| {})).await;
    let started = app.provisioner.start(&new_tenant(), None).await.unwrap();
    let waits =
        "SELECT count(*) FROM provisioning_runs WHERE status = 'running' AND lease_owner IS NULL";
    eventually("it is put off", async || app.registry_count(waits).await == 1).await;
    let later = "UPDATE provisioning_runs SET next_attempt_at = now() + interval '1 hour'";
    app.registry_execute(later).await;
    eventually("it stays put off", async || app.registry_count(waits).await == 1).await;
    (app, started)
}

#[rstest]
#[tokio::test]
async fn what_a_run_is_about_to_make_is_neither_missing_nor_an_orphan(
    #[values("reserve", "role", "database", "owner")] step: &'static str,
) {
    let (app, started) = stuck_after(step).await;
    let name = started.planned.tenant_id.database_name();
    let so_far = there(&app.cluster, &name).await;
    assert_eq!(found(&app).await, []);
    let refused = drop_orphan(&app, &name).await.unwrap_err();
    let run = started.planned.run_id;
    assert!(matches!(refused, DropOrphanError::Run { run: by, .. } if by == run), "{refused}");
    assert!(refused.to_string().contains(&format!("narthex runs cancel {run}")), "{refused}");
    assert_eq!(there(&app.cluster, &name).await, so_far);
}

/// Planned, and nothing else: there is no row of the tenant yet.
#[tokio::test]
async fn what_bears_the_name_of_a_planned_tenant_is_not_dropped() {
    let app = TestApp::start().await;
    let mark = mark(&app).await;
    let id = TenantId::generate();
    app.registry_execute(&format!(
        "INSERT INTO provisioning_runs (id, kind, tenant_id, status, created_at, next_attempt_at)
         VALUES (gen_random_uuid(), 'create_tenant', '{id}', 'pending', now(), now() + interval '1 hour')"
    ))
    .await;
    make(&app.cluster, &id.database_name(), Some(&mark)).await;
    assert_eq!(found(&app).await, []);
    let refused = drop_orphan(&app, &id.database_name()).await.unwrap_err();
    assert!(matches!(refused, DropOrphanError::Run { .. }), "{refused}");
    app.registry_execute(&format!("DELETE FROM provisioning_runs WHERE tenant_id = '{id}'")).await;
    drop_orphan(&app, &id.database_name()).await.unwrap();
}

/// The command waits for whoever works on the tenant, and only then looks whose it is.
#[tokio::test]
async fn an_orphan_that_becomes_somebodys_while_the_command_waits_is_kept() {
    let app = TestApp::start().await;
    let mark = mark(&app).await;
    let id = TenantId::generate();
    let name = id.database_name();
    make(&app.cluster, &name, Some(&mark)).await;
    assert_eq!(found(&app).await.len(), 2);
    let mut other = app.cluster.connect("postgres").await;
    let key = i64::from_be_bytes(id.0.as_u64_pair().1.to_be_bytes());
    let take = format!("SELECT pg_advisory_lock({key})");
    other.execute(sqlx::AssertSqlSafe(take)).await.unwrap();
    let dropping = tokio::spawn({
        let (fleet, name) = (app.fleet.clone(), name.clone());
        async move { fleet.reconciler().drop_orphan(&name, OWN, "test").await }
    });
    let (high, low) = (key.cast_unsigned() >> 32, key.cast_unsigned() & 0xffff_ffff);
    let waits = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
         AND classid = {high} AND objid = {low}"
    );
    eventually("it waits", async || app.cluster.count("postgres", &waits).await == 1).await;
    app.registry_execute(&format!(
        "INSERT INTO tenants (id, slug, organization_name, timezone, plan, status, server_id, database_name, role_name,
             sealed_password, schema_version, created_at, updated_at)
         SELECT '{id}', 'late-{0}', organization_name, timezone, plan, status, server_id, '{name}', '{name}',
             sealed_password, schema_version, created_at, updated_at FROM tenants LIMIT 1",
        unique()
    ))
    .await;
    other.close().await.unwrap();
    let refused = dropping.await.unwrap().unwrap_err();
    assert!(matches!(refused, DropOrphanError::Tenant { .. }), "{refused}");
    assert_eq!((there(&app.cluster, &name).await, found(&app).await), (2, vec![]));
}

#[tokio::test]
async fn tenants_spares_and_templates_are_not_dropped() {
    let two: TestSettings = Box::new(|settings| settings.provisioning.spares = 2);
    let app = TestApp::start_with(two).await;
    let staff = app.register().await;
    let ready = "SELECT name FROM spare_databases WHERE state = 'ready'";
    let spares = async || app.cluster.texts(&app.registry_database, ready).await;
    eventually("two spares are ready", async || spares().await.len() == 2).await;
    let spares = spares().await;
    assert_eq!(found(&app).await, []);
    let template = template::name(app.registry.server());
    let advice = ["narthex tenants delete", "the next tenant gets it", "copied from it"];
    for (name, advice) in [&staff.database(), &spares[0], &template].into_iter().zip(advice) {
        let before = there(&app.cluster, name).await;
        let refused = drop_orphan(&app, name).await.unwrap_err().to_string();
        assert!(refused.contains(name.as_str()) && refused.contains(advice), "{refused}");
        assert_eq!(there(&app.cluster, name).await, before);
    }
    staff.get("/v1/members").await.expect(200);

    // A spare that is gone is missing; one that nobody has written down is an orphan.
    app.cluster.execute("postgres", &format!("DROP DATABASE {}", spares[0])).await;
    assert_eq!(found(&app).await, [("missing_database", spares[0].clone())]);
    app.registry_execute(&format!("DELETE FROM spare_databases WHERE name = '{}'", spares[0]))
        .await;
    let orphan = format!("{WARM_PREFIX}{}", unique());
    let mark = mark(&app).await;
    make(&app.cluster, &orphan, Some(&mark)).await;
    assert_eq!(found(&app).await.len(), 2);
    drop_orphan(&app, &orphan).await.unwrap();
    assert_eq!(found(&app).await, []);
}

/// A database server in the registry, and what the metrics of an application say of it.
async fn counted(app: &TestApp, server: &DatabaseServer) -> Vec<(&'static str, usize)> {
    app.fleet.refresh_statistics().await.unwrap();
    let of_it = app.fleet.statistics().findings.into_iter();
    of_it
        .filter(|(_, id, count)| *id == server.id && *count > 0)
        .map(|(kind, _, count)| (kind.name(), count))
        .collect()
}

#[tokio::test]
async fn a_server_that_is_away_is_a_finding_and_hides_nothing() {
    let app = TestApp::start().await;
    let mark = mark(&app).await;
    let mut cluster = own_cluster().await;
    let second = TestCluster::of(&cluster);
    let row = app.add_server(&second).await;
    let name = format!("orphan_{}", unique());
    make(&second, &name, Some(&mark)).await;
    make(&app.cluster, &name, Some(&mark)).await;
    let both = [("orphan_database", name.clone()), ("orphan_role", name.clone())];
    assert_eq!(in_turn(&app).await, [both.clone(), both.clone()].concat());
    assert_eq!(counted(&app, &row).await, [("orphan_database", 1), ("orphan_role", 1)]);

    cluster.crash().await.unwrap();
    let away = ("unreachable_server", row.name.clone());
    assert_eq!(in_turn(&app).await, [both.to_vec(), vec![away]].concat());
    let still = [("orphan_database", 1), ("orphan_role", 1), ("unreachable_server", 1)];
    assert_eq!(counted(&app, &row).await, still, "what was found before still holds");

    cluster.restart().await.unwrap();
    let dropped = app.fleet.reconciler().drop_orphan(&name, &row.name, "test").await.unwrap();
    assert_eq!(dropped, Dropped { database: true, role: true });
    assert_eq!(there(&app.cluster, &name).await, 2, "the one on the other server");
    assert_eq!(in_turn(&app).await, both);
    assert_eq!(counted(&app, &row).await, []);
}

/// Rows that were written by hand have no credentials.
#[tokio::test]
async fn a_server_that_cannot_be_administered_is_said_to_be_so() {
    let app = TestApp::start().await;
    let mut row = app.server_row(&app.cluster);
    row.state = State::Draining;
    row.administration_user = None;
    row.sealed_administration_password = None;
    let db = app.registry.connect().await.unwrap();
    database_servers::add(&db, &row).await.unwrap().unwrap();
    let findings = app.fleet.reconciler().reconcile().await.unwrap();
    assert_eq!(told(&findings), [(FindingKind::UnreachableServer.name(), row.name.clone())]);
    let detail = findings[0].detail.as_ref().unwrap();
    assert!(detail.contains("narthex servers add"), "{detail}");
}

/// The same server, registered twice under different addresses, does not make an orphan of every tenant on it.
#[tokio::test]
async fn what_a_tenant_has_on_another_server_is_no_orphan_here() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let again = app.add_server(&app.cluster).await;
    assert_eq!(found(&app).await, []);
    let refused = app.fleet.reconciler().drop_orphan(&staff.database(), &again.name, "test").await;
    assert!(matches!(refused, Err(DropOrphanError::Tenant { .. })), "{refused:?}");
    staff.get("/v1/members").await.expect(200);
}

#[tokio::test]
async fn replicas_take_turns_at_comparing() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let mut other = app.cluster.connect("postgres").await;
    other.execute("SELECT pg_advisory_lock(x'6e617274'::int, 104)").await.unwrap();
    assert_eq!(app.fleet.reconciler().reconcile_exclusively().await.unwrap(), None);
    // An operator who asks does not have to wait.
    assert_eq!(found(&app).await, []);
    other.close().await.unwrap();
    eventually("its turn has come", async || {
        app.fleet.reconciler().reconcile_exclusively().await.unwrap().is_some()
    })
    .await;
}

/// Tenants are made, and undone, as fast as it goes; whenever somebody looks, nothing stands out.
#[tokio::test]
async fn nothing_stands_out_while_tenants_come_and_go() {
    let permit = AtomicUsize::new(0);
    let every_third: Failpoints = Arc::new(move |at, when| {
        let is_last = (at, when) == ("owner", FailpointPosition::BeforeEffect);
        let fails = is_last && permit.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        fails.then_some(FailpointAction::FailsForGood)
    });
    let two: TestSettings = Box::new(|settings| settings.provisioning.spares = 2);
    let app = TestApp::interrupted(every_third, two).await;
    let made = AtomicUsize::new(0);
    let making = join_all((0..4).map(|_| async {
        for _ in 0..8 {
            let outcome = run(&app.provisioner, &new_tenant()).await.0;
            made.fetch_add(usize::from(outcome.is_ok()), Ordering::SeqCst);
        }
    }));
    let looking = async {
        let mut looks = 0;
        while made.load(Ordering::SeqCst) < 20 {
            assert_eq!(found(&app).await, []);
            looks += 1;
        }
        looks
    };
    let (_, looks) = tokio::join!(making, looking);
    assert!(looks > 10, "{looks}");
    assert_eq!(found(&app).await, []);
}

/// Between the look at the server and the look at the registry it goes, and its row with it.
#[tokio::test]
async fn what_goes_while_the_reconciler_looks_is_no_orphan() {
    let app = TestApp::start().await;
    let mark = mark(&app).await;
    let name = format!("orphan_{}", unique());
    make(&app.cluster, &name, Some(&mark)).await;
    let mut other = app.cluster.connect(&app.registry_database).await;
    other.execute("BEGIN; LOCK TABLE spare_databases IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let looking = tokio::spawn({
        let fleet = app.fleet.clone();
        async move { fleet.reconciler().reconcile().await }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%living AS%'";
    eventually("it has seen it", async || app.registry_count(waits).await == 1).await;
    app.cluster.execute("postgres", &format!("DROP DATABASE {name}")).await;
    app.cluster.execute("postgres", &format!("DROP ROLE {name}")).await;
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(looking.await.unwrap().unwrap(), []);
}
