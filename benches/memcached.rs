//! What does a hit through memcached cost?
//!
//! On the loopback interface, next to three yardsticks, each of which asks for the same value with a bare `mg`: the pool of
//! the `memcache` crate (32 connections); a plain connection for each task; and all requests pipelined by hand on one
//! connection, as many in flight as there are tasks otherwise. Targets: for one task no slower than the pool; for 256
//! tasks 70 % of what is pipelined by hand. `--tasks N`, `--bytes N`, `--threads N` and `--way NAME` for one of them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench may panic")]

mod common;
#[expect(unreachable_pub, reason = "a module of the benches")]
#[path = "common/machine.rs"]
mod machine;
#[expect(dead_code, reason = "a bench uses its part")]
#[path = "../tests/common/memcached.rs"]
mod memcached;
#[expect(unreachable_pub, reason = "a module of the benches")]
#[path = "memcached/plain.rs"]
mod plain;

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Prepared, get, varied_reply},
    table::Table,
    timing::{Times, argument, nanos},
};
use http_body_util::BodyExt;
use memcache::exp::AsyncMetaClient;
use memcached::Memcached;
use microcache::{Cache, CacheKey, CacheLayer, CacheStatus, KeySpec, MemcachedStore, RequestHead, Store, Tenant};
use plain::Plain;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Mutex,
    task::JoinSet,
    time::sleep,
};
use tower::{Layer, Service};

fn main() {
    let number = |name| argument(name).map(|number| number.parse::<usize>().unwrap());
    let one_of = |name, all: &[usize]| number(name).map_or_else(|| all.to_vec(), |one| vec![one]);
    let (all_tasks, all_bytes) = (one_of("--tasks", &[1, 16, 256]), one_of("--bytes", &[1 << 10, 64 << 10]));
    let ways: Vec<Way> = match argument("--way") {
        Some(name) => WAYS.into_iter().filter(|way| way.name() == name).collect(),
        None => WAYS.to_vec(),
    };
    println!("{}; load {}", machine::machine(), machine::load());
    for bytes in all_bytes {
        for threads in one_of("--threads", &[1, 2]) {
            // With one thread of its own, it is not the luck of a connection on which core it is answered.
            let server = Memcached::start(if threads == 1 { &["-t", "1"] } else { &[] });
            let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
            let runtime = builder.worker_threads(threads).enable_all().build().unwrap();
            let mut table = Table::new(&["tasks", "way", "us", "p10", "p90", "processor us", "x pool", "x piped"]);
            for tasks in &all_tasks {
                let value = runtime.block_on(Value::new(&server, bytes, *tasks));
                let measured = interleaved(&runtime, &value, &ways, *tasks, bytes);
                rows(&mut table, *tasks, &ways, &measured);
            }
            let threads = if threads == 1 { "one thread" } else { "two threads" };
            table.print(&format!("{} KiB through memcached, {threads}: a value takes", bytes >> 10));
        }
    }
}

/// All ways to one value on one server.
#[derive(Clone)]
struct Value {
    cache: Cache<Prepared>,
    store: MemcachedStore,
    key: CacheKey,
    pool: AsyncMetaClient,
    /// One for each task.
    plain: Arc<[Mutex<Plain>]>,
    /// What memcached calls the value.
    name: Arc<str>,
}

impl Value {
    /// It is there afterwards, and each way finds it.
    async fn new(server: &Memcached, bytes: usize, tasks: usize) -> Self {
        let namespace = format!("bench-{bytes}");
        // As long as a busy machine takes: what comes late would be a forward, and cost another thing.
        let store =
            MemcachedStore::builder([server.address()]).namespace(&namespace).deadline(PATIENCE).build().unwrap();
        let layer = CacheLayer::builder(store.clone()).store_deadline(PATIENCE).build().unwrap();
        // Fresh for longer than this runs.
        let reply = varied_reply(Bytes::from(vec![b'x'; bytes]), "public, max-age=3600", "");
        let cache = layer.layer(Prepared::new(reply));
        let key = KeySpec::new().key(RequestHead::of(&get()), &Tenant::shared()).unwrap();
        let pool = AsyncMetaClient::builder().max_idle(32).max_connections(Some(32)).io_timeout(Some(PATIENCE));
        let pool = pool.connect_timeout(Some(PATIENCE)).connect_async(server.address()).await.unwrap();
        let mut plain = Vec::new();
        for _ in 0..tasks {
            plain.push(Mutex::new(Plain::connect(&server.address()).await));
        }
        let name = format!("{namespace}:1:{}", key.as_str()).into();
        let value = Self { cache, store, key, pool, plain: plain.into(), name };
        // A server that knows of no fences begins them anew: nothing from before that moment is stored.
        while value.store.get(&value.key).await.unwrap().is_none() {
            value.cache.clone().call(get()).await.unwrap();
            sleep(Duration::from_millis(2)).await;
        }
        for way in WAYS {
            assert!(value.clone().get(way, 0, None).await >= bytes, "{} finds another value", way.name());
        }
        value
    }

    /// How long it is, with its head or without.
    async fn get(&mut self, way: Way, task: usize, request: Option<Ask>) -> usize {
        match way {
            Way::Pool => self.pool.get(&*self.name).send().await.unwrap().value.unwrap().len(),
            Way::Plain | Way::Piped => self.plain[task].lock().await.ask(&self.name, 1, 1).await,
            Way::Store => {
                let found = self.store.get(&self.key).await.unwrap();
                found.and_then(|found| Some(found.response()?.body().len())).unwrap()
            }
            Way::Hit => {
                let response = self.cache.call(request.unwrap_or_else(get)).await.unwrap();
                assert!(CacheStatus::of(&response).is_some_and(|status| status.is_hit()));
                response.into_body().collect().await.unwrap().to_bytes().len()
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Pool,
    Plain,
    Piped,
    Store,
    Hit,
}

const WAYS: [Way; 5] = [Way::Pool, Way::Plain, Way::Piped, Way::Store, Way::Hit];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Plain => "plain",
            Self::Piped => "piped",
            Self::Store => "store",
            Self::Hit => "hit",
        }
    }
}

/// What a value takes, in microseconds.
struct Measured {
    times: Times,
    processor: f64,
}

/// So many tasks ask for values, one after the other; the ways take turns.
fn interleaved(runtime: &Runtime, value: &Value, ways: &[Way], tasks: usize, bytes: usize) -> Vec<Measured> {
    let each = (if bytes > 1 << 10 { 2_000 } else { 10_000 } / tasks).clamp(8, 500);
    let rounds = argument("--rounds").map_or(150, |rounds| rounds.parse().unwrap());
    let mut samples = vec![(Vec::new(), 0.0); ways.len()];
    for round in 0..rounds + rounds / 10 {
        for (way, (samples, processor)) in ways.iter().zip(&mut samples) {
            let (elapsed, nanos_of_processor) = runtime.block_on(asked(value, *way, tasks, each));
            if round >= rounds / 10 {
                samples.push(nanos(elapsed) / 1e3 / (tasks * each) as f64);
                *processor += nanos_of_processor;
            }
        }
    }
    let all = (rounds * tasks * each) as f64;
    let measured = |(samples, processor)| Measured { times: Times::new(samples), processor: processor / 1e3 / all };
    samples.into_iter().map(measured).collect()
}

/// How long it takes until all tasks have had all their values, and how much of the processors. Making the requests is not
/// measured.
async fn asked(value: &Value, way: Way, tasks: usize, each: usize) -> (Duration, f64) {
    let made = if way == Way::Hit { each } else { 0 };
    let requests: Vec<Vec<Ask>> = (0..tasks).map(|_| (0..made).map(|_| get()).collect()).collect();
    let (before, start) = (processor_nanos(), Instant::now());
    let mut running = JoinSet::new();
    if way == Way::Piped {
        let (plain, name) = (Arc::clone(&value.plain), Arc::clone(&value.name));
        running.spawn(async move {
            plain[0].lock().await.ask(&name, tasks, tasks * each).await;
        });
    } else {
        for (task, mut requests) in requests.into_iter().enumerate() {
            let mut value = value.clone();
            running.spawn(async move {
                for _ in 0..each {
                    value.get(way, task, requests.pop()).await;
                }
            });
        }
    }
    running.join_all().await;
    (start.elapsed(), processor_nanos() - before)
}

/// What all threads of this process have had of the processors, as the system counts it; zero where it does not.
fn processor_nanos() -> f64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    texts.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum()
}

fn rows(table: &mut Table, tasks: usize, ways: &[Way], measured: &[Measured]) {
    let median = |yardstick| {
        let place = ways.iter().position(|way| *way == yardstick)?;
        Some(measured[place].times.median())
    };
    for (way, Measured { times, processor }) in ways.iter().zip(measured) {
        // Of times, not of rates: below one is faster.
        let ratio = |of: Option<f64>| of.map_or_else(String::new, |of| format!("{:.2}", times.median() / of));
        let percents = [50, 10, 90].map(|percent| format!("{:.2}", times.percentile(percent)));
        let first = [tasks.to_string(), way.name().to_owned()];
        let last = [format!("{processor:.2}"), ratio(median(Way::Pool)), ratio(median(Way::Piped))];
        table.row(first.into_iter().chain(percents).chain(last));
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
