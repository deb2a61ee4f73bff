//! The template database: schema, grants and seed, ready to be copied. Its name contains a
//! fingerprint of all three, so that two versions of Narthex can run side by side. It gets its
//! final name only when it is complete.

use ring::digest;
use tenant_migrations::{Migrator, SOURCES};

use crate::postgres::administration::{
    AdminServer, Administration, AdministrationError, ServerLock,
};
use crate::postgres::migrating;
use crate::tenant_data::seed::seed_sql;
use crate::tenant_router::TENANT_GROUP;

/// Version of the build procedure, part of the template's name, so that a template from another
/// procedure is not used. Before `closed`, other roles could connect to the draft.
const BUILT: &str = "closed";

/// Prefix of every template's name.
pub const TEMPLATE_PREFIX: &str = "narthex_template_";

/// The newest tenant migration in this binary.
pub fn schema_version() -> String {
    migrating::newest::<Migrator>()
}

/// Rights of the tenants' group role. Tenants cannot write their identity, the migrations table,
/// and the lists of permissions and objects: only the administrator writes them.
fn grants() -> String {
    format!(
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;
         GRANT USAGE ON SCHEMA public TO {TENANT_GROUP};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {TENANT_GROUP};
         REVOKE INSERT, UPDATE, DELETE ON tenant_identity, permissions, object_metadata FROM {TENANT_GROUP};
         REVOKE UPDATE, DELETE ON audit_log FROM {TENANT_GROUP};
         REVOKE ALL ON seaql_migrations FROM {TENANT_GROUP};"
    )
}

/// The name of the template for this schema, these grants and this seed, built by the server's
/// administrator. The administrator is part of the fingerprint: a foreign key is checked with the
/// rights of the table's owner, so another administrator cannot use the template.
pub fn name(server: &AdminServer) -> String {
    let mut content = digest::Context::new(&digest::SHA256);
    for part in SOURCES.iter().copied().chain([&*grants(), &*seed_sql(), server.role(), BUILT]) {
        content.update(part.as_bytes());
        content.update(b"\0");
    }
    format!("{TEMPLATE_PREFIX}{}", &hex::encode(content.finish())[..12])
}

/// Adds the grants and the seed to a migrated database. Idempotent.
pub async fn grant_and_seed(inside: &mut Administration) -> Result<(), AdministrationError> {
    inside.batch(&grants()).await?;
    inside.batch(&seed_sql()).await
}

/// Builds the template if it does not exist. Concurrent replicas wait for the first one.
pub async fn ensure(server: &AdminServer) -> Result<(), AdministrationError> {
    let mut administration = server.administer().await?;
    ensure_by(&mut administration, server).await?;
    administration.close().await;
    Ok(())
}

/// As [`ensure`], on an open connection to the server.
pub async fn ensure_by(
    administration: &mut Administration,
    server: &AdminServer,
) -> Result<(), AdministrationError> {
    let template = name(server);
    if !administration.database_exists(&template).await? {
        administration.lock(ServerLock::Template).await?;
        if !administration.database_exists(&template).await? {
            tracing::info!(template, "building the template database");
            let draft = format!("{template}_draft");
            administration.create_group(TENANT_GROUP).await?;
            administration.drop_database(&draft).await?;
            administration.create_empty_database(&draft).await?;
            migrating::migrate::<Migrator>(server.options_for(&draft))
                .await
                .map_err(AdministrationError::Migration)?;
            let mut inside = server.connect(&draft).await?;
            grant_and_seed(&mut inside).await?;
            inside.close().await;
            administration.finish_template(&draft, &template).await?;
        }
        administration.unlock(ServerLock::Template).await?;
    }
    Ok(())
}
