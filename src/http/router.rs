//! THE route table: every path of the gateway, grouped by audience. The path of a public route is
//! at its handler, because the OpenAPI document is made from it. The second, small table below
//! holds the routes of the operations listener.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::middleware::Envelope;
use super::response_metrics::Listener;
use super::routes::{
    admin, api_keys, auth, branches, conversations, health, members, meta, registrations, roles,
    staff, tenant, webhooks,
};
use super::{Gateway, middleware, openapi, operations as operators};

/// The OpenAPI document as JSON, for people and for `docs/openapi.json`.
pub fn openapi_document() -> Result<String, serde_json::Error> {
    openapi::finish(documented().into_openapi()).to_pretty_json()
}

/// All documented routes, and the document that was made from them.
fn documented() -> OpenApiRouter<Gateway> {
    OpenApiRouter::with_openapi(openapi::base())
        // No token needed
        .routes(routes!(auth::register::register))
        .routes(routes!(registrations::show::show_registration))
        .routes(routes!(auth::login::login))
        .routes(routes!(auth::refresh::refresh))
        .routes(routes!(auth::password::forgot_password))
        .routes(routes!(auth::password::reset_password))
        .routes(routes!(auth::email::verify_email))
        .routes(routes!(auth::email::confirm_email))
        .routes(routes!(staff::join::accept_invitation))
        .routes(routes!(tenant::public::show_public_tenant))
        .routes(routes!(meta::jwks::show_jwks))
        .routes(routes!(meta::problems::show_problem))
        // Staff of a tenant
        .routes(routes!(auth::logout::logout))
        .routes(routes!(auth::me::me))
        .routes(routes!(auth::sessions::list_sessions))
        .routes(routes!(auth::password::change_password))
        .routes(routes!(auth::step_up::step_up))
        .routes(routes!(auth::mfa::enroll_mfa))
        .routes(routes!(auth::mfa::confirm_mfa))
        .routes(routes!(auth::mfa::disable_mfa))
        .routes(routes!(auth::email::resend_verification))
        .routes(routes!(auth::email::change_email))
        .routes(routes!(auth::sessions::end_session))
        .routes(routes!(members::list::list_members, members::create::create_member))
        .routes(routes!(
            members::show::show_member,
            members::update::update_member,
            members::delete::delete_member
        ))
        .routes(routes!(branches::list::list_branches, branches::create::create_branch))
        .routes(routes!(
            branches::show::show_branch,
            branches::update::update_branch,
            branches::delete::delete_branch
        ))
        .routes(routes!(staff::list::list_staff, staff::invite::invite_staff))
        .routes(routes!(
            staff::list::show_staff,
            staff::change::change_staff,
            staff::remove::remove_staff
        ))
        .routes(routes!(staff::invite::invite_staff_again))
        .routes(routes!(staff::remove::reset_staff_mfa))
        .routes(routes!(roles::list::list_roles, roles::create::create_role))
        .routes(routes!(roles::change::change_role, roles::remove::remove_role))
        .routes(routes!(api_keys::list::list_api_keys, api_keys::create::create_api_key))
        .routes(routes!(api_keys::revoke::revoke_api_key))
        .routes(routes!(tenant::show::show_own_tenant, tenant::show::change_tenant))
        .routes(routes!(tenant::show::close_tenant))
        .routes(routes!(tenant::settings::show_settings, tenant::settings::change_settings))
        .routes(routes!(tenant::audit_log::list_own_audit_log))
        .routes(routes!(tenant::impersonations::list_impersonations))
        .routes(routes!(tenant::impersonations::revoke_impersonation))
        .routes(routes!(conversations::list::list_conversations))
        .routes(routes!(conversations::show::show_conversation))
        .routes(routes!(conversations::messages::list_messages))
        // Operators of the installation
        .routes(routes!(admin::auth::login::operator_login))
        .routes(routes!(admin::auth::me::operator_me))
        .routes(routes!(admin::auth::password::change_operator_password))
        .routes(routes!(admin::auth::step_up::operator_step_up))
        .routes(routes!(admin::auth::mfa::enroll_operator_mfa))
        .routes(routes!(admin::auth::mfa::confirm_operator_mfa))
        .routes(routes!(admin::auth::mfa::disable_operator_mfa))
        .routes(routes!(admin::auth::logout::operator_logout))
        .routes(routes!(admin::tenants::impersonate::impersonate))
        .routes(routes!(admin::tenants::list::list_tenants, admin::tenants::create::create_tenant))
        .routes(routes!(
            admin::tenants::show::show_tenant,
            admin::tenants::update::update_tenant,
            admin::tenants::delete::delete_tenant
        ))
        .routes(routes!(admin::tenants::life::restore_tenant))
        .routes(routes!(admin::tenants::life::suspend_tenant))
        .routes(routes!(admin::tenants::life::resume_tenant))
        .routes(routes!(admin::tenants::provision::provision_tenant))
        .routes(routes!(
            admin::tenants::phone_numbers::list_tenant_numbers,
            admin::tenants::phone_numbers::assign_tenant_number
        ))
        .routes(routes!(admin::tenants::phone_numbers::release_tenant_number))
        .routes(routes!(admin::tenants::runs::list_tenant_runs))
        .routes(routes!(admin::tenants::resources::list_tenant_resources))
        .routes(routes!(admin::runs::list::list_runs))
        .routes(routes!(admin::runs::show::show_run))
        .routes(routes!(admin::runs::retry::retry_run))
        .routes(routes!(admin::runs::cancel::cancel_run))
        .routes(routes!(admin::servers::list::list_servers))
        .routes(routes!(admin::servers::state::drain_server))
        .routes(routes!(admin::servers::state::open_server))
        .routes(routes!(
            admin::operators::list::list_operators,
            admin::operators::create::create_operator
        ))
        .routes(routes!(admin::operators::update::update_operator))
        .routes(routes!(admin::audit_log::list_audit_log))
        // Providers
        .routes(routes!(webhooks::telnyx::receive_telnyx))
        .routes(routes!(webhooks::clerk::receive_clerk))
        // Load balancers
        .routes(routes!(health::live::live))
        .routes(routes!(health::ready::ready))
        .routes(routes!(health::ready::health))
}

/// The document, serialized at the first request for it. All answers share its bytes, also those
/// that clients do not read.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = openapi::finish(documented().into_openapi());
    Bytes::from(serde_json::to_vec(&document).unwrap_or_default())
});

/// The document and its page. The page calls no other server: by default it would send its address
/// to a validator.
fn documentation() -> Router<Gateway> {
    let config = Config::new(["/openapi.json"]).validator_url("none");
    let page = SwaggerUi::new("/docs").config(config);
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let document = get(async move || (json, DOCUMENT.clone()));
    let router = Router::from(page).route("/openapi.json", document);
    router.layer(map_response(async |response: Response| match response.status() {
        StatusCode::NOT_FOUND => middleware::not_found().await.into_response(),
        _ => response,
    }))
}

/// The whole public gateway: the table, the document with its page, and the layer around all of it.
pub(super) fn public(gateway: Gateway) -> Router {
    let (routes, _) = documented().split_for_parts();
    let router = Router::new()
        .merge(routes)
        .route("/", get(meta::root::to_documentation))
        .merge(documentation());
    enveloped(router, gateway, Listener::Public)
}

/// The routes of the operations listener only. They are not in the document, which is for clients.
pub(super) fn operations(gateway: Gateway) -> Router {
    let router = Router::new()
        .route("/healthz", get(health::live::live))
        .route("/readyz", get(health::ready::ready))
        .route("/health/tenants/{id}", get(operators::tenant_health::show_tenant_health))
        .route("/metrics", get(operators::metrics::show_metrics));
    enveloped(router, gateway, Listener::Operations)
}

/// The layer around every route, and the answers for unknown paths.
fn enveloped(router: Router<Gateway>, gateway: Gateway, listener: Listener) -> Router {
    router
        .fallback(middleware::not_found)
        .method_not_allowed_fallback(middleware::method_not_allowed)
        .layer(Envelope { gateway: gateway.clone(), listener })
        .with_state(gateway)
}
