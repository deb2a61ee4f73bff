//! Settings: defaults, then a TOML file, then `NARTHEX_<SECTION>__<KEY>`. All errors are reported
//! at once.

mod load;
mod provisioning;
mod public_url;
mod sections;

pub use load::{ConfigurationError, load, load_from};
pub use provisioning::{HookKey, HookSettings, HooksSettings, ProvisioningSettings};
pub use public_url::{NoPublicUrl, PublicUrl, is_this_machine};
pub use sections::{
    Argon2Settings, AuthSettings, CLERK_DELIVERIES_AT_ONCE, ClerkSettings, HttpSettings,
    LimitsSettings, LogFormat, LogSettings, RegistrySettings, RouterSettings, SecretsSettings,
    Settings, SmtpSettings, TelnyxSettings,
};
