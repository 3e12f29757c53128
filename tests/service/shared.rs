//! A store that other processes use, too, as one process sees it: leases, and operations that take their time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use microcache::{
    CacheKey, CacheLayer, Collapse, Lease, LeaseGuard, ManualClock, MemoryStore, Overflow, Policy, Put, Store,
    StoreError, Stored,
};
use tokio::{sync::Semaphore, time::Instant};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::Layer;

use crate::common::*;

/// Its operations can only be waited for: each takes a permit of its kind.
#[derive(Clone)]
struct Steps {
    inner: MemoryStore,
    gets: Arc<Semaphore>,
    puts: Arc<Semaphore>,
    leases: Arc<Semaphore>,
    /// Whether another process has the lease.
    is_held: bool,
    is_shared: bool,
    asked: Arc<AtomicUsize>,
}

const MANY: usize = 1_000;

impl Steps {
    /// Nothing has to be waited for longer than a moment.
    fn new() -> Self {
        let many = || Arc::new(Semaphore::new(MANY));
        let inner = MemoryStore::with_max_bytes(1 << 20);
        let asked = Arc::new(AtomicUsize::new(0));
        Self { inner, gets: many(), puts: many(), leases: many(), is_held: false, is_shared: true, asked }
    }

    fn held() -> Self {
        Self { is_held: true, ..Self::new() }
    }
}

/// From now on they hang.
fn hang(operations: &Semaphore) {
    operations.forget_permits(MANY);
}

async fn step(operations: &Semaphore) {
    tokio::task::yield_now().await;
    operations.acquire().await.unwrap().forget();
}

impl Store for Steps {
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        step(&self.gets).await;
        self.inner.get(key).await
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        step(&self.puts).await;
        self.inner.put(key, stored).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    async fn lease(&self, _: &CacheKey, _: Duration) -> Result<Lease, StoreError> {
        self.asked.fetch_add(1, SeqCst);
        step(&self.leases).await;
        Ok(if self.is_held { Lease::Held } else { Lease::Granted(LeaseGuard::new(|| {})) })
    }
}

const DEADLINE: Duration = Duration::from_millis(50);

fn cache_with(store: &Steps, policy: Policy) -> (TestCache, Origin, ManualClock) {
    let clock = ManualClock::new();
    let builder = CacheLayer::builder(store.clone()).policy(policy).clock(clock.clone());
    let origin = Origin::default();
    (builder.store_deadline(DEADLINE).build().unwrap().layer(origin.clone()), origin, clock)
}

#[tokio::test]
async fn a_store_of_one_process_is_asked_for_no_lease() {
    for (is_shared, leases) in [(false, 0), (true, 1)] {
        for arc in [false, true] {
            let store = Steps { is_shared, ..Steps::new() };
            let layer = if arc { CacheLayer::new(Arc::new(store.clone())) } else { CacheLayer::new(store.clone()) };
            let origin = Origin::default();
            origin.queue([ok("page")]);
            ask(&mut layer.layer(origin), get("/")).await;
            assert_eq!(store.asked.load(SeqCst), leases);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_of_a_store_hangs_one_request_waits_for_it_once() {
    let vary = [("vary", "accept")];
    // What hangs, and how many deadlines that costs.
    type Hangs = fn(&Steps) -> Vec<&Semaphore>;
    let table: [(&str, Hangs, u32); 5] = [
        ("all", |store| vec![&*store.gets, &*store.puts, &*store.leases], 1),
        ("the look", |store| vec![&*store.gets], 1),
        ("the lease", |store| vec![&*store.leases], 1),
        ("the lease and the put", |store| vec![&*store.leases, &*store.puts], 1),
        ("the put", |store| vec![&*store.puts], 0),
    ];
    for (name, hangs, deadlines) in table {
        for path in ["/known", "/new"] {
            let store = Steps::new();
            let (mut cache, origin, _) = cache_with(&store, Policy::new());
            // An index, so that there are two looks and two puts.
            origin.queue([reply(200, &vary, "other"), reply(200, &vary, "page")]);
            ask(&mut cache, get_with("/known", &[("accept", "a")])).await;
            settle().await;
            hangs(&store).into_iter().for_each(hang);

            let began = Instant::now();
            let answer = ask(&mut cache, get_with(path, &[("accept", "b")])).await;
            assert_eq!(text(answer).await.unwrap(), "page", "{name}");
            // The timer is a millisecond coarse.
            let most = DEADLINE * deadlines + 2 * MILLI;
            assert!(began.elapsed() <= most, "{name}, {path}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_variant_whose_server_hangs_is_waited_for_once() {
    let store = Steps::new();
    let (mut cache, origin, _) = cache_with(&store, Policy::new());
    origin.queue((0..2).map(|_| reply(200, &[("vary", "accept")], "page")));
    ask(&mut cache, get_with("/", &[("accept", "a")])).await;
    settle().await;
    // The index is found, and nothing after it.
    hang(&store.gets);
    store.gets.add_permits(1);
    hang(&store.leases);
    hang(&store.puts);

    let began = Instant::now();
    ask(&mut cache, get_with("/", &[("accept", "b")])).await;
    assert!(began.elapsed() <= DEADLINE + 2 * MILLI, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_answer_does_not_wait_for_the_put_and_who_comes_next_joins_what_is_landing() {
    let store = Steps::new();
    let (mut cache, origin, _) = cache_with(&store, Policy::new());
    hang(&store.puts);
    let mut first = send(&mut cache, get("/"));
    assert_pending!(first.poll());
    settle().await;
    assert_pending!(first.poll());
    settle().await;
    assert_pending!(first.poll());
    let mut second = send(&mut cache, get("/"));
    assert_pending!(second.poll());
    settle().await;
    assert_pending!(second.poll());

    origin.reply(ok("page"));
    let answer = assert_ready_ok!(first.poll());
    // Nobody knows yet whether it will be stored.
    assert_eq!(status(&answer), "fwd=uri-miss; fwd-status=200");
    assert_eq!(text(answer).await.unwrap(), "page");
    assert_eq!(text(assert_ready_ok!(second.poll())).await.unwrap(), "page");
    let joined = ask(&mut cache, get("/")).await;
    assert_eq!(status(&joined), "fwd=uri-miss; collapsed");
    assert_eq!(text(joined).await.unwrap(), "page");

    store.puts.add_permits(MANY);
    settle().await;
    assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=1");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_landing_takes_nobody_when_it_is_not_fresh_any_more_or_was_invalidated() {
    for is_invalidated in [false, true] {
        let store = Steps::new();
        let (mut cache, origin, clock) = cache_with(&store, Policy::new());
        hang(&store.puts);
        origin.queue([reply(200, &[("cache-control", "max-age=1")], "old")]);
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "old");
        if is_invalidated {
            clock.advance(MILLI);
            origin.queue([reply(200, &[], "done")]);
            ask(&mut cache, request("POST", "/", &[])).await;
            clock.advance(MILLI);
        } else {
            clock.advance(SECOND);
            tokio::time::advance(SECOND).await;
        }
        origin.queue([ok("new")]);
        let answer = ask(&mut cache, get("/")).await;
        assert_eq!(text(answer).await.unwrap(), "new", "is_invalidated: {is_invalidated}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_streams_ends_without_waiting_for_the_put() {
    let store = Steps::new();
    let (mut cache, origin, _) = cache_with(&store, Policy::new());
    hang(&store.puts);
    let (body, feed) = TestBody::declared(4);
    origin.queue([reply(200, &[], body)]);
    let answer = ask(&mut cache, get("/")).await;
    feed.data("page");
    feed.end();

    let began = Instant::now();
    assert_eq!(text(answer).await.unwrap(), "page");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let joined = ask(&mut cache, get("/")).await;
    assert_eq!(text(joined).await.unwrap(), "page");
    store.puts.add_permits(MANY);
    settle().await;
    assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=1");
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_another_process_for_long_enough_is_served_stale_where_that_is_allowed() {
    let policy = |overflow| {
        let collapse = Collapse::new().wait_at_most(2 * SECOND).lock_age(60 * SECOND).overflow(overflow);
        Policy::new().collapse(collapse)
    };
    let table = [
        (Overflow::Forward, "max-age=1, stale-if-error=60", "fwd=stale; ttl=-9; detail=stale-if-error"),
        (Overflow::Unavailable, "max-age=1, stale-if-error=60", "fwd=stale; ttl=-9; detail=stale-if-error"),
        (Overflow::Forward, "max-age=1", "fwd=stale; fwd-status=200; ttl=1; stored"),
        (
            Overflow::Forward,
            "max-age=1, must-revalidate, stale-if-error=60",
            "fwd=stale; fwd-status=200; ttl=1; stored",
        ),
        (Overflow::Unavailable, "max-age=1", "fwd=stale; detail=overflow"),
        (Overflow::Unavailable, "max-age=1, must-revalidate, stale-if-error=60", "fwd=stale; detail=overflow"),
    ];
    for (overflow, said, expected) in table {
        let store = Steps::new();
        let (mut cache, origin, clock) = cache_with(&store, policy(overflow));
        origin.queue([reply(200, &[("cache-control", said), ("etag", "\"a\"")], "old")]);
        ask(&mut cache, get("/")).await;
        settle().await;
        clock.advance(10 * SECOND);
        // Another cache on the same store: the lease is not its own.
        let other = Steps { is_held: true, ..store.clone() };
        let elsewhere = Origin::default();
        let layer = CacheLayer::builder(other).policy(policy(overflow)).clock(clock).build().unwrap();
        elsewhere.queue([reply(200, &[("cache-control", "max-age=1")], "new")]);

        let began = Instant::now();
        let answer = ask(&mut layer.layer(elsewhere.clone()), get("/")).await;
        assert_eq!(status(&answer), expected, "{said}, {overflow:?}");
        let is_forwarded = usize::from(expected.contains("fwd-status"));
        assert_eq!(elsewhere.forwards(), is_forwarded, "{said}, {overflow:?}");
        let waited = began.elapsed();
        assert!(waited >= 2 * SECOND && waited < 3 * SECOND, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_limit_is_one_for_the_flight_and_the_other_process() {
    let collapse = Collapse::new().wait_at_most(2 * SECOND).overflow(Overflow::Unavailable);
    let (mut cache, origin, _) = cache_with(&Steps::held(), Policy::new().collapse(collapse));
    let began = Instant::now();
    let mut first = send(&mut cache, get("/"));
    assert_pending!(first.poll());
    let second = ask(&mut cache, get("/")).await;

    assert_eq!((second.status().as_u16(), origin.forwards()), (503, 0));
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_another_process_does_is_left_to_it_without_a_word() {
    let store = Steps::new();
    let policy = || Policy::new().stale_while_revalidate(60 * SECOND);
    let (mut cache, origin, clock) = cache_with(&store, policy());
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    settle().await;
    clock.advance(10 * SECOND);
    let other = Steps { is_held: true, ..store.clone() };
    let elsewhere = Origin::default();
    let layer = CacheLayer::builder(other.clone()).policy(policy()).clock(clock).build().unwrap();
    let mut there = layer.layer(elsewhere.clone());

    for asked in 1..5 {
        assert_eq!(text(ask(&mut there, get("/")).await).await.unwrap(), "old");
        settle().await;
        // Nothing is marked: each asks for the lease.
        assert_eq!((elsewhere.forwards(), other.asked.load(SeqCst)), (0, asked + 1));
    }
    // Here the lease is free.
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "old");
    settle().await;
    assert_eq!(origin.waiting(), 1);
    origin.reply(ok("new"));
    settle().await;
    assert_eq!(text(ask(&mut there, get("/")).await).await.unwrap(), "new");
    assert_eq!(elsewhere.forwards(), 0);
}
