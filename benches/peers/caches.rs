//! The caches, each set up as its own documentation does, and the origin behind them.

use std::{
    convert::Infallible,
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use hitbox::{
    Config,
    concurrency::BroadcastConcurrencyManager,
    policy::{ConcurrencyLimit, PolicyConfig},
};
use hitbox_backend::format::{BincodeFormat, Format, JsonFormat};
use hitbox_http::{
    extractors::{Method, path::PathExtractor, query::QueryExtractor},
    predicates::{NeutralRequestPredicate, NeutralResponsePredicate},
};
use hitbox_moka::MokaBackend;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use http_cache::{MokaCache, MokaManager};
use http_cache_tower_server::{QueryKeyer, ServerCacheLayer};
use microcache::{MemoryStore, Policy};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http_cache::backend::memory::InMemoryBackend;

use crate::common::exchange::{Ask, Reply, varied_reply};

/// A cache in front of the origin, as all of them are.
pub trait Cached<Q>:
    Service<Request<Q>, Response = Response<<Self as Cached<Q>>::Body>, Error: Debug, Future: Send> + Clone + Send + 'static
{
    type Body: Body<Data = Bytes, Error: Debug> + Send + 'static;
}

impl<S, Q, B> Cached<Q> for S
where
    S: Service<Request<Q>, Response = Response<B>, Error: Debug, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Debug> + Send + 'static,
{
    type Body = B;
}

/// Is shown each cache in turn.
pub trait Visit {
    /// `convert` makes the request that this cache takes; that is not part of its work.
    fn cache<Q: Send + 'static>(&mut self, name: &'static str, cache: impl Cached<Q>, convert: fn(Ask) -> Request<Q>);

    /// This cache can not be set up so.
    fn cannot(&mut self, name: &'static str, why: &'static str);
}

/// The whole answer of a cache that may have to wait for it: its length.
pub async fn answer<Q>(cache: &mut impl Cached<Q>, request: Request<Q>) -> usize {
    let response = cache.ready().await.unwrap().call(request).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes().len()
}

/// What a cache is to do.
#[derive(Clone, Copy, PartialEq)]
pub enum Wanted {
    Caching,
    /// Leave all requests alone.
    Bypass,
}

/// Shows `visit` all caches, each in front of `origin`.
pub fn each(origin: &Origin, wanted: Wanted, visit: &mut impl Visit) {
    let policy = Policy::new().bypass_when(move |_| wanted == Wanted::Bypass).max_body_bytes(MAX_BODY_BYTES);
    let ours = microcache::CacheLayer::new(MemoryStore::with_max_bytes(MAX_BYTES)).with_policy(policy);
    visit.cache("microcache", ours.layer(origin.service()), |ask| ask);

    let peer = tower_http_cache::CacheLayer::builder(InMemoryBackend::new(MAX_ENTRIES)).ttl(LONG);
    let peer = match wanted {
        Wanted::Caching => peer.build(),
        Wanted::Bypass => peer.method_predicate(|_| false).build(),
    };
    visit.cache("tower-http-cache 0.6.1", peer.layer(origin.service()), |ask| ask);

    axum_response_cache(origin, wanted, visit);
    http_cache_tower_server(origin, wanted, visit);
    hitbox("hitbox-tower 0.2.0, JSON (default)", JsonFormat, origin, wanted, visit);
    hitbox("hitbox-tower 0.2.0, bincode", BincodeFormat, origin, wanted, visit);
}

/// It takes and gives axum's own bodies. Without a bound, as in its documentation.
fn axum_response_cache(origin: &Origin, wanted: Wanted, visit: &mut impl Visit) {
    let name = "axum-response-cache 0.5.0";
    if wanted == Wanted::Bypass {
        return visit.cannot(name, "no setting");
    }
    let layer = axum_response_cache::CacheLayer::with_lifespan(LONG);
    let origin = origin.service().map_response(|reply: Reply| reply.map(axum::body::Body::new));
    visit.cache(name, layer.layer(origin), |ask| ask.map(axum::body::Body::new));
}

/// Its default key has no query.
fn http_cache_tower_server(origin: &Origin, wanted: Wanted, visit: &mut impl Visit) {
    let name = "http-cache-tower-server 0.2.6";
    if wanted == Wanted::Bypass {
        return visit.cannot(name, "no setting");
    }
    let layer = ServerCacheLayer::with_keyer(MokaManager::new(MokaCache::new(MAX_ENTRIES)), QueryKeyer);
    visit.cache(name, layer.layer(origin.service()), |ask| ask);
}

/// Its key is what it is told to take; collapsing is off unless it is given both a manager and a limit.
fn hitbox(
    name: &'static str,
    format: impl Format + Clone + 'static,
    origin: &Origin,
    wanted: Wanted,
    visit: &mut impl Visit,
) {
    let one = ConcurrencyLimit::new(1).unwrap();
    let policy = match wanted {
        Wanted::Caching => PolicyConfig::builder().ttl(LONG).concurrency(one).build(),
        Wanted::Bypass => PolicyConfig::disabled(),
    };
    let key = Method::new().path("/api/v1/products/{id}");
    let key = key.query("category".into()).query("page".into()).query("per_page".into()).query("sort".into());
    let config = Config::builder()
        .request_predicate(NeutralRequestPredicate::new())
        .response_predicate(NeutralResponsePredicate::new())
        .extractor(key)
        .policy(policy)
        .build();
    let layer = hitbox_tower::Cache::builder()
        .backend(MokaBackend::builder().max_entries(MAX_ENTRIES).value_format(format).build())
        .config(config)
        .concurrency_manager(BroadcastConcurrencyManager::new())
        .build();
    visit.cache(name, layer.layer(origin.service()), |ask| ask);
}

/// Answers with one response, and counts how often it does. Like a handler, it does nothing before it is polled.
#[derive(Clone)]
pub struct Origin {
    reply: Arc<Reply>,
    takes: Duration,
    calls: Arc<AtomicU32>,
}

impl Origin {
    /// Fresh for longer than this runs.
    pub fn new(body_bytes: usize) -> Self {
        let reply = varied_reply(Bytes::from(vec![b'x'; body_bytes]), "public, max-age=3600", "");
        Self { reply: Arc::new(reply), takes: Duration::ZERO, calls: Arc::default() }
    }

    pub fn taking(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    pub fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    pub fn service<Q>(
        &self,
    ) -> impl Service<Request<Q>, Response = Reply, Error = Infallible, Future: Send + 'static> + Clone + Send + 'static
    where
        Q: Send + 'static,
    {
        let origin = self.clone();
        service_fn(move |_: Request<Q>| {
            let origin = origin.clone();
            async move {
                origin.calls.fetch_add(1, Relaxed);
                if !origin.takes.is_zero() {
                    tokio::time::sleep(origin.takes).await;
                }
                Ok((*origin.reply).clone())
            }
        })
    }
}

const LONG: Duration = Duration::from_secs(3_600);
const MAX_ENTRIES: u64 = 10_000;
const MAX_BYTES: u64 = 64 << 20;
const MAX_BODY_BYTES: u64 = 4 << 20;
