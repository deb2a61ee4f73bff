//! The PostgreSQL servers that tenants live on, and the choice of a server for the next tenant.

use std::cmp::Reverse;
use std::collections::HashMap;

use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};
use secrecy::SecretString;

use crate::identifiers::ServerId;
use crate::postgres::failure;
use crate::registry::entities::database_servers::{ActiveModel, Column, Entity};
pub use crate::registry::entities::database_servers::{Model as DatabaseServer, State, TlsMode};
use crate::registry::entities::tenants;
use crate::registry::{OnRegistry, RegistryError, RegistryTransaction};
use crate::sealing::{Sealer, SealingError, aad};

impl DatabaseServer {
    /// True if connections by both rows lead to the same place with the same TLS settings.
    pub fn endpoint(&self, other: &Self) -> bool {
        let way = |row: &Self| (row.id, row.port, row.tls_mode);
        way(self) == way(other)
            && self.host == other.host
            && self.tls_authority == other.tls_authority
    }

    /// True if roles and databases can be created on it. Servers whose row was written by hand have
    /// no credentials for that.
    pub fn can_be_administered(&self) -> bool {
        self.host.is_none() || self.administration_user.is_some()
    }

    /// The password of its administration. `None` if it has none of its own.
    pub fn administration_password(
        &self,
        sealer: &Sealer,
    ) -> Result<Option<SecretString>, SealingError> {
        let Some(sealed) = &self.sealed_administration_password else { return Ok(None) };
        let password = sealer.open(&aad::server_password(self.id), sealed)?;
        let password = String::from_utf8(password).map_err(|_| SealingError::Unreadable)?;
        Ok(Some(SecretString::from(password)))
    }
}

/// A server, and the number of tenants on it.
#[derive(Clone, Debug)]
pub struct Occupancy {
    /// The server's row.
    pub server: DatabaseServer,
    /// The tenants that are not purged. A deleted tenant still has its database.
    pub tenants: i64,
}

impl Occupancy {
    /// The number of tenants that still fit under its limit.
    pub fn room(&self) -> i64 {
        (i64::from(self.server.max_tenants) - self.tenants).max(0)
    }
}

/// The server with this id.
pub async fn find(
    db: &impl OnRegistry,
    id: ServerId,
) -> Result<Option<DatabaseServer>, RegistryError> {
    Ok(Entity::find_by_id(id).one(db).await?)
}

/// The server with this name.
pub async fn find_by_name(
    db: &impl OnRegistry,
    name: &str,
) -> Result<Option<DatabaseServer>, RegistryError> {
    Ok(Entity::find().filter(Column::Name.eq(name)).one(db).await?)
}

/// The server of this cluster, whatever its registered address is.
pub async fn find_by_system_identifier(
    db: &impl OnRegistry,
    identifier: i64,
) -> Result<Option<DatabaseServer>, RegistryError> {
    Ok(Entity::find().filter(Column::SystemIdentifier.eq(identifier)).one(db).await?)
}

/// All servers with their number of tenants, the oldest first.
pub async fn list(db: &impl OnRegistry) -> Result<Vec<Occupancy>, RegistryError> {
    let query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    occupied(db, query.all(db).await?).await
}

/// The number of tenants on each of these servers.
async fn occupied(
    db: &impl OnRegistry,
    servers: Vec<DatabaseServer>,
) -> Result<Vec<Occupancy>, RegistryError> {
    let counted: HashMap<ServerId, i64> = tenants::Entity::find()
        .select_only()
        .column(tenants::Column::ServerId)
        .column_as(tenants::Column::Id.count(), "tenants")
        .filter(tenants::Column::Status.ne(tenants::Status::Purged))
        .group_by(tenants::Column::ServerId)
        .into_tuple()
        .all(db)
        .await?
        .into_iter()
        .collect();
    let occupancy = |server: DatabaseServer| {
        let tenants = counted.get(&server.id).copied().unwrap_or_default();
        Occupancy { server, tenants }
    };
    Ok(servers.into_iter().map(occupancy).collect())
}

/// The server for a new tenant: of the servers that accept new tenants and are not in `avoided`,
/// the one with the most room. `None` if there is no room. The tenant's row has to be written in
/// the same transaction. Until its end no other transaction gets a place, so that two concurrent
/// calls cannot both take the last one. Keep the transaction short, and roll it back if there was
/// no room: others wait for its end.
pub async fn choose_with_most_room(
    transaction: &RegistryTransaction,
    avoided: &[ServerId],
) -> Result<Option<DatabaseServer>, RegistryError> {
    // All rows in one order: two transactions that lock rows in different orders could deadlock.
    let candidates = Entity::find()
        .filter(Column::State.eq(State::Active))
        .filter(Column::Id.is_not_in(avoided.iter().copied()))
        .filter(
            Condition::any()
                .add(Column::Host.is_null())
                .add(Column::AdministrationUser.is_not_null()),
        )
        .order_by_asc(Column::Id)
        .lock(LockType::NoKeyUpdate)
        .all(transaction)
        .await?;
    // A separate statement, so that it sees the rows of the transactions that the first statement
    // waited for.
    let occupied = occupied(transaction, candidates).await?;
    let roomy = occupied.into_iter().filter(|occupancy| occupancy.room() > 0);
    Ok(roomy.min_by_key(|occupancy| Reverse(occupancy.room())).map(|occupancy| occupancy.server))
}

/// Why a server was not added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// Another server has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The cluster is registered already, perhaps under another address.
    #[error("this cluster is registered already")]
    SameCluster,
}

/// Adds a server. If a row with its id has no credentials yet, the row is completed.
pub async fn add(
    db: &impl OnRegistry,
    server: &DatabaseServer,
) -> Result<Result<(), NotAdded>, RegistryError> {
    let row = server.clone().into_active_model().reset_all();
    let mut completion = row.clone();
    completion.id = NotSet;
    completion.created_at = NotSet;
    let completed = Entity::update_many()
        .set(completion)
        .filter(Column::Id.eq(server.id))
        .filter(Column::AdministrationUser.is_null())
        .exec(db)
        .await;
    let added = match completed {
        Ok(completed) if completed.rows_affected == 1 => return Ok(Ok(())),
        Ok(_) => Entity::insert(row).exec_without_returning(db).await.map(drop),
        Err(error) => Err(error),
    };
    match added {
        Ok(()) => Ok(Ok(())),
        Err(error) => match failure::violated_unique_constraint(&error) {
            Some("database_servers_name_key") => Ok(Err(NotAdded::NameTaken)),
            Some("database_servers_system_identifier_key") => Ok(Err(NotAdded::SameCluster)),
            _ => Err(error.into()),
        },
    }
}

/// Sets whether a server accepts new tenants.
pub async fn change_state(
    db: &impl OnRegistry,
    id: ServerId,
    state: State,
) -> Result<(), RegistryError> {
    update(db, id, ActiveModel { state: Set(state), ..Default::default() }).await
}

/// Sets how many tenants a server accepts. Tenants above the limit stay.
pub async fn change_limit(
    db: &impl OnRegistry,
    id: ServerId,
    max_tenants: i32,
) -> Result<(), RegistryError> {
    update(db, id, ActiveModel { max_tenants: Set(max_tenants), ..Default::default() }).await
}

async fn update(db: &impl OnRegistry, id: ServerId, row: ActiveModel) -> Result<(), RegistryError> {
    Entity::update_many().set(row).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}

/// Records which cluster holds the registry, so that it is not registered a second time. It is
/// queried each time, because a registry can be restored elsewhere.
pub async fn note_own_cluster(db: &impl OnRegistry) -> Result<(), RegistryError> {
    db.execute_unprepared(
        "UPDATE database_servers SET system_identifier = own.system_identifier FROM pg_control_system() AS own
         WHERE host IS NULL AND database_servers.system_identifier IS DISTINCT FROM own.system_identifier",
    )
    .await?;
    Ok(())
}
