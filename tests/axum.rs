//! In front of a real axum router, and of plain hyper, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, Path},
    http::{Request, Response, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use microcache::{CacheLayer, CollapseLayer, KeySpec, MemoryStore, Policy};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, make::Shared};

fn layer() -> CacheLayer {
    let policy = Policy::new().default_freshness(Duration::from_secs(3_600));
    CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).policy(policy).build().unwrap()
}

/// A handler that counts its calls.
fn counted(calls: &Arc<AtomicUsize>) -> axum::routing::MethodRouter {
    let calls = Arc::clone(calls);
    get(move || {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move { format!("call {call}") }
    })
}

async fn ask(app: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", "shop.example").body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn one_line_in_front_of_a_router() {
    let calls = Arc::default();
    let app = Router::new().route("/", counted(&calls)).layer(layer());

    assert_eq!(ask(&app, "/").await.1, "call 0");
    assert_eq!(ask(&app, "/").await.1, "call 0");
    assert_eq!(ask(&app, "/nowhere").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn route_layers_share_one_store_and_have_policies_of_their_own() {
    let (calls, live) = (Arc::default(), Arc::default());
    let cache = layer();
    let app = Router::new()
        .route("/cached", counted(&calls).route_layer(cache.clone()))
        .route("/live", counted(&live).route_layer(cache.with_policy(Policy::new().bypass_when(|_| true))));

    for (path, body) in [("/cached", "call 0"), ("/cached", "call 0"), ("/live", "call 0"), ("/live", "call 1")] {
        assert_eq!(ask(&app, path).await.1, body, "{path}");
    }
    assert_eq!((cache.handle().stats().hits, cache.handle().stats().bypasses), (1, 2));
}

#[tokio::test]
async fn a_service_builder_stack_with_a_limit_inside_the_cache() {
    let calls = Arc::default();
    let stack = ServiceBuilder::new().layer(layer()).layer(ConcurrencyLimitLayer::new(1));
    let app = Router::new().route("/", counted(&calls)).layer(stack);
    let asked = (0..50).map(|_| ask(&app, "/"));

    for (_, body) in futures_util::future::join_all(asked).await {
        assert_eq!(body, "call 0");
    }
}

#[tokio::test]
async fn in_front_of_a_router_paths_are_whole_and_a_hit_is_not_routed() {
    let (pears, plums, routed) = (Arc::default(), Arc::default(), Arc::new(AtomicUsize::new(0)));
    let list = |calls| Router::new().route("/list", counted(calls));
    let count = Arc::clone(&routed);
    let app = Router::new().nest("/a", list(&pears)).nest("/b", list(&plums));
    let app = ServiceBuilder::new()
        .map_response(IntoResponse::into_response)
        .layer(layer())
        .map_request(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            request
        })
        .service(app);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, Shared::new(app)).into_future());

    for path in ["/a/list", "/b/list", "/a/list", "/b/list"] {
        assert_eq!(fetch(&address, "GET", path).await.collect().await.unwrap().to_bytes(), "call 0");
    }

    assert_eq!([&pears, &plums].map(|calls| calls.load(Ordering::SeqCst)), [1, 1]);
    assert_eq!(routed.load(Ordering::SeqCst), 2);
    server.abort();
}

#[tokio::test]
async fn nested_routers_are_told_apart_by_the_original_uri() {
    let spec = || KeySpec::new().target_uri(|head| head.extensions().get::<OriginalUri>().map(|uri| &uri.0));
    let cache = layer().with_policy(Policy::new().key(spec()));
    let inner = |name: &'static str| {
        Router::new().route("/{id}", get(move |Path(id): Path<String>| async move { format!("{name} {id}") }))
    };
    let app = Router::new()
        .nest("/users", inner("user").layer(cache.clone()))
        .nest("/orders", inner("order").layer(cache.clone()));

    assert_eq!(ask(&app, "/users/42").await.1, "user 42");
    assert_eq!(ask(&app, "/orders/42").await.1, "order 42");
}

/// Serves until dropped; gives the address.
async fn serve(app: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (format!("http://{address}"), tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn fetch(address: &str, method: &str, path: &str) -> Response<hyper::body::Incoming> {
    let request = Request::builder().method(method).uri(format!("{address}{path}")).body(Full::default()).unwrap();
    client().request(request).await.unwrap()
}

#[tokio::test]
async fn over_a_socket_a_hit_has_length_age_and_status_and_a_head_has_no_body() {
    let calls = Arc::default();
    let (address, server) = serve(Router::new().route("/", counted(&calls)).layer(layer())).await;
    fetch(&address, "GET", "/").await.collect().await.unwrap();

    let hit = fetch(&address, "GET", "/").await;
    assert_eq!(hit.headers()[header::CONTENT_LENGTH], "6");
    assert_eq!(hit.headers()["cache-status"].to_str().unwrap().split(';').nth(1), Some(" hit"));
    assert!(hit.headers().contains_key(header::AGE) && hit.headers().contains_key(header::DATE));
    assert_eq!(hit.into_body().collect().await.unwrap().to_bytes(), "call 0");

    let head = fetch(&address, "HEAD", "/").await;
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "6");
    assert_eq!(head.into_body().collect().await.unwrap().to_bytes(), "");
    server.abort();
}

#[tokio::test]
async fn over_a_socket_a_304_claims_no_length() {
    let handler = get(|| async { ([(header::ETAG, "\"v1\"")], "page") });
    let (address, server) = serve(Router::new().route("/", handler).layer(layer())).await;
    for _ in 0..2 {
        let request = Request::get(format!("{address}/")).header(header::IF_NONE_MATCH, "\"v1\"");
        let answer = client().request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
    }
    server.abort();
}

#[tokio::test]
async fn over_sockets_a_hundred_clients_are_one_call() {
    let (calls, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, gate) = (Arc::clone(&calls), Arc::clone(&go));
    let handler = get(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            "page"
        }
    });
    let cache = layer();
    let (address, server) = serve(Router::new().route("/", handler).layer(cache)).await;
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move { fetch(&address, "GET", "/").await.collect().await.unwrap().to_bytes() })
        })
        .collect();
    // Whenever the handler is let go, whoever has not come by then finds the answer stored.
    go.notify_one();
    for client in clients {
        assert_eq!(client.await.unwrap(), "page");
    }

    assert_eq!(calls.load(Ordering::SeqCst), 1);
    server.abort();
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_stop_what_others_wait_for() {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, gate) = (Arc::clone(&started), Arc::clone(&go));
    let handler = get(move || {
        tell.notify_one();
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            "page"
        }
    });
    let (address, server) = serve(Router::new().route("/", handler).layer(layer())).await;
    let leaver = tokio::spawn({
        let address = address.clone();
        async move { fetch(&address, "GET", "/").await.status() }
    });
    started.notified().await;
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    let stayer = tokio::spawn(async move { fetch(&address, "GET", "/").await.collect().await.unwrap().to_bytes() });
    go.notify_one();

    assert_eq!(stayer.await.unwrap(), "page");
    server.abort();
}

#[tokio::test]
async fn a_body_that_streams_reaches_the_client_while_it_comes() {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let receive = Arc::new(tokio::sync::Mutex::new(Some(receive)));
    let handler = get(move || {
        let receive = Arc::clone(&receive);
        async move {
            let receive = receive.lock().await.take().unwrap();
            let chunks = futures_util::stream::unfold(receive, |mut receive| async {
                receive.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), receive))
            });
            Body::from_stream(chunks.boxed()).into_response()
        }
    });
    let (address, server) = serve(Router::new().route("/", handler).layer(layer())).await;
    send.send("first").unwrap();

    let mut body = fetch(&address, "GET", "/").await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    send.send("second").unwrap();
    drop(send);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "second");

    let hit = fetch(&address, "GET", "/").await;
    assert_eq!(hit.into_body().collect().await.unwrap().to_bytes(), "firstsecond");
    server.abort();
}

#[tokio::test]
async fn a_body_that_breaks_off_never_ends_cleanly() {
    let handler = get(|| async {
        let chunks = [Ok("half"), Err(std::io::Error::other("origin died"))];
        Body::from_stream(futures_util::stream::iter(chunks))
    });
    let (address, server) = serve(Router::new().route("/", handler).layer(layer())).await;

    let request = Request::get(format!("{address}/")).body(Full::default()).unwrap();
    let outcome = match client().request(request).await {
        Ok(response) => response.into_body().collect().await.map(|_| ()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };

    assert!(outcome.is_err());
    server.abort();
}

#[tokio::test]
async fn in_front_of_plain_hyper() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let origin = tower::service_fn(move |_: Request<hyper::body::Incoming>| {
        let call = count.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("call {call}"))))) }
    });
    let service =
        TowerToHyperService::new(ServiceBuilder::new().layer(layer()).layer(CollapseLayer::new()).service(origin));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });

    for _ in 0..2 {
        assert_eq!(fetch(&address, "GET", "/").await.collect().await.unwrap().to_bytes(), "call 0");
    }
    server.abort();
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn what_a_handler_says_with_types_is_a_part_of_its_response() {
    use microcache::{Freshness, Scope};

    let app = Router::new()
        .route("/weather", get(async || (Freshness::for_secs(600), "rain")))
        .route("/cart", get(async || (Scope::Private, "two pears")))
        .layer(CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)));

    for (path, expected) in [("/weather", "ttl=600; stored"), ("/cart", "detail=private")] {
        let answer = app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let said = answer.headers()["cache-status"].to_str().unwrap();
        assert!(said.ends_with(expected), "{path}: {said}");
    }
}
