//! `/webhooks`: events of providers.

pub(crate) mod telnyx;
