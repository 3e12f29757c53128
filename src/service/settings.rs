//! What a cache was built with, and what it makes of a request at first sight.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Request;
use http_body::Body;

use super::{answer::Ask, follow::Landed};
use crate::{
    clock::{Clock, nanos},
    collapse::Collapser,
    key::{CacheKey, KeyError, RequestHead, Tenancy},
    observe::Counters,
    policy::{Admission, BypassReason, Carried, Policy, Routes},
    store::{ErasedStore, Fences},
};

/// What a layer was built with, frozen.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) core: Arc<Core>,
    pub(crate) routes: Routes,
}

/// What all services of one cache share.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) store_deadline: Duration,
    pub(crate) collapser: Arc<Collapser<Landed>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenancy: Tenancy,
    pub(crate) fences: Fences,
    /// The last moment that was given out: nanoseconds since 1970.
    pub(crate) last_stamp: AtomicU64,
    pub(crate) paused: AtomicBool,
    pub(crate) counters: Counters,
}

impl Core {
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// A moment after all that were given out before, by the clock if that goes on: what begins, and what is
    /// invalidated, has an order even when the clock is set back.
    pub(super) fn stamp(&self) -> SystemTime {
        let now = nanos(self.clock.now());
        let after = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.last_stamp.fetch_update(Ordering::SeqCst, Ordering::SeqCst, after).unwrap_or_default();
        UNIX_EPOCH + Duration::from_nanos(now.max(last.saturating_add(1)))
    }

    /// The latest moment that something may have been given by this cache.
    pub(super) fn latest(&self) -> SystemTime {
        let last = UNIX_EPOCH + Duration::from_nanos(self.last_stamp.load(Ordering::SeqCst));
        last.max(self.clock.now())
    }
}

/// A request that was admitted: under which key and policy, and what it asks.
pub(super) struct Asked {
    pub(super) key: CacheKey,
    pub(super) policy: Arc<Policy>,
    pub(super) ask: Ask,
}

/// How a request is looked up.
pub(super) enum Admitted<'a> {
    Lookup(CacheKey, &'a Arc<Policy>, Ask),
    /// Its content is part of the key, and has yet to be read.
    ByContent(&'a Arc<Policy>, Carried),
}

impl Settings {
    pub(super) fn admit<B: Body + 'static>(&self, request: &Request<B>) -> Result<Admitted<'_>, BypassReason> {
        if self.core.is_paused() {
            return Err(BypassReason::Paused);
        }
        let head = RequestHead::of(request);
        let policy = self.routes.policy(head.uri().path());
        // HTTP/2 needs no field to say that content follows; the body itself knows.
        let carried = match policy.admit(head, !request.body().is_end_stream()) {
            Admission::Lookup(carried) => carried,
            Admission::LookupByContent(carried) if policy.can_replay::<B>() => {
                return Ok(Admitted::ByContent(policy, carried));
            }
            Admission::LookupByContent(_) => return Err(BypassReason::Content),
            Admission::Bypass(reason) => return Err(reason),
        };
        let key = self.key(&head, policy, carried, None)?;
        Ok(Admitted::Lookup(key, policy, Ask::of(request, carried)))
    }

    /// The key of a request. `content`: the digest of what it carries, where that counts.
    pub(super) fn key(
        &self,
        head: &RequestHead<'_>,
        policy: &Policy,
        carried: Carried,
        content: Option<&blake3::Hash>,
    ) -> Result<CacheKey, BypassReason> {
        let tenant = self.core.tenancy.of(*head);
        policy.key.write(head, carried.overrides, &tenant, content, SCRATCH.take()).map_err(|(error, buffer)| {
            SCRATCH.set(buffer);
            match error {
                KeyError::TooLong => BypassReason::KeyTooLong,
                KeyError::AmbiguousAuthority => BypassReason::Authority,
                KeyError::UnidentifiedTenant => BypassReason::Tenant,
            }
        })
    }
}

/// The buffer of a key that is not needed any more is there for the next one.
pub(super) fn give_back(key: CacheKey) {
    SCRATCH.set(key.into_buffer());
}

thread_local! {
    /// The buffer that keys are written in; a hit gives it back.
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}
