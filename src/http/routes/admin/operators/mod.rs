//! `/v1/admin/operators`: the operators of the installation.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod update;
