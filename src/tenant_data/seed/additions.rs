//! Rows that a new tenant has beside the seed, in the tables of the seed.

use serde_json::{Value, json};

use super::catalogue::{OBJECTS, PERMISSIONS, PIPELINES, settings};
use super::literal;
use crate::tenant_data::roles::BUILT_IN;

/// The tables that have rows in a new tenant's database.
pub const SEEDED: &[&str] = &[
    "object_metadata",
    "permissions",
    "pipeline_stages",
    "pipelines",
    "roles",
    "seaql_migrations",
    "settings",
];

/// The rows of the seed, by table.
fn seed() -> Vec<(&'static str, Value)> {
    let mut rows = Vec::new();
    rows.extend(PERMISSIONS.iter().map(|(name, about)| ("permissions", json!([name, about]))));
    rows.extend(BUILT_IN.iter().map(|(role, may)| ("roles", json!([role, may, true]))));
    rows.extend(settings().into_iter().map(|(key, value)| ("settings", json!([key, value]))));
    rows.extend(OBJECTS.iter().map(|object| {
        let (one, many) = (object.label, object.label_plural);
        ("object_metadata", json!([object.name, one, many, object.fields]))
    }));
    for (pipeline, position) in PIPELINES.iter().zip(1..) {
        rows.push(("pipelines", json!([pipeline.name, pipeline.object, position])));
        let stages = pipeline.stages.iter().zip(1..);
        rows.extend(
            stages.map(|(stage, position)| {
                ("pipeline_stages", json!([pipeline.name, stage, position]))
            }),
        );
    }
    rows
}

/// A query for rows that are not part of the seed, one text for each such row. Missing parts of
/// the seed are found by [`super::verify_seed`].
pub fn additions_sql() -> String {
    let seed: Vec<String> = seed()
        .iter()
        .map(|(table, row)| format!("({}, {}::jsonb)", literal(table), literal(&row.to_string())))
        .collect();
    format!(
        "SELECT 'rows of ' || name FROM (
             SELECT 'permissions' AS name, jsonb_build_array(name, description) FROM permissions
             UNION ALL SELECT 'roles', jsonb_build_array(name, permissions, built_in) FROM roles
             UNION ALL SELECT 'settings', jsonb_build_array(key, value) FROM settings
             UNION ALL SELECT 'object_metadata', jsonb_build_array(object, label, label_plural, fields)
                 FROM object_metadata
             UNION ALL SELECT 'pipelines', jsonb_build_array(name, object, position) FROM pipelines
             UNION ALL SELECT 'pipeline_stages', jsonb_build_array(p.name, s.name, s.position)
                 FROM pipeline_stages s JOIN pipelines p ON p.id = s.pipeline_id
             EXCEPT VALUES {}
         ) AS additions",
        seed.join(", ")
    )
}
