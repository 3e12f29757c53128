//! What is stored for a request: under its key, or under the key of its variant.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Response};

use super::{Asked, Core, answer::Ask, store::within};
use crate::{
    body::CacheBody,
    key::CacheKey,
    policy::{Reuse, reuse},
    status::{CacheStatus, ForwardReason},
    store::Peek,
    stored::{Kind, Stored, StoredResponse, VariantIndex},
};

/// What was found for a request.
pub(super) enum Lookup {
    /// Nothing under its key.
    Nothing,
    /// A response under its key.
    Response(StoredResponse),
    /// An index under its key, and what is under the key of its variant.
    Variant { index: VariantIndex, key: CacheKey, stored: Option<StoredResponse> },
    /// The key of its variant would be too long.
    Unkeyable,
}

impl Lookup {
    pub(super) fn stored(&self) -> Option<&StoredResponse> {
        match self {
            Self::Response(stored) => Some(stored),
            Self::Variant { stored, .. } => stored.as_ref(),
            Self::Nothing | Self::Unkeyable => None,
        }
    }

    /// Why there is nothing to reuse (RFC 9211 §2.2).
    pub(super) fn miss(&self) -> ForwardReason {
        match self {
            Self::Nothing | Self::Response(_) => ForwardReason::UriMiss,
            Self::Variant { .. } | Self::Unkeyable => ForwardReason::VaryMiss,
        }
    }

    pub(super) fn index(&self) -> Option<&VariantIndex> {
        match self {
            Self::Variant { index, .. } => Some(index),
            Self::Nothing | Self::Response(_) | Self::Unkeyable => None,
        }
    }

    /// The flight that the request may share: one per key, or per variant once `Vary` is known. Requests
    /// with credentials keep to themselves, so that what is not reusable for one of them says nothing about
    /// strangers.
    ///
    /// `names`: what a flight that this request followed told of `Vary`, for where the store does not.
    pub(super) fn flight(&self, asked: &Asked, names: &[HeaderName], request: &HeaderMap) -> Option<String> {
        let key = match self {
            Self::Nothing | Self::Response(_) if !names.is_empty() => &asked.key.variant(names, request).ok()?,
            Self::Nothing | Self::Response(_) => &asked.key,
            Self::Variant { key, .. } => key,
            Self::Unkeyable => return None,
        };
        // No key ends in an empty component, so the mark can not be forged.
        let mark = if asked.ask.credentials.any() { "|!" } else { "" };
        Some(format!("{}{mark}", key.as_str()))
    }
}

impl Core {
    /// Answers from the store, if that needs no waiting.
    pub(super) fn hit<B>(&self, key: &CacheKey, ask: &Ask, request: &HeaderMap) -> Option<Response<CacheBody<B>>> {
        match self.store.peek(key) {
            Peek::Found(Stored(Kind::Response(stored))) => {
                let (status, age) = self.judge(&stored, ask, request).ok()?;
                Some(ask.answer(&stored, status, age))
            }
            found => {
                let lookup = self.follow_index(known(found)?, key, request)?;
                self.reuse(&lookup, ask, request).ok()
            }
        }
    }

    /// Answers with what was found, if it may be reused.
    pub(super) fn reuse<B>(
        &self,
        lookup: &Lookup,
        ask: &Ask,
        request: &HeaderMap,
    ) -> Result<Response<CacheBody<B>>, ForwardReason> {
        let stored = lookup.stored().ok_or_else(|| lookup.miss())?;
        let (status, age) = self.judge(stored, ask, request)?;
        Ok(ask.answer(stored, status, age))
    }

    /// Whether this is a hit, and how old.
    fn judge(
        &self,
        stored: &StoredResponse,
        ask: &Ask,
        request: &HeaderMap,
    ) -> Result<(CacheStatus, Duration), ForwardReason> {
        match reuse(&stored.head, ask.credentials, request, self.clock.now()) {
            Reuse::Fresh { age, remaining } => {
                self.counters.hit();
                Ok((CacheStatus::hit(remaining), age))
            }
            Reuse::Unusable(reason) => Err(reason),
        }
    }

    /// Looks without waiting; none if the store has to be waited for.
    pub(super) fn look_now(&self, key: &CacheKey, request: &HeaderMap) -> Option<Lookup> {
        self.follow_index(known(self.store.peek(key))?, key, request)
    }

    fn follow_index(&self, found: Option<Stored>, key: &CacheKey, request: &HeaderMap) -> Option<Lookup> {
        match self.first(found, key, request) {
            First::Done(lookup) => Some(lookup),
            First::Variant(index, key) => {
                let stored = known(self.store.peek(&key))?.and_then(into_response);
                Some(Lookup::Variant { index, key, stored })
            }
        }
    }

    /// Looks, waiting for the store until its deadline. A store that fails has nothing.
    pub(super) async fn look(&self, key: &CacheKey, request: &HeaderMap) -> Lookup {
        let found = self.find(key).await;
        match self.first(found, key, request) {
            First::Done(lookup) => lookup,
            First::Variant(index, key) => {
                let stored = self.find(&key).await.and_then(into_response);
                Lookup::Variant { index, key, stored }
            }
        }
    }

    fn first(&self, found: Option<Stored>, key: &CacheKey, request: &HeaderMap) -> First {
        match found.map(|stored| stored.0) {
            None => First::Done(Lookup::Nothing),
            Some(Kind::Response(stored)) => First::Done(Lookup::Response(stored)),
            Some(Kind::Variants(index)) => match key.variant(&index.names, request) {
                Ok(key) => First::Variant(index, key),
                Err(_) => First::Done(Lookup::Unkeyable),
            },
        }
    }

    pub(super) async fn find(&self, key: &CacheKey) -> Option<Stored> {
        if let Some(found) = known(self.store.peek(key)) {
            return found;
        }
        match within(self.store_deadline, self.store.get(key)).await {
            Ok(found) => found,
            Err(_) => {
                // A broken store costs one forward. It never fails a response.
                self.counters.store_failed();
                None
            }
        }
    }
}

enum First {
    Done(Lookup),
    Variant(VariantIndex, CacheKey),
}

fn known(peek: Peek) -> Option<Option<Stored>> {
    match peek {
        Peek::Found(stored) => Some(Some(stored)),
        Peek::Absent => Some(None),
        Peek::Wait => None,
    }
}

fn into_response(stored: Stored) -> Option<StoredResponse> {
    match stored.0 {
        Kind::Response(stored) => Some(stored),
        Kind::Variants(_) => None,
    }
}
