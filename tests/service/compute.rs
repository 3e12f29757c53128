//! Computations without HTTP, through the handle.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use microcache::{
    CacheHandle, CacheKey, CacheLayer, Collapse, CollapseLayer, ManualClock, MemoryStore, Policy, Put, Store,
    StoreError, StoreErrorKind, Stored, Tenant,
};
use tokio::sync::Notify;
use tokio_test::{
    assert_pending, assert_ready_err, assert_ready_ok,
    task::{Spawn, spawn},
};

use crate::common::{MILLI, SECOND, settle};

type Value = Result<&'static str, &'static str>;

fn handle_on(store: impl Store, collapse: Collapse) -> (CacheHandle, ManualClock) {
    let clock = ManualClock::new();
    let policy = Policy::new().collapse(collapse);
    (CacheLayer::builder(store).policy(policy).clock(clock.clone()).build().unwrap().handle(), clock)
}

fn handle() -> (CacheHandle, ManualClock) {
    handle_on(MemoryStore::with_max_bytes(1 << 20), Collapse::new())
}

/// Computations in the test's hands, and how many began.
#[derive(Clone, Default)]
struct Work {
    begun: Arc<AtomicUsize>,
    go: Arc<Notify>,
}

impl Work {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Lets the computation that waits, or the next one, end.
    fn go(&self) {
        self.go.notify_one();
    }

    async fn of(self, value: Value) -> Result<Bytes, &'static str> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.go.notified().await;
        value.map(|value| if value == "panic" { panic!("it panicked") } else { Bytes::from_static(value.as_bytes()) })
    }

    /// Asks for `a` of everybody's.
    fn ask(
        &self,
        handle: &CacheHandle,
        freshness: Duration,
        value: Value,
    ) -> Spawn<impl Future<Output = Result<Bytes, &'static str>> + use<>> {
        let (handle, work) = (handle.clone(), self.clone());
        let compute = move || work.of(value);
        spawn(async move { handle.get_or_compute(&Tenant::shared(), &["a"], freshness, compute).await })
    }
}

/// Computes `value` at once if it has to.
async fn get(handle: &CacheHandle, tenant: Tenant, key: &[&str], freshness: Duration, value: &'static str) -> Bytes {
    let compute = move || async move { Ok::<_, std::convert::Infallible>(Bytes::from_static(value.as_bytes())) };
    handle.get_or_compute(&tenant, key, freshness, compute).await.unwrap()
}

#[tokio::test]
async fn a_value_is_computed_once_while_it_is_fresh() {
    let (handle, clock) = handle();
    let ask = |value| get(&handle, Tenant::shared(), &["a"], SECOND, value);

    assert_eq!(ask("one").await, "one");
    clock.advance(SECOND - MILLI);
    assert_eq!(ask("two").await, "one");
    clock.advance(MILLI);
    assert_eq!(ask("three").await, "three");
    assert_eq!((handle.stats().forwards, handle.stats().hits), (2, 1));
}

#[tokio::test]
async fn tenants_and_keys_share_nothing() {
    let (handle, _) = handle();
    let lists: [&[&str]; 5] = [&[], &[""], &["a"], &["a", "b"], &["a/b"]];
    let tenants = [Tenant::shared(), Tenant::named("acme"), Tenant::named("acme|compute()")];
    for tenant in &tenants {
        for key in lists {
            assert_eq!(get(&handle, tenant.clone(), key, SECOND, "own").await, "own");
        }
    }
    assert_eq!((handle.stats().forwards, handle.stats().hits), (15, 0));
}

#[tokio::test]
async fn what_nobody_known_asks_for_and_what_has_no_key_is_for_the_caller_alone() {
    let (handle, _) = handle();
    let long = "a".repeat(9_000);
    for (tenant, key) in [(Tenant::unidentified(), "a"), (Tenant::shared(), long.as_str())] {
        assert_eq!(get(&handle, tenant.clone(), &[key], SECOND, "one").await, "one");
        assert_eq!(get(&handle, tenant, &[key], SECOND, "two").await, "two");
    }
    handle.pause();
    assert_eq!(get(&handle, Tenant::shared(), &["b"], SECOND, "one").await, "one");
    handle.resume();
    assert_eq!(get(&handle, Tenant::shared(), &["b"], SECOND, "two").await, "two");
}

#[tokio::test]
async fn of_those_that_ask_together_one_computes() {
    for (freshness, later) in [(SECOND, "one"), (Duration::ZERO, "two"), (Duration::MAX, "one")] {
        let ((handle, _), work) = (handle(), Work::default());
        let mut asked = ["one", "two", "three"].map(|value| work.ask(&handle, freshness, Ok(value)));
        for ask in &mut asked {
            assert_pending!(ask.poll());
        }
        work.go();
        for ask in &mut asked {
            assert_eq!(assert_ready_ok!(ask.poll()), "one");
        }
        assert_eq!(work.begun(), 1);

        let mut next = work.ask(&handle, freshness, Ok("two"));
        work.go();
        assert_eq!(assert_ready_ok!(next.poll()), later, "fresh for {freshness:?}");
    }
}

#[tokio::test]
async fn where_nothing_is_stored_they_still_share() {
    let (handle, work) = (CollapseLayer::new().handle(), Work::default());
    let mut asked = ["one", "two"].map(|value| work.ask(&handle, SECOND, Ok(value)));
    for ask in &mut asked {
        assert_pending!(ask.poll());
    }
    work.go();

    for ask in &mut asked {
        assert_eq!(assert_ready_ok!(ask.poll()), "one");
    }
}

#[tokio::test]
async fn an_error_is_for_its_caller_and_the_next_one_computes() {
    let ((handle, _), work) = (handle(), Work::default());
    let values = [Err("one"), Err("two"), Err("three"), Err("four"), Ok("five"), Ok("six")];
    let mut asked = values.map(|value| work.ask(&handle, SECOND, value));
    for ask in &mut asked {
        assert_pending!(ask.poll());
    }
    for (number, expected) in ["one", "two", "three", "four"].into_iter().enumerate() {
        assert_eq!(work.begun(), number + 1, "one at a time");
        work.go();
        assert_eq!(assert_ready_err!(asked[number].poll()), expected);
        assert_pending!(asked[number + 1].poll());
    }
    work.go();
    for ask in &mut asked[4..] {
        assert_eq!(assert_ready_ok!(ask.poll()), "five");
    }
    assert_eq!(work.begun(), 5);
}

#[tokio::test]
async fn after_a_panic_the_next_one_computes() {
    let ((handle, _), work) = (handle(), Work::default());
    let mut first = work.ask(&handle, SECOND, Ok("panic"));
    let mut second = work.ask(&handle, SECOND, Ok("two"));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    work.go();
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| first.poll())).is_err());

    work.go();
    assert_eq!(assert_ready_ok!(second.poll()), "two");
}

#[tokio::test]
async fn a_computation_outlives_its_caller() {
    let ((handle, _), work) = (handle(), Work::default());
    let mut first = work.ask(&handle, SECOND, Ok("one"));
    let mut second = work.ask(&handle, SECOND, Ok("two"));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    drop(first);
    work.go();
    settle().await;

    assert_eq!(assert_ready_ok!(second.poll()), "one");
    assert_eq!(get(&handle, Tenant::shared(), &["a"], SECOND, "three").await, "one");
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_too_long_computes_alone() {
    let collapse = Collapse::new().wait_at_most(MILLI).overflow(microcache::Overflow::Unavailable);
    let ((handle, _), work) = (handle_on(MemoryStore::with_max_bytes(1 << 20), collapse), Work::default());
    let mut first = work.ask(&handle, SECOND, Ok("one"));
    let mut second = work.ask(&handle, SECOND, Ok("two"));
    assert_pending!(first.poll());
    assert_pending!(second.poll());

    tokio::time::advance(MILLI * 2).await;
    assert_pending!(second.poll());
    assert_eq!(work.begun(), 2);
}

#[tokio::test]
async fn a_computation_that_asks_for_its_own_key_does_not_wait_for_itself() {
    let (handle, _) = handle();
    let inner = handle.clone();
    let compute = move || async move {
        let inner = get(&inner, Tenant::shared(), &["a"], SECOND, "inner").await;
        Ok::<_, &str>([&inner[..], b" and outer"].concat().into())
    };
    let tenant = Tenant::shared();
    let outer = handle.get_or_compute(&tenant, &["a"], SECOND, compute);
    assert_eq!(outer.now_or_never().unwrap().unwrap(), "inner and outer");
}

#[tokio::test]
async fn a_store_that_fails_costs_one_computation() {
    struct Broken;
    impl Store for Broken {
        async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> {
            Err(StoreError::new(StoreErrorKind::Io, "gone"))
        }
        async fn put(&self, _: &CacheKey, _: Stored) -> Result<Put, StoreError> {
            Err(StoreError::new(StoreErrorKind::Io, "gone"))
        }
        async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> {
            Err(StoreError::new(StoreErrorKind::Io, "gone"))
        }
    }
    let (handle, _) = handle_on(Broken, Collapse::new());

    assert_eq!(get(&handle, Tenant::shared(), &["a"], SECOND, "one").await, "one");
    assert_eq!(get(&handle, Tenant::shared(), &["a"], SECOND, "two").await, "two");
    assert!(handle.stats().store_errors > 0);
}

#[tokio::test]
async fn a_value_has_no_limit_of_its_own() {
    let large = Bytes::from(vec![b'a'; 3 << 20]);
    for (bound, computed) in [(1 << 20, 2), (8 << 20, 1)] {
        let (handle, _) = handle_on(MemoryStore::with_max_bytes(bound), Collapse::new());
        for _ in 0..2 {
            let value = large.clone();
            let compute = move || async move { Ok::<_, &str>(value) };
            let found = handle.get_or_compute(&Tenant::shared(), &["a"], SECOND, compute).await;
            assert_eq!(found.unwrap().len(), large.len());
        }
        assert_eq!(handle.stats().forwards, computed, "in {bound}");
    }
}
