//! `narthex operators`: the operators, who may call `/v1/admin`. The first one is created here.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use sea_orm::ActiveEnum;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::actor::origin;
use super::secret::read_secret;
use super::{CommandError, open_app, other, print};
use crate::app::App;
use crate::configuration::Settings;
use crate::identifiers::{EmailAddress, word};
use crate::operators::NewOperator;
use crate::paging::PageRequest;
use crate::passwords;
use crate::plain_text::name;
use crate::registry::people::operators::{self, Operator, OperatorChange, Role, Status};

/// Rows read at once.
const PART: u64 = 200;

#[derive(Subcommand)]
pub(super) enum Operators {
    /// Creates an operator. The password is read from a prompt, standard input or a file.
    Create {
        /// The address with which the operator signs in.
        #[arg(long)]
        email: EmailAddress,
        /// For people; the audit log shows it.
        #[arg(long, value_parser = name::<120>)]
        name: String,
        /// viewer, support or admin.
        #[arg(long, value_parser = word::<Role>)]
        role: Role,
        /// File whose first line is the password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Lists all operators, newest first.
    List {
        /// For scripts: one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Disables an operator, who is signed out everywhere and cannot sign in again. The last active
    /// admin cannot be disabled.
    Disable { email: EmailAddress },
    /// Allows a disabled operator to sign in again.
    Enable { email: EmailAddress },
    /// Helps an operator who cannot sign in any more: sets a new password, removes the second
    /// factor, and ends all sessions.
    Reset {
        email: EmailAddress,
        /// File whose first line is the password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

pub(super) async fn run(command: Operators, settings: Settings) -> Result<ExitCode, CommandError> {
    // Read before connections are opened, so that they do not wait for the prompt.
    let password = match &command {
        Operators::Create { email, name, password_file, .. } => {
            read_password(password_file.as_ref(), &[email.as_str(), name])?
        }
        Operators::Reset { email, password_file } => {
            read_password(password_file.as_ref(), &[email.as_str()])?
        }
        _ => SecretString::default(),
    };
    let app = open_app(settings).await?;
    let done = execute(&app, command, password).await;
    app.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn execute(
    app: &App,
    command: Operators,
    password: SecretString,
) -> Result<(), CommandError> {
    match command {
        Operators::Create { email, name, role, .. } => {
            let new = NewOperator { email, name, role, password };
            let created = app.operators.directory.create(new, &origin()).await;
            let operator = created.map_err(other)?;
            say!("created {} ({}), {}", operator.name, operator.id, role.to_value());
            Ok(())
        }
        Operators::List { json } => list(app, json).await,
        Operators::Disable { email } => change(app, &email, Status::Disabled).await,
        Operators::Enable { email } => change(app, &email, Status::Active).await,
        Operators::Reset { email, .. } => {
            let operator = find(app, &email).await?;
            let reset = app.operators.directory.reset(operator.id, password, &origin()).await;
            reset.map_err(other)?;
            say!("{} has a new password, no second factor and no session", email.as_str());
            Ok(())
        }
    }
}

async fn list(app: &App, as_json: bool) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = operators::list(&db, PageRequest { limit: PART, after }).await?;
        for operator in page.rows {
            rows.push(row(app, &operator)?);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if as_json {
        print::json(&Value::Array(rows));
        return Ok(());
    }
    print::table(["email", "name", "role", "status", "mfa_enabled", "last_login_at"], &rows);
    say!("{} operator(s)", rows.len());
    Ok(())
}

fn row(app: &App, operator: &Operator) -> Result<Value, CommandError> {
    Ok(json!({
        "id": operator.id,
        "email": app.operators.directory.email_of(operator).map_err(other)?,
        "name": operator.name,
        "role": operator.role,
        "status": operator.status,
        "mfa_enabled": operator.has_second_factor(),
        "last_login_at": operator.last_login_at,
        "created_at": operator.created_at,
    }))
}

async fn find(app: &App, email: &EmailAddress) -> Result<Operator, CommandError> {
    app.operators.directory.find(email).await?.ok_or_else(|| {
        other(format!(
            "there is no operator `{}`; `narthex operators list` shows all",
            email.as_str()
        ))
    })
}

async fn change(app: &App, email: &EmailAddress, status: Status) -> Result<(), CommandError> {
    let operator = find(app, email).await?;
    let change = OperatorChange { status: Some(status), ..OperatorChange::default() };
    let changed = app.operators.directory.change(operator.id, change, &origin()).await;
    changed.map_err(other)?;
    say!("{} is {}", email.as_str(), status.to_value());
    Ok(())
}

fn read_password(file: Option<&PathBuf>, about: &[&str]) -> Result<SecretString, CommandError> {
    let password = read_secret(file, "Operator's password: ", "the password")?;
    let text = password.expose_secret();
    if !(10..=128).contains(&text.chars().count()) {
        return Err(other("the password must have 10 to 128 characters"));
    }
    if passwords::is_common(text, about) {
        return Err(other("the password is one of the first that anybody would try"));
    }
    Ok(password)
}
