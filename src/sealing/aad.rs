//! What each kind of sealed value is bound to (additional authenticated data): `table.column/row`. A sealed value opens for no other
//! row. A text that has been used never changes: what is sealed with it would not open any more.

use uuid::Uuid;

use crate::identifiers::{RunId, ServerId, TenantId};

/// The password of a tenant's role.
pub fn tenant_password(id: TenantId) -> String {
    format!("tenants.password/{id}")
}

/// The password of the user that administers a database server.
pub fn server_password(id: ServerId) -> String {
    format!("database_servers.password/{id}")
}

/// A key that the registry keeps under this name.
pub fn kept_key(name: &str) -> String {
    format!("system_config.value/{name}")
}

/// The seed of a key that signs access tokens.
pub fn signing_key(kid: &str) -> String {
    format!("signing_keys.seed/{kid}")
}

/// What a run was planned with.
pub fn run_input(run: RunId) -> String {
    format!("provisioning_runs.input/{run}")
}

/// The body of a parked event.
pub fn parked_event(id: Uuid) -> String {
    format!("parked_events.body/{id}")
}

/// The body of a delivery of a provider.
pub fn webhook_delivery(provider: &str, delivery: &str) -> String {
    format!("webhook_deliveries.body/{provider}/{delivery}")
}

/// The profile of a user whom the identity provider keeps.
pub fn clerk_profile(user: &str) -> String {
    format!("clerk_users.profile/{user}")
}

/// The address of an operator.
pub fn operator_email(id: Uuid) -> String {
    format!("operators.email/{id}")
}

/// The second factor of an operator.
pub fn operator_totp_secret(id: Uuid) -> String {
    format!("operators.totp_secret/{id}")
}

/// The second factor of a member of staff. It lies in the tenant's database, so that the tenant is part of it.
pub fn staff_totp_secret(tenant: TenantId, staff: Uuid) -> String {
    format!("staff_totp.secret/{tenant}/{staff}")
}
