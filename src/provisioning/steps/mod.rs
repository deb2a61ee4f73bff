//! The steps of making a tenant, one file each.

pub(super) mod activate;
pub(super) mod database;
pub(super) mod identity;
pub(super) mod owner;
pub(super) mod reserve;
pub(super) mod role;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::create_tenant::Context;
use super::saga::{SagaStep, StepError};

/// The undo of a step whose effect lies inside the database, and goes with it.
fn goes_with_the_database(_: &Context) -> BoxFuture<'_, Result<(), StepError>> {
    async { Ok(()) }.boxed()
}
