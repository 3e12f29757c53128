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
use tokio::time::Instant;

use super::{answer::Ask, follow::Landed};
use crate::{
    clock::{Clock, monotonic, nanos},
    collapse::{Collapser, Role},
    key::{CacheKey, KeyError, RequestHead, Tenancy, Tenant},
    observe::{Counters, Tally},
    policy::{Admission, BypassReason, CacheStatusMode, Carried, Chosen, Policy, Routes, Sightings},
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
    pub(crate) sightings: Sightings,
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

impl Core {
    /// Takes note of a request that was not answered at first sight: for the statistics, and for whether its response is
    /// stored, where that takes others before it.
    pub(super) fn sight(&self, asked: &Asked) {
        self.counters.missed(&asked.key, self.clock.now());
        if asked.policy.admit_after > 1 {
            self.sightings.add(&asked.key);
        }
    }

    /// Joins the flight of what is asked for, or begins it.
    ///
    /// `tags`: what is known of the tags of what it brings. `purged`: what flights bring that began no later, the store
    /// knows to be purged.
    pub(super) fn join(
        &self,
        flight: Arc<str>,
        asked: &Asked,
        tags: &[Box<str>],
        purged: Option<Instant>,
    ) -> Role<Landed> {
        let fenced = self.fences.raised_at(&asked.key, tags).max(purged);
        let (tenant, collapse) = (asked.key.tenant_component(), &asked.policy.collapse);
        let role = self.collapser.join(flight, tenant, collapse, fenced, monotonic());
        match &role {
            Role::Leader(leader) if leader.is_second() => self.counters.second_leader(&asked.tally),
            Role::Full { by_quota: true } => self.counters.reached_quota(&asked.tally),
            _ => {}
        }
        role
    }
}

/// A request that was admitted: under which key and policy, and what it asks.
pub(super) struct Asked {
    pub(super) key: CacheKey,
    pub(super) policy: Arc<Policy>,
    pub(super) ask: Ask,
    pub(super) tally: Arc<Tally>,
}

/// How a request is looked up.
pub(super) enum Admitted<'a> {
    Lookup(Seen<'a>),
    /// Its content is part of the key, and has yet to be read.
    ByContent(Tenant, Chosen<'a>, &'a Arc<Tally>, Carried),
}

/// The same as [`Asked`], of a request that may be answered at once.
pub(super) struct Seen<'a> {
    pub(super) key: CacheKey,
    pub(super) policy: Chosen<'a>,
    pub(super) ask: Ask,
    pub(super) tally: &'a Arc<Tally>,
}

impl Seen<'_> {
    pub(super) fn into_asked(self) -> Asked {
        let Self { key, policy, ask, tally } = self;
        Asked { key, policy: policy.into_shared(), ask, tally: Arc::clone(tally) }
    }
}

/// A request that is not looked up.
pub(super) struct Refused<'a> {
    pub(super) reason: BypassReason,
    pub(super) tally: &'a Tally,
    pub(super) mode: CacheStatusMode,
}

impl Settings {
    /// Leaves of a request that is looked up what the origin may see.
    pub(super) fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Result<Admitted<'_>, Refused<'_>> {
        let (core, head) = (&self.core, RequestHead::of(request));
        if core.is_paused() {
            // Nobody asks whose it is.
            let tally = core.counters.tally(self.routes.route(head.uri().path()), &Tenant::unidentified());
            return Err(Refused { reason: BypassReason::Paused, tally, mode: CacheStatusMode::On });
        }
        let tenant = core.tenancy.of(head);
        let policy = self.routes.policy(head.uri().path(), &tenant);
        let tally = core.counters.tally(policy.route, &tenant);
        let mode = policy.shows.mode;
        self.look_through(request, tenant, policy, tally).map_err(|reason| Refused { reason, tally, mode })
    }

    fn look_through<'a, B: Body + 'static>(
        &self,
        request: &mut Request<B>,
        tenant: Tenant,
        policy: Chosen<'a>,
        tally: &'a Arc<Tally>,
    ) -> Result<Admitted<'a>, BypassReason> {
        if policy.route.is_paused() {
            return Err(BypassReason::Paused);
        }
        let head = RequestHead::of(request);
        // HTTP/2 needs no field to say that content follows; the body itself knows.
        let carried = match policy.admit(head, !request.body().is_end_stream()) {
            Admission::Lookup(carried) => carried,
            Admission::LookupByContent(carried) if policy.can_replay::<B>() => {
                return Ok(Admitted::ByContent(tenant, policy, tally, carried));
            }
            Admission::LookupByContent(_) => return Err(BypassReason::Content),
            Admission::Bypass(reason) => return Err(reason),
        };
        let key = self.key(&head, &tenant, &policy, carried, None)?;
        let ask = Ask::of(request, carried);
        policy.hide(request, &key, ask.is_plain())?;
        Ok(Admitted::Lookup(Seen { key, policy, ask, tally }))
    }

    /// The key of a request. `content`: the digest of what it carries, where that counts.
    pub(super) fn key(
        &self,
        head: &RequestHead<'_>,
        tenant: &Tenant,
        policy: &Policy,
        carried: Carried,
        content: Option<&blake3::Hash>,
    ) -> Result<CacheKey, BypassReason> {
        policy.key.write(head, carried.overrides, tenant, content, SCRATCH.take()).map_err(|(error, buffer)| {
            SCRATCH.set(buffer);
            without_key(error)
        })
    }
}

/// Why a request without a key is bypassed.
pub(super) fn without_key(error: KeyError) -> BypassReason {
    match error {
        KeyError::TooLong => BypassReason::KeyTooLong,
        KeyError::AmbiguousAuthority => BypassReason::Authority,
        KeyError::TooManyParameters => BypassReason::TooManyParameters,
        KeyError::UnidentifiedTenant => BypassReason::Tenant,
        KeyError::UnidentifiedPrincipal => BypassReason::Principal,
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
