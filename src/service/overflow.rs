//! A request that can not wait for others.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Flow, Lookup, answer};
use crate::{body::CacheBody, collapse::Overflow, status::CacheStatus};

impl<S, ReqBody, ResBody> Flow<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<Box<dyn Error + Send + Sync>>,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// It can not wait. The store is asked once more, since a second flight may have landed. `takes_stale`: to forward
    /// it would be no help, or no choice.
    pub(super) async fn overflow(
        self: Box<Self>,
        lookup: Lookup,
        status: CacheStatus,
        takes_stale: bool,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error> {
        let tally = &self.asked.tally;
        self.core.counters.overflowed(tally);
        if let Some(response) = self.core.hit(&self.asked.key, &self.asked.ask, self.request.headers(), tally) {
            return Ok(response);
        }
        if let Some(stored) = lookup.stored().filter(|_| takes_stale)
            && let Some(response) = self.core.stale(stored, &self.asked, self.request.headers(), status)
        {
            tally.hit(false);
            return Ok(response);
        }
        match self.asked.policy.collapse.overflow {
            Overflow::Forward => self.alone(lookup, status).await,
            Overflow::Unavailable => {
                tally.refused();
                Ok(answer::unavailable(status.with_detail("overflow")))
            }
        }
    }
}
