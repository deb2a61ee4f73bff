//! Signing in with email and password. An unknown address, a wrong password and an address whose tenant cannot be reached take
//! the same path, cost the same number of hashes, get the same answer, and get it after the same time.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::time::Instant;

use super::session::TokenPair;
use super::{Authentication, AuthenticationError, Client, SecondFactor, TenantChoice};
use crate::identifiers::{EmailAddress, TenantId};
use crate::limits::network_of;
use crate::registry::tenants::email_index;
use crate::registry::tenants::{self, Status, Tenant};
use crate::tenant_data::external_identities::NO_PASSWORD;
use crate::tenant_data::sessions;
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{HostName, TenantDb};

/// A failure is answered no earlier than this after its request: it covers the look-up in the tenant's database,
/// which an unknown address does not have.
pub(super) const FAILURE_TIME: Duration = Duration::from_millis(400);

/// What somebody signs in with.
pub struct Credentials {
    /// The address; a text that is no address has no account.
    pub email: Option<EmailAddress>,
    /// The password.
    pub password: SecretString,
    /// Where the account has a second factor.
    pub factor: Option<SecondFactor>,
    /// Slug of the tenant, for those who are staff of several.
    pub tenant: Option<String>,
}

/// Somebody who has signed in.
pub struct SignedIn {
    /// To which tenant.
    pub tenant: Arc<Tenant>,
    /// Who.
    pub user: StaffMember,
    /// What they call with from now on.
    pub tokens: TokenPair,
}

impl Authentication {
    /// Signs somebody in. Where `host` names a tenant, it is to that tenant, as if the credentials named it.
    pub async fn login(
        &self,
        mut credentials: Credentials,
        host: Option<&HostName<'_>>,
        client: &Client,
    ) -> Result<SignedIn, AuthenticationError> {
        let earliest_failure = Instant::now() + FAILURE_TIME;
        let named = self.named(credentials.tenant.take(), host).await;
        let named = match named {
            Ok(named) => named,
            Err(error) => {
                tokio::time::sleep_until(earliest_failure).await;
                return Err(error);
            }
        };
        credentials.tenant = named;
        let result = match credentials.email.clone() {
            // A text that is no address has no account that could be guessed at.
            None => self.check(credentials, client).await,
            Some(email) => {
                let is_theirs = |session: &SignedIn| self.is_proven(&session.user);
                self.counted(&email, client, is_theirs, self.check(credentials, client)).await
            }
        };
        wait_for_failure(&result, earliest_failure).await;
        result
    }

    /// Is the address of somebody who signs in theirs? Anybody can register with the address of another, and would be at home
    /// wherever they please. Without letters nobody can prove it.
    fn is_proven(&self, user: &StaffMember) -> bool {
        user.email_verified_at.is_some() || !self.mailer.is_set_up()
    }

    /// Something that proves who somebody is, and is counted where it fails. `is_theirs`: is the address of whoever has proven it
    /// theirs?
    pub(super) async fn counted<T>(
        &self,
        email: &EmailAddress,
        client: &Client,
        is_theirs: impl FnOnce(&T) -> bool,
        proof: impl Future<Output = Result<T, AuthenticationError>>,
    ) -> Result<T, AuthenticationError> {
        let account = self.registry.hasher().email(email);
        let network = network_of(client.ip);
        let is_at_home = self.is_signed_in_from(email, network);
        self.attempts.counted(account, network, is_at_home, is_theirs, proof).await
    }

    /// As [`Self::counted`], of somebody who is known.
    pub(super) async fn counted_for<T>(
        &self,
        user: &StaffMember,
        client: &Client,
        proof: impl Future<Output = Result<T, AuthenticationError>>,
    ) -> Result<T, AuthenticationError> {
        match user.email.parse() {
            // Who has got hold of a token must not guess here what he could not guess at the door.
            Ok(email) => self.counted(&email, client, |_| self.is_proven(user), proof).await,
            Err(_) => proof.await,
        }
    }

    /// Has anybody with this address a session that was last used from this network?
    async fn is_signed_in_from(&self, email: &EmailAddress, network: IpAddr) -> bool {
        let Ok(accounts) = self.accounts(email, None).await else { return false };
        for (tenant, user) in accounts.into_iter().filter(|(_, user)| self.is_proven(user)) {
            let Ok(db) = self.router.connect(&tenant).await else { continue };
            let ips = sessions::addresses_of(&db, user.id, self.clock.now()).await;
            if ips.is_ok_and(|ips| ips.into_iter().any(|ip| network_of(ip) == network)) {
                return true;
            }
        }
        false
    }

    /// The tenant that somebody means: by its slug, or by the host that they call. Both are the client's own words, so that
    /// nothing is told of who there is.
    pub(super) async fn named(
        &self,
        slug: Option<String>,
        host: Option<&HostName<'_>>,
    ) -> Result<Option<String>, AuthenticationError> {
        match (slug, self.slug_at(host).await?) {
            (Some(slug), Some(named)) if slug != named => Err(AuthenticationError::TenantMismatch),
            (slug, named) => Ok(named.or(slug)),
        }
    }

    /// The slug that a host stands for. One below our own domain is not looked up: a slug that nobody has finds no
    /// account, in the same time as an address that nobody has.
    async fn slug_at(
        &self,
        host: Option<&HostName<'_>>,
    ) -> Result<Option<String>, AuthenticationError> {
        let directory = self.router.directory();
        let holder = match host {
            None => None,
            Some(HostName::Slug(slug)) => return Ok(Some(slug.clone().into_owned())),
            Some(domain) => directory.tenant_of_host(domain).await?,
        };
        let Some(holder) = holder else { return Ok(None) };
        Ok(directory.tenant(holder).await?.map(|tenant| tenant.slug.clone()))
    }

    async fn check(
        &self,
        credentials: Credentials,
        client: &Client,
    ) -> Result<SignedIn, AuthenticationError> {
        let accounts = match &credentials.email {
            Some(email) => self.accounts(email, credentials.tenant.as_deref()).await?,
            None => Vec::new(),
        };
        if accounts.is_empty() {
            // Nobody there: one comparison with the decoy, as somebody would have cost.
            self.passwords.verify(credentials.password, None).await?;
            return Err(AuthenticationError::InvalidCredentials);
        }
        let mut proven = Vec::new();
        for (tenant, user) in accounts {
            let stored = password_of(&user);
            if self.passwords.verify(credentials.password.clone(), stored).await? {
                self.rehash(&tenant, &user, &credentials.password).await;
                proven.push((tenant, user));
            }
        }
        match proven.len() {
            0 => Err(AuthenticationError::InvalidCredentials),
            1 => {
                let (tenant, user) = proven.remove(0);
                let factor = credentials.factor.as_ref();
                let db = self.router.connect(&tenant).await?;
                self.check_factor(&db, &tenant, &user, factor).await?;
                self.sign_in(db, tenant, user, client).await
            }
            _ => Err(AuthenticationError::SelectTenant(
                proven
                    .into_iter()
                    .map(|(tenant, _)| TenantChoice {
                        slug: tenant.slug.clone(),
                        organization_name: tenant.organization_name.clone(),
                    })
                    .collect(),
            )),
        }
    }

    /// The accounts of an address, each read and its connection given back before any password is hashed. A tenant that cannot
    /// be reached has none: to say that it cannot would say that it has, before anybody has proven anything.
    pub(super) async fn accounts(
        &self,
        email: &EmailAddress,
        slug: Option<&str>,
    ) -> Result<Vec<(Arc<Tenant>, StaffMember)>, AuthenticationError> {
        let registry = self.registry.connect().await?;
        let hash = self.registry.hasher().email(email);
        let tenants = match slug {
            Some(slug) => {
                email_index::tenant_of(&registry, &hash, slug).await?.into_iter().collect()
            }
            None => email_index::tenants_of(&registry, &hash).await?,
        };
        drop(registry);
        let mut accounts = Vec::new();
        for id in tenants {
            match self.account(id, email, slug).await {
                Ok(account) => accounts.extend(account),
                Err(error) => {
                    tracing::warn!(tenant = %id, %error, "an account cannot be looked up; it is treated as if it were not there");
                }
            }
        }
        Ok(accounts)
    }

    async fn account(
        &self,
        tenant: TenantId,
        email: &EmailAddress,
        slug: Option<&str>,
    ) -> Result<Option<(Arc<Tenant>, StaffMember)>, AuthenticationError> {
        let tenant = self.router.directory().tenant(tenant).await?;
        let is_wanted = |tenant: &Arc<Tenant>| {
            tenant.status == Status::Active && slug.is_none_or(|slug| slug == tenant.slug)
        };
        let Some(tenant) = tenant.filter(is_wanted) else { return Ok(None) };
        let db = self.router.connect(&tenant).await?;
        let user = staff::find_active_by_email(&db, email).await?;
        Ok(user.map(|user| (tenant, user)))
    }

    /// Keeps the password as dear to guess as the settings want it today. If it cannot be done now, the next sign-in does it.
    async fn rehash(&self, tenant: &Arc<Tenant>, user: &StaffMember, password: &SecretString) {
        if !self.passwords.is_outdated(&user.password_hash) {
            return;
        }
        let Ok(hash) = self.passwords.hash(password.clone()).await else { return };
        if let Ok(db) = self.router.connect(tenant).await
            && let Err(error) = staff::rehash(&db, user.id, (&user.password_hash, hash)).await
        {
            tracing::warn!(%error, "a password could not be hashed anew");
        }
    }

    /// Signs in somebody whose identity is beyond doubt: the password was right, or the account was made just now.
    pub(super) async fn sign_in(
        &self,
        db: TenantDb,
        tenant: Arc<Tenant>,
        user: StaffMember,
        client: &Client,
    ) -> Result<SignedIn, AuthenticationError> {
        let now = self.clock.now();
        let tokens = self.open_session(&db, &user, client, now).await?;
        Ok(self.signed_in(db, (tenant, user), tokens, now).await)
    }

    /// Somebody whose session is open: what else a sign-in does cannot make it fail any more.
    pub(super) async fn signed_in(
        &self,
        db: TenantDb,
        (tenant, mut user): (Arc<Tenant>, StaffMember),
        tokens: TokenPair,
        now: DateTime<Utc>,
    ) -> SignedIn {
        if let Err(error) = staff::record_login(&db, user.id, now).await {
            tracing::warn!(tenant = %tenant.id, %error, "a sign-in was not noted");
        }
        if let Err(error) = self.ask_to_verify(&db, &user).await {
            tracing::warn!(tenant = %tenant.id, %error, "a letter by which somebody proves their address was not sent");
        }
        user.last_login_at = Some(now);
        SignedIn { tenant, user, tokens }
    }

    /// Signs in the owner of a tenant that was registered just now; with `password`, of one that was registered a while
    /// ago and may have changed theirs.
    pub async fn sign_in_owner(
        &self,
        tenant: TenantId,
        owner: uuid::Uuid,
        password: Option<SecretString>,
        client: &Client,
    ) -> Result<SignedIn, AuthenticationError> {
        let unknown = || AuthenticationError::Router(crate::tenant_router::RouterError::Unknown);
        // Asked of the registry itself: a look-up that ran while the tenant was being made may be remembered.
        let registry = self.registry.connect().await?;
        let tenant = tenants::find(&registry, tenant).await?.map(Arc::new).ok_or_else(unknown)?;
        drop(registry);
        let db = self.router.connect(&tenant).await?;
        let user = staff::find_active(&db, owner).await?;
        drop(db);
        let user = match password {
            None => user.ok_or_else(unknown)?,
            Some(password) => {
                let stored = user.as_ref().and_then(password_of);
                let proof = async {
                    let is_right = self.passwords.verify(password, stored).await?;
                    is_right.then_some(()).ok_or(AuthenticationError::InvalidCredentials)
                };
                match &user {
                    // Who guesses here must not guess more often than at the door.
                    Some(user) => self.counted_for(user, client, proof).await?,
                    None => proof.await?,
                }
                user.ok_or(AuthenticationError::InvalidCredentials)?
            }
        };
        let db = self.router.connect(&tenant).await?;
        // A repeated registration brings no code: whoever has a second factor signs in.
        self.check_factor(&db, &tenant, &user, None).await?;
        self.sign_in(db, tenant, user, client).await
    }
}

/// Puts a failure off until then. What is said only to those who know the password need not wait.
pub(super) async fn wait_for_failure<T>(
    result: &Result<T, AuthenticationError>,
    earliest: Instant,
) {
    use AuthenticationError::{MfaRequired, SelectTenant};
    match result {
        Ok(_) | Err(MfaRequired | SelectTenant(_)) => {}
        Err(_) => tokio::time::sleep_until(earliest).await,
    }
}

/// Whom an identity provider keeps has no password here, which looks like nobody from outside.
pub(super) fn password_of(user: &StaffMember) -> Option<String> {
    Some(user.password_hash.clone()).filter(|hash| hash != NO_PASSWORD)
}
