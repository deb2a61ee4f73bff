//! Permissions as types: a handler names the one it needs in its signature, and cannot forget to check it.

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

/// What a caller must be permitted.
pub trait Permission: Send + Sync + 'static {
    /// Its name in a role.
    const NAME: &'static str;
    /// Can whoever has it give rights to others? What is remembered of them is not enough then: whoever has just lost it must not
    /// give it back to themselves.
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
