//! Permissions as types: a handler names the one it needs in its signature, and cannot forget to check it.

macro_rules! permissions {
    ($($name:ident $text:literal)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub struct $name;
            impl Permission for $name { const NAME: &'static str = $text; }
        )*
    };
}

/// What a caller must be permitted.
pub trait Permission: Send + Sync + 'static {
    /// Its name in a role.
    const NAME: &'static str;
}

permissions! {
    MembersRead "members:read"
    MembersWrite "members:write"
    ConversationsRead "conversations:read"
    StaffManage "staff:manage"
    TenantManage "tenant:manage"
    AuditRead "audit:read"
}
