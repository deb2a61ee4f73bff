use crate::identifiers::ServerId;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "database_servers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ServerId,
    pub name: String,
    pub host: Option<String>,
    pub port: Option<i32>,
    pub tls_mode: Option<TlsMode>,
    pub tls_authority: Option<String>,
    pub state: State,
    pub administration_user: Option<String>,
    pub sealed_administration_password: Option<Vec<u8>>,
    pub max_tenants: i32,
    pub system_identifier: Option<i64>,
    pub created_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Whether a server accepts new tenants. It serves its present tenants in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It accepts tenants as long as it has room.
    Active,
    /// It accepts none, because it is being emptied.
    Draining,
    /// It accepts none, because an operator has marked it as full.
    Full,
}

/// How much a server must prove when a connection is opened. No mode can be downgraded to plain
/// text by an attacker in between, but only [`TlsMode::VerifyFull`] excludes such an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text: for a server on the same machine, or on a network without any other user.
    Disable,
    /// Encrypted, to any server: no certificate is verified, even if `tls_authority` names an
    /// authority (libpq would verify it then). Excludes passive listeners, but not an attacker who
    /// answers in the server's place.
    Require,
    /// Encrypted, to a server with a certificate of the authority, which has to be named. The
    /// driver also accepts the public authorities, which sign for anyone: hardly more than
    /// `Require`.
    VerifyCa,
    /// Encrypted, to a server with a certificate for this very host, of the named authority or a
    /// public one.
    VerifyFull,
}
