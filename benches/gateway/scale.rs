//! How much is measured, and for how long.

use std::time::Duration;

/// All counts of a run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Scale {
    /// Rounds of each measurement; each side is measured once in each.
    pub rounds: usize,
    /// Pairs of rounds with and without a fault.
    pub pairs: usize,
    /// Before each measurement of a round, with the same load.
    pub warm_up: Duration,
    /// Of one measurement of a round.
    pub length: Duration,
    /// Client connections of the full load.
    pub connections: usize,
    /// Tenants that exist.
    pub tenants: usize,
    /// Tenants that are kept warm.
    pub warm: usize,
    /// Pools that may be open where there are more tenants than that.
    pub cap: usize,
    /// Cold tenants visited in a round.
    pub cold_opens: usize,
    /// Webhooks of a closed loop in a round.
    pub webhooks: usize,
    /// Registrations one after the other in a round.
    pub registrations: usize,
    /// Seconds of registrations at a set pace.
    pub sustained: u64,
    /// Requests of which some are left by their client.
    pub disconnects: usize,
    /// Times that a tenant is suspended.
    pub suspensions: usize,
    /// Times that the server is killed, or restarted.
    pub kills: usize,
    /// Idle connections that are ended on the server.
    pub idle_ends: usize,
}

impl Scale {
    pub fn new(quick: bool, rounds: Option<usize>) -> Self {
        let full = Self {
            rounds: 9,
            pairs: 16,
            warm_up: Duration::from_secs(1),
            length: Duration::from_secs(3),
            connections: 32,
            tenants: 1000,
            warm: 100,
            cap: 100,
            cold_opens: 300,
            webhooks: 6000,
            registrations: 30,
            sustained: 30,
            disconnects: 100_000,
            suspensions: 50,
            kills: 3,
            idle_ends: 180,
        };
        let mut scale = if quick {
            Self {
                rounds: 3,
                pairs: 3,
                warm_up: Duration::from_millis(500),
                length: Duration::from_secs(1),
                tenants: 120,
                cap: 12,
                cold_opens: 40,
                webhooks: 500,
                registrations: 10,
                sustained: 5,
                disconnects: 3000,
                suspensions: 10,
                kills: 1,
                idle_ends: 40,
                ..full
            }
        } else {
            full
        };
        if let Some(rounds) = rounds {
            scale.rounds = rounds.max(1);
            scale.pairs = rounds.max(1);
        }
        scale
    }
}
