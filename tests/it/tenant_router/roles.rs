//! What a tenant's own role may do, with its real password and no gateway in between.

use narthex::identifiers::TenantId;
use rstest::rstest;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

use super::{Hall, tenant};
use narthex::sealing::aad;

/// The options of a login as a tenant's role.
async fn login(hall: &Hall, id: TenantId, database: &str) -> PgConnectOptions {
    let tenant = tenant(&hall.app.router, id).await;
    let sealer = hall.app.registry.sealer();
    let password = sealer.open(&aad::tenant_password(id), &tenant.sealed_password).unwrap();
    hall.app
        .cluster
        .options(database)
        .username(&tenant.role_name)
        .password(std::str::from_utf8(&password).unwrap())
}

fn sqlstate(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => error.code().unwrap_or_default().into_owned(),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn a_tenants_role_may_connect_to_its_own_database_only() {
    let hall = Hall::with(2).await;
    let [own, other] = hall.ids[..] else { unreachable!() };
    let options = login(&hall, own, &own.database_name()).await;
    PgConnection::connect_with(&options).await.unwrap();

    // A copy made by hand is open to all, and closed again by the gateway's own migration.
    let registry = hall.app.registry_database.clone();
    narthex::registry::schema::migrate(hall.app.cluster.options(&registry)).await.unwrap();
    let template = narthex::fleet::template::name(hall.app.registry.server());
    for database in [&other.database_name(), &registry, "postgres", "template1", &template] {
        let options = login(&hall, own, database).await;
        let error = PgConnection::connect_with(&options).await.expect_err(database);
        let expected = if *database == template { "55000" } else { "42501" };
        assert_eq!(sqlstate(&error), expected, "{database}: {error}");
    }
}

#[tokio::test]
async fn a_tenants_role_needs_its_password() {
    let hall = Hall::with(1).await;
    let id = hall.ids[0];
    let options = login(&hall, id, &id.database_name()).await.password("wrong");
    assert_eq!(sqlstate(&PgConnection::connect_with(&options).await.unwrap_err()), "28P01");
}

#[rstest]
#[tokio::test]
async fn a_tenants_role_may_not(
    #[values(
        "UPDATE tenant_identity SET tenant_id = gen_random_uuid()",
        "DELETE FROM tenant_identity",
        "INSERT INTO tenant_identity VALUES (true, gen_random_uuid(), now())",
        "TRUNCATE tenant_identity",
        "SELECT * FROM seaql_migrations",
        "DELETE FROM seaql_migrations",
        "DELETE FROM permissions",
        "INSERT INTO permissions VALUES ('everything', '')",
        "UPDATE object_metadata SET label = 'Mine'",
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE tenant_identity (tenant_id uuid)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE members ADD COLUMN mine int",
        "DROP TABLE members",
        "TRUNCATE members",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "GRANT narthex_tenant TO CURRENT_USER",
        "SET SESSION AUTHORIZATION narthex_tenant",
        "COPY members TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')"
    )]
    sql: &'static str,
) {
    let mut session = PgConnection::connect_with(one_tenant().await).await.unwrap();
    let error = session.execute(sql).await.expect_err(sql);
    assert_eq!(sqlstate(&error), "42501", "{sql}: {error}");
}

/// The login of one tenant for all these acts, none of which changes anything.
async fn one_tenant() -> &'static PgConnectOptions {
    static LOGIN: tokio::sync::OnceCell<PgConnectOptions> = tokio::sync::OnceCell::const_new();
    LOGIN
        .get_or_init(async || {
            let hall = Hall::with(1).await;
            let login = login(&hall, hall.ids[0], &hall.ids[0].database_name()).await;
            // Its databases would be dropped with it.
            std::mem::forget(hall);
            login
        })
        .await
}

#[tokio::test]
async fn a_tenants_role_may_work_with_its_data() {
    let mut session = PgConnection::connect_with(one_tenant().await).await.unwrap();
    let work = "BEGIN;
        INSERT INTO branches VALUES (gen_random_uuid(), 'North', 'UTC', now(), now());
        UPDATE branches SET name = 'South';
        SELECT * FROM tenant_identity;
        DELETE FROM branches;
        SELECT * FROM permissions, object_metadata;
        INSERT INTO settings VALUES ('mine', '1');
        UPDATE pipelines SET name = 'Mine' WHERE position = 1;
        DELETE FROM pipeline_stages;
        DELETE FROM external_identities;
        ROLLBACK";
    session.execute(work).await.unwrap();
}
