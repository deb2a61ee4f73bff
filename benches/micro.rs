//! What single steps of a request cost, without HTTP: tokens, signatures, the look-up of a tenant, a connection.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group};
use local_cluster::{ClusterOptions, LocalCluster};
use narthex::access::Client;
use narthex::app::App;
use narthex::clock::Clock;
use narthex::configuration::{Argon2Settings, Settings};
use narthex::identifiers::{TenantId, Timezone, unguessable_id};
use narthex::provisioning::{NewOwner, NewTenant, WantedSlug};
use narthex::registry::{parse_url, schema};
use narthex::sealing::generate_master_key;
use narthex::webhooks::telnyx::sample;
use narthex::webhooks::telnyx::signature::{self, SigningKey};
use secrecy::SecretString;
use tokio::runtime::Runtime;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An application with one tenant whose owner is signed in.
struct World {
    cluster: LocalCluster,
    app: App,
    tenant: TenantId,
    token: String,
}

impl World {
    async fn make() -> Result<Self, Failure> {
        let name = format!("narthex-bench-{}", unguessable_id().simple());
        let cluster = LocalCluster::start(ClusterOptions {
            data_dir: std::env::temp_dir().join(name),
            durable: false,
            max_connections: 100,
        })
        .await?;
        let mut settings = Settings::default();
        let url = SecretString::from(cluster.url("narthex_registry"));
        schema::migrate(parse_url(&url)?).await?;
        settings.registry.url = Some(url);
        settings.secrets.master_key = Some(SecretString::from(generate_master_key()?));
        settings.auth.argon2 = Argon2Settings { memory_kib: 64, iterations: 1, parallelism: 1 };
        settings.router.max_connections_per_tenant = 2;
        settings.router.max_open_tenants = 2;
        let app = App::open(settings, Clock::system()).await?;
        let owner = NewOwner {
            email: "owner@example.org".parse()?,
            password_hash: app.accounts.hasher().hash("a password".into()).await?,
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
        };
        let new = NewTenant {
            organization_name: "Church".to_owned(),
            slug: WantedSlug::Derived,
            timezone: Timezone::UTC,
            plan: None,
            unproven: false,
            owner: Some(owner),
        };
        let created = app.provisioner.start(&new, None).await?.outcome().await?;
        let (tenant, owner) = (created.tenant_id, created.owner_id.ok_or("no owner")?);
        let client = Client { ip: [127, 0, 0, 1].into(), user_agent: None, request_id: None };
        let signed_in = app.accounts.sign_in.sign_in_owner(tenant, owner, None, &client).await?;
        Ok(Self { cluster, app, tenant, token: signed_in.tokens.access_token })
    }

    async fn close(self) -> Result<(), Failure> {
        self.app.close().await;
        Ok(self.cluster.stop().await?)
    }
}

/// The same token with another signature. It is never remembered, so that each look at it costs what the first
/// look at a good one does, except that its claims are not read.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let swapped = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{swapped}{}", signature.get(1..).unwrap_or_default())
}

fn tokens(criterion: &mut Criterion, runtime: &Runtime, world: &World) {
    let tokens = world.app.access.tokens();
    criterion.bench_function("token: remembered", |bencher| {
        bencher.to_async(runtime).iter(|| async { black_box(tokens.verify(&world.token).await) });
    });
    let forged = forged(&world.token);
    criterion.bench_function("token: first look (signature verified)", |bencher| {
        bencher.to_async(runtime).iter(|| async { black_box(tokens.verify(&forged).await) });
    });
    criterion.bench_function("token: remembered, and not revoked", |bencher| {
        let access = &world.app.access;
        bencher
            .to_async(runtime)
            .iter(|| async { black_box(access.authenticate(&world.token).await) });
    });
}

fn webhook(criterion: &mut Criterion) -> Result<(), Failure> {
    let key = SigningKey::from_base64(&generate_master_key()?)?;
    let now = Clock::system().now();
    let text = "Is there a service on Sunday, and may we bring the children?";
    let event = sample::inbound_sms("e", "m", "+13125550101", "+13125550102", text, now);
    let body = event.to_string().into_bytes();
    let (public, signed_at) = (key.public_key(), now.timestamp());
    let (signature, timestamp) = (key.sign(signed_at, &body), signed_at.to_string());
    criterion.bench_function("webhook: signature verified", |bencher| {
        bencher.iter(|| {
            let (signatures, timestamps) = ([signature.as_bytes()], [timestamp.as_bytes()]);
            black_box(signature::verify(&public, signatures, timestamps, &body, signed_at))
        });
    });
    Ok(())
}

fn router(criterion: &mut Criterion, runtime: &Runtime, world: &World) -> Result<(), Failure> {
    let router = &world.app.router;
    criterion.bench_function("directory: warm look-up", |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| async { black_box(router.directory().tenant(world.tenant).await.is_ok()) });
    });
    let tenant: Arc<_> =
        runtime.block_on(router.directory().tenant(world.tenant))?.ok_or("no tenant")?;
    criterion.bench_function("router: warm connection lent and given back", |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| async { black_box(router.connect(&tenant).await.is_ok()) });
    });
    Ok(())
}

fn measure(criterion: &mut Criterion) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let world = runtime.block_on(World::make())?;
    tokens(criterion, &runtime, &world);
    webhook(criterion)?;
    router(criterion, &runtime, &world)?;
    runtime.block_on(world.close())
}

fn all(criterion: &mut Criterion) {
    if let Err(error) = measure(criterion) {
        eprintln!("bench: {error}");
        std::process::exit(1);
    }
}

criterion_group!(steps, all);

/// `cargo test --benches` starts this program, too, and wants no measurement.
fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        steps();
        Criterion::default().configure_from_args().final_summary();
    }
}
