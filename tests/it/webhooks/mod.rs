//! Telnyx and Clerk: real signatures over real HTTP, into real databases.

mod clerk_crowd;
mod clerk_deliveries;
mod clerk_orders;
mod clerk_organizations;
mod clerk_signature;
mod clerk_staff;
pub mod clerk_world;
mod telnyx_content;
mod telnyx_deliveries;
mod telnyx_fence;
mod telnyx_groups;
mod telnyx_history;
mod telnyx_members;
mod telnyx_messages;
mod telnyx_numbers;
mod telnyx_outages;
mod telnyx_parking;
mod telnyx_queue;
mod telnyx_races;
mod telnyx_signature;

use chrono::{DateTime, Utc};
use narthex::webhooks::telnyx::sample;
use serde_json::Value;

use crate::support::{Answer, Staff, TestApp, TestSettings};

/// Who writes.
pub const CONTACT: &str = "+13125550142";
/// The numbers of the tenants.
pub const NUMBER: &str = "+13125550111";
pub const OTHER_NUMBER: &str = "+13125550122";

/// A new tenant that holds this number.
pub async fn church(app: &TestApp, number: &str) -> Staff {
    let staff = app.register().await;
    app.assign_number(number, staff.tenant_id).await;
    staff
}

/// Patience for tests that are about order and not about time.
pub fn patient() -> TestSettings {
    Box::new(|settings| {
        settings.http.webhook_deadline = std::time::Duration::from_secs(20);
        settings.router.acquire_timeout = std::time::Duration::from_secs(20);
    })
}

/// The receipt of an event that was taken.
#[track_caller]
pub fn receipt(answer: Answer) -> String {
    answer.expect(200)["status"].as_str().unwrap().to_owned()
}

/// An SMS from the contact that was written at a moment.
pub fn sms_at(to: &str, text: &str, at: DateTime<Utc>) -> Value {
    let id = || uuid::Uuid::new_v4().to_string();
    sample::inbound_sms(&id(), &id(), CONTACT, to, text, at)
}

/// The tenant's conversations, the newest first.
pub async fn conversations(staff: &Staff) -> Vec<Value> {
    staff.get("/v1/conversations?limit=200").await.expect(200)["data"].as_array().unwrap().clone()
}

/// The messages of a conversation, the newest first.
pub async fn messages(staff: &Staff, conversation: &Value) -> Vec<Value> {
    let id = conversation["id"].as_str().unwrap();
    let list = staff.get(&format!("/v1/conversations/{id}/messages?limit=200")).await.expect(200);
    list["data"].as_array().unwrap().clone()
}

/// The texts of all messages of a tenant, sorted.
pub async fn texts(staff: &Staff) -> Vec<String> {
    let mut texts = Vec::new();
    for conversation in conversations(staff).await {
        for message in messages(staff, &conversation).await {
            texts.push(message["body"].as_str().unwrap().to_owned());
        }
    }
    texts.sort();
    texts
}
