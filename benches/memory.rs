//! Does the process stay within the bound of its store, and a tenant out of what others have there?
//!
//! Up to a million distinct keys go through the cache; what the process has grown by is read from the system at each step.
//! Target: at most 1.3 x the bound. Each kind of response has a process of its own, since memory that was used once is
//! not always given back. What a response costs beyond its own bytes is told of those without fields, before the store
//! is full. Then one tenant asks for a million distinct URLs. Target: the hit ratio of another falls by less
//! than one percentage point. What a request costs that waits for another's forward is counted, not read.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod common;

use std::{
    convert::Infallible,
    env,
    future::{Future, Ready, pending, ready},
    process::Command,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Reply, exchange, get, reply, request},
    memory::resident_bytes,
    table::Table,
    timing::argument,
};
use fastrand::Rng;
use http::Response;
use http_body_util::Full;
use microcache::{CacheLayer, Collapse, MemoryStore, Policy, Tenancy, Tenant};
use tokio::runtime::Builder;
use tower::{Layer, Service, service_fn};

fn main() {
    match argument("--case").and_then(|name| KINDS.into_iter().find(|(known, ..)| *known == name)) {
        Some((name, keys, next_reply)) => fill(name, keys, next_reply),
        None if argument("--case").is_some() => beyond_its_own(),
        None => {
            KINDS.iter().for_each(|(name, ..)| alone(name));
            alone("beyond its own");
            flood();
            waiting();
        }
    }
}

/// How the origin comes by its next response.
type NextReply = fn(&mut Rng) -> Reply;

/// With how many keys: the small ones have filled the store long before.
const KINDS: [(&str, u32, NextReply); 4] = [
    ("mixed: 100 B to 64 KiB, log-uniform", 1_000_000, |random| reply(mixed(random))),
    ("small: 100 B", 500_000, |_| reply(Bytes::from(vec![b'x'; 100]))),
    ("bare: 100 B, no fields", 1_000_000, |_| Response::new(Full::from(vec![b'x'; 100]))),
    ("slices: 1 KiB out of 64 KiB read at once", 500_000, |_| {
        reply(Bytes::from(vec![b'x'; 64 << 10]).slice(..1 << 10))
    }),
];

/// As many of a size as of any other of its order of magnitude.
fn mixed(random: &mut Rng) -> Bytes {
    let (least, most) = (100_f64, 65_536_f64);
    let length = least * (most / least).powf(random.f64());
    Bytes::from(vec![b'x'; length as usize])
}

fn alone(name: &str) {
    let status = Command::new(env::current_exe().unwrap()).args(["--case", name]).status().unwrap();
    assert!(status.success(), "{name}");
}

fn fill(name: &str, keys: u32, next_reply: NextReply) {
    let origin = Origin { random: Arc::new(Mutex::new(Rng::with_seed(7))), next_reply };
    let mut cache = CacheLayer::new(MemoryStore::with_max_bytes(BOUND)).layer(origin);
    let mut table = Table::new(&["keys", "RSS MiB", "x bound"]);
    let start = resident_bytes();
    for key in 1..=keys {
        exchange(&mut cache, request("GET", &format!("/products/{key}?category=books&page=3")));
        if key % (keys / 10) == 0 {
            let grown = resident_bytes().saturating_sub(start);
            let ratio = grown as f64 / BOUND as f64;
            table.row([key.to_string(), (grown >> 20).to_string(), format!("{ratio:.2}")]);
        }
    }
    table.print(&format!("{name}; bound {} MiB (target: 1.3 x)", BOUND >> 20));
}

/// What a response without fields costs, but for its body and its key: its head, ready to be cloned, and what the store
/// takes to keep it.
fn beyond_its_own() {
    const RESPONSES: u32 = 200_000;
    let next_reply: NextReply = |_| Response::new(Full::from(vec![b'x'; 100]));
    let origin = Origin { random: Arc::new(Mutex::new(Rng::with_seed(7))), next_reply };
    let mut cache = CacheLayer::new(MemoryStore::with_max_bytes(4 * BOUND)).layer(origin);
    let uri = |key: u32| format!("/products/{key:07}");
    let own = 100 + "|GET|shop.example.com|".len() + uri(0).len();
    (0..=RESPONSES).for_each(|key| exchange(&mut cache, request("GET", &uri(key))));
    let start = resident_bytes();
    (RESPONSES + 1..=2 * RESPONSES).for_each(|key| exchange(&mut cache, request("GET", &uri(key))));
    let each = resident_bytes().saturating_sub(start) / u64::from(RESPONSES);
    println!(
        "\na response of {own} bytes, its key among them, costs {} bytes more (target: 400)",
        each.saturating_sub(own as u64)
    );
}

/// One tenant floods the store; the other asks for the same few pages all the time.
fn flood() {
    let next_reply: NextReply = |random| Response::new(mixed(random).into());
    let origin = Origin { random: Arc::new(Mutex::new(Rng::with_seed(7))), next_reply };
    let tenancy = Tenancy::from_fn(|head| Tenant::named(head.uri().path().split('/').nth(1).unwrap_or_default()));
    let policy = Policy::new().default_freshness(Duration::from_secs(3_600));
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(BOUND)).tenant(tenancy).policy(policy).build().unwrap();
    let (handle, mut cache) = (layer.handle(), layer.layer(origin));
    let mut flooded = cache.clone();
    let mut hit_ratio = || {
        let before = handle.stats().hits;
        (0..PAGES).for_each(|page| exchange(&mut cache, request("GET", &format!("/b/{page}"))));
        (handle.stats().hits - before) as f64 / f64::from(PAGES)
    };
    hit_ratio();
    let mut table = Table::new(&["keys of one", "hit ratio of the other"]);
    table.row(["0".to_owned(), format!("{:.4}", hit_ratio())]);
    for step in 0..10 {
        for key in step * 100_000..(step + 1) * 100_000 {
            exchange(&mut flooded, request("GET", &format!("/a/{key}")));
        }
        table.row([((step + 1) * 100_000).to_string(), format!("{:.4}", hit_ratio())]);
    }
    table.print(&format!("two tenants; bound {} MiB (target: 0.99 of the first)", BOUND >> 20));
}

/// What is held of each request that waits for the forward of another, beyond the request itself.
fn waiting() {
    const REQUESTS: usize = 10_000;
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let policy = Policy::new().collapse(Collapse::new().max_followers(REQUESTS));
    let origin = service_fn(|_: Ask| pending::<Result<Reply, Infallible>>());
    let mut cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)).with_policy(policy).layer(origin);
    let (mut requests, mut waits) = (Vec::with_capacity(REQUESTS), Vec::with_capacity(REQUESTS + 1));
    let mut wait = |request| {
        let mut wait = Box::pin(cache.call(request));
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        waits.push(wait);
    };
    // The one that leads.
    wait(get());
    let own = allocation_counter::measure(|| requests.extend((0..REQUESTS).map(|_| get())));
    let more = allocation_counter::measure(|| requests.drain(..).for_each(&mut wait));
    let each = |bytes: i64| bytes / REQUESTS as i64;
    let own = each(own.bytes_current) + size_of::<Ask>() as i64;
    // The request itself moves from one place to another.
    let beyond = each(more.bytes_current) - size_of::<Ask>() as i64;
    println!("\na request of {own} bytes that waits for another's forward holds {beyond} bytes more");
}

/// How many one tenant asks for all the time.
const PAGES: u32 = 500;

/// An origin whose bodies differ.
#[derive(Clone)]
struct Origin {
    random: Arc<Mutex<Rng>>,
    next_reply: NextReply,
}

impl Service<Ask> for Origin {
    type Response = Reply;
    type Error = Infallible;
    type Future = Ready<Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        ready(Ok((self.next_reply)(&mut self.random.lock().unwrap())))
    }
}

const BOUND: u64 = 256 << 20;
