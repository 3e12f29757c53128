//! What becomes of the response to a forward: judged by its head, stored, shared, passed on.

use std::{error::Error, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, response};
use http_body::{Body, SizeHint};

use super::{
    Asked, Core, Landed, answer,
    pump::{Pump, Use},
    store::Place,
};
use crate::{
    body::{BodyError, CacheBody, Collected, FillReader, Replay, collect_ready, concatenate},
    clock::monotonic,
    collapse::Leader,
    field::{ContentLength, content_length},
    policy::{Plan, SkipReason, Storability},
    rfc9111::{
        age::Exchange,
        stored_fields::stored_fields,
        variants::{Nominated, Vary},
    },
    status::CacheStatus,
    stored::{StoredBody, StoredHead, StoredResponse, VariantIndex, with_places},
};

/// What is done with the response.
pub(super) struct Job {
    pub(super) core: Arc<Core>,
    pub(super) asked: Asked,
    /// The request's fields, as the origin sees them.
    pub(super) fields: HeaderMap,
    pub(super) index: Option<VariantIndex>,
    pub(super) flight: Option<String>,
    pub(super) status: CacheStatus,
    pub(super) leader: Option<Leader<Landed>>,
    /// The request is for the whole response, so that the answer may be stored.
    pub(super) is_whole: bool,
}

impl Job {
    pub(super) async fn digest<B>(
        mut self: Box<Self>,
        head: response::Parts,
        body: B,
        exchange: Exchange,
    ) -> Response<CacheBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.status = self.status.with_status(head.status);
        let (policy, credentials) = (&self.asked.policy, self.asked.ask.credentials);
        let verdict = if self.is_whole {
            policy.storability(credentials, head.status, &head.headers, &exchange)
        } else {
            Storability::Skip(SkipReason::Request)
        };
        let reason = match verdict {
            Storability::Store(plan) => return self.share(head, body, plan, exchange, Use::Store).await,
            Storability::Skip(reason) => reason,
        };
        if !head.status.is_server_error() {
            return self.refuse(head, CacheBody::origin(body), reason);
        }
        // A 5xx is transient: one successor tries again, and the last one is shared.
        if self.leader.as_ref().is_some_and(Leader::is_last_attempt)
            && let Some(plan) = policy.may_share_failure(credentials, &head.headers, &exchange)
        {
            return self.share(head, body, plan, exchange, Use::Share).await;
        }
        self.decline(head, CacheBody::origin(body), reason, Use::Share)
    }

    /// Reads what is there of the body, and stores it or begins a fill.
    async fn share<B>(
        mut self: Box<Self>,
        head: response::Parts,
        body: B,
        plan: Plan,
        exchange: Exchange,
        purpose: Use,
    ) -> Response<CacheBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limit = self.asked.policy.max_body_bytes;
        let declared = match declared_length(&head.headers, &body.size_hint()) {
            Ok(Some(length)) if length > limit => {
                return self.decline(head, CacheBody::origin(body), SkipReason::TooLarge, purpose);
            }
            Ok(declared) => declared,
            Err(reason) => return self.decline(head, CacheBody::origin(body), reason, purpose),
        };
        let Some(place) = self.place(&plan.vary) else {
            return self.decline(head, CacheBody::origin(body), SkipReason::KeyTooLong, purpose);
        };
        let stored_head = Arc::new(self.stored_head(&head, &plan, exchange));
        match collect_ready(body, limit).await {
            Collected::Whole { chunks, trailers } => {
                let read = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                if declared.is_some_and(|declared| declared != read) {
                    // RFC 9111 §3.3: incomplete, and that is not the others' concern. Nor does it end cleanly.
                    self.fail();
                    let error = BodyError::new("the origin sent another length than it declared");
                    let body = CacheBody::replay(Replay::failed(chunks, error));
                    return self.pass(head, body, self.status.with_detail(SkipReason::Length.detail()));
                }
                let body = StoredBody { bytes: concatenate(&chunks), trailers: trailers.map(Arc::new) };
                self.whole(head, StoredResponse::new(stored_head, body), &place, purpose).await
            }
            Collected::Begun { chunks, rest } => {
                let mut reader = self.fill(chunks, rest, &stored_head, place, declared, purpose);
                if self.asked.ask.needs_length() && declared.is_none() {
                    // Past the limit it gets the whole, as it comes.
                    let _ = tokio::time::timeout(self.asked.policy.collapse.wait_limit, reader.ended()).await;
                }
                self.pass(head, CacheBody::fill(reader), self.status)
            }
            Collected::Spoilt { replay, is_failed: true } => {
                self.fail();
                self.pass(head, CacheBody::replay(replay), self.status)
            }
            Collected::Spoilt { replay, is_failed: false } => {
                self.decline(head, CacheBody::replay(replay), SkipReason::TooLarge, purpose)
            }
        }
    }

    /// The body is here: store, publish, answer.
    async fn whole<B>(
        mut self: Box<Self>,
        head: response::Parts,
        stored: StoredResponse,
        place: &Place,
        purpose: Use,
    ) -> Response<CacheBody<B>>
    where
        CacheBody<B>: Body,
    {
        let remaining = stored.head.initially_remaining();
        if purpose == Use::Share || remaining.is_zero() {
            self.core.counters.not_stored();
        } else if self.core.keep(place, stored.clone()).await {
            self.status = self.status.with_stored(remaining);
        }
        if let Some(leader) = self.leader.take() {
            let landed = Landed::from(stored.clone());
            match purpose {
                // Stored first: who comes after the landing finds it there.
                Use::Store => {
                    leader.announce(landed, monotonic());
                    leader.land();
                }
                Use::Share => leader.spend(Some(landed)),
            }
        }
        self.pass(head, CacheBody::stored(stored.body), self.status)
    }

    /// The body is still coming: from here on whoever reads it moves it on.
    fn fill<B>(
        &mut self,
        chunks: Vec<Bytes>,
        rest: Pin<Box<B>>,
        head: &Arc<StoredHead>,
        place: Place,
        declared: Option<u64>,
        purpose: Use,
    ) -> FillReader
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let will_be_stored = purpose == Use::Store && !head.initially_remaining().is_zero();
        if will_be_stored {
            self.status = self.status.with_stored(head.initially_remaining());
        }
        let pump = Pump {
            core: Arc::clone(&self.core),
            head: Arc::clone(head),
            place: will_be_stored.then_some(place),
            limit: self.asked.policy.max_body_bytes,
            declared,
            leader: self.leader.take(),
            spent: None,
        };
        pump.begin(chunks, rest, purpose, self.asked.policy.collapse.finish_limit)
    }

    /// It is for this request alone: everybody else is told before it goes out.
    fn refuse<B>(
        mut self: Box<Self>,
        head: response::Parts,
        body: CacheBody<B>,
        reason: SkipReason,
    ) -> Response<CacheBody<B>>
    where
        CacheBody<B>: Body,
    {
        self.core.counters.not_stored();
        match (self.leader.take(), &self.flight) {
            (Some(leader), _) => leader.not_reusable(monotonic()),
            (None, Some(flight)) if reason != SkipReason::Request => {
                self.core.collapser.mark(flight, &self.asked.policy.collapse, monotonic());
            }
            _ => {}
        }
        self.pass(head, body, self.status.with_detail(reason.detail()))
    }

    /// It can not be shared. A response is then for one alone; a failure stays a failure, and nobody is released
    /// onto the origin by it.
    fn decline<B>(
        mut self: Box<Self>,
        head: response::Parts,
        body: CacheBody<B>,
        reason: SkipReason,
        purpose: Use,
    ) -> Response<CacheBody<B>>
    where
        CacheBody<B>: Body,
    {
        match purpose {
            Use::Store => self.refuse(head, body, reason),
            Use::Share => {
                self.fail();
                self.pass(head, body, self.status.with_detail(reason.detail()))
            }
        }
    }

    /// The attempt has failed.
    fn fail(&mut self) {
        self.core.counters.not_stored();
        if let Some(leader) = self.leader.take() {
            leader.fail();
        }
    }

    /// The origin's own response.
    fn pass<B>(&self, head: response::Parts, body: CacheBody<B>, status: CacheStatus) -> Response<CacheBody<B>>
    where
        CacheBody<B>: Body,
    {
        let mut response = if self.is_whole && !self.asked.ask.is_plain() {
            self.asked.ask.fit(head, body)
        } else {
            Response::from_parts(head, body)
        };
        answer::stamp(&mut response, status);
        response
    }

    fn place(&self, vary: &Vary) -> Option<Place> {
        let flight = self.flight.clone()?;
        Place::of(self.asked.key.clone(), flight, vary, self.index.as_ref(), &self.fields)
    }

    fn stored_head(&self, head: &response::Parts, plan: &Plan, exchange: Exchange) -> StoredHead {
        let nominated = match &plan.vary {
            Vary::Names(names) => Nominated::new(names, &self.fields),
            Vary::None | Vary::Any => Nominated::default(),
        };
        let (headers, has_status_place) = with_places(stored_fields(&head.headers, exchange.response_time, 0));
        StoredHead {
            status: head.status,
            headers,
            has_status_place,
            nominated,
            began: exchange.request_time,
            response_time: exchange.response_time,
            initial_age: plan.initial_age,
            freshness_lifetime: plan.freshness_lifetime,
            implied: plan.implied,
        }
    }
}

/// The length that the origin promises: by field, or by what its body knows of itself. Two that differ, or
/// one that is no number, are a message that nobody should keep (RFC 9110 §8.6).
fn declared_length(headers: &HeaderMap, hint: &SizeHint) -> Result<Option<u64>, SkipReason> {
    match (content_length(headers), hint.exact()) {
        (ContentLength::Absent, exact) => Ok(exact),
        (ContentLength::Malformed, _) => Err(SkipReason::Length),
        (ContentLength::Bytes(length), Some(exact)) if length != exact => Err(SkipReason::Length),
        (ContentLength::Bytes(length), _) => Ok(Some(length)),
    }
}
