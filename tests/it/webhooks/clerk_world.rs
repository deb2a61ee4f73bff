//! What the tests of Clerk share: organizations that have a tenant already, and what became of their people.

use narthex::identifiers::TenantId;
use narthex::webhooks::clerk::sample::{self, SampleOrganization, SampleUser};
use serde_json::Value;

use crate::support::{TestApp, eventually, unique};

/// Some moment, in Clerk's milliseconds.
pub const AT: i64 = 1_767_225_600_000;

/// Somebody with an address and an id that nobody else has.
pub fn member(name: &str) -> SampleUser {
    let unique = unique();
    SampleUser {
        id: format!("user_{name}_{unique}"),
        email: format!("{name}.{unique}@example.test"),
        first_name: name.to_owned(),
        last_name: "Example".to_owned(),
    }
}

/// An organization at Clerk.
#[derive(Clone)]
pub struct Organization {
    pub clerk: SampleOrganization,
}

impl Organization {
    pub fn made_by(user: &SampleUser) -> Self {
        let unique = unique();
        let clerk = SampleOrganization {
            id: format!("org_{unique}"),
            name: format!("Cafe {unique}"),
            slug: format!("cafe-{unique}"),
            created_by: user.id.clone(),
        };
        Self { clerk }
    }

    pub fn created(&self) -> Value {
        sample::organization("organization.created", &self.clerk, AT)
    }

    fn membership(&self, what: &str, user: &SampleUser, role: &str, at: i64) -> Value {
        let id = format!("orgmem_{}_{}", self.clerk.id, user.id);
        let kind = format!("organizationMembership.{what}");
        sample::membership(&kind, &id, role, (&self.clerk, AT), user, at)
    }

    pub fn joined(&self, user: &SampleUser, role: &str, at: i64) -> Value {
        self.membership("created", user, role, at)
    }

    pub fn changed(&self, user: &SampleUser, role: &str, at: i64) -> Value {
        self.membership("updated", user, role, at)
    }

    pub fn left(&self, user: &SampleUser, at: i64) -> Value {
        self.membership("deleted", user, "org:member", at)
    }
}

/// `user.created` or `.updated`, with a proven address.
pub fn told(kind: &str, user: &SampleUser, at: i64) -> Value {
    sample::user(kind, user, true, at)
}

/// An application, and what can be asked about its Clerk.
pub struct World {
    pub app: TestApp,
}

impl World {
    pub async fn start() -> Self {
        Self { app: TestApp::start().await }
    }

    /// An organization whose tenant is there already: what a completed run leaves.
    pub async fn settled_organization(&self, maker: &SampleUser) -> (Organization, TenantId) {
        let (organization, tenant) = (Organization::made_by(maker), self.app.register().await);
        let id = &organization.clerk.id;
        // The owner who registered here is in nobody's way.
        self.app.registry_execute(&format!(
            "INSERT INTO clerk_organizations (id, tenant_id, run_id, created_seen, created_by, next_settle_at)
             VALUES ('{id}', '{}', gen_random_uuid(), true, '{}', now())", tenant.tenant_id, maker.id
        )).await;
        (organization, tenant.tenant_id)
    }

    /// The tenant that was made of an organization.
    pub async fn tenant_of(&self, organization: &Organization) -> TenantId {
        let sql = format!(
            "SELECT o.tenant_id::text FROM clerk_organizations o JOIN tenants t ON t.id = o.tenant_id
             WHERE o.id = '{}' AND t.status = 'active'",
            organization.clerk.id
        );
        let found = self.app.cluster.texts(&self.app.registry_database, &sql).await;
        TenantId(found.first().expect("no tenant").parse().unwrap())
    }

    /// Sends events one after the other, and waits until each is worked on.
    pub async fn tell(&self, events: &[Value]) {
        for event in events {
            let receipt = self.app.clerk_sends(event).await.expect(200);
            assert_eq!(receipt["status"], "accepted", "{event}");
        }
        self.quiet().await;
    }

    /// Waits until nothing is being worked on, and everything is settled.
    pub async fn quiet(&self) {
        eventually("all deliveries are worked on", async || {
            let open = "SELECT count(*) FROM webhook_deliveries WHERE status = 'processing'";
            let unsettled = "SELECT count(*) FROM clerk_organizations
                WHERE created_seen AND NOT (deleted AND tenant_id IS NULL) AND changes > settled";
            self.app.registry_count(open).await + self.app.registry_count(unsettled).await == 0
        })
        .await;
    }

    /// `email role status`, sorted, of staff that Clerk knows of.
    pub async fn staff(&self, tenant: TenantId) -> Vec<String> {
        let sql = "SELECT s.email || ' ' || s.role || ' ' || s.status FROM staff s
            JOIN external_identities e ON e.staff_id = s.id AND e.provider = 'clerk' ORDER BY 1";
        self.app.cluster.texts(&tenant.database_name(), sql).await
    }

    /// Does the email index lead from this address to this tenant?
    pub async fn is_indexed(&self, email: &str, tenant: TenantId) -> bool {
        let hash = hex::encode(self.app.registry.hasher().email(&email.parse().unwrap()));
        let sql = format!(
            "SELECT count(*) FROM email_index WHERE email_hash = '\\x{hash}' AND tenant_id = '{tenant}'"
        );
        self.app.registry_count(&sql).await == 1
    }

    /// Rows of the email index that Clerk's people have in this tenant.
    pub async fn indexed(&self, tenant: TenantId) -> i64 {
        self.app.registry_count(&format!(
            "SELECT count(*) FROM email_index WHERE tenant_id = '{tenant}' AND NOT self_registered_owner"
        )).await
    }

    /// How many deliveries stand so.
    pub async fn deliveries(&self, status: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM webhook_deliveries WHERE status = '{status}'");
        self.app.registry_count(&sql).await
    }
}
