//! The first product: churches and the people whom they write to. Every function takes a connection
//! to one tenant's database, and depends neither on other tenants nor on routing or HTTP.

use crate::tenant_router::OnTenant;

/// SQL expression that locks a contact's number until the transaction ends. Messages from the
/// number are stored under this lock, and a member takes the number under it, so the later of the
/// two sees what the earlier wrote. It is taken before any row lock. The argument is the number's
/// placeholder in the statement.
macro_rules! number_lock {
    ($place:literal) => {
        concat!(
            "pg_advisory_xact_lock(hashtextextended('narthex.contact:' || ",
            $place,
            "::text, 0))"
        )
    };
}

pub mod branches;
pub mod conversations;
pub mod delivery;
pub mod entities;
pub mod inbound;
pub mod members;

/// The key of an event in `inbound_events`. The table has message ids too, behind this prefix.
fn event_key(event_id: &str) -> String {
    match event_id.starts_with("message:") {
        true => format!("event:{event_id}"),
        false => event_id.to_owned(),
    }
}

/// The first schema in which a conversation can end when its number changes hands, and in which a
/// message names its other recipients.
const HAND_OVERS: &str = "m20261127_000005_hand_overs";

fn knows_hand_overs(db: &impl OnTenant) -> bool {
    db.scope().tenant().schema_version.as_str() >= HAND_OVERS
}
