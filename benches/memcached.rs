//! What does a hit through memcached cost?
//!
//! On the loopback interface, against what a bare `mg` of the same value costs with the pool of the `memcache` crate (32
//! connections). Target: at most 1.25 x its time for one task, and for 256 tasks at least as many a second.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench may panic")]

mod common;
#[expect(dead_code, reason = "a bench uses its part")]
#[path = "../tests/common/memcached.rs"]
mod memcached;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Prepared, get, varied_reply},
    table::Table,
    timing::{Times, nanos},
};
use http_body_util::BodyExt;
use memcache::exp::AsyncMetaClient;
use memcached::Memcached;
use microcache::{Cache, CacheLayer, CacheStatus, KeySpec, MemcachedStore, RequestHead, Tenant};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tower::{Layer, Service};

fn main() {
    // With one thread, it is not the luck of a connection on which core it is answered.
    let (calm, server) = (Memcached::start(&["-t", "1"]), Memcached::start(&[]));
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for bytes in [1 << 10, 64 << 10] {
        let mut alone = Table::new(&["one task", "mg us", "p10", "p90", "hit us", "p10", "p90", "x mg"]);
        let mut many = Table::new(&["256 tasks", "mg/s", "p10", "p90", "hits/s", "p10", "p90", "x mg/s"]);
        for (name, runtime) in [("one thread", &one), ("two threads", &two)] {
            let pair = runtime.block_on(Pair::new(&calm, bytes));
            let times = interleaved(runtime, &pair, 1, 64, 750, |nanos| nanos / 1e3);
            alone.row(row(name, &times, 1));
            let pair = runtime.block_on(Pair::new(&server, bytes));
            let rates = interleaved(runtime, &pair, 256, 16, 75, |nanos| 1e9 / nanos);
            many.row(row(name, &rates, 0));
        }
        alone.print(&format!("a hit of {} KiB through memcached (target: 1.25 x mg)", bytes >> 10));
        many.print(&format!("hits of {} KiB through memcached (target: 1.0 x mg/s)", bytes >> 10));
    }
}

/// Both ways to one value on one server.
#[derive(Clone)]
struct Pair {
    cache: Cache<Prepared>,
    pool: AsyncMetaClient,
    /// What memcached calls the value.
    name: Arc<str>,
}

impl Pair {
    /// The value is there afterwards, and each way finds it.
    async fn new(server: &Memcached, bytes: usize) -> Self {
        let namespace = format!("bench-{bytes}");
        // As long as a busy machine takes: what comes late would be a forward, and cost another thing.
        let store =
            MemcachedStore::builder([server.address()]).namespace(&namespace).deadline(PATIENCE).build().unwrap();
        let layer = CacheLayer::builder(store).store_deadline(PATIENCE).build().unwrap();
        // Fresh for longer than this runs.
        let reply = varied_reply(Bytes::from(vec![b'x'; bytes]), "public, max-age=3600", "");
        let cache = layer.layer(Prepared::new(reply));
        let key = KeySpec::new().key(RequestHead::of(&get()), &Tenant::shared()).unwrap();
        let pool = AsyncMetaClient::builder().max_idle(32).max_connections(Some(32)).io_timeout(Some(PATIENCE));
        let pool = pool.connect_timeout(Some(PATIENCE)).connect_async(server.address()).await.unwrap();
        let pair = Self { cache, pool, name: format!("{namespace}:1:{}", key.as_str()).into() };
        pair.cache.clone().call(get()).await.unwrap();
        assert!(pair.bare().await > bytes, "the value has another name");
        assert_eq!(pair.clone().hit(get()).await, bytes);
        pair
    }

    /// How long the value is, its head included.
    async fn bare(&self) -> usize {
        let result = self.pool.get(&*self.name).send().await.unwrap();
        result.value.unwrap().len()
    }

    /// How long the body is.
    async fn hit(&mut self, request: Ask) -> usize {
        let response = self.cache.call(request).await.unwrap();
        assert!(CacheStatus::of(&response).is_some_and(|status| status.is_hit()));
        response.into_body().collect().await.unwrap().to_bytes().len()
    }
}

/// What `of` makes of the nanoseconds that a value takes, each way. So many tasks ask for `each` values, one after the
/// other; the ways take turns.
fn interleaved(
    runtime: &Runtime,
    pair: &Pair,
    tasks: usize,
    each: usize,
    rounds: usize,
    of: fn(f64) -> f64,
) -> [Times; 2] {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..rounds + rounds / 10 {
        for (way, samples) in [Way::Bare, Way::Hit].into_iter().zip(&mut samples) {
            let elapsed = runtime.block_on(asked(pair, way, tasks, each));
            if round >= rounds / 10 {
                samples.push(of(nanos(elapsed) / (tasks * each) as f64));
            }
        }
    }
    samples.map(Times::new)
}

#[derive(Clone, Copy)]
enum Way {
    Bare,
    Hit,
}

/// How long it takes until all tasks have had all their values. Making the requests is not measured.
async fn asked(pair: &Pair, way: Way, tasks: usize, each: usize) -> Duration {
    let requests: Vec<Vec<Ask>> = (0..tasks).map(|_| (0..each).map(|_| get()).collect()).collect();
    let start = Instant::now();
    let mut running = JoinSet::new();
    for requests in requests {
        let mut pair = pair.clone();
        running.spawn(async move {
            for request in requests {
                match way {
                    Way::Bare => pair.bare().await,
                    Way::Hit => pair.hit(request).await,
                };
            }
        });
    }
    running.join_all().await;
    start.elapsed()
}

fn row(name: &str, [bare, hit]: &[Times; 2], decimals: usize) -> Vec<String> {
    let of = |times: &Times, percent| format!("{:.decimals$}", times.percentile(percent));
    let ratio = format!("{:.2}", hit.median() / bare.median());
    let numbers = [bare, hit].into_iter().flat_map(|times| [50, 10, 90].map(|percent| of(times, percent)));
    [name.to_owned()].into_iter().chain(numbers).chain([ratio]).collect()
}

const PATIENCE: Duration = Duration::from_secs(5);
