//! Bounded resources that are held for a while: memory for request bodies, connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::network_of;

/// A bounded resource, such as memory or connections. It counts the held amount in total and by
/// network. Clones share the counts.
#[derive(Clone)]
pub struct Pool(Arc<Amounts>);

struct Amounts {
    most: usize,
    most_of_network: usize,
    held: AtomicUsize,
    networks: Mutex<HashMap<IpAddr, usize>>,
}

/// Reason why nothing more can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The whole pool is held.
    Pool,
    /// The network holds its maximum.
    Network,
}

impl Pool {
    /// At most `most` can be held in total, and at most `most_of_network` by one network.
    pub fn new(most: usize, most_of_network: usize) -> Self {
        let (held, networks) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Amounts { most, most_of_network, held, networks }))
    }

    /// A holder for `address` that holds nothing yet. With `None`, only the total is limited.
    pub fn hold(&self, address: Option<IpAddr>) -> Held {
        Held { amounts: self.0.clone(), network: address.map(network_of), amount: 0 }
    }
}

impl Amounts {
    fn networks(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.networks.lock()
    }
}

/// A held part of a [`Pool`]. Dropping it releases the part.
pub struct Held {
    amounts: Arc<Amounts>,
    network: Option<IpAddr>,
    amount: usize,
}

impl Held {
    /// Holds `by` more. On an error nothing was taken.
    ///
    /// # Errors
    ///
    /// [`Exhausted`], when there is not so much left.
    pub fn grow(&mut self, by: usize) -> Result<(), Exhausted> {
        let Amounts { most, most_of_network, held, .. } = &*self.amounts;
        let within = |limit: usize, held: usize| held.checked_add(by).filter(|sum| *sum <= limit);
        if let Some(network) = self.network {
            let mut networks = self.amounts.networks();
            let of_network = networks.get(&network).copied().unwrap_or(0);
            let sum = within(*most_of_network, of_network).ok_or(Exhausted::Network)?;
            networks.insert(network, sum);
        }
        let taken =
            held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| within(*most, held));
        if taken.is_err() {
            self.release_network(by);
            return Err(Exhausted::Pool);
        }
        self.amount += by;
        Ok(())
    }

    fn release_network(&self, by: usize) {
        let Some(network) = self.network else { return };
        let mut networks = self.amounts.networks();
        if let Some(held) = networks.get_mut(&network) {
            *held = held.saturating_sub(by);
            if *held == 0 {
                networks.remove(&network);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.release_network(self.amount);
            self.amounts.held.fetch_sub(self.amount, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_no_more_than_its_share_and_all_together_no_more_than_there_is() {
        let pool = Pool::new(10, 4);
        let address = |text: &str| Some(text.parse().unwrap());
        let mut a = pool.hold(address("2001:db8::1"));
        assert_eq!(a.grow(3), Ok(()));
        assert_eq!(pool.hold(address("2001:db8::2")).grow(2), Err(Exhausted::Network));
        assert_eq!(a.grow(1), Ok(()));
        let mut b = pool.hold(address("192.0.2.1"));
        assert_eq!(b.grow(4), Ok(()));
        let mut c = pool.hold(address("192.0.2.2"));
        assert_eq!(c.grow(3), Err(Exhausted::Pool));
        assert_eq!(c.grow(2), Ok(()));
        drop(a);
        // A holder without a network is limited by the total only.
        let mut uncounted = pool.hold(None);
        assert_eq!(uncounted.grow(5), Err(Exhausted::Pool));
        assert_eq!(uncounted.grow(4), Ok(()));
        drop((b, c, uncounted));
        assert_eq!(pool.0.held.load(Ordering::Relaxed), 0);
        assert!(pool.0.networks().is_empty());
    }
}
