//! Signing in, prolonging a session and registering at the host of a tenant.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{BASE, LOGIN, REFRESH, Tenant, at, fresh_domain, prove, start};
use crate::accounts::{in_session, join};

#[tokio::test]
async fn a_login_at_the_host_of_a_tenant_is_one_to_that_tenant() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let domain = fresh_domain();
    prove(&app, &domain, a.staff.tenant_id).await;
    for host in [a.host.as_str(), &domain, BASE, "localhost", "unknown.example.com"] {
        let session = at(&app, host, LOGIN, Some(&a.credentials())).await.expect(200);
        assert_eq!(session["tenant"]["slug"], a.slug, "{host}");
    }
    let naming = |slug: &str| {
        let mut body = a.credentials();
        body["tenant"] = json!(slug);
        body
    };
    for host in [a.host.as_str(), &domain] {
        at(&app, host, LOGIN, Some(&naming(&a.slug))).await.expect(200);
        for other in [b.slug.as_str(), "nowhere", ""] {
            let refused = at(&app, host, LOGIN, Some(&naming(other))).await;
            refused.expect_problem(403, "tenant_mismatch");
        }
        // The other's account is unknown here, however right its password is.
        let refused = at(&app, host, LOGIN, Some(&b.credentials())).await;
        refused.expect_problem(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn who_is_staff_of_two_tenants_chooses_one_by_its_host() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    join(&app, &a.staff, &b.staff, true).await;
    let undecided = at(&app, BASE, LOGIN, Some(&a.credentials())).await;
    undecided.expect_problem(409, "tenant_selection_required");
    for tenant in [&a, &b] {
        let session = at(&app, &tenant.host, LOGIN, Some(&a.credentials())).await.expect(200);
        assert_eq!(session["tenant"]["slug"], tenant.slug);
    }
}

#[tokio::test]
async fn at_a_host_too_whoever_guesses_learns_nothing_from_the_answer_or_its_time() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let nobody = json!({"email": "nobody@example.org", "password": "wrong password"});
    let mut wrong = a.credentials();
    wrong["password"] = json!("wrong password");
    let mut seen = Vec::new();
    for (host, body) in [
        (a.host.as_str(), &wrong),
        (&a.host, &nobody),
        (&a.host, &b.credentials()),
        ("nobody.app.example.org", &a.credentials()),
        ("nobody.app.example.org", &nobody),
        ("a.b.app.example.org", &a.credentials()),
        (".app.example.org", &a.credentials()),
    ] {
        let begun = Instant::now();
        let mut answer = at(&app, host, LOGIN, Some(body)).await;
        assert!(begun.elapsed() >= Duration::from_millis(400), "{host}: {:?}", begun.elapsed());
        answer.expect_problem(401, "invalid_credentials");
        answer.body["request_id"] = Value::Null;
        seen.push(answer.body);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[tokio::test]
async fn a_refresh_token_at_the_host_of_another_tenant_is_refused_and_stays_good() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let (own, foreign) = (fresh_domain(), fresh_domain());
    prove(&app, &own, a.staff.tenant_id).await;
    prove(&app, &foreign, b.staff.tenant_id).await;
    let mut staff = a.staff.clone();
    for host in [b.host.as_str(), &foreign, "nobody.app.example.org", "a.b.app.example.org"] {
        let body = json!({"refresh_token": staff.refresh_token});
        let refused = at(&app, host, REFRESH, Some(&body)).await;
        refused.expect_problem(403, "tenant_mismatch");
    }
    for host in [a.host.as_str(), &own, BASE, "localhost"] {
        let body = json!({"refresh_token": staff.refresh_token});
        staff = in_session(&staff, &at(&app, host, REFRESH, Some(&body)).await.expect(200));
    }
    staff.get("/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn at_the_host_of_a_tenant_others_can_register() {
    let app = start("").await;
    let tenant = Tenant::register(&app).await;
    let registration = app.registration();
    let made = at(&app, &tenant.host, "POST /v1/auth/register", Some(&registration)).await;
    let made = made.expect(201);
    assert_eq!(made["tenant"]["organization_name"], registration["organization_name"]);
    assert_ne!(made["tenant"]["id"], tenant.staff.tenant_id.to_string());
}
