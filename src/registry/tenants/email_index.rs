//! Which tenants an email address is staff of. Knows keyed hashes, never an address. Who is staff, the tenant's own database
//! says: the index only leads there, and may lead to a tenant that does not know the address, but never misses one that does.
//! Whoever changes addresses in a tenant marks them here before, and settles them after; what is cut off in between is
//! settled by a job.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, DbErr, EntityTrait, ExprTrait, FromQueryResult,
    QueryFilter, QueryOrder, QuerySelect, Statement,
};
use uuid::Uuid;

use crate::identifiers::TenantId;
use crate::postgres::failure;
use crate::registry::entities::email_index::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

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
        unsettled_since: Set(None),
        contested: Set(false),
        invited: Set(Some(false)),
    };
    match Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(Ok(())),
        Err(e) if failure::violated_unique_constraint(&e) == Some("email_index_one_owner") => {
            Ok(Err(EmailTaken))
        }
        Err(e) => Err(e.into()),
    }
}

/// Gives up that the address is the self-registered owner of a tenant; it stays that of somebody on its staff, who has proven
/// nothing: whoever registers with the address of another, as often as they like, takes no place before those who have joined.
pub async fn give_up_claim(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
) -> Result<(), RegistryError> {
    let given_up = ActiveModel {
        self_registered_owner: Set(false),
        invited: Set(Some(true)),
        ..Default::default()
    };
    Entity::update_many()
        .set(given_up)
        .filter(Column::EmailHash.eq(email_hash))
        .filter(Column::TenantId.eq(tenant.0))
        .exec(db)
        .await?;
    Ok(())
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
        unsettled_since: Set(None),
        contested: Set(false),
        invited: Set(Some(false)),
    };
    // Whoever has marked it finds it settled by somebody who knows.
    let once = OnConflict::columns([Column::EmailHash, Column::TenantId])
        .update_columns([Column::UnsettledSince, Column::Contested, Column::Invited])
        .to_owned();
    Entity::insert(row).on_conflict(once).exec_without_returning(db).await?;
    Ok(())
}

/// That an address was marked, to be settled by whoever did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Mark {
    /// Of the registry's clock.
    unsettled_since: DateTime<Utc>,
    /// Somebody else is at the same address of the tenant, or was cut off: neither knows how it ends.
    contested: bool,
}

/// What a tenant says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressStatus {
    /// Nobody on its staff has it.
    Unknown,
    /// Somebody has been asked to join with it, who has not.
    Invited,
    /// Somebody on its staff has it.
    Staff,
}

/// An address of a tenant may become that of somebody on its staff, or cease to be. It is in the index from now on, as one that
/// was invited until a tenant says more: nobody takes a place before those who have joined by inviting.
pub async fn mark(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
) -> Result<Mark, RegistryError> {
    const SQL: &str = "
        INSERT INTO email_index AS row
            (email_hash, tenant_id, self_registered_owner, created_at, unsettled_since, invited)
        VALUES ($1, $2, false, clock_timestamp(), clock_timestamp(), true)
        ON CONFLICT (email_hash, tenant_id) DO UPDATE
        SET contested = row.unsettled_since IS NOT NULL,
            unsettled_since = greatest(clock_timestamp(), row.unsettled_since + interval '1 microsecond')
        RETURNING unsettled_since, contested";
    let values = [email_hash.into(), tenant.0.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, values);
    let marked = Mark::find_by_statement(statement).one(db).await?;
    Ok(marked.ok_or_else(|| DbErr::RecordNotInserted)?)
}

/// Whose the address is now. Where others have marked it as well, it stays as it is.
pub async fn settle(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
    mark: Mark,
    standing: AddressStatus,
) -> Result<(), RegistryError> {
    if mark.contested {
        return Ok(());
    }
    resolve(db, email_hash, tenant, Some(mark.unsettled_since), standing).await
}

async fn resolve(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
    unsettled_since: Option<DateTime<Utc>>,
    standing: AddressStatus,
) -> Result<(), RegistryError> {
    const STAYS: &str = "
        UPDATE email_index SET unsettled_since = NULL, contested = false, invited = $4
        WHERE email_hash = $1 AND tenant_id = $2 AND unsettled_since IS NOT DISTINCT FROM $3";
    const GOES: &str = "
        DELETE FROM email_index
        WHERE email_hash = $1 AND tenant_id = $2 AND unsettled_since IS NOT DISTINCT FROM $3";
    let row: [sea_orm::Value; 3] = [email_hash.into(), tenant.0.into(), unsettled_since.into()];
    let (sql, values): (_, Vec<_>) = match standing {
        AddressStatus::Unknown => (GOES, row.into()),
        AddressStatus::Invited | AddressStatus::Staff => {
            let invited = standing == AddressStatus::Invited;
            (STAYS, row.into_iter().chain([invited.into()]).collect())
        }
    };
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values)).await?;
    Ok(())
}

/// What was marked so long ago that whoever did it has come to an end, one way or another; or what an older program has
/// written, of which nobody knows whether they have joined.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Unsettled {
    /// Of the address.
    pub email_hash: Vec<u8>,
    /// Whose staff it may be.
    pub tenant_id: Uuid,
    unsettled_since: Option<DateTime<Utc>>,
}

impl Unsettled {
    /// Whose the address is, asked of the tenant after this was read.
    pub async fn settle(
        self,
        db: &impl OnRegistry,
        standing: AddressStatus,
    ) -> Result<(), RegistryError> {
        let tenant = TenantId(self.tenant_id);
        resolve(db, self.email_hash, tenant, self.unsettled_since, standing).await
    }

    /// The tenant could not be asked: others come first.
    pub async fn put_back(self, db: &impl OnRegistry) -> Result<(), RegistryError> {
        const SQL: &str = "
            UPDATE email_index SET unsettled_since = clock_timestamp(), contested = true
            WHERE email_hash = $1 AND tenant_id = $2 AND unsettled_since IS NOT DISTINCT FROM $3";
        let values = [self.email_hash.into(), self.tenant_id.into(), self.unsettled_since.into()];
        db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await?;
        Ok(())
    }
}

/// Marks that are older than `age` by the registry's clock, of tenants that can be asked, the oldest first; then what an older
/// program has written.
pub async fn unsettled(
    db: &impl OnRegistry,
    age: Duration,
    limit: i64,
) -> Result<Vec<Unsettled>, RegistryError> {
    const SQL: &str = "
        SELECT i.email_hash, i.tenant_id, i.unsettled_since FROM email_index i
        JOIN tenants t ON t.id = i.tenant_id AND t.status = 'active'
        WHERE i.unsettled_since < clock_timestamp() - make_interval(secs => $1)
            OR (i.unsettled_since IS NULL AND i.invited IS NULL)
        ORDER BY i.unsettled_since LIMIT $2";
    let values = [age.as_secs_f64().into(), limit.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, values);
    Ok(Unsettled::find_by_statement(statement).all(db).await?)
}

/// Whoever has registered a tenant with one address has it with another now. If that has registered another tenant
/// already, the claim is given up.
pub async fn move_claim(
    db: &impl OnRegistry,
    tenant: TenantId,
    from: Vec<u8>,
    to: Vec<u8>,
) -> Result<(), RegistryError> {
    const SQL: &str = "
        WITH given AS (
            UPDATE email_index SET self_registered_owner = false
            WHERE email_hash = $2 AND tenant_id = $1 AND self_registered_owner RETURNING tenant_id
        )
        UPDATE email_index SET self_registered_owner = true
        WHERE email_hash = $3 AND tenant_id = $1 AND EXISTS (SELECT FROM given)
          AND NOT EXISTS (SELECT FROM email_index WHERE email_hash = $3 AND self_registered_owner)";
    let values = [tenant.0.into(), from.into(), to.into()];
    match db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await {
        Ok(_) => Ok(()),
        // Somebody has just registered a tenant with it.
        Err(e) if failure::violated_unique_constraint(&e) == Some("email_index_one_owner") => {
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
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

/// The tenant with this slug, if the address may be staff of it; however many others there are.
pub async fn tenant_of(
    db: &impl OnRegistry,
    email_hash: &[u8],
    slug: &str,
) -> Result<Option<TenantId>, RegistryError> {
    const SQL: &str = "
        SELECT i.tenant_id FROM email_index i JOIN tenants t ON t.id = i.tenant_id
        WHERE i.email_hash = $1 AND t.slug = $2";
    let values = [email_hash.to_vec().into(), slug.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, values);
    let row = db.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.map(TenantId))
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
        // Whoever is only being asked to join comes after those who have: anybody can be invited by anybody, as often as they like.
        .order_by_asc(Expr::cust("invited IS TRUE"))
        .order_by_asc(Expr::cust("invited IS NULL"))
        .order_by_asc(Expr::col(Column::UnsettledSince).is_not_null())
        .order_by_asc(Column::CreatedAt)
        .limit(MOST_TENANTS)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| TenantId(row.tenant_id)).collect())
}
