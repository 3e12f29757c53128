//! What one tenant may have under way: over it, its policy says what becomes of a request, and others see nothing of it.

use microcache::{CacheLayer, Collapse, MemoryStore, Overflow, Policy, Tenancy, Tenant, TenantLimits};
use tokio_test::assert_ready_ok;
use tower::Layer;

use crate::common::*;

fn limited(limits: TenantLimits, overflow: Overflow) -> (TestCache, Origin) {
    let origin = Origin::default();
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20))
        .policy(Policy::new().collapse(Collapse::new().overflow(overflow)))
        .tenant(Tenancy::from_fn(|head| Tenant::named(head.uri().path().split('/').nth(1).unwrap_or_default())))
        .tenant_limits(limits);
    (layer.build().unwrap().layer(origin.clone()), origin)
}

#[tokio::test]
async fn over_its_flights_a_tenant_is_told_to_come_back_and_others_are_not() {
    let (mut cache, origin) = limited(TenantLimits::new().max_flights(2), Overflow::Unavailable);
    let mut first = send(&mut cache, get("/a/1"));
    let mut second = send(&mut cache, get("/a/2"));
    assert!(first.poll().is_pending() && second.poll().is_pending());

    let refused = assert_ready_ok!(send(&mut cache, get("/a/3")).poll());
    assert_eq!((refused.status().as_u16(), field(&refused, "retry-after")), (503, "1"));
    assert_eq!(status(&refused), "fwd=uri-miss; detail=overflow");
    let mut follower = send(&mut cache, get("/a/1"));
    assert!(follower.poll().is_pending(), "who can wait, waits");
    let mut other = send(&mut cache, get("/b/1"));
    assert!(other.poll().is_pending());
    assert_eq!(origin.waiting(), 3);

    origin.reply(ok("page"));
    assert_ready_ok!(first.poll());
    assert!(send(&mut cache, get("/a/3")).poll().is_pending(), "there is room again");
}

#[tokio::test]
async fn over_its_flights_a_tenant_forwards_alone_where_the_policy_says_so() {
    let (mut cache, origin) = limited(TenantLimits::new().max_flights(1), Overflow::Forward);
    let mut asked: Vec<_> = (0..3).map(|number| send(&mut cache, get(&format!("/a/{number}")))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    let mut alone = send(&mut cache, get("/a/1"));
    assert!(alone.poll().is_pending());

    assert_eq!(origin.waiting(), 4, "there is no flight to wait for");
}

#[tokio::test]
async fn over_those_that_wait_a_request_does_not_and_who_leaves_makes_room() {
    let (mut cache, origin) = limited(TenantLimits::new().max_waiting(2), Overflow::Unavailable);
    let mut asked: Vec<_> =
        ["/a/1", "/a/2", "/a/1", "/a/2", "/b/1", "/b/1"].map(|path| send(&mut cache, get(path))).into();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(assert_ready_ok!(send(&mut cache, get("/a/1")).poll()).status(), 503);
    drop(asked.remove(2));
    let mut next = send(&mut cache, get("/a/1"));
    assert!(next.poll().is_pending());
    assert_eq!(assert_ready_ok!(send(&mut cache, get("/a/2")).poll()).status(), 503);
    assert_eq!(origin.waiting(), 3);
}

#[tokio::test]
async fn clients_that_leave_take_nothing_of_the_quota_with_them() {
    let (mut cache, origin) = limited(TenantLimits::new().max_flights(1).max_waiting(1), Overflow::Unavailable);
    for round in 0..100 {
        let mut leader = send(&mut cache, get("/a/1"));
        let mut follower = send(&mut cache, get("/a/1"));
        assert!(leader.poll().is_pending() && follower.poll().is_pending(), "round {round}");
        if round % 2 == 0 {
            drop(leader);
            drop(follower);
        } else {
            drop(follower);
            drop(leader);
        }
        // The forward that its client left goes on in the background.
        settle().await;
        origin.reply(reply(200, &[("cache-control", "no-store")], "page"));
        settle().await;
        assert_eq!(origin.waiting(), 0);
        // What was marked is not led.
        let mut other = send(&mut cache, get(&format!("/a/other/{round}")));
        assert!(other.poll().is_pending(), "round {round}");
        origin.reply(ok("page"));
        assert_ready_ok!(other.poll());
        tokio::time::pause();
        tokio::time::advance(11 * SECOND).await;
        tokio::time::resume();
    }
}
