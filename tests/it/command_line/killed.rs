//! `kill -9` in the middle of registrations: after the next start every one of them is whole or gone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::CliFixture;
use super::serving::Serving;
use crate::support::{TestCluster, own_cluster, unique};

/// Fast hashes; the dead are noticed soon.
const SETTINGS: [(&str, &str); 6] = [
    ("NARTHEX_AUTH__ARGON2__MEMORY_KIB", "64"),
    ("NARTHEX_AUTH__ARGON2__ITERATIONS", "1"),
    ("NARTHEX_LIMITS__ENABLED", "false"),
    ("NARTHEX_PROVISIONING__LEASE", "3s"),
    ("NARTHEX_PROVISIONING__SPARES", "3"),
    ("NARTHEX_PROVISIONING__CONCURRENCY", "3"),
];

/// Registrations in all; `scripts/bench faults` plays 100.
fn registrations() -> usize {
    let asked = std::env::var("KILLED_REGISTRATIONS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Asks for a registration until somebody has taken it; which status it had in the end.
async fn register(client: &reqwest::Client, address: &str, key: &str, body: &Value) -> Option<u16> {
    let request = client
        .post(format!("http://{address}/v1/auth/register"))
        .header("idempotency-key", key)
        .header("prefer", "respond-async")
        .json(body);
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}

#[tokio::test]
async fn whoever_is_killed_in_the_middle_leaves_nothing_half_made() {
    let all = registrations();
    let cluster = own_cluster().await;
    let place = CliFixture::on(TestCluster::of(&cluster));
    place.run(&["migrate", "registry"]).await.expect(0);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let client =
        narthex::outbound::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let mut left: Vec<(String, Value)> = (0..all)
        .map(|i| {
            let body = json!({
                "organization_name": format!("Church {i}"),
                "email": format!("{}@example.org", unique()),
                "password": "a password for all",
                "first_name": "Ada",
                "last_name": "Lovelace",
            });
            (unique(), body)
        })
        .collect();
    let mut kills = 0;
    while !left.is_empty() {
        let serving = Serving::start(&place, &SETTINGS).await;
        // Those that are being made must not keep the others from being asked for.
        random.shuffle(&mut left);
        let batch: Vec<_> = left.iter().take(random.usize(2..=5)).cloned().collect();
        let asked = join_all(batch.iter().map(|(key, body)| {
            let (client, address) = (&client, &serving.address);
            async move { (key.clone(), register(client, address, key, body).await) }
        }));
        let moment = Duration::from_millis(random.u64(5..800));
        let killed = async {
            tokio::time::sleep(moment).await;
            serving.send(Signal::SIGKILL);
        };
        let (answers, ()) = tokio::join!(asked, killed);
        kills += 1;
        // Taken is what has an answer; everything else is asked for again with the same key.
        for (key, status) in answers {
            assert!(matches!(status, None | Some(201 | 202 | 409 | 503)), "{status:?}");
            if matches!(status, Some(201 | 202)) {
                left.retain(|(waiting, _)| *waiting != key);
            }
        }
        let _ = serving.ended().await;
        eprintln!("{} of {all} wait for an answer after {kills} kills", left.len());
        // A key that was written down before the answer was lost is found in progress: that is an answer, too.
        let known =
            place.cluster.count(&place.database, "SELECT count(*) FROM registrations").await;
        if known == i64::try_from(all).unwrap() {
            break;
        }
    }
    eprintln!("{all} registrations, {kills} kills");

    let serving = Serving::start(&place, &SETTINGS).await;
    for (key, body) in &left {
        while !matches!(register(&client, &serving.address, key, body).await, Some(201)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let count = async |sql: &str| place.cluster.count(&place.database, sql).await;
    let open = "SELECT count(*) FROM provisioning_runs WHERE status IN ('pending', 'running', 'compensating')";
    let spares = "SELECT count(*) FROM spare_databases WHERE state <> 'ready'";
    let ready = "SELECT count(*) FROM spare_databases WHERE state = 'ready'";
    let settled = async {
        while (count(open).await, count(spares).await, count(ready).await) != (0, 0, 3) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), settled).await.expect("it does not settle");
    serving.send(Signal::SIGTERM);
    let _ = serving.ended().await;

    let all = i64::try_from(all).unwrap();
    assert_eq!(count("SELECT count(*) FROM tenants WHERE status = 'active'").await, all);
    assert_eq!(count("SELECT count(*) FROM tenants").await, all);
    assert_eq!(count("SELECT count(*) FROM email_index").await, all);
    assert_eq!(
        count("SELECT count(*) FROM provisioning_runs WHERE status <> 'completed'").await,
        0
    );
    assert_eq!(place.json(&["reconcile"]).await, serde_json::json!([]));
    let texts = async |database: &str, sql: &str| -> BTreeSet<String> {
        place.cluster.texts(database, sql).await.into_iter().collect()
    };
    let registry = place.database.as_str();
    let tenants = texts(registry, "SELECT database_name FROM tenants").await;
    let kept = texts(registry, "SELECT name FROM spare_databases").await;
    let mut expected: BTreeSet<String> = tenants.union(&kept).cloned().collect();
    expected.extend(["postgres", "template0", "template1", registry].map(str::to_owned));
    let found = texts("postgres", "SELECT datname::text FROM pg_database").await;
    let (templates, found): (BTreeSet<_>, BTreeSet<_>) =
        found.into_iter().partition(|name| name.starts_with("narthex_template_"));
    assert_eq!(templates.len(), 1, "{templates:?}");
    assert_eq!(found, expected);
    let roles = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'tenant%'";
    assert_eq!(texts("postgres", roles).await, tenants);
    let resources =
        texts(registry, "SELECT reference FROM resources WHERE released_at IS NULL").await;
    assert_eq!(resources, tenants);
    for tenant in &tenants {
        let owner = "SELECT count(*) FROM staff, tenant_identity";
        assert_eq!(place.cluster.count(tenant, owner).await, 1, "{tenant}");
    }
}
