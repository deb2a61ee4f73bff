//! Staff whom an identity provider manages: their ids at the provider, and changes of their rows.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::entities::external_identities::{ActiveModel, Column, Entity};
use super::entities::staff;
use super::staff::{StaffMember, StaffStatus};
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Stored instead of a password hash. No password matches it.
pub const NO_PASSWORD: &str = "!";

/// A placeholder for an address that the account has lost. Nobody can own it.
pub fn withdrawn_address(staff: Uuid) -> String {
    format!("{}@withdrawn.invalid", staff.simple())
}

/// True if the address is one of [`withdrawn_address`].
pub fn is_withdrawn(address: &str) -> bool {
    address.ends_with("@withdrawn.invalid")
}

/// A member of staff, and their id at the provider.
#[derive(Clone, Debug)]
pub struct Known {
    /// The row of the `staff` table.
    pub staff: StaffMember,
    /// Id at the provider; `None` without an identity there.
    pub external_id: Option<String>,
}

/// New values of a row; `None` keeps the old value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Address, in the form in which addresses are compared.
    pub email: Option<String>,
    /// Given name; an empty one clears it.
    pub first_name: Option<String>,
    /// Family name; an empty one clears it.
    pub last_name: Option<String>,
    /// Name of a built-in role.
    pub role: Option<&'static str>,
    /// True if the person may sign in and call.
    pub active: Option<bool>,
}

/// All staff, with their ids at a provider. The rows are locked in id order until the transaction
/// ends.
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

/// Records a member of staff's id at a provider.
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

/// Changes the given values of a row.
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
        row.status = Set(if active { StaffStatus::Active } else { StaffStatus::Disabled });
    }
    staff::Entity::update_many().set(row).filter(staff::Column::Id.eq(id)).exec(db).await?;
    Ok(())
}
