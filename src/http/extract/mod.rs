//! From a request to what a handler needs: the caller, the tenant, checked input.

mod access;
mod body;
mod client;
mod cookies;
mod field_errors;
mod headers;
mod host;
mod idempotency;
mod sign_out;
mod limited;
mod operator;
pub(super) mod operator_permission;
mod page;
mod peer;
pub(super) mod permission;
mod reading;

pub(super) use access::{Account, Authorized};
pub(super) use body::{Id, JsonBody, Parameters};
pub(super) use client::CalledBy;
pub(super) use cookies::{Cookies, RefreshCookie};
pub(super) use field_errors::{Checked, FieldErrors};
pub(super) use host::CalledHost;
pub(super) use idempotency::idempotency_key;
pub(super) use limited::{Limited, Open, Registering};
pub(super) use operator::Operator;
pub(super) use page::{ListParameters, PageDocument, list_page};
pub(super) use peer::Peer;
pub(super) use reading::read_body;
pub(super) use sign_out::{Leaving, LeavingOperator};
