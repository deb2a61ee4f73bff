//! `/v1/admin/auth`: login and logout, and an operator's own account.

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod me;
pub(crate) mod mfa;
pub(crate) mod password;
pub(crate) mod step_up;

use axum::http::{HeaderName, header};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::Gateway;
use crate::http::problem::Problem;
use crate::registry::people::operators::{Operator, Role, Status};

/// An operator of the installation.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorDocument {
    id: Uuid,
    email: String,
    name: String,
    role: Role,
    mfa_enabled: bool,
    status: Status,
    last_login_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl OperatorDocument {
    pub fn of(gateway: &Gateway, operator: &Operator) -> Result<Self, Problem> {
        Ok(Self {
            id: operator.id,
            email: gateway.operators.directory.email_of(operator)?,
            name: operator.name.clone(),
            role: operator.role,
            mfa_enabled: operator.has_second_factor(),
            status: operator.status,
            last_login_at: operator.last_login_at,
            created_at: operator.created_at,
        })
    }
}

/// No cache may keep an answer with secrets.
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
