//! Warm databases, by server and template. A row is written before its database is created and
//! removed after it is dropped, so that no warm database is without a row.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, Statement,
};
use uuid::Uuid;

use crate::identifiers::{ServerId, TenantId};
use crate::registry::entities::spare_databases::{ActiveModel, Column, Entity};
pub use crate::registry::entities::spare_databases::{Model as WarmDatabase, State};
use crate::registry::{OnRegistry, RegistryError};

/// What a warm database must be a copy of to be usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateVersion<'a> {
    /// The server that it is on.
    pub server: ServerId,
    /// The name of its template.
    pub template: &'a str,
    /// The newest migration in it.
    pub schema_version: &'a str,
}

/// Records a warm database that is about to be created.
pub async fn begin(
    db: &impl OnRegistry,
    name: &str,
    wanted: &TemplateVersion<'_>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    insert(db, name, wanted, (State::Making, None), now).await
}

/// Records the name that a database is about to get, because it must not become the tenant's. It
/// stays claimed by the tenant, so that it is not looked for before it exists; [`discard`] ends the
/// claim.
pub async fn park(
    db: &impl OnRegistry,
    name: &str,
    wanted: &TemplateVersion<'_>,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    insert(db, name, wanted, (State::Claimed, Some(tenant.0)), now).await
}

async fn insert(
    db: &impl OnRegistry,
    name: &str,
    wanted: &TemplateVersion<'_>,
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

/// Changes the state of a warm database. `false` if it was not in the first state.
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

/// Claims the oldest ready warm database for a tenant, or returns the one that the tenant has
/// claimed already.
pub async fn claim(
    db: &impl OnRegistry,
    tenant: TenantId,
    wanted: &TemplateVersion<'_>,
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

/// Ends a tenant's claim on a warm database and marks it for removal.
pub async fn discard(db: &impl OnRegistry, name: &str) -> Result<(), RegistryError> {
    let discarded =
        ActiveModel { state: Set(State::Removing), claimed_by: Set(None), ..Default::default() };
    Entity::update_many().set(discarded).filter(Column::Name.eq(name)).exec(db).await?;
    Ok(())
}

/// The warm database that a tenant has claimed and that is not its database yet.
pub async fn claimed_by(
    db: &impl OnRegistry,
    tenant: TenantId,
) -> Result<Option<WarmDatabase>, RegistryError> {
    Ok(Entity::find().filter(Column::ClaimedBy.eq(tenant.0)).one(db).await?)
}

/// Removes the row of a warm database that has become a tenant's database, or is dropped.
pub async fn forget(db: &impl OnRegistry, name: &str) -> Result<(), RegistryError> {
    Entity::delete_by_id(name.to_owned()).exec(db).await?;
    Ok(())
}

/// The number of ready and usable warm databases of a server.
pub async fn count_ready(
    db: &impl OnRegistry,
    wanted: &TemplateVersion<'_>,
) -> Result<u64, RegistryError> {
    Ok(Entity::find()
        .filter(Column::ServerId.eq(wanted.server))
        .filter(Column::Template.eq(wanted.template))
        .filter(Column::SchemaVersion.eq(wanted.schema_version))
        .filter(Column::State.eq(State::Ready))
        .count(db)
        .await?)
}

/// All warm databases of a server, the oldest first.
pub async fn on_server(
    db: &impl OnRegistry,
    server: ServerId,
) -> Result<Vec<WarmDatabase>, RegistryError> {
    Ok(Entity::find()
        .filter(Column::ServerId.eq(server))
        .order_by_asc(Column::CreatedAt)
        .all(db)
        .await?)
}

/// The number of ready warm databases by server. Servers without any are included.
pub async fn ready_by_server(db: &impl OnRegistry) -> Result<Vec<(ServerId, i64)>, RegistryError> {
    const SQL: &str = "SELECT server.id, count(spare.name) AS ready FROM database_servers AS server
        LEFT JOIN spare_databases AS spare ON spare.server_id = server.id AND spare.state = 'ready' GROUP BY server.id";
    let rows = db.query_all_raw(Statement::from_string(DbBackend::Postgres, SQL)).await?;
    rows.iter().map(|row| Ok((row.try_get("", "id")?, row.try_get("", "ready")?))).collect()
}
