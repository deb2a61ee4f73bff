//! `narthex tenants list` and `show`.

use serde_json::{Value, json};

use super::lookup::find;
use crate::app::App;
use crate::cli::{CommandError, print, runs};
use crate::registry::people::audit_log;
use crate::registry::people::audit_log::Entry;
use crate::registry::runs::provisioning_runs::{self, Filter};
use crate::registry::runs::resources::{self, Resource};
use crate::registry::tenants::Tenant;
use crate::registry::tenants::{self, phone_numbers};

/// Newest runs of a tenant that are shown with it.
const LAST_RUNS: u64 = 5;
/// Newest audit events of operators that are shown with it.
const LAST_ACTS: u64 = 50;

fn document(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id,
        "slug": tenant.slug,
        "organization_name": tenant.organization_name,
        "status": tenant.status,
        "plan": tenant.plan,
        "timezone": tenant.timezone,
        "database": tenant.database_name,
        "schema_version": tenant.schema_version,
        "created_at": tenant.created_at,
        "deleted_at": tenant.deleted_at,
    })
}

pub(super) async fn list(app: &App, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let rows: Vec<Value> = tenants::list(&db, None).await?.iter().map(document).collect();
    if as_json {
        print::json(&Value::Array(rows));
        return Ok(());
    }
    print::table(["id", "slug", "organization_name", "status", "database", "created_at"], &rows);
    say!("{} tenant(s)", rows.len());
    Ok(())
}

fn resource_row(resource: &Resource) -> Value {
    json!({
        "kind": resource.kind,
        "reference": resource.reference,
        "server_id": resource.server_id,
        "made_at": resource.made_at,
        "released_at": resource.released_at,
    })
}

/// An entry of the audit log as a row.
fn act_row(entry: &Entry) -> Value {
    json!({
        "occurred_at": entry.occurred_at,
        "actor": entry.actor_name,
        "action": entry.action,
        "detail": entry.detail,
    })
}

/// Shows a tenant with its numbers, its resources, the operators' actions on it, and its last runs.
pub(super) async fn show(app: &App, name: &str, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, name).await?;
    let id = tenant.id;
    let mut row = document(&tenant);
    let numbers = phone_numbers::held_by(&db, id).await?;
    row["phone_numbers"] = numbers.into_iter().map(|held| held.number).collect();
    let of_tenant = resources::of_tenant(&db, id).await?;
    let things: Vec<Value> = of_tenant.iter().map(resource_row).collect();
    let acts = audit_log::of_tenant(&db, id, LAST_ACTS).await?;
    let acts: Vec<Value> = acts.iter().rev().map(act_row).collect();
    let filter = Filter { tenant: Some(tenant.id), ..Filter::default() };
    let last = provisioning_runs::list(&db, &filter, LAST_RUNS).await?;
    let last: Vec<Value> = last.iter().map(runs::row).collect();
    if as_json {
        row["resources"] = Value::Array(things);
        row["acts"] = Value::Array(acts);
        row["runs"] = Value::Array(last);
        print::json(&row);
        return Ok(());
    }
    print::fields(&row);
    say!();
    print::table(["kind", "reference", "server_id", "made_at", "released_at"], &things);
    say!();
    if !acts.is_empty() {
        print::table(["occurred_at", "actor", "action", "detail"], &acts);
        say!();
    }
    print::table(runs::COLUMNS, &last);
    Ok(())
}
