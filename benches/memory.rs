//! Does the process stay within the bound of its store, and a tenant out of what others have there?
//!
//! Up to a million distinct keys go through the cache; what the process has grown by is read from the system at each step.
//! Target: at most 1.3 x the bound. Each kind of response has a process of its own, since memory that was used once is
//! not always given back. Then one tenant asks for a million distinct URLs. Target: the hit ratio of another falls by less
//! than one percentage point.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod common;

use std::{
    convert::Infallible,
    env, fs,
    future::{Ready, ready},
    process::Command,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Reply, exchange, reply, request},
    table::Table,
    timing::argument,
};
use http::Response;
use http_body_util::Full;
use microcache::{CacheLayer, MemoryStore, Policy, Tenancy, Tenant};
use tower::{Layer, Service};

fn main() {
    match argument("--case").and_then(|name| KINDS.into_iter().find(|(known, ..)| *known == name)) {
        Some((name, keys, next_reply)) => fill(name, keys, next_reply),
        None => {
            KINDS.iter().for_each(|(name, ..)| alone(name));
            flood();
        }
    }
}

/// How the origin comes by its next response.
type NextReply = fn(&mut Random) -> Reply;

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
fn mixed(random: &mut Random) -> Bytes {
    let (least, most) = (100_f64, 65_536_f64);
    let length = least * (most / least).powf(random.fraction());
    Bytes::from(vec![b'x'; length as usize])
}

fn alone(name: &str) {
    let status = Command::new(env::current_exe().unwrap()).args(["--case", name]).status().unwrap();
    assert!(status.success(), "{name}");
}

fn fill(name: &str, keys: u32, next_reply: NextReply) {
    let origin = Origin { random: Arc::new(Mutex::new(Random(7))), next_reply };
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

/// One tenant floods the store; the other asks for the same few pages all the time.
fn flood() {
    let next_reply: NextReply = |random| Response::new(mixed(random).into());
    let origin = Origin { random: Arc::new(Mutex::new(Random(7))), next_reply };
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

/// How many one tenant asks for all the time.
const PAGES: u32 = 500;

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}

/// An origin whose bodies differ.
#[derive(Clone)]
struct Origin {
    random: Arc<Mutex<Random>>,
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

/// The same numbers in each run (xorshift64).
struct Random(u64);

impl Random {
    /// At least zero and below one.
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const BOUND: u64 = 256 << 20;
