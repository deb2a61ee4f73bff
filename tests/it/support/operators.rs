//! Operators of the installation, signed in.

use std::ops::Deref;

use narthex::audit::Actor;
use narthex::operators::NewOperator;
use narthex::registry::people::operators::Role;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::people::Caller;
use super::{Answer, TestApp, unique};

/// An operator with a session.
#[derive(Clone, Debug)]
pub struct TestOperator {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub password: String,
    pub caller: Caller,
}

impl Deref for TestOperator {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
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
            caller: Caller::of(self, ""),
        };
        let new = NewOperator {
            email: operator.email.parse().unwrap(),
            name: operator.name.clone(),
            role,
            password: operator.password.clone().into(),
        };
        let origin = Actor::command("test").into();
        let made = self.operators.directory.create(new, &origin).await.unwrap();
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
        let session = self.post("/v1/admin/auth/login", body).await.expect(200);
        let token = session["access_token"].as_str().unwrap();
        Self { caller: self.caller.with_token(token), ..self.clone() }
    }

    /// Proves once more who they are: for five minutes they may make and change operators.
    pub async fn step_up(&self) {
        let body = json!({"password": self.password});
        self.post("/v1/admin/auth/step-up", body).await.expect(204);
    }

    /// The same person, calling another replica.
    pub fn at(&self, app: &TestApp) -> Self {
        Self { caller: self.caller.moved_to(app), ..self.clone() }
    }
}
