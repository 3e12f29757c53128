//! Whose word counts: the handler's, the targeted field's, the client's, the policy's.

use std::time::Duration;

use http::HeaderName;
use microcache::{Freshness, Policy, Scope};
use tokio_test::{assert_pending, assert_ready_ok};

use crate::common::*;

type Fields = &'static [(&'static str, &'static str)];

/// For how many whole seconds a response lives under this policy, or why it is not kept.
async fn lifetime(policy: Policy, answer: Reply) -> Result<i64, String> {
    let (mut cache, origin, _) = cache(policy);
    origin.queue([answer]);
    let response = ask(&mut cache, get("/")).await;
    let said = response.extensions().get::<microcache::CacheStatus>().copied().unwrap();
    if said.is_stored() { Ok(said.ttl().unwrap()) } else { Err(said.detail().unwrap_or_default().to_owned()) }
}

fn with<T: Clone + Send + Sync + 'static>(mut reply: Reply, said: T) -> Reply {
    reply.extensions_mut().insert(said);
    reply
}

#[tokio::test]
async fn the_first_who_says_how_long_is_believed() {
    let modified = ("last-modified", "Sat, 12 Sep 2020 12:26:40 GMT");
    let expires = ("expires", "Sun, 13 Sep 2020 12:26:50 GMT");
    let (max_age, s_maxage) = (("cache-control", "max-age=20"), ("cache-control", "max-age=20, s-maxage=30"));
    let targeted = ("cdn-cache-control", "max-age=40");
    let policy = || Policy::new().heuristic_freshness(Duration::from_secs(5));
    for (fields, expected) in [
        (vec![], 1),
        (vec![modified], 5),
        (vec![modified, expires], 10),
        (vec![modified, expires, max_age], 20),
        (vec![modified, expires, s_maxage], 30),
        (vec![modified, expires, s_maxage, targeted], 40),
    ] {
        assert_eq!(lifetime(policy(), reply(200, &fields, "page")).await, Ok(expected), "{fields:?}");
        let said = with(reply(200, &fields, "page"), Freshness::for_secs(50));
        assert_eq!(lifetime(policy(), said).await, Ok(50), "{fields:?}");
    }
}

#[tokio::test]
async fn what_forbids_goes_before_what_allows() {
    let minute = Freshness::for_secs(60);
    let table: [(Fields, &str); 4] = [
        (&[("cache-control", "private")], "private"),
        (&[("cache-control", "no-store")], "no-store"),
        (&[("set-cookie", "a=1")], "set-cookie"),
        (&[("vary", "*")], "vary"),
    ];
    for (fields, reason) in table {
        let said = with(reply(200, fields, "page"), minute);
        assert_eq!(lifetime(Policy::new(), said).await, Err(reason.to_owned()));
    }
    let private = with(with(reply(200, &[("cache-control", "public, max-age=60")], "page"), minute), Scope::Private);
    assert_eq!(lifetime(Policy::new(), private).await, Err("private".to_owned()));
}

#[tokio::test]
async fn typed_freshness_is_explicit() {
    for (code, fields) in [(200, &[("cookie", "session=1")][..]), (302, &[]), (503, &[])] {
        let (mut cache, origin, clock) = cache(Policy::new());
        origin.queue([with(reply(code, &[], "said"), Freshness::of(3 * SECOND))]);
        ask(&mut cache, get_with("/", fields)).await;
        clock.advance(2 * SECOND);
        assert_eq!(status(&ask(&mut cache, get_with("/", fields)).await), "hit; ttl=1", "{code}");
    }
}

#[tokio::test]
async fn the_operator_names_the_targeted_fields_in_their_order() {
    let names = ["x-ours", "cdn-cache-control"].map(HeaderName::from_static);
    let policy = || Policy::new().targeted_fields(names.clone());
    let (ours, cdn) = (("x-ours", "max-age=7"), ("cdn-cache-control", "max-age=8"));
    for (fields, expected) in [(vec![cdn], 8), (vec![cdn, ours], 7), (vec![cdn, ("x-ours", "!")], 8)] {
        assert_eq!(lifetime(policy(), reply(200, &fields, "page")).await, Ok(expected), "{fields:?}");
    }
    let nobody = Policy::new().targeted_fields([]);
    assert_eq!(lifetime(nobody, reply(200, &[cdn], "page")).await, Ok(1));
}

#[tokio::test]
async fn the_time_that_the_origin_took_counts_as_age_unless_the_policy_says_otherwise() {
    for (policy, is_stored) in [(Policy::new(), false), (Policy::new().age_from_arrival(), true)] {
        let (mut cache, origin, clock) = cache(policy);
        let mut asked = send(&mut cache, get("/"));
        assert_pending!(asked.poll());
        clock.advance(2 * SECOND);
        origin.reply(reply(200, &[("cache-control", "max-age=1")], "slow"));
        let said = status(&assert_ready_ok!(asked.poll()));
        assert_eq!(said.contains("stored"), is_stored, "{said}");
    }
}

/// What the client asks of a response that is 5 s old and fresh for 5 s more, and what becomes of it.
const WISHES: &[(&str, &str)] = &[
    ("", "hit; ttl=5"),
    ("max-age=5", "hit; ttl=5"),
    ("max-age=4", "fwd=request"),
    ("max-age=0", "fwd=request"),
    ("min-fresh=5", "hit; ttl=5"),
    ("min-fresh=6", "fwd=request"),
    ("no-cache", "fwd=request"),
    ("max-stale", "hit; ttl=5"),
    ("only-if-cached", "hit; ttl=5"),
    ("no-store", "hit; ttl=5"),
    ("max-age=x", "fwd=request"),
];

#[tokio::test]
async fn what_clients_ask_is_done_where_the_policy_says_so_and_ignored_else() {
    for &(wish, expected) in WISHES {
        for (policy, expected) in [(Policy::new().honour_request_directives(), expected), (Policy::new(), "hit; ttl=5")]
        {
            let (mut cache, origin, clock) = cache(policy);
            origin.queue([reply(200, &[("cache-control", "max-age=10")], "one"), ok("two")]);
            ask(&mut cache, get("/")).await;
            clock.advance(5 * SECOND);
            let answer = ask(&mut cache, get_with("/", &[("cache-control", wish)])).await;
            assert!(status(&answer).starts_with(expected), "{wish}: {} is not {expected}", status(&answer));
        }
    }
}

#[tokio::test]
async fn stale_is_taken_by_who_says_so_but_not_what_the_origin_forbids() {
    let honest = || Policy::new().honour_request_directives();
    for (said, wish, expected) in [
        ("max-age=1", "max-stale", "hit; ttl=-2"),
        ("max-age=1", "max-stale=2", "hit; ttl=-2"),
        ("max-age=1", "max-stale=1", "fwd=stale"),
        ("max-age=1", "max-stale, max-age=2", "fwd=stale"),
        ("max-age=1, must-revalidate", "max-stale", "fwd=stale"),
        ("s-maxage=1", "max-stale", "fwd=stale"),
        ("max-age=1, no-cache", "max-stale", "fwd=stale"),
    ] {
        let (mut cache, origin, clock) = cache(honest());
        origin.queue([reply(200, &[("cache-control", said), ("etag", "\"a\"")], "old"), ok("new")]);
        ask(&mut cache, get("/")).await;
        clock.advance(3 * SECOND);
        let answer = ask(&mut cache, get_with("/", &[("cache-control", wish)])).await;
        assert!(status(&answer).starts_with(expected), "{said} / {wish}: {}", status(&answer));
    }
}

#[tokio::test]
async fn only_if_cached_is_never_forwarded() {
    let (mut cache, origin, _) = cache(Policy::new().honour_request_directives());
    let answer = ask(&mut cache, get_with("/", &[("cache-control", "only-if-cached")])).await;
    assert_eq!((answer.status().as_u16(), origin.forwards()), (504, 0));
    assert_eq!(status(&answer), "fwd=uri-miss");
}

#[tokio::test]
async fn nothing_is_kept_of_what_a_client_does_not_want_stored() {
    let (mut cache, origin, _) = cache(Policy::new().honour_request_directives());
    origin.queue([ok("mine"), ok("everybody's")]);
    ask(&mut cache, get_with("/", &[("cache-control", "no-store")])).await;
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "everybody's");
}

#[tokio::test]
async fn a_promise_not_to_change_spares_reloads_but_not_the_forced_ones() {
    let (mut cache, origin, _) = cache(Policy::new().honour_request_directives());
    origin.queue([reply(200, &[("cache-control", "max-age=60, immutable")], "old"), ok("new")]);
    ask(&mut cache, get("/")).await;
    for (wish, expected) in [("max-age=0", "old"), ("no-cache", "new")] {
        let answer = ask(&mut cache, get_with("/", &[("cache-control", wish)])).await;
        assert_eq!(text(answer).await.unwrap(), expected, "{wish}");
    }
}

#[tokio::test]
async fn past_so_many_variants_none_is_stored_any_more() {
    let (mut cache, origin, _) = cache(Policy::new());
    let fields = [("cache-control", "max-age=60"), ("vary", "x-a")];
    for number in 0..32 {
        origin.queue([reply(200, &fields, "one of many")]);
        ask(&mut cache, get_with("/", &[("x-a", &number.to_string())])).await;
    }
    origin.queue([reply(200, &fields, "one too many"), reply(200, &fields, "another")]);
    let answer = ask(&mut cache, get_with("/", &[("x-a", "32")])).await;
    assert_eq!(status(&answer), "fwd=vary-miss; fwd-status=200; detail=variants");
    assert_eq!(text(ask(&mut cache, get_with("/", &[("x-a", "32")])).await).await.unwrap(), "another");
    assert_eq!(status(&ask(&mut cache, get_with("/", &[("x-a", "0")])).await), "hit; ttl=60");
}
