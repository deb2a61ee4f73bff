//! `narthex tenants`: the tenants in the registry.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use secrecy::{ExposeSecret, SecretString};

use super::actor::origin;
use super::secret::read_secret;
use super::{CommandError, open_app, other};
use crate::app::App;
use crate::configuration::Settings;
use crate::identifiers::{EmailAddress, LineNumber, Slug, Timezone};
use crate::plain_text::name;
use crate::provisioning::{NewTenant, WantedSlug};
use crate::registry::tenants::Tenant;
use crate::tenants::AssignError;

mod life;
mod lookup;
mod provision;
mod show;

pub(super) use lookup::find;
use lookup::owner;

#[derive(Subcommand)]
pub(super) enum Tenants {
    /// Lists all tenants, oldest first.
    List {
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Shows one tenant, by id or slug.
    Show {
        tenant: String,
        /// For scripts: one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Creates a tenant with its own database. The owner's password is read from a prompt, standard
    /// input or a file.
    Create {
        /// The organization's name.
        #[arg(long, value_parser = name::<120>)]
        organization: String,
        /// Email address of the owner.
        #[arg(long)]
        email: EmailAddress,
        /// First name of the owner.
        #[arg(long, value_parser = name::<80>)]
        first_name: String,
        /// Last name of the owner.
        #[arg(long, value_parser = name::<80>)]
        last_name: String,
        /// IANA name of the time zone.
        #[arg(long, default_value = "UTC")]
        timezone: Timezone,
        /// Derived from the organization's name where absent.
        #[arg(long)]
        slug: Option<Slug>,
        /// File whose first line is the password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Suspends a tenant: its users cannot sign in or make calls. No data is lost.
    Suspend { tenant: String },
    /// Resumes a suspended tenant.
    Resume { tenant: String },
    /// Deletes a tenant: its users get no answers any more. For `provisioning.deletion_grace` it
    /// can be restored, then it is removed for good.
    Delete {
        tenant: String,
        /// The tenant's slug, as a confirmation.
        #[arg(long, value_name = "SLUG")]
        confirm: String,
    },
    /// Restores a deleted tenant to its earlier state.
    Restore { tenant: String },
    /// Repairs a tenant that is damaged or failed: role, database, rights, schema and seed are made
    /// where they are missing. Everything else stays.
    Provision(provision::Provision),
    /// Removes the second factor of a member of a tenant's staff who has lost it, and whom no other
    /// owner can help. First make sure who asks for it.
    ResetMfa { tenant: String, email: EmailAddress },
    /// Assigns a phone number, or a short code, to a tenant (id or slug); parked messages to the
    /// number are delivered at once.
    AssignNumber { tenant: String, number: LineNumber },
}

pub(super) async fn run(command: Tenants, settings: Settings) -> Result<ExitCode, CommandError> {
    // Read before connections are opened, so that they do not wait for the prompt.
    let password = match &command {
        Tenants::Create { password_file, .. } => Some(read_password(password_file.as_ref())?),
        Tenants::Provision(command) if command.has_owner() => {
            Some(read_password(command.password_file.as_ref())?)
        }
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
        Tenants::List { json } => show::list(app, json).await,
        Tenants::Show { tenant, json } => show::show(app, &tenant, json).await,
        Tenants::Suspend { tenant } => life::suspend(app, &tenant).await,
        Tenants::Resume { tenant } => life::resume(app, &tenant).await,
        Tenants::Delete { tenant, confirm } => life::delete(app, &tenant, &confirm).await,
        Tenants::Restore { tenant } => life::restore(app, &tenant).await,
        Tenants::Provision(command) => provision::run(app, command, password).await,
        Tenants::ResetMfa { tenant, email } => {
            let db = app.registry.connect().await?;
            let tenant = Arc::new(find(&db, &tenant).await?);
            drop(db);
            let origin = origin();
            let reset = app.accounts.staff.reset_factor_by_command(&tenant, &email, &origin);
            reset.await.map_err(other)?;
            say!("{} has no second factor and no session at {}", email.as_str(), tenant.slug);
            Ok(())
        }
        Tenants::AssignNumber { tenant, number } => {
            let db = app.registry.connect().await?;
            let tenant = find(&db, &tenant).await?;
            let made_due = assign_number(app, &tenant, &number).await?;
            say!("{} now belongs to {}", number.as_str(), tenant.slug);
            if made_due > 0 {
                say!("{made_due} waiting event(s) will be delivered at once");
            }
            Ok(())
        }
        Tenants::Create { organization, email, first_name, last_name, timezone, slug, .. } => {
            let owner = owner(app, email, (first_name, last_name), password).await?;
            let new = NewTenant {
                organization_name: organization,
                slug: slug.map_or(WantedSlug::Derived, WantedSlug::Exactly),
                timezone,
                plan: None,
                unproven: false,
                owner: Some(owner),
            };
            let started = app.provisioner.create_for(&new, &origin()).await?;
            let created = started.outcome().await.map_err(other)?;
            let db = app.registry.connect().await?;
            let tenant = find(&db, &created.tenant_id.to_string()).await?;
            say!("created {} ({}) in database {}", tenant.slug, tenant.id, tenant.database_name);
            Ok(())
        }
    }
}

/// Assigns the number and makes the parked events for it due. Returns how many there are.
pub(super) async fn assign_number(
    app: &App,
    tenant: &Tenant,
    number: &LineNumber,
) -> Result<u64, CommandError> {
    let assigned = app.tenants.assign_number(tenant.id, number, &origin()).await;
    assigned.map_err(|error| match error {
        AssignError::Registry(error) => error.into(),
        AssignError::NotAssigned(reason) => {
            CommandError::Other(format!("{} {reason}", number.as_str()))
        }
    })
}

fn read_password(file: Option<&PathBuf>) -> Result<SecretString, CommandError> {
    let password = read_secret(file, "Owner's password: ", "the password")?;
    if (10..=128).contains(&password.expose_secret().chars().count()) {
        Ok(password)
    } else {
        Err(CommandError::Other("the password must have 10 to 128 characters".to_owned()))
    }
}
