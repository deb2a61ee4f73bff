//! The first product: churches and the people they write to. Every function takes a connection to one tenant's
//! database and knows nothing of other tenants, of routing or of HTTP.

use crate::tenant_router::OnTenant;

/// The lock of a contact's number, until the transaction ends, as an expression. A message from the number is stored under it, and a
/// member takes the number under it: the later of the two sees what the earlier has written. It is taken before any row is
/// locked. The argument is the place of the number among the statement's values.
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

/// By which an event is known among `inbound_events`. The ids of messages stand there too, behind this prefix.
fn event_key(event_id: &str) -> String {
    match event_id.starts_with("message:") {
        true => format!("event:{event_id}"),
        false => event_id.to_owned(),
    }
}

/// The schema from which on a conversation can end when its number changes hands, and a message names its other
/// recipients.
const HAND_OVERS: &str = "m20261127_000005_hand_overs";

fn knows_hand_overs(db: &impl OnTenant) -> bool {
    db.scope().tenant().schema_version.as_str() >= HAND_OVERS
}
