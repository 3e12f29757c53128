//! What becomes of the response to a forward: judged by its head, stored, shared, passed on.

use std::{sync::Arc, task::Context, time::SystemTime};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Response, StatusCode, response};

use super::{
    Asked, Core, Invalidation, Landed, answer,
    fields::Fields,
    origin::Carries,
    patience::Patience,
    pump::{Use, declared_length},
    store::Place,
    turn::TurnLease,
    validate::Validation,
};
use crate::{
    body::{BodyError, CacheBody, Collected, Replay, collect_ready, concatenate},
    collapse::Leader,
    key::CacheKey,
    policy::{Candidate, Plan, Said, SkipReason, Storability},
    rfc9111::age::Exchange,
    status::CacheStatus,
    stored::{StoredBody, StoredResponse, VariantIndex},
};

/// What is done with the response.
pub(super) struct Job {
    pub(super) core: Arc<Core>,
    pub(super) asked: Asked,
    /// The request's fields, as the origin sees them.
    pub(super) fields: Fields,
    pub(super) index: Option<VariantIndex>,
    /// What was found for the request, and where, if not under its own key.
    pub(super) stored: Option<StoredResponse>,
    pub(super) variant_key: Option<CacheKey>,
    /// What the origin was asked to confirm.
    pub(super) validation: Option<Validation>,
    /// What the response makes invalid unless it is stored itself.
    pub(super) invalidation: Option<Box<Invalidation>>,
    pub(super) flight: Option<Arc<str>>,
    /// When it was sent.
    pub(super) began: SystemTime,
    pub(super) status: CacheStatus,
    pub(super) leader: Option<Leader<Landed>>,
    /// Other processes wait for what comes.
    pub(super) lease: Option<TurnLease>,
    pub(super) patience: Patience,
    /// The request is for the whole response, so that the answer may be stored.
    pub(super) is_whole: bool,
}

/// What became of the response.
pub(super) enum Digested<B> {
    Answer(Response<CacheBody<B>>),
    /// It has to wait. Apart, so that what need not wait does not carry it.
    Later(BoxFuture<'static, Response<CacheBody<B>>>),
}

impl<B> Digested<B> {
    pub(super) async fn answer(self) -> Response<CacheBody<B>> {
        match self {
            Self::Answer(response) => response,
            Self::Later(response) => response.await,
        }
    }
}

impl Job {
    /// `cx`: who is woken when there is more of the body.
    pub(super) fn digest<B>(
        mut self: Box<Self>,
        response: Response<B>,
        exchange: Exchange,
        cx: &mut Context<'_>,
    ) -> Digested<B>
    where
        B: Carries,
    {
        let (head, body) = response.into_parts();
        self.status = self.status.with_status(head.status);
        if head.status == StatusCode::NOT_MODIFIED
            && let Some(validation) = self.validation.take()
        {
            return Digested::Later(self.validated(validation, head, exchange).boxed());
        }
        if let Some(invalidation) = &self.invalidation {
            invalidation.end_groups(&head.headers);
        }
        // RFC 5861 §4.
        if matches!(head.status.as_u16(), 500 | 502..=504)
            && let Some(response) = self.stale_if_error()
        {
            return Digested::Answer(response);
        }
        let is_kept = !self.asked.ask.wishes().no_store;
        if self.asked.ask.is_head() && !self.is_whole && head.status == StatusCode::OK && is_kept {
            let answer = async move {
                self.updated_by_head(&head, exchange).await;
                self.refuse(head, CacheBody::origin(body), SkipReason::Request)
            };
            return Digested::Later(answer.boxed());
        }
        let verdict = if self.is_whole {
            self.asked.policy.storability(&self.candidate(&head, &exchange))
        } else {
            Storability::Skip(SkipReason::Request)
        };
        let reason = match verdict {
            Storability::Store(plan) => {
                let purpose = self.purpose();
                return self.share((head, body), &plan, exchange, purpose, cx);
            }
            Storability::Skip(reason) => reason,
        };
        if !head.status.is_server_error() {
            return Digested::Answer(self.refuse(head, CacheBody::origin(body), reason));
        }
        // A 5xx is transient: one successor tries again, and the last one is shared.
        if self.leader.as_ref().is_some_and(Leader::is_last_attempt)
            && let Some(plan) = self.asked.policy.may_share_failure(&self.candidate(&head, &exchange))
        {
            return self.share((head, body), &plan, exchange, Use::Share, cx);
        }
        Digested::Answer(self.decline(head, CacheBody::origin(body), reason, Use::Share))
    }

    pub(super) fn candidate<'a>(&'a self, head: &'a response::Parts, exchange: &'a Exchange) -> Candidate<'a> {
        Candidate {
            status: head.status,
            headers: &head.headers,
            said: Said::of(&head.extensions),
            key: &self.asked.key,
            exchange,
            credentials: self.asked.ask.credentials,
            by_content: self.asked.ask.by_content,
        }
    }

    /// What is there is replaced whatever else was asked for.
    fn purpose(&mut self) -> Use {
        let admit_after = self.asked.policy.admit_after;
        if self.stored.is_some() || admit_after <= 1 || self.core.sightings.of(&self.asked.key) >= admit_after {
            return Use::Store;
        }
        self.status = self.status.with_detail(SkipReason::OneOff.detail());
        Use::Pass
    }

    /// Reads what is there of the body, and stores it or begins a fill.
    fn share<B>(
        mut self: Box<Self>,
        (head, body): (response::Parts, B),
        plan: &Plan,
        exchange: Exchange,
        purpose: Use,
        cx: &mut Context<'_>,
    ) -> Digested<B>
    where
        B: Carries,
    {
        let (place, declared) = match self.may_share(&head, &body, plan, exchange.response_time) {
            Ok(may) => may,
            Err(reason) => return Digested::Answer(self.decline(head, CacheBody::origin(body), reason, purpose)),
        };
        self.release_unless_shareable(plan);
        let stored_head = Arc::new(self.stored_head(&head, plan, exchange, self.tags(&head)));
        Digested::Answer(match collect_ready(body, self.asked.policy.max_body_bytes, cx) {
            Collected::Whole { chunks, trailers } => {
                let read = chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
                if declared.is_none_or(|declared| declared == read) {
                    let body = StoredBody { bytes: concatenate(&chunks), trailers: trailers.map(Arc::new) };
                    return self.whole(head, StoredResponse::new(stored_head, body), place, purpose);
                }
                // RFC 9111 §3.3: incomplete, and that is not the others' concern. Nor does it end cleanly.
                self.invalidate(&head);
                self.fail();
                let error = BodyError::new("the origin sent another length than it declared");
                let body = CacheBody::replay(Replay::failed(chunks, error));
                self.pass(head, body, self.status.with_detail(SkipReason::Length.detail()))
            }
            Collected::Begun { chunks, rest } => {
                let mut reader = self.fill(chunks, rest, &stored_head, place, declared, purpose);
                if self.asked.ask.needs_length() && declared.is_none() {
                    let answer = async move {
                        // Past the limit it gets the whole, as it comes.
                        let _ = tokio::time::timeout(self.asked.policy.collapse.wait_limit, reader.ended()).await;
                        self.pass(head, CacheBody::fill(reader), self.status)
                    };
                    return Digested::Later(answer.boxed());
                }
                self.pass(head, CacheBody::fill(reader), self.status)
            }
            Collected::Spoilt { replay, is_failed: true } => {
                self.invalidate(&head);
                self.fail();
                self.pass(head, CacheBody::replay(replay), self.status)
            }
            Collected::Spoilt { replay, is_failed: false } => {
                self.decline(head, CacheBody::replay(replay), SkipReason::TooLarge, purpose)
            }
        })
    }

    /// Where it is stored, and the length it declares.
    fn may_share<B>(
        &self,
        head: &response::Parts,
        body: &B,
        plan: &Plan,
        now: SystemTime,
    ) -> Result<(Place, Option<u64>), SkipReason>
    where
        B: Carries,
    {
        let declared = declared_length(&head.headers, &body.size_hint())?;
        if declared.is_some_and(|length| length > self.asked.policy.max_body_bytes) {
            return Err(SkipReason::TooLarge);
        }
        Ok((self.place(plan, now)?, declared))
    }

    /// It is for this request alone: everybody else is told before it goes out.
    pub(super) fn refuse<B>(
        mut self: Box<Self>,
        head: response::Parts,
        body: CacheBody<B>,
        reason: SkipReason,
    ) -> Response<CacheBody<B>>
    where
        B: Carries,
    {
        self.asked.tally.not_stored(reason.detail());
        self.invalidate(&head);
        self.release_others();
        if self.leader.is_some() || reason != SkipReason::Request {
            self.release();
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
        B: Carries,
    {
        match purpose {
            Use::Store | Use::Pass => self.refuse(head, body, reason),
            Use::Share => {
                self.fail();
                self.pass(head, body, self.status.with_detail(reason.detail()))
            }
        }
    }

    /// The attempt has failed.
    pub(super) fn fail(&mut self) {
        self.asked.tally.not_stored("origin-failed");
        if let Some(leader) = self.leader.take() {
            leader.fail();
        }
    }

    /// The origin's own response.
    pub(super) fn pass<B>(
        &self,
        mut head: response::Parts,
        body: CacheBody<B>,
        status: CacheStatus,
    ) -> Response<CacheBody<B>>
    where
        B: Carries,
    {
        self.asked.policy.hide_tags(&mut head.headers);
        let mut response = if self.is_whole && !self.asked.ask.is_plain() {
            self.asked.ask.fit(head, body)
        } else {
            Response::from_parts(head, body)
        };
        answer::stamp(&mut response, status);
        response
    }
}
