//! What everything is measured on: a private database server with tenants, made by way of the gateway itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use local_cluster::{ClusterOptions, LocalCluster};
use narthex::identifiers::TenantId;
use narthex::sealing::generate_master_key;
use narthex::webhooks::telnyx::signature::SigningKey;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::client::Connection;
use crate::processes::{Gateway, narthex};
use crate::requests::{self, Shot};
use crate::{Result, progress};

/// Room for a hundred pools of ten, and for the floor.
pub const SERVER_CONNECTIONS: u32 = 1300;
/// The number of the first tenant, for webhooks.
pub const NUMBER: &str = "+13125550100";
/// Registrations under way while the world is made.
const MAKERS: usize = 4;
/// While the world is made, hashes are cheap, since nothing of what is measured hashes a password, and nothing is
/// given up because the machine is slow.
const MAKING: [(&str, &str); 6] = [
    ("NARTHEX_AUTH__ARGON2__MEMORY_KIB", "64"),
    ("NARTHEX_AUTH__ARGON2__ITERATIONS", "1"),
    ("NARTHEX_ROUTER__ACQUIRE_TIMEOUT", "30s"),
    ("NARTHEX_ROUTER__CONNECT_TIMEOUT", "30s"),
    ("NARTHEX_HTTP__REQUEST_TIMEOUT", "120s"),
    ("NARTHEX_PROVISIONING__WAIT", "60s"),
];

/// Of every owner.
pub const PASSWORD: &str = "a password of the bench";

/// A tenant with one member.
#[derive(Clone)]
pub struct Tenant {
    pub database: String,
    pub token: String,
    /// The owner's address.
    pub owner: String,
    /// Id of the member.
    pub member: String,
    /// The member's first name, which no other tenant has.
    pub tag: String,
    /// Reads the member.
    pub read: Arc<Shot>,
}

pub struct World {
    pub cluster: LocalCluster,
    pub master_key: String,
    /// Plays the provider.
    pub provider: SigningKey,
    pub tenants: Vec<Tenant>,
    /// Of the gateway, as variables of its environment.
    pub settings: Vec<(String, String)>,
}

/// `router.max_open_tenants=5` as a variable.
fn variable(setting: &String) -> Result<(String, String)> {
    let (name, value) =
        setting.split_once('=').ok_or(format!("--set {setting}: there is no `=`"))?;
    let name = name.to_ascii_uppercase().replace('.', "__");
    Ok((format!("NARTHEX_{name}"), value.to_owned()))
}

impl World {
    pub async fn make(tenants: usize, settings: &[String]) -> Result<Self> {
        let settings = settings.iter().map(variable).collect::<Result<_>>()?;
        progress("starting a private PostgreSQL server");
        let name = format!("narthex-bench-{}", narthex::identifiers::unguessable_id().simple());
        let cluster = LocalCluster::start(ClusterOptions {
            data_dir: std::env::temp_dir().join(name),
            durable: false,
            max_connections: SERVER_CONNECTIONS,
        })
        .await?;
        let mut world = Self {
            cluster,
            master_key: generate_master_key()?,
            provider: SigningKey::from_base64(&generate_master_key()?)?,
            tenants: Vec::new(),
            settings,
        };
        // With a thousand databases its launcher would start a process every 60 ms, in some rounds and not in others.
        world.execute("ALTER SYSTEM SET autovacuum = off").await?;
        world.execute("SELECT pg_reload_conf()").await?;
        world.command(&["migrate", "registry"]).await?;

        progress(&format!("making {tenants} tenants"));
        let gateway = Gateway::start(&world, &MAKING).await?;
        world.tenants = register(&gateway, tenants).await?;
        gateway.stop().await?;
        let first = world.tenants[0].database.replace("tenant_", "");
        let first: uuid::Uuid = first.parse()?;
        world.command(&["tenants", "assign-number", &first.to_string(), NUMBER]).await?;
        world.execute("CHECKPOINT").await?;
        Ok(world)
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    /// A superuser's connection.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// One statement about the server as a whole.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.connect("postgres").await?.batch_execute(sql).await?)
    }

    /// Connections that roles of tenants have on the server, to one database or to any.
    pub async fn connections(&self, database: Option<&str>) -> Result<i64> {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE usename LIKE 'tenant\\_%' AND ($1::text IS NULL OR datname = $1)";
        Ok(self.connect("postgres").await?.query_one(sql, &[&database]).await?.get(0))
    }

    /// As `16.4`.
    pub async fn server_version(&self) -> Result<String> {
        let text: String =
            self.connect("postgres").await?.query_one("SHOW server_version", &[]).await?.get(0);
        Ok(text.split(' ').next().unwrap_or_default().to_owned())
    }

    async fn command(&self, arguments: &[&str]) -> Result<()> {
        let done = narthex(self).args(arguments).output().await?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Err(format!("narthex {}: {said}", arguments.join(" ")).into())
    }
}

async fn register(gateway: &Gateway, count: usize) -> Result<Vec<Tenant>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut makers = JoinSet::new();
    for _ in 0..MAKERS {
        let (next, address) = (next.clone(), gateway.address);
        makers.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut made = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok::<_, crate::Failure>(made);
                }
                made.push((index, make_tenant(&mut connection, index).await?));
                if index % 100 == 99 {
                    progress(&format!("{} of {count} tenants", index + 1));
                }
            }
        });
    }
    let mut tenants = Vec::new();
    while let Some(made) = makers.join_next().await {
        tenants.extend(made??);
    }
    tenants.sort_by_key(|(index, _)| *index);
    Ok(tenants.into_iter().map(|(_, tenant)| tenant).collect())
}

async fn make_tenant(connection: &mut Connection, index: usize) -> Result<Tenant> {
    let owner = format!("owner-{index}@example.org");
    let registration = json!({
        "organization_name": format!("Church {index}"),
        "slug": format!("church-{index}"),
        "email": owner,
        "password": PASSWORD,
        "first_name": "Ada",
        "last_name": "Lovelace",
    });
    let made = create(connection, "/v1/auth/register", None, &registration).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = TenantId(text(&made["tenant"]["id"]).parse()?);
    let token = text(&made["access_token"]);
    let tag = format!("member-of-{index:04}-{}", id.0.simple());
    let member = json!({
        "first_name": tag,
        "last_name": "Miller",
        "phone_number": "+13125550147",
        "email": "member@example.org",
        "tags": ["choir", "newsletter"],
    });
    let member = text(&create(connection, "/v1/members", Some(&token), &member).await?["id"]);
    let read = Arc::new(Shot {
        tenant: index,
        bytes: requests::get(&format!("/v1/members/{member}"), Some(&token)),
        must_hold: tag.clone().into_bytes(),
        tagged: true,
    });
    Ok(Tenant { database: id.database_name(), token, owner, member, tag, read })
}

async fn create(
    connection: &mut Connection,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Result<Value> {
    let request = requests::with_body("POST", path, token, &body.to_string());
    let answer = connection.call(&request).await?;
    if answer.status != 201 {
        let said = String::from_utf8_lossy(answer.body);
        return Err(format!("POST {path}: {} {said}", answer.status).into());
    }
    Ok(serde_json::from_slice(answer.body)?)
}
