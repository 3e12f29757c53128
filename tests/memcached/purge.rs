//! What one process purges is purged for all, wherever a fill is, in each of them.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use microcache::{
    CacheHandle, CacheLayer, MemcachedStore, MemoryStore, Policy, Purge, PurgeErrorKind, Reach, Store, Tenant, Tiered,
};
use tokio::time::sleep;
use tower::Layer;

use crate::{
    common::{Gated, Origin, TestCache, ask, get, late::Stage, reply, settle, status, text},
    lease::until,
    memcached::Memcached,
    shared::{PATIENCE, settle_io},
};

pub(crate) const LAMP: &[(&str, &str)] = &[("cache-control", "max-age=3600"), ("surrogate-key", "lamp list")];
pub(crate) const NEAR: Duration = Duration::from_millis(100);

pub(crate) struct Process {
    pub(crate) cache: TestCache,
    pub(crate) origin: Origin,
    pub(crate) handle: CacheHandle,
}

pub(crate) fn process(store: impl Store) -> Process {
    let layer = CacheLayer::builder(store).policy(Policy::new()).store_deadline(PATIENCE).build().unwrap();
    let origin = Origin::default();
    Process { cache: layer.layer(origin.clone()), origin, handle: layer.handle() }
}

impl Process {
    async fn answers(&mut self, new: &'static str) -> String {
        self.origin.queue([reply(200, LAMP, new)]);
        text(ask(&mut self.cache, get("/a")).await).await.unwrap()
    }
}

/// Each case has a namespace of its own, so that they do not purge each other's.
pub(crate) fn far(memcached: &Memcached, case: &str) -> MemcachedStore {
    MemcachedStore::builder([memcached.address()]).namespace(case).deadline(PATIENCE).build().unwrap()
}

pub(crate) fn tiered(memcached: &Memcached, case: &str) -> Tiered<MemoryStore, MemcachedStore> {
    Tiered::new(MemoryStore::with_max_bytes(8 << 20), far(memcached, case)).near_freshness(NEAR)
}

pub(crate) fn purges() -> [(&'static str, Purge); 4] {
    [
        ("url", Purge::url("https://shop.example/a").into()),
        ("tag", Purge::tag("lamp").into()),
        ("tenant", Purge::tenant(Tenant::shared())),
        ("all", Purge::all()),
    ]
}

/// As long as the purge says that it takes.
pub(crate) async fn reached(reach: Reach) {
    let Reach::Within(time) = reach else { panic!("there are others") };
    sleep(time).await;
}

/// A fill is in flight in one process, another purges, the fill lands, others ask.
async fn late<S: Store>(store: impl Fn() -> S, stage: Stage, purge: Purge, is_soft: bool, case: &str) {
    let gate = stage.gate();
    let one = process(Gated(store(), Arc::clone(&gate)));
    let (other, mut third) = (process(store()), process(store()));
    let early = tokio::spawn({
        let mut cache = one.cache.clone();
        async move { text(ask(&mut cache, get("/a")).await).await.unwrap() }
    });
    until(|| one.origin.waiting() == 1).await;
    let feed = stage.begin(&one.origin, LAMP);
    settle().await;
    // The clocks of two processes agree to the millisecond at best.
    sleep(Duration::from_millis(3)).await;

    let purged = other.handle.purge(if is_soft { purge.soft() } else { purge }).await.unwrap();

    stage.end(&one.origin, LAMP, &feed, &gate);
    assert_eq!(early.await.unwrap(), "old", "{case}");
    reached(purged.others()).await;
    for mut process in [other, one] {
        if is_soft {
            process.origin.queue([reply(200, LAMP, "new")]);
            let answer = ask(&mut process.cache, get("/a")).await;
            let said = status(&answer);
            let body = text(answer).await.unwrap();
            assert!(body == "new" || said.starts_with("hit; ttl=0"), "{case}: {body} {said}");
            settle_io().await;
        } else {
            assert_eq!(process.answers("new").await, "new", "{case}");
        }
    }
    // What each of them has by now, it has from the origin.
    sleep(NEAR + Duration::from_millis(10)).await;
    assert_eq!(third.answers("new").await, "new", "{case}");
}

#[tokio::test]
async fn a_fill_in_one_process_that_began_before_a_purge_in_another_is_not_used_after_it() {
    let memcached = Memcached::start(&[]);
    let mut cases = Vec::new();
    for stage in Stage::ALL {
        for (name, purge) in purges() {
            for is_soft in [false, true] {
                let (memcached, purge) = (&memcached, purge.clone());
                cases.push(async move {
                    for is_tiered in [false, true] {
                        let case = format!("{stage:?}-{name}-{is_soft}-{is_tiered}");
                        if is_tiered {
                            late(|| tiered(memcached, &case), stage, purge.clone(), is_soft, &case).await;
                        } else {
                            late(|| far(memcached, &case), stage, purge.clone(), is_soft, &case).await;
                        }
                    }
                });
            }
        }
    }
    join_all(cases).await;
}

#[tokio::test]
async fn what_one_process_purges_no_other_serves_once_it_has_said_so() {
    let memcached = Memcached::start(&[]);
    for (case, purge) in purges() {
        let (mut one, mut other) = (process(tiered(&memcached, case)), process(tiered(&memcached, case)));
        assert_eq!(one.answers("old").await, "old");
        assert_eq!(other.answers("elsewhere").await, "old");
        sleep(Duration::from_millis(3)).await;

        let purged = one.handle.purge(purge).await.unwrap();

        assert_eq!(purged.to_string(), "this process now, others within 0.2 s");
        assert_eq!(one.answers("new").await, "new", "{case}: at once");
        reached(purged.others()).await;
        assert_eq!(other.answers("newer").await, "new", "{case}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_and_is_told_when_it_does() {
    let memcached = Memcached::start(&[]);
    let impatient = MemcachedStore::builder([memcached.address()]).deadline(Duration::from_millis(50));
    let (mut one, mut other) =
        (process(impatient.namespace("case").build().unwrap()), process(far(&memcached, "case")));
    assert_eq!(one.answers("old").await, "old");
    assert_eq!(other.answers("new").await, "old");
    sleep(Duration::from_millis(3)).await;

    memcached.pause();
    let error = one.handle.purge(Purge::tag("lamp")).await.unwrap_err();
    assert_eq!(error.kind(), PurgeErrorKind::Store);
    sleep(Duration::from_millis(200)).await;
    memcached.resume();

    sleep(Duration::from_millis(1_000)).await;
    assert_eq!(other.answers("newer").await, "new");
}

#[tokio::test]
async fn what_another_process_confirms_before_it_knows_of_a_purge_is_not_used_after_it() {
    let memcached = Memcached::start(&[]);
    let (mut one, mut other) = (process(far(&memcached, "case")), process(far(&memcached, "case")));
    let to_be_confirmed = [("cache-control", "no-cache"), ("etag", "\"a\""), LAMP[1]];
    other.origin.queue([reply(200, &to_be_confirmed, "old"), reply(304, &to_be_confirmed, "")]);
    for _ in 0..2 {
        assert_eq!(text(ask(&mut other.cache, get("/a")).await).await.unwrap(), "old");
    }
    sleep(Duration::from_millis(3)).await;

    let purged = one.handle.purge(Purge::tag("lamp")).await.unwrap();
    sleep(Duration::from_millis(3)).await;
    other.origin.queue([reply(304, &[LAMP[0], LAMP[1], ("etag", "\"a\"")], "")]);
    drop(ask(&mut other.cache, get("/a")).await);
    reached(purged.others()).await;

    assert_eq!(one.answers("new").await, "new");
    settle_io().await;
    assert_eq!(other.answers("newer").await, "new");
}
