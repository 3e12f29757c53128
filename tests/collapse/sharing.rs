//! Rules 1, 2, 7 and 8: followers are future hits; the marker comes first; variants; a handler that asks itself.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use microcache::{CacheLayer, CollapseLayer, KeySpec, MemoryStore, Policy};
use tokio_test::assert_ready_ok;
use tower::{Layer, Service, service_fn};

use crate::common::*;

#[tokio::test]
async fn a_thousand_requests_that_arrive_together_are_one_forward() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut asked: Vec<_> = (0..1_000).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.forwards(), 1);

    origin.reply(ok("page"));

    for (index, mut asked) in asked.into_iter().enumerate() {
        assert!(asked.is_woken());
        let answer = assert_ready_ok!(asked.poll());
        let expected =
            if index == 0 { "fwd=uri-miss; fwd-status=200; ttl=1; stored" } else { "fwd=uri-miss; collapsed" };
        assert_eq!(status(&answer), expected);
        assert_eq!(text(answer).await.unwrap(), "page");
    }
    assert_eq!(origin.forwards(), 1);
}

#[tokio::test]
async fn collapsing_works_on_expiry_as_on_a_cold_start() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([ok("old")]);
    ask(&mut cache, get("/")).await;
    clock.advance(SECOND);

    let mut asked: Vec<_> = (0..100).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(origin.forwards(), 2);
}

#[tokio::test]
async fn a_response_without_any_freshness_is_shared_with_those_that_waited_and_no_one_else() {
    for fields in [&[("cache-control", "max-age=0")][..], &[]] {
        let (mut cache, origin, _) = cache(Policy::new().without_default_freshness());
        let mut leader = send(&mut cache, get("/"));
        let mut follower = send(&mut cache, get("/"));
        assert!(leader.poll().is_pending());
        assert!(follower.poll().is_pending());
        origin.reply(reply(200, fields, "page"));
        assert_ready_ok!(leader.poll());
        assert_eq!(text(assert_ready_ok!(follower.poll())).await.unwrap(), "page");

        origin.queue([reply(200, fields, "next")]);
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "next");
    }
}

#[tokio::test]
async fn what_is_for_one_request_alone_is_shared_with_nobody_and_all_are_released_at_once() {
    let unshareable = ["private", "no-store", "no-cache", "max-age=0, must-revalidate", "s-maxage=0"];
    for (directives, cookie) in unshareable.map(|it| (it, false)).into_iter().chain([("max-age=60", true)]) {
        let (mut cache, origin, _) = cache(Policy::new());
        let mut fields = vec![("cache-control", directives)];
        if cookie {
            fields.push(("set-cookie", "session=1"));
        }
        let mut asked: Vec<_> = (0..50).map(|_| send(&mut cache, get("/"))).collect();
        asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
        origin.reply(reply(200, &fields, "leader's"));
        assert_eq!(text(assert_ready_ok!(asked[0].poll())).await.unwrap(), "leader's");

        let mut late = send(&mut cache, get("/"));
        assert!(late.poll().is_pending());
        assert_eq!(origin.waiting(), 1, "who comes now does not wait: the marker is there");
        for asked in &mut asked[1..] {
            assert!(asked.is_woken());
            assert!(asked.poll().is_pending());
        }
        assert_eq!(origin.waiting(), 50, "all go to the origin in parallel");
        origin.reply(reply(200, &fields, "late"));
        assert_eq!(text(assert_ready_ok!(late.poll())).await.unwrap(), "late");
        for asked in &mut asked[1..] {
            origin.reply(reply(200, &fields, "own"));
            let answer = assert_ready_ok!(asked.poll());
            assert!(status(&answer).contains("collapsed=?0"), "{}", status(&answer));
            assert_eq!(text(answer).await.unwrap(), "own");
        }
    }
}

#[tokio::test]
async fn a_marked_key_is_stored_again_as_soon_as_it_can_be() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &[("cache-control", "private")], "mine"), ok("everybody's")]);
    ask(&mut cache, get("/")).await;
    ask(&mut cache, get("/")).await;
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "everybody's");
    clock.advance(SECOND);

    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(origin.waiting(), 1, "the marker is gone");
}

#[tokio::test]
async fn followers_of_another_variant_get_a_flight_of_their_own_in_parallel() {
    let (mut cache, origin, _) = cache(Policy::new());
    let in_language = |language| get_with("/", &[("accept-language", language)]);
    let languages = ["de", "en", "fr", "de", "en", "fr", "de", "en", "fr"];
    let mut asked: Vec<_> = languages.iter().map(|language| send(&mut cache, in_language(language))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1);

    let vary = [("vary", "accept-language")];
    origin.reply(reply(200, &vary, "de"));
    let mut answers: Vec<_> = asked.iter_mut().map(|asked| asked.poll()).collect();
    assert_eq!(origin.waiting(), 2, "one for en and one for fr, at the same time");
    for _ in 0..2 {
        let language = origin.head().headers["accept-language"].to_str().unwrap().to_owned();
        origin.reply(reply(200, &vary, if language == "en" { "en" } else { "fr" }));
    }
    for ((language, asked), answer) in languages.iter().zip(&mut asked).zip(&mut answers) {
        if answer.is_pending() {
            *answer = asked.poll();
        }
        let answer = std::mem::replace(answer, std::task::Poll::Pending);
        let std::task::Poll::Ready(Ok(answer)) = answer else { panic!("{language} still waits") };
        assert_eq!(text(answer).await.unwrap(), *language);
    }
    assert_eq!(origin.forwards(), 3);
}

#[tokio::test]
async fn once_vary_is_known_variants_do_not_wait_for_each_other() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let in_language = |language| get_with("/", &[("accept-language", language)]);
    origin.queue([reply(200, &[("vary", "accept-language")], "de")]);
    ask(&mut cache, in_language("de")).await;
    clock.advance(SECOND);

    let mut asked: Vec<_> = ["de", "en", "de", "en"].map(|it| send(&mut cache, in_language(it))).into();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(origin.waiting(), 2);
}

#[tokio::test]
async fn requests_with_credentials_neither_lead_nor_mark_for_strangers() {
    let (mut cache, origin, _) = cache(Policy::new());
    let mut alice = send(&mut cache, get_with("/", &[("cookie", "user=alice")]));
    let mut stranger = send(&mut cache, get("/"));
    assert!(alice.poll().is_pending());
    assert!(stranger.poll().is_pending());
    assert_eq!(origin.waiting(), 2, "a stranger does not wait for alice");

    origin.reply(ok("alice's"));
    assert_eq!(text(assert_ready_ok!(alice.poll())).await.unwrap(), "alice's");
    origin.reply(ok("everybody's"));
    assert_eq!(text(assert_ready_ok!(stranger.poll())).await.unwrap(), "everybody's");

    let mut strangers: Vec<_> = (0..3).map(|_| send(&mut cache, get("/other"))).collect();
    let mut bob = send(&mut cache, get_with("/other", &[("authorization", "Basic Yg==")]));
    assert!(bob.poll().is_pending());
    origin.reply(reply(200, &[("cache-control", "private")], "bob's"));
    assert_ready_ok!(bob.poll());
    strangers.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1, "bob's marker is not the strangers'");
}

#[tokio::test]
async fn head_conditional_and_range_requests_share_a_flight_and_each_gets_its_own_answer() {
    let (mut cache, origin, _) = cache(Policy::new());
    let requests = [
        (request("HEAD", "/", &[]), 200, ""),
        (get_with("/", &[("range", "bytes=1-2")]), 206, "12"),
        (get_with("/", &[("if-none-match", "\"v1\"")]), 304, ""),
        (get("/"), 200, "0123"),
        (get_with("/", &[("range", "bytes=9-")]), 416, ""),
    ];
    let mut asked: Vec<_> = requests.into_iter().map(|(it, code, body)| (send(&mut cache, it), code, body)).collect();
    asked.iter_mut().for_each(|(asked, ..)| assert!(asked.poll().is_pending()));
    assert_eq!(origin.waiting(), 1);

    let seen = origin.reply(reply(200, &[("etag", "\"v1\"")], "0123"));

    assert_eq!(seen.method, "GET");
    for (asked, code, body) in &mut asked {
        let answer = assert_ready_ok!(asked.poll());
        assert_eq!(answer.status(), *code);
        assert_eq!(text(answer).await.unwrap(), *body);
    }
}

#[tokio::test]
async fn tenants_never_wait_for_each_other() {
    let key = KeySpec::new().header(http::HeaderName::from_static("x-tenant"));
    let (mut cache, origin, _) = cache(Policy::new().key(key));
    let mut asked: Vec<_> = ["a", "b", "a"].map(|it| send(&mut cache, get_with("/", &[("x-tenant", it)]))).into();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));

    assert_eq!(origin.waiting(), 2);
}

type Recursive = Arc<Mutex<Option<microcache::Cache<BoxedOrigin>>>>;
type BoxedOrigin = tower::util::BoxCloneSyncService<Request<Empty<Bytes>>, Response<Full<Bytes>>, Infallible>;

#[tokio::test(start_paused = true)]
async fn a_handler_that_asks_for_its_own_route_does_not_wait_for_itself() {
    let itself: Recursive = Arc::default();
    let cache_for_origin = Arc::clone(&itself);
    let origin = service_fn(move |request: Request<Empty<Bytes>>| {
        let cache = cache_for_origin.lock().unwrap().clone();
        let answer: BoxFuture<'static, Result<Response<Full<Bytes>>, Infallible>> = Box::pin(async move {
            let depth = request.headers().get("x-depth").map_or(0, |it| it.to_str().unwrap().parse().unwrap());
            tokio::task::yield_now().await;
            if depth == 2 {
                return Ok(Response::new(Full::from("innermost")));
            }
            let inner = get_with("/", &[("x-depth", &(depth + 1).to_string())]);
            let response = cache.unwrap().call(inner).await?;
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Ok(Response::new(Full::from([b"outer ".as_slice(), &body].concat())))
        });
        answer
    });
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    let mut cache = layer.layer(BoxedOrigin::new(origin));
    *itself.lock().unwrap() = Some(cache.clone());
    let begin = tokio::time::Instant::now();

    let answer = cache.call(get("/")).await.unwrap();

    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "outer outer innermost");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn the_collapse_layer_shares_and_stores_nothing() {
    let layer = CollapseLayer::new();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    let fields = [("cache-control", "max-age=60")];
    let mut asked: Vec<_> = (0..10).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
    origin.reply(reply(200, &fields, "page"));
    for asked in &mut asked {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
    }
    assert_eq!((origin.forwards(), layer.handle().stats().collapsed), (1, 9));

    origin.queue([reply(200, &fields, "next")]);
    let next = ask(&mut cache, get("/")).await;
    assert_eq!(status(&next), "fwd=uri-miss; fwd-status=200");
    assert_eq!(text(next).await.unwrap(), "next");
}

#[tokio::test]
async fn variants_that_are_not_stored_are_one_forward_each_and_in_parallel() {
    let layer = CollapseLayer::new();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    let languages = ["a", "b", "c", "d", "e", "f", "g"];
    let mut asked: Vec<_> = (0..20)
        .flat_map(|_| languages)
        .map(|it| Some(send(&mut cache, get_with("/", &[("accept-language", it)]))))
        .collect();
    let mut most = 0;
    for round in 0..50 {
        for slot in &mut asked {
            if let Some(it) = slot
                && it.poll().is_ready()
            {
                *slot = None;
            }
        }
        if round == 1 {
            assert_eq!(origin.waiting(), 6, "all other variants in parallel");
        }
        most = most.max(origin.waiting());
        if origin.waiting() == 0 {
            break;
        }
        origin.reply(reply(200, &[("vary", "accept-language")], "x"));
    }
    assert_eq!(origin.forwards(), 7, "at most {most} at once");
}
