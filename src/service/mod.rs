//! The way of a request, on one page. The only place that knows tower's `Service`.

mod answer;
mod compute;
mod content;
mod fields;
mod flight;
mod follow;
mod forward;
mod future;
mod held;
mod hit;
mod invalidate;
mod job;
mod keep;
mod lead;
mod lookup;
mod origin;
mod overflow;
mod parts;
mod patience;
mod pump;
mod refresh;
mod settings;
mod shown;
mod stats;
mod store;
mod turn;
mod validate;

use std::{
    error::Error,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

pub(crate) use self::compute::Computing;
pub use self::future::ResponseFuture;
pub(crate) use self::settings::{Core, Settings};
use self::{
    content::by_content,
    follow::{Followed, Landed, Waiting, spent},
    forward::Forward,
    invalidate::Invalidation,
    lookup::Lookup,
    origin::{Answer, Carries, Origin},
    patience::Patience,
    settings::{Admitted, Asked, Refused, Seen},
    shown::Shown,
};
use crate::{
    body::CacheBody,
    clock::{later, monotonic},
    collapse::{Overflow, Role},
    observe::picked,
    policy::BypassReason,
    rfc9111::invalidation::is_safe,
    status::{CacheStatus, ForwardReason},
};

/// What [`CacheLayer`](crate::CacheLayer) and [`CollapseLayer`](crate::CollapseLayer) make of an origin.
///
/// It is always ready: a hit neither waits for the origin nor holds one of its permits. The origin's readiness
/// is awaited inside a forward, so limits and load shedding belong *inside* the cache. Its errors are the
/// origin's own.
///
/// # Panics
///
/// Requests that have to wait (for each other, or for a store that is not in memory) need a tokio runtime with
/// its timer enabled, as `#[tokio::main]` makes it; without one they panic, as tokio's timers do.
#[derive(Clone)]
pub struct Cache<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Cache<S> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }

    /// The origin.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The origin.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The origin.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Cache<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<Box<dyn Error + Send + Sync>>,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let (core, began) = (&self.settings.core, picked());
        let Seen { key, policy, ask, tally } = match self.settings.admit(&mut request) {
            Ok(Admitted::Lookup(seen)) => seen,
            Ok(Admitted::ByContent(tenant, policy, tally, carried)) => {
                let (policy, tally) = (policy.into_shared(), Arc::clone(tally));
                return ResponseFuture::flow(by_content(self.clone(), tenant, policy, tally, carried, request));
            }
            Err(refused) => return self.bypass(request, &refused),
        };
        // Nothing to wait for: a hit in memory is answered where it stands.
        match core.hit(&key, &ask, request.headers(), tally) {
            Some(mut response) => {
                if let Some(began) = began {
                    core.counters.look_at(&key, tally, began, core.clock.now());
                }
                if !policy.shows.is_plain() {
                    Shown::of(&policy, &key).apply(&mut response);
                }
                settings::give_back(key);
                ResponseFuture::ready(response)
            }
            None => {
                let shown = (!policy.shows.is_plain()).then(|| Box::new(Shown::of(&policy, &key)));
                let asked = Seen { key, policy, ask, tally }.into_asked();
                ResponseFuture::flow(self.flow(request, asked).respond()).shown(shown)
            }
        }
    }
}

impl<S: Clone> Cache<S> {
    fn flow<ReqBody>(&self, request: Request<ReqBody>, asked: Asked) -> Box<Flow<S, ReqBody>> {
        Flow::new(self.inner.clone(), Arc::clone(&self.settings.core), request, asked)
    }

    /// The origin's own response, whatever it is.
    fn bypass<ReqBody, ResBody>(
        &self,
        request: Request<ReqBody>,
        refused: &Refused<'_>,
    ) -> ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    {
        let reason = refused.reason;
        refused.tally.bypassed(reason);
        // A field may ask the origin to take it for an unsafe method.
        let is_unsafe = !is_safe(request.method()) || reason == BypassReason::MethodOverride;
        let invalidation = if is_unsafe { Invalidation::of(&self.settings, &request) } else { None };
        ResponseFuture::bypass(self.inner.clone(), request, refused, invalidation)
    }
}

/// A request that was not answered at first sight, and all it takes to answer it.
struct Flow<S, ReqBody> {
    inner: S,
    core: Arc<Core>,
    request: Request<ReqBody>,
    asked: Asked,
    /// What the response makes invalid unless it is stored itself.
    invalidation: Option<Box<Invalidation>>,
    patience: Patience,
}

impl<S, ReqBody> Flow<S, ReqBody> {
    /// Boxed, since it is handed on and on.
    fn new(inner: S, core: Arc<Core>, request: Request<ReqBody>, asked: Asked) -> Box<Self> {
        let patience = Patience::new(core.store_deadline);
        Box::new(Self { inner, core, request, asked, invalidation: None, patience })
    }
}

impl<S, ReqBody> Flow<S, ReqBody>
where
    S: Origin<ReqBody>,
    ReqBody: Carries,
{
    /// Look up, reuse, or join: lead, follow, or forward alone.
    async fn respond(mut self: Box<Self>) -> Answer<S, ReqBody> {
        let deadline = later(monotonic(), self.asked.policy.collapse.wait_limit);
        let (mut collapsed, mut names, mut tags, mut purged) = (None, Vec::new(), Vec::new(), None);
        self.core.sight(&self.asked);
        for _ in 0..ROUNDS {
            let (lookup, is_near) = self.core.look(&self.asked.key, self.request.headers(), &mut self.patience).await;
            let hit = self.core.reuse(&lookup, &self.asked.ask, self.request.headers());
            let reason = match hit {
                Ok(hit) => {
                    hit.count(&self.asked.tally);
                    let (response, refresh) = (hit.answer(&self.asked.ask), hit.refresh);
                    return Ok(self.serve(response, refresh, lookup, is_near));
                }
                Err(reason) => reason,
            };
            let status = CacheStatus::forward(reason).with_collapsed(collapsed);
            // RFC 9111 §5.2.1.7.
            if self.asked.ask.wishes().only_if_cached {
                self.asked.tally.refused();
                return Ok(answer::fault(StatusCode::GATEWAY_TIMEOUT, status));
            }
            if matches!(lookup, Lookup::Marked) {
                return self.alone(&lookup, status).await;
            }
            let follower = match self.join(&lookup, &names, &tags, purged) {
                None | Some(Role::Marked) => return self.alone(&lookup, status).await,
                Some(Role::Leader(leader)) => return self.lead(leader, lookup, is_near, status, deadline).await,
                Some(Role::Full { .. }) => {
                    let takes_stale = self.asked.policy.collapse.overflow != Overflow::Forward;
                    return Box::pin(self.overflow(lookup, status, takes_stale)).await;
                }
                Some(Role::Follower(follower)) => follower,
            };
            let (asked, fields) = (&self.asked, self.request.headers());
            let waiting = Waiting { follower, asked, fields, tags: &tags, status, deadline };
            let followed = self.core.wait(&waiting).await;
            let status = waiting.status;
            drop(waiting);
            match followed {
                Followed::Answer(response) => return Ok(response),
                Followed::Spent => return Ok(spent(status)),
                // By now another process may have brought something.
                Followed::Lead(leader) => return self.lead(leader, lookup, true, status, deadline).await,
                Followed::Alone => return self.alone(&lookup, status.with_collapsed(Some(false))).await,
                Followed::TimedOut => {
                    return Box::pin(self.overflow(lookup, status.with_collapsed(Some(false)), true)).await;
                }
                // It was purged by one of these tags: now that they are known, there is a flight that began later.
                Followed::Purged(told) => tags.extend(told.iter().cloned()),
                Followed::Fenced(began) => purged = purged.max(Some(began)),
                // Somebody else's variant: now that `Vary` is known, there is a flight for this one's.
                Followed::Again(told) => {
                    collapsed = Some(false);
                    names.extend(told);
                    names.sort_unstable_by(|one: &HeaderName, other| one.as_str().cmp(other.as_str()));
                    names.dedup();
                }
            }
        }
        let (lookup, _) = self.core.look(&self.asked.key, self.request.headers(), &mut self.patience).await;
        self.alone(&lookup, CacheStatus::forward(ForwardReason::VaryMiss).with_collapsed(Some(false))).await
    }

    /// A hit; if it is stale, a refresh begins.
    fn serve<B>(self: Box<Self>, response: Response<B>, refresh: bool, lookup: Lookup, is_near: bool) -> Response<B> {
        // RFC 9111 §5.2.1.5: nothing is stored on behalf of a client that does not want it.
        if refresh && !self.asked.ask.wishes().no_store {
            self.refresh(lookup, is_near);
        }
        response
    }

    /// Forwards for itself only.
    fn alone(self, lookup: &Lookup, status: CacheStatus) -> BoxFuture<'static, Answer<S, ReqBody>> {
        Forward::new(self, lookup, status, None).run()
    }
}

impl<S: fmt::Debug> fmt::Debug for Cache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// How often a request looks again because what landed was another variant.
const ROUNDS: usize = 4;
