//! What does a store cost and what does it spare: moka as `MemoryStore` has it, and quick_cache behind the same contract?
//!
//! Its share of a hit; what a second thread adds (target: 1.9 x one thread); and how many requests hit, of the same mix in
//! the same bytes, which is the same in each run. `--part share|threads|ratios|weigher` for one of them; `weigher` is moka
//! as it comes, to see what it makes of weights.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod common;
#[expect(dead_code, reason = "its `main` is the example's")]
#[path = "../examples/custom_store.rs"]
mod custom_store;
#[path = "stores/mix.rs"]
mod mix;
#[path = "stores/yardsticks.rs"]
mod yardsticks;
#[path = "../tests/common/zipf.rs"]
mod zipf;

use std::{
    fs,
    hint::black_box,
    sync::{Arc, Barrier, Mutex},
    thread,
    time::Instant,
};

use bytes::Bytes;
use common::{
    exchange::{Ask, Prepared, Reply, at_once, exchange, get, reply, request},
    table::Table,
    timing::{Case, Times, argument, interleaved, nanos},
};
use custom_store::QuickStore;
use fastrand::Rng;
use http::Response;
use http_body::Body;
use microcache::{CacheKey, CacheLayer, MemoryStore, Peek, Put, Store, StoreError, Stored};
use mix::{Event, MIXES, Mix};
use tower::{Layer, Service};
use yardsticks::{Lru, Plain};
use zipf::Zipf;

fn main() {
    let part = argument("--part");
    let is_asked = |name: &str| part.as_ref().is_none_or(|part| part == name);
    if is_asked("share") {
        share();
    }
    if is_asked("threads") {
        threads();
    }
    if is_asked("ratios") {
        ratios();
    }
    if is_asked("weigher") {
        weigher();
    }
}

fn quick_store() -> QuickStore {
    QuickStore::with_max_bytes(BOUND).unwrap()
}

/// What of a hit is the store's: one response, looked up and dropped.
fn share() {
    let (key, _) = seen([get()], &reply(body(1 << 10))).remove(0);
    let (moka, quick) = (Arc::new(MemoryStore::with_max_bytes(BOUND)), Arc::new(quick_store()));
    let mut cases = vec![
        hit("moka: a hit", Arc::clone(&moka)),
        peek("moka: the store asked", &*moka, &key),
        hit("quick_cache: a hit", Arc::clone(&quick)),
        peek("quick_cache: the store asked", &*quick, &key),
    ];
    let times = interleaved(&mut cases, 64, 3_000);
    let mut table = Table::new(&["case", "ns", "p10", "p90", "of the hit"]);
    for (two, times) in cases.chunks(2).zip(times.chunks(2)) {
        for (case, time) in two.iter().zip(times) {
            let part = 100.0 * time.median() / times[0].median();
            let times = [50, 10, 90].map(|percent| format!("{:.0}", time.percentile(percent)));
            table.row([case.name.to_owned()].into_iter().chain(times).chain([format!("{part:.0} %")]));
        }
    }
    table.print("a hit in memory, 1 KiB, and what of it is the store's");
}

fn hit(name: &'static str, store: impl Store) -> Case<'static> {
    let mut cache = CacheLayer::new(store).layer(Prepared::new(reply(body(1 << 10))));
    exchange(&mut cache, get());
    Case::new(name, get, move |request| exchange(&mut cache, request))
}

fn peek<'a>(name: &'static str, store: &'a impl Store, key: &'a CacheKey) -> Case<'a> {
    let ask = move || {
        let found = store.peek(key);
        assert!(matches!(found, Peek::Found(_)));
        black_box(found);
    };
    Case::new(name, || (), move |()| ask())
}

/// Whether two threads that hit do not stand in each other's way. What they wait for a core is left out, since others may
/// use the machine, too.
fn threads() {
    let mut table = Table::new(&["service", "one thread, M/s", "two threads, M/s", "x one"]);
    let origin = Prepared::new(reply(body(1 << 10)));
    table.row(two_threads("a ready response, cloned", &origin));
    table.row(two_threads("cache on moka", &CacheLayer::new(MemoryStore::with_max_bytes(BOUND)).layer(origin.clone())));
    table.row(two_threads("cache on quick_cache", &CacheLayer::new(quick_store()).layer(origin)));
    table.print("hits on 10,000 keys, Zipf 1.0, medians (target: 1.9 x one)");
}

fn two_threads<S, B>(name: &str, service: &S) -> [String; 4]
where
    S: Service<Ask, Response = Response<B>> + Clone + Send,
    B: Body<Data = Bytes>,
{
    let uris: Vec<String> = (0..10_000).map(|page| format!("/products/{page}?category=books&page=3")).collect();
    uris.iter().for_each(|uri| exchange(&mut service.clone(), request("GET", uri)));
    let zipf = Zipf::new(1.0, uris.len());
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let asks = |thread| {
            let mut random = Rng::with_seed(2 * round + thread);
            (0..ASKS).map(|_| request("GET", &uris[zipf.draw(&mut random)])).collect::<Vec<_>>()
        };
        one.push(per_microsecond(service, vec![asks(0)]));
        two.push(per_microsecond(service, vec![asks(0), asks(1)]));
    }
    let (one, two) = (Times::new(one).median(), Times::new(two).median());
    [name.to_owned(), format!("{one:.2}"), format!("{two:.2}"), format!("{:.2}", two / one)]
}

/// How many requests are answered in a microsecond, by a thread for each of `asks`.
fn per_microsecond<S, B>(service: &S, asks: Vec<Vec<Ask>>) -> f64
where
    S: Service<Ask, Response = Response<B>> + Clone + Send,
    B: Body<Data = Bytes>,
{
    let barrier = Barrier::new(asks.len());
    let rates = thread::scope(|scope| {
        let run = |asks: Vec<Ask>| {
            let (mut service, barrier, count) = (service.clone(), &barrier, asks.len());
            scope.spawn(move || {
                barrier.wait();
                let (start, waited) = (Instant::now(), waited_for_a_core());
                asks.into_iter().for_each(|ask| exchange(&mut service, ask));
                count as f64 / (nanos(start.elapsed()) - (waited_for_a_core() - waited)) * 1_000.0
            })
        };
        let running: Vec<_> = asks.into_iter().map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<f64>>()
    });
    rates.into_iter().sum()
}

/// For how many nanoseconds this thread could have run and something else did. What it waits for a lock is not among them.
fn waited_for_a_core() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').nth(1).and_then(|waited| waited.parse().ok()).unwrap_or(0.0)
}

/// How many of the requests hit, of each mix, with sizes that differ and with one for all.
fn ratios() {
    for (sizes, world) in worlds() {
        let mut table = ratio_table();
        table.row(world.row("moka: MemoryStore", || MemoryStore::with_max_bytes(BOUND)));
        table.row(world.row("quick_cache: custom_store", quick_store));
        table.row(world.row("LRU", || Lru::with_max_bytes(BOUND)));
        table.print(&format!("hits in 100 requests; {KEYS} keys, {sizes}, in {} MiB", BOUND >> 20));
    }
}

/// moka without weights, with weights in bytes, and with coarser ones.
fn weigher() {
    for (sizes, world) in worlds() {
        let mut table = ratio_table();
        for lookups in [1, LOOKUPS] {
            let world = World { lookups, ..world.clone() };
            let mut row = |name: &str, store: &dyn Fn() -> Plain| {
                table.row(world.row(&format!("{name}, {lookups} lookups a miss"), store));
            };
            if let Some(responses) = world.fitting() {
                row("by number", &|| Plain::with_max_responses(responses));
            }
            row("in bytes", &|| Plain::with_max_bytes(BOUND, 1));
            row("in KiB", &|| Plain::with_max_bytes(BOUND, 1 << 10));
        }
        table.print(&format!("moka as it comes, hits in 100 requests; {sizes}"));
    }
}

fn ratio_table() -> Table {
    let names = MIXES.map(|mix| mix.name);
    Table::new(&["store", names[0], names[1], names[2], names[3]])
}

/// What there is to ask for.
#[derive(Clone)]
struct World {
    /// As many again as are asked for by the mixes, for scans.
    keys: Arc<Vec<CacheKey>>,
    stored: Vec<Stored>,
    /// How often the cache asks the store before it forwards.
    lookups: usize,
}

fn worlds() -> [(&'static str, World); 2] {
    let asks = (0..2 * KEYS).map(|page| request("GET", &format!("/products/{page}")));
    let keys = Arc::new(seen(asks, &reply(body(0))).into_iter().map(|(key, _)| key).collect());
    let of_size = |bytes: usize| seen([get()], &reply(body(bytes))).remove(0).1;
    let mixed = (0..SIZES).map(|step| of_size((1024.0 * 64_f64.powf(step as f64 / (SIZES - 1) as f64)) as usize));
    let mixed = World { keys: Arc::clone(&keys), stored: mixed.collect(), lookups: LOOKUPS };
    let uniform = World { keys, stored: vec![of_size(16 << 10)], lookups: LOOKUPS };
    [("16 KiB each", uniform), ("1 to 64 KiB, log-uniform", mixed)]
}

impl World {
    /// How many responses there is room for, if all are of one size.
    fn fitting(&self) -> Option<u64> {
        (self.stored.len() == 1).then(|| BOUND / (self.stored[0].size_bytes() as u64 + 700))
    }

    /// Each mix with a store of its own.
    fn row<S: Store>(&self, name: &str, store: impl Fn() -> S) -> Vec<String> {
        let ratios = MIXES.map(|mix| format!("{:.1}", 100.0 * self.hit_ratio(&store(), mix)));
        [name.to_owned()].into_iter().chain(ratios).collect()
    }

    fn hit_ratio(&self, store: &impl Store, mix: Mix) -> f64 {
        let (zipf, mut random) = (Zipf::new(mix.exponent, KEYS), Rng::with_seed(7));
        // After a change, how long it takes to notice is what is asked.
        let counted = match mix.event {
            Event::Change => REQUESTS / 2..REQUESTS * 3 / 4,
            Event::Nothing | Event::Scan => REQUESTS / 5..REQUESTS,
        };
        let mut hits = 0;
        for number in 0..counted.end {
            let since = number.saturating_sub(REQUESTS / 2);
            if mix.event == Event::Scan && (1..=KEYS).contains(&since) {
                self.ask(store, KEYS + since - 1);
            }
            let page = zipf.draw(&mut random);
            let is_changed = mix.event == Event::Change && since > 0;
            let hit = self.ask(store, if is_changed { KEYS - 1 - page } else { page });
            hits += usize::from(hit && counted.contains(&number));
        }
        hits as f64 / counted.len() as f64
    }

    /// Asks as the cache does, and stores on a miss.
    fn ask(&self, store: &impl Store, page: usize) -> bool {
        let key = &self.keys[page];
        let is_found = || matches!(store.peek(key), Peek::Found(_));
        let hit = is_found();
        if !hit {
            (1..self.lookups).for_each(|_| assert!(!is_found()));
            // Whatever is popular may be of any size.
            let stored = &self.stored[page.wrapping_mul(0x9E37_79B9) % self.stored.len()];
            at_once(store.put(key, stored.clone())).unwrap();
        }
        hit
    }
}

/// What the cache gives to a store for these requests: the key and the response.
fn seen(asks: impl IntoIterator<Item = Ask>, reply: &Reply) -> Vec<(CacheKey, Stored)> {
    let watching = Arc::new(Watching::default());
    let mut cache = CacheLayer::new(Arc::clone(&watching)).layer(Prepared::new(reply.clone()));
    let mut misses = 0;
    for ask in asks {
        exchange(&mut cache, ask);
        misses += 1;
    }
    assert_eq!(*watching.lookups.lock().unwrap(), misses * LOOKUPS, "lookups before a forward");
    std::mem::take(&mut *watching.puts.lock().unwrap())
}

/// Keeps nothing.
#[derive(Default)]
struct Watching {
    puts: Mutex<Vec<(CacheKey, Stored)>>,
    lookups: Mutex<usize>,
}

impl Store for Watching {
    fn peek(&self, _: &CacheKey) -> Peek {
        *self.lookups.lock().unwrap() += 1;
        Peek::Absent
    }

    async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        self.puts.lock().unwrap().push((key.clone(), stored));
        Ok(Put::Declined)
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> {
        Ok(())
    }
}

fn body(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

const BOUND: u64 = 64 << 20;
const KEYS: usize = 50_000;
const REQUESTS: usize = 1_000_000;
/// How many sizes there are between the smallest and the largest.
const SIZES: usize = 61;
/// How often the cache asks a store in memory for what is not there, before it forwards.
const LOOKUPS: usize = 3;
const ROUNDS: u64 = 300;
/// So few that they stay in the caches of the processor.
const ASKS: usize = 2_000;
