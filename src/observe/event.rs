//! What an operator wants to be told of at once: the last events, and a hook for them.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    future::Future,
    mem::{Discriminant, discriminant},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

use crate::{
    clock::{Clock, monotonic},
    store::{BreakerState, ServerState, StoreErrorKind},
};

/// Something that an operator may want to be told of: from
/// [`CacheLayerBuilder::on_event`](crate::CacheLayerBuilder::on_event) and [`CacheHandle::events`](crate::CacheHandle::events).
///
/// Where it has a `count`, it is told at most once a second, with how often it has happened since it was told last.
///
/// ```
/// use microcache::Event;
///
/// fn is_alarming(event: &Event) -> bool {
///     matches!(event, Event::BreakerOpened { .. } | Event::StoreFailed { .. })
/// }
/// assert!(is_alarming(&Event::BreakerOpened { server: "10.0.0.1:11211".into() }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[cfg_attr(feature = "admin", serde(tag = "event", rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Event {
    /// A server of the store failed and is left alone for a while.
    BreakerOpened {
        /// Its address.
        server: String,
    },
    /// The server answers again.
    BreakerClosed {
        /// Its address.
        server: String,
    },
    /// The store failed, or did not answer in time. No response fails by it.
    StoreFailed {
        /// How.
        #[cfg_attr(feature = "admin", serde(serialize_with = "as_word"))]
        kind: StoreErrorKind,
        /// How often.
        count: u64,
    },
    /// Something was purged.
    Purged {
        /// What, in words.
        what: String,
        /// It is stale from now on, and may be served while it is refreshed.
        is_soft: bool,
    },
    /// Requests could not wait: their flights were full, or the wait limit passed.
    Overflowed {
        /// The route of the last one.
        route: String,
        /// Whose it was.
        tenant: String,
        /// How many.
        count: u64,
    },
    /// A tenant had as many flights or requests that wait as [`TenantLimits`](crate::TenantLimits) allow.
    QuotaReached {
        /// Who it was last.
        tenant: String,
        /// For how many requests.
        count: u64,
    },
    /// A forward began beside another for the same, which took longer than
    /// [`Collapse::lock_age`](crate::Collapse::lock_age), or is of before a purge.
    SecondLeader {
        /// The route of the last one.
        route: String,
        /// Whose it was.
        tenant: String,
        /// How many.
        count: u64,
    },
    /// [`Tags`](crate::Tags) of responses were too long or too many to be kept: what had them ends with a purge by any
    /// tag.
    TagsDropped {
        /// Of how many responses.
        count: u64,
    },
    /// The cache, or a route of it, was paused or resumed.
    Switched {
        /// None: all of it.
        route: Option<String>,
        /// Every request goes to the origin from now on.
        is_paused: bool,
    },
}

/// An [`Event`], and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Happened {
    /// Counts up from one.
    pub number: u64,
    /// By the cache's clock.
    pub at: SystemTime,
    /// What happened.
    pub event: Event,
}

pub(crate) type Hook = Arc<dyn Fn(&Event) + Send + Sync>;

/// The events of one cache.
pub(crate) struct Events {
    hook: Option<Hook>,
    clock: Arc<dyn Clock>,
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    happened: VecDeque<Happened>,
    number: u64,
    /// For each kind of event that is told once a second: when it was told last, and how often it happened since.
    told: HashMap<&'static str, (Instant, u64)>,
}

impl Ring {
    /// The oldest of the kind that there are most of: however often one thing happens, the others are remembered.
    fn forget_one(&mut self) {
        let mut kinds: Vec<(Discriminant<Event>, usize)> = Vec::new();
        for happened in &self.happened {
            let kind = discriminant(&happened.event);
            match kinds.iter_mut().find(|(there, _)| *there == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
        }
        let most = kinds.into_iter().max_by_key(|(_, count)| *count).map(|(kind, _)| kind);
        let oldest = self.happened.iter().position(|happened| Some(discriminant(&happened.event)) == most);
        oldest.map(|oldest| self.happened.remove(oldest));
    }
}

impl Events {
    pub(crate) fn new(hook: Option<Hook>, clock: Arc<dyn Clock>) -> Self {
        Self { hook, clock, ring: Mutex::default(), last: watch::Sender::new(0) }
    }

    /// Remembers it, and then tells the hook: one that takes its time keeps it from nobody else.
    pub(crate) fn tell(&self, event: Event) {
        super::trace::happened(&event);
        match &self.hook {
            Some(hook) => {
                self.remember(event.clone());
                tell_hook(hook, &event);
            }
            None => self.remember(event),
        }
    }

    fn remember(&self, event: Event) {
        let at = self.clock.now();
        let mut ring = self.ring();
        ring.number += 1;
        let number = ring.number;
        if ring.happened.len() >= REMEMBERED {
            ring.forget_one();
        }
        ring.happened.push_back(Happened { number, at, event });
        drop(ring);
        // Never back, also where another was faster.
        self.last.send_modify(|last| *last = number.max(*last));
    }

    /// Tells it, with how often it has happened, unless something of its kind was told within the last second.
    pub(crate) fn tell_of_many(&self, kind: &'static str, event: impl FnOnce(u64) -> Event) {
        let now = monotonic();
        let count = {
            let mut ring = self.ring();
            let (told, since) = ring.told.get(kind).map_or((None, 0), |(told, since)| (Some(*told), *since));
            let is_too_soon = told.filter(|told| now.saturating_duration_since(*told) < Duration::from_secs(1));
            ring.told.insert(kind, is_too_soon.map_or((now, 0), |told| (told, since.saturating_add(1))));
            if is_too_soon.is_some() { None } else { Some(since.saturating_add(1)) }
        };
        if let Some(count) = count {
            self.tell(event(count));
        }
    }

    /// What a store says of one of its servers.
    pub(crate) fn server_changed(&self, server: &ServerState) {
        let name = server.server.clone();
        match server.breaker {
            BreakerState::Open => self.tell(Event::BreakerOpened { server: name }),
            BreakerState::Closed => self.tell(Event::BreakerClosed { server: name }),
            BreakerState::HalfOpen => {}
        }
    }

    /// What is remembered of the events after this number.
    pub(crate) fn since(&self, number: u64) -> Vec<Happened> {
        self.ring().happened.iter().filter(|happened| happened.number > number).cloned().collect()
    }

    /// The same, as soon as there is something.
    pub(crate) fn next(self: &Arc<Self>, number: u64) -> impl Future<Output = Vec<Happened>> + Send + use<> {
        let (mut last, events) = (self.last.subscribe(), Arc::clone(self));
        async move {
            // The sender is there as long as the events are.
            let _ = last.wait_for(|last| *last > number).await;
            events.since(number)
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The panics of a hook are its own, and the response does not fail by them. What it makes happen itself, as by a purge,
/// it is not told: it could answer with the same, without an end.
fn tell_hook(hook: &Hook, event: &Event) {
    thread_local! {
        static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
    }
    if IS_INSIDE.replace(true) {
        return;
    }
    let _ = catch_unwind(AssertUnwindSafe(|| hook(event)));
    IS_INSIDE.set(false);
}

/// The word for a kind of error.
pub(crate) fn word(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Timeout => "timeout",
        StoreErrorKind::Io => "io",
        StoreErrorKind::Corrupt => "corrupt",
        StoreErrorKind::Refused => "refused",
    }
}

#[cfg(feature = "admin")]
fn as_word<S: serde::Serializer>(kind: &StoreErrorKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(*kind))
}

/// How many events are remembered.
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task::spawn};

    use super::*;
    use crate::ManualClock;

    fn events(hook: Option<Hook>) -> Arc<Events> {
        Arc::new(Events::new(hook, Arc::new(ManualClock::new())))
    }

    fn opened(server: &str) -> Event {
        Event::BreakerOpened { server: server.to_owned() }
    }

    fn failed(count: u64) -> Event {
        Event::StoreFailed { kind: StoreErrorKind::Io, count }
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_told_once_a_second_with_how_often_it_was() {
        let events = events(None);
        for millis in [0, 1, 400, 998, 2, 1_000, 5_000] {
            tokio::time::advance(Duration::from_millis(millis)).await;
            events.tell_of_many("io", failed);
            if millis == 400 {
                events.tell_of_many("timeout", failed);
            }
        }
        let told: Vec<_> = events.since(0).into_iter().map(|happened| happened.event).collect();

        // At 0, 1, 401, 1,399, 1,401, 2,401 and 7,401 ms; the other kind has a second of its own.
        assert_eq!(told, [failed(1), failed(1), failed(3), failed(2), failed(1)]);
    }

    #[test]
    fn the_last_256_are_remembered_in_order() {
        let events = events(None);
        for number in 0..300 {
            events.tell(opened(&number.to_string()));
        }
        let remembered = events.since(0);

        assert_eq!(remembered.len(), 256);
        assert!(remembered.iter().map(|happened| happened.number).eq(45..=300));
        assert_eq!(remembered.last().unwrap().event, opened("299"));
        assert_eq!(events.since(298).len(), 2);
        assert!(events.since(300).is_empty() && events.since(u64::MAX).is_empty());
    }

    #[test]
    fn what_happens_often_does_not_make_what_is_rare_forgotten() {
        let events = events(None);
        events.tell(opened("a"));
        events.tell(Event::Switched { route: None, is_paused: true });
        for count in 0..10_000 {
            events.tell(failed(count));
            if count % 100 == 0 {
                events.tell(opened("b"));
            }
        }
        let remembered = events.since(0);
        let first: Vec<_> = remembered.iter().take(2).map(|happened| happened.event.clone()).collect();

        assert_eq!(first, [opened("a"), Event::Switched { route: None, is_paused: true }]);
        assert_eq!(remembered.len(), 256);
        assert!(remembered.is_sorted_by(|one, next| one.number < next.number));
        assert_eq!(remembered.last().unwrap().event, failed(9_999));
    }

    #[test]
    fn who_waits_for_the_next_is_woken_by_it() {
        let events = events(None);
        events.tell(opened("a"));
        assert_eq!(assert_ready!(spawn(events.next(0)).poll()).len(), 1);

        let mut next = spawn(events.next(1));
        assert_pending!(next.poll());
        events.tell(opened("b"));
        assert!(next.is_woken());
        assert_eq!(assert_ready!(next.poll())[0].event, opened("b"));
    }

    #[test]
    fn a_hook_that_panics_harms_nobody() {
        let told = Arc::new(Mutex::new(0));
        let count = Arc::clone(&told);
        let events = events(Some(Arc::new(move |_| {
            *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            panic!("of the hook's own");
        })));
        events.tell(opened("a"));
        events.tell(opened("b"));

        assert_eq!(*told.lock().unwrap(), 2);
        assert_eq!(events.since(0).len(), 2);
    }

    #[test]
    fn a_hook_finds_what_it_is_told_among_what_is_remembered() {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let here = Arc::<std::sync::OnceLock<Arc<Events>>>::default();
        let (see, there) = (Arc::clone(&seen), Arc::clone(&here));
        let events = events(Some(Arc::new(move |event| {
            let last = there.get().and_then(|events| events.since(0).pop());
            see.lock().unwrap().push(last.is_some_and(|last| last.event == *event));
        })));
        here.get_or_init(|| Arc::clone(&events));
        events.tell(opened("a"));
        events.tell(opened("b"));

        assert_eq!(*seen.lock().unwrap(), [true, true]);
    }
}
