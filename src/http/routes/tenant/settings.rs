use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::audit::AuditEvent;
use crate::http::Gateway;
use crate::http::extract::permission::TenantManage;
use crate::http::extract::{Authorized, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::settings::{self, MFA_REQUIRED};

const LOCALE: &str = "locale";
const FIRST_DAY: &str = "first_day_of_week";
const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The settings that an organization makes for itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct SettingsDocument {
    /// True if everybody on the staff needs a second factor. A person without one can then only set
    /// one up.
    mfa_required: bool,
    /// BCP 47 language tag.
    #[schema(example = "en")]
    locale: String,
    /// English name, lower case.
    #[schema(example = "sunday")]
    first_day_of_week: String,
}

impl From<Map<String, Value>> for SettingsDocument {
    fn from(all: Map<String, Value>) -> Self {
        let text = |key: &str, otherwise: &str| {
            all.get(key).and_then(Value::as_str).unwrap_or(otherwise).to_owned()
        };
        Self {
            mfa_required: all.get(MFA_REQUIRED) == Some(&Value::Bool(true)),
            locale: text(LOCALE, "en"),
            first_day_of_week: text(FIRST_DAY, "sunday"),
        }
    }
}

/// The organization's settings.
#[utoipa::path(
    get,
    path = "/v1/tenant/settings",
    tag = "Organization",
    responses((status = 200, description = "The settings.", body = SettingsDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn show_settings(
    access: Authorized<TenantManage>,
) -> Result<Json<SettingsDocument>, Problem> {
    let db = access.connect().await?;
    Ok(Json(settings::all(&db).await?.into()))
}

/// Absent fields stay as they are.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeSettings {
    mfa_required: Option<bool>,
    /// BCP 47 language tag, 2 to 35 letters, digits and hyphens.
    locale: Option<String>,
    /// English name, lower case.
    first_day_of_week: Option<String>,
}

impl Checked for ChangeSettings {
    type Output = Vec<(&'static str, Value)>;

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let mut changes = Vec::new();
        if let Some(required) = self.mfa_required {
            changes.push((MFA_REQUIRED, json!(required)));
        }
        if let Some(tag) = self.locale {
            let is_formed = (2..=35).contains(&tag.len())
                && tag.split('-').all(|part| {
                    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
                });
            match is_formed {
                true => changes.push((LOCALE, json!(tag))),
                false => errors.add(LOCALE, "invalid", "is not a language tag"),
            }
        }
        if let Some(day) = self.first_day_of_week {
            match DAYS.contains(&&*day) {
                true => changes.push((FIRST_DAY, json!(day))),
                false => errors.add(FIRST_DAY, "invalid", "must be a day of the week"),
            }
        }
        Some(changes)
    }
}

/// Changes the given fields. The change takes effect within seconds.
#[utoipa::path(
    patch,
    path = "/v1/tenant/settings",
    tag = "Organization",
    request_body = ChangeSettings,
    responses((status = 200, description = "The settings.", body = SettingsDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn change_settings(
    State(gateway): State<Gateway>,
    access: Authorized<TenantManage>,
    JsonBody(changes): JsonBody<ChangeSettings>,
) -> Result<Json<SettingsDocument>, Problem> {
    let now = gateway.clock.now();
    let changed = access.change(async |db, _| {
        let mut all = settings::all(db).await?;
        let shown = json!(SettingsDocument::from(all.clone()));
        let mut noted = Map::new();
        for (key, value) in changes {
            if shown[key] == value {
                continue;
            }
            settings::set(db, key, value.clone(), now).await?;
            all.insert(key.to_owned(), value.clone());
            noted.insert(key.to_owned(), value);
        }
        let settings = SettingsDocument::from(all);
        let is_changed = !noted.is_empty();
        let event =
            AuditEvent { action: "settings.changed", target: None, detail: Value::Object(noted) };
        Ok::<_, sea_orm::DbErr>((settings, is_changed.then_some(event)))
    });
    Ok(Json(changed.await?))
}
