//! How long one request waits for the store, all in all.

use std::{future::Future, pin::pin, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderMap;

use super::{Core, Lookup};
use crate::{
    clock::in_time,
    collapse::in_background,
    key::CacheKey,
    store::{StoreError, StoreErrorKind},
};

/// What is left of the time that a request may wait for the store.
///
/// A store that hangs costs a request its deadline once, however many operations there are; after that only what the
/// store knows at once counts.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
    has_client: bool,
}

impl Patience {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { left: deadline, has_client: true }
    }

    /// That of the background.
    pub(super) fn without_client() -> Self {
        Self { left: BACKGROUND_LIMIT, has_client: false }
    }

    /// What is left, for those that read what came.
    pub(super) fn take(&mut self) -> Self {
        Self::new(std::mem::take(&mut self.left))
    }

    /// Whether somebody waits for the answer.
    pub(super) fn has_client(&self) -> bool {
        self.has_client
    }

    /// What comes of it in time.
    pub(super) async fn wait<T>(&mut self, asked: impl Future<Output = T> + Unpin) -> Option<T> {
        let (told, left) = in_time(self.left, asked).await;
        self.left = left;
        told
    }

    /// The same, and what takes longer is finished in the background.
    pub(super) async fn see<T: Send + 'static>(&mut self, mut asked: BoxFuture<'static, T>) -> Option<T> {
        let told = self.wait(&mut asked).await;
        if told.is_none() {
            in_background(asked, BACKGROUND_LIMIT);
        }
        told
    }
}

impl Core {
    /// Looks for as long as the request has patience, and says whether the store had it at hand. A store that fails has
    /// nothing.
    pub(super) async fn look(&self, key: &CacheKey, request: &HeaderMap, patience: &mut Patience) -> (Lookup, bool) {
        match self.look_now(key, request) {
            Some(lookup) => (lookup, true),
            // Apart, so that a miss in memory does not carry it.
            None => (Box::pin(self.look_patiently(key, request, false, patience)).await, false),
        }
    }

    /// The same past what the store has at hand, since another process may have brought something newer.
    pub(super) async fn look_far(&self, key: &CacheKey, request: &HeaderMap, patience: &mut Patience) -> Lookup {
        self.look_patiently(key, request, true, patience).await
    }

    async fn look_patiently(&self, key: &CacheKey, request: &HeaderMap, far: bool, patience: &mut Patience) -> Lookup {
        let looking = pin!(self.look_at(key, request, far, patience.has_client));
        patience.wait(looking).await.unwrap_or_else(|| {
            self.counters.store_failed(&out_of_patience());
            Lookup::Failed
        })
    }
}

/// What there is to say of an operation that nobody waits for any more.
pub(super) fn out_of_patience() -> StoreError {
    StoreError::new(StoreErrorKind::Timeout, "the request has waited for the store for as long as it may")
}

/// Whatever is finished in the background has deadlines of its own, which are shorter.
pub(super) const BACKGROUND_LIMIT: Duration = Duration::from_secs(30);
