//! Databases that wait for a tenant, by server and template. A row comes before its database and goes after it, so
//! that no database is ever without one.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, Statement,
};
use uuid::Uuid;

use crate::identifiers::TenantId;
use crate::registry::entities::spare_databases::{ActiveModel, Column, Entity};
pub use crate::registry::entities::spare_databases::{Model as WarmDatabase, State};
use crate::registry::{OnRegistry, RegistryError};

/// What a spare must be a copy of to be of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// On which server.
    pub server: Uuid,
    /// Of which template.
    pub template: &'a str,
    /// With which newest migration.
    pub schema_version: &'a str,
}

/// Writes down a spare that is about to be made.
pub async fn begin(
    db: &impl OnRegistry,
    name: &str,
    wanted: &Wanted<'_>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    insert(db, name, wanted, (State::Making, None), now).await
}

/// Writes down the name that a tenant's database is about to get because the tenant must not have it. The tenant's claim
/// keeps it from being looked for before it is there; [`discard`] ends the claim.
pub async fn park(
    db: &impl OnRegistry,
    name: &str,
    wanted: &Wanted<'_>,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    insert(db, name, wanted, (State::Claimed, Some(tenant.0)), now).await
}

async fn insert(
    db: &impl OnRegistry,
    name: &str,
    wanted: &Wanted<'_>,
    (state, claimed_by): (State, Option<Uuid>),
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        name: Set(name.to_owned()),
        server_id: Set(wanted.server),
        template: Set(wanted.template.to_owned()),
        schema_version: Set(wanted.schema_version.to_owned()),
        state: Set(state),
        claimed_by: Set(claimed_by),
        created_at: Set(now),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Moves a spare from one state to another; `false` where it was not in the first.
pub async fn change_state(
    db: &impl OnRegistry,
    name: &str,
    from: State,
    to: State,
) -> Result<bool, RegistryError> {
    let changed = Entity::update_many()
        .set(ActiveModel { state: Set(to), ..Default::default() })
        .filter(Column::Name.eq(name))
        .filter(Column::State.eq(from))
        .exec(db)
        .await?;
    Ok(changed.rows_affected == 1)
}

const CLAIM: &str = "
UPDATE spare_databases SET state = 'claimed', claimed_by = $1
WHERE name = (SELECT name FROM spare_databases
    WHERE server_id = $2 AND template = $3 AND schema_version = $4 AND state = 'ready'
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *
";

/// Gives the oldest ready spare to a tenant; the one that it has been given before, if there is one.
pub async fn claim(
    db: &impl OnRegistry,
    tenant: TenantId,
    wanted: &Wanted<'_>,
) -> Result<Option<WarmDatabase>, RegistryError> {
    if let Some(claimed) = claimed_by(db, tenant).await? {
        return Ok(Some(claimed));
    }
    let values: [sea_orm::Value; 4] = [
        tenant.0.into(),
        wanted.server.into(),
        wanted.template.into(),
        wanted.schema_version.into(),
    ];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, CLAIM, values);
    Ok(WarmDatabase::find_by_statement(statement).one(db).await?)
}

/// Takes a spare back from the tenant that it was given to, to be removed.
pub async fn discard(db: &impl OnRegistry, name: &str) -> Result<(), RegistryError> {
    let discarded =
        ActiveModel { state: Set(State::Removing), claimed_by: Set(None), ..Default::default() };
    Entity::update_many().set(discarded).filter(Column::Name.eq(name)).exec(db).await?;
    Ok(())
}

/// The spare that a tenant has been given and that is not its database yet.
pub async fn claimed_by(
    db: &impl OnRegistry,
    tenant: TenantId,
) -> Result<Option<WarmDatabase>, RegistryError> {
    Ok(Entity::find().filter(Column::ClaimedBy.eq(tenant.0)).one(db).await?)
}

/// Forgets a spare that has become a tenant's database, or is gone.
pub async fn forget(db: &impl OnRegistry, name: &str) -> Result<(), RegistryError> {
    Entity::delete_by_id(name.to_owned()).exec(db).await?;
    Ok(())
}

/// Spares of a server that are ready and of use.
pub async fn count_ready(db: &impl OnRegistry, wanted: &Wanted<'_>) -> Result<u64, RegistryError> {
    Ok(Entity::find()
        .filter(Column::ServerId.eq(wanted.server))
        .filter(Column::Template.eq(wanted.template))
        .filter(Column::SchemaVersion.eq(wanted.schema_version))
        .filter(Column::State.eq(State::Ready))
        .count(db)
        .await?)
}

/// All spares of a server, oldest first.
pub async fn on_server(
    db: &impl OnRegistry,
    server: Uuid,
) -> Result<Vec<WarmDatabase>, RegistryError> {
    Ok(Entity::find()
        .filter(Column::ServerId.eq(server))
        .order_by_asc(Column::CreatedAt)
        .all(db)
        .await?)
}

/// How many spares are ready on each server; a server without any is among them.
pub async fn ready_by_server(db: &impl OnRegistry) -> Result<Vec<(Uuid, i64)>, RegistryError> {
    const SQL: &str = "SELECT server.id, count(spare.name) AS ready FROM database_servers AS server
        LEFT JOIN spare_databases AS spare ON spare.server_id = server.id AND spare.state = 'ready' GROUP BY server.id";
    let rows = db.query_all_raw(Statement::from_string(DbBackend::Postgres, SQL)).await?;
    rows.iter().map(|row| Ok((row.try_get("", "id")?, row.try_get("", "ready")?))).collect()
}
