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
    pub state: String,
    pub created_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// How much a connection to a server must prove. There is no mode that a man in the middle could talk down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text: for a server on the same machine or network that nobody else is on.
    Disable,
    /// Encrypted, to whoever answers.
    Require,
    /// Encrypted, to somebody with a certificate of the authority.
    VerifyCa,
    /// Encrypted, to this very host.
    VerifyFull,
}
