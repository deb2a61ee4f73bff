//! Hosts that name tenants: whose they are, and what they allow.

mod sign_in;
mod sources;

use narthex::identifiers::TenantId;
use narthex::mail::Mailer;
use narthex::registry::tenants::domains;
use narthex::tenant_router::PoolEvent;
use rstest::rstest;
use serde_json::{Value, json};

use super::raw;
use super::routes::{Furnished, tenant_routes};
use crate::support::{Answer, Staff, TestApp, eventually, unique};

const BASE: &str = "app.example.org";
const LOGIN: &str = "POST /v1/auth/login";
const ME: &str = "GET /v1/auth/me";
const PUBLIC: &str = "GET /v1/tenant/public";
const REFRESH: &str = "POST /v1/auth/refresh";

/// An application below a domain, believing proxies of these networks.
async fn start(proxies: &str) -> TestApp {
    let proxies: Vec<_> = proxies.split_terminator(',').map(|n| n.parse().unwrap()).collect();
    TestApp::start_with(Box::new(move |settings| {
        settings.smtp.url = Some(Mailer::log_url());
        settings.http.base_domain = Some(BASE.parse().unwrap());
        settings.http.trusted_proxies = proxies;
    }))
    .await
}

/// A tenant and the host below the base domain that is its own.
struct Tenant {
    staff: Staff,
    slug: String,
    name: String,
    host: String,
}

impl Tenant {
    async fn register(app: &TestApp) -> Self {
        let staff = app.register().await;
        let me = staff.get("/v1/auth/me").await.expect(200);
        let slug = me["tenant"]["slug"].as_str().unwrap().to_owned();
        let name = me["tenant"]["organization_name"].as_str().unwrap().to_owned();
        Self { host: format!("{slug}.{BASE}"), staff, slug, name }
    }

    /// The header that carries the token.
    fn token(&self) -> String {
        format!("authorization: Bearer {}", self.staff.token)
    }

    /// What signs its owner in.
    fn credentials(&self) -> Value {
        json!({"email": self.staff.email, "password": self.staff.password})
    }

    /// What prolongs its owner's session.
    fn refresh_token(&self) -> Value {
        json!({"refresh_token": self.staff.refresh_token})
    }
}

/// A request as it is written on the socket; `headers` are whole lines, `Host` among them.
async fn send(app: &TestApp, line: &str, headers: &[&str], body: Option<&Value>) -> Answer {
    let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        let length = body.len();
        text.push_str(&format!("content-type: application/json\r\ncontent-length: {length}\r\n"));
    }
    raw::send(&app.url, format!("{text}\r\n{body}").into_bytes()).await
}

/// A request to this host.
async fn at(app: &TestApp, host: &str, line: &str, body: Option<&Value>) -> Answer {
    send(app, line, &[&format!("host: {host}")], body).await
}

/// `GET /v1/auth/me` with a token, at this host.
async fn me_at(app: &TestApp, host: &str, tenant: &Tenant) -> Answer {
    send(app, ME, &[&format!("host: {host}"), &tenant.token()], None).await
}

/// A domain that no other test has.
fn fresh_domain() -> String {
    format!("{}.example.net", unique())
}

async fn prove(app: &TestApp, domain: &str, tenant: TenantId) {
    let db = app.registry.connect().await.unwrap();
    domains::record_proven(&db, domain, tenant, app.clock.now()).await.unwrap().unwrap();
}

async fn set_status(app: &TestApp, tenant: TenantId, status: &str) {
    let sql = format!("UPDATE tenants SET status = '{status}' WHERE id = '{tenant}'");
    app.registry_execute(&sql).await;
    app.router.directory().forget(tenant);
}

#[track_caller]
fn expect_public(answer: Answer, tenant: &Tenant) {
    let expected = json!({"slug": tenant.slug, "organization_name": tenant.name});
    assert_eq!(answer.expect(200), expected);
}

#[tokio::test]
async fn a_host_says_whose_it_is_and_wakes_no_database() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let domain = fresh_domain();
    prove(&app, &domain, a.staff.tenant_id).await;
    let replica = app.replica().await;
    for host in [a.host.as_str(), &domain] {
        for host in [
            host.to_owned(),
            format!("{host}:8443"),
            format!("{host}:"),
            format!("{host}."),
            format!("{host}.:80"),
            host.to_uppercase(),
        ] {
            expect_public(at(&replica, &host, PUBLIC, None).await, &a);
        }
    }
    expect_public(at(&replica, &b.host, PUBLIC, None).await, &b);
    assert_eq!(replica.router.statistics().count(PoolEvent::Opened), 0);
}

#[tokio::test]
async fn a_domain_in_letters_of_any_script_is_found_by_its_ascii_form() {
    let app = start("").await;
    let tenant = Tenant::register(&app).await;
    let mark = unique();
    let ascii = idna::domain_to_ascii(&format!("{mark}-münchen.example")).unwrap();
    assert!(ascii.starts_with("xn--"));
    prove(&app, &ascii, tenant.staff.tenant_id).await;
    for host in [format!("{mark}-münchen.example"), format!("{mark}-MÜNCHEN.example"), ascii] {
        expect_public(at(&app, &host, PUBLIC, None).await, &tenant);
    }
}

#[tokio::test]
async fn a_host_that_names_nobody_belongs_to_no_organization() {
    let app = start("").await;
    let Tenant { slug, host: own, .. } = Tenant::register(&app).await;
    for host in [
        BASE,
        "APP.example.org.:8080",
        "nobody.app.example.org",
        "a.b.app.example.org",
        &format!("a.{own}"),
        &format!("{slug}app.example.org"),
        &format!("{own}.example.net"),
        &format!("{slug}.example.net"),
        ".app.example.org",
        "%00.app.example.org",
        "' OR true --.app.example.org",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "::1",
        "localhost",
        "gateway_1",
        "",
        ".",
        "bücher.example",
        &"x".repeat(300),
        &format!("{}.{BASE}", "x".repeat(300)),
    ] {
        at(&app, host, PUBLIC, None).await.expect_problem(404, "tenant_not_found");
    }
    let without = raw::send(&app.url, format!("{PUBLIC} HTTP/1.0\r\n\r\n").into_bytes()).await;
    without.expect_problem(404, "tenant_not_found");
}

#[rstest]
#[case("active", 200, "")]
#[case("suspended", 403, "tenant_suspended")]
#[case("pending", 404, "tenant_not_found")]
#[case("provisioning", 404, "tenant_not_found")]
#[case("failed", 404, "tenant_not_found")]
#[case("deleted", 404, "tenant_not_found")]
#[case("purging", 404, "tenant_not_found")]
#[case("purged", 404, "tenant_not_found")]
#[tokio::test]
async fn a_tenant_that_is_not_active_shows_no_name_and_keeps_its_hosts(
    #[case] status: &str,
    #[case] answer: u16,
    #[case] code: &str,
) {
    let app = start("").await;
    let (tenant, other) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let domain = fresh_domain();
    prove(&app, &domain, tenant.staff.tenant_id).await;
    set_status(&app, tenant.staff.tenant_id, status).await;
    for host in [&tenant.host, &domain] {
        let public = at(&app, host, PUBLIC, None).await;
        assert_eq!((public.status, public.code()), (answer, code), "{}", public.body);
        me_at(&app, host, &other).await.expect_problem(403, "tenant_mismatch");
    }
}

#[tokio::test]
async fn a_token_is_good_at_hosts_of_its_tenant_and_of_nobody() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let (own, foreign) = (fresh_domain(), fresh_domain());
    prove(&app, &own, a.staff.tenant_id).await;
    prove(&app, &foreign, b.staff.tenant_id).await;
    for host in [
        a.host.as_str(),
        &format!("{}.:8080", a.host.to_uppercase()),
        &own,
        BASE,
        "api.app.example.org",
        "unknown.example.com",
        "myapp.example.org",
        "localhost:8080",
        "gateway_1:8080",
        "127.0.0.1",
        "[::1]:8080",
        "",
        &"x".repeat(300),
    ] {
        let me = me_at(&app, host, &a).await.expect(200);
        assert_eq!(me["tenant"]["slug"], a.slug, "{host}");
    }
    for host in [
        b.host.as_str(),
        &format!("{}.:8080", b.host.to_uppercase()),
        &foreign,
        &format!("{}:443", foreign.to_uppercase()),
        "nobody.app.example.org",
        "a.b.app.example.org",
        &format!("a.{}", a.host),
        ".app.example.org",
        &format!("{}.{BASE}", "x".repeat(300)),
    ] {
        me_at(&app, host, &a).await.expect_problem(403, "tenant_mismatch");
    }
}

#[tokio::test]
async fn at_the_host_of_another_tenant_every_route_is_closed() {
    let app = start("").await;
    let (a, b) = (Furnished::make(&app).await, Furnished::make(&app).await);
    let domain = fresh_domain();
    prove(&app, &domain, a.staff.tenant_id).await;
    for route in tenant_routes() {
        for host in [format!("{}.{BASE}", a.marks[5]), domain.clone()] {
            let mut request = app
                .client
                .request(route.method.clone(), format!("{}{}", app.url, b.path(&route)))
                .bearer_auth(&b.staff.token)
                .header("host", host);
            if let Some(body) = route.body() {
                request = request.json(&body);
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            answer.expect_problem(403, "tenant_mismatch");
        }
    }
    b.staff.get("/v1/auth/me").await.expect(200);
}

/// Token, `X-Tenant-Id` and host: of every pair that disagrees, whichever two they are, the request is refused.
#[tokio::test]
async fn two_sources_that_name_different_tenants_are_refused_in_every_pair() {
    let app = start("127.0.0.0/8").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let domains = [fresh_domain(), fresh_domain()];
    for (domain, tenant) in domains.iter().zip([&a, &b]) {
        prove(&app, domain, tenant.staff.tenant_id).await;
    }
    let tenants = [&a, &b];
    let named = [None, Some(0), Some(1)];
    for token in [0, 1] {
        for by_header in named {
            for by_host in named {
                let hosts: Vec<String> = match by_host {
                    None => vec!["host: localhost".to_owned()],
                    Some(n) => vec![
                        format!("host: {}", tenants[n].host),
                        format!("host: {}", domains[n]),
                        format!("host: localhost\r\nx-forwarded-host: {}", tenants[n].host),
                        format!("host: localhost\r\nx-forwarded-host: {}", domains[n]),
                    ],
                };
                let header = match by_header {
                    None => "x-other: y".to_owned(),
                    Some(n) => format!("x-tenant-id: {}", tenants[n].slug),
                };
                for host in hosts {
                    let headers = [host.as_str(), &header, &tenants[token].token()];
                    let answer = send(&app, ME, &headers, None).await;
                    let agree = [by_header, by_host].iter().flatten().all(|n| *n == token);
                    if agree {
                        answer.expect(200);
                    } else {
                        answer.expect_problem(403, "tenant_mismatch");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_domain_counts_once_it_is_proven_and_leads_to_its_newest_holder() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let domain = fresh_domain();
    let claim = async |tenant: &Tenant| {
        let id = tenant.staff.tenant_id;
        let sql = format!("INSERT INTO domains VALUES ('{domain}', '{id}', NULL, now())");
        app.registry_execute(&sql).await;
    };
    claim(&a).await;
    claim(&b).await;
    at(&app, &domain, PUBLIC, None).await.expect_problem(404, "tenant_not_found");
    me_at(&app, &domain, &b).await.expect(200);
    at(&app, &domain, LOGIN, Some(&b.credentials())).await.expect(200);

    let leads_to = async |tenant: &Tenant| {
        at(&app, &domain, PUBLIC, None).await.body["slug"] == tenant.slug.as_str()
    };
    prove(&app, &domain, a.staff.tenant_id).await;
    eventually("the domain leads to its holder", async || leads_to(&a).await).await;
    me_at(&app, &domain, &a).await.expect(200);
    me_at(&app, &domain, &b).await.expect_problem(403, "tenant_mismatch");

    let id = a.staff.tenant_id;
    app.registry_execute(&format!("DELETE FROM domains WHERE tenant_id = '{id}'")).await;
    prove(&app, &domain, b.staff.tenant_id).await;
    eventually("the domain leads to its new holder", async || leads_to(&b).await).await;
    me_at(&app, &domain, &b).await.expect(200);
    me_at(&app, &domain, &a).await.expect_problem(403, "tenant_mismatch");
}

#[tokio::test]
async fn without_a_base_domain_hosts_are_not_even_read() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    }))
    .await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let domain = fresh_domain();
    prove(&app, &domain, b.staff.tenant_id).await;
    // Whoever looked it up now would fail.
    app.registry_execute("ALTER TABLE domains RENAME TO hidden").await;
    for host in [
        format!("host: {}", b.host),
        format!("host: {domain}"),
        format!("host: {domain}\r\nhost: {}", b.host),
        format!("host: x\r\nx-forwarded-host: {domain}\r\nx-forwarded-host: {}", b.host),
    ] {
        let with_token = [host.as_str(), &a.token()];
        send(&app, ME, &with_token, None).await.expect(200);
        send(&app, LOGIN, &[&host], Some(&a.credentials())).await.expect(200);
        let public = send(&app, PUBLIC, &[&host], None).await;
        public.expect_problem(404, "tenant_not_found");
    }
}
