//! Which tenants an email address is staff of. Knows keyed hashes, never an address.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entities::email_index::{ActiveModel, Column, Entity};
use super::{OnRegistry, RegistryError};
use crate::identifiers::TenantId;
use crate::postgres::failure;

/// An email that is staff of more tenants than this finds only the first of them.
const MOST_TENANTS: u64 = 20;

/// The address has registered a tenant already.
#[derive(Debug, PartialEq, Eq)]
pub struct EmailTaken;

/// Makes the address the self-registered owner of a tenant. Of two that race for one address, the database
/// lets one win.
pub async fn claim_owner(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<Result<(), EmailTaken>, RegistryError> {
    let row = ActiveModel {
        email_hash: Set(email_hash),
        tenant_id: Set(tenant.0),
        self_registered_owner: Set(true),
        created_at: Set(now),
    };
    match Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(Ok(())),
        Err(e) if failure::violated_unique_constraint(&e) == Some("email_index_one_owner") => {
            Ok(Err(EmailTaken))
        }
        Err(e) => Err(e.into()),
    }
}

/// Makes the address that of somebody on a tenant's staff; one that is known stays as it is.
pub async fn add(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        email_hash: Set(email_hash),
        tenant_id: Set(tenant.0),
        self_registered_owner: Set(false),
        created_at: Set(now),
    };
    let once = OnConflict::columns([Column::EmailHash, Column::TenantId]).do_nothing().to_owned();
    Entity::insert(row).on_conflict(once).exec_without_returning(db).await?;
    Ok(())
}

/// Forgets one address of a tenant.
pub async fn remove(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
) -> Result<(), RegistryError> {
    Entity::delete_by_id((email_hash, tenant.0)).exec(db).await?;
    Ok(())
}

/// Forgets every address of a tenant.
pub async fn remove_all(db: &impl OnRegistry, tenant: TenantId) -> Result<(), RegistryError> {
    Entity::delete_many().filter(Column::TenantId.eq(tenant.0)).exec(db).await?;
    Ok(())
}

/// The tenants that an address is staff of: first the one that it has registered, so that nobody who puts the address on
/// the staff of many others can hide it, then the oldest.
pub async fn tenants_of(
    db: &impl OnRegistry,
    email_hash: &[u8],
) -> Result<Vec<TenantId>, RegistryError> {
    let rows = Entity::find()
        .filter(Column::EmailHash.eq(email_hash.to_vec()))
        .order_by_desc(Column::SelfRegisteredOwner)
        .order_by_asc(Column::CreatedAt)
        .limit(MOST_TENANTS)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| TenantId(row.tenant_id)).collect())
}
