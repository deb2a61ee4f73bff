//! What operators may do, as types: like [`super::permission`], and of another kind, so that neither is taken for the other.

use crate::registry::people::operators::Role;

/// What an operator must be permitted.
pub trait OperatorPermission: Send + Sync + 'static {
    /// Its name, and the least of the roles that have it. `None`: it is a matter of the operator's own account.
    const NEEDED: Option<(&'static str, Role)>;
}

macro_rules! operator_permissions {
    ($($name:ident $text:literal $role:ident)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub struct $name;
            impl OperatorPermission for $name {
                const NEEDED: Option<(&'static str, Role)> = Some(($text, Role::$role));
            }
        )*

        /// The names of all that a role permits.
        pub fn permissions_of(role: Role) -> Vec<&'static str> {
            let all = [$(($text, Role::$role)),*];
            all.into_iter().filter(|(_, least)| role >= *least).map(|(name, _)| name).collect()
        }
    };
}

operator_permissions! {
    TenantsRead "tenants:read" Viewer
    TenantsSupport "tenants:support" Support
    TenantsManage "tenants:manage" Admin
    TenantsImpersonate "tenants:impersonate" Support
    RunsRead "runs:read" Viewer
    RunsManage "runs:manage" Support
    ServersRead "servers:read" Viewer
    ServersManage "servers:manage" Admin
    OperatorsRead "operators:read" Viewer
    OperatorsManage "operators:manage" Admin
    AuditRead "audit:read" Viewer
}

/// Every operator may, also one who has to set up a second factor first.
pub struct OwnAccount;
impl OperatorPermission for OwnAccount {
    const NEEDED: Option<(&'static str, Role)> = None;
}
