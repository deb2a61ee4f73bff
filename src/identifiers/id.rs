//! Ids of rows. Each kind that crosses modules has a type of its own, so that one cannot take the
//! place of another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$documentation:meta])* $name:ident;)+) => {$(
        $(#[$documentation])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            sea_orm::DeriveValueType,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        /// No id is made from a number.
        impl sea_orm::TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, sea_orm::DbErr> {
                Err(sea_orm::DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    )+};
}

ids! {
    /// Id of a tenant: a UUID v7, made at registration.
    TenantId;
    /// Id of a database server.
    ServerId;
    /// Id of a run of provisioning.
    RunId;
}

impl TenantId {
    /// Makes the id of a new tenant.
    pub fn generate() -> Self {
        Self(new_id())
    }

    /// The name of the tenant's database and of its login role: `tenant_` and 32 hexadecimal
    /// digits. It is made from the UUID alone, so that no user input reaches DDL.
    pub fn database_name(&self) -> String {
        format!("tenant_{}", self.0.simple())
    }

    /// The tenant of a database or role. `None` if the name does not have the form that
    /// [`Self::database_name`] makes.
    pub fn of_database(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("tenant_")?;
        let id = Self(Uuid::try_parse(digits).ok()?);
        (id.database_name() == name).then_some(id)
    }
}

/// A new id that sorts by creation time (UUID v7), for rows.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// A new id that cannot be guessed (UUID v4), for objects that are found by their id alone.
pub fn unguessable_id() -> Uuid {
    Uuid::new_v4()
}
