//! The schema of a tenant's own database. No table names the tenant: the database is the tenant. A
//! migration that has shipped is never changed; a change is a new file, added at the end of the
//! list.
#![allow(missing_docs, reason = "a migration is explained by its SQL")]

use sea_orm_migration::prelude::*;

mod m20261120_000001_create_tenant;
mod m20261121_000002_preseed;
mod m20261121_000003_accounts;
mod m20261121_000004_staff;
mod m20261127_000005_hand_overs;

/// The text of every migration, for the fingerprint of a template database.
pub const SOURCES: &[&str] = &[
    include_str!("m20261120_000001_create_tenant.rs"),
    include_str!("m20261121_000002_preseed.rs"),
    include_str!("m20261121_000003_accounts.rs"),
    include_str!("m20261121_000004_staff.rs"),
    include_str!("m20261127_000005_hand_overs.rs"),
];

/// The migrations of every tenant database, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_create_tenant::Migration),
            Box::new(m20261121_000002_preseed::Migration),
            Box::new(m20261121_000003_accounts::Migration),
            Box::new(m20261121_000004_staff::Migration),
            Box::new(m20261127_000005_hand_overs::Migration),
        ]
    }
}
