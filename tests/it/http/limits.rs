//! Whoever calls too often is told so, and nobody else pays for it.

use chrono::TimeDelta;
use narthex::configuration::LimitsSettings;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Staff, TestApp, TestSettings};

const LOGIN: &str = "/v1/auth/login";

/// Limits that are soon reached, and a proxy that is believed: a test calls from wherever it likes.
async fn start(change: impl FnOnce(&mut LimitsSettings) + Send + 'static) -> TestApp {
    let settings: TestSettings = Box::new(|settings| {
        settings.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.limits.enabled = true;
        settings.limits.login = "3/15m".parse().unwrap();
        settings.limits.account = "8/1h".parse().unwrap();
        change(&mut settings.limits);
    });
    TestApp::start_with(settings).await
}

/// A call from that address.
async fn from(
    app: &TestApp,
    address: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let mut request = app.client.request(method, format!("{}{path}", app.url));
    request = request.header("x-forwarded-for", address);
    if let Some(body) = body {
        request = request.json(body);
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn login(app: &TestApp, address: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    from(app, address, Method::POST, LOGIN, Some(&body)).await
}

/// Fails unless the answer says that it comes too often, and when to come again.
#[track_caller]
fn expect_limited(answer: &Answer, name: &str, at_most: u64) {
    answer.expect_problem(429, "rate_limited");
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=at_most).contains(&seconds), "{seconds} s");
    let left = answer.headers["ratelimit"].to_str().unwrap();
    assert!(left.starts_with(&format!("\"{name}\";r=0;t=")), "{left}");
}

#[tokio::test]
async fn whoever_guesses_is_shut_out_and_the_owner_is_not() {
    let app = start(|_| {}).await;
    let owner = app.register().await;
    let (thief, home) = ("203.0.113.1", "198.51.100.7");
    let nobody = format!("nobody-{}", owner.email);
    for email in [owner.email.as_str(), &nobody] {
        for _ in 0..3 {
            let wrong = login(&app, thief, email, "a wrong password").await;
            wrong.expect_problem(401, "invalid_credentials");
        }
        // From there not even the right one opens: else the answer would say that it was right.
        for password in ["a wrong password", owner.password.as_str()] {
            expect_limited(&login(&app, thief, email, password).await, "login", 300);
        }
    }
    // As often as they like: only what fails is counted.
    for _ in 0..5 {
        login(&app, home, &owner.email, &owner.password).await.expect(200);
    }
    // Not for ever.
    app.clock.advance(TimeDelta::minutes(5));
    login(&app, thief, &owner.email, "a wrong password")
        .await
        .expect_problem(401, "invalid_credentials");
    expect_limited(&login(&app, thief, &owner.email, "wrong again").await, "login", 300);
    app.clock.advance(TimeDelta::minutes(15));
    login(&app, thief, &owner.email, &owner.password).await.expect(200);
}

#[tokio::test]
async fn many_who_guess_together_are_shut_out_and_the_owner_is_not() {
    let app = start(|_| {}).await;
    let owner = app.register().await;
    let home = "2001:db8:7:7::1";
    login(&app, home, &owner.email, &owner.password).await.expect(200);
    let guess = async |n: usize| {
        login(&app, &format!("2001:db8:0:{n:x}::1"), &owner.email, "a wrong password").await
    };
    // Of one network each address is the same guesser.
    for n in 1..4 {
        let address = format!("2001:db8:0:aaaa::{n}");
        let wrong = login(&app, &address, &owner.email, "a wrong password").await;
        wrong.expect_problem(401, "invalid_credentials");
    }
    expect_limited(&login(&app, "2001:db8:0:aaaa::9", &owner.email, "x").await, "login", 300);
    for n in 1..=5 {
        guess(n).await.expect_problem(401, "invalid_credentials");
    }
    for n in 6..9 {
        expect_limited(&guess(n).await, "login", 450);
    }
    // Whoever has signed in from there before still does, on another replica too.
    let neighbour = "2001:db8:7:7:1:2:3:4";
    login(&app, neighbour, &owner.email, &owner.password).await.expect(200);
    let replica = app.replica().await;
    for n in 1..=8 {
        let address = format!("192.0.2.{n}");
        let wrong = login(&replica, &address, &owner.email, "a wrong password").await;
        wrong.expect_problem(401, "invalid_credentials");
    }
    expect_limited(&login(&replica, "192.0.2.9", &owner.email, "x").await, "login", 450);
    login(&replica, home, &owner.email, &owner.password).await.expect(200);
}

#[tokio::test]
async fn registrations_are_counted_by_the_address_that_really_calls() {
    let app = start(|limits| limits.registration = "2/1h".parse().unwrap()).await;
    let register = async |address: &str| {
        from(&app, address, Method::POST, "/v1/auth/register", Some(&app.registration())).await
    };
    register("203.0.113.1").await.expect(201);
    // A client can write what it likes in front of what the proxy adds.
    register("198.51.100.1, 203.0.113.1").await.expect(201);
    let tenants = app.registry_count("SELECT count(*) FROM tenants").await;
    expect_limited(&register("198.51.100.2, 203.0.113.1").await, "registration", 1800);
    assert_eq!(app.registry_count("SELECT count(*) FROM tenants").await, tenants);
    register("198.51.100.1").await.expect(201);
}

#[tokio::test]
async fn a_tenant_that_asks_too_much_is_slowed_down_and_no_other() {
    let app = start(|limits| {
        limits.tenant_reads = "3/1m".parse().unwrap();
        limits.tenant_writes = "2/1m".parse().unwrap();
    })
    .await;
    let (busy, calm) = (app.register().await, app.register().await);
    let member = |n: usize| json!({"first_name": "Ada", "phone_number": format!("+1312555010{n}")});
    let header = |answer: &Answer, name: &str| answer.headers[name].to_str().unwrap().to_owned();
    for left in ["2", "1", "0"] {
        let answer = busy.get("/v1/members").await;
        assert_eq!(header(&answer, "ratelimit-policy"), "\"tenant_reads\";q=3;w=60");
        assert!(header(&answer, "ratelimit").starts_with(&format!("\"tenant_reads\";r={left};t=")));
        answer.expect(200);
    }
    expect_limited(&busy.get("/v1/members").await, "tenant_reads", 20);
    expect_limited(&busy.get("/v1/auth/me").await, "tenant_reads", 20);
    // Reading too much does not keep anybody from writing.
    busy.post("/v1/members", member(1)).await.expect(201);
    busy.post("/v1/members", member(2)).await.expect(201);
    expect_limited(&busy.post("/v1/members", member(3)).await, "tenant_writes", 30);
    let count = app.cluster.count(&busy.database(), "SELECT count(*) FROM members").await;
    assert_eq!(count, 2);
    calm.get("/v1/members").await.expect(200);
    calm.post("/v1/members", member(1)).await.expect(201);
    app.clock.advance(TimeDelta::seconds(20));
    busy.get("/v1/members").await.expect(200);
}

#[tokio::test]
async fn whoever_has_no_token_is_counted_by_address() {
    let app = start(|limits| limits.address = "2/1m".parse().unwrap()).await;
    let refresh = async |address: &str| {
        let body = json!({"refresh_token": "nonsense"});
        from(&app, address, Method::POST, "/v1/auth/refresh", Some(&body)).await
    };
    refresh("203.0.113.1").await.expect_problem(401, "invalid_token");
    refresh("203.0.113.1").await.expect_problem(401, "invalid_token");
    expect_limited(&refresh("203.0.113.1").await, "address", 30);
    refresh("203.0.113.2").await.expect_problem(401, "invalid_token");
    // Programs of this machine, whoever they call for, are not counted by it.
    for _ in 0..3 {
        refresh("127.0.0.1").await.expect_problem(401, "invalid_token");
    }
    // Load balancers and those who look keys up are not counted.
    for path in ["/readyz", "/healthz", "/.well-known/jwks.json", "/problems/not_found"] {
        let answer = from(&app, "203.0.113.1", Method::GET, path, None).await;
        assert!(!answer.headers.contains_key("ratelimit"), "{path}");
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn where_limits_are_switched_off_nobody_is_counted() {
    let app = start(|limits| {
        limits.enabled = false;
        limits.tenant_reads = "1/1h".parse().unwrap();
        limits.login = "1/1h".parse().unwrap();
    })
    .await;
    let staff: Staff = app.register().await;
    for _ in 0..3 {
        let answer = staff.get("/v1/members").await;
        assert!(!answer.headers.contains_key("ratelimit"));
        answer.expect(200);
        login(&app, "203.0.113.1", &staff.email, "a wrong password")
            .await
            .expect_problem(401, "invalid_credentials");
    }
}
