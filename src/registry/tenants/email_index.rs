//! Keyed hashes of email addresses, and the tenants that may have them on their staff; the tenant's
//! database decides. No tenant with an address is missed: a change of addresses marks them here as
//! pending before and finalizes them after. A job finalizes the entries that stay pending.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, DbErr, EntityTrait, ExprTrait, FromQueryResult,
    QueryFilter, QueryOrder, QuerySelect, Statement,
};

use crate::identifiers::TenantId;
use crate::postgres::failure;
use crate::registry::entities::email_index::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

/// For an address on the staff of more tenants, only the first ones are found.
const MOST_TENANTS: u64 = 20;

/// The address has already registered a tenant.
#[derive(Debug, PartialEq, Eq)]
pub struct EmailTaken;

/// Makes the address the self-registered owner of a tenant. Of two concurrent calls for one
/// address, the database lets one succeed.
pub async fn claim_owner(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<Result<(), EmailTaken>, RegistryError> {
    let row = ActiveModel {
        email_hash: Set(email_hash),
        tenant_id: Set(tenant),
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

/// Ends the claim that the address is the self-registered owner of a tenant. The address stays in
/// the index as an invited one. So an attacker who often registers with another person's address
/// does not rank before tenants whose staff that person has joined.
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

/// Adds an address of a tenant's staff. An existing entry keeps its claim and its time of creation.
pub async fn add(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        email_hash: Set(email_hash),
        tenant_id: Set(tenant),
        self_registered_owner: Set(false),
        created_at: Set(now),
        unsettled_since: Set(None),
        contested: Set(false),
        invited: Set(Some(false)),
    };
    // This call knows the final state, so it finalizes a pending entry.
    let once = OnConflict::columns([Column::EmailHash, Column::TenantId])
        .update_columns([Column::UnsettledSince, Column::Contested, Column::Invited])
        .to_owned();
    Entity::insert(row).on_conflict(once).exec_without_returning(db).await?;
    Ok(())
}

/// A pending mark on an address. The caller that set it has to finalize it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Mark {
    /// When the mark was set, by the registry's clock.
    unsettled_since: DateTime<Utc>,
    /// True if another caller has marked the same address of the tenant, or was interrupted. Then
    /// neither caller knows the final state.
    contested: bool,
}

/// What a tenant's database says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressStatus {
    /// No member of its staff has the address.
    Unknown,
    /// A person was invited with the address and has not joined.
    Invited,
    /// A member of its staff has the address.
    Staff,
}

/// Marks an address of a tenant as pending, because it may become a staff address or cease to be
/// one. From now on the address is in the index, as an invited one until the tenant says more: an
/// invitation must not rank before tenants whose staff the person has joined.
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

/// Finalizes a pending address. If other callers have marked it as well, it stays pending.
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

/// An entry that was marked so long ago that its caller must have ended, or an entry of an older
/// program, for which it is unknown whether the person has joined.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Unsettled {
    /// The keyed hash of the address.
    pub email_hash: Vec<u8>,
    /// The tenant whose staff it may be.
    pub tenant_id: TenantId,
    unsettled_since: Option<DateTime<Utc>>,
}

impl Unsettled {
    /// Finalizes the entry with the tenant's answer, which must be newer than this value.
    pub async fn settle(
        self,
        db: &impl OnRegistry,
        standing: AddressStatus,
    ) -> Result<(), RegistryError> {
        let tenant = self.tenant_id;
        resolve(db, self.email_hash, tenant, self.unsettled_since, standing).await
    }

    /// Moves the entry back in the queue, because the tenant could not be asked.
    pub async fn put_back(self, db: &impl OnRegistry) -> Result<(), RegistryError> {
        const SQL: &str = "
            UPDATE email_index SET unsettled_since = clock_timestamp(), contested = true
            WHERE email_hash = $1 AND tenant_id = $2 AND unsettled_since IS NOT DISTINCT FROM $3";
        let values = [self.email_hash.into(), self.tenant_id.into(), self.unsettled_since.into()];
        db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await?;
        Ok(())
    }
}

/// Pending entries older than `age` by the registry's clock, of tenants that can be asked, the
/// oldest first. Then entries of an older program.
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

/// Moves the claim of a self-registered owner to the owner's new address. If that address has
/// already registered another tenant, the claim ends.
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
        // Another registration has just claimed the new address.
        Err(e) if failure::violated_unique_constraint(&e) == Some("email_index_one_owner") => {
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// Removes one address of a tenant.
pub async fn remove(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
    tenant: TenantId,
) -> Result<(), RegistryError> {
    Entity::delete_by_id((email_hash, tenant)).exec(db).await?;
    Ok(())
}

/// Removes every address of a tenant.
pub async fn remove_all(db: &impl OnRegistry, tenant: TenantId) -> Result<(), RegistryError> {
    Entity::delete_many().filter(Column::TenantId.eq(tenant.0)).exec(db).await?;
    Ok(())
}

/// The tenant with this slug, if the address may be on its staff. It is found however many other
/// tenants there are.
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

/// The tenants with this address on their staff: first the tenant that it has registered, then the
/// oldest. So an attacker who adds the address to the staff of many tenants cannot hide that one.
pub async fn tenants_of(
    db: &impl OnRegistry,
    email_hash: &[u8],
) -> Result<Vec<TenantId>, RegistryError> {
    let rows = Entity::find()
        .filter(Column::EmailHash.eq(email_hash.to_vec()))
        .order_by_desc(Column::SelfRegisteredOwner)
        // Invitations come after tenants whose staff the person has joined: any tenant can invite
        // any address, as often as it likes.
        .order_by_asc(Expr::cust("invited IS TRUE"))
        .order_by_asc(Expr::cust("invited IS NULL"))
        .order_by_asc(Expr::col(Column::UnsettledSince).is_not_null())
        .order_by_asc(Column::CreatedAt)
        .limit(MOST_TENANTS)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| row.tenant_id).collect())
}
