//! What is stored for a request: under its key, or under the key of its variant.

use std::time::SystemTime;

use http::{HeaderMap, Response, header};

use super::{Asked, Core, answer::Ask, hit::Hit, store::within};
use crate::{
    body::CacheBody,
    key::CacheKey,
    observe::Tally,
    policy::{Reuse, if_error, reuse, selected, softened},
    rfc9111::age::since,
    status::{CacheStatus, ForwardReason},
    store::{Cover, Peek, StoreError},
    stored::{Kind, KnownVariant, Marker, Stored, StoredHead, StoredResponse, VariantIndex},
};

/// What was found for a request.
pub(super) enum Lookup {
    /// Nothing under its key.
    Nothing,
    /// The store did not say.
    Failed,
    /// A response under its key.
    Response(StoredResponse),
    /// An index under its key, and what is under the key of its variant.
    Variant { index: VariantIndex, key: CacheKey, stored: Option<StoredResponse> },
    /// The key of its variant would be too long.
    Unkeyable,
    /// Another process has found out that there is nothing to wait for.
    Marked,
}

impl Lookup {
    pub(super) fn stored(&self) -> Option<&StoredResponse> {
        match self {
            Self::Response(stored) => Some(stored),
            Self::Variant { stored, .. } => stored.as_ref(),
            Self::Nothing | Self::Failed | Self::Unkeyable | Self::Marked => None,
        }
    }

    /// What the origin can be asked to confirm for this request (RFC 9111 §4.3.1).
    pub(super) fn validatable(&self, ask: &Ask, request: &HeaderMap) -> Option<&StoredResponse> {
        let stored = self.stored().filter(|stored| stored.head.has_validator)?;
        selected(&stored.head, ask.credentials, request).is_ok().then_some(stored)
    }

    /// Whether the variants under its key are made for those that may have them.
    pub(super) fn varies_on_credentials(&self) -> bool {
        let mut names = self.index().into_iter().flat_map(|index| index.names.iter());
        names.any(|name| *name == header::COOKIE || *name == header::AUTHORIZATION)
    }

    /// The key of its variant.
    pub(super) fn variant_key(&self) -> Option<&CacheKey> {
        match self {
            Self::Variant { key, .. } => Some(key),
            Self::Nothing | Self::Failed | Self::Response(_) | Self::Unkeyable | Self::Marked => None,
        }
    }

    /// The other variants under its key.
    pub(super) fn others(&self, now: SystemTime) -> impl Iterator<Item = &KnownVariant> {
        let (index, own) = match self {
            Self::Variant { index, key, .. } => (Some(index), Some(key)),
            Self::Nothing | Self::Failed | Self::Response(_) | Self::Unkeyable | Self::Marked => (None, None),
        };
        index.into_iter().flat_map(move |index| index.alive(now)).filter(move |other| Some(&other.key) != own)
    }

    /// Why there is nothing to reuse (RFC 9211 §2.2).
    pub(super) fn miss(&self) -> ForwardReason {
        match self {
            Self::Nothing | Self::Failed | Self::Response(_) | Self::Marked => ForwardReason::UriMiss,
            Self::Variant { .. } | Self::Unkeyable => ForwardReason::VaryMiss,
        }
    }

    pub(super) fn index(&self) -> Option<&VariantIndex> {
        match self {
            Self::Variant { index, .. } => Some(index),
            Self::Nothing | Self::Failed | Self::Response(_) | Self::Unkeyable | Self::Marked => None,
        }
    }
}

impl Core {
    /// Answers from the store, if that needs neither waiting nor work afterwards.
    pub(super) fn hit<B>(
        &self,
        key: &CacheKey,
        ask: &Ask,
        request: &HeaderMap,
        tally: &Tally,
    ) -> Option<Response<CacheBody<B>>> {
        match self.store.peek(key) {
            Peek::Found(Stored { kind: Kind::Response(stored), .. }) if self.cover(key, &stored.head).is_none() => {
                let hit = self.judge(&stored, ask, request).ok().filter(|hit| !hit.refresh)?;
                hit.count(tally);
                Some(hit.answer(ask))
            }
            found => {
                let lookup = self.follow_index(known(found)?, key, request)?;
                let hit = self.reuse(&lookup, ask, request).ok().filter(|hit| !hit.refresh)?;
                hit.count(tally);
                Some(hit.answer(ask))
            }
        }
    }

    /// Whether what was found may be reused, and what that says.
    pub(super) fn reuse<'a>(
        &self,
        lookup: &'a Lookup,
        ask: &Ask,
        request: &HeaderMap,
    ) -> Result<Hit<'a>, ForwardReason> {
        self.judge(lookup.stored().ok_or_else(|| lookup.miss())?, ask, request)
    }

    #[inline]
    fn judge<'a>(&self, stored: &'a StoredResponse, ask: &Ask, request: &HeaderMap) -> Result<Hit<'a>, ForwardReason> {
        let verdict = reuse(&stored.head, ask.credentials, request, ask.wishes(), self.clock.now());
        match if stored.is_softened { softened(verdict, &stored.head, ask.wishes()) } else { verdict } {
            Reuse::Fresh { age, remaining } => {
                Ok(Hit { stored, status: CacheStatus::hit(remaining), age, is_fresh: true, refresh: false })
            }
            Reuse::Stale { age, stale_for, refresh } => {
                Ok(Hit { stored, status: CacheStatus::stale_hit(stale_for), age, is_fresh: false, refresh })
            }
            Reuse::Unusable(reason) => Err(reason),
        }
    }

    /// Answers with what is stale, where that is allowed because the origin failed or did not answer in time
    /// (RFC 5861 §4).
    pub(super) fn stale<B>(
        &self,
        stored: &StoredResponse,
        asked: &Asked,
        request: &HeaderMap,
        status: CacheStatus,
    ) -> Option<Response<CacheBody<B>>> {
        // It may have been found before it was invalidated.
        if self.is_gone(&asked.key, stored) {
            return None;
        }
        let ask = &asked.ask;
        let now = self.clock.now();
        let stale_for = if_error(&stored.head, ask.credentials, request, ask.wishes(), now)?;
        let status = status.with_stale(stale_for).with_detail("stale-if-error");
        Some(ask.answer(stored, status, stored.head.age(now)))
    }

    /// Whether it was purged or invalidated since it was found, and not softly.
    pub(super) fn is_gone(&self, key: &CacheKey, stored: &StoredResponse) -> bool {
        self.cover(key, &stored.head) == Some(Cover::Hard)
    }

    /// Whether it was purged or invalidated since (RFC 9111 §4.4).
    pub(super) fn cover(&self, key: &CacheKey, head: &StoredHead) -> Option<Cover> {
        Cover::of_confirmed(head.brought, head.began, |began| self.fences.cover(key, &head.tags, began))
    }

    /// Looks without waiting; none if the store has to be waited for.
    pub(super) fn look_now(&self, key: &CacheKey, request: &HeaderMap) -> Option<Lookup> {
        self.follow_index(known(self.store.peek(key))?, key, request)
    }

    fn follow_index(&self, found: Option<Stored>, key: &CacheKey, request: &HeaderMap) -> Option<Lookup> {
        match self.first(found, key, request) {
            First::Done(lookup) => Some(lookup),
            First::Variant(index, variant) => {
                let found = known(self.store.peek(&variant))?;
                Some(self.second(found, key, index, variant))
            }
        }
    }

    /// Looks past what was found without waiting. A broken store costs one forward; it never fails a response. `far`: past
    /// what the store has at hand, since another process may have brought something newer. `is_bounded`: as for
    /// [`find`](Self::find).
    pub(super) async fn look_at(&self, key: &CacheKey, request: &HeaderMap, far: bool, is_bounded: bool) -> Lookup {
        let Ok(found) = self.find(key, far, is_bounded).await else { return Lookup::Failed };
        match self.first(found, key, request) {
            First::Done(lookup) => lookup,
            First::Variant(index, variant) => {
                let found = self.find(&variant, far, is_bounded).await.ok().flatten();
                self.second(found, key, index, variant)
            }
        }
    }

    fn first(&self, found: Option<Stored>, key: &CacheKey, request: &HeaderMap) -> First {
        match self.unfenced(found, key) {
            None => First::Done(Lookup::Nothing),
            Some(Kind::Response(stored)) => First::Done(Lookup::Response(stored)),
            Some(Kind::Marker(marker)) => First::Done(self.marked(marker)),
            Some(Kind::Variants(index)) => match key.variant(&index.names, request) {
                Ok(key) => First::Variant(index, key),
                Err(_) => First::Done(Lookup::Unkeyable),
            },
        }
    }

    fn second(&self, found: Option<Stored>, key: &CacheKey, index: VariantIndex, variant: CacheKey) -> Lookup {
        let stored = match self.unfenced(found, key) {
            Some(Kind::Response(stored)) => Some(stored),
            Some(Kind::Marker(marker)) if matches!(self.marked(marker), Lookup::Marked) => return Lookup::Marked,
            Some(Kind::Marker(_) | Kind::Variants(_)) | None => None,
        };
        Lookup::Variant { index, key: variant, stored }
    }

    /// What was found, unless it was purged or invalidated since; stale, if that was softly.
    fn unfenced(&self, found: Option<Stored>, key: &CacheKey) -> Option<Kind> {
        let found = found?;
        let by = |began| self.fences.cover(key, found.tags(), began);
        match Cover::of_confirmed(found.brought(), found.began(), by) {
            Some(Cover::Hard) => None,
            Some(Cover::Soft) => Some(found.softened().kind),
            None => Some(found.kind),
        }
    }

    pub(super) fn marked(&self, marker: Marker) -> Lookup {
        let holds = since(self.clock.now(), marker.began) < marker.lifetime;
        if holds { Lookup::Marked } else { Lookup::Nothing }
    }

    /// The response of a variant under `key`, if the store knows without waiting.
    pub(super) fn peek_variant(&self, key: &CacheKey, variant: &CacheKey) -> Option<StoredResponse> {
        match self.unfenced(known(self.store.peek(variant)).flatten(), key) {
            Some(Kind::Response(stored)) => Some(stored),
            Some(Kind::Variants(_) | Kind::Marker(_)) | None => None,
        }
    }

    /// What the store has under a key. `is_bounded`: whoever asks waits no longer than the store may take, so that it
    /// needs no deadline of its own.
    pub(super) async fn find(&self, key: &CacheKey, far: bool, is_bounded: bool) -> Result<Option<Stored>, StoreError> {
        if let Some(found) = known(self.store.peek(key)).filter(|_| !far) {
            return Ok(found);
        }
        let found = match is_bounded {
            true => self.store.get(key).await,
            // Apart, so that what most do does not carry it.
            false => Box::pin(within(self.store_deadline, self.store.get(key))).await,
        };
        found.inspect_err(|error| self.counters.store_failed(error))
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
