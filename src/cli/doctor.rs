//! `narthex doctor`: problems of the installation, and how to fix them. It changes nothing, except
//! that it records the heads of intact audit logs.

use std::process::ExitCode;

use clap::Args;
use sea_orm::ActiveEnum;
use serde_json::{Value, json};

use super::{CommandError, open_app, other, print, quiet};
use crate::app::{App, StartError};
use crate::audit::{Head, Tampering};
use crate::configuration::Settings;
use crate::fleet::template;
use crate::registry::people::{audit_heads, audit_log};
use crate::registry::secrets::resealing;
use crate::registry::tenants::{Status, Tenant};
use crate::registry::{changes, parse_url, schema, tenants};
use crate::{telemetry, tenant_data};

#[derive(Args)]
pub(super) struct Doctor {
    /// For scripts: one JSON array.
    #[arg(long)]
    json: bool,
}

/// Used fraction of the notification queue. Above it the queue is emptied too slowly, or not at
/// all.
const QUEUE_USAGE: f64 = 0.5;

/// A problem of the installation.
#[derive(Debug)]
struct Finding {
    /// Stable name, for scripts.
    kind: &'static str,
    /// The thing that has the problem.
    about: String,
    /// The problem, for people.
    detail: String,
    /// The remedy, for people.
    fix: String,
}

impl Finding {
    fn row(&self) -> Value {
        let Self { kind, about, detail, fix } = self;
        json!({"kind": kind, "about": about, "detail": detail, "fix": fix})
    }
}

pub(super) async fn run(command: Doctor, settings: Settings) -> Result<ExitCode, CommandError> {
    let url = settings.registry.url.as_ref().ok_or(StartError::NoRegistryUrl)?;
    let pending = schema::status(parse_url(url)?).await?.pending;
    // The other checks need the newest schema of the registry.
    let found = if pending.is_empty() {
        let app = open_app(settings).await?;
        let found = examine(&app).await;
        app.close().await;
        found?
    } else {
        telemetry::start(&quiet(&settings));
        vec![Finding {
            kind: "registry_schema",
            about: "registry".to_owned(),
            detail: format!("{} migration(s) are pending: {}", pending.len(), pending.join(", ")),
            fix: "narthex migrate registry".to_owned(),
        }]
    };
    let rows: Vec<Value> = found.iter().map(Finding::row).collect();
    if command.json {
        print::json(&Value::Array(rows));
    } else {
        if !rows.is_empty() {
            print::table(["kind", "about", "detail", "fix"], &rows);
        }
        say!("{} finding(s)", rows.len());
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(app: &App) -> Result<Vec<Finding>, CommandError> {
    let mut found = audit_logs(app).await?;
    found.extend(outdated_tenants(app).await?);
    found.extend(unreadable_values(app).await?);
    let usage = changes::queue_usage(&app.registry.connect().await?).await?;
    found.extend(notification_queue(usage));
    let differences = app.fleet.reconciler().reconcile().await?.len();
    if differences > 0 {
        found.push(Finding {
            kind: "reconcile",
            about: "database servers".to_owned(),
            detail: format!("{differences} thing(s) are not as the registry says"),
            fix: "narthex reconcile".to_owned(),
        });
    }
    Ok(found)
}

/// Verifies the chain of each audit log, and compares it with its last recorded head.
async fn audit_logs(app: &App) -> Result<Vec<Finding>, CommandError> {
    let db = app.registry.connect().await?;
    let noted = audit_heads::noted(&db, audit_log::CHAIN).await?;
    let verified = audit_log::verify(&db, app.registry.hasher(), &noted).await?;
    let tenants = tenants::list(&db, None).await?;
    drop(db);
    let mut found: Vec<_> = judge(app, audit_log::CHAIN, verified).await?.into_iter().collect();
    let newest = template::schema_version();
    for tenant in tenants {
        // A tenant with an older schema may have no log. It is reported as outdated instead.
        let is_kept = matches!(tenant.status, Status::Active | Status::Suspended);
        if is_kept && tenant.schema_version >= newest {
            found.extend(audit_log_of(app, &tenant).await?);
        }
    }
    Ok(found)
}

/// Verifies the audit log of one tenant.
async fn audit_log_of(app: &App, tenant: &Tenant) -> Result<Option<Finding>, CommandError> {
    let (id, chain) = (tenant.id, tenant.id.to_string());
    let registry = app.registry.connect().await?;
    let noted = audit_heads::noted(&registry, &chain).await?;
    drop(registry);
    let verified = async {
        let db = app.router.connect_for_provisioning(id).await.map_err(other)?;
        let verified = tenant_data::audit_log::verify(&db, app.registry.hasher(), &noted).await;
        verified.map_err(other)
    };
    match verified.await {
        Ok(verified) => judge(app, &chain, verified).await,
        Err(error) => Ok(Some(Finding {
            kind: "tenant_database",
            about: tenant.slug.clone(),
            detail: error.to_string(),
            fix: format!("narthex tenants provision {}, once its server answers", tenant.slug),
        })),
    }
}

/// Records the head of an intact log, or reports the tampering.
async fn judge(
    app: &App,
    chain: &str,
    verified: Result<Head, Tampering>,
) -> Result<Option<Finding>, CommandError> {
    match verified {
        Ok(head) => {
            let db = app.registry.connect().await?;
            audit_heads::record(&db, chain, &head).await?;
            Ok(None)
        }
        Err(tampering) => Ok(Some(Finding {
            kind: "audit_log",
            about: chain.to_owned(),
            detail: tampering.to_string(),
            fix: "somebody has written to the table by another way: compare it with a backup, and find out who can"
                .to_owned(),
        })),
    }
}

async fn outdated_tenants(app: &App) -> Result<Vec<Finding>, CommandError> {
    let db = app.registry.connect().await?;
    let (all, newest) = (tenants::list(&db, None).await?, template::schema_version());
    let is_kept = |status| matches!(status, Status::Active | Status::Suspended | Status::Failed);
    let outdated = all.into_iter().filter(|row| is_kept(row.status) && row.schema_version < newest);
    Ok(outdated
        .map(|tenant| Finding {
            kind: "tenant_schema",
            detail: format!(
                "the tenant, which is {}, has the schema {}; the newest is {newest}",
                tenant.status.to_value(),
                tenant.schema_version
            ),
            fix: format!("narthex tenants provision {}", tenant.slug),
            about: tenant.slug,
        })
        .collect())
}

async fn unreadable_values(app: &App) -> Result<Vec<Finding>, CommandError> {
    let db = app.registry.connect().await?;
    let mut found = Vec::new();
    for of in resealing::SEALED {
        let unreadable = resealing::count_unreadable(&db, app.registry.sealer(), of).await?;
        if unreadable > 0 {
            found.push(Finding {
                kind: "sealed_values",
                about: format!("{}.{}", of.table, of.column),
                detail: format!("{unreadable} value(s) open with none of the keys"),
                fix: "add the key that sealed them to secrets.previous_master_keys; \
                      `narthex keys rotate --master-key` then seals them anew"
                    .to_owned(),
            });
        }
    }
    Ok(found)
}

/// The registry announces its changes through the notification queue of its server.
fn notification_queue(usage: f64) -> Option<Finding> {
    (usage > QUEUE_USAGE).then(|| Finding {
        kind: "notification_queue",
        about: "the registry's server".to_owned(),
        detail: format!(
            "the queue of notifications is {:.0} % full; when it is full, no change of the registry can be committed",
            usage * 100.0
        ),
        fix: "end the session that listens and stays in a transaction: the oldest in \
              SELECT pid, application_name, xact_start FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_notifications_is_a_finding_above_the_half() {
        assert!(notification_queue(0.0).is_none());
        assert!(notification_queue(0.5).is_none());
        let found = notification_queue(0.514).unwrap();
        assert_eq!(found.kind, "notification_queue");
        assert!(found.detail.contains("51 % full"), "{found:?}");
    }
}
