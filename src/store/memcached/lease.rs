//! Leases: one process forwards for a key, and keeps its lease for as long as it does.
//!
//! A lease is an item under a name of its own, which lives for a few seconds. Who has it renews it every second, so that
//! a process that dies with it is soon replaced.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    OPERATIONS_LIMIT,
    node::Node,
    wire::{Got, Outcome},
};
use crate::{
    clock::{later, monotonic},
    collapse::{FinishOnDrop, in_background},
    store::{Lease, LeaseGuard, StoreError},
};

/// Asks for the lease with this name, for `lifetime` at most.
pub(super) async fn ask(node: Node, name: String, lifetime: Duration) -> Result<Lease, StoreError> {
    let asked = async move {
        let until = later(monotonic(), lifetime);
        let Got::Value { cas, won: true, .. } = node.get(&name, Some(seconds(lifetime))).await? else {
            return Ok(Lease::Held);
        };
        let mark = format!("{:x}", RandomState::new().hash_one(0)).into();
        let (guard, dropped) = oneshot::channel::<()>();
        let held = Held { node, name, cas, mark, until };
        // Past its lifetime the item ends by itself.
        in_background(held.keep(dropped), lifetime.saturating_add(OPERATIONS_LIMIT));
        Ok(Lease::Granted(LeaseGuard::new(move || drop(guard))))
    };
    // What is granted when nobody waits for it any more is handed back, too.
    FinishOnDrop::new(asked, OPERATIONS_LIMIT).await
}

/// A lease of this process.
struct Held {
    node: Node,
    name: String,
    /// That of the item, while it is ours.
    cas: u64,
    /// What a renewed item contains, and that of no other process does.
    mark: Bytes,
    /// It is not renewed for longer: a holder that hangs is replaced.
    until: Instant,
}

impl Held {
    /// Renews it until its guard is dropped, then hands it back at once, if it is still ours.
    async fn keep(mut self, mut dropped: oneshot::Receiver<()>) {
        while timeout(RENEWAL, &mut dropped).await.is_err() {
            let left = self.until.saturating_duration_since(monotonic());
            if left.is_zero() {
                // What is left of it ends soon. Handed back, too, if that is sooner.
                let _ = timeout(LAST_SECONDS, &mut dropped).await;
                break;
            }
            match self.renew(seconds(left)).await {
                Ok(true) => {}
                // It was dropped by the server, and somebody else may have it.
                Ok(false) => return,
                // Tried again: it lives for longer than one renewal.
                Err(_) => {}
            }
        }
        // Nobody is left to be told of a failure.
        let _ = self.node.delete(&self.name, Some(self.cas)).await;
    }

    /// Whether it is still ours.
    async fn renew(&mut self, seconds: u32) -> Result<bool, StoreError> {
        let set = self.node.set(&self.name, vec![self.mark.clone()], seconds, self.cas).await?;
        if set == Outcome::NotFound {
            return Ok(false);
        }
        // Also when it was another item: then a renewal has come to pass whose reply has not.
        let Got::Value { bytes, cas, .. } = self.node.get(&self.name, None).await? else { return Ok(false) };
        self.cas = cas;
        Ok(bytes == self.mark)
    }
}

/// How long the item lives, for a lease that may live for so long yet: up to a second less, as memcached counts.
fn seconds(left: Duration) -> u32 {
    let left = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(2);
    left.min(LEASE_SECONDS)
}

/// How long a lease lives whose holder does not come back: up to a second less, as memcached counts.
const LEASE_SECONDS: u32 = 3;

/// How often it is renewed: twice within the shortest time that it may live.
const RENEWAL: Duration = Duration::from_secs(1);

/// No item lives for longer than this after its last renewal.
const LAST_SECONDS: Duration = Duration::from_secs(LEASE_SECONDS as u64);
