//! Browsers: the session in cookies, and requests that pages of others make them send.

use reqwest::Method;
use reqwest::header::HeaderMap;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, Staff, TestApp, TestSettings};

const PLAIN: [&str; 2] = ["narthex_access", "narthex_refresh"];
const SECURE: [&str; 2] = ["__Host-narthex_access", "__Host-narthex_refresh"];

/// A request with these headers.
async fn send(
    app: &TestApp,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let mut request = app.client.request(method, format!("{}{path}", app.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    Answer::of(request.send().await.unwrap()).await
}

fn set_cookies(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

fn cookie(names: [&str; 2], staff: &Staff) -> String {
    format!("{}={}; theme=dark; {}={}", names[0], staff.token, names[1], staff.refresh_token)
}

async fn login(app: &TestApp, staff: &Staff, headers: &[(&str, &str)]) -> Answer {
    let credentials = json!({"email": staff.email, "password": staff.password});
    send(app, Method::POST, "/v1/auth/login", headers, Some(credentials)).await
}

#[rstest]
#[case::development(None, "", &[], false)]
#[case::public_url(Some("https://app.example.org"), "", &[], true)]
#[case::proxy_over_tls(None, "127.0.0.0/8", &[("x-forwarded-proto", "https")], true)]
#[case::proxy_without(None, "127.0.0.0/8", &[("x-forwarded-proto", "http")], false)]
#[case::nobody_believed(None, "10.0.0.0/8", &[("x-forwarded-proto", "http")], false)]
#[case::of_two_proxies(None, "127.0.0.0/8", &[("x-forwarded-proto", "https,http")], true)]
#[case::of_two_proxies_the_other_way(None, "127.0.0.0/8", &[("x-forwarded-proto", "http, https")], true)]
#[case::in_two_lines(None, "127.0.0.0/8", &[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], true)]
#[case::in_other_case(None, "127.0.0.0/8", &[("x-forwarded-proto", "HTTPS")], true)]
#[case::unclear(None, "127.0.0.0/8", &[("x-forwarded-proto", "wss")], true)]
#[case::proxy_that_does_not_say(None, "127.0.0.0/8", &[], true)]
#[case::unknown_proxy_over_tls(None, "10.0.0.0/8", &[("x-forwarded-proto", "https")], true)]
#[case::two_proxies_without(None, "127.0.0.0/8", &[("x-forwarded-proto", "http, HTTP")], false)]
#[case::public_url_first(Some("http://127.0.0.1"), "127.0.0.0/8", &[("x-forwarded-proto", "https")], false)]
#[tokio::test]
async fn signing_in_sets_cookies_for_this_host_alone(
    #[case] public_url: Option<&'static str>,
    #[case] proxy: &'static str,
    #[case] headers: &[(&str, &str)],
    #[case] is_https: bool,
) {
    let settings: TestSettings = Box::new(move |settings| {
        settings.http.public_url = public_url.map(|url| url.parse().unwrap());
        settings.http.trusted_proxies = proxy.parse().into_iter().collect();
    });
    let app = TestApp::start_with(settings).await;
    let staff = app.register().await;
    let answer = login(&app, &staff, headers).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let (access, refresh) =
        (answer.body["access_token"].clone(), answer.body["refresh_token"].clone());
    let (names, secure) = if is_https { (SECURE, "Secure; ") } else { (PLAIN, "") };
    let expected = [
        format!(
            "{}={}; HttpOnly; SameSite=Lax; {secure}Path=/; Max-Age=900",
            names[0],
            access.as_str().unwrap()
        ),
        format!(
            "{}={}; HttpOnly; SameSite=Strict; {secure}Path=/; Max-Age=2592000",
            names[1],
            refresh.as_str().unwrap()
        ),
    ];
    assert_eq!(set_cookies(&answer.headers), expected);
    // Only under the name that belongs to the scheme: the other may be somebody else's.
    for (names, status) in [(names, 200), (if is_https { PLAIN } else { SECURE }, 401)] {
        let cookie = cookie(names, &staff);
        let headers: Vec<_> = headers.iter().copied().chain([("cookie", &*cookie)]).collect();
        let me = send(&app, Method::GET, "/v1/auth/me", &headers, None).await;
        assert_eq!(me.status, status, "{names:?}");
    }
}

#[tokio::test]
async fn a_browser_lives_on_its_cookies() {
    let app = TestApp::start().await;
    let registration = app.registration();
    let made = app.call(Method::POST, "/v1/auth/register", Some(registration.clone())).await;
    let jar = |answer: &Answer| {
        let cookies = set_cookies(&answer.headers);
        let pairs = cookies.iter().map(|cookie| cookie.split(';').next().unwrap());
        pairs.collect::<Vec<_>>().join("; ")
    };
    let own = [("origin", &*app.url), ("content-type", "application/json")];
    let with = |cookies: &str| -> Vec<(String, String)> {
        let mut headers: Vec<_> =
            own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        headers.push(("cookie".to_owned(), cookies.to_owned()));
        headers
    };
    let call = async |method: Method, path: &str, cookies: &str, body: Option<Value>| {
        let headers = with(cookies);
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        send(&app, method, path, &headers, body).await
    };
    let first = jar(&made);
    let member = json!({"first_name": "Ada", "phone_number": "+13125550100"});
    call(Method::POST, "/v1/members", &first, Some(member)).await.expect(201);
    let refreshed = call(Method::POST, "/v1/auth/refresh", &first, None).await;
    let second = jar(&refreshed);
    assert_eq!(refreshed.expect(200)["user"]["email"], registration["email"]);
    assert_ne!(first, second);
    call(Method::GET, "/v1/auth/me", &second, None).await.expect(200);
    let out = call(Method::POST, "/v1/auth/logout", &second, None).await;
    assert_eq!(out.status, 204);
    assert_eq!(
        set_cookies(&out.headers),
        [
            "narthex_access=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0",
            "narthex_refresh=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"
        ]
    );
    call(Method::GET, "/v1/auth/me", &second, None).await.expect_problem(401, "token_revoked");
    let refused = call(Method::POST, "/v1/auth/refresh", &second, None).await;
    refused.expect_problem(401, "invalid_token");
    let none = call(Method::POST, "/v1/auth/refresh", "theme=dark", None).await;
    none.expect_problem(422, "validation_failed");
    assert_eq!(none.faults(), ["refresh_token: required"]);
}

/// What a page of somebody else can make a browser send. `OWN` stands for the gateway's own origin.
#[rstest]
#[case::says_nothing(&[], false)]
#[case::cross_site(&[("sec-fetch-site", "cross-site")], false)]
#[case::same_site(&[("sec-fetch-site", "same-site")], false)]
#[case::typed(&[("sec-fetch-site", "none")], false)]
#[case::same_origin(&[("sec-fetch-site", "same-origin")], true)]
#[case::contradicting(&[("sec-fetch-site", "cross-site"), ("origin", "OWN")], false)]
#[case::said_twice(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false)]
#[case::own(&[("origin", "OWN")], true)]
#[case::other(&[("origin", "https://evil.example")], false)]
#[case::own_in_other(&[("origin", "OWN.evil.example")], false)]
#[case::other_scheme(&[("origin", "HTTPS")], false)]
#[case::other_port(&[("origin", "http://127.0.0.1:1")], false)]
#[case::opaque(&[("origin", "null")], false)]
#[case::two(&[("origin", "OWN"), ("origin", "https://evil.example")], false)]
#[case::nonsense(&[("origin", "::")], false)]
#[case::referer(&[("referer", "OWN")], false)]
#[case::host_of_the_attacker(&[("x-forwarded-host", "evil.example"), ("origin", "http://evil.example")], false)]
#[tokio::test]
async fn what_another_page_makes_a_browser_send_changes_nothing(
    #[case] said: &[(&str, &str)],
    #[case] is_own: bool,
) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let cookie = cookie(PLAIN, &staff);
    let https = app.url.replace("http:", "https:");
    let texts: Vec<_> = said
        .iter()
        .map(|(name, value)| (*name, value.replace("OWN", &app.url).replace("HTTPS", &https)))
        .collect();
    let mut headers: Vec<_> = texts.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("cookie", &cookie));
    let member = json!({"first_name": "Eve", "phone_number": "+13125550666"});
    let expect = |answer: Answer, status: u16| match is_own {
        true => assert_eq!(answer.status, status, "{}", answer.body),
        false => answer.expect_problem(403, "csrf_rejected"),
    };
    // To read, nobody is asked: no page of others can see the answer.
    send(&app, Method::GET, "/v1/auth/me", &headers, None).await.expect(200);
    expect(send(&app, Method::POST, "/v1/members", &headers, Some(member)).await, 201);
    let count = app.cluster.count(&staff.database(), "SELECT count(*) FROM members").await;
    assert_eq!(count, i64::from(is_own));
    expect(send(&app, Method::POST, "/v1/auth/refresh", &headers, None).await, 200);
    expect(send(&app, Method::POST, "/v1/auth/logout", &headers, None).await, 204);
    if !is_own {
        // A program shows its token, and is not asked for its origin.
        let token = format!("Bearer {}", staff.token);
        headers.push(("authorization", &token));
        send(&app, Method::POST, "/v1/auth/logout", &headers, None).await.expect(204);
    }
}

/// What other programs put beside ours, in Latin-1.
#[rstest]
#[case::cookie_of_another_program(&[("cookie", "theme=d\u{c3}\u{a9}j\u{c3}\u{a0}; OURS")], 200)]
#[case::cookie_that_is_no_text(&[("cookie", "x=\u{ff}\u{fe}; OURS; y=\u{80}")], 200)]
#[case::cookie_line_of_another(&[("cookie", "x=\u{ff}"), ("cookie", "OURS")], 200)]
#[case::nonsense_between(&[("cookie", "=; ;; x; =y; OURS;")], 200)]
#[case::basic_of_a_proxy(&[("authorization", "Basic dXNlcjpwYXNz"), ("cookie", "OURS")], 200)]
#[case::basic_that_is_no_text(&[("authorization", "Basic \u{ff}"), ("cookie", "OURS")], 200)]
#[case::basic_beside_a_token(&[("authorization", "Basic dXNlcjpwYXNz"), ("authorization", "Bearer TOKEN")], 200)]
#[case::scheme_alone(&[("authorization", "Negotiate"), ("cookie", "OURS")], 200)]
#[case::basic_alone(&[("authorization", "Basic dXNlcjpwYXNz")], 401)]
#[case::bad_token_beside_a_cookie(&[("authorization", "Bearer \u{ff}"), ("cookie", "OURS")], 401)]
#[case::two_tokens(&[("authorization", "Bearer TOKEN"), ("authorization", "Bearer TOKEN")], 401)]
#[tokio::test]
async fn a_foreign_part_of_a_header_does_not_spoil_ours(
    #[case] headers: &[(&str, &str)],
    #[case] status: u16,
) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let ours = format!("narthex_access={}", staff.token);
    let mut request = app.client.get(format!("{}/v1/auth/me", app.url));
    for (name, value) in headers {
        let value = value.replace("OURS", &ours).replace("TOKEN", &staff.token);
        // One byte a character, so that not all of it is UTF-8.
        let bytes: Vec<u8> = value.chars().map(|c| c as u8).collect();
        request = request.header(*name, reqwest::header::HeaderValue::from_bytes(&bytes).unwrap());
    }
    assert_eq!(request.send().await.unwrap().status(), status);
}

#[tokio::test]
async fn of_two_cookies_of_one_name_none_is_believed_and_the_header_goes_before_both() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let (one, other) = (cookie(PLAIN, &a), cookie(PLAIN, &b));
    let me = async |headers: &[(&str, &str)]| {
        send(&app, Method::GET, "/v1/auth/me", headers, None).await
    };
    me(&[("cookie", &one)]).await.expect(200);
    let both = format!("{one}; {other}");
    me(&[("cookie", &both)]).await.expect_problem(401, "invalid_token");
    me(&[("cookie", &one), ("cookie", &other)]).await.expect_problem(401, "invalid_token");
    let token = format!("Bearer {}", b.token);
    let seen = me(&[("cookie", &one), ("authorization", &token)]).await.expect(200);
    assert_eq!(seen["user"]["email"], b.email.as_str());
    me(&[("cookie", &one), ("authorization", "Bearer nonsense")])
        .await
        .expect_problem(401, "invalid_token");
    // A form of another page cannot send JSON, so that nobody is signed in as somebody else without knowing.
    let form = format!("{{\"email\": \"{}\", \"password\": \"{}\"}}", b.email, b.password);
    let request = app.client.post(format!("{}/v1/auth/login", app.url)).body(form);
    let answer = Answer::of(request.header("content-type", "text/plain").send().await.unwrap());
    answer.await.expect_problem(415, "unsupported_media_type");
}
