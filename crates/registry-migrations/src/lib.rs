//! The schema of the registry: which tenants exist, where their databases are, and how they are
//! found. A migration that has shipped is never changed; a change is a new file, added at the end
//! of the list.
#![allow(missing_docs, reason = "a migration is explained by its SQL")]

use sea_orm_migration::prelude::*;

mod m20261120_000001_create_registry;
mod m20261120_000002_route_tenants;
mod m20261121_000003_provision_durably;
mod m20261121_000004_administer_servers;
mod m20261121_000005_follow_clerk;
mod m20261121_000006_remember_operators;
mod m20261121_000007_operators;
mod m20261127_000008_unproven_tenants;
mod m20261127_000010_chain_all_entries;
mod m20261127_000010_know_invitations;
mod m20261127_000010_step_up;
mod m20261127_000020_park_by_time;

/// The registry's migrations, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_create_registry::Migration),
            Box::new(m20261120_000002_route_tenants::Migration),
            Box::new(m20261121_000003_provision_durably::Migration),
            Box::new(m20261121_000004_administer_servers::Migration),
            Box::new(m20261121_000005_follow_clerk::Migration),
            Box::new(m20261121_000006_remember_operators::Migration),
            Box::new(m20261121_000007_operators::Migration),
            Box::new(m20261127_000008_unproven_tenants::Migration),
            Box::new(m20261127_000010_chain_all_entries::Migration),
            Box::new(m20261127_000010_know_invitations::Migration),
            Box::new(m20261127_000010_step_up::Migration),
            Box::new(m20261127_000020_park_by_time::Migration),
        ]
    }
}
