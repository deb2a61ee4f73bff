//! `narthex tenants`: the tenants in the registry.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::{Table, presets::NOTHING};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::secret::read_secret;
use super::{CommandError, open_app};
use crate::app::App;
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::identifiers::{EmailAddress, PhoneNumber, Slug, TenantId, Timezone};
use crate::provisioning::{NewOwner, NewTenant, WantedSlug};
use crate::registry::tenants::Tenant;
use crate::registry::{RegistryDb, parked_events, phone_numbers, tenants};

#[derive(Subcommand)]
pub(super) enum Tenants {
    /// All tenants, oldest first.
    List {
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// One tenant, by id or slug.
    Show {
        tenant: String,
        /// For scripts: one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Makes a tenant with its own database. The owner's password is read from a prompt, standard input or a file.
    Create {
        /// The organization's name.
        #[arg(long)]
        organization: String,
        /// Of the owner.
        #[arg(long)]
        email: EmailAddress,
        /// Of the owner.
        #[arg(long)]
        first_name: String,
        /// Of the owner.
        #[arg(long)]
        last_name: String,
        /// IANA name.
        #[arg(long, default_value = "UTC")]
        timezone: Timezone,
        /// Derived from the name where absent.
        #[arg(long)]
        slug: Option<Slug>,
        /// The password is the file's first line.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Gives a phone number to a tenant (id or slug); messages that wait for it are delivered at once.
    AssignNumber { tenant: String, number: PhoneNumber },
}

pub(super) async fn run(command: Tenants, settings: Settings) -> Result<ExitCode, CommandError> {
    // Asked for before anything is opened: a prompt must not keep connections waiting.
    let password = match &command {
        Tenants::Create { password_file, .. } => Some(read_password(password_file.as_ref())?),
        _ => None,
    };
    let app = open_app(settings).await?;
    let done = execute(&app, command, password).await;
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn execute(
    app: &App,
    command: Tenants,
    password: Option<SecretString>,
) -> Result<(), CommandError> {
    match command {
        Tenants::List { json } => list(app, json).await,
        Tenants::Show { tenant, json } => show(app, &tenant, json).await,
        Tenants::AssignNumber { tenant, number } => {
            let db = app.registry.connect().await?;
            let tenant = find(&db, &tenant).await?;
            let hastened = assign_number(app, &tenant, &number).await?;
            println!("{} now belongs to {}", number.as_str(), tenant.slug);
            if hastened > 0 {
                println!("{hastened} waiting event(s) will be delivered at once");
            }
            Ok(())
        }
        Tenants::Create { organization, email, first_name, last_name, timezone, slug, .. } => {
            let password = password.unwrap_or_default();
            let owner = NewOwner {
                email,
                password_hash: app
                    .authentication
                    .passwords()
                    .hash(password)
                    .await
                    .map_err(other)?,
                first_name,
                last_name,
            };
            let new = NewTenant {
                organization_name: organization,
                slug: slug.map_or(WantedSlug::Derived, WantedSlug::Exactly),
                timezone,
                owner: Some(owner),
            };
            let started = app.provisioner.start(&new, None).await.map_err(other)?;
            let created = started.outcome().await.map_err(other)?;
            let db = app.registry.connect().await?;
            let tenant = find(&db, &created.tenant_id.to_string()).await?;
            println!(
                "created {} ({}) in database {}",
                tenant.slug, tenant.id, tenant.database_name
            );
            Ok(())
        }
    }
}

fn other(error: impl std::fmt::Display) -> CommandError {
    CommandError::Other(error.to_string())
}

/// Assigns the number and makes the events that wait for it due. Returns how many there are.
pub(super) async fn assign_number(
    app: &App,
    tenant: &Tenant,
    number: &PhoneNumber,
) -> Result<u64, CommandError> {
    let now = Clock::system().now();
    let db = app.registry.connect().await?;
    let assigned = phone_numbers::assign(&db, number, TenantId(tenant.id), now).await?;
    if let Err(reason) = assigned {
        return Err(CommandError::Other(format!("{} {reason}", number.as_str())));
    }
    let hash = app.registry.hasher().phone_number(number.as_str());
    Ok(parked_events::hasten(&db, hash, now).await?)
}

/// By id or slug.
pub(super) async fn find(db: &RegistryDb, name: &str) -> Result<Tenant, CommandError> {
    let found = match name.parse() {
        Ok(id) => tenants::find(db, TenantId(id)).await?,
        Err(_) => tenants::find_by_slug(db, name).await?,
    };
    found.ok_or_else(|| {
        CommandError::Other(format!(
            "there is no tenant `{name}`; `narthex tenants list` shows all"
        ))
    })
}

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

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn list(app: &App, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let rows: Vec<Value> = tenants::list(&db, None).await?.iter().map(document).collect();
    if as_json {
        println!("{}", Value::Array(rows));
        return Ok(());
    }
    let columns = ["id", "slug", "organization_name", "status", "database", "created_at"];
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns);
    for row in &rows {
        table.add_row(columns.map(|column| text(&row[column])));
    }
    println!("{table}");
    println!("{} tenant(s)", rows.len());
    Ok(())
}

async fn show(app: &App, name: &str, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, name).await?;
    let numbers = phone_numbers::held_by(&db, TenantId(tenant.id)).await?;
    let mut row = document(&tenant);
    row["phone_numbers"] = numbers.into_iter().map(|held| held.number).collect();
    if as_json {
        println!("{row}");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (name, value) in row.as_object().into_iter().flatten() {
        table.add_row([name.clone(), text(value)]);
    }
    println!("{table}");
    Ok(())
}

fn read_password(file: Option<&PathBuf>) -> Result<SecretString, CommandError> {
    let password = read_secret(file, "Owner's password: ", "the password")?;
    if (10..=128).contains(&password.expose_secret().chars().count()) {
        Ok(password)
    } else {
        Err(CommandError::Other("the password must have 10 to 128 characters".to_owned()))
    }
}
