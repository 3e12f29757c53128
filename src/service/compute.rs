//! Computing without HTTP: the way of a request, to an origin that is one computation.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tower::service_fn;

use super::{Asked, Core, Flow, answer::Ask, settings::without_key};
use crate::{
    body::CacheBody,
    collapse::{Collapse, Overflow},
    key::{CacheKey, Tenant},
    observe::Route,
    policy::{BypassReason, Carried, Freshness, Policy},
};

/// How computations share what they bring.
#[derive(Clone)]
pub(crate) struct Computing {
    policy: Arc<Policy>,
    /// Known when something is computed.
    route: Arc<OnceLock<Arc<Route>>>,
}

impl Computing {
    /// As requests do, but for two things. An error belongs to who computed, so that there is none to share after some
    /// attempts: those that wait try in turn. And the value is here whole, so that only the store bounds its size.
    pub(crate) fn new(collapse: Collapse) -> Self {
        let collapse = collapse.attempts(u32::MAX).overflow(Overflow::Forward);
        Self { policy: Arc::new(Policy::new().collapse(collapse).max_body_bytes(u64::MAX)), route: Arc::default() }
    }

    /// The value of `compute`, or one that was computed under the same key.
    pub(crate) async fn get<F, R, E>(
        &self,
        core: &Arc<Core>,
        tenant: &Tenant,
        key: &[&str],
        freshness: Duration,
        compute: F,
    ) -> Result<Bytes, E>
    where
        F: FnOnce() -> R + Clone + Send + 'static,
        R: Future<Output = Result<Bytes, E>> + Send + 'static,
        E: Send + 'static,
    {
        let route = self.route.get_or_init(|| core.counters.routes.named(COMPUTED));
        let tally = core.counters.tally(route, tenant);
        let key = match CacheKey::of_computation(tenant, key) {
            Ok(key) if !core.is_paused() && !route.is_paused() => key,
            // It has no key, or nobody may be told what came of it.
            outcome => {
                tally.bypassed(outcome.err().map_or(BypassReason::Paused, without_key));
                return compute().await;
            }
        };
        let request = Request::new(Empty::<Bytes>::new());
        let ask = Ask::of(&request, Carried::default());
        let asked = Asked { key, policy: Arc::clone(&self.policy), ask, tally: Arc::clone(tally) };
        let hit = core.hit(&asked.key, &asked.ask, request.headers(), tally);
        if let Some(value) = hit.and_then(|hit| value(&hit)) {
            return Ok(value);
        }
        let again = compute.clone();
        let inner = service_fn(move |_: Request<Empty<Bytes>>| {
            let computed = compute.clone()();
            async move { computed.await.map(|value| response(value, freshness)) }
        });
        let flow = Flow::new(inner, Arc::clone(core), request, asked);
        // As a `dyn Future`: what the way of a request is made of is no concern of the caller's compiler.
        let answer = flow.respond().boxed().await?;
        match value(&answer) {
            Some(value) => Ok(value),
            // The cache has an answer of its own to requests; to this there is none.
            None => again().await,
        }
    }
}

fn response(value: Bytes, freshness: Duration) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(value));
    response.extensions_mut().insert(Freshness::of(freshness));
    response
}

fn value(answer: &Response<CacheBody<Full<Bytes>>>) -> Option<Bytes> {
    answer.body().bytes().filter(|_| answer.status() == StatusCode::OK).cloned()
}

/// The name of the route that computations are counted under.
const COMPUTED: &str = "computed";
