//! Who comes to a process while it forwards what it was asked before a purge in another one, longer ago than that takes.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use microcache::{MemoryStore, Purge, Store, Tiered};
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};

use crate::{
    common::{Gated, TestBody, TestCache, ask, get, reply, settle, status, text},
    lease::until,
    memcached::Memcached,
    purge::{LAMP, NEAR, far, process, purges, reached, tiered},
    shared::settle_io,
};

const MANY: usize = 20;

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The origin has not answered yet.
    Asked,
    /// The body is still coming, to those that ask first and to those that ask later.
    Body,
    /// It waits for the store to take it.
    Put,
}

fn asks(cache: &TestCache) -> JoinHandle<String> {
    let mut cache = cache.clone();
    tokio::spawn(async move { text(ask(&mut cache, get("/a")).await).await.unwrap() })
}

/// What they get who ask the same process before the purge and late after it, and how often that has forwarded.
async fn late<S: Store>(store: impl Fn() -> S, stage: Stage, purge: Option<Purge>) -> (String, Vec<String>, usize) {
    let gate = Arc::new(Semaphore::new(if matches!(stage, Stage::Put) { 0 } else { 1 }));
    let (one, other) = (process(Gated(store(), Arc::clone(&gate))), process(store()));
    let early = asks(&one.cache);
    until(|| one.origin.waiting() == 1).await;
    let (body, feed) = TestBody::declared(3);
    if matches!(stage, Stage::Body) {
        feed.data("o");
        one.origin.reply(reply(200, LAMP, body));
        settle().await;
    }
    // The clocks of two processes agree to the millisecond at best.
    sleep(Duration::from_millis(3)).await;
    let purged = other.handle.purge(purge.unwrap_or(Purge::tag("nobody's").into())).await.unwrap();
    reached(purged.others()).await;
    if matches!(stage, Stage::Put) {
        one.origin.reply(reply(200, LAMP, "old"));
        settle().await;
    }
    // For those that it is too late to join for.
    one.origin.queue((0..MANY).map(|_| reply(200, LAMP, "new")));
    let late: Vec<_> = (0..MANY).map(|_| asks(&one.cache)).collect();
    settle_io().await;
    match stage {
        Stage::Asked => drop(one.origin.reply(reply(200, LAMP, "old"))),
        Stage::Body => {
            feed.data("ld");
            feed.end();
        }
        Stage::Put => {}
    }
    gate.add_permits(100);
    let answers = join_all(late).await.into_iter().map(Result::unwrap).collect();
    (early.await.unwrap(), answers, one.origin.forwards())
}

#[tokio::test]
async fn who_comes_late_after_a_purge_elsewhere_does_not_get_what_was_asked_for_before_it() {
    let memcached = Memcached::start(&[]);
    let mut cases = Vec::new();
    for stage in [Stage::Asked, Stage::Body, Stage::Put] {
        for (name, purge) in purges() {
            let memcached = &memcached;
            cases.push(async move {
                for is_tiered in [false, true] {
                    let (case, purge) = (format!("{stage:?}-{name}-{is_tiered}"), Some(purge.clone()));
                    let (early, late, forwards) = if is_tiered {
                        late(|| tiered(memcached, &case), stage, purge).await
                    } else {
                        late(|| far(memcached, &case), stage, purge).await
                    };
                    assert_eq!(early, "old", "{case}");
                    assert_eq!(late, ["new"; MANY], "{case}");
                    assert_eq!(forwards, 2, "{case}: all of them share the next one");
                }
            });
        }
    }
    join_all(cases).await;
}

#[tokio::test]
async fn without_a_purge_who_comes_late_shares_what_is_on_its_way() {
    let memcached = Memcached::start(&[]);
    let (each, memcached) = ([Stage::Asked, Stage::Body, Stage::Put], &memcached);
    join_all(each.map(|stage| async move {
        for is_tiered in [false, true] {
            let case = format!("{stage:?}-{is_tiered}");
            let (early, late, forwards) = if is_tiered {
                late(|| tiered(memcached, &case), stage, None).await
            } else {
                late(|| far(memcached, &case), stage, None).await
            };
            assert_eq!((&*early, forwards), ("old", 1), "{case}");
            assert_eq!(late, ["old"; MANY], "{case}");
        }
    }))
    .await;
}

#[tokio::test]
async fn memory_in_front_has_nothing_that_memcached_has_yet_to_take() {
    let memcached = Memcached::start(&[]);
    for is_soft in [false, true] {
        let (gate, case) = (Arc::new(Semaphore::new(0)), is_soft.to_string());
        let near = MemoryStore::with_max_bytes(8 << 20);
        let gated = Tiered::new(near, Gated(far(&memcached, &case), Arc::clone(&gate))).near_freshness(NEAR);
        let (one, other) = (process(gated), process(tiered(&memcached, &case)));
        let early = asks(&one.cache);
        until(|| one.origin.waiting() == 1).await;
        sleep(Duration::from_millis(3)).await;
        let purge = if is_soft { Purge::all().soft() } else { Purge::all() };
        reached(other.handle.purge(purge).await.unwrap().others()).await;
        one.origin.reply(reply(200, LAMP, "old"));
        assert_eq!(early.await.unwrap(), "old");

        one.origin.queue([reply(200, LAMP, "new")]);
        if is_soft {
            // It is taken, and known to be stale.
            gate.add_permits(100);
            settle_io().await;
            let said = status(&ask(&mut one.cache.clone(), get("/a")).await);
            assert!(!said.starts_with("hit") || said.starts_with("hit; ttl=0"), "{said}");
        } else {
            let late = asks(&one.cache);
            settle_io().await;
            gate.add_permits(100);
            assert_eq!(late.await.unwrap(), "new");
        }
    }
}
