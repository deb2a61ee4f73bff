//! Where the host of a request stands: in its headers, its target, and what a proxy says of it.

use rstest::rstest;

use super::{BASE, LOGIN, ME, PUBLIC, REFRESH, Tenant, at, expect_public, send, start};
use crate::http::raw;
use crate::support::{Answer, TestApp};

#[rstest]
#[case::nobody("", false)]
#[case::others("10.0.0.0/8,fd00::/8,::1/128", false)]
#[case::network("10.0.0.0/8,127.0.0.0/8", true)]
#[case::address("127.0.0.1/32", true)]
#[tokio::test]
async fn a_forwarded_host_counts_when_a_trusted_proxy_sends_it(
    #[case] proxies: &str,
    #[case] believed: bool,
) {
    let app = start(proxies).await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let forwarded = format!("X-Forwarded-Host: {}:443", a.host);
    let inside = ["host: gateway.internal:8080", &forwarded];
    let public = send(&app, PUBLIC, &inside, None).await;
    if believed {
        expect_public(public, &a);
    } else {
        public.expect_problem(404, "tenant_not_found");
    }
    let call = async |host: &Tenant, token: &Tenant| {
        let host = format!("host: {}", host.host);
        send(&app, ME, &[&host, &forwarded, &token.token()], None).await
    };
    // It stands in the place of the host, whatever that is.
    let (stands, falls) = if believed { (&a, &b) } else { (&b, &a) };
    call(&b, stands).await.expect(200);
    call(&b, falls).await.expect_problem(403, "tenant_mismatch");
    let login = send(&app, LOGIN, &inside, Some(&b.credentials())).await;
    assert_eq!(login.status, if believed { 401 } else { 200 }, "{}", login.body);
}

#[rstest]
#[case::repeated("x-forwarded-host: OWN\r\nx-forwarded-host: OWN")]
#[case::list("x-forwarded-host: OWN, proxy.internal")]
#[case::list_without_space("x-forwarded-host: proxy.internal,OWN")]
#[tokio::test]
async fn several_forwarded_hosts_are_refused_from_a_trusted_proxy_and_ignored_from_others(
    #[case] header: &str,
) {
    let (believing, other) = (start("127.0.0.1/32").await, start("").await);
    for app in [&believing, &other] {
        let tenant = Tenant::register(app).await;
        let host = format!("host: {}", tenant.host);
        let header = header.replace("OWN", &tenant.host);
        let token = tenant.token();
        let headers = [host.as_str(), &header, &token];
        let answers = [
            send(app, ME, &headers, None).await,
            send(app, PUBLIC, &headers, None).await,
            send(app, LOGIN, &headers, Some(&tenant.credentials())).await,
            send(app, REFRESH, &headers, Some(&tenant.refresh_token())).await,
        ];
        for answer in answers {
            if std::ptr::eq(app, &believing) {
                answer.expect_problem(403, "tenant_mismatch");
            } else {
                answer.expect(200);
            }
        }
        send(app, "GET /healthz", &headers, None).await.expect(200);
    }
}

#[tokio::test]
async fn a_request_with_two_hosts_is_malformed() {
    let app = start("").await;
    let tenant = Tenant::register(&app).await;
    let host = format!("host: {}", tenant.host);
    for second in [host.as_str(), "host: localhost", "host:"] {
        let token = tenant.token();
        let headers = [host.as_str(), second, &token];
        for (line, body) in [
            (ME, None),
            (PUBLIC, None),
            (LOGIN, Some(tenant.credentials())),
            (REFRESH, Some(tenant.refresh_token())),
        ] {
            let answer = send(&app, line, &headers, body.as_ref()).await;
            answer.expect_problem(400, "malformed_request");
        }
        send(&app, "GET /healthz", &headers, None).await.expect(200);
    }
}

#[tokio::test]
async fn the_host_of_an_absolute_target_goes_before_the_header() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let line = format!("GET http://{}:80/v1/tenant/public", a.host);
    expect_public(at(&app, &b.host, &line, None).await, &a);
    let line = format!("GET http://{}/v1/auth/me", a.host);
    me_by(&app, &line, &b).await.expect_problem(403, "tenant_mismatch");
    me_by(&app, &line, &a).await.expect(200);
}

async fn me_by(app: &TestApp, line: &str, tenant: &Tenant) -> Answer {
    send(app, line, &["host: localhost", &tenant.token()], None).await
}

/// A GET over HTTP/2: `authority` is what the client calls, `headers` what it adds.
async fn over_http2(
    app: &TestApp,
    authority: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let io = TokioIo::new(raw::connect(&app.url).await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = hyper::Request::get(format!("http://{authority}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), hyper::Version::HTTP_2);
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    connection.abort();
    Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default(), bytes }
}

#[tokio::test]
async fn over_http2_the_authority_is_the_host() {
    let app = start("").await;
    let (a, b) = (Tenant::register(&app).await, Tenant::register(&app).await);
    let path = "/v1/tenant/public";
    for host in [a.host.clone(), format!("{}:8443", a.host), a.host.to_uppercase()] {
        expect_public(over_http2(&app, &host, path, &[]).await, &a);
        expect_public(over_http2(&app, &host, path, &[("host", &a.host.to_lowercase())]).await, &a);
    }
    over_http2(&app, BASE, path, &[]).await.expect_problem(404, "tenant_not_found");
    let two = over_http2(&app, &a.host, path, &[("host", &b.host)]).await;
    two.expect_problem(400, "malformed_request");

    let (bearer_a, bearer_b) =
        (format!("Bearer {}", a.staff.token), format!("Bearer {}", b.staff.token));
    let me = "/v1/auth/me";
    over_http2(&app, &a.host, me, &[("authorization", &bearer_a)]).await.expect(200);
    let refused = over_http2(&app, &a.host, me, &[("authorization", &bearer_b)]).await;
    refused.expect_problem(403, "tenant_mismatch");
}
