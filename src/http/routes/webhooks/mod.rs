//! `/webhooks`: signed events of providers.

pub(crate) mod clerk;
pub(crate) mod telnyx;
