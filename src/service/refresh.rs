//! A refresh in the background, while what is stale is served (RFC 5861 §3). No freshness arithmetic.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Core, Flow, Lookup, forward::Forward, held};
use crate::{
    clock::monotonic,
    collapse::in_background,
    status::{CacheStatus, ForwardReason},
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
    /// Forwards in the background, unless somebody does so already. Nobody waits for it; who can not be served stale
    /// joins it.
    pub(super) fn refresh(self, lookup: &Lookup) {
        let Some(flight) = lookup.flight(&self.asked, &[], self.request.headers()) else { return };
        // No key ends so, and no flight.
        let mark = format!("{flight}|~");
        let core = Arc::clone(&self.core);
        if held::is_held(&flight) || core.collapser.is_marked(&mark, monotonic()) {
            return;
        }
        let collapse = &self.asked.policy.collapse;
        let Some(leader) = core.collapser.lead(&flight, collapse, monotonic()) else { return };
        let limit = collapse.finish_limit;
        let status = CacheStatus::forward(ForwardReason::Stale);
        let forward = held::hold(flight, Forward::new(self, lookup, status, Some(leader)).run());
        let pause = Pause { core, mark: Some(mark) };
        in_background(
            async move {
                // Whatever came of it is in the store, or nowhere. A body that is still coming is read to its end by
                // its fill.
                let response = forward.await;
                let said = response.ok().and_then(|response| response.extensions().get::<CacheStatus>().copied());
                if said.is_some_and(|said| said.is_stored()) {
                    pause.end();
                }
            },
            limit,
        );
    }
}

/// Unless it is ended, the next refresh has to wait: the origin has failed, or keeps its response to itself.
struct Pause {
    core: Arc<Core>,
    mark: Option<String>,
}

impl Pause {
    fn end(mut self) {
        self.mark = None;
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(mark) = &self.mark {
            self.core.collapser.mark(mark, PAUSE, monotonic());
        }
    }
}

/// How long after a refresh that failed.
const PAUSE: Duration = Duration::from_secs(1);
