//! What a new tenant begins with.

use narthex::identifiers::TenantId;
use narthex::tenant_data::seed::catalogue::{OBJECTS, Object};
use narthex::tenant_data::seed::{Missing, SeedError, seed_sql, verify_seed};
use rstest::rstest;

use crate::support::TestApp;

/// What a tenant lacks.
async fn lacks(app: &TestApp, tenant: TenantId) -> Vec<Missing> {
    match verify_seed(&app.tenant_db(tenant).await).await {
        Ok(()) => Vec::new(),
        Err(SeedError::Incomplete(missing)) => missing,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_new_tenant_lacks_nothing() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    assert_eq!(lacks(&app, staff.tenant_id).await, []);
    let onboarding = "SELECT value::text FROM settings WHERE key = 'onboarding'";
    let onboarding = app.cluster.texts(&staff.database(), onboarding).await;
    assert_eq!(onboarding, [r#"{"completed": true}"#]);
    let stages = "SELECT string_agg(name, ', ' ORDER BY position) FROM pipeline_stages
        GROUP BY pipeline_id ORDER BY 1 DESC LIMIT 1";
    let stages = app.cluster.texts(&staff.database(), stages).await;
    assert_eq!(stages, ["Received, Being prayed for, Followed up, Closed"]);
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[rstest]
#[case::a_permission(
    "DELETE FROM permissions WHERE name = 'export:run'",
    &[Missing::Permission(text("export:run"))]
)]
#[case::a_role(
    "DELETE FROM roles WHERE name = 'viewer'",
    &[
        Missing::Role(text("viewer")),
        Missing::RolePermission { role: text("viewer"), permission: text("conversations:read") },
        Missing::RolePermission { role: text("viewer"), permission: text("members:read") },
    ]
)]
#[case::a_role_that_is_not_the_built_in_one(
    "UPDATE roles SET built_in = false WHERE name = 'viewer'",
    &[Missing::Role(text("viewer"))]
)]
#[case::a_permission_of_a_role(
    "UPDATE roles SET permissions = array_remove(permissions, 'audit:read') WHERE name = 'admin'",
    &[Missing::RolePermission { role: text("admin"), permission: text("audit:read") }]
)]
#[case::a_pipeline_that_is_about_something_else(
    "UPDATE pipelines SET object = 'groups' WHERE name = 'Visitor follow-up'",
    &[Missing::Pipeline(text("Visitor follow-up"))]
)]
#[case::a_stage(
    "DELETE FROM pipeline_stages WHERE name = 'Welcomed'",
    &[Missing::Stage { pipeline: text("Visitor follow-up"), stage: text("Welcomed") }]
)]
#[case::a_setting(
    "DELETE FROM settings WHERE key = 'locale'",
    &[Missing::Setting(text("locale"))]
)]
#[case::an_onboarding_that_is_not_complete(
    "UPDATE settings SET value = '{\"completed\": false}' WHERE key = 'onboarding'",
    &[Missing::Onboarding]
)]
#[case::an_onboarding_that_says_nothing(
    "UPDATE settings SET value = '1' WHERE key = 'onboarding'",
    &[Missing::Onboarding]
)]
#[case::an_object(
    "UPDATE object_metadata SET object = 'people' WHERE object = 'roles'",
    &[
        Missing::Field { object: text("roles"), field: text("name") },
        Missing::Field { object: text("roles"), field: text("permissions") },
        Missing::Object(text("roles")),
    ]
)]
#[case::a_field(
    "UPDATE object_metadata SET fields = fields - 0 WHERE object = 'branches'",
    &[Missing::Field { object: text("branches"), field: text("name") }]
)]
#[tokio::test]
async fn what_is_missing_is_named(#[case] damage: &str, #[case] expected: &[Missing]) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    app.cluster.execute(&staff.database(), damage).await;
    assert_eq!(lacks(&app, staff.tenant_id).await, expected);
}

#[tokio::test]
async fn everything_missing_is_told_at_once_and_given_again_without_touching_the_rest() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let database = staff.database();
    let damage = "TRUNCATE permissions, settings, object_metadata, pipelines, pipeline_stages;
        DELETE FROM roles WHERE name <> 'owner'";
    app.cluster.execute(&database, damage).await;
    let missing = lacks(&app, staff.tenant_id).await;
    let error = SeedError::Incomplete(missing.clone()).to_string();
    for text in [
        "the permission `tenant:manage`, ",
        "the role `editor`",
        "the permission `audit:read` of the role `admin`",
        "the pipeline `Prayer and care`",
        "the stage `Closed` of the pipeline `Prayer and care`",
        "the setting `onboarding`",
        "the completion of its onboarding",
        "the metadata of `members`",
        "the field `tags` in the metadata of `members`",
    ] {
        assert!(error.contains(text), "{text} is missing in: {error}");
    }
    assert!(missing.len() > 50, "{}", missing.len());

    let kept = "UPDATE roles SET permissions = permissions || '{mine}' WHERE name = 'owner';
        INSERT INTO settings VALUES ('locale', '\"de\"')";
    app.cluster.execute(&database, kept).await;
    app.cluster.execute(&database, &seed_sql()).await;
    assert_eq!(lacks(&app, staff.tenant_id).await, []);
    let changed = "SELECT permissions[10] FROM roles WHERE name = 'owner'
        UNION ALL SELECT value::text FROM settings WHERE key = 'locale'";
    assert_eq!(app.cluster.texts(&database, changed).await, ["mine", "\"de\""]);
    let before = app.cluster.contents(&database).await;
    app.cluster.execute(&database, &seed_sql()).await;
    assert_eq!(app.cluster.contents(&database).await, before, "a second time changes nothing");
}

/// Columns that the metadata leaves out: keys, secrets, and what the gateway sets itself.
const NOT_SHOWN: &[&str] = &[
    "members.id",
    "members.updated_at",
    "branches.id",
    "branches.updated_at",
    "groups.id",
    "groups.updated_at",
    "conversations.created_at",
    "conversations.ended_at",
    "conversations.id",
    "conversations.last_message_preview",
    "conversation_messages.conversation_id",
    "conversation_messages.created_at",
    "conversation_messages.error",
    "conversation_messages.id",
    "conversation_messages.media",
    "conversation_messages.provider_message_id",
    "conversation_messages.recipients",
    "conversation_messages.segments",
    "conversation_messages.subject",
    "staff.email_verified_at",
    "staff.id",
    "staff.mfa_enabled",
    "staff.password_hash",
    "staff.password_set_at",
    "staff.updated_at",
    "roles.built_in",
    "roles.created_at",
    "roles.id",
    "roles.updated_at",
];

#[tokio::test]
async fn the_metadata_has_every_column_that_is_shown_and_no_other() {
    let app = TestApp::start().await;
    let database = app.register().await.database();
    let mut not_shown = Vec::new();
    for Object { name, fields, .. } in OBJECTS {
        let sql = format!(
            "SELECT column_name::text FROM information_schema.columns WHERE table_name = '{name}'
             ORDER BY column_name"
        );
        let columns = app.cluster.texts(&database, &sql).await;
        for field in *fields {
            let found = columns.iter().any(|column| column == field.name);
            assert!(found, "{name}.{} is no column", field.name);
        }
        let is_shown = |column: &String| fields.iter().any(|field| field.name == column);
        let others = columns.iter().filter(|column| !is_shown(column));
        not_shown.extend(others.map(|column| format!("{name}.{column}")));
    }
    assert_eq!(not_shown, NOT_SHOWN);
}
