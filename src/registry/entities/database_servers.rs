use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "database_servers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
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

/// Does a server take new tenants? It serves those it has in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As long as it has room.
    Active,
    /// None: it is being emptied.
    Draining,
    /// None: an operator says that it has enough.
    Full,
}

/// How much a connection to a server must prove. There is no mode that a man in the middle could talk down to plain
/// text; but only [`TlsMode::VerifyFull`] keeps him out altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text: for a server on the same machine or network that nobody else is on.
    Disable,
    /// Encrypted, to whoever answers: no certificate is verified, not even where `tls_authority` names an authority
    /// (libpq would verify it then). Keeps listeners out, and nobody who can answer in the server's place.
    Require,
    /// Encrypted, to somebody with a certificate of the authority, which has to be named. The driver believes the public
    /// authorities too, and those sign for everybody: hardly more than `Require`.
    VerifyCa,
    /// Encrypted, to somebody with a certificate for this very host, of the named authority or a public one.
    VerifyFull,
}
