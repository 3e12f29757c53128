//! What clients of the service get, as axum nests it.

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use microcache::{AdminService, CacheHandle, CacheLayer, MemoryStore};
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const TOKEN: &str = "correct-horse-battery";

/// A service with a cached handler, its admin service beside it, and the handle.
pub(crate) fn shop() -> (Router, CacheHandle) {
    let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    let handle = cache.handle();
    let admin = AdminService::builder(handle.clone()).bearer_token(TOKEN).build().unwrap();
    let app = Router::new()
        .route("/products", get(async || ([("surrogate-key", "list")], "a list")))
        .layer(cache)
        .nest_service("/-/cache", admin);
    (app, handle)
}

fn ask(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

fn known(method: &str, path: &str) -> http::request::Builder {
    ask(method, path).header("authorization", format!("Bearer {TOKEN}"))
}

async fn send(app: &Router, request: http::request::Builder, body: impl Into<Body>) -> Response<Body> {
    app.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

async fn json(response: Response<Body>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn each_place_is_there_with_and_without_a_slash_at_its_end() {
    let (app, _) = shop();
    for (path, content_type) in [
        ("/-/cache", "text/html; charset=utf-8"),
        ("/-/cache/", "text/html; charset=utf-8"),
        ("/-/cache/stats", "application/json"),
        ("/-/cache/stats/", "application/json"),
        ("/-/cache/events", "text/event-stream"),
        ("/-/cache/events/", "text/event-stream"),
    ] {
        for method in ["GET", "HEAD"] {
            let response = send(&app, known(method, path), "").await;
            assert_eq!(response.status(), 200, "{method} {path}");
            assert_eq!(field(response.headers(), "content-type"), content_type, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn without_the_token_there_is_the_page_and_nothing_else() {
    let (app, _) = shop();
    for path in ["", "/", "/stats", "/events", "/purge", "/nothing", "/stats/", "/..", "//", "/%73tats"] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let path = format!("/-/cache{path}");
            let is_page =
                ["/-/cache", "/-/cache/", "/-/cache//"].contains(&&*path) && ["GET", "HEAD"].contains(&method);
            let response = send(&app, ask(method, &path), "").await;
            assert_eq!(response.status(), if is_page { 200 } else { 401 }, "{method} {path}");
            if !is_page {
                assert_eq!(field(response.headers(), "www-authenticate"), "Bearer");
                assert_eq!(json(response).await["title"], "Unauthorized");
            }
        }
    }
}

#[tokio::test]
async fn with_the_token_what_is_not_there_is_said() {
    let (app, _) = shop();
    for (method, path, status, allow) in [
        ("GET", "/nothing", 404, ""),
        ("GET", "/stats/more", 404, ""),
        ("GET", "/Stats", 404, ""),
        ("POST", "/", 405, "GET, HEAD"),
        ("POST", "/stats", 405, "GET, HEAD"),
        ("DELETE", "/events", 405, "GET, HEAD"),
        ("GET", "/purge", 405, "POST"),
        ("PUT", "/purge", 405, "POST"),
        ("OPTIONS", "/purge", 405, "POST"),
    ] {
        let response = send(&app, known(method, &format!("/-/cache{path}")), "").await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(field(response.headers(), "allow"), allow, "{method} {path}");
        assert_eq!(field(response.headers(), "content-type"), "application/problem+json");
        assert_eq!(json(response).await["status"], status);
    }
}

#[tokio::test]
async fn nothing_is_stored_sniffed_framed_or_told_to_others() {
    let (app, _) = shop();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/stats"),
        ("GET", "/events"),
        ("GET", "/purge"),
        ("POST", "/purge"),
        ("GET", "/nothing"),
    ] {
        for request in [ask(method, &format!("/-/cache{path}")), known(method, &format!("/-/cache{path}"))] {
            let response = send(&app, request, "").await;
            let headers = response.headers();
            assert_eq!(field(headers, "cache-control"), "no-store", "{method} {path}");
            assert_eq!(field(headers, "x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(field(headers, "referrer-policy"), "no-referrer", "{method} {path}");
            let policy = field(headers, "content-security-policy");
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
            let opened = headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!((opened, headers.get("set-cookie")), (None, None), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_page_may_do_little() {
    let (app, _) = shop();
    let response = send(&app, ask("GET", "/-/cache/"), "").await;
    let policy = field(response.headers(), "content-security-policy").to_owned();
    for directive in ["connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    let page = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!page.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()));
}

#[tokio::test]
async fn a_token_counts_in_its_field_alone() {
    let (app, _) = shop();
    let path = "/-/cache/stats";
    for request in [
        ask("GET", path).header("cookie", format!("token={TOKEN}; authorization=Bearer {TOKEN}")),
        ask("GET", &format!("{path}?token={TOKEN}&access_token={TOKEN}")),
        ask("GET", path).header("authorization", format!("Basic {TOKEN}")),
        ask("GET", path).header("authorization", format!("Bearer {TOKEN}x")),
        ask("GET", path).header("authorization", "Bearer ").header("authorization", format!("Bearer {TOKEN}")),
        ask("GET", path).header("proxy-authorization", format!("Bearer {TOKEN}")),
    ] {
        assert_eq!(send(&app, request, "").await.status(), 401);
    }
}

#[tokio::test]
async fn another_page_can_not_make_a_browser_purge() {
    let (app, _) = shop();
    let preflight = ask("OPTIONS", "/-/cache/purge")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type");
    let response = send(&app, preflight, "").await;
    assert_eq!(response.status(), 401);
    assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control-")));

    // What a form can send, even if the browser had the token.
    for media_type in
        ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"]
    {
        let request = known("POST", "/-/cache/purge").header("content-type", media_type);
        assert_eq!(send(&app, request, r#"{"all":true}"#).await.status(), 415, "{media_type}");
    }
    assert_eq!(send(&app, known("POST", "/-/cache/purge"), r#"{"all":true}"#).await.status(), 415);
}

#[tokio::test]
async fn a_purge_that_makes_no_sense_is_refused_with_a_reason() {
    let (app, _) = shop();
    for (body, status) in [
        (r#"{"all":"#, 400),
        (r#"{"all":true,"most":1}"#, 422),
        (r#"{"url":"products"}"#, 422),
        (r#"{"tag":"a","all":true}"#, 422),
    ] {
        for media_type in ["application/json", "Application/JSON; charset=utf-8"] {
            let request = known("POST", "/-/cache/purge").header("content-type", media_type);
            let response = send(&app, request, body).await;
            assert_eq!(response.status(), status, "{body}");
            assert_eq!(field(response.headers(), "content-type"), "application/problem+json");
            assert!(json(response).await["detail"].as_str().is_some(), "{body}");
        }
    }
}

#[tokio::test]
async fn what_is_purged_is_asked_for_again() {
    for body in [
        r#"{"url":"http://shop.example/products"}"#,
        r#"{"tag":"list"}"#,
        r#"{"tag":"list","soft":true}"#,
        r#"{"all":true}"#,
        r#"{"tag":"other"}"#,
        r#"{"tenant":"acme"}"#,
        r#"{"url":"http://shop.example/products","tenant":"acme"}"#,
    ] {
        let (app, handle) = shop();
        let products = || ask("GET", "/products").header("host", "shop.example");
        send(&app, products(), "").await;

        let request = known("POST", "/-/cache/purge").header("content-type", "application/json");
        let response = send(&app, request, body).await;

        assert_eq!(response.status(), 200, "{body}");
        assert_eq!(json(response).await["reach"], "this process now, there are no others");
        send(&app, products(), "").await;
        tokio::task::yield_now().await;
        let ends = !body.contains("other") && !body.contains("acme");
        let stats = handle.stats();
        assert_eq!(stats.forwards + stats.refreshes, if ends { 2 } else { 1 }, "{body}");
    }
}

#[tokio::test]
async fn a_purge_that_the_cache_refuses_is_refused_with_its_reason() {
    let (app, _) = shop();
    for body in [format!(r#"{{"tag":"{}"}}"#, "x".repeat(257)), r#"{"url":"http://user@shop.example/"}"#.to_owned()] {
        let request = known("POST", "/-/cache/purge").header("content-type", "application/json");
        let response = send(&app, request, body).await;

        assert_eq!(response.status(), 422);
        assert!(json(response).await["detail"].as_str().unwrap().starts_with("nothing was purged: "));
    }
}

#[tokio::test]
async fn a_megabyte_of_tags_is_not_read() {
    let (app, _) = shop();
    let purge = || known("POST", "/-/cache/purge").header("content-type", "application/json");
    let declared = send(&app, purge(), vec![b' '; 1 << 20]).await;
    assert_eq!(declared.status(), 413);

    let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&read);
    let endless = futures_util::stream::repeat_with(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b' '; 1024])))
    });
    let response = send(&app, purge(), Body::new(StreamBody::new(endless))).await;
    assert_eq!(response.status(), 413);
    assert_eq!(json(response).await["title"], "Content Too Large");
    assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), 65);
}

#[tokio::test]
async fn the_counters_are_those_of_the_cache() {
    let (app, handle) = shop();
    for _ in 0..3 {
        let request = ask("GET", "/products").header("host", "shop.example");
        assert_eq!(send(&app, request, "").await.status(), 200);
    }
    handle.pause();

    let stats = json(send(&app, known("GET", "/-/cache/stats"), "").await).await;

    assert_eq!((&stats["requests"]["hits"], &stats["requests"]["forwards"]), (&2.into(), &1.into()), "{stats}");
    assert_eq!(stats["is_paused"], true);
}

#[tokio::test]
async fn the_page_finds_what_it_reads() {
    let (app, handle) = shop();
    for path in ["/products", "/products", "/none"] {
        send(&app, ask("GET", path).header("host", "shop.example"), "").await;
    }
    handle.pause_route("default").unwrap();

    let stats = json(send(&app, known("GET", "/-/cache/stats"), "").await).await;

    let is_there =
        |pointer: &str, expected: Value| assert_eq!(stats.pointer(pointer), Some(&expected), "{pointer} {stats}");
    is_there("/forwards/uri-miss", 2.into());
    is_there("/responses/not_stored/no-freshness", 1.into());
    is_there("/paused_routes", vec!["default"].into());
    is_there("/routes/0/route", "default".into());
    is_there("/routes/0/hits", 1.into());
    is_there("/tenants/0/tenant", "shared".into());
    is_there("/tenants/0/forwards", 2.into());
    is_there("/gauges/flights", 0.into());
    is_there("/store/responses", 1.into());
    is_there("/store/max_bytes", (1 << 20).into());
    is_there("/servers", Vec::<Value>::new().into());
    assert!(stats["latency_us"]["forward"]["p99"].is_u64() && stats["now_ms"].is_u64(), "{stats}");

    let mut body = send(&app, known("GET", "/-/cache/events"), "").await.into_body();
    let mut events = String::new();
    for _ in 0..2 {
        events += std::str::from_utf8(&body.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap();
    }
    let data = events.lines().filter_map(|line| line.strip_prefix("data: ")).find(|data| data.contains("switched"));
    let switched: Value = serde_json::from_str(data.unwrap()).unwrap();
    assert_eq!((&switched["event"], &switched["route"]), (&"switched".into(), &"default".into()), "{events}");
    assert!(switched["at_ms"].is_u64());
}

#[tokio::test]
async fn the_service_is_a_service_without_axum() {
    let admin = AdminService::builder(CacheLayer::new(MemoryStore::with_max_bytes(1)).handle());
    let admin = admin.bearer_token(TOKEN).build().unwrap();
    let request = known(Method::GET.as_str(), "/stats").body(String::new()).unwrap();
    assert_eq!(admin.oneshot(request).await.unwrap().status(), 200);
}

#[test]
fn no_debug_output_has_the_token_in_it() {
    let builder = AdminService::builder(CacheLayer::new(MemoryStore::with_max_bytes(1)).handle()).bearer_token(TOKEN);
    let told = format!("{builder:?}") + &format!("{:?}", builder.build().unwrap());
    assert!(!told.contains(TOKEN) && !told.contains("hash"), "{told}");
}
