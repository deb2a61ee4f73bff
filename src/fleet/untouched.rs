//! Check that a database without a tenant contains the seed and nothing else.

use super::template;
use crate::postgres::administration::{Administration, AdministrationError};
use crate::tenant_data::seed::{SEEDED, additions_sql};
use crate::tenant_router::TENANT_GROUP;

/// All applied migrations, oldest first.
pub const APPLIED: &str = "SELECT version FROM seaql_migrations ORDER BY version";
const TABLES: &str = "SELECT relname::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname";

/// Lists the content of the database that is not part of the seed, including objects that depend on
/// a role. Empty if there is none. Tables that the seed fills are compared with the seed only if
/// the database has the schema of this binary, because another version has another seed.
pub async fn foreign_content(
    inside: &mut Administration,
) -> Result<Vec<String>, AdministrationError> {
    let tables = inside.texts(TABLES).await?;
    let is_current = match tables.iter().any(|table| table == "seaql_migrations") {
        true => inside.texts(APPLIED).await?.pop() == Some(template::schema_version()),
        false => false,
    };
    let mut parts = vec![
        format!(
            "SELECT 'objects that depend on the role ' || rolname FROM pg_shdepend
             JOIN pg_roles ON pg_roles.oid = refobjid
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND refclassid = 'pg_authid'::regclass AND rolname NOT IN (current_user, '{TENANT_GROUP}')"
        ),
        "SELECT 'large objects' WHERE EXISTS (SELECT FROM pg_largeobject_metadata)".to_owned(),
    ];
    let is_empty = |table: &&String| !SEEDED.contains(&table.as_str());
    parts.extend(tables.iter().filter(is_empty).map(|table| {
        let (text, name) = (table.replace('\'', "''"), table.replace('"', "\"\""));
        format!("SELECT 'rows of {text}' WHERE EXISTS (SELECT FROM public.\"{name}\")")
    }));
    if is_current {
        parts.push(additions_sql());
    }
    inside.texts(&parts.join("\nUNION\n")).await
}
