use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::Session;
use crate::http::Gateway;
use crate::http::extract::{Account, Id, ListParameters, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;

/// One of the caller's sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnSessionDocument {
    id: Uuid,
    created_at: DateTime<Utc>,
    /// When the session's tokens were last renewed.
    last_used_at: DateTime<Utc>,
    /// Address of the client that last renewed them.
    ip: Option<String>,
    /// User agent of that client.
    user_agent: Option<String>,
    /// True for the session of this request.
    current: bool,
}

impl From<(Session, bool)> for OwnSessionDocument {
    fn from((session, current): (Session, bool)) -> Self {
        let Session { id, created_at, last_used_at, ip, user_agent, .. } = session;
        Self { id, created_at, last_used_at, ip, user_agent, current }
    }
}

/// The caller's sessions, newest first.
#[utoipa::path(
    get,
    path = "/v1/auth/sessions",
    tag = "Registration and sessions",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<OwnSessionDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_sessions(
    State(gateway): State<Gateway>,
    access: Account,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<OwnSessionDocument>>, Problem> {
    let db = access.connect().await?;
    let sessions = gateway.accounts.sessions.list(&db, &access.claims, page).await?;
    let current = access.claims.sid;
    Ok(PageDocument::from_page(sessions.map(|session| {
        let is_current = session.id == current;
        (session, is_current)
    })))
}

/// Ends one of the caller's sessions: within a second its access token works nowhere any more.
#[utoipa::path(
    delete,
    path = "/v1/auth/sessions/{id}",
    tag = "Registration and sessions",
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "Ended."), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn end_session(
    State(gateway): State<Gateway>,
    access: Account,
    Id(id): Id,
) -> Result<StatusCode, Problem> {
    let db = access.connect().await?;
    gateway.accounts.sessions.end(db, &access.principal(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
