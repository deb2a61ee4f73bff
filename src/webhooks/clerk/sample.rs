//! Events as Clerk documents them, for tests and for stand-ins of Clerk.

use serde_json::{Value, json};

/// A user with one address.
#[derive(Clone, Debug)]
pub struct SampleUser {
    /// Clerk's id, as in `data.id`.
    pub id: String,
    /// The user's primary email address.
    pub email: String,
    /// Given name, as in `first_name`.
    pub first_name: String,
    /// Family name, as in `last_name`.
    pub last_name: String,
}

/// An organization and its creator.
#[derive(Clone, Debug)]
pub struct SampleOrganization {
    /// Clerk's id, as in `data.id`.
    pub id: String,
    /// Name that people see.
    pub name: String,
    /// Slug that Clerk has for it.
    pub slug: String,
    /// Clerk's id of the user who created it.
    pub created_by: String,
}

fn envelope(kind: &str, at: i64, data: Value) -> Value {
    json!({
        "object": "event", "type": kind, "timestamp": at, "instance_id": "ins_sample",
        "event_attributes": {"http_request": {"client_ip": "192.0.2.10", "user_agent": "Example/1.0"}},
        "data": data,
    })
}

/// `user.created` or `user.updated`, at a time in milliseconds since 1970.
pub fn user(kind: &str, user: &SampleUser, verified: bool, at: i64) -> Value {
    let status = if verified { "verified" } else { "unverified" };
    let data = json!({
        "object": "user", "id": user.id, "external_id": null, "username": null,
        "first_name": user.first_name, "last_name": user.last_name,
        "image_url": "https://img.example.test/u.png", "has_image": false,
        "primary_email_address_id": "idn_2", "primary_phone_number_id": null, "primary_web3_wallet_id": null,
        "email_addresses": [
            {"object": "email_address", "id": "idn_1", "email_address": "other@example.test", "reserved": false,
             "verification": null, "linked_to": []},
            {"object": "email_address", "id": "idn_2", "email_address": user.email, "reserved": false,
             "verification": {"status": status, "strategy": "ticket", "attempts": null, "expire_at": null},
             "linked_to": []},
        ],
        "phone_numbers": [], "web3_wallets": [], "external_accounts": [], "enterprise_accounts": [],
        "password_enabled": true, "two_factor_enabled": false, "banned": false, "locked": false,
        "public_metadata": {}, "private_metadata": {}, "unsafe_metadata": {},
        "last_sign_in_at": null, "last_active_at": at, "created_at": at, "updated_at": at,
    });
    envelope(kind, at, data)
}

fn organization_data(organization: &SampleOrganization, at: i64) -> Value {
    json!({
        "object": "organization", "id": organization.id, "name": organization.name, "slug": organization.slug,
        "image_url": "https://img.example.test/o.png", "has_image": false, "created_by": organization.created_by,
        "max_allowed_memberships": 5, "members_count": 1, "pending_invitations_count": 0,
        "admin_delete_enabled": true, "public_metadata": {}, "private_metadata": {},
        "created_at": at, "updated_at": at,
    })
}

/// `organization.created` or `organization.updated`, at a time in milliseconds since 1970.
pub fn organization(kind: &str, organization: &SampleOrganization, at: i64) -> Value {
    envelope(kind, at, organization_data(organization, at))
}

/// `user.deleted` or `organization.deleted`, at a time in milliseconds since 1970.
pub fn deleted(kind: &str, id: &str, at: i64) -> Value {
    let object = kind.split('.').next().unwrap_or_default();
    envelope(kind, at, json!({"object": object, "id": id, "deleted": true}))
}

/// `organizationMembership.created`, `.updated` or `.deleted`, at a time in milliseconds since
/// 1970. `organization_at`: the time of the organization's last change.
pub fn membership(
    kind: &str,
    id: &str,
    role: &str,
    (organization, organization_at): (&SampleOrganization, i64),
    user: &SampleUser,
    at: i64,
) -> Value {
    let mut embedded = organization_data(organization, organization_at);
    if let Some(members) = embedded.as_object_mut() {
        members.remove("created_by");
    }
    let permissions: &[&str] = match role {
        "org:member" | "org:reader" => &["org:sys_memberships:read"],
        _ => &["org:sys_memberships:read", "org:sys_memberships:manage"],
    };
    let data = json!({
        "object": "organization_membership", "id": id, "role": role, "role_name": "Member",
        "permissions": permissions, "public_metadata": {}, "private_metadata": {},
        "created_at": at, "updated_at": at, "organization": embedded,
        "public_user_data": {
            "user_id": user.id, "identifier": user.email, "first_name": user.first_name,
            "last_name": user.last_name, "image_url": "https://img.example.test/u.png", "has_image": false,
        },
    });
    envelope(kind, at, data)
}
