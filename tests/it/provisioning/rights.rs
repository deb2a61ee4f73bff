//! What a new tenant's role may do, what its database holds, and what the registry does not know.

use argon2::password_hash::phc::PasswordHash;
use narthex::fleet::template;
use sea_orm::{TransactionSession, TransactionTrait};
use serde_json::json;

use super::new_tenant;
use crate::support::{Staff, TestApp};

/// Rights of tenant `a`'s role, as the server sees them.
async fn may(app: &TestApp, a: &Staff, what: &str) -> bool {
    let sql =
        format!("SELECT ({})::int::bigint", what.replace("$role", &format!("'{}'", a.database())));
    app.cluster.count(&a.database(), &sql).await == 1
}

#[tokio::test]
async fn a_tenants_role_may_do_what_it_needs_and_nothing_more() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let (own, others) = (a.database(), b.database());
    for (right, expected) in [
        (format!("has_database_privilege($role, '{own}', 'CONNECT')"), true),
        (format!("has_database_privilege($role, '{own}', 'TEMPORARY')"), false),
        (format!("has_database_privilege($role, '{own}', 'CREATE')"), false),
        (format!("has_database_privilege($role, '{others}', 'CONNECT')"), false),
        ("has_database_privilege($role, 'postgres', 'CONNECT')".to_owned(), false),
        ("has_database_privilege($role, 'template1', 'CONNECT')".to_owned(), false),
        ("has_schema_privilege($role, 'public', 'CREATE')".to_owned(), false),
        ("has_table_privilege($role, 'members', 'INSERT')".to_owned(), true),
        ("has_table_privilege($role, 'members', 'TRUNCATE')".to_owned(), false),
        ("has_table_privilege($role, 'tenant_identity', 'SELECT')".to_owned(), true),
        ("has_table_privilege($role, 'tenant_identity', 'UPDATE')".to_owned(), false),
        ("has_table_privilege($role, 'tenant_identity', 'DELETE')".to_owned(), false),
        ("has_table_privilege($role, 'seaql_migrations', 'SELECT')".to_owned(), false),
        (
            "EXISTS (SELECT FROM pg_roles WHERE rolname = $role
                     AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls))"
                .to_owned(),
            false,
        ),
    ] {
        assert_eq!(may(&app, &a, &right).await, expected, "{right}");
    }
    let group = "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) acl
        WHERE acl.grantee = 'narthex_tenant'::regrole";
    assert_eq!(app.cluster.count("postgres", group).await, 0, "the group may connect somewhere");
    let verifier = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{own}'");
    let verifier = &app.cluster.texts("postgres", &verifier).await[0];
    assert!(verifier.starts_with("SCRAM-SHA-256$1:"), "{verifier}");
}

/// As an earlier version of the program has left it: open to every role.
#[tokio::test]
async fn a_copy_that_was_cut_off_is_closed_to_everybody_else() {
    let app = TestApp::start().await;
    let db = app.registry.connect().await.unwrap();
    // Nobody takes the run up before.
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    let (name, server) = (planned.tenant_id.database_name(), app.registry.server());
    template::ensure(server).await.unwrap();
    let mut administration = server.administer().await.unwrap();
    administration.copy_database(&template::name(server), &name).await.unwrap();
    let open = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true");
    app.cluster.execute("postgres", &open).await;
    transaction.commit().await.unwrap();
    app.provisioner.finish(planned).await.unwrap();
    for right in ["CONNECT", "TEMPORARY"] {
        let sql =
            format!("SELECT has_database_privilege('public', '{name}', '{right}')::int::bigint");
        assert_eq!(app.cluster.count("postgres", &sql).await, 0, "everybody may {right}");
    }
}

#[tokio::test]
async fn a_new_database_knows_its_tenant_its_roles_and_its_owner() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let texts = async |sql: &str| app.cluster.texts(&staff.database(), sql).await;
    let identity = texts("SELECT tenant_id::text FROM tenant_identity").await;
    assert_eq!(identity, [staff.tenant_id.to_string()]);
    let roles = texts("SELECT name || ' ' || array_length(permissions, 1) FROM roles WHERE built_in ORDER BY name").await;
    assert_eq!(roles, ["admin 7", "editor 5", "owner 9", "viewer 2"]);
    let owner = texts("SELECT email || ' ' || role || ' ' || status FROM staff").await;
    assert_eq!(owner, [format!("{} owner active", staff.email)]);
    let hash = &texts("SELECT password_hash FROM staff").await[0];
    let hash = PasswordHash::new(hash).unwrap();
    assert_eq!(hash.algorithm.as_str(), "argon2id");
    assert!(!app.cluster.holds(&staff.database(), &staff.password).await);
}

#[tokio::test]
async fn the_registry_knows_neither_email_nor_password() {
    let app = TestApp::start().await;
    let mut body = app.registration();
    body["email"] = json!("ada.lovelace@poetical.science");
    let made = app.call(reqwest::Method::POST, "/v1/auth/register", Some(body.clone())).await;
    let made = made.expect(201);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let registry = &app.registry_database;
    assert!(app.cluster.holds(registry, &text(&made["tenant"]["id"])).await);
    for secret in [
        "ada.lovelace@poetical.science",
        "lovelace",
        "Lovelace",
        "poetical",
        &text(&body["password"]),
        &text(&made["access_token"]),
        &text(&made["refresh_token"]),
    ] {
        assert!(!app.cluster.holds(registry, secret).await, "`{secret}` is in the registry");
    }
}
