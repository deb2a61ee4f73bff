//! The hosts by which tenants are reached: slugs below the gateway's domain, and tenants' own
//! domains.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};

use crate::identifiers::TenantId;
use crate::postgres::failure;
use crate::registry::entities::domains::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

/// Another tenant has verified the domain.
#[derive(Debug, PartialEq, Eq)]
pub struct DomainTaken;

/// Records that a tenant has verified a domain (in lower case, without a dot at its end). From now
/// on the domain leads to the tenant. A repeated verification keeps the time of the first one.
pub async fn record_proven(
    db: &impl OnRegistry,
    domain: &str,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<Result<(), DomainTaken>, RegistryError> {
    let row = ActiveModel {
        domain: Set(domain.to_owned()),
        tenant_id: Set(tenant),
        proven_at: Set(Some(now)),
        created_at: Set(now),
    };
    let first_proof = Expr::cust("COALESCE(domains.proven_at, excluded.proven_at)");
    let claimed_before = OnConflict::columns([Column::Domain, Column::TenantId])
        .value(Column::ProvenAt, first_proof)
        .to_owned();
    match Entity::insert(row).on_conflict(claimed_before).exec_without_returning(db).await {
        Ok(_) => Ok(Ok(())),
        Err(e) if failure::violated_unique_constraint(&e) == Some("domains_one_holder") => {
            Ok(Err(DomainTaken))
        }
        Err(e) => Err(e.into()),
    }
}

/// Removes every domain of a tenant.
pub async fn remove_all(db: &impl OnRegistry, tenant: TenantId) -> Result<(), RegistryError> {
    Entity::delete_many().filter(Column::TenantId.eq(tenant.0)).exec(db).await?;
    Ok(())
}

/// The tenant that a verified domain leads to.
pub async fn holder_of(
    db: &impl OnRegistry,
    domain: &str,
) -> Result<Option<TenantId>, RegistryError> {
    let row = Entity::find()
        .filter(Column::Domain.eq(domain))
        .filter(Column::ProvenAt.is_not_null())
        .one(db)
        .await?;
    Ok(row.map(|row| row.tenant_id))
}
