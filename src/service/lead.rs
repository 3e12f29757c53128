//! A leader: it forwards for all that wait, unless somebody was faster.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Flow, Forward, Landed, Lookup, held, turn::Turn};
use crate::{
    body::CacheBody,
    clock::monotonic,
    collapse::{FinishOnDrop, Leader},
    status::CacheStatus,
};

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
    /// Forwards for all that wait, also if its own client leaves.
    pub(super) async fn lead(
        self,
        leader: Leader<Landed>,
        lookup: Lookup,
        flight: String,
        status: CacheStatus,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error> {
        let finish_limit = self.asked.policy.collapse.finish_limit;
        // From here on: a client that leaves while it waits for its turn is no failure of the origin.
        let led = held::hold(flight, self.led(leader, lookup, status));
        match FinishOnDrop::new(led, finish_limit).await {
            Led::Answer(answer) => answer,
            Led::Alone(alone) => {
                let (flow, lookup) = *alone;
                flow.alone(lookup, status).await
            }
        }
    }

    /// Another flight may have landed between the look and the join: then there is nothing to forward.
    async fn led(
        self,
        leader: Leader<Landed>,
        lookup: Lookup,
        status: CacheStatus,
    ) -> Led<Self, Result<Response<CacheBody<ResBody>>, S::Error>> {
        let lookup = self.core.look_now(&self.asked.key, self.request.headers()).unwrap_or(lookup);
        if let Ok(hit) = self.core.reuse(&lookup, &self.asked.ask, self.request.headers())
            && hit.is_fresh
        {
            let response = hit.answer(&self.asked.ask);
            return Led::Answer(Ok(self.land(leader, &lookup, response)));
        }
        let (lookup, lease) = match self.core.turn(&self.asked, self.request.headers(), lookup).await {
            Turn::Forward(lookup, lease) => (lookup, lease),
            Turn::Landed(lookup, response) => return Led::Answer(Ok(self.land(leader, &lookup, response))),
            Turn::Marked(lookup) => {
                leader.not_reusable(monotonic());
                return Led::Alone(Box::new((self, lookup)));
            }
        };
        let forward = Forward::new(self, &lookup, status, Some(leader)).with_lease(lease);
        Led::Answer(forward.run().await)
    }

    /// There is nothing to forward any more.
    fn land(
        &self,
        leader: Leader<Landed>,
        lookup: &Lookup,
        response: Response<CacheBody<ResBody>>,
    ) -> Response<CacheBody<ResBody>> {
        if let Some(stored) = lookup.stored() {
            leader.announce(Landed::from(stored.clone()), monotonic());
        }
        leader.land();
        self.core.counters.hit();
        response
    }
}

/// How leading ended.
enum Led<Flow, Answer> {
    Answer(Answer),
    /// There is nothing to lead: it forwards for itself only, if its client is still there.
    Alone(Box<(Flow, Lookup)>),
}
