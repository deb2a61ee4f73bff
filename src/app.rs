//! The composition root: the only place that creates all modules and defines the order in which
//! they start and stop.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;

use crate::access::{AccessError, Authenticator};
use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::fleet::Fleet;
use crate::http::{self, Gateway, Listeners, Modules};
use crate::jobs::{self, Jobs};
use crate::lifecycle::Lifecycle;
use crate::mail::{MailError, Mailer};
use crate::operators::Operators;
use crate::passwords::PasswordError;
use crate::provisioning::Provisioner;
use crate::registry::{Registry, RegistryError};
use crate::sealing::{Sealer, SealingError};
use crate::standard_webhooks::{Secret, SecretError};
use crate::tenant_router::{BudgetError, PlanError, TenantRouter};
use crate::tenants::{OwnTenant, Purges, Tenants};
use crate::webhooks::clerk::ClerkWebhooks;
use crate::webhooks::telnyx::TelnyxWebhooks;
use crate::webhooks::telnyx::signature::{KeyError, PublicKey};

/// Minimum time for background tasks to end after the last connection has closed. They get more if
/// the drain timeout is not used up. With the default settings the process ends before the usual 30
/// s of a supervisor.
const TASKS_DRAIN: Duration = Duration::from_secs(3);
/// Time for background work of a command that serves no requests.
const COMMANDS_DRAIN: Duration = Duration::from_secs(10);

/// Reason why the application could not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `registry.url` is not set.
    #[error(
        "registry.url is not set: set NARTHEX_REGISTRY__URL (or DATABASE_URL) to the registry's postgres:// URL"
    )]
    NoRegistryUrl,
    /// `secrets.master_key` is not set.
    #[error(
        "secrets.master_key is not set: set NARTHEX_SECRETS__MASTER_KEY to 32 random bytes in base64 \
         (`openssl rand -base64 32`) and keep it safe; without it the registry's secrets cannot be opened"
    )]
    NoMasterKey,
    /// The master key is not valid.
    #[error("secrets: {0}")]
    Sealing(#[from] SealingError),
    /// `telnyx.public_key` is not a valid key.
    #[error("telnyx.public_key: {0}")]
    TelnyxKey(#[from] KeyError),
    /// `clerk.webhook_secret` is not a valid secret.
    #[error("clerk.webhook_secret: {0}")]
    ClerkSecret(#[from] SecretError),
    /// The registry cannot be reached or used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The configured connections are more than the database server accepts.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The HTTP client for calls to other services could not be created.
    #[error("the HTTP client for calls to other services could not be made: {0}")]
    Outbound(#[from] reqwest::Error),
    /// The `smtp` settings are not valid.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The signing keys or the revocations could not be loaded.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The password hasher could not be created, for example because of its cost settings.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
}

impl From<PlanError> for StartError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Registry(error) => error.into(),
            PlanError::Budget(error) => error.into(),
        }
    }
}

/// All modules, ready for use.
pub struct App {
    /// The registry: tenants, runs, inbox, secrets, operators.
    pub registry: Registry,
    /// The tenant router: connections to tenants' databases.
    pub router: TenantRouter,
    /// The database servers, their template and their warm databases.
    pub fleet: Fleet,
    /// Provisioning: runs that create, repair and purge tenants.
    pub provisioner: Provisioner,
    /// Changes of tenants in the registry.
    pub tenants: Tenants,
    /// Changes that staff make to their own tenant.
    pub own_tenant: OwnTenant,
    /// Deletion and purge of tenants whose time is over.
    pub purges: Purges,
    /// Verifies tokens and reads callers' rights.
    pub access: Authenticator,
    /// Accounts of staff: sign-in, sessions, credentials.
    pub accounts: Accounts,
    /// Operators of the installation.
    pub operators: Operators,
    /// Webhooks of Telnyx: inbound messages.
    pub telnyx: TelnyxWebhooks,
    /// Webhooks of Clerk: organizations, users and memberships.
    pub clerk: ClerkWebhooks,
    /// Sends emails.
    pub mailer: Mailer,
    /// Drain and stop of the process.
    pub life: Lifecycle,
    settings: Settings,
    clock: Clock,
}

impl App {
    /// Creates all modules. Nothing listens and no job runs yet.
    pub async fn open(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let url = settings.registry.url.as_ref().ok_or(StartError::NoRegistryUrl)?;
        let master_key = settings.secrets.master_key.as_ref().ok_or(StartError::NoMasterKey)?;
        let previous =
            settings.secrets.previous_master_keys.iter().map(ExposeSecret::expose_secret);
        let sealer = Arc::new(Sealer::new(master_key.expose_secret(), previous)?);
        let telnyx_key =
            settings.telnyx.public_key.as_deref().map(PublicKey::from_base64).transpose()?;
        let clerk_secret = settings.clerk.webhook_secret.as_ref();
        let clerk_secret =
            clerk_secret.map(|secret| Secret::parse(secret.expose_secret())).transpose()?;

        let life = Lifecycle::new();
        let public_url = settings.http.public_url.clone();
        let mailer = Mailer::new(&settings.smtp, public_url, life.clone())?;
        let registry = Registry::open(&settings.registry, url, sealer, &clock).await?;
        let router =
            TenantRouter::new(registry.clone(), settings.router.clone(), &life, clock.clone());
        let provisioning = settings.provisioning.connections();
        router.plan_budget(settings.registry.max_connections, provisioning).await?;
        let fleet = Fleet::new(
            registry.clone(),
            router.clone(),
            &settings.provisioning,
            life.clone(),
            clock.clone(),
        );
        let provisioner = Provisioner::new(
            registry.clone(),
            router.clone(),
            fleet.clone(),
            settings.provisioning.clone(),
            life.clone(),
            clock.clone(),
        )?;
        let access = Authenticator::open(registry.clone(), &settings, &life, clock.clone()).await?;
        let accounts = Accounts::new(
            access.clone(),
            registry.clone(),
            router.clone(),
            &settings,
            mailer.clone(),
            &life,
            clock.clone(),
        )?;
        let operators = Operators::new(
            access.clone(),
            registry.clone(),
            router.clone(),
            accounts.hasher().clone(),
            accounts.login_throttle().clone(),
            &settings.auth,
            clock.clone(),
        );
        let tenants = Tenants::new(registry.clone(), clock.clone());
        let own_tenant = OwnTenant::new(
            access.clone(),
            registry.clone(),
            router.clone(),
            accounts.credentials.clone(),
            tenants.clone(),
        );
        let purges = Purges::new(
            registry.clone(),
            router.clone(),
            provisioner.clone(),
            &settings.provisioning,
            clock.clone(),
        );
        let telnyx = TelnyxWebhooks::new(
            registry.clone(),
            router.clone(),
            telnyx_key,
            settings.http.webhook_deadline,
            clock.clone(),
        );
        let clerk = ClerkWebhooks::new(
            registry.clone(),
            router.clone(),
            provisioner.clone(),
            clerk_secret,
            settings.auth.access_token_ttl,
            life.clone(),
            clock.clone(),
        );
        Ok(Self {
            registry,
            router,
            fleet,
            provisioner,
            tenants,
            own_tenant,
            purges,
            access,
            accounts,
            operators,
            telnyx,
            clerk,
            mailer,
            life,
            settings,
            clock,
        })
    }

    /// The time of the application's clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Time in which a deleted tenant can be restored.
    pub fn deletion_grace(&self) -> Duration {
        self.settings.provisioning.deletion_grace
    }

    /// Serves requests on the `listeners` and runs the jobs until the drain is over: readiness
    /// fails, the listeners close after `http.drain_delay`, requests in flight finish, and only
    /// then do loops end, because a request may need any of them. Returns `false` if a background
    /// task ended unexpectedly, or tasks did not end in time.
    pub async fn serve(self, listeners: Listeners) -> bool {
        if self.settings.telnyx.public_key.is_none() {
            tracing::warn!("telnyx.public_key is not set: every inbound message will be refused");
        }
        if !self.mailer.is_configured() {
            tracing::warn!("smtp.url is not set: nobody can prove an address or forget a password");
        }
        jobs::start(
            &self.life,
            Jobs {
                telnyx: self.telnyx.clone(),
                clerk: self.clerk.clone(),
                provisioner: self.provisioner.clone(),
                purges: self.purges.clone(),
                fleet: self.fleet.clone(),
                email_index: self.accounts.email_index.clone(),
            },
        );
        let modules = Modules {
            access: self.access,
            accounts: self.accounts,
            operators: self.operators,
            tenants: self.tenants,
            own_tenant: self.own_tenant,
            fleet: self.fleet,
            router: self.router.clone(),
            provisioner: self.provisioner,
            telnyx: self.telnyx,
            clerk: self.clerk,
            registry: self.registry,
        };
        let http = self.settings.http;
        let gateway = Gateway::new(
            modules,
            http.clone(),
            &self.settings.limits,
            self.settings.provisioning.wait,
            &self.life,
            self.clock,
        );
        let left = http::serve(listeners, gateway, &http, &self.life).await;
        self.life.stop();
        let drained = self.life.drained(left.max(TASKS_DRAIN)).await;
        self.router.close();
        drained && !self.life.has_failed()
    }

    /// Closes an application that was opened but never served requests.
    pub async fn close(self) {
        self.life.stop();
        self.life.drained(COMMANDS_DRAIN).await;
        self.router.close();
    }
}
