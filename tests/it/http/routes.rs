//! Every documented route, with a request for it. The tests that walk them all fail when one is not in this table.

use std::collections::BTreeSet;

use narthex::mail::Mailer;
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
    /// It reads a list of the tenant's, in which a furnished tenant has one thing.
    ReadsList,
    /// It reads what the tenant has whether or not anybody added it.
    ReadsTenant,
    /// It reads one thing of the tenant, named in the path.
    ReadsOne,
    /// It adds something to the tenant, or changes what every tenant has.
    Adds,
    /// It changes or removes one thing of the tenant, named in the path.
    Changes,
    /// It is for operators of the installation.
    Operator,
}
use Audience::{
    Adds, AnyStaff, Anybody, AsksForSecret, Changes, ChangesOwn, Operator, ReadsList, ReadsOne,
    ReadsTenant,
};

/// Method, path, who may call it, and which permission it needs. In the order in which a walk can take them: what removes
/// comes last.
pub const ROUTES: &[(&str, &str, Audience, Option<&str>)] = &[
    ("get", "/.well-known/jwks.json", Anybody, None),
    ("get", "/healthz", Anybody, None),
    ("get", "/readyz", Anybody, None),
    ("get", "/health", Anybody, None),
    ("get", "/problems/{code}", Anybody, None),
    ("post", "/webhooks/telnyx", Anybody, None),
    ("post", "/webhooks/clerk", Anybody, None),
    ("post", "/v1/auth/register", Anybody, None),
    ("get", "/v1/registrations/{id}", Anybody, None),
    ("post", "/v1/auth/login", Anybody, None),
    ("post", "/v1/auth/refresh", Anybody, None),
    ("post", "/v1/auth/password/forgot", Anybody, None),
    ("post", "/v1/auth/password/reset", Anybody, None),
    ("post", "/v1/auth/email/verify", Anybody, None),
    ("post", "/v1/auth/email/change/confirm", Anybody, None),
    ("post", "/v1/auth/invitations/accept", Anybody, None),
    ("get", "/v1/tenant/public", Anybody, None),
    ("get", "/v1/auth/me", AnyStaff, None),
    ("get", "/v1/auth/sessions", AnyStaff, None),
    ("post", "/v1/auth/email/verify/resend", AnyStaff, None),
    ("post", "/v1/auth/email/change", AsksForSecret, None),
    ("post", "/v1/auth/password/change", AsksForSecret, None),
    ("post", "/v1/auth/step-up", AsksForSecret, None),
    ("post", "/v1/auth/mfa/enroll", AsksForSecret, None),
    ("post", "/v1/auth/mfa/confirm", AsksForSecret, None),
    ("post", "/v1/auth/mfa/disable", AsksForSecret, None),
    ("get", "/v1/tenant", ReadsTenant, Some("members:read")),
    ("patch", "/v1/tenant", Adds, Some("tenant:manage")),
    ("post", "/v1/tenant/close", AsksForSecret, Some("tenant:manage")),
    ("get", "/v1/tenant/settings", ReadsTenant, Some("tenant:manage")),
    ("patch", "/v1/tenant/settings", Adds, Some("tenant:manage")),
    ("get", "/v1/tenant/audit-log", ReadsTenant, Some("audit:read")),
    ("get", "/v1/tenant/impersonations", ReadsList, Some("audit:read")),
    ("delete", "/v1/tenant/impersonations/{id}", Changes, Some("tenant:manage")),
    ("get", "/v1/members", ReadsList, Some("members:read")),
    ("post", "/v1/members", Adds, Some("members:write")),
    ("get", "/v1/members/{id}", ReadsOne, Some("members:read")),
    ("patch", "/v1/members/{id}", Changes, Some("members:write")),
    ("delete", "/v1/members/{id}", Changes, Some("members:write")),
    ("get", "/v1/branches", ReadsList, Some("members:read")),
    ("post", "/v1/branches", Adds, Some("members:write")),
    ("get", "/v1/branches/{id}", ReadsOne, Some("members:read")),
    ("patch", "/v1/branches/{id}", Changes, Some("members:write")),
    ("delete", "/v1/branches/{id}", Changes, Some("members:write")),
    ("get", "/v1/conversations", ReadsList, Some("conversations:read")),
    ("get", "/v1/conversations/{id}", ReadsOne, Some("conversations:read")),
    ("get", "/v1/conversations/{id}/messages", ReadsOne, Some("conversations:read")),
    ("get", "/v1/roles", ReadsTenant, Some("staff:manage")),
    ("post", "/v1/roles", Adds, Some("staff:manage")),
    ("patch", "/v1/roles/{id}", Changes, Some("staff:manage")),
    ("delete", "/v1/roles/{id}", Changes, Some("staff:manage")),
    ("get", "/v1/staff", ReadsTenant, Some("staff:manage")),
    ("post", "/v1/staff", Adds, Some("staff:manage")),
    ("get", "/v1/staff/{id}", ReadsOne, Some("staff:manage")),
    ("post", "/v1/staff/{id}/invitation", Changes, Some("staff:manage")),
    ("patch", "/v1/staff/{id}", Changes, Some("staff:manage")),
    ("delete", "/v1/staff/{id}/mfa", Changes, Some("staff:manage")),
    ("delete", "/v1/staff/{id}", Changes, Some("staff:manage")),
    ("get", "/v1/api-keys", ReadsList, Some("tenant:manage")),
    ("post", "/v1/api-keys", Adds, Some("tenant:manage")),
    ("delete", "/v1/api-keys/{id}", Changes, Some("tenant:manage")),
    ("delete", "/v1/auth/sessions/{id}", ChangesOwn, None),
    ("post", "/v1/auth/logout", AnyStaff, None),
    ("post", "/v1/admin/auth/login", Anybody, None),
    ("get", "/v1/admin/auth/me", Operator, None),
    ("post", "/v1/admin/auth/password/change", Operator, None),
    ("post", "/v1/admin/auth/step-up", Operator, None),
    ("post", "/v1/admin/auth/mfa/enroll", Operator, None),
    ("post", "/v1/admin/auth/mfa/confirm", Operator, None),
    ("post", "/v1/admin/auth/mfa/disable", Operator, None),
    ("get", "/v1/admin/tenants", Operator, None),
    ("post", "/v1/admin/tenants", Operator, None),
    ("get", "/v1/admin/tenants/{id}", Operator, None),
    ("patch", "/v1/admin/tenants/{id}", Operator, None),
    ("delete", "/v1/admin/tenants/{id}", Operator, None),
    ("post", "/v1/admin/tenants/{id}/restore", Operator, None),
    ("post", "/v1/admin/tenants/{id}/suspend", Operator, None),
    ("post", "/v1/admin/tenants/{id}/resume", Operator, None),
    ("post", "/v1/admin/tenants/{id}/provision", Operator, None),
    ("get", "/v1/admin/tenants/{id}/phone-numbers", Operator, None),
    ("post", "/v1/admin/tenants/{id}/phone-numbers", Operator, None),
    ("delete", "/v1/admin/tenants/{id}/phone-numbers/{number}", Operator, None),
    ("get", "/v1/admin/tenants/{id}/runs", Operator, None),
    ("get", "/v1/admin/tenants/{id}/resources", Operator, None),
    ("post", "/v1/admin/tenants/{id}/impersonate", Operator, None),
    ("get", "/v1/admin/runs", Operator, None),
    ("get", "/v1/admin/runs/{id}", Operator, None),
    ("post", "/v1/admin/runs/{id}/retry", Operator, None),
    ("post", "/v1/admin/runs/{id}/cancel", Operator, None),
    ("get", "/v1/admin/servers", Operator, None),
    ("post", "/v1/admin/servers/{id}/drain", Operator, None),
    ("post", "/v1/admin/servers/{id}/open", Operator, None),
    ("get", "/v1/admin/operators", Operator, None),
    ("post", "/v1/admin/operators", Operator, None),
    ("patch", "/v1/admin/operators/{id}", Operator, None),
    ("get", "/v1/admin/audit-log", Operator, None),
    ("post", "/v1/admin/auth/logout", Operator, None),
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
    wanted.map(|&(method, path, audience, permission)| Route {
        method: method.to_uppercase().parse().unwrap(),
        path,
        audience,
        permission,
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
        .map(|(method, path, audience, _)| {
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
    /// That the caller must have; `None`: none.
    pub permission: Option<&'static str>,
}

impl Route {
    /// What comes of it where the secret that it asks for is a guess.
    pub fn refused_guess(&self) -> (u16, &'static str) {
        match self.path {
            // There is nothing to confirm.
            "/v1/auth/mfa/confirm" => (409, "conflict"),
            // It names another organization.
            "/v1/tenant/close" => (422, "validation_failed"),
            _ => (401, "invalid_credentials"),
        }
    }

    /// A body that is all right for this route.
    pub fn body(&self) -> Option<Value> {
        match (self.method.as_str(), self.path) {
            ("POST", "/v1/members") => {
                Some(json!({"first_name": "Eve", "phone_number": "+13125550666"}))
            }
            ("POST", "/v1/branches") => Some(json!({"name": format!("Branch {}", unique())})),
            ("POST", "/v1/auth/password/change") => Some(json!({
                "current_password": "a guess", "new_password": "a quite new password 7"})),
            ("POST", "/v1/auth/email/change") => {
                Some(json!({"email": "new@example.org", "password": "a guess"}))
            }
            ("POST", "/v1/auth/step-up" | "/v1/admin/auth/step-up") => {
                Some(json!({"password": "a guess"}))
            }
            ("POST", "/v1/auth/mfa/enroll") => Some(json!({"password": "a guess"})),
            ("POST", "/v1/auth/mfa/confirm") => Some(json!({"totp_code": "123456"})),
            ("POST", "/v1/auth/mfa/disable") => {
                Some(json!({"password": "a guess", "totp_code": "123456"}))
            }
            ("POST", "/v1/tenant/close") => Some(json!({"confirm": "x", "password": "a guess"})),
            ("PATCH", "/v1/tenant") => Some(json!({"timezone": "Europe/Rome"})),
            ("PATCH", "/v1/tenant/settings") => Some(json!({"locale": "de"})),
            ("POST", "/v1/roles") => {
                Some(json!({"name": format!("Role {}", unique()), "permissions": ["members:read"]}))
            }
            ("PATCH", "/v1/roles/{id}") => Some(json!({"permissions": ["members:write"]})),
            ("POST", "/v1/staff") => Some(json!({"email": format!("{}@example.org", unique()),
                "first_name": "Eve", "last_name": "New", "role": "viewer"})),
            ("PATCH", "/v1/staff/{id}") => Some(json!({"role": "editor"})),
            ("POST", "/v1/api-keys") => {
                Some(json!({"name": "Website", "permissions": ["members:read"]}))
            }
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
            ("POST", "/v1/admin/tenants/{id}/impersonate") => {
                Some(json!({"reason": "Ticket 4711: to help"}))
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
    /// Somebody who is invited, and has a second factor, so that it can be taken off.
    pub colleague: Value,
    pub role: Value,
    pub api_key: Value,
    /// An operator who was let in.
    pub impersonation: Value,
    /// Words that stand in this tenant's data and nowhere else.
    pub marks: Vec<String>,
}

/// An application that can send letters: into its log.
pub async fn furnished_app() -> TestApp {
    TestApp::start_with(Box::new(|settings| settings.smtp.url = Some(Mailer::log_url()))).await
}

impl Furnished {
    /// In an application that can send letters.
    pub async fn make(app: &TestApp) -> Self {
        let staff = app.register().await;
        // Digits of an id of our own, so that no other test and no other tenant has the numbers.
        let digits = format!("{:06}", uuid::Uuid::new_v4().as_u128() % 1_000_000);
        let (own, contact) = (format!("+13125{digits}"), format!("+14155{digits}"));
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
        let verified = "UPDATE staff SET email_verified_at = now()";
        app.cluster.execute(&staff.database(), verified).await;
        let role = json!({"name": format!("Role {mark}"), "permissions": ["members:read"]});
        let role = staff.post("/v1/roles", role).await.expect(201);
        let colleague = json!({"email": format!("colleague-{mark}@example.net"), "role": "viewer",
            "first_name": "Colleague", "last_name": mark});
        let colleague = staff.post("/v1/staff", colleague).await.expect(201);
        let factor = "UPDATE staff SET mfa_enabled = true WHERE status = 'invited';
             INSERT INTO staff_totp (staff_id, sealed_secret, created_at, confirmed_at)
             SELECT id, '', now(), now() FROM staff WHERE status = 'invited';
             INSERT INTO impersonations SELECT gen_random_uuid(), gen_random_uuid(), 'Olga', 'to help', false, now(),
                 now() + interval '1 hour'";
        app.cluster.execute(&staff.database(), factor).await;
        let impersonations = staff.get("/v1/tenant/impersonations").await.expect(200);
        let impersonation = impersonations["data"][0].clone();
        let api_key = json!({"name": format!("Key {mark}"), "permissions": ["members:read"]});
        let api_key = staff.post("/v1/api-keys", api_key).await.expect(201);
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
            text(&role["id"]),
            text(&colleague["id"]),
            text(&api_key["id"]),
            text(&api_key["secret"]),
            text(&impersonation["id"]),
        ];
        Self {
            staff,
            member,
            branch,
            conversation,
            session,
            colleague,
            role,
            api_key,
            impersonation,
            marks,
        }
    }

    /// The path of a route to this tenant's own things.
    pub fn path(&self, route: &Route) -> String {
        let thing = match route.path.split('/').nth(2).unwrap_or_default() {
            "auth" => &self.session,
            "members" => &self.member,
            "branches" => &self.branch,
            "staff" => &self.colleague,
            "roles" => &self.role,
            "api-keys" => &self.api_key,
            "tenant" => &self.impersonation,
            _ => &self.conversation,
        };
        route.path.replace("{id}", thing["id"].as_str().unwrap())
    }
}
