//! Permissions as types: a handler names its permission in its signature, and cannot forget the
//! check.

macro_rules! permissions {
    ($($name:ident $text:literal)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub struct $name;
            impl Permission for $name {
                const NAME: &'static str = $text;
                const GIVES_RIGHTS: bool = matches!($text.as_bytes(), b"staff:manage" | b"tenant:manage");
            }
        )*
    };
}

/// A permission of a caller.
pub trait Permission: Send + Sync + 'static {
    /// The permission's name in a role.
    const NAME: &'static str;
    /// True if a caller with this permission can give rights to others. Then cached rights are not
    /// enough: a caller who has just lost the permission must not give it back to themselves.
    const GIVES_RIGHTS: bool;
}

permissions! {
    MembersRead "members:read"
    MembersWrite "members:write"
    ConversationsRead "conversations:read"
    StaffManage "staff:manage"
    TenantManage "tenant:manage"
    AuditRead "audit:read"
}
