//! A store that other processes use, too, as one process sees it: leases, and operations that take their time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use microcache::{
    CacheKey, CacheLayer, Clock, Collapse, Lease, LeaseGuard, ManualClock, MemoryStore, Overflow, Peek, Policy, Put,
    Reach, Store, StoreError, StoreErrorKind, Stored, Tiered,
};
use tokio::{sync::Semaphore, time::Instant};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, Service};

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
    /// How often it was asked for what is stored.
    looks: Arc<AtomicUsize>,
    reach: Reach,
    fences: Arc<Fences>,
}

/// The one that another process has raised for all.
#[derive(Default)]
struct Fences {
    raised: Mutex<Option<SystemTime>>,
    /// Nobody can tell.
    is_silent: AtomicBool,
    asked: AtomicUsize,
}

impl Fences {
    fn raise(&self, clock: &ManualClock) {
        *self.raised.lock().unwrap() = Some(clock.now());
        clock.advance(MILLI);
    }

    fn cover(&self, stored: &Stored) -> bool {
        self.raised.lock().unwrap().is_some_and(|raised| stored.began() <= raised)
    }
}

const MANY: usize = 1_000;

impl Steps {
    /// Nothing has to be waited for longer than a moment.
    fn new() -> Self {
        let many = || Arc::new(Semaphore::new(MANY));
        let inner = MemoryStore::with_max_bytes(1 << 20);
        let (asked, looks, fences) = (Arc::default(), Arc::default(), Arc::default());
        let (gets, puts, leases, reach) = (many(), many(), many(), Reach::Alone);
        Self { inner, gets, puts, leases, is_held: false, is_shared: true, asked, looks, reach, fences }
    }

    fn held() -> Self {
        Self { is_held: true, ..Self::new() }
    }
}

/// From now on they hang.
fn hang(operations: &Semaphore) {
    operations.forget_permits(MANY);
}

/// An error once there are no more of them.
async fn step(operations: &Semaphore) -> Result<(), StoreError> {
    tokio::task::yield_now().await;
    operations.acquire().await.map_err(|closed| StoreError::new(StoreErrorKind::Io, closed))?.forget();
    Ok(())
}

impl Store for Steps {
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        self.looks.fetch_add(1, SeqCst);
        step(&self.gets).await?;
        Ok(self.inner.get(key).await?.filter(|stored| !self.fences.cover(stored)))
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        step(&self.puts).await?;
        if self.fences.cover(&stored) {
            return Ok(Put::Fenced);
        }
        self.inner.put(key, stored).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn reach(&self) -> Reach {
        self.reach
    }

    async fn is_fenced(&self, _: &CacheKey, stored: &Stored) -> Result<bool, StoreError> {
        self.fences.asked.fetch_add(1, SeqCst);
        match self.fences.is_silent.load(SeqCst) {
            true => Err(StoreError::new(StoreErrorKind::Io, "nobody can tell")),
            false => Ok(self.fences.cover(stored)),
        }
    }

    async fn lease(&self, _: &CacheKey, _: Duration) -> Result<Lease, StoreError> {
        self.asked.fetch_add(1, SeqCst);
        step(&self.leases).await?;
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
    for _ in 0..5 {
        assert_pending!(first.poll());
        settle().await;
    }
    let mut second = send(&mut cache, get("/"));
    for _ in 0..5 {
        assert_pending!(second.poll());
        settle().await;
    }

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
        (Overflow::Forward, "max-age=1", "fwd=stale; fwd-status=200"),
        (Overflow::Forward, "max-age=1, must-revalidate, stale-if-error=60", "fwd=stale; fwd-status=200"),
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
        if is_forwarded == 1 {
            settle().await;
            assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=1", "it was stored: {said}, {overflow:?}");
        }
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

/// What those get who join a forward so long after it began, and how often the fences were asked for.
async fn joined_after(since: Duration, is_purged: bool, is_silent: bool) -> (Vec<String>, usize, usize) {
    let store = Steps { reach: Reach::Within(SECOND), ..Steps::new() };
    store.fences.is_silent.store(is_silent, SeqCst);
    let (mut cache, origin, clock) = cache_with(&store, Policy::new());
    let mut first = send(&mut cache, get("/"));
    for _ in 0..5 {
        assert_pending!(first.poll());
        settle().await;
    }
    clock.advance(MILLI);
    if is_purged {
        store.fences.raise(&clock);
    }
    tokio::time::advance(since).await;
    let mut others: Vec<_> = (0..5).map(|_| send(&mut cache, get("/"))).collect();
    for _ in 0..5 {
        others.iter_mut().for_each(|other| assert_pending!(other.poll()));
        settle().await;
    }
    origin.reply(ok("old"));
    origin.queue((0..5).map(|_| ok("new")));
    assert_eq!(text(assert_ready_ok!(first.poll())).await.unwrap(), "old");
    let mut answers = Vec::new();
    for other in futures_util::future::join_all(others.into_iter().map(|other| other.into_inner())).await {
        answers.push(text(other.unwrap()).await.unwrap());
    }
    (answers, origin.forwards(), store.fences.asked.load(SeqCst))
}

#[tokio::test(start_paused = true)]
async fn who_joins_later_than_a_purge_takes_to_get_here_gets_what_the_store_knows_no_purge_of() {
    let table = [
        (999 * MILLI, true, false, "old", 1, 0),
        (1_000 * MILLI, false, false, "old", 1, 5),
        (1_000 * MILLI, true, false, "new", 2, 5),
        (1_000 * MILLI, true, true, "new", 2, 5),
        // They find it in the store.
        (1_000 * MILLI, false, true, "old", 1, 5),
    ];
    for (since, is_purged, is_silent, expected, forwards, asked) in table {
        let said = joined_after(since, is_purged, is_silent).await;
        assert_eq!(said, (vec![expected.to_owned(); 5], forwards, asked), "{since:?} {is_purged} {is_silent}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_its_forward_is_shared_with_nobody_before_the_store_was_asked() {
    let fields = [("cache-control", "max-age=1, stale-if-error=60"), ("etag", "\"a\"")];
    for (answer, is_older) in [(304, true), (500, true), (200, false)] {
        for (is_purged, expected) in [(false, "old"), (true, "new")] {
            let store = Steps { reach: Reach::Within(SECOND), ..Steps::new() };
            let (mut cache, origin, clock) = cache_with(&store, Policy::new());
            origin.queue([reply(200, &fields, "old")]);
            ask(&mut cache, get("/")).await;
            settle().await;
            clock.advance(2 * SECOND);
            let mut asked: Vec<_> = (0..2).map(|_| send(&mut cache, get("/"))).collect();
            for _ in 0..5 {
                asked.iter_mut().for_each(|asked| assert_pending!(asked.poll()));
                settle().await;
            }
            if is_purged {
                clock.advance(MILLI);
                store.fences.raise(&clock);
            }
            origin.queue([reply(200, &fields, "new")]);
            origin.reply(reply(answer, &fields, if answer == 200 { "new" } else { "" }));

            assert_eq!(origin.forwards(), 2);
            let second = asked.pop().unwrap();
            let (first, second) = tokio::join!(asked.pop().unwrap().into_inner(), second.into_inner());
            assert_eq!(text(first.unwrap()).await.unwrap(), if is_older { "old" } else { "new" }, "{answer}");
            let second = text(second.unwrap()).await.unwrap();
            assert_eq!(second, if is_older { expected } else { "new" }, "{answer} {is_purged}");
            assert_eq!(store.fences.asked.load(SeqCst), usize::from(is_older), "{answer} {is_purged}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_leases_the_store_is_asked_once_before_a_forward_and_not_again_if_it_was() {
    let policy = || Policy::new().collapse(Collapse::new().without_leases());
    // In memory, and for how long that counts.
    for (near_freshness, looks) in [(60 * SECOND, 1), (Duration::ZERO, 3)] {
        let store = Steps::new();
        let near = MemoryStore::with_max_bytes(1 << 20);
        let layer = CacheLayer::builder(Tiered::new(near, store.clone()).near_freshness(near_freshness));
        let (clock, origin) = (ManualClock::new(), Origin::default());
        let mut cache = layer.policy(policy()).clock(clock.clone()).build().unwrap().layer(origin.clone());
        origin.queue([ok("old"), ok("new")]);
        // Nothing is near: the look has been to the store.
        ask(&mut cache, get("/")).await;
        assert_eq!(store.looks.load(SeqCst), 1);
        settle().await;

        clock.advance(10 * SECOND);
        let before = store.looks.load(SeqCst);
        let three = std::array::from_fn::<_, 3, _>(|_| cache.call(get("/")));
        futures_util::future::join_all(three).await;
        assert_eq!((store.looks.load(SeqCst) - before, origin.forwards()), (looks, 2), "{near_freshness:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn memory_in_front_has_what_the_store_did_not_take_no_longer_than_a_purge_could_take_since_it_was_asked_for() {
    let (near, store) = (MemoryStore::with_max_bytes(1 << 20), Steps::new());
    hang(&store.puts);
    let layer =
        CacheLayer::builder(Tiered::new(near, store.clone()).near_freshness(SECOND)).store_deadline(60 * SECOND);
    let (clock, origin) = (ManualClock::new(), Origin::default());
    let mut cache = layer.clock(clock.clone()).build().unwrap().layer(origin.clone());
    let mut first = send(&mut cache, get("/"));
    for _ in 0..5 {
        assert_pending!(first.poll());
        settle().await;
    }
    clock.advance(400 * MILLI);
    tokio::time::advance(400 * MILLI).await;
    origin.reply(reply(200, &[("cache-control", "max-age=60")], "page"));
    text(assert_ready_ok!(first.poll())).await.unwrap();
    // The store fails.
    store.puts.close();
    settle().await;
    store.gets.close();

    tokio::time::advance(599 * MILLI).await;
    assert!(status(&ask(&mut cache, get("/")).await).starts_with("hit"));
    tokio::time::advance(MILLI).await;
    origin.queue([ok("once more")]);
    assert!(status(&ask(&mut cache, get("/")).await).starts_with("fwd"));
}

/// Whoever looks for what is not at hand waits for more than half of the deadline.
struct Slow {
    inner: MemoryStore,
    is_held: Arc<AtomicBool>,
}

impl Store for Slow {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.inner.peek(key)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        tokio::time::sleep(DEADLINE * 3 / 5).await;
        self.inner.get(key).await
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        self.inner.put(key, stored).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn lease(&self, _: &CacheKey, _: Duration) -> Result<Lease, StoreError> {
        Ok(if self.is_held.load(SeqCst) { Lease::Held } else { Lease::Granted(LeaseGuard::new(|| {})) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_a_variant_has_a_deadline_for_each_look_and_is_left_to_the_process_that_does_it() {
    for (leases, is_held, forwards) in [(true, true, 1), (true, false, 2), (false, false, 2)] {
        let (clock, origin, held) = (ManualClock::new(), Origin::default(), Arc::new(AtomicBool::new(false)));
        let store = Slow { inner: MemoryStore::with_max_bytes(1 << 20), is_held: Arc::clone(&held) };
        let collapse = if leases { Collapse::new() } else { Collapse::new().without_leases() };
        let policy = Policy::new().stale_while_revalidate(10 * SECOND).collapse(collapse);
        let builder = CacheLayer::builder(store).policy(policy).clock(clock.clone());
        let layer = builder.store_deadline(DEADLINE).build().unwrap();
        let mut cache = layer.layer(origin.clone());
        origin.queue((0..2).map(|_| reply(200, &[("vary", "accept")], "page")));
        ask(&mut cache, get_with("/", &[("accept", "a")])).await;
        tokio::time::sleep(SECOND).await;
        clock.advance(2 * SECOND);
        held.store(is_held, SeqCst);
        let before = layer.handle().stats().store_errors;

        let answer = ask(&mut cache, get_with("/", &[("accept", "a")])).await;
        assert_eq!(status(&answer), "hit; ttl=-1");
        tokio::time::sleep(SECOND).await;

        assert_eq!(origin.forwards(), forwards, "{leases} {is_held}");
        assert_eq!(layer.handle().stats().store_errors, before, "{leases} {is_held}");
    }
}
