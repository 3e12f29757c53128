//! No request can change one byte of what another receives, where the origin sees only what is in the key.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version, header};
use http_body_util::{BodyExt, Full};
use microcache::{CacheLayer, CacheStatus, Content, KeySpec, ManualClock, MemoryStore, Policy, QueryRule};
use proptest::prelude::*;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, Service, util::BoxCloneService};

use crate::common::*;

type Sent = Request<Full<Bytes>>;
type Echo = BoxCloneService<Sent, Response<Bytes>, Infallible>;

fn policy() -> Policy {
    let key = KeySpec::new().query(QueryRule::without(["utm_*"])).header(header::ACCEPT_LANGUAGE).cookie("lang");
    Policy::new().key(key).only_keyed_input().content(Content::new(|content| {
        Full::new(content.collect().now_or_never().unwrap().unwrap_or_default().to_bytes())
    }))
}

/// An origin that says all that it sees of a request.
fn echo(policy: Policy, field: (&'static str, &'static str)) -> (Echo, ManualClock) {
    saying(policy, field, |head, body| {
        format!("{} {} {:?} {:?} {body:?}", head.method, head.uri, head.version, head.headers)
    })
}

/// An origin that reads one cookie, as strictly as some do: nothing of a line that is not ASCII.
fn reader(policy: Policy) -> Echo {
    let read = |head: &http::request::Parts, _: &Bytes| {
        let line = head.headers.get("cookie").and_then(|line| line.to_str().ok()).unwrap_or_default();
        let lang = line.split(';').find_map(|piece| piece.trim().strip_prefix("lang="));
        format!("{lang:?}")
    };
    saying(policy, ("x-a", "b"), read).0
}

/// What it says is in the fields and the body of its responses. `field`: one more.
fn saying(
    policy: Policy,
    field: (&'static str, &'static str),
    says: impl Fn(&http::request::Parts, &Bytes) -> String + Clone + Send + 'static,
) -> (Echo, ManualClock) {
    let clock = ManualClock::new();
    let origin = tower::service_fn(move |request: Sent| {
        let (head, body) = request.into_parts();
        let text = says(&head, &body.collect().now_or_never().unwrap().unwrap().to_bytes());
        let mut response = Response::new(Full::new(Bytes::from(text.clone())));
        response.headers_mut().insert("x-said", HeaderValue::from_bytes(text.as_bytes()).unwrap());
        // Else only what is stored has one, and that is all that a condition is compared to.
        response.headers_mut().insert("date", HeaderValue::from_static("Sun, 13 Sep 2020 12:26:40 GMT"));
        response.headers_mut().append(field.0, HeaderValue::from_static(field.1));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let store = MemoryStore::with_max_bytes(1 << 20);
    let layer = CacheLayer::builder(store).policy(policy).clock(clock.clone()).build().unwrap();
    let mut cache = layer.layer(origin);
    let whole = tower::service_fn(move |request: Sent| {
        let answer = cache.call(request);
        async move {
            let (head, body) = answer.await?.into_parts();
            let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Ok(Response::from_parts(head, bytes))
        }
    });
    (BoxCloneService::new(whole), clock)
}

fn ask(cache: &mut Echo, request: &Sent) -> Response<Bytes> {
    // An origin that answers at once leaves nothing to wait for.
    cache.call(request.clone()).now_or_never().unwrap().unwrap()
}

/// All that a client could tell two answers apart by, but for what the cache did.
fn essence(answer: Response<Bytes>) -> (u16, HeaderMap, Bytes) {
    let (mut head, body) = answer.into_parts();
    for name in ["age", "cache-status"] {
        head.headers.remove(name);
    }
    (head.status.as_u16(), head.headers, body)
}

fn line() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let name = prop::sample::select(NAMES.to_vec()).prop_map(HeaderName::from_static);
    let text = prop::collection::vec(prop::sample::select(TEXTS.to_vec()), 1..4).prop_map(|texts| texts.concat());
    let raw = prop::collection::vec(prop_oneof![Just(9_u8), 32..=126_u8, 128..=255_u8], 0..20);
    let value = prop_oneof![4 => text.prop_map(String::into_bytes), 1 => raw];
    (name, value.prop_filter_map("no field value", |bytes| HeaderValue::from_bytes(&bytes).ok()))
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = prop::sample::select(vec!["GET", "GET", "GET", "HEAD", "POST", "QUERY"]);
    let base = prop::sample::select(vec!["/", "/a", "http://shop.example/a", "http://SHOP.example:80/a"]);
    let query = prop::sample::select(vec!["", "?", "?b=1&a=2", "?a=2&b=1", "?a=2&utm_x=1&b=1", "?utm_y=7", "?a=%32"]);
    let version = prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]);
    let content = prop::sample::select(vec!["", "", "", "a", "b"]);
    let lines = prop::collection::vec(line(), 0..6);
    (method, base, query, version, content, lines).prop_map(|(method, base, query, version, content, lines)| {
        let uri = format!("{base}{query}");
        let body = Full::new(Bytes::from_static(content.as_bytes()));
        let mut request = Request::builder().method(method).uri(uri).version(version).body(body).unwrap();
        for (name, value) in lines {
            request.headers_mut().append(name, value);
        }
        request
    })
}

/// The same request, but for what its key does not have.
fn disguised(request: &Sent, lines: Vec<(HeaderName, HeaderValue)>) -> Sent {
    let mut other = request.clone();
    *other.version_mut() = Version::HTTP_3;
    for (name, value) in lines {
        if !["host", "accept-language", "cookie", "forwarded", "x-forwarded-host"].contains(&name.as_str()) {
            other.headers_mut().append(name, value);
        }
    }
    other
}

const NAMES: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "te",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-own",
];
const TEXTS: &[&str] = &[
    "lang=de",
    "lang=en",
    "lang",
    "=",
    "; ",
    ";",
    "session=1",
    "_ga=1",
    "de",
    "*",
    "bytes=0-1",
    "bytes=9-",
    "lines=1",
    "\"a\"",
    "W/\"a\"",
    "0",
    "3",
    "evil.example",
    "for=a",
    "host=b",
    ",",
    "\"",
    "max-age=0",
    "gzip",
    "Sun, 13 Sep 2020 12:26:40 GMT",
    "%6C",
    "trailers",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_one_receives_does_not_depend_on_what_others_have_sent(
        attackers in prop::collection::vec(sent(), 1..4),
        disguise in prop::collection::vec(line(), 0..5),
        victim in sent(),
        vary in prop::sample::select(vec!["x-nothing", "accept-encoding", "cookie, range", "x-own, user-agent"]),
        is_lenient: bool,
        pause in prop::sample::select(vec![0, 600, 1_200]),
    ) {
        let policy = || if is_lenient { policy().honour_request_directives() } else { policy() };
        let (mut alone, _) = echo(policy(), ("vary", vary));
        let expected = essence(ask(&mut alone, &victim));

        let (mut cache, clock) = echo(policy(), ("vary", vary));
        for attacker in attackers.iter().chain([&disguised(&victim, disguise)]) {
            ask(&mut cache, attacker);
            clock.advance(MILLI * pause);
        }

        prop_assert_eq!(essence(ask(&mut cache, &victim)), expected);
    }

    #[test]
    fn no_irrelevant_cookie_can_hide_one_that_is_keyed(
        attackers in prop::collection::vec(sent(), 1..4),
        cookies in prop::collection::vec(line(), 0..3),
        victim in sent(),
    ) {
        let policy = || policy().ignore_cookies();
        let expected = essence(ask(&mut reader(policy()), &victim));

        let mut cache = reader(policy());
        let mut attacker = victim.clone();
        for (_, value) in cookies {
            attacker.headers_mut().append("cookie", value);
        }
        for attacker in attackers.iter().chain([&attacker]) {
            ask(&mut cache, attacker);
        }

        prop_assert_eq!(essence(ask(&mut cache, &victim)), expected);
    }
}

#[test]
fn a_request_in_disguise_hits_and_is_told_nothing_of_itself() {
    let (mut cache, _) = echo(policy(), ("x-a", "b"));
    let get = |uri: &str, lines: &[(&str, &str)]| {
        let mut request = Request::get(uri).header("host", "shop.example").body(Full::default()).unwrap();
        for (name, value) in lines {
            request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        request
    };
    let first = get("/?utm_x=evil&b=1", &[("x-own", "evil"), ("accept-language", "de"), ("x-forwarded-for", "evil")]);
    let text = String::from_utf8(ask(&mut cache, &first).into_body().to_vec()).unwrap();
    assert_eq!(text, r#"GET /?b=1 HTTP/1.1 {"accept-language": "de", "host": "shop.example"} b"""#);

    let second = get("/?b=1&utm_y", &[("accept-language", "de"), ("range", "lines=evil")]);
    let answer = ask(&mut cache, &second);
    assert!(CacheStatus::of(&answer).unwrap().is_hit());
    assert_eq!(answer.into_body(), text);
}

#[tokio::test]
async fn the_leader_the_follower_and_the_refresh_are_seen_alike() {
    let window = SECOND * 10;
    let (mut cache, origin, clock) = cache(policy_without_content().stale_while_revalidate(window));
    let own = |value| get_with("/?a", &[("x-own", value), ("range", "bytes=0-1")]);
    let mut leader = send(&mut cache, own("1"));
    let mut follower = send(&mut cache, own("2"));
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    let first = origin.head();
    origin.does(Does::Fail);
    assert!(leader.poll().is_ready());
    assert_pending!(follower.poll(), "it takes over");
    assert_eq!(origin.reply(ok("text")).headers, first.headers);
    assert_ready_ok!(follower.poll());

    clock.advance(SECOND * 2);
    crate::common::ask(&mut cache, own("3")).await;
    settle().await;
    let refresh = origin.reply(ok("text"));
    assert_eq!((refresh.headers, refresh.uri), (first.headers, first.uri));
}

#[tokio::test]
async fn a_validation_shows_the_validators_of_the_cache_alone() {
    let (mut cache, origin, clock) = cache(policy_without_content());
    origin.queue([reply(200, &[("etag", "\"v1\"")], "text")]);
    let own = || get_with("/", &[("if-none-match", "\"evil\""), ("x-own", "evil")]);
    crate::common::ask(&mut cache, own()).await;
    clock.advance(SECOND * 2);

    let mut validation = send(&mut cache, own());
    assert_pending!(validation.poll());
    let seen = origin.reply(reply(304, &[("etag", "\"v1\"")], ""));

    assert_eq!(seen.headers.get("if-none-match").unwrap(), "\"v1\"");
    assert_eq!(seen.headers.len(), 2, "and Host: {:?}", seen.headers);
    assert_eq!(text(assert_ready_ok!(validation.poll())).await.unwrap(), "text");
}

#[tokio::test]
async fn credentials_are_forwarded_whole_and_their_answer_is_nobody_elses() {
    for lines in [[("authorization", "Basic YQ=="), ("x-own", "1")], [("cookie", "session=1"), ("x-own", "1")]] {
        let (mut cache, origin, _) = cache(policy_without_content());
        let public = || reply(200, &[("cache-control", "public, max-age=60")], "text");
        for _ in 0..2 {
            let mut request = send(&mut cache, get_with("/", &lines));
            assert_pending!(request.poll());
            assert_eq!(origin.reply(public()).headers.len(), 3, "{lines:?}");
            assert_eq!(status(&assert_ready_ok!(request.poll())), "fwd=bypass; detail=credentials", "{lines:?}");
        }
        let mut stranger = send(&mut cache, get("/"));
        assert_pending!(stranger.poll(), "{lines:?}");
    }
}

#[tokio::test]
async fn a_head_is_a_get_to_the_origin_even_where_nothing_is_shared() {
    let (mut cache, origin, _) = cache(policy_without_content());
    origin.queue([reply(200, &[("cache-control", "private")], "text")]);
    crate::common::ask(&mut cache, get("/")).await;

    let mut head = send(&mut cache, request("HEAD", "/", &[("if-none-match", "\"evil\"")]));
    assert_pending!(head.poll());
    let seen = origin.reply(reply(200, &[("cache-control", "private")], "text"));
    let answer = assert_ready_ok!(head.poll());

    assert_eq!((seen.method.as_str(), seen.headers.len()), ("GET", 1));
    assert_eq!(field(&answer, "content-length"), "4");
    assert_eq!(text(answer).await.unwrap(), "");
}

#[tokio::test]
async fn a_range_of_what_nobody_shares_is_left_to_the_origin() {
    let (mut cache, origin, _) = cache(policy_without_content());
    origin.queue([reply(200, &[("cache-control", "private")], "text")]);
    crate::common::ask(&mut cache, get("/")).await;

    let mut part = send(&mut cache, get_with("/", &[("range", "bytes=0-1"), ("x-own", "1")]));
    assert_pending!(part.poll());
    let seen = origin.reply(reply(206, &[("content-range", "bytes 0-1/4")], "te"));

    assert_eq!((field_of(&seen, "range"), field_of(&seen, "x-own")), ("bytes=0-1", ""));
    assert_eq!(assert_ready_ok!(part.poll()).status(), 206);
}

#[tokio::test]
async fn vary_chooses_by_an_irrelevant_field_and_not_by_a_hidden_one() {
    for (irrelevant, expected) in [(true, "text of br"), (false, "text of gzip")] {
        let policy = policy_without_content();
        let policy = if irrelevant { policy.irrelevant_field(header::ACCEPT_ENCODING) } else { policy };
        let (mut cache, origin, _) = cache(policy);
        let vary = |body| reply(200, &[("vary", "accept-encoding")], body);
        origin.queue([vary("text of gzip"), vary("text of br")]);
        let coded = |coding| get_with("/", &[("accept-encoding", coding)]);
        crate::common::ask(&mut cache, coded("gzip")).await;

        let answer = crate::common::ask(&mut cache, coded("br")).await;

        assert_eq!(text(answer).await.unwrap(), expected, "irrelevant: {irrelevant}");
    }
}

#[tokio::test]
async fn a_get_with_content_and_other_methods_pass_untouched() {
    let (mut cache, origin, _) = cache(policy_without_content());
    for (method, name) in [("GET", "transfer-encoding"), ("POST", "x-own"), ("GET", "upgrade")] {
        let mut sent = send(&mut cache, request(method, "/?b&a&utm_x", &[(name, "chunked"), ("x-more", "1")]));
        assert_pending!(sent.poll());
        let seen = origin.reply(ok("text"));

        assert_eq!((seen.headers.len(), seen.uri.to_string().as_str()), (3, "/?b&a&utm_x"), "{method} {name}");
        assert_ready_ok!(sent.poll());
    }
}

/// The content of these tests has another type.
fn policy_without_content() -> Policy {
    Policy::new().key(KeySpec::new().query(QueryRule::without(["utm_*"]))).only_keyed_input()
}

fn field_of<'a>(head: &'a http::request::Parts, name: &str) -> &'a str {
    head.headers.get(name).map_or("", |value| value.to_str().unwrap())
}
