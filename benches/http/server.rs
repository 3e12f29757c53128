//! The services that are measured: a handler that costs CPU, with the cache or without, and one that has its answer
//! ready. One worker thread.
//!
//! ```text
//! server bare|static|static-cached|cached|around|swr ADDRESS WORK
//! server calibrate                            # how much WORK is two milliseconds here
//! ```

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use bytes::Bytes;
use microcache::{Cache, CacheHandle, CacheLayer, MemoryStore, Policy};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, make::Shared};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["calibrate"] => println!("{}", calibrated()),
        [mode, address, work] => serve(mode, address, work.parse().expect("WORK is a number")),
        _ => panic!("usage: server bare|static|static-cached|cached|around|swr ADDRESS WORK, or server calibrate"),
    }
}

fn serve(mode: &str, address: &str, work: u64) {
    let handler = Handler { work, calls: Arc::default(), page: Bytes::from(vec![b'x'; PAGE_BYTES]) };
    if mode == "around" {
        let app = ServiceBuilder::new().map_response(IntoResponse::into_response).service(around(&handler));
        return run(address, async |listener| axum::serve(listener, Shared::new(app)).await.unwrap());
    }
    let app = match mode {
        "static" => ready(&handler).merge(counts(&handler, None)),
        "static-cached" => cached(&handler, ready(&handler), Policy::new()),
        "bare" => pages(&handler).merge(counts(&handler, None)),
        "cached" => cached(&handler, pages(&handler), Policy::new()),
        "swr" => cached(&handler, pages(&handler), Policy::new().stale_while_revalidate(Duration::from_secs(1))),
        _ => panic!("there is no mode `{mode}`"),
    };
    run(address, async |listener| axum::serve(listener, app).await.unwrap());
}

fn run(address: &str, serve: impl AsyncFnOnce(TcpListener)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { serve(TcpListener::bind(address).await.unwrap()).await });
}

fn cached(handler: &Handler, pages: Router, policy: Policy) -> Router {
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)).with_policy(policy);
    let handle = layer.handle();
    pages.layer(layer).merge(counts(handler, Some(handle)))
}

/// The cache in front of the whole router, so that a hit is not routed.
fn around(handler: &Handler) -> Cache<Router> {
    let policy = Policy::new().bypass_when(|head| head.uri().path() == COUNTS);
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)).with_policy(policy);
    let handle = layer.handle();
    layer.layer(pages(handler).merge(counts(handler, Some(handle))))
}

/// The answer is there before it is asked for.
fn ready(handler: &Handler) -> Router {
    let page = handler.page.clone();
    let answer = move || async move { page };
    Router::new().route("/page", get(answer.clone()).options(answer.clone()).post(answer))
}

fn pages(handler: &Handler) -> Router {
    Router::new().route("/page", get(page)).with_state(handler.clone())
}

/// How many requests were answered, and how many of them by the handler.
fn counts(handler: &Handler, cache: Option<CacheHandle>) -> Router {
    let calls = Arc::clone(&handler.calls);
    let told = move || async move {
        let calls = calls.load(Relaxed);
        let answered = cache.map_or(calls, |cache| {
            let stats = cache.stats();
            stats.hits + stats.collapsed + stats.forwards
        });
        format!("{answered} {calls}")
    };
    Router::new().route(COUNTS, get(told))
}

#[derive(Clone)]
struct Handler {
    work: u64,
    calls: Arc<AtomicU64>,
    page: Bytes,
}

/// Two milliseconds of CPU, and a page.
async fn page(State(handler): State<Handler>) -> Bytes {
    handler.calls.fetch_add(1, Relaxed);
    burn(handler.work);
    handler.page
}

/// The same work each time, however busy the machine is.
fn burn(work: u64) {
    let mut state = 1_u64;
    for step in 0..work {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
    }
}

/// The fastest of many tries is the one that nothing interrupted.
fn calibrated() -> u64 {
    let tries = (0..200).map(|_| {
        let start = Instant::now();
        burn(PROBE);
        start.elapsed().as_nanos().max(1) as u64
    });
    PROBE * HANDLER_NANOS / tries.min().unwrap_or(HANDLER_NANOS)
}

const COUNTS: &str = "/-/counts";
const PAGE_BYTES: usize = 1 << 10;
const HANDLER_NANOS: u64 = 2_000_000;
const PROBE: u64 = 200_000;
