//! Migrations go both ways.

use sea_orm::Database;
use sea_orm_migration::MigratorTrait;

use crate::support::{TestApp, eventually, shared_cluster, unique};

#[expect(clippy::disallowed_methods, reason = "this is a migration")]
async fn can_be_taken_back_and_done_again<M: MigratorTrait>() {
    let (cluster, name) = (shared_cluster(), format!("migrated_{}", unique()));
    cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
    let database = Database::connect(cluster.url(&name)).await.unwrap();
    M::up(&database, None).await.unwrap();
    let shape = async || {
        let sql =
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
                       || coalesce(' ' || column_default, '')
                   FROM information_schema.columns WHERE table_schema = 'public'
                   UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
                   UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid)
                   FROM pg_constraint WHERE connamespace = 'public'::regnamespace
                   UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                   ORDER BY 1";
        cluster.texts(&name, sql).await
    };
    let whole = shape().await;
    // One by one, so that each meets what the one before it has left.
    for _ in M::migrations() {
        M::down(&database, Some(1)).await.unwrap();
    }
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(cluster.texts(&name, tables).await, ["seaql_migrations"]);
    M::up(&database, None).await.unwrap();
    assert_eq!(shape().await, whole);
    database.close().await.unwrap();
}

#[tokio::test]
async fn the_registrys_can_be_taken_back_and_done_again() {
    can_be_taken_back_and_done_again::<registry_migrations::Migrator>().await;
}

#[tokio::test]
async fn a_tenants_can_be_taken_back_and_done_again() {
    can_be_taken_back_and_done_again::<tenant_migrations::Migrator>().await;
}

/// A registry from before servers were administered: what it knows of a server is enough to serve, and to no more.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "this is a migration")]
async fn a_server_that_was_known_before_keeps_its_tenants_and_gets_no_new_ones() {
    let (cluster, name) = (shared_cluster(), format!("registry_{}", unique()));
    cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
    let database = Database::connect(cluster.url(&name)).await.unwrap();
    registry_migrations::Migrator::up(&database, Some(2)).await.unwrap();
    let known = |name: &str, state: &str| {
        let id = uuid::Uuid::now_v7();
        format!(
            "INSERT INTO database_servers (id, name, host, port, tls_mode, state)
             VALUES ('{id}', '{name}', 'db.example.org', 5432, 'verify-full', '{state}');
             INSERT INTO tenants (id, slug, organization_name, timezone, status, server_id, database_name, role_name,
                                  sealed_password, schema_version, created_at, updated_at)
             VALUES ('{id}', '{name}', 'x', 'UTC', 'active', '{id}', '{name}', '{name}', 'x', 'x', now(), now());"
        )
    };
    let rows = known("second", "active") + &known("third", "draining");
    cluster.execute(&name, &rows).await;
    registry_migrations::Migrator::up(&database, None).await.unwrap();
    database.close().await.unwrap();
    let servers = "SELECT s.name || ' ' || s.state || ' ' || (SELECT count(*) FROM tenants WHERE server_id = s.id)
        FROM database_servers s ORDER BY 1";
    let servers = cluster.texts(&name, servers).await;
    assert_eq!(servers, ["registry active 0", "second full 1", "third draining 1"]);
}

/// A registration that was cut off by an earlier version, which had no ledger, is undone by this one.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "this is a migration")]
async fn what_an_earlier_version_left_half_made_is_undone() {
    let (cluster, name) = (shared_cluster(), format!("registry_{}", unique()));
    cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
    let database = Database::connect(cluster.url(&name)).await.unwrap();
    registry_migrations::Migrator::up(&database, Some(2)).await.unwrap();
    let tenant = |status: &str, reached: &str| {
        let id = uuid::Uuid::now_v7();
        let role = format!("tenant_{}", id.simple());
        let sql = format!(
            "INSERT INTO tenants (id, slug, organization_name, timezone, status, server_id, database_name, role_name,
                                  sealed_password, schema_version, created_at, updated_at)
             SELECT '{id}', 'church-{status}', 'x', 'UTC', '{status}', id, '{role}', '{role}', 'x', 'x', now(), now()
             FROM database_servers;
             INSERT INTO email_index VALUES ('{status}', '{id}', true, now());
             INSERT INTO provisioning_runs VALUES ('{id}', 'create_tenant', '{id}', 'running', NULL, NULL, now(), NULL);
             INSERT INTO provisioning_steps SELECT '{id}', position - 1, step,
                 CASE WHEN step = '{reached}' THEN 'running' ELSE 'pending' END, 0, NULL, NULL
             FROM unnest(ARRAY['reserve', 'role', 'database', 'identity', 'owner', 'activate'])
                 WITH ORDINALITY AS steps (step, position)"
        );
        (sql, role)
    };
    let (half, role) = tenant("provisioning", "database");
    let (whole, _) = tenant("active", "activate");
    cluster.execute(&name, &format!("{half};{whole}")).await;
    let made = format!("CREATE ROLE {role} LOGIN");
    cluster.execute("postgres", &made).await;
    cluster.execute("postgres", &format!("CREATE DATABASE {role}")).await;
    registry_migrations::Migrator::up(&database, None).await.unwrap();
    database.close().await.unwrap();

    let app = TestApp::open_registry(cluster, name, Box::new(|_| {})).await;
    // Not before whoever may still be at it is surely gone.
    let waiting = "SELECT count(*) FROM provisioning_runs
        WHERE status = 'compensating' AND next_attempt_at > now() + interval '9 minutes'";
    assert_eq!(app.registry_count(waiting).await, 1);
    app.registry_execute("UPDATE provisioning_runs SET next_attempt_at = now()").await;
    eventually("it is undone", async || {
        app.registry_count("SELECT count(*) FROM provisioning_runs WHERE status = 'failed'").await
            == 1
    })
    .await;
    let left = "SELECT slug FROM tenants JOIN email_index ON tenant_id = id";
    assert_eq!(app.cluster.texts(&app.registry_database, left).await, ["church-active"]);
    let on_server = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{role}')
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{role}')"
    );
    assert_eq!(app.cluster.count("postgres", &on_server).await, 0);
    let finished = "SELECT count(*) FROM provisioning_runs WHERE status = 'completed'";
    assert_eq!(app.registry_count(finished).await, 1);
}

/// Before, a conversation kept the member whom it was first with, also when the number was somebody else's long since.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "this is a migration")]
async fn a_conversation_whose_number_has_passed_on_is_nobodys_and_no_message_is_lost_on_the_way_back()
 {
    let (cluster, name) = (shared_cluster(), format!("tenant_{}", unique()));
    cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
    let database = Database::connect(cluster.url(&name)).await.unwrap();
    tenant_migrations::Migrator::up(&database, Some(4)).await.unwrap();
    let conversation = |member: &str, body: &str| {
        format!(
            "WITH c AS (INSERT INTO conversations (id, contact_number, phone_number, member_id, last_message_at,
                                                   last_message_preview, created_at)
                        VALUES (gen_random_uuid(), '+13125550101', '+13125550111', {member}, now(), '', now()) RETURNING id)
             INSERT INTO conversation_messages (id, conversation_id, direction, body, status, segments, occurred_at, created_at)
             SELECT gen_random_uuid(), id, 'inbound', '{body}', 'received', 1, now(), now() FROM c"
        )
    };
    let anna =
        "INSERT INTO members (id, first_name, last_name, phone_number, created_at, updated_at)
        VALUES (gen_random_uuid(), 'Anna', '', '+13125550102', now(), now())";
    cluster.execute(&name, anna).await;
    cluster.execute(&name, &conversation("(SELECT id FROM members)", "before")).await;
    tenant_migrations::Migrator::up(&database, None).await.unwrap();
    let ended =
        "SELECT count(*) FROM conversations WHERE member_id IS NULL AND ended_at IS NOT NULL";
    assert_eq!(cluster.count(&name, ended).await, 1);
    cluster.execute(&name, &conversation("NULL", "after")).await;
    tenant_migrations::Migrator::down(&database, Some(1)).await.unwrap();
    database.close().await.unwrap();
    let messages = "SELECT body FROM conversation_messages ORDER BY body";
    assert_eq!(cluster.texts(&name, messages).await, ["after", "before"]);
    assert_eq!(cluster.count(&name, "SELECT count(*) FROM conversations").await, 1);
}
