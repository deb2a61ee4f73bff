//! Every documented route, with a request for it. The tests that walk them all fail when one is not in this table.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Staff, TestApp, unique};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Audience {
    /// It needs no access token.
    Anybody,
    /// It speaks of the caller, whatever their role.
    AnyStaff,
    /// It asks the caller for a secret beside the token, which nobody in the walks knows.
    AsksForSecret,
    /// It changes or removes one thing of the caller's own, named in the path, whatever their role.
    ChangesOwn,
    /// It reads lists of the tenant.
    ReadsList,
    /// It reads one thing of the tenant, named in the path.
    ReadsOne,
    /// It adds something to the tenant.
    Adds,
    /// It changes or removes one thing of the tenant, named in the path.
    Changes,
    /// It is for operators of the installation.
    Operator,
}
use Audience::{
    Adds, AnyStaff, Anybody, AsksForSecret, Changes, ChangesOwn, Operator, ReadsList, ReadsOne,
};

/// In the order in which a walk can take them: what removes comes last.
pub const ROUTES: &[(&str, &str, Audience)] = &[
    ("get", "/.well-known/jwks.json", Anybody),
    ("get", "/healthz", Anybody),
    ("get", "/readyz", Anybody),
    ("get", "/health", Anybody),
    ("get", "/problems/{code}", Anybody),
    ("post", "/webhooks/telnyx", Anybody),
    ("post", "/webhooks/clerk", Anybody),
    ("post", "/v1/auth/register", Anybody),
    ("get", "/v1/registrations/{id}", Anybody),
    ("post", "/v1/auth/login", Anybody),
    ("post", "/v1/auth/refresh", Anybody),
    ("post", "/v1/auth/password/forgot", Anybody),
    ("post", "/v1/auth/password/reset", Anybody),
    ("post", "/v1/auth/email/verify", Anybody),
    ("get", "/v1/tenant/public", Anybody),
    ("get", "/v1/auth/me", AnyStaff),
    ("get", "/v1/auth/sessions", AnyStaff),
    ("post", "/v1/auth/email/verify/resend", AnyStaff),
    ("post", "/v1/auth/password/change", AsksForSecret),
    ("get", "/v1/members", ReadsList),
    ("post", "/v1/members", Adds),
    ("get", "/v1/members/{id}", ReadsOne),
    ("patch", "/v1/members/{id}", Changes),
    ("delete", "/v1/members/{id}", Changes),
    ("get", "/v1/branches", ReadsList),
    ("post", "/v1/branches", Adds),
    ("get", "/v1/branches/{id}", ReadsOne),
    ("patch", "/v1/branches/{id}", Changes),
    ("delete", "/v1/branches/{id}", Changes),
    ("get", "/v1/conversations", ReadsList),
    ("get", "/v1/conversations/{id}", ReadsOne),
    ("get", "/v1/conversations/{id}/messages", ReadsOne),
    ("delete", "/v1/auth/sessions/{id}", ChangesOwn),
    ("post", "/v1/auth/logout", AnyStaff),
    ("post", "/v1/admin/auth/login", Anybody),
    ("get", "/v1/admin/auth/me", Operator),
    ("post", "/v1/admin/auth/password/change", Operator),
    ("post", "/v1/admin/auth/mfa/enroll", Operator),
    ("post", "/v1/admin/auth/mfa/confirm", Operator),
    ("post", "/v1/admin/auth/mfa/disable", Operator),
    ("get", "/v1/admin/tenants", Operator),
    ("post", "/v1/admin/tenants", Operator),
    ("get", "/v1/admin/tenants/{id}", Operator),
    ("patch", "/v1/admin/tenants/{id}", Operator),
    ("delete", "/v1/admin/tenants/{id}", Operator),
    ("post", "/v1/admin/tenants/{id}/restore", Operator),
    ("post", "/v1/admin/tenants/{id}/suspend", Operator),
    ("post", "/v1/admin/tenants/{id}/resume", Operator),
    ("post", "/v1/admin/tenants/{id}/provision", Operator),
    ("get", "/v1/admin/tenants/{id}/phone-numbers", Operator),
    ("post", "/v1/admin/tenants/{id}/phone-numbers", Operator),
    ("delete", "/v1/admin/tenants/{id}/phone-numbers/{number}", Operator),
    ("get", "/v1/admin/tenants/{id}/runs", Operator),
    ("get", "/v1/admin/tenants/{id}/resources", Operator),
    ("get", "/v1/admin/runs", Operator),
    ("get", "/v1/admin/runs/{id}", Operator),
    ("post", "/v1/admin/runs/{id}/retry", Operator),
    ("post", "/v1/admin/runs/{id}/cancel", Operator),
    ("get", "/v1/admin/servers", Operator),
    ("post", "/v1/admin/servers/{id}/drain", Operator),
    ("post", "/v1/admin/servers/{id}/open", Operator),
    ("get", "/v1/admin/operators", Operator),
    ("post", "/v1/admin/operators", Operator),
    ("patch", "/v1/admin/operators/{id}", Operator),
    ("get", "/v1/admin/audit-log", Operator),
    ("post", "/v1/admin/auth/logout", Operator),
];

/// The routes that need an access token of a tenant's staff.
pub fn tenant_routes() -> impl Iterator<Item = Route> {
    routes(|audience| !matches!(audience, Anybody | Operator))
}

/// The routes that need an access token of an operator.
pub fn operator_routes() -> impl Iterator<Item = Route> {
    routes(|audience| audience == Operator)
}

fn routes(is_wanted: impl Fn(Audience) -> bool) -> impl Iterator<Item = Route> {
    expect_complete();
    let wanted = ROUTES.iter().filter(move |route| is_wanted(route.2));
    wanted.map(|&(method, path, audience)| Route {
        method: method.to_uppercase().parse().unwrap(),
        path,
        audience,
    })
}

/// Fails unless the table holds exactly the routes of the document, and the document says of each whether it needs a
/// token.
pub fn expect_complete() {
    let document: Value =
        serde_json::from_str(&narthex::http::openapi_document().unwrap()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            documented.insert((method.clone(), path.clone(), operation.get("security").is_some()));
        }
    }
    let known: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, audience)| {
            ((*method).to_owned(), (*path).to_owned(), *audience != Anybody)
        })
        .collect();
    assert_eq!(documented, known, "a route has no line in the table, or a line no route");
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub audience: Audience,
}

impl Route {
    /// A body that is all right for this route.
    pub fn body(&self) -> Option<Value> {
        match (self.method.as_str(), self.path) {
            ("POST", "/v1/members") => {
                Some(json!({"first_name": "Eve", "phone_number": "+13125550666"}))
            }
            ("POST", "/v1/branches") => Some(json!({"name": format!("Branch {}", unique())})),
            ("POST", "/v1/auth/password/change") => Some(json!({
                "current_password": "a guess", "new_password": "a quite new password 7"})),
            ("PATCH", "/v1/members/{id}") => Some(json!({"first_name": "Mallory"})),
            ("PATCH", "/v1/branches/{id}") => Some(json!({"name": format!("Hill {}", unique())})),
            ("POST", "/v1/admin/auth/password/change") => Some(json!({
                "current_password": "a guess", "new_password": "a quite new password 7"})),
            ("POST", "/v1/admin/auth/mfa/enroll") => Some(json!({"password": "a guess"})),
            ("POST", "/v1/admin/auth/mfa/confirm") => Some(json!({"totp_code": "123456"})),
            ("POST", "/v1/admin/auth/mfa/disable") => {
                Some(json!({"password": "a guess", "totp_code": "123456"}))
            }
            ("POST", "/v1/admin/tenants") => Some(json!({"organization_name": "New Chapel",
                "owner": {"email": format!("{}@example.org", unique()), "first_name": "G",
                    "last_name": "H"}})),
            ("PATCH", "/v1/admin/tenants/{id}") => Some(json!({"plan": "gold"})),
            ("POST", "/v1/admin/tenants/{id}/phone-numbers") => {
                Some(json!({"number": "+13125550102"}))
            }
            ("POST", "/v1/admin/operators") => Some(json!({"name": "New", "role": "viewer",
                "email": format!("{}@example.org", unique()),
                "password": "a quite new password 7"})),
            ("PATCH", "/v1/admin/operators/{id}") => Some(json!({"name": "Another"})),
            _ => None,
        }
    }
}

/// A tenant with one of everything.
pub struct Furnished {
    pub staff: Staff,
    pub member: Value,
    pub branch: Value,
    pub conversation: Value,
    /// Another session of the same person.
    pub session: Value,
    /// Words that stand in this tenant's data and nowhere else.
    pub marks: Vec<String>,
}

impl Furnished {
    pub async fn make(app: &TestApp) -> Self {
        let staff = app.register().await;
        // Digits of an id of our own, so that no other test and no other tenant has the numbers.
        let digits = format!("{:07}", uuid::Uuid::new_v4().as_u128() % 10_000_000);
        let (own, contact) = (format!("+1312{digits}"), format!("+1415{digits}"));
        let mark = unique();
        app.assign_number(&own, staff.tenant_id).await;
        let branch = json!({"name": format!("Branch {mark}")});
        let branch = staff.post("/v1/branches", branch).await.expect(201);
        let member = json!({"first_name": format!("Name {mark}"), "phone_number": contact,
            "email": format!("{mark}@example.net"), "tags": [format!("tag {mark}")]});
        let member = staff.post("/v1/members", member).await.expect(201);
        app.provider
            .send(&app.provider.sms(&contact, &own, &format!("Text {mark}")))
            .await
            .expect(200);
        let list = staff.get("/v1/conversations").await.expect(200);
        let conversation = list["data"][0].clone();
        let credentials = json!({"email": staff.email, "password": staff.password});
        app.call(Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
        let session = staff.get("/v1/auth/sessions").await.expect(200)["data"][0].clone();
        let me = staff.get("/v1/auth/me").await.expect(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let marks = vec![
            mark,
            contact,
            staff.email.clone(),
            staff.tenant_id.to_string(),
            staff.user_id.to_string(),
            text(&me["tenant"]["slug"]),
            text(&me["tenant"]["organization_name"]),
            text(&member["id"]),
            text(&branch["id"]),
            text(&conversation["id"]),
            text(&session["id"]),
            own,
        ];
        Self { staff, member, branch, conversation, session, marks }
    }

    /// The path of a route to this tenant's own things.
    pub fn path(&self, route: &Route) -> String {
        let thing = match route.path.split('/').nth(2).unwrap_or_default() {
            "auth" => &self.session,
            "members" => &self.member,
            "branches" => &self.branch,
            _ => &self.conversation,
        };
        route.path.replace("{id}", thing["id"].as_str().unwrap())
    }
}
