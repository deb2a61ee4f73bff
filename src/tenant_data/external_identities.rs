//! Staff that an identity provider keeps: who they are to it, and what it says of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::entities::external_identities::{ActiveModel, Column, Entity};
use super::entities::staff;
use super::staff::StaffMember;
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Stands where the hash of a password would. No password leads to it.
pub const NO_PASSWORD: &str = "!";

/// What an address is put to that its holder has no more, and nobody can have.
pub fn withdrawn_address(staff: Uuid) -> String {
    format!("{}@withdrawn.invalid", staff.simple())
}

/// Is this an address that was withdrawn?
pub fn is_withdrawn(address: &str) -> bool {
    address.ends_with("@withdrawn.invalid")
}

/// A member of staff, and their id at the provider, if they have one.
#[derive(Clone, Debug)]
pub struct Known {
    /// The row.
    pub staff: StaffMember,
    /// At the provider.
    pub external_id: Option<String>,
}

/// What a row is to say. Absent: as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Address, as it is compared.
    pub email: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Name of a role.
    pub role: Option<&'static str>,
    /// May they call and sign in?
    pub active: Option<bool>,
}

/// All staff, with their ids at a provider. Locked in one order, so that nobody changes them meanwhile.
pub async fn all_staff(
    transaction: &TenantTransaction,
    provider: &str,
) -> Result<Vec<Known>, DbErr> {
    let rows = staff::Entity::find()
        .order_by_asc(staff::Column::Id)
        .lock_exclusive()
        .all(transaction)
        .await?;
    let identities = Entity::find().filter(Column::Provider.eq(provider)).all(transaction).await?;
    let mut ids: HashMap<Uuid, String> =
        identities.into_iter().map(|row| (row.staff_id, row.external_id)).collect();
    let known = |staff: StaffMember| Known { external_id: ids.remove(&staff.id), staff };
    Ok(rows.into_iter().map(known).collect())
}

/// Notes who a member of staff is to a provider.
pub async fn link(
    db: &impl OnTenant,
    staff: Uuid,
    provider: &str,
    external_id: &str,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        staff_id: Set(staff),
        provider: Set(provider.to_owned()),
        external_id: Set(external_id.to_owned()),
        updated_at: Set(now),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Changes what is to be changed of a row.
pub async fn change(
    db: &impl OnTenant,
    id: Uuid,
    changed: Changed,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let mut row = staff::ActiveModel { updated_at: Set(now), ..Default::default() };
    if let Some(email) = changed.email {
        row.email = Set(email);
    }
    if let Some(first_name) = changed.first_name {
        row.first_name = Set(first_name);
    }
    if let Some(last_name) = changed.last_name {
        row.last_name = Set(last_name);
    }
    if let Some(role) = changed.role {
        row.role = Set(role.to_owned());
    }
    if let Some(active) = changed.active {
        row.status = Set(if active { "active" } else { "disabled" }.to_owned());
    }
    staff::Entity::update_many().set(row).filter(staff::Column::Id.eq(id)).exec(db).await?;
    Ok(())
}
