//! Requests that are keyed by what they carry: `POST` and `QUERY` (RPC, GraphQL).

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use microcache::{CacheLayer, CacheStatus, Content, ManualClock, MemoryStore, Policy, RequestContent};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};

use crate::common::{MILLI, SECOND, ask, cache, get, reply, request, send, text};

type AnyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
type Ask = Request<AnyBody>;

/// An origin that answers with what it was asked, and how often that was.
struct Echo {
    cache: BoxCloneService<Ask, Response<Bytes>, Infallible>,
    forwards: Arc<AtomicUsize>,
    clock: ManualClock,
}

fn any_body(content: RequestContent) -> AnyBody {
    content.boxed_unsync()
}

fn echo(content: Content, fields: &'static [(&'static str, &'static str)]) -> Echo {
    let (forwards, clock) = (Arc::new(AtomicUsize::new(0)), ManualClock::new());
    let count = Arc::clone(&forwards);
    let origin = tower::service_fn(move |request: Ask| {
        let count = Arc::clone(&count);
        async move {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                Err(error) => format!("broke off: {error}"),
            };
            let mut response = Response::new(Full::from(format!("{} {body} {number}", head.method)));
            // A mutation says nothing of freshness.
            let is_kept = !body.contains("mutation");
            for (name, value) in fields.iter().filter(|_| is_kept) {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            Ok::<_, Infallible>(response)
        }
    });
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20))
        .policy(Policy::new().content(content))
        .clock(clock.clone())
        .build()
        .unwrap();
    let whole = |response: Response<_>| async move {
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(
            head,
            BodyExt::collect(body).await.map_or_else(|_| Bytes::new(), |body| body.to_bytes()),
        ))
    };
    let cache = BoxCloneService::new(layer.layer(origin).and_then(whole));
    Echo { cache, forwards, clock }
}

impl Echo {
    async fn ask(&mut self, method: &str, path: &str, body: impl Into<AnyBodyOf>) -> (String, Option<CacheStatus>) {
        self.send(Request::builder().method(method).uri(path), body).await
    }

    async fn send(
        &mut self,
        request: http::request::Builder,
        body: impl Into<AnyBodyOf>,
    ) -> (String, Option<CacheStatus>) {
        let request = request.header("host", "shop.example").body(body.into().0).unwrap();
        let response = self.cache.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let status = CacheStatus::of(&response);
        (String::from_utf8(response.into_body().to_vec()).unwrap(), status)
    }

    fn forwards(&self) -> usize {
        self.forwards.load(Ordering::SeqCst)
    }
}

struct AnyBodyOf(AnyBody);

impl From<&'static str> for AnyBodyOf {
    fn from(text: &'static str) -> Self {
        Self(Full::from(text).map_err(|never| match never {}).boxed_unsync())
    }
}

impl From<Vec<Result<&'static str, &'static str>>> for AnyBodyOf {
    fn from(chunks: Vec<Result<&'static str, &'static str>>) -> Self {
        let frames = chunks
            .into_iter()
            .map(|chunk| chunk.map(|text| http_body::Frame::data(Bytes::from(text))).map_err(|error| error.into()));
        Self(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
    }
}

const KEPT: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn equal_content_is_answered_from_the_store_and_other_content_is_not() {
    for method in ["POST", "QUERY"] {
        let mut echo = echo(Content::new(any_body), KEPT);
        let table = [("/rpc", "a", 1), ("/rpc", "b", 2), ("/rpc", "a", 1), ("/rpc", "", 3), ("/other", "a", 4)];
        for (path, body, number) in table {
            assert_eq!(echo.ask(method, path, body).await.0, format!("{method} {body} {number}"));
        }
        assert_eq!(echo.ask(method, "/rpc", "b").await.1.unwrap().to_string(), "hit; ttl=60");
    }
}

#[tokio::test]
async fn methods_and_kinds_of_content_share_nothing() {
    let mut echo = echo(Content::new(any_body), KEPT);
    for (number, (method, name, value)) in [
        ("POST", "x-a", "1"),
        ("QUERY", "x-a", "1"),
        ("POST", "content-type", "text/plain"),
        ("POST", "content-type", "text/html"),
        ("POST", "content-encoding", "gzip"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request::builder().method(method).uri("/rpc").header(name, value);
        assert_eq!(echo.send(request, "a").await.0, format!("{method} a {}", number + 1), "{name}: {value}");
    }
    assert_eq!(echo.ask("GET", "/rpc", "").await.0, "GET  6");
}

#[tokio::test]
async fn without_explicit_freshness_each_request_is_forwarded() {
    let mut echo = echo(Content::new(any_body), &[]);
    for number in 1..=3 {
        let (text, status) = echo.ask("POST", "/rpc", "a").await;
        assert_eq!(text, format!("POST a {number}"));
        assert_eq!(status.unwrap().detail(), Some("no-freshness"));
    }
}

#[tokio::test]
async fn a_mutation_invalidates_what_is_stored_under_its_uri() {
    let mut echo = echo(Content::new(any_body), KEPT);
    echo.ask("POST", "/rpc", "query").await;
    echo.ask("POST", "/other", "query").await;
    echo.clock.advance(MILLI);
    echo.ask("POST", "/rpc", "mutation").await;
    echo.clock.advance(MILLI);

    assert_eq!(echo.ask("POST", "/other", "query").await.0, "POST query 2");
    assert_eq!(echo.ask("POST", "/rpc", "query").await.0, "POST query 4");
    assert_eq!(echo.ask("POST", "/rpc", "query").await.0, "POST query 4");
}

#[tokio::test]
async fn what_is_too_long_or_breaks_off_reaches_the_origin_untouched_and_uncached() {
    let mut echo = echo(Content::new(any_body).max_bytes(4), KEPT);
    let long = || vec![Ok("ab"), Ok("cd"), Ok("ef")];
    let broken = || vec![Ok("ab"), Err("gone")];
    assert_eq!(echo.ask("POST", "/", "abcdef").await.0, "POST abcdef 1");
    assert_eq!(echo.ask("POST", "/", long()).await.0, "POST abcdef 2");
    let (text, status) = echo.ask("POST", "/", long()).await;
    assert_eq!((text.as_str(), status.unwrap().detail()), ("POST abcdef 3", Some("long-content")));
    assert_eq!(echo.ask("POST", "/", broken()).await.0, "POST broke off: gone 4");
    echo.clock.advance(MILLI);
    assert_eq!(echo.ask("POST", "/", vec![Ok("ab"), Ok("cd")]).await.0, "POST abcd 5");
    assert_eq!(echo.ask("POST", "/", "abcd").await.0, "POST abcd 5");
    assert_eq!(echo.forwards(), 5);
}

#[tokio::test]
async fn what_the_rule_ignores_is_shared() {
    let mut echo = echo(Content::new(any_body).ignore_json_members(["id"]), KEPT);
    let json = || Request::post("/rpc").header("content-type", "application/json");
    assert_eq!(echo.send(json(), r#"{"id":1,"q":"a"}"#).await.0, r#"POST {"id":1,"q":"a"} 1"#);
    assert_eq!(echo.send(json(), r#"{ "q":"a", "id":2 }"#).await.0, r#"POST {"id":1,"q":"a"} 1"#);
    assert_eq!(echo.send(json(), r#"{"id":1,"q":"b"}"#).await.0, r#"POST {"id":1,"q":"b"} 2"#);
}

#[tokio::test]
async fn a_body_that_can_not_be_made_again_is_never_read() {
    let mut echo = echo(Content::new(|content: RequestContent| content.boxed_unsync().size_hint()), KEPT);
    for number in 1..=2 {
        let (text, status) = echo.ask("POST", "/rpc", "a").await;
        assert_eq!((text, status.unwrap().detail()), (format!("POST a {number}"), Some("content")));
    }
}

#[tokio::test]
async fn conditions_and_ranges_with_content_are_the_origins_affair() {
    let mut echo = echo(Content::new(any_body), KEPT);
    for (number, name) in ["if-none-match", "if-match", "range"].into_iter().enumerate() {
        let request = || Request::post("/rpc").header(name, "\"a\"");
        assert_eq!(echo.send(request(), "a").await.0, format!("POST a {}", 2 * number + 1), "{name}");
        assert_eq!(echo.send(request(), "a").await.0, format!("POST a {}", 2 * number + 2), "{name}");
    }
}

#[tokio::test]
async fn without_the_setting_a_post_is_forwarded_and_says_nothing_of_the_cache() {
    let mut echo = echo(Content::new(any_body), KEPT);
    echo.clock.advance(SECOND);
    let (text, status) = echo.ask("PUT", "/rpc", "a").await;
    assert_eq!((text.as_str(), status), ("PUT a 1", None));
}

fn empty() -> Policy {
    Policy::new().content(Content::new(|_| Empty::<Bytes>::new()))
}

#[tokio::test]
async fn a_mutation_that_is_stale_at_once_invalidates_and_each_one_reaches_the_origin() {
    for fields in [&[("cache-control", "max-age=0")], &[("expires", "0")]] {
        let (mut cache, origin, clock) = cache(empty());
        origin.queue([reply(200, KEPT, "old")]);
        ask(&mut cache, get("/a")).await;
        clock.advance(MILLI);
        let mut asked: Vec<_> = (0..2).map(|_| send(&mut cache, request("POST", "/a", &[]))).collect();
        asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
        origin.reply(reply(200, fields, "added"));
        drop(assert_ready_ok!(asked[0].poll()));
        assert_pending!(asked[1].poll());
        origin.reply(reply(200, fields, "added again"));
        assert_eq!(text(assert_ready_ok!(asked[1].poll())).await.unwrap(), "added again", "{fields:?}");
        clock.advance(MILLI);

        origin.queue([reply(200, KEPT, "new")]);
        assert_eq!(text(ask(&mut cache, get("/a")).await).await.unwrap(), "new", "{fields:?}");
    }
}

#[tokio::test]
async fn a_mutation_that_is_too_large_to_store_invalidates() {
    let (mut cache, origin, clock) = cache(empty().max_body_bytes(3));
    origin.queue([reply(200, KEPT, "old"), reply(200, KEPT, "added"), reply(200, KEPT, "new")]);
    ask(&mut cache, get("/a")).await;
    clock.advance(MILLI);
    ask(&mut cache, request("POST", "/a", &[])).await;
    clock.advance(MILLI);

    assert_eq!(text(ask(&mut cache, get("/a")).await).await.unwrap(), "new");
}

/// RFC 9875 §3: also where the response is stored; not for QUERY, which is safe.
#[tokio::test]
async fn an_answer_to_a_post_that_ends_a_group_does_so_though_it_is_stored() {
    const FIELDS: &[(&str, &str)] =
        &[("cache-control", "max-age=60"), ("cache-groups", "\"list\""), ("cache-group-invalidation", "\"list\"")];
    for (method, expected) in [("POST", "GET  3"), ("QUERY", "GET  1")] {
        let mut echo = echo(Content::new(any_body), FIELDS);
        assert_eq!(echo.ask("GET", "/a", "").await.0, "GET  1");
        assert_eq!(echo.ask(method, "/rpc", "question").await.0, format!("{method} question 2"));

        assert_eq!(echo.ask("GET", "/a", "").await.0, expected, "{method}");
    }
}
