//! The people who call: anonymous, and staff of a tenant.

use std::ops::{Deref, DerefMut};

use narthex::identifiers::TenantId;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TestApp;

/// A short text that no other test has.
pub fn unique() -> String {
    Uuid::new_v4().simple().to_string()[..12].to_owned()
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// `Null` where the body is no JSON.
    pub body: Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status, headers, body, bytes }
    }

    /// The code of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Fails unless this is a well-formed problem with that status and code.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("/problems/{code}"));
        let id = self.headers["x-request-id"].to_str().unwrap();
        assert_eq!(self.body["request_id"], id);
        if status == 503 {
            assert!(self.headers.contains_key("retry-after"), "503 without Retry-After");
        }
    }

    /// Fails unless the status is that one; returns the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self.body
    }

    /// The faulty fields of a validation problem, as `field: code`, sorted.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| format!("{}: {}", e["field"].as_str().unwrap(), e["code"].as_str().unwrap()))
            .collect();
        faults.sort();
        faults
    }
}

/// The owner of a tenant, signed in.
#[derive(Clone, Debug)]
pub struct Staff {
    pub tenant_id: TenantId,
    pub user_id: Uuid,
    pub email: String,
    pub password: String,
    pub refresh_token: String,
    pub caller: Caller,
}

impl Deref for Staff {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl DerefMut for Staff {
    fn deref_mut(&mut self) -> &mut Caller {
        &mut self.caller
    }
}

/// Whoever calls an application with a token.
#[derive(Clone, Debug)]
pub struct Caller {
    pub token: String,
    url: String,
    client: reqwest::Client,
}

impl Caller {
    /// With this token, or one that is still to come.
    pub fn of(app: &TestApp, token: &str) -> Self {
        Self { token: token.to_owned(), url: app.url.clone(), client: app.client.clone() }
    }

    /// The same client with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same, calling another replica.
    pub fn moved_to(&self, app: &TestApp) -> Self {
        Self::of(app, &self.token)
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request =
            self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }
}

impl TestApp {
    /// A call without a token.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// A registration that has every field right, for an address that nobody has.
    pub fn registration(&self) -> Value {
        let unique = unique();
        json!({
            "organization_name": format!("Church {unique}"),
            "email": format!("{unique}@example.org"),
            "password": format!("password {unique}"),
            "first_name": "Ada",
            "last_name": "Lovelace",
            "timezone": "America/Chicago",
        })
    }

    /// Registers a new tenant through the API and plays its owner.
    pub async fn register(&self) -> Staff {
        let registration = self.registration();
        let answer = self.call(Method::POST, "/v1/auth/register", Some(registration.clone())).await;
        let made = answer.expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Staff {
            tenant_id: TenantId(made["tenant"]["id"].as_str().unwrap().parse().unwrap()),
            user_id: made["user"]["id"].as_str().unwrap().parse().unwrap(),
            email: text(&registration["email"]),
            password: text(&registration["password"]),
            refresh_token: text(&made["refresh_token"]),
            caller: Caller::of(self, &text(&made["access_token"])),
        }
    }
}

impl Staff {
    /// The name of the tenant's database.
    pub fn database(&self) -> String {
        self.tenant_id.database_name()
    }

    /// The same person, showing another token or key.
    pub fn with_token(&self, token: &str) -> Self {
        Self { caller: self.caller.with_token(token), ..self.clone() }
    }

    /// Somebody else on the same staff, not signed in.
    pub fn colleague(&self, user_id: Uuid, email: &str, password: &str) -> Self {
        let (email, password) = (email.to_owned(), password.to_owned());
        Self { user_id, email, password, ..self.clone() }
    }

    /// The same person, calling another replica.
    pub fn at(&self, app: &TestApp) -> Self {
        Self { caller: self.caller.moved_to(app), ..self.clone() }
    }

    /// Proves once more who they are: for five minutes they may make owners, and give what gives rights.
    pub async fn step_up(&self) {
        let body = json!({"password": self.password});
        self.post("/v1/auth/step-up", body).await.expect(204);
    }

    /// Adds a member with this first name and number; returns its document.
    pub async fn add_member(&self, first_name: &str, phone_number: &str) -> Value {
        let body = json!({"first_name": first_name, "phone_number": phone_number});
        self.post("/v1/members", body).await.expect(201)
    }
}
