//! Which server takes the next tenant.

use futures_util::future::join_all;
use narthex::identifiers::{ServerId, new_id};
use narthex::registry::RegistryTransaction;
use narthex::registry::tenants::database_servers::{self, State, choose_with_most_room};
use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};

use crate::support::TestApp;

/// A remote server with credentials that nobody uses here.
async fn server(app: &TestApp, name: &str, max_tenants: i32) -> ServerId {
    let id = ServerId(new_id());
    app.registry_execute(&format!(
        "INSERT INTO database_servers (id, name, host, port, tls_mode, administration_user,
                                       sealed_administration_password, max_tenants)
         VALUES ('{id}', '{name}', '{name}.example.org', 5432, 'verify-full', 'narthex', 'x', {max_tenants})"
    ))
    .await;
    id
}

fn tenant_on(server: ServerId, status: &str) -> String {
    let id = new_id();
    format!(
        "INSERT INTO tenants (id, slug, organization_name, timezone, status, server_id, database_name, role_name,
                              sealed_password, schema_version, created_at, updated_at)
         VALUES ('{id}', '{id}', 'x', 'UTC', '{status}', '{server}', '{id}', '{id}', 'x', 'x', now(), now())"
    )
}

/// The name of the server that a tenant would go to.
async fn chosen(app: &TestApp) -> Option<String> {
    let db = app.registry.connect().await.unwrap();
    let transaction = db.begin().await.unwrap();
    let chosen = choose_with_most_room(&transaction, &[]).await.unwrap();
    transaction.commit().await.unwrap();
    chosen.map(|server| server.name)
}

#[tokio::test]
async fn a_new_tenant_goes_where_most_room_is() {
    let app = TestApp::start().await;
    let limit = "UPDATE database_servers SET max_tenants = 3 WHERE name = 'registry'";
    app.registry_execute(limit).await;
    assert_eq!(chosen(&app).await.as_deref(), Some("registry"));
    let (wide, _) = (server(&app, "wide", 5).await, server(&app, "narrow", 4).await);
    assert_eq!(chosen(&app).await.as_deref(), Some("wide"));
    // Its room shrinks by whatever has a database on it or will have one.
    for status in ["active", "deleted"] {
        app.registry_execute(&tenant_on(wide, status)).await;
    }
    assert_eq!(chosen(&app).await.as_deref(), Some("narrow"));
    let db = app.registry.connect().await.unwrap();
    let list = database_servers::list(&db).await.unwrap();
    let found: Vec<_> =
        list.iter().map(|o| (o.server.name.as_str(), o.tenants, o.room())).collect();
    assert_eq!(found, [("registry", 0, 3), ("wide", 2, 3), ("narrow", 0, 4)]);
    app.registry_execute("UPDATE tenants SET status = 'purged' WHERE status = 'deleted'").await;
    app.registry_execute("UPDATE database_servers SET max_tenants = 3 WHERE name = 'narrow'").await;
    assert_eq!(chosen(&app).await.as_deref(), Some("wide"));
}

#[tokio::test]
async fn a_server_that_is_full_or_draining_or_cannot_be_administered_gets_none() {
    let app = TestApp::start().await;
    let full = "UPDATE database_servers SET max_tenants = 0 WHERE name = 'registry'";
    app.registry_execute(full).await;
    assert_eq!(chosen(&app).await, None);
    let id = server(&app, "second", 1).await;
    let db = app.registry.connect().await.unwrap();
    for (state, expected) in [
        (State::Active, Some("second")),
        (State::Draining, None),
        (State::Full, None),
        (State::Active, Some("second")),
    ] {
        database_servers::change_state(&db, id, state).await.unwrap();
        assert_eq!(chosen(&app).await.as_deref(), expected, "{state:?}");
    }
    app.registry_execute(&tenant_on(id, "provisioning")).await;
    assert_eq!(chosen(&app).await, None);
    database_servers::change_limit(&db, id, 2).await.unwrap();
    assert_eq!(chosen(&app).await.as_deref(), Some("second"));

    // The registry holds no active server without credentials.
    let without = format!(
        "UPDATE database_servers SET administration_user = NULL, sealed_administration_password = NULL
         WHERE id = '{id}'"
    );
    assert!(db.execute_unprepared(&without).await.is_err());
    database_servers::change_state(&db, id, State::Full).await.unwrap();
    db.execute_unprepared(&without).await.unwrap();
    assert!(database_servers::change_state(&db, id, State::Active).await.is_err());
    assert_eq!(chosen(&app).await, None);
    assert!(!database_servers::find(&db, id).await.unwrap().unwrap().can_be_administered());
}

async fn take_a_place(transaction: RegistryTransaction) -> Option<String> {
    let Some(chosen) = choose_with_most_room(&transaction, &[]).await.unwrap() else {
        transaction.rollback().await.unwrap();
        return None;
    };
    transaction.execute_unprepared(&tenant_on(chosen.id, "provisioning")).await.unwrap();
    transaction.commit().await.unwrap();
    Some(chosen.name)
}

#[tokio::test]
async fn of_many_who_come_at_once_each_place_is_given_to_one() {
    const MANY: u32 = 20;
    let app = TestApp::start_with(Box::new(|settings| {
        settings.registry.max_connections = MANY + 4;
    }))
    .await;
    app.registry_execute("UPDATE database_servers SET max_tenants = 2").await;
    server(&app, "second", 4).await;
    server(&app, "third", 3).await;
    // One after another: on a busy machine twenty new connections at once outlast the pool's time limit.
    let mut db = Vec::new();
    for _ in 0..MANY {
        db.push(app.registry.connect().await.unwrap());
    }
    let begun = join_all(db.iter().map(sea_orm::TransactionTrait::begin)).await;
    let given = join_all(begun.into_iter().map(|begun| take_a_place(begun.unwrap()))).await;
    let places = |name| given.iter().flatten().filter(|given| *given == name).count();
    assert_eq!((places("registry"), places("second"), places("third")), (2, 4, 3), "{given:?}");
}

/// Without the lock they would both be told of it; with a count from before the wait, too.
#[tokio::test]
async fn the_last_place_is_not_promised_to_two() {
    let app = TestApp::start().await;
    app.registry_execute("UPDATE database_servers SET max_tenants = 1").await;
    let (first, second) =
        (app.registry.connect().await.unwrap(), app.registry.connect().await.unwrap());
    let transaction = first.begin().await.unwrap();
    let place = choose_with_most_room(&transaction, &[]).await.unwrap().unwrap();
    let waiting = async {
        let transaction = second.begin().await.unwrap();
        choose_with_most_room(&transaction, &[]).await.unwrap()
    };
    let finishing = async {
        let blocked = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        crate::support::eventually("the second one waits", async || {
            app.registry_count(blocked).await == 1
        })
        .await;
        transaction.execute_unprepared(&tenant_on(place.id, "provisioning")).await.unwrap();
        transaction.commit().await.unwrap();
    };
    let (too_late, ()) = tokio::join!(waiting, finishing);
    assert_eq!(too_late.map(|server| server.name), None);
}
