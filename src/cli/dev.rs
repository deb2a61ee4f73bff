//! `narthex dev`: a whole installation on this machine, from installed PostgreSQL programs and an
//! empty directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use sea_orm::ActiveEnum;
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::actor::origin;
use super::instance::Instance;
use super::{CommandError, other, quiet, signals, tenants};
use crate::app::App;
use crate::clock::Clock;
use crate::configuration::{HttpSettings, Settings};
use crate::fleet::template;
use crate::http::Listeners;
use crate::identifiers::{EmailAddress, LineNumber, TenantId, Timezone};
use crate::mail::Mailer;
use crate::operators::NewOperator;
use crate::provisioning::{NewOwner, NewTenant, Planned, WantedSlug};
use crate::registry::people::operators::Role;
use crate::registry::runs::provisioning_runs::{self, Filter, RunKind};
use crate::registry::schema;
use crate::registry::tenants::{Status, Tenant};
use crate::webhooks::telnyx::signature::SigningKey;
use crate::{registry, sealing, telemetry};
use local_cluster::{ClusterOptions, LocalCluster, default_data_dir};

/// Enough for hundreds of tenants with a few connections each.
const CLUSTER_CONNECTIONS: u32 = 400;

/// The demo tenants: name, owner's email, number (of the range kept for fiction).
const DEMO_TENANTS: [(&str, &str, &str); 2] = [
    ("Grace Chapel", "owner@grace-chapel.example", "+13125550111"),
    ("Hope Fellowship", "owner@hope-fellowship.example", "+13125550122"),
];

/// The operator of the dev instance. The password is that of the demo tenants' owners.
const DEMO_OPERATOR: &str = "operator@narthex.example";

/// At the start, this many of the newest runs are checked, and each open run gets `FINISH_TIMEOUT`
/// to finish.
const RUNS_TO_FINISH: u64 = 100;
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(super) struct Dev {
    /// The directory for all data.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port; where absent 127.0.0.1:8080, or a free port if that one is taken.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(command: Dev, mut settings: Settings) -> Result<ExitCode, CommandError> {
    telemetry::start(&quiet(&settings));
    let data_dir = command.data_dir.unwrap_or_else(default_data_dir);
    progress(&format!("starting PostgreSQL in {}", data_dir.display()));
    let cluster = LocalCluster::start(ClusterOptions {
        data_dir: data_dir.clone(),
        durable: true,
        max_connections: CLUSTER_CONNECTIONS,
    })
    .await?;
    let served = serve(&cluster, &data_dir, command.listen, &mut settings).await;
    forget_addresses(&data_dir);
    cluster.stop().await?;
    Ok(if served? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn serve(
    cluster: &LocalCluster,
    data_dir: &Path,
    listen: Option<SocketAddr>,
    settings: &mut Settings,
) -> Result<bool, CommandError> {
    let mut instance = match Instance::read(data_dir)? {
        Some(instance) => instance,
        None => new_instance()?,
    };
    let registry_url = cluster.url("narthex_registry");
    // No load balancer has to notice the drain.
    settings.http.drain_delay = Duration::ZERO;
    // An authenticator app for a dev instance would be too much work.
    settings.auth.operator_mfa_required = false;
    settings.registry.url = Some(SecretString::from(registry_url.clone()));
    settings.secrets.master_key = Some(SecretString::from(instance.master_key.clone()));
    let telnyx_key = SigningKey::from_base64(&instance.telnyx_seed).map_err(other)?;
    // The developer reads the emails in the log.
    settings.smtp.url.get_or_insert_with(Mailer::log_url);
    settings.telnyx.public_key.get_or_insert_with(|| telnyx_key.public_key().to_base64());

    progress("migrating the registry");
    let options = registry::parse_url(&SecretString::from(registry_url.clone()))?;
    schema::migrate(options).await?;
    // Stored before the first secret is sealed with it.
    instance.write(data_dir)?;

    let app = App::open(settings.clone(), Clock::system()).await?;
    let prepared = prepare(&app, &instance, listen, &settings.http).await;
    let (demo, listeners) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            app.close().await;
            return Err(error);
        }
    };
    let url = url_of(&listeners.public)?;
    let operations_url = url_of(&listeners.operations)?;
    instance.url = Some(url.clone());
    instance.registry_url = Some(registry_url);
    instance.write(data_dir)?;
    welcome(&url, &operations_url, data_dir, &instance, &demo);
    Ok(app.serve(listeners).await)
}

/// The steps that can fail after the application is open.
async fn prepare(
    app: &App,
    instance: &Instance,
    asked: Option<SocketAddr>,
    configured: &HttpSettings,
) -> Result<(Vec<Tenant>, Listeners), CommandError> {
    signals::follow(&app.life).map_err(CommandError::while_doing("signals cannot be followed"))?;
    progress("preparing the tenant template and the demo tenants");
    app.fleet.prepare().await?;
    finish_what_was_begun(app).await?;
    bring_up_to_date(app).await?;
    let demo = demo_tenants(app, instance).await?;
    demo_operator(app, instance).await?;
    let listeners = Listeners {
        public: bind(asked, configured.listen).await?,
        operations: bind(None, configured.operations_listen).await?,
    };
    Ok((demo, listeners))
}

fn progress(text: &str) {
    eprintln!("narthex dev: {text} ...");
}

fn new_instance() -> Result<Instance, CommandError> {
    let key = || sealing::generate_master_key().map_err(other);
    let password = STANDARD.decode(key()?).unwrap_or_default();
    Ok(Instance {
        master_key: key()?,
        telnyx_seed: key()?,
        demo_password: hex::encode(&password[..password.len().min(8)]),
        url: None,
        registry_url: None,
    })
}

/// Binds the usual port. A free port is used if the usual one is taken and none was asked for.
async fn bind(
    asked: Option<SocketAddr>,
    configured: SocketAddr,
) -> Result<TcpListener, CommandError> {
    let address = asked.unwrap_or(configured);
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(_) if asked.is_none() => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(CommandError::while_doing("cannot listen on any port")),
        Err(error) => Err(CommandError::while_doing(&format!("cannot listen on {address}"))(error)),
    }
}

fn url_of(listener: &TcpListener) -> Result<String, CommandError> {
    let address = listener.local_addr();
    let address = address.map_err(CommandError::while_doing("the listener has no address"))?;
    Ok(format!("http://{address}"))
}

/// Finishes the tenants that an earlier start was creating when it stopped: a tenant is made
/// completely or not at all.
async fn finish_what_was_begun(app: &App) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let making = Filter { kind: Some(RunKind::CreateTenant), ..Filter::default() };
    let newest = provisioning_runs::list(&db, &making, RUNS_TO_FINISH).await?;
    drop(db);
    for run in newest.iter().filter(|run| run.status.is_open()) {
        progress("finishing what an earlier start began");
        let planned = Planned { run_id: run.id, tenant_id: run.tenant_id, owner_id: None };
        // A demo tenant whose run was undone is registered again. A run that waits for something
        // else does not concern this start.
        let _ = tokio::time::timeout(FINISH_TIMEOUT, app.provisioner.finish(planned)).await;
    }
    Ok(())
}

/// Brings tenants of an older program to this program's schema: on this machine nothing else does
/// it.
async fn bring_up_to_date(app: &App) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let all = registry::tenants::list(&db, None).await?;
    drop(db);
    let newest = template::schema_version();
    for tenant in all {
        let is_served = matches!(tenant.status, Status::Active | Status::Suspended);
        if !is_served || tenant.schema_version >= newest {
            continue;
        }
        progress(&format!("bringing the schema of {} up to date", tenant.slug));
        let planned = app.provisioner.repair(&tenant, None, false, &origin()).await;
        let planned = planned.map_err(other)?;
        app.provisioner.finish(planned).await.map_err(other)?;
    }
    Ok(())
}

/// Registers the demo tenants at the first start, and finds them at later starts.
async fn demo_tenants(app: &App, instance: &Instance) -> Result<Vec<Tenant>, CommandError> {
    let mut found = Vec::new();
    for (name, email, number) in DEMO_TENANTS {
        let email: EmailAddress = email.parse().map_err(other)?;
        let number: LineNumber = number.parse().map_err(other)?;
        let db = app.registry.connect().await?;
        let known =
            registry::tenants::email_index::tenants_of(&db, &app.registry.hasher().email(&email))
                .await?;
        let id = match known.first() {
            Some(id) => *id,
            None => register(app, name, email, instance).await?,
        };
        let tenant = tenants::find(&db, &id.to_string()).await?;
        if tenant.status != Status::Active {
            return Err(CommandError::Other(format!(
                "the demo tenant {name} is {}, not active; remove the data directory to begin anew",
                tenant.status.to_value()
            )));
        }
        tenants::assign_number(app, &tenant, &number).await?;
        found.push(tenant);
    }
    Ok(found)
}

/// Creates the demo operator at the first start. Later starts leave the operator unchanged.
async fn demo_operator(app: &App, instance: &Instance) -> Result<(), CommandError> {
    let new = NewOperator {
        email: DEMO_OPERATOR.parse().map_err(other)?,
        name: "Demo Operator".to_owned(),
        role: Role::Admin,
        password: SecretString::from(instance.demo_password.clone()),
    };
    if app.operators.directory.find(&new.email).await?.is_none() {
        let created = app.operators.directory.create(new, &origin()).await;
        created.map_err(other)?;
    }
    Ok(())
}

async fn register(
    app: &App,
    name: &str,
    email: EmailAddress,
    instance: &Instance,
) -> Result<TenantId, CommandError> {
    let password = SecretString::from(instance.demo_password.clone());
    let owner = NewOwner {
        email,
        password_hash: app.accounts.hasher().hash(password).await.map_err(other)?,
        first_name: "Demo".to_owned(),
        last_name: "Owner".to_owned(),
    };
    let tenant = NewTenant {
        organization_name: name.to_owned(),
        slug: WantedSlug::Derived,
        timezone: "America/Chicago".parse().unwrap_or(Timezone::UTC),
        plan: None,
        unproven: false,
        owner: Some(owner),
    };
    let started = app.provisioner.start(&tenant, None).await.map_err(other)?;
    let created = started.outcome().await.map_err(other)?;
    Ok(created.tenant_id)
}

/// Removes the addresses from the instance file, so that other commands report that nothing runs.
fn forget_addresses(data_dir: &Path) {
    if let Ok(Some(mut instance)) = Instance::read(data_dir) {
        instance.url = None;
        instance.registry_url = None;
        if let Err(error) = instance.write(data_dir) {
            tracing::warn!(%error, "the instance file could not be updated");
        }
    }
}

fn welcome(url: &str, operations_url: &str, data_dir: &Path, instance: &Instance, demo: &[Tenant]) {
    say!("\nNarthex is listening on {url}    (Ctrl-C stops it, and its PostgreSQL)\n");
    say!("  API documentation   {url}/docs/");
    say!("  Health              {url}/health");
    say!("  Metrics             {operations_url}/metrics");
    say!("  Data directory      {}\n", data_dir.display());
    say!("Two churches are registered, each with a database of its own:\n");
    for (tenant, (_, email, number)) in demo.iter().zip(DEMO_TENANTS) {
        say!("  {:<17} {email:<32} {number}", tenant.organization_name);
        say!("  {:<17} database {}", "", tenant.database_name);
    }
    let (_, email, number) = DEMO_TENANTS[0];
    let password = &instance.demo_password;
    let program =
        std::env::current_exe().map_or_else(|_| "narthex".to_owned(), |p| p.display().to_string());
    let place = if *data_dir == default_data_dir() {
        String::new()
    } else {
        format!(" --data-dir {}", data_dir.display())
    };
    say!("\nLog in (the password of both owners is {password}):\n");
    say!(
        "  curl -s {url}/v1/auth/login -H 'content-type: application/json' \\\n    -d '{{\"email\":\"{email}\",\"password\":\"{password}\"}}'\n"
    );
    say!("The operator {DEMO_OPERATOR} has the same password, at {url}/v1/admin/auth/login.\n");
    say!("In another terminal: a signed SMS to the first church, and the whole story:\n");
    say!("  {program} simulate sms --to {number} --text 'Is there a service on Sunday?'{place}");
    say!("  {program} demo{place}\n");
}
