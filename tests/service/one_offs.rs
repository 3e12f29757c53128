//! Admission on second sight: what is asked for once takes no room.

use microcache::{CacheLayer, MemoryStore, Policy};
use tokio_test::assert_ready_ok;
use tower::Layer;

use crate::common::*;

const ONE_OFF: &str = "fwd=uri-miss; fwd-status=200; detail=one-off";
const STORED: &str = "fwd=uri-miss; fwd-status=200; ttl=1; stored";

#[tokio::test]
async fn a_response_is_stored_when_its_key_is_asked_for_again() {
    let (mut cache, origin, clock) = cache(Policy::new().admit_after(3));
    for said in [ONE_OFF, ONE_OFF, STORED] {
        origin.queue([ok("page")]);
        assert_eq!(status(&ask(&mut cache, get("/")).await), said);
    }
    assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=1");

    // It is known now.
    clock.advance(2 * SECOND);
    origin.queue([ok("page")]);
    assert!(status(&ask(&mut cache, get("/")).await).ends_with("stored"));
    origin.queue([ok("page")]);
    assert_eq!(status(&ask(&mut cache, get("/other")).await), ONE_OFF);
}

#[tokio::test]
async fn those_that_wait_share_what_is_not_stored_and_it_is_no_marker() {
    let (mut cache, origin, _) = cache(Policy::new().admit_after(15));
    for round in 1..=3 {
        let mut asked: Vec<_> = (0..4).map(|_| send(&mut cache, get("/"))).collect();
        asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
        assert_eq!(origin.waiting(), 1);

        origin.reply(ok("page"));

        assert_eq!(status(&assert_ready_ok!(asked.remove(0).poll())), ONE_OFF, "round {round}");
        for mut follower in asked {
            let answer = assert_ready_ok!(follower.poll());
            assert_eq!(status(&answer), "fwd=uri-miss; collapsed", "round {round}");
            assert_eq!(text(answer).await.unwrap(), "page");
        }
    }
}

#[tokio::test]
async fn requests_that_arrive_together_are_more_than_one() {
    let (mut cache, origin, _) = cache(Policy::new().admit_after(2));
    let mut asked: Vec<_> = (0..2).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    origin.reply(ok("page"));

    assert_eq!(status(&assert_ready_ok!(asked[0].poll())), STORED);
}

#[tokio::test]
async fn a_body_that_is_still_coming_is_shared_and_not_stored_either() {
    let (mut cache, origin, _) = cache(Policy::new().admit_after(15));
    let (body, feed) = TestBody::declared(4);
    let mut asked: Vec<_> = (0..2).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    origin.reply(reply(200, &[], body));
    let answers: Vec<_> = asked.iter_mut().map(|asked| assert_ready_ok!(asked.poll())).collect();
    assert_eq!(status(&answers[0]), ONE_OFF);

    feed.data("page");
    feed.end();

    for answer in answers {
        assert_eq!(text(answer).await.unwrap(), "page");
    }
    assert!(send(&mut cache, get("/")).poll().is_pending(), "nothing is stored");
}

#[tokio::test]
async fn a_flood_of_one_offs_displaces_nothing() {
    // Room for some twenty.
    let store = MemoryStore::with_max_bytes(32 << 10);
    let (mut cache, origin, _) = cache_on(store, Policy::new().admit_after(2).default_freshness(3_600 * SECOND));
    let hot: Vec<_> = (0..10).map(|number| format!("/hot/{number}")).collect();
    for path in hot.iter().chain(&hot) {
        origin.queue([ok("page")]);
        ask(&mut cache, get(path)).await;
    }
    let mut stored = 0;
    for number in 0..10_000 {
        origin.queue([ok("page")]);
        stored += u32::from(status(&ask(&mut cache, get(&format!("/flood/{number}"))).await).ends_with("stored"));
    }

    assert!(stored < 100, "{stored} of 10,000");
    for path in hot {
        assert_eq!(status(&ask(&mut cache, get(&path)).await), "hit; ttl=3600", "{path}");
    }
}

#[test]
fn what_is_remembered_of_a_flood_is_bounded() {
    let origin = Origin::default();
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 10)).policy(Policy::new().admit_after(2));
    let mut cache = layer.build().unwrap().layer(origin.clone());
    let mut flood = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            origin.queue([ok("page")]);
            drop(assert_ready_ok!(send(&mut cache, get(&format!("/flood/{number}"))).poll()));
        }
    };
    let sketch = allocation_counter::measure(|| flood(0..2_000));
    let grown = allocation_counter::measure(|| flood(2_000..10_000));

    assert!(sketch.bytes_current < 4 << 20, "{} bytes", sketch.bytes_current);
    assert!(grown.bytes_current < 64 << 10, "{} bytes", grown.bytes_current);
}
