//! Storing: the index if there are variants, then the response.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, response};

use super::{Core, job::Job};
use crate::{
    clock::{in_time, monotonic},
    key::CacheKey,
    observe::Tally,
    policy::{Plan, SkipReason},
    rfc9111::{
        age::{Exchange, since},
        stored_fields::shared_fields,
        variants::{Nominated, Vary},
    },
    store::{LONGEST_FORWARD, Put, StoreError, StoreErrorKind},
    stored::{CLOCK_SKEW, Kind, KnownVariant, Stored, StoredHead, StoredResponse, VariantIndex, places_before, twin},
};

/// Where a response belongs.
#[derive(Clone)]
pub(super) struct Place {
    /// Whose it is, and on which route, for the counters.
    tally: Arc<Tally>,
    key: CacheKey,
    variant: Option<Variant>,
    /// The flight whose marker ends when this is stored; none if it stays, since each request is validated.
    flight: Option<Arc<str>>,
}

#[derive(Clone)]
struct Variant {
    key: CacheKey,
    names: Arc<[HeaderName]>,
    /// The others that are there.
    others: Vec<KnownVariant>,
    /// How long they may need the index.
    useful_for: Duration,
}

impl Place {
    /// The place for a response with this `Vary`. The names of the known index stay in it, so that the variants that
    /// have them all can still be found.
    pub(super) fn of(
        tally: Arc<Tally>,
        key: CacheKey,
        flight: Arc<str>,
        vary: &Vary,
        index: Option<&VariantIndex>,
        request: &HeaderMap,
        now: SystemTime,
    ) -> Result<Self, SkipReason> {
        let flight = Some(flight);
        let Vary::Names(nominated) = vary else {
            return Ok(Self { tally, key, variant: None, flight });
        };
        let mut names = nominated.clone();
        names.extend(index.iter().flat_map(|index| index.names.iter().cloned()));
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let mut known = index;
        if names.len() > MAX_NAMES {
            // The origin nominates ever others: those of this response are enough.
            names.clone_from(nominated);
            known = None;
        }
        let variant = key.variant(&names, request).map_err(|_| SkipReason::KeyTooLong)?;
        let others: Vec<_> =
            known.iter().flat_map(|index| index.alive(now)).filter(|other| other.key != variant).cloned().collect();
        if others.len() >= MAX_VARIANTS {
            return Err(SkipReason::Variants);
        }
        let useful_for = known.map(|index| index.useful_for).unwrap_or_default();
        let variant = Variant { key: variant, names: names.into(), others, useful_for };
        Ok(Self { tally, key, variant: Some(variant), flight })
    }

    /// The same, for what this plan says.
    pub(super) fn for_plan(mut self, plan: &Plan) -> Self {
        if !plan.is_shareable {
            self.flight = None;
        }
        self
    }
}

impl Variant {
    fn index(&self, response: &StoredResponse) -> VariantIndex {
        let head = &response.head;
        let this = KnownVariant {
            key: self.key.clone(),
            until: head.response_time.checked_add(head.servable_for()).unwrap_or(head.response_time),
        };
        VariantIndex {
            names: Arc::clone(&self.names),
            variants: self.others.iter().cloned().chain([this]).collect(),
            began: head.began,
            useful_for: head.useful_for().max(self.useful_for),
        }
    }
}

impl Job {
    /// `now`: when the response came.
    pub(super) fn place(&self, plan: &Plan, now: SystemTime) -> Result<Place, SkipReason> {
        let flight = self.flight.clone().ok_or(SkipReason::KeyTooLong)?;
        let (tally, key) = (Arc::clone(&self.asked.tally), self.asked.key.clone());
        let place = Place::of(tally, key, flight, &plan.vary, self.index.as_ref(), &self.varied(plan), now)?;
        Ok(place.for_plan(plan))
    }

    pub(super) fn stored_head(
        &self,
        head: &response::Parts,
        plan: &Plan,
        exchange: Exchange,
        tags: Arc<[Box<str>]>,
    ) -> StoredHead {
        let nominated = match &plan.vary {
            Vary::Names(names) => Nominated::new(names, &self.varied(plan)),
            Vary::None | Vary::Any => Nominated::default(),
        };
        let (places, has_status_place) = places_before(&head.headers);
        let mut headers = shared_fields(&head.headers, exchange.response_time, places, twin);
        self.asked.policy.hide_tags(&mut headers);
        StoredHead {
            status: head.status,
            // A clone has no room to spare.
            headers: headers.clone(),
            has_status_place,
            nominated,
            began: self.began,
            brought: self.began,
            response_time: exchange.response_time,
            initial_age: plan.initial_age,
            freshness_lifetime: plan.freshness_lifetime,
            implied: plan.implied,
            staleness: plan.staleness,
            has_validator: plan.has_validator,
            tags,
        }
    }

    /// What the request says in the fields that choose among the variants, once there is a response with this plan.
    fn varied(&self, plan: &Plan) -> HeaderMap {
        let Vary::Names(names) = &plan.vary else { return HeaderMap::new() };
        let known = self.index.iter().flat_map(|index| index.names.iter());
        self.fields.named(names.iter().chain(known))
    }

    /// What a response is about.
    pub(super) fn tags(&self, head: &response::Parts) -> Arc<[Box<str>]> {
        let found = self.asked.policy.tags_of(&head.headers, head.extensions.get(), &self.asked.key);
        self.core.counters.tags_dropped(found.dropped as u64);
        found.tags
    }
}

impl Core {
    /// Stores, and says what became of that. A store that fails stores nothing, and that is all.
    pub(super) async fn keep(&self, place: &Place, response: &StoredResponse) -> Result<Put, StoreError> {
        let head = &response.head;
        // RFC 9111 §4.4: what was asked for before it was invalidated comes too late. After a soft fence it is stale.
        let (is_gone, asked_at, now) = (self.is_gone(&place.key, response), monotonic(), self.clock.now());
        // Should the store not say more, no purge is known to have ended it when it was asked for.
        let stored = |kind| {
            let stored = Stored::new(kind);
            let asked_for = asked_at.checked_sub(since(now, stored.brought()));
            stored.known_anew(asked_for)
        };
        let put = match &place.variant {
            _ if is_gone || since(now, head.began) > LONGEST_FORWARD => Ok(Put::Fenced),
            None => self.put(&place.key, stored(Kind::Response(response.clone()))).await,
            Some(variant) => {
                // The index first: without it nobody finds the variant. A newer one stays.
                match self.put(&place.key, stored(Kind::Variants(variant.index(response)))).await {
                    // Fenced: another variant began later. That says nothing of this one.
                    Ok(Put::Stored | Put::Fenced) => {
                        self.put(&variant.key, stored(Kind::Response(response.clone()))).await
                    }
                    other => other,
                }
            }
        };
        let reason = match &put {
            // Look-ups ask for the fence, too: one that was raised meanwhile is not overlooked.
            Ok(Put::Stored) => {
                place.tally.stored();
                if let Some(flight) = &place.flight {
                    self.collapser.unmark(flight);
                }
                return put;
            }
            Ok(Put::Fenced) => {
                place.tally.fenced();
                // What was confirmed is not to be confirmed again and again.
                if head.brought < head.began {
                    self.forget(place.variant.as_ref().map_or(&place.key, |variant| &variant.key)).await;
                }
                "fenced"
            }
            Ok(Put::Declined) => "declined",
            Err(error) => {
                self.counters.store_failed(error);
                "store-failed"
            }
        };
        place.tally.not_stored(reason);
        put
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        match within(self.store_deadline, self.store.put(key, stored.clone())).await {
            // Apart, so that what is stored at once does not carry it.
            Ok(Put::Fenced) => Box::pin(self.put_again(key, stored)).await,
            put => put,
        }
    }

    /// Stores in place of what is there, if that is of the future: the clock was set back, and what fences is not newer,
    /// it is of a time that was not.
    async fn put_again(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        if !self.is_of_the_future(key).await {
            return Ok(Put::Fenced);
        }
        within(self.store_deadline, self.store.remove(key)).await?;
        within(self.store_deadline, self.store.put(key, stored)).await
    }

    async fn is_of_the_future(&self, key: &CacheKey) -> bool {
        let latest = self.latest();
        let there = self.find(key, false, false).await.ok().flatten();
        there.is_some_and(|there| there.began().duration_since(latest).is_ok_and(|ahead| ahead > CLOCK_SKEW))
    }
}

/// What the store says, or that it did not say it in time.
pub(super) async fn within<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, StoreError>> + Unpin,
) -> Result<T, StoreError> {
    let too_late = || StoreError::new(StoreErrorKind::Timeout, "the deadline has passed");
    in_time(deadline, answer).await.0.unwrap_or_else(|| Err(too_late()))
}

/// How many names an index collects.
const MAX_NAMES: usize = 8;

/// How many variants there are under a key: past that they are fewer hits than entries.
const MAX_VARIANTS: usize = 32;
