//! One node: a cache, the origin behind it, and the clients before it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use microcache::{
    Cache, CacheKey, CacheLayer, Collapse, KeySpec, MemcachedStore, MemoryStore, Policy, RequestHead, Tenant, Tiered,
};
use tokio::time::sleep;
use tower::{Layer, Service};

use crate::{
    network::Network,
    records::{Forward, Records, Request as Asked},
    run::Settings,
    zipf::Zipf,
};

/// The layer that a node would have.
pub(crate) fn layer(settings: &Settings, node: usize, network: &Network, records: &Records) -> CacheLayer {
    let network = network.clone();
    let connect = move |address| network.clone().connect(node, address);
    let far = MemcachedStore::builder(Network::addresses(settings.servers)).simulated(records.time, connect);
    let near = MemoryStore::with_max_bytes(64 << 20);
    let store = Tiered::new(near, far.build().unwrap()).near_freshness(NEAR_FRESHNESS);
    let collapse = if settings.leases { Collapse::new() } else { Collapse::new().without_leases() };
    CacheLayer::builder(store).policy(Policy::new().collapse(collapse)).clock(records.time).build().unwrap()
}

/// What its clients use.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) number: usize,
    cache: Cache<Origin>,
    records: Records,
}

impl Node {
    pub(crate) fn new(number: usize, layer: &CacheLayer, records: &Records) -> Self {
        let cache = layer.layer(Origin { node: number, records: records.clone() });
        Self { number, cache, records: records.clone() }
    }

    /// Requests come at random, whatever becomes of those before, until the end of the run or of the node.
    pub(crate) async fn serve(self, mut random: Rng, keys: Zipf, requests_a_second: f64) {
        loop {
            sleep(pause(&mut random, requests_a_second)).await;
            let recorded = self.records.lock();
            if recorded.is_over || recorded.died[self.number].is_some() {
                return;
            }
            drop(recorded);
            tokio::spawn(self.clone().ask(keys.draw(&mut random)));
        }
    }

    async fn ask(mut self, key: usize) {
        let (number, asked) = {
            let asked = self.records.time.elapsed();
            let mut recorded = self.records.lock();
            let request = Asked { node: self.number, key, asked, answered: None, forward: None };
            recorded.requests.push(request);
            (recorded.requests.len() - 1, get(key))
        };
        let answer = self.cache.call(asked).await.unwrap();
        let is_ok = answer.status() == 200;
        let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let forward = str::from_utf8(&body).ok().and_then(|body| body.parse().ok());
        let answered = self.records.time.elapsed();
        let mut recorded = self.records.lock();
        let forward = forward.filter(|forward: &usize| is_ok && recorded.forwards[*forward].key == key);
        let request = &mut recorded.requests[number];
        (request.answered, request.forward) = (Some(answered), forward);
    }
}

/// Until the next of those that come at random, so many a second.
fn pause(random: &mut Rng, a_second: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - random.f64()).ln() / a_second)
}

/// Answers with the number of the forward, and takes its time.
#[derive(Clone)]
pub(crate) struct Origin {
    node: usize,
    records: Records,
}

impl Service<Request<Empty<Bytes>>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let Self { node, records } = self.clone();
        let key = request.uri().path()[1..].parse().unwrap();
        Box::pin(async move {
            let began = records.time.elapsed();
            let (number, freshness) = {
                let mut recorded = records.lock();
                let (version, freshness) = (recorded.version, recorded.freshness);
                recorded.forwards.push(Forward { node, key, version, freshness, began, ended: None });
                (recorded.forwards.len() - 1, freshness)
            };
            sleep(ORIGIN_TAKES).await;
            records.lock().forwards[number].ended = Some(records.time.elapsed());
            let reply = Response::builder()
                .header("cache-control", format!("max-age={}", freshness.as_secs()))
                .header("surrogate-key", TAG)
                .body(number.to_string().into());
            Ok(reply.unwrap())
        })
    }
}

fn get(key: usize) -> Request<Empty<Bytes>> {
    Request::get(path(key)).header("host", "shop.example").body(Empty::new()).unwrap()
}

/// What the cache makes of a request for it.
pub(crate) fn cache_key(key: usize) -> CacheKey {
    KeySpec::new().key(RequestHead::of(&get(key)), &Tenant::shared()).unwrap()
}

pub(crate) fn path(key: usize) -> String {
    format!("/{key}")
}

/// That of all pages.
pub(crate) const TAG: &str = "shop";

pub(crate) const NEAR_FRESHNESS: Duration = Duration::from_secs(1);
pub(crate) const ORIGIN_TAKES: Duration = Duration::from_millis(100);
