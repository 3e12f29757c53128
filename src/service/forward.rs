//! One forward: the request on its way to the origin.

use std::{future::poll_fn, task::Poll, time::SystemTime};

use futures_util::{FutureExt, future::BoxFuture};
use http::Request;
use tower::util::ServiceExt;

use super::{
    Flow, Landed, Lookup,
    answer::Ask,
    fields::Fields,
    job::Job,
    origin::{Answer, Carries, Origin},
    turn::TurnLease,
    validate::Validation,
};
use crate::{clock::monotonic, collapse::Leader, observe::trace, rfc9111::age::Exchange, status::CacheStatus};

/// A request on its way to the origin.
pub(super) struct Forward<S, ReqBody> {
    inner: S,
    request: Request<ReqBody>,
    job: Box<Job>,
    is_refresh: bool,
}

impl<S, ReqBody> Forward<S, ReqBody> {
    /// With a leader, or with something that the origin can confirm, the request is made one for the whole response.
    /// So is a HEAD where the key alone decides what the origin is asked.
    pub(super) fn new(
        flow: Flow<S, ReqBody>,
        lookup: &Lookup,
        status: CacheStatus,
        leader: Option<Leader<Landed>>,
    ) -> Self {
        let Flow { inner, core, mut request, asked, invalidation, patience } = flow;
        // Before what was found is taken over: whoever purges it from now on purges what comes of it, too.
        let began = core.stamp();
        // RFC 9111 §5.2.1.5: nothing of this exchange is kept.
        let is_kept = !asked.ask.wishes().no_store;
        let validation = Validation::of(&core, lookup, &asked, request.headers()).filter(|_| is_kept);
        let is_keyed_head = asked.policy.only_keyed_input && asked.ask.is_head();
        let is_made_whole = leader.is_some() || validation.is_some() || (is_kept && is_keyed_head);
        if is_made_whole {
            Ask::make_whole(&mut request);
        }
        let job = Box::new(Job {
            is_whole: is_kept && (is_made_whole || asked.ask.is_plain()),
            fields: Fields::of(request.headers()),
            index: lookup.index().cloned(),
            stored: lookup.stored().filter(|stored| !core.is_gone(&asked.key, stored)).cloned(),
            variant_key: lookup.variant_key().cloned(),
            flight: lookup.flight_as(leader.as_ref().map(Leader::key), &asked, request.headers()),
            core,
            asked,
            began,
            status,
            leader,
            lease: None,
            validation,
            invalidation,
            patience,
        });
        if let Some(validation) = &job.validation {
            validation.ask(request.headers_mut());
        }
        Self { inner, request, job, is_refresh: false }
    }

    /// What it brings is waited for by other processes, too.
    pub(super) fn with_lease(mut self, lease: Option<TurnLease>) -> Self {
        self.job.lease = lease;
        self
    }

    /// No request waits for it.
    pub(super) fn refreshing(mut self) -> Self {
        self.is_refresh = true;
        self
    }

    /// Boxed, so that who waits for others does not carry it.
    pub(super) fn run(self) -> BoxFuture<'static, Answer<S, ReqBody>>
    where
        S: Origin<ReqBody>,
        ReqBody: Carries,
    {
        let span = trace::forward(&self.job.asked.tally, &self.job.status, self.is_refresh);
        trace::within(span, self.sent()).boxed()
    }

    async fn sent(self) -> Answer<S, ReqBody>
    where
        S: Origin<ReqBody>,
    {
        let Self { inner, request, mut job, is_refresh } = self;
        let (request_time, sent) = (job.core.clock.now(), monotonic());
        job.count(is_refresh, request_time);
        let answer = inner.oneshot(request).await;
        job.asked.tally.forward_took(sent.elapsed());
        let response = match answer {
            Ok(response) => response,
            // Without something stale to serve the error drops the job, and with it the leader: the attempt has
            // failed.
            Err(error) => return job.stale_if_error().ok_or(error),
        };
        let exchange = Exchange { request_time, response_time: job.core.clock.now() };
        let mut given = Some((job, response));
        let digested = poll_fn(|cx| match given.take() {
            Some((job, response)) => Poll::Ready(job.digest(response, exchange, cx)),
            None => Poll::Pending,
        });
        let response = digested.await.answer().await;
        trace::said(response.extensions().get());
        Ok(response)
    }
}

impl Job {
    fn count(&self, is_refresh: bool, now: SystemTime) {
        let tally = &self.asked.tally;
        match self.status.forward_reason() {
            Some(reason) if !is_refresh => tally.forwarded(reason),
            _ => tally.refreshed(),
        }
        self.core.counters.forwarded(&self.asked.key, now);
    }
}
