//! The way of a request, on one page. The only place that knows tower's `Service`.

mod answer;
mod follow;
mod forward;
mod future;
mod held;
mod job;
mod lookup;
mod pump;
mod store;

use std::{
    cell::Cell,
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body::Body;
use tower_service::Service;

pub use self::future::ResponseFuture;
use self::{
    answer::Ask,
    follow::{Followed, Landed},
    forward::Forward,
    lookup::Lookup,
};
use crate::{
    body::CacheBody,
    clock::{Clock, later, monotonic},
    collapse::{Collapser, FinishOnDrop, Leader, Overflow, Role},
    key::{CacheKey, KeyError, RequestHead, Tenancy},
    observe::Counters,
    policy::{Admission, BypassReason, Policy, Routes},
    status::{CacheStatus, ForwardReason},
    store::ErasedStore,
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

/// What a layer was built with, frozen.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) core: Arc<Core>,
    pub(crate) routes: Routes,
}

/// What all services of one cache share.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) store_deadline: Duration,
    pub(crate) collapser: Arc<Collapser<Landed>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenancy: Tenancy,
    pub(crate) paused: AtomicBool,
    pub(crate) counters: Counters,
}

impl Core {
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
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
    ReqBody: Body + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let asked = match self.settings.admit(&request) {
            Ok(asked) => asked,
            Err(reason) => {
                self.settings.core.counters.bypassed();
                return ResponseFuture::bypass(self.inner.clone(), request, reason);
            }
        };
        let (key, policy, ask) = asked;
        // Nothing to wait for: a hit in memory is answered where it stands.
        match self.settings.core.hit(&key, &ask, request.headers()) {
            Some(response) => {
                SCRATCH.set(key.into_buffer());
                ResponseFuture::ready(response)
            }
            None => {
                let asked = Asked { key, policy: Arc::clone(policy), ask };
                ResponseFuture::flow(self.flow(request, asked).respond())
            }
        }
    }
}

impl<S: Clone> Cache<S> {
    fn flow<ReqBody>(&self, request: Request<ReqBody>, asked: Asked) -> Flow<S, ReqBody> {
        Flow { inner: self.inner.clone(), core: Arc::clone(&self.settings.core), request, asked }
    }
}

/// A request that was admitted: under which key and policy, and what it asks.
struct Asked {
    key: CacheKey,
    policy: Arc<Policy>,
    ask: Ask,
}

impl Settings {
    fn admit<B: Body>(&self, request: &Request<B>) -> Result<(CacheKey, &Arc<Policy>, Ask), BypassReason> {
        if self.core.is_paused() {
            return Err(BypassReason::Paused);
        }
        let head = RequestHead::of(request);
        let policy = self.routes.policy(head.uri().path());
        // HTTP/2 needs no field to say that content follows; the body itself knows.
        let carried = match policy.admit(head, !request.body().is_end_stream()) {
            Admission::Lookup(carried) => carried,
            Admission::Bypass(reason) => return Err(reason),
        };
        let key = policy.key.write(&head, carried.overrides, &self.core.tenancy.of(head), SCRATCH.take()).map_err(
            |(error, buffer)| {
                SCRATCH.set(buffer);
                match error {
                    KeyError::TooLong => BypassReason::KeyTooLong,
                    KeyError::AmbiguousAuthority => BypassReason::Authority,
                    KeyError::UnidentifiedTenant => BypassReason::Tenant,
                }
            },
        )?;
        Ok((key, policy, Ask::of(request, carried)))
    }
}

thread_local! {
    /// The buffer that keys are written in; a hit gives it back.
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}

/// A request that was not answered at first sight, and all it takes to answer it.
struct Flow<S, ReqBody> {
    inner: S,
    core: Arc<Core>,
    request: Request<ReqBody>,
    asked: Asked,
}

impl<S, ReqBody, ResBody> Flow<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Look up, reuse, or join: lead, follow, or forward alone.
    async fn respond(self) -> Result<Response<CacheBody<ResBody>>, S::Error> {
        let collapse = self.asked.policy.collapse.clone();
        let deadline = later(monotonic(), collapse.wait_limit);
        let (mut collapsed, mut names) = (None, Vec::new());
        for _ in 0..ROUNDS {
            let lookup = self.core.look(&self.asked.key, self.request.headers()).await;
            let reason = match self.core.reuse(&lookup, &self.asked.ask, self.request.headers()) {
                Ok(response) => return Ok(response),
                Err(reason) => reason,
            };
            let status = CacheStatus::forward(reason).with_collapsed(collapsed);
            let Some(flight) = lookup
                .flight(&self.asked, &names, self.request.headers())
                .filter(|flight| collapse.on && !held::is_held(flight))
            else {
                return self.alone(lookup, status).await;
            };
            let follower = match self.core.collapser.join(&flight, &collapse, monotonic()) {
                Role::Leader(leader) => return self.lead(leader, lookup, flight, status).await,
                Role::Marked => return self.alone(lookup, status).await,
                Role::Full => return self.overflow(lookup, status).await,
                Role::Follower(follower) => follower,
            };
            match self.core.follow(follower, &self.asked, self.request.headers(), status, deadline).await {
                Followed::Answer(response) => return Ok(response),
                Followed::Lead(leader) => return self.lead(leader, lookup, flight, status).await,
                Followed::Alone => return self.alone(lookup, status.with_collapsed(Some(false))).await,
                Followed::TimedOut => return self.overflow(lookup, status.with_collapsed(Some(false))).await,
                // Somebody else's variant: now that `Vary` is known, there is a flight for this one's.
                Followed::Again(told) => {
                    collapsed = Some(false);
                    names.extend(told);
                    names.sort_unstable_by(|one: &HeaderName, other| one.as_str().cmp(other.as_str()));
                    names.dedup();
                }
            }
        }
        let lookup = self.core.look(&self.asked.key, self.request.headers()).await;
        self.alone(lookup, CacheStatus::forward(ForwardReason::VaryMiss).with_collapsed(Some(false))).await
    }

    /// Forwards for all that wait. Another flight may have landed between the look and the join: then
    /// there is nothing to forward.
    async fn lead(
        self,
        leader: Leader<Landed>,
        lookup: Lookup,
        flight: String,
        status: CacheStatus,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error> {
        if let Some(again) = self.core.look_now(&self.asked.key, self.request.headers())
            && let Ok(response) = self.core.reuse(&again, &self.asked.ask, self.request.headers())
        {
            if let Some(stored) = again.stored() {
                leader.announce(Landed::from(stored.clone()), monotonic());
            }
            leader.land();
            return Ok(response);
        }
        let finish_limit = self.asked.policy.collapse.finish_limit;
        let forward = held::hold(flight, Forward::new(self, &lookup, status, Some(leader)).run());
        FinishOnDrop::new(forward, finish_limit).await
    }

    /// Forwards for itself only.
    async fn alone(self, lookup: Lookup, status: CacheStatus) -> Result<Response<CacheBody<ResBody>>, S::Error> {
        Forward::new(self, &lookup, status, None).run().await
    }

    /// It can not wait. The store is asked once more, since a second flight may have landed.
    async fn overflow(self, lookup: Lookup, status: CacheStatus) -> Result<Response<CacheBody<ResBody>>, S::Error> {
        self.core.counters.overflowed();
        if let Some(response) = self.core.hit(&self.asked.key, &self.asked.ask, self.request.headers()) {
            return Ok(response);
        }
        match self.asked.policy.collapse.overflow {
            Overflow::Forward => self.alone(lookup, status).await,
            Overflow::Unavailable => Ok(answer::unavailable(status.with_detail("overflow"))),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Cache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// How often a request looks again because what landed was another variant.
const ROUNDS: usize = 4;
