//! `narthex tenants provision`: repairs a tenant, and shows the progress.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sea_orm::ActiveEnum;
use secrecy::SecretString;

use super::lookup::{advice, find, owner};
use crate::app::App;
use crate::cli::actor::origin;
use crate::cli::{CommandError, other};
use crate::identifiers::{EmailAddress, RunId};
use crate::plain_text::name;
use crate::provisioning::RepairError;
use crate::registry::runs::provisioning_runs;

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(in crate::cli) struct Provision {
    /// Id or slug of the tenant.
    tenant: String,
    /// Creates a new, empty database if it is missing. If there is a backup, restore it first.
    #[arg(long)]
    accept_empty_database: bool,
    /// Adds an owner to a tenant without staff. The password is read from a prompt, standard input
    /// or a file.
    #[arg(long, value_name = "EMAIL", requires_all = ["owner_first_name", "owner_last_name"])]
    owner_email: Option<EmailAddress>,
    /// First name of the owner.
    #[arg(long, value_name = "NAME", value_parser = name::<80>, requires = "owner_email")]
    owner_first_name: Option<String>,
    /// Last name of the owner.
    #[arg(long, value_name = "NAME", value_parser = name::<80>, requires = "owner_email")]
    owner_last_name: Option<String>,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE", requires = "owner_email")]
    pub(super) password_file: Option<PathBuf>,
}

impl Provision {
    pub(super) fn has_owner(&self) -> bool {
        self.owner_email.is_some()
    }
}

pub(super) async fn run(
    app: &App,
    command: Provision,
    password: Option<SecretString>,
) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, &command.tenant).await?;
    drop(db);
    let names = command.owner_first_name.zip(command.owner_last_name);
    let owner = match command.owner_email.zip(names) {
        Some((email, names)) => Some(owner(app, email, names, password).await?),
        None => None,
    };
    let accept_empty = command.accept_empty_database;
    let planned = app.provisioner.repair(&tenant, owner.as_ref(), accept_empty, &origin()).await;
    let planned = planned.map_err(|reason| match reason {
        RepairError::Busy(busy) => CommandError::Other(format!(
            "`{0}`: {busy}; `narthex runs list --tenant {0}` shows it",
            tenant.slug
        )),
        RepairError::Status(status) => CommandError::Other(format!(
            "`{}` is {} and cannot be mended: {}",
            tenant.slug,
            status.to_value(),
            advice(&tenant)
        )),
        RepairError::Registry(error) => error.into(),
    })?;
    let mut told = Told::default();
    let finished = {
        let finish = app.provisioner.finish(planned);
        tokio::pin!(finish);
        loop {
            tokio::select! {
                finished = &mut finish => break finished,
                () = tokio::time::sleep(BETWEEN_LOOKS) => told.go_on(app, planned.run_id).await,
            }
        }
    };
    told.go_on(app, planned.run_id).await;
    match finished {
        Ok(_) => {
            let db = app.registry.connect().await?;
            let tenant = find(&db, &tenant.id.to_string()).await?;
            say!("{} is {}", tenant.slug, tenant.status.to_value());
            Ok(())
        }
        Err(failure) => Err(other(format!(
            "`{}` was not mended: {failure}; `narthex runs show {}` says more",
            tenant.slug, planned.run_id
        ))),
    }
}

/// The part of a run's history that has been printed: the id of the last event.
#[derive(Default)]
struct Told(i64);

impl Told {
    /// Prints the events of steps since the last call.
    async fn go_on(&mut self, app: &App, run: RunId) {
        let Ok(db) = app.registry.connect().await else { return };
        let Ok(history) = provisioning_runs::history(&db, run).await else { return };
        let told = self.0;
        for event in history.into_iter().filter(|event| event.id > told) {
            self.0 = event.id;
            let (Some(step), Some(end)) = (event.step, event.event.strip_prefix("step_")) else {
                continue;
            };
            match event.detail {
                Some(reason) => say!("{step} {end}: {reason}"),
                None if end == "begun" => {}
                None => say!("{step} {end}"),
            }
        }
    }
}
