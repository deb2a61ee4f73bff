//! `/v1/admin/operators`: who is one.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod update;
