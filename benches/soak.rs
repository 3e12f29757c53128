//! Does anything grow?
//!
//! Two threads ask for millions of keys, the popular ones more often, of tenants without end; some clients leave at once or in
//! the middle of a body, some change what is stored, and now and then somebody purges. Memory, and what the cache has
//! under way, are looked at ten times; fails if the last look is more than a tenth above the third, if the process is
//! above 1.3 x the bound of its store, or if a flight is left in the end. The long run:
//!
//! ```text
//! cargo bench --bench soak -- --requests 50000000 --keys 5000000
//! ```

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod common;

use std::{
    convert::Infallible,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Reply},
    memory::resident_bytes,
    table::Table,
    timing::argument,
};
use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use microcache::{Cache, CacheHandle, CacheLayer, MemoryStore, Policy, Purge, Tenancy};
use tokio::{runtime::Builder, task::JoinSet};
use tower::{Layer, Service, service_fn, util::ServiceFn};

fn main() -> ExitCode {
    let number = |name, default| argument(name).map_or(default, |number| number.replace('_', "").parse().unwrap());
    let (requests, keys): (u64, u64) = (number("--requests", 1_000_000), number("--keys", 500_000));
    let policy = Policy::new().stale_while_revalidate(std::time::Duration::from_millis(200));
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(BOUND)).policy(policy);
    let layer = layer.tenant(Tenancy::header(http::HeaderName::from_static("x-tenant"))).build().unwrap();
    let origin: Origin = service_fn(answer);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (handle, cache, start) = (layer.handle(), layer.layer(origin), resident_bytes());
    let mut table = Table::new(&["requests", "RSS MiB", "x bound", "responses", "flights", "markers", "hits %", "us"]);
    let mut grown = Vec::new();
    for look in 1..=LOOKS {
        let began = Instant::now();
        runtime.block_on(clients(&cache, &handle, look, requests / LOOKS, keys));
        let (stats, rss) = (handle.stats(), resident_bytes().saturating_sub(start));
        grown.push(rss);
        table.row([
            (look * requests / LOOKS).to_string(),
            (rss >> 20).to_string(),
            format!("{:.2}", rss as f64 / BOUND as f64),
            stats.store.responses.unwrap_or_default().to_string(),
            stats.gauges.flights.to_string(),
            stats.gauges.markers.to_string(),
            format!("{:.1}", 100.0 * stats.hits as f64 / (look * requests / LOOKS) as f64),
            format!("{:.1}", began.elapsed().as_secs_f64() * 1e6 / (requests / LOOKS) as f64),
        ]);
    }
    table.print(&format!("{requests} requests for {keys} keys; bound {} MiB", BOUND >> 20));
    let (third, last) = (grown[2] as f64, grown[grown.len() - 1] as f64);
    let is_calm = last <= 1.1 * third && last <= 1.3 * BOUND as f64 && handle.stats().gauges.flights == 0;
    if is_calm { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All requests of one part of the run, by clients that do not wait for each other.
async fn clients(cache: &Cache<Origin>, handle: &CacheHandle, look: u64, requests: u64, keys: u64) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (cache, handle) = (cache.clone(), handle.clone());
        let random = Rng::with_seed(look * CLIENTS + number + 1);
        clients.spawn(client(cache, handle, random, requests / CLIENTS, keys));
    }
    clients.join_all().await;
}

async fn client(mut cache: Cache<Origin>, handle: CacheHandle, mut random: Rng, requests: u64, keys: u64) {
    for _ in 0..requests {
        // About as popular as pages are: the tenth key is asked for a tenth as often as the first.
        let key = (keys as f64).powf(random.f64()) as u64;
        match random.u32(..1_000) {
            // Who leaves before there is an answer.
            0..10 => drop(cache.call(request("GET", key)).now_or_never()),
            // Who leaves with the head.
            10..20 => drop(cache.call(request("GET", key)).await),
            20..25 => drop(cache.call(request("POST", key)).await),
            25 => {
                drop(handle.purge(Purge::url(format!("https://shop.example/products/{key}")).tenant(tenant(key))).await)
            }
            _ => drop(cache.call(request("GET", key)).await.unwrap().into_body().collect().await),
        }
    }
}

fn tenant(key: u64) -> microcache::Tenant {
    microcache::Tenant::named(format!("t{}", key % 100_000))
}

fn request(method: &str, key: u64) -> Ask {
    Request::builder()
        .method(method)
        .uri(format!("/products/{key}"))
        .header("host", "shop.example")
        .header("x-tenant", format!("t{}", key % 100_000))
        .header("accept-language", if key.is_multiple_of(3) { "de" } else { "en" })
        .body(Full::default())
        .unwrap()
}

type Origin = ServiceFn<fn(Ask) -> BoxFuture<'static, Result<Reply, Infallible>>>;

/// Takes a turn of the runtime for each answer, so that others join meanwhile.
fn answer(_: Ask) -> BoxFuture<'static, Result<Reply, Infallible>> {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    let number = ANSWERS.fetch_add(1, Relaxed);
    Box::pin(async move {
        tokio::task::yield_now().await;
        let body = Bytes::from(vec![b'x'; 100 + (number % 40) as usize * 100]);
        let builder = match number % 50 {
            0 => Response::builder().status(503),
            1 => Response::builder().header("cache-control", "no-store"),
            2..12 => Response::builder().header("vary", "accept-language"),
            _ => Response::builder().header("cache-control", "max-age=30"),
        };
        Ok(builder.header("content-type", "text/html").body(Full::new(body)).unwrap())
    })
}

const BOUND: u64 = 256 << 20;
const LOOKS: u64 = 10;
const CLIENTS: u64 = 64;
