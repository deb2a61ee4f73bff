//! The metrics: that they say what happened, that operations.md lists them all, and that no tenant stands in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use narthex::http::Code;
use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints};
use narthex::registry::runs::provisioning_runs;
use narthex::registry::tenants::REGISTRY_SERVER;
use reqwest::Method;
use sea_orm::{TransactionSession, TransactionTrait};
use serde_json::{Value, json};

use super::quiet::send;
use crate::support::{Answer, TestApp, eventually};

/// What one scrape said: the value of each series, written as it was served.
struct Scrape {
    text: String,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(app: &TestApp) -> Self {
        let answer = send(app.client.get(format!("{}/metrics", app.operations_url))).await;
        assert_eq!(
            answer.headers["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        let text = String::from_utf8(answer.bytes).unwrap();
        assert!(answer.status == 200 && text.ends_with("\n# EOF\n"), "{text}");
        let values = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self { values: values.collect(), text }
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("{series} is not served:\n{}", self.text))
    }

    /// Name, kind and labels of all that was served.
    fn families(&self) -> BTreeSet<(String, String, BTreeSet<String>)> {
        let kinds = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        kinds
            .map(|line| {
                let (family, kind) = line.split_once(' ').unwrap();
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let name = format!("{family}{suffix}");
                let mut labels = None;
                for series in self.values.keys() {
                    let (of, rest) = series.split_once('{').unwrap_or((series, ""));
                    if of == name {
                        let pairs = rest.trim_end_matches('}').split(',');
                        let keys =
                            pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
                        labels = Some(keys.collect());
                    }
                }
                let labels = labels.unwrap_or_else(|| panic!("{name} has no series"));
                (name, kind.to_owned(), labels)
            })
            .collect()
    }
}

/// The rows of the table in operations.md, likewise.
fn documented() -> BTreeSet<(String, String, BTreeSet<String>)> {
    let document = include_str!("../../../docs/operations.md");
    let section = document.split("\n## Metrics\n").nth(1).expect("there is no such section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `narthex_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let words = |cell: &str| {
            let words = cell.split('`').skip(1).step_by(2);
            words.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        (words(cells[1]).pop_first().unwrap(), cells[2].to_owned(), words(cells[3]))
    })
    .collect()
}

#[tokio::test]
async fn the_table_in_the_documentation_is_what_is_served() {
    let app = TestApp::start().await;
    let served = Scrape::of(&app).await.families();
    assert_eq!(served, documented(), "left: what is served, right: the table of operations.md");
    assert!(served.len() >= 8);
}

#[tokio::test]
async fn requests_are_counted_by_listener_and_class_and_problems_by_code() {
    let app = TestApp::start().await;
    let counted = [
        r#"narthex_http_requests_total{listener="public",class="2xx"}"#,
        r#"narthex_http_requests_total{listener="public",class="3xx"}"#,
        r#"narthex_http_requests_total{listener="public",class="4xx"}"#,
        r#"narthex_http_requests_total{listener="public",class="5xx"}"#,
        r#"narthex_http_requests_total{listener="operations",class="4xx"}"#,
        r#"narthex_http_problems_total{code="not_found"}"#,
        r#"narthex_http_problems_total{code="invalid_token"}"#,
        r#"narthex_http_problems_total{code="internal_error"}"#,
    ];
    let before = Scrape::of(&app).await;
    for (path, status) in
        [("/healthz", 200), ("/", 307), ("/v1/nothing", 404), ("/v1/members", 401)]
    {
        assert_eq!(app.call(Method::GET, path, None).await.status, status);
    }
    let strange = send(app.client.get(format!("{}/v1/members", app.operations_url))).await;
    strange.expect_problem(404, "not_found");
    let after = Scrape::of(&app).await;
    let grown = counted.map(|series| after.value(series) - before.value(series));
    assert_eq!(grown, [1.0, 1.0, 2.0, 0.0, 1.0, 2.0, 1.0, 0.0]);
    // The first scrape itself.
    let scrapes = r#"narthex_http_requests_total{listener="operations",class="2xx"}"#;
    assert_eq!(after.value(scrapes) - before.value(scrapes), 1.0);
}

#[tokio::test]
async fn every_code_has_a_series_before_it_occurs() {
    let app = TestApp::start().await;
    let scrape = Scrape::of(&app).await;
    for code in Code::ALL {
        scrape.value(&format!("narthex_http_problems_total{{code=\"{}\"}}", code.as_str()));
    }
}

#[tokio::test]
async fn pools_and_leases_are_those_of_the_router() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.get("/v1/members").await.expect(200);
    let db = app.tenant_db(staff.tenant_id).await;
    let scrape = Scrape::of(&app).await;
    assert_eq!(scrape.value("narthex_pools_open"), 1.0);
    assert_eq!(scrape.value("narthex_leases"), 1.0);
    assert_eq!(scrape.value(r#"narthex_pool_events_total{event="opened"}"#), 1.0);
    assert_eq!(scrape.value(r#"narthex_pool_events_total{event="open_failed"}"#), 0.0);
    drop(db);
    assert_eq!(Scrape::of(&app).await.value("narthex_leases"), 0.0);
}

#[tokio::test]
async fn readiness_and_the_process_show_what_they_are() {
    let app = TestApp::start().await;
    let state = |name| format!("narthex_readiness{{state=\"{name}\"}}");
    eventually("it is ready", async || Scrape::of(&app).await.value(&state("ready")) == 1.0).await;
    let scrape = Scrape::of(&app).await;
    for other in ["starting", "draining", "unavailable"] {
        assert_eq!(scrape.value(&state(other)), 0.0);
    }
    let version = format!("narthex_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(scrape.value(&version), 1.0);
    let resident = scrape.value("narthex_process_resident_bytes");
    assert!((1e6..1e11).contains(&resident), "{resident}");
}

/// A label for each tenant would make a series for each, and tell their names to whoever sees a dashboard.
#[tokio::test]
async fn no_tenant_and_no_path_stands_in_the_metrics() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let tenant = staff.get("/v1/auth/me").await.expect(200)["tenant"].clone();
    let member = staff.add_member("Grace", "+13125550100").await;
    let path = format!("/v1/members/{}", member["id"].as_str().unwrap());
    staff.get(&path).await.expect(200);
    let before = Scrape::of(&app).await.values.len();
    let health = format!("{}/health/tenants/{}", app.operations_url, staff.tenant_id);
    Answer::of(app.client.get(health).send().await.unwrap()).await.expect(200);
    staff.get("/v1/quite/another/path").await.expect_problem(404, "not_found");
    let another = app.register().await;
    another.post("/v1/branches", json!({"name": "North"})).await.expect(201);
    let scrape = Scrape::of(&app).await;
    assert_eq!(scrape.values.len(), before, "a tenant or a path has made a series");
    let of_tenant = [&tenant["id"], &tenant["slug"], &member["id"]].map(|v| v.as_str().unwrap());
    for text in of_tenant.into_iter().chain(["/v1", "members", &staff.database(), &staff.email]) {
        assert!(!scrape.text.contains(text), "{text} stands in:\n{}", scrape.text);
    }
}

/// An application whose registrations fail at their last step while the switch is on.
async fn failing_at_will() -> (TestApp, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let switch = fails.clone();
    let failpoints: Failpoints = Arc::new(move |at, when| {
        let is_last = (at, when) == ("owner", FailpointPosition::BeforeEffect);
        (is_last && switch.load(Ordering::SeqCst)).then_some(FailpointAction::FailsForGood)
    });
    (TestApp::interrupted(failpoints, Box::new(|_| {})).await, fails)
}

#[tokio::test]
async fn runs_are_counted_by_how_they_ended() {
    let (app, fails) = failing_at_will().await;
    let ended = async || {
        let scrape = Scrape::of(&app).await;
        ["completed", "refused", "cancelled", "failed"].map(|outcome| {
            scrape.value(&format!(
                "narthex_runs_ended_total{{kind=\"create_tenant\",outcome=\"{outcome}\"}}"
            ))
        })
    };
    assert_eq!(ended().await, [0.0; 4]);
    let registration = app.registration();
    let register = |body: &Value| app.call(Method::POST, "/v1/auth/register", Some(body.clone()));
    register(&registration).await.expect(201);
    register(&registration).await.expect_problem(409, "email_taken");
    assert_eq!(ended().await, [1.0, 1.0, 0.0, 0.0]);
    fails.store(true, Ordering::SeqCst);
    let failed = register(&app.registration()).await;
    assert!(failed.status >= 500, "{}", failed.body);
    assert_eq!(ended().await, [1.0, 1.0, 0.0, 1.0]);

    // Cancelled before its first step, and left to the job.
    let db = app.registry.connect().await.unwrap();
    let transaction = db.begin().await.unwrap();
    let new = crate::provisioning::new_tenant();
    let planned = app.provisioner.plan(&transaction, &new).await.unwrap();
    let now = app.clock.now();
    let cancelled = provisioning_runs::cancel(&transaction, planned.run_id, "test", now).await;
    assert_eq!(cancelled.unwrap(), Ok(()));
    transaction.commit().await.unwrap();
    eventually("it is undone", async || ended().await == [1.0, 1.0, 1.0, 1.0]).await;
}

#[tokio::test]
async fn open_runs_and_spares_are_those_of_the_registry() {
    let app = TestApp::start_with(Box::new(|settings| settings.provisioning.spares = 2)).await;
    let spares = format!("narthex_spares_ready{{server=\"{REGISTRY_SERVER}\"}}");
    let open = ["pending", "running", "compensating"]
        .map(|state| format!("narthex_runs_open{{state=\"{state}\"}}"));
    for (status, minutes) in [("pending", 1), ("compensating", 2), ("compensating", 60)] {
        app.registry_execute(&format!(
            "INSERT INTO provisioning_runs (id, kind, tenant_id, status, created_at, next_attempt_at)
             VALUES (gen_random_uuid(), 'create_tenant', gen_random_uuid(), '{status}',
                now() - interval '{minutes} minutes', now() + interval '1 hour')"
        ))
        .await;
    }
    // By the job, without being asked to.
    eventually("they are counted", async || {
        let scrape = Scrape::of(&app).await;
        let found = [&spares, &open[0], &open[1], &open[2]].map(|series| scrape.value(series));
        let oldest = scrape.value("narthex_runs_open_oldest_seconds");
        found == [2.0, 1.0, 0.0, 2.0] && (3600.0..3900.0).contains(&oldest)
    })
    .await;
}

#[tokio::test]
async fn findings_of_the_reconciler_are_counted_by_kind_and_server() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let series = |kind: &str| {
        format!("narthex_reconciler_findings{{kind=\"{kind}\",server=\"{REGISTRY_SERVER}\"}}")
    };
    let kinds = ["missing_database", "missing_role", "orphan_database", "unreachable_server"];
    let counted = async || {
        let scrape = Scrape::of(&app).await;
        kinds.map(|kind| scrape.value(&series(kind)))
    };
    let compare = async || {
        let permit =
            async || app.fleet.reconciler().reconcile_exclusively().await.unwrap().is_some();
        eventually("it is its turn", permit).await;
    };
    compare().await;
    assert_eq!(counted().await, [0.0; 4]);
    app.router.close();
    let name = staff.database();
    app.cluster.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    compare().await;
    assert_eq!(counted().await, [1.0, 0.0, 0.0, 0.0]);
}
