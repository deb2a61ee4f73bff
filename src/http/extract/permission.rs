//! Permissions as types: a handler names the one it needs in its signature, and cannot forget to check it.

macro_rules! permissions {
    ($($name:ident $text:literal)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub struct $name;
            impl Permission for $name { const NAME: Option<&'static str> = Some($text); }
        )*
    };
}

/// What a caller must be permitted.
pub trait Permission: Send + Sync + 'static {
    /// Its name in a role; `None`: every member of staff may.
    const NAME: Option<&'static str>;
}

permissions! {
    MembersRead "members:read"
    MembersWrite "members:write"
    ConversationsRead "conversations:read"
}

/// Every member of staff may.
pub struct AnyStaff;
impl Permission for AnyStaff {
    const NAME: Option<&'static str> = None;
}
