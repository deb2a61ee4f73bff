//! Operators of the installation, signed in.

use narthex::audit::Actor;
use narthex::authentication::NewOperator;
use narthex::registry::operators::Role;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, TestApp, unique};

/// An operator with a session.
#[derive(Clone, Debug)]
pub struct TestOperator {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub password: String,
    pub token: String,
    url: String,
    client: reqwest::Client,
}

impl TestApp {
    /// Makes an operator, as the command line does, and signs them in.
    pub async fn operator(&self, role: Role) -> TestOperator {
        let unique = unique();
        let mut operator = TestOperator {
            id: Uuid::nil(),
            email: format!("{unique}@operators.example"),
            name: format!("Operator {unique}"),
            password: format!("operator's password {unique}"),
            token: String::new(),
            url: self.url.clone(),
            client: self.client.clone(),
        };
        let new = NewOperator {
            email: operator.email.parse().unwrap(),
            name: operator.name.clone(),
            role,
            password: operator.password.clone().into(),
        };
        let origin = Actor::command("test").into();
        let made = self.authentication.create_operator(new, &origin).await.unwrap().unwrap();
        operator.id = made.id;
        operator.again().await
    }

    /// A sign-in at the operators' door.
    pub async fn operator_login(&self, email: &str, password: &str, more: Value) -> Answer {
        let mut body = json!({"email": email, "password": password});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call(Method::POST, "/v1/admin/auth/login", Some(body)).await
    }

    /// Of the registry's audit log, the newest last: who, what, on what.
    pub async fn audit_log(&self, actions: &str) -> Vec<String> {
        let sql = format!(
            "SELECT concat_ws(' ', actor_name, action, target_kind, target_id, detail) FROM audit_log
             WHERE action LIKE '{actions}' ORDER BY sequence"
        );
        self.cluster.texts(&self.registry_database, &sql).await
    }
}

impl TestOperator {
    /// In a new session.
    pub async fn again(&self) -> Self {
        let body = json!({"email": self.email, "password": self.password});
        let call = self.client.post(format!("{}/v1/admin/auth/login", self.url)).json(&body);
        let session = Answer::of(call.send().await.unwrap()).await.expect(200);
        Self { token: session["access_token"].as_str().unwrap().to_owned(), ..self.clone() }
    }

    /// The same person, calling another replica.
    pub fn at(&self, app: &TestApp) -> Self {
        Self { url: app.url.clone(), client: app.client.clone(), ..self.clone() }
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
