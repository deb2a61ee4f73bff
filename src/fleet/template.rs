//! The template database: schema, grants and preseed, ready to be copied. It is named by the fingerprint of all
//! three, so that two versions of this program can work side by side, and takes its final name only when whole.

use ring::digest;
use tenant_migrations::{Migrator, SOURCES};

use crate::postgres::administration::{
    AdminServer, Administration, AdministrationError, ServerLock,
};
use crate::postgres::migrating;
use crate::tenant_data::seed::seed_sql;
use crate::tenant_router::TENANT_GROUP;

/// How the template is built, as part of its name: one that another way has built is not used. Before `closed`, other
/// roles could be in the draft.
const BUILT: &str = "closed";

/// Every template's name begins so.
pub const TEMPLATE_PREFIX: &str = "narthex_template_";

/// The newest tenant migration that this program knows.
pub fn schema_version() -> String {
    migrating::newest::<Migrator>()
}

/// Rights of the tenants' group. The identity, the bookkeeping of migrations, and what this program says of itself
/// (which permissions and objects there are) are not for tenants to write: that is the administration's alone.
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

/// The name of the template for this program's schema, grants and preseed, made by the server's administrator: a
/// foreign key is checked with the rights of the table's owner, so that one administrator's template is of no use
/// to another.
pub fn name(server: &AdminServer) -> String {
    let mut content = digest::Context::new(&digest::SHA256);
    for part in SOURCES.iter().copied().chain([&*grants(), &*seed_sql(), server.role(), BUILT]) {
        content.update(part.as_bytes());
        content.update(b"\0");
    }
    format!("{TEMPLATE_PREFIX}{}", &hex::encode(content.finish())[..12])
}

/// Gives a migrated database what a tenant needs beside the schema. Again, it changes nothing.
pub async fn grant_and_seed(inside: &mut Administration) -> Result<(), AdministrationError> {
    inside.batch(&grants()).await?;
    inside.batch(&seed_sql()).await
}

/// Builds the template if it is not there. Replicas that come at once wait for the first of them.
pub async fn ensure(server: &AdminServer) -> Result<(), AdministrationError> {
    let mut administration = server.administer().await?;
    ensure_by(&mut administration, server).await?;
    administration.close().await;
    Ok(())
}

/// As [`ensure`], over an open connection to that server.
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
