//! The contents of the seed. The roles are in `roles.rs`.

use serde::Serialize;
use serde_json::{Value, json};

/// Key of the setting that says how far a tenant's onboarding is.
pub const ONBOARDING: &str = "onboarding";

/// The permissions of roles, each with its explanation for people.
pub const PERMISSIONS: &[(&str, &str)] = &[
    ("tenant:manage", "Change the organization's name, settings and plan"),
    ("staff:manage", "Invite staff, change what they may do, and remove them"),
    ("members:read", "See members, branches and groups"),
    ("members:write", "Add, change and remove members, branches and groups"),
    ("conversations:read", "Read conversations"),
    ("conversations:write", "Assign, close and reopen conversations"),
    ("messages:send", "Send messages to members"),
    ("audit:read", "See who has done what"),
    ("export:run", "Take out a copy of all data"),
];

/// A pipeline: the stages that an object passes.
pub struct Pipeline {
    /// Name, unique among the tenant's pipelines.
    pub name: &'static str,
    /// Name of the object that passes the stages.
    pub object: &'static str,
    /// Names of the stages, in order.
    pub stages: &'static [&'static str],
}

/// The first pipelines of a church: follow-up of visitors, and requests for prayer and care.
pub const PIPELINES: &[Pipeline] = &[
    Pipeline {
        name: "Visitor follow-up",
        object: "members",
        stages: &["New visitor", "Welcomed", "In conversation", "Came back", "At home"],
    },
    Pipeline {
        name: "Prayer and care",
        object: "conversations",
        stages: &["Received", "Being prayed for", "Followed up", "Closed"],
    },
];

/// Settings, each with its first value.
pub fn settings() -> Vec<(&'static str, Value)> {
    vec![
        // Provisioning has completed the onboarding.
        (ONBOARDING, json!({"completed": true})),
        ("locale", json!("en")),
        ("first_day_of_week", json!("sunday")),
    ]
}

/// The kind of value that a field has.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Text on one line.
    Text,
    /// Text of several lines.
    LongText,
    /// A number without fraction.
    Number,
    /// An email address as text.
    Email,
    /// A phone number in E.164.
    PhoneNumber,
    /// IANA name of a time zone.
    Timezone,
    /// One word of a fixed list.
    Choice,
    /// A list of words.
    Tags,
    /// A point in time.
    Timestamp,
    /// The id of another object.
    Reference,
}

/// A field of an object.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Field {
    /// Name of the column.
    pub name: &'static str,
    /// Name of the field for people.
    pub label: &'static str,
    /// Kind of its values.
    pub kind: FieldKind,
    /// True if a new object must have a value.
    pub required: bool,
}

/// An object of the product: its names and its fields.
pub struct Object {
    /// Name of the table.
    pub name: &'static str,
    /// Singular name for people.
    pub label: &'static str,
    /// Plural name for people.
    pub label_plural: &'static str,
    /// The fields, in the order in which they are shown.
    pub fields: &'static [Field],
}

const fn required(name: &'static str, label: &'static str, kind: FieldKind) -> Field {
    Field { name, label, kind, required: true }
}

const fn optional(name: &'static str, label: &'static str, kind: FieldKind) -> Field {
    Field { name, label, kind, required: false }
}

const ADDED: Field = optional("created_at", "Added", FieldKind::Timestamp);

/// The objects of the product.
pub const OBJECTS: &[Object] = &[
    Object {
        name: "members",
        label: "Member",
        label_plural: "Members",
        fields: &[
            required("first_name", "First name", FieldKind::Text),
            optional("last_name", "Last name", FieldKind::Text),
            required("phone_number", "Phone number", FieldKind::PhoneNumber),
            optional("email", "Email", FieldKind::Email),
            optional("branch_id", "Branch", FieldKind::Reference),
            optional("tags", "Tags", FieldKind::Tags),
            optional("opted_out_at", "Opted out", FieldKind::Timestamp),
            ADDED,
        ],
    },
    Object {
        name: "branches",
        label: "Branch",
        label_plural: "Branches",
        fields: &[
            required("name", "Name", FieldKind::Text),
            optional("timezone", "Time zone", FieldKind::Timezone),
            ADDED,
        ],
    },
    Object {
        name: "groups",
        label: "Group",
        label_plural: "Groups",
        fields: &[
            required("name", "Name", FieldKind::Text),
            optional("description", "Description", FieldKind::LongText),
            ADDED,
        ],
    },
    Object {
        name: "conversations",
        label: "Conversation",
        label_plural: "Conversations",
        fields: &[
            optional("contact_number", "Contact", FieldKind::PhoneNumber),
            optional("phone_number", "Our number", FieldKind::PhoneNumber),
            optional("member_id", "Member", FieldKind::Reference),
            optional("status", "Status", FieldKind::Choice),
            optional("assigned_to", "Assigned to", FieldKind::Reference),
            optional("unread_count", "Unread", FieldKind::Number),
            optional("last_message_at", "Last message", FieldKind::Timestamp),
        ],
    },
    Object {
        name: "conversation_messages",
        label: "Message",
        label_plural: "Messages",
        fields: &[
            optional("direction", "Direction", FieldKind::Choice),
            required("body", "Text", FieldKind::LongText),
            optional("status", "Status", FieldKind::Choice),
            optional("sent_by", "Sent by", FieldKind::Reference),
            optional("occurred_at", "Sent", FieldKind::Timestamp),
        ],
    },
    Object {
        name: "staff",
        label: "Staff member",
        label_plural: "Staff",
        fields: &[
            required("first_name", "First name", FieldKind::Text),
            required("last_name", "Last name", FieldKind::Text),
            required("email", "Email", FieldKind::Email),
            required("role", "Role", FieldKind::Reference),
            optional("status", "Status", FieldKind::Choice),
            optional("last_login_at", "Last sign-in", FieldKind::Timestamp),
            ADDED,
        ],
    },
    Object {
        name: "roles",
        label: "Role",
        label_plural: "Roles",
        fields: &[
            required("name", "Name", FieldKind::Text),
            required("permissions", "Permissions", FieldKind::Tags),
        ],
    },
];
