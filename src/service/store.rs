//! Storing: the index if there are variants, then the response.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName};

use super::Core;
use crate::{
    key::CacheKey,
    rfc9111::variants::Vary,
    store::{Put, StoreError, StoreErrorKind},
    stored::{CLOCK_SKEW, Kind, Stored, StoredResponse, VariantIndex},
};

/// Where a response belongs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: CacheKey,
    pub(super) variant: Option<(Arc<[HeaderName]>, CacheKey)>,
    /// The flight whose marker ends when this is stored.
    pub(super) flight: String,
    /// How long the variants that are there already may need the index.
    pub(super) useful_for: Duration,
}

impl Place {
    /// The place for a response with this `Vary`. The names of the known index stay in it, so that the
    /// variants that are there can still be found. None if the key would be too long.
    pub(super) fn of(
        key: CacheKey,
        flight: String,
        vary: &Vary,
        index: Option<&VariantIndex>,
        request: &HeaderMap,
    ) -> Option<Self> {
        let Vary::Names(nominated) = vary else {
            return Some(Self { key, variant: None, flight, useful_for: Duration::ZERO });
        };
        let mut names = nominated.clone();
        names.extend(index.iter().flat_map(|index| index.names.iter().cloned()));
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        if names.len() > MAX_NAMES {
            // The origin nominates ever others: those of this response are enough.
            names.clone_from(nominated);
        }
        let variant = key.variant(&names, request).ok()?;
        let useful_for = index.map(|index| index.useful_for).unwrap_or_default();
        Some(Self { key, variant: Some((names.into(), variant)), flight, useful_for })
    }
}

impl Core {
    /// Stores, and says whether it is there now. A store that fails stores nothing, and that is all.
    pub(super) async fn keep(&self, place: &Place, response: StoredResponse) -> bool {
        let put = match &place.variant {
            None => self.put(&place.key, Stored(Kind::Response(response))).await,
            Some((names, key)) => {
                let index = VariantIndex {
                    names: Arc::clone(names),
                    began: response.head.began,
                    useful_for: response.head.freshness_lifetime.max(place.useful_for),
                };
                // The index first: without it nobody finds the variant. A newer one stays.
                match self.put(&place.key, Stored(Kind::Variants(index))).await {
                    // Fenced: another variant began later. That says nothing of this one.
                    Ok(Put::Stored | Put::Fenced) => self.put(key, Stored(Kind::Response(response))).await,
                    other => other,
                }
            }
        };
        match put {
            Ok(Put::Stored) => {
                self.counters.stored();
                self.collapser.unmark(&place.flight);
                return true;
            }
            Ok(Put::Fenced) => self.counters.fenced(),
            Ok(Put::Declined) => {}
            Err(_) => self.counters.store_failed(),
        }
        self.counters.not_stored();
        false
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let put = within(self.store_deadline, self.store.put(key, stored.clone())).await;
        if !matches!(put, Ok(Put::Fenced)) || !self.is_of_the_future(key).await {
            return put;
        }
        // The clock was set back: what fences is not newer, it is of a time that was not.
        within(self.store_deadline, self.store.remove(key)).await?;
        within(self.store_deadline, self.store.put(key, stored)).await
    }

    async fn is_of_the_future(&self, key: &CacheKey) -> bool {
        let now = self.clock.now();
        let there = self.find(key).await;
        there.is_some_and(|there| there.began().duration_since(now).is_ok_and(|ahead| ahead > CLOCK_SKEW))
    }
}

/// What the store says, or that it did not say it in time.
pub(super) async fn within<T>(
    deadline: Duration,
    mut answer: BoxFuture<'_, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    // A store that need not wait needs no timer either.
    if let Some(at_once) = (&mut answer).now_or_never() {
        return at_once;
    }
    let answer = tokio::time::timeout(deadline, answer).await;
    answer.unwrap_or_else(|late| Err(StoreError::new(StoreErrorKind::Timeout, late)))
}

/// How many names an index collects.
const MAX_NAMES: usize = 8;
