//! The seed of every new tenant, and the check that it is complete.

use sea_orm::{DbErr, QueryResult, Statement};

use super::roles::BUILT_IN;
use crate::tenant_router::OnTenant;

mod additions;
pub mod catalogue;

pub use additions::{SEEDED, additions_sql};
use catalogue::{OBJECTS, ONBOARDING, PERMISSIONS, PIPELINES, settings};

/// A part of the seed that a tenant lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A permission, by name.
    #[error("the permission `{0}`")]
    Permission(String),
    /// A built-in role, by name.
    #[error("the role `{0}`")]
    Role(String),
    /// A permission of a built-in role.
    #[error("the permission `{permission}` of the role `{role}`")]
    RolePermission {
        /// Name of the role.
        role: String,
        /// Name of the permission.
        permission: String,
    },
    /// A pipeline, by name.
    #[error("the pipeline `{0}`")]
    Pipeline(String),
    /// A stage of a pipeline.
    #[error("the stage `{stage}` of the pipeline `{pipeline}`")]
    Stage {
        /// Name of the pipeline.
        pipeline: String,
        /// Name of the stage.
        stage: String,
    },
    /// A setting, by key.
    #[error("the setting `{0}`")]
    Setting(String),
    /// The settings do not say that the tenant is set up.
    #[error("the completion of its onboarding")]
    Onboarding,
    /// The description of an object, by the object's name.
    #[error("the metadata of `{0}`")]
    Object(String),
    /// A field in the description of an object.
    #[error("the field `{field}` in the metadata of `{object}`")]
    Field {
        /// Name of the object.
        object: String,
        /// Name of the field.
        field: String,
    },
}

impl Missing {
    /// True if a tenant in use may have removed it, because tenants can change it.
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::RolePermission { .. } | Self::Pipeline(_) | Self::Stage { .. })
    }
}

/// Why a tenant is not shown to be complete.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The tenant lacks all of these.
    #[error("the tenant lacks {}", .0.iter().map(Missing::to_string).collect::<Vec<_>>().join(", "))]
    Incomplete(Vec<Missing>),
    /// The query failed; the tenant may lack a whole table.
    #[error(transparent)]
    Query(#[from] DbErr),
}

/// An SQL literal. Only constants of this program are written so, never a user's text.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The statements that add the missing parts of the seed. Existing rows stay as they are, so that a
/// repair of a damaged tenant does not undo the tenant's own changes.
pub fn seed_sql() -> String {
    let mut sql = String::new();
    let mut add = |statement: String| {
        sql.push_str(&statement);
        sql.push_str(" ON CONFLICT DO NOTHING;\n");
    };
    for (name, description) in PERMISSIONS {
        let (name, description) = (literal(name), literal(description));
        add(format!("INSERT INTO permissions (name, description) VALUES ({name}, {description})"));
    }
    for (role, permissions) in BUILT_IN {
        let permissions: Vec<String> = permissions.iter().map(|name| literal(name)).collect();
        add(format!(
            "INSERT INTO roles (id, name, permissions, built_in)
             VALUES (gen_random_uuid(), {}, ARRAY[{}], true)",
            literal(role),
            permissions.join(", ")
        ));
    }
    for (key, value) in settings() {
        let (key, value) = (literal(key), literal(&value.to_string()));
        add(format!("INSERT INTO settings (key, value) VALUES ({key}, {value})"));
    }
    for object in OBJECTS {
        add(format!(
            "INSERT INTO object_metadata (object, label, label_plural, fields)
             VALUES ({}, {}, {}, {})",
            literal(object.name),
            literal(object.label),
            literal(object.label_plural),
            literal(&serde_json::json!(object.fields).to_string())
        ));
    }
    for (pipeline, position) in PIPELINES.iter().zip(1..) {
        let name = literal(pipeline.name);
        let object = literal(pipeline.object);
        add(format!(
            "INSERT INTO pipelines (name, object, position) VALUES ({name}, {object}, {position})"
        ));
        for (stage, position) in pipeline.stages.iter().zip(1..) {
            let stage = literal(stage);
            add(format!(
                "INSERT INTO pipeline_stages (pipeline_id, name, position)
                 SELECT id, {stage}, {position} FROM pipelines WHERE name = {name}"
            ));
        }
    }
    sql
}

/// Checks that a new tenant has the whole seed. The error lists all missing parts. It is one query,
/// because every registration runs it. Parts that a tenant has renamed or removed later count as
/// missing too.
pub async fn verify_seed(db: &impl OnTenant) -> Result<(), SeedError> {
    let statement = Statement::from_string(sea_orm::DbBackend::Postgres, verification());
    let rows = db.query_all_raw(statement).await?;
    let missing = rows.iter().map(missing).collect::<Result<Vec<_>, DbErr>>()?;
    if missing.is_empty() { Ok(()) } else { Err(SeedError::Incomplete(missing)) }
}

/// The query for the expected parts that are not there.
fn verification() -> String {
    let expected: Vec<String> = expected()
        .iter()
        .map(|(kind, name, part)| {
            format!("({}, {}, {})", literal(kind), literal(name), literal(part))
        })
        .collect();
    format!(
        "SELECT kind, name, part FROM (VALUES {}) AS expected (kind, name, part)
         EXCEPT (
             SELECT 'permission', name, '' FROM permissions
             UNION ALL SELECT 'role', name, '' FROM roles WHERE built_in
             UNION ALL SELECT 'role_permission', name, unnest(permissions) FROM roles
             UNION ALL SELECT 'pipeline', name, object FROM pipelines
             UNION ALL SELECT 'stage', p.name, s.name FROM pipeline_stages s JOIN pipelines p ON p.id = s.pipeline_id
             UNION ALL SELECT 'setting', key, '' FROM settings
             UNION ALL SELECT 'onboarding', key, '' FROM settings
                 WHERE key = '{ONBOARDING}' AND value -> 'completed' = 'true'
             UNION ALL SELECT 'object', object, '' FROM object_metadata
             UNION ALL SELECT 'field', object, field ->> 'name'
                 FROM object_metadata, jsonb_array_elements(fields) AS field
         )
         ORDER BY kind, name, part",
        expected.join(", ")
    )
}

/// Kind, name, and the name of the part if there is one.
fn expected() -> Vec<(&'static str, &'static str, &'static str)> {
    let permissions = PERMISSIONS.iter().map(|(name, _)| ("permission", *name, ""));
    let roles = BUILT_IN.iter().flat_map(|(role, permissions)| {
        let parts = permissions.iter().map(|permission| ("role_permission", *role, *permission));
        std::iter::once(("role", *role, "")).chain(parts)
    });
    let pipelines = PIPELINES.iter().flat_map(|pipeline| {
        let stages = pipeline.stages.iter().map(|stage| ("stage", pipeline.name, *stage));
        std::iter::once(("pipeline", pipeline.name, pipeline.object)).chain(stages)
    });
    let settings = settings().into_iter().map(|(key, _)| ("setting", key, ""));
    let objects = OBJECTS.iter().flat_map(|object| {
        let fields = object.fields.iter().map(|field| ("field", object.name, field.name));
        std::iter::once(("object", object.name, "")).chain(fields)
    });
    let onboarding = std::iter::once(("onboarding", ONBOARDING, ""));
    permissions
        .chain(roles)
        .chain(pipelines)
        .chain(settings)
        .chain(objects)
        .chain(onboarding)
        .collect()
}

fn missing(row: &QueryResult) -> Result<Missing, DbErr> {
    let kind: String = row.try_get_by_index(0)?;
    let name: String = row.try_get_by_index(1)?;
    let part: String = row.try_get_by_index(2)?;
    Ok(match kind.as_str() {
        "permission" => Missing::Permission(name),
        "role" => Missing::Role(name),
        "role_permission" => Missing::RolePermission { role: name, permission: part },
        "pipeline" => Missing::Pipeline(name),
        "stage" => Missing::Stage { pipeline: name, stage: part },
        "onboarding" => Missing::Onboarding,
        "object" => Missing::Object(name),
        "field" => Missing::Field { object: name, field: part },
        _ => Missing::Setting(name),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_role_permits_only_what_there_is_and_everything_is_permitted_to_the_owner() {
        let known: BTreeSet<&str> = PERMISSIONS.iter().map(|(name, _)| *name).collect();
        for (role, permissions) in BUILT_IN {
            for permission in *permissions {
                assert!(known.contains(permission), "`{permission}` of `{role}`");
            }
        }
        let owner =
            BUILT_IN.iter().find(|(role, _)| *role == crate::tenant_data::roles::OWNER).unwrap();
        assert_eq!(owner.1.iter().copied().collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn a_pipeline_has_stages_and_is_about_an_object_that_there_is() {
        for pipeline in PIPELINES {
            assert!(pipeline.stages.len() > 1, "{}", pipeline.name);
            assert!(OBJECTS.iter().any(|o| o.name == pipeline.object), "{}", pipeline.name);
        }
    }

    #[test]
    fn nothing_is_there_twice() {
        let expected = expected();
        assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), expected.len());
    }

    #[test]
    fn an_apostrophe_does_not_end_a_text() {
        assert_eq!(literal("the tenant's"), "'the tenant''s'");
    }
}
