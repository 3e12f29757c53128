//! What this process knows of the fences on a server, for a moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::fences::cover;
use crate::{
    key::CacheKey,
    store::fence::Cover,
    stored::{Stored, raised::Raised},
};

/// Fences as they were on a server.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) raised: Arc<Raised>,
    /// Before they were asked for.
    pub(super) at: Instant,
    /// Somebody asks for them again.
    is_asked_for: bool,
}

/// What may cover something: the fences for all, and those of its tenant.
pub(super) struct Seen {
    pub(super) all: Known,
    pub(super) tenant: Known,
}

impl Seen {
    pub(super) fn cover(&self, key: &CacheKey, stored: &Stored) -> Option<Cover> {
        cover(&self.all.raised, &self.tenant.raised, key, stored)
    }

    /// What was found, if it may be used, as of the moment of which that is known.
    pub(super) fn judge(&self, key: &CacheKey, stored: Stored) -> Option<Stored> {
        let stored = match self.cover(key, &stored) {
            Some(Cover::Hard) => return None,
            Some(Cover::Soft) => stored.softened(),
            None => stored,
        };
        Some(stored.known_at(self.all.at.min(self.tenant.at)))
    }
}

/// The fences of one server that were asked for lately, by the keys that they are kept under.
#[derive(Default)]
pub(super) struct Lately {
    known: Mutex<HashMap<CacheKey, Known>>,
}

impl Lately {
    /// Both, if neither was asked for too long ago. None: they are to be asked for. One does so in good time, so that
    /// those who come together do not all have to.
    pub(super) fn seen(&self, all: &CacheKey, tenant: &CacheKey, now: Instant) -> Option<Seen> {
        let mut known = self.lock();
        let all = known.get(all).filter(|known| known.is_within(RECENT, now))?.clone();
        let tenant = known.get_mut(tenant).filter(|known| known.is_within(RECENT, now))?;
        let is_young = all.is_within(RECENT / 2, now) && tenant.is_within(RECENT / 2, now);
        if !is_young && !std::mem::replace(&mut tenant.is_asked_for, true) {
            return None;
        }
        Some(Seen { all, tenant: tenant.clone() })
    }

    pub(super) fn remember(&self, key: &CacheKey, news: &Known, now: Instant) {
        let mut known = self.lock();
        if known.get(key).is_some_and(|there| there.at > news.at) {
            return;
        }
        if known.len() >= MOST_KNOWN && !known.contains_key(key) {
            known.retain(|_, known| known.is_within(RECENT, now));
        }
        // Who is not remembered is asked for each time.
        if known.len() < MOST_KNOWN || known.contains_key(key) {
            known.insert(key.clone(), news.clone());
        }
    }

    /// Never held across an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    pub(super) fn new(raised: Raised, at: Instant) -> Self {
        Self { raised: Arc::new(raised), at, is_asked_for: false }
    }

    fn is_within(&self, span: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < span
    }
}

/// For so long another process may purge and this one not see it.
pub(super) const RECENT: Duration = Duration::from_millis(100);

/// Tenants, and one for all.
const MOST_KNOWN: usize = 1_025;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    fn key(tenant: &str) -> CacheKey {
        CacheKey::of_fences(Some(tenant))
    }

    fn known(hard: u64, at: Instant) -> Known {
        Known::new(Raised { hard, ..Raised::default() }, at)
    }

    #[test]
    fn what_was_asked_for_too_long_ago_is_not_known() {
        let (lately, now) = (Lately::default(), monotonic());
        let millis = |millis| now + Duration::from_millis(millis);
        assert!(lately.seen(&key("a"), &key("b"), now).is_none());
        lately.remember(&key("a"), &known(1, now), now);
        assert!(lately.seen(&key("a"), &key("b"), now).is_none());
        lately.remember(&key("b"), &known(2, millis(40)), now);

        // The first that comes after half of the time asks, and the others need not.
        for (at, is_known) in [(0, true), (49, true), (50, false), (51, true), (99, true), (100, false), (149, false)] {
            assert_eq!(lately.seen(&key("a"), &key("b"), millis(at)).is_some(), is_known, "{at}");
        }
        for tenant in ["a", "b"] {
            lately.remember(&key(tenant), &known(3, millis(150)), millis(150));
        }
        for (at, is_known) in [(150, true), (199, true), (200, false), (201, true)] {
            assert_eq!(lately.seen(&key("a"), &key("b"), millis(at)).is_some(), is_known, "{at}");
        }
    }

    #[test]
    fn what_was_asked_for_earlier_does_not_replace_what_was_asked_for_later() {
        let (lately, now) = (Lately::default(), monotonic());
        lately.remember(&key("a"), &known(2, now + Duration::from_millis(1)), now);
        lately.remember(&key("a"), &known(1, now), now);

        assert_eq!(lately.seen(&key("a"), &key("a"), now).unwrap().all.raised.hard, 2);
    }

    #[test]
    fn no_more_tenants_are_remembered_than_there_is_room_for() {
        let (lately, now) = (Lately::default(), monotonic());
        for tenant in 0..2 * MOST_KNOWN {
            lately.remember(&key(&tenant.to_string()), &known(1, now), now);
        }
        assert_eq!(lately.lock().len(), MOST_KNOWN);

        let later = now + RECENT;
        lately.remember(&key("new"), &known(1, later), later);
        assert_eq!(lately.lock().len(), 1);
    }
}
