//! Collapsing: many requests, one forward (RFC 9111 §4).
//!
//! A collapse is a look-up in the future, not a broadcast: what a flight publishes is a status, and each
//! follower decides for itself whether what landed would have been a legal hit for it. No HTTP in this
//! folder, so that the state machine can be tested on its own.

use std::time::Duration;

mod collapser;
mod finish_on_drop;
mod flight;
mod marker;
mod quota;

pub use self::quota::TenantLimits;
pub(crate) use self::{
    collapser::{Collapser, Role},
    finish_on_drop::{FinishOnDrop, in_background},
    flight::{Announcer, Follower, Landing, Leader},
};

/// How requests for the same key that arrive together share one forward.
///
/// # Default
///
/// On; a follower waits at most 5 s; a flight older than 5 s no longer takes followers; 1,024 followers a
/// flight, further requests are forwarded; 3 forwards in a row before a failure is shared; a key whose
/// response could not be reused is marked for 10 s; a forward whose client left runs on for at most 30 s.
///
/// ```
/// use std::time::Duration;
/// use microcache::{Collapse, Overflow, Policy};
///
/// let collapse = Collapse::new()
///     .wait_at_most(Duration::from_secs(2))
///     .max_followers(100)
///     .overflow(Overflow::Unavailable);
/// let policy = Policy::new().collapse(collapse);
/// # assert!(format!("{policy:?}").contains("Unavailable"));
/// ```
#[doc(alias = "coalesce")]
#[doc(alias = "single-flight")]
#[doc(alias = "dogpile")]
#[doc(alias = "request coalescing")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Collapse {
    pub(crate) on: bool,
    pub(crate) wait_limit: Duration,
    pub(crate) lock_age: Duration,
    pub(crate) max_followers: usize,
    pub(crate) overflow: Overflow,
    pub(crate) attempts: u32,
    pub(crate) marker_lifetime: Duration,
    pub(crate) finish_limit: Duration,
    pub(crate) leases: bool,
}

/// What becomes of a request that can not wait: the flight has all the followers it may have, its tenant all that
/// [`TenantLimits`] allow, or the wait limit passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// It is forwarded on its own. The default: prefer staying available.
    #[default]
    Forward,
    /// It is answered `503 Service Unavailable` with `Retry-After: 1`, so that the origin is spared.
    Unavailable,
}

impl Collapse {
    /// Collapsing with the defaults listed above.
    pub const fn new() -> Self {
        Self {
            on: true,
            wait_limit: Duration::from_secs(5),
            lock_age: Duration::from_secs(5),
            max_followers: 1024,
            overflow: Overflow::Forward,
            attempts: 3,
            marker_lifetime: Duration::from_secs(10),
            finish_limit: Duration::from_secs(30),
            leases: true,
        }
    }

    /// No collapsing: every request that finds nothing in the store is forwarded.
    pub const fn off() -> Self {
        Self { on: false, ..Self::new() }
    }

    /// Sets how long one request waits for forwards that are not its own, in total. Default: 5 s.
    ///
    /// After that the store is asked once more, and then [`overflow`](Self::overflow) applies.
    pub const fn wait_at_most(mut self, limit: Duration) -> Self {
        self.wait_limit = limit;
        self
    }

    /// Sets how old a flight may be and still take followers. Default: 5 s.
    ///
    /// The next request after that leads a second flight. What the first one brings late does not replace
    /// what the second one stored. The lease of a flight, where several processes share a store, is kept as long.
    pub const fn lock_age(mut self, age: Duration) -> Self {
        self.lock_age = age;
        self
    }

    /// Sets how many requests may wait for one flight. Default: 1,024.
    pub const fn max_followers(mut self, followers: usize) -> Self {
        self.max_followers = followers;
        self
    }

    /// Sets what becomes of a request that can not wait. Default: [`Overflow::Forward`].
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Sets how many forwards one flight makes, one after the other, while they fail (5xx, error, panic,
    /// client gone before the head). Default: 3; zero counts as one.
    ///
    /// After the last, all that still wait share its 5xx, or get a 503 where it may not be shared.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets how long a key is remembered as not reusable. Default: 10 s; zero keeps no markers.
    ///
    /// Requests for a marked key do not wait for each other.
    #[doc(alias = "hit-for-miss")]
    pub const fn marker_lifetime(mut self, lifetime: Duration) -> Self {
        self.marker_lifetime = lifetime;
        self
    }

    /// Lets each process that shares a store forward once. Default: one of them takes a lease, and the others wait for
    /// what it brings, within [`wait_at_most`](Self::wait_at_most). A store of one process has no leases.
    pub const fn without_leases(mut self) -> Self {
        self.leases = false;
        self
    }

    /// Sets how long a forward runs on after its client left. Default: 30 s.
    pub const fn finish_within(mut self, limit: Duration) -> Self {
        self.finish_limit = limit;
        self
    }
}

impl Default for Collapse {
    fn default() -> Self {
        Self::new()
    }
}
