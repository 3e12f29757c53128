//! One forward: the request on its way to the origin.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::util::ServiceExt;
use tower_service::Service;

use super::{Flow, Landed, Lookup, answer::Ask, job::Job};
use crate::{body::CacheBody, collapse::Leader, rfc9111::age::Exchange, status::CacheStatus};

/// A request on its way to the origin.
pub(super) struct Forward<S, ReqBody> {
    inner: S,
    request: Request<ReqBody>,
    job: Box<Job>,
}

impl<S, ReqBody> Forward<S, ReqBody> {
    /// With a leader, the request is made one for the whole response.
    pub(super) fn new(
        flow: Flow<S, ReqBody>,
        lookup: &Lookup,
        status: CacheStatus,
        leader: Option<Leader<Landed>>,
    ) -> Self {
        let Flow { inner, core, mut request, asked } = flow;
        if leader.is_some() {
            Ask::make_whole(&mut request);
        }
        let job = Box::new(Job {
            is_whole: leader.is_some() || asked.ask.is_plain(),
            fields: request.headers().clone(),
            index: lookup.index().cloned(),
            flight: lookup.flight(&asked, &[], request.headers()),
            core,
            asked,
            status,
            leader,
        });
        Self { inner, request, job }
    }

    pub(super) async fn run<ResBody>(self) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body<Data = Bytes> + Send + 'static,
        ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { inner, request, job } = self;
        let request_time = job.core.clock.now();
        job.core.counters.forwarded();
        // An error drops the job, and with it the leader: the attempt has failed.
        let (head, body) = inner.oneshot(request).await?.into_parts();
        let exchange = Exchange { request_time, response_time: job.core.clock.now() };
        Ok(job.digest(head, body, exchange).await)
    }
}
