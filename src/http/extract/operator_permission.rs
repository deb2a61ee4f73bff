//! Permissions of operators as types: like [`super::permission`], but of another kind, so that the
//! two cannot be confused.

use crate::registry::people::operators::Role;

/// A permission of an operator.
pub trait OperatorPermission: Send + Sync + 'static {
    /// Its name, and the lowest role that has it. `None`: the call concerns only the operator's own
    /// account.
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

        /// The names of all permissions of a role.
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

/// For every operator, also one who has to set up a second factor first.
pub struct OwnAccount;
impl OperatorPermission for OwnAccount {
    const NEEDED: Option<(&'static str, Role)> = None;
}
