//! The example `reverse_proxy`, from outside: the built program between real sockets.
//!
//! `cargo test` builds examples; `cargo test --test reverse_proxy` alone does not.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[cfg(unix)]
#[path = "reverse_proxy/fleet.rs"]
mod fleet;
#[cfg(unix)]
#[expect(dead_code, reason = "the proxy needs a part")]
#[path = "common/memcached.rs"]
mod memcached;

use std::{
    collections::HashSet,
    convert::Infallible,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, StatusCode, Version},
    routing::{any, get},
};
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, mpsc},
    task::JoinSet,
    time::timeout,
};

/// The program under test, ended when it is dropped.
struct Proxy {
    child: Child,
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Proxy {
    fn start(upstream: &str, flags: &[&str]) -> Self {
        let mut child = command()
            .args(["--upstream", upstream, "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://").map(str::to_owned);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let address = address.unwrap_or_else(|| panic!("the proxy said {line:?} and not where it listens"));
        Self { child, address, client }
    }

    async fn send(&self, request: http::Request<Full<Bytes>>) -> Response<Incoming> {
        within(self.client.request(request)).await.unwrap()
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        http::Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }

    /// A whole answer, as text.
    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Response<String> {
        let mut request = self.request(Method::GET, path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        whole(self.send(request.body(Full::default()).unwrap()).await).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// All that the proxy says until it closes.
    async fn exchange(&self, request: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within(socket.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command() -> Command {
    // This test is target/PROFILE/deps/NAME; examples are in target/PROFILE/examples.
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples");
    path.push(format!("reverse_proxy{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not built; `cargo build --example reverse_proxy` builds it", path.display());
    Command::new(path)
}

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// A server to put the proxy before. Dropped, it is down, with all its connections.
struct Origin {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Origin {
    async fn start(router: Router) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), router)
    }

    fn on(listener: TcpListener, router: Router) -> Self {
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, _serving: serving }
    }

    /// Reads the head of each request, and answers with these bytes before it closes.
    async fn raw(answer: &'static [u8]) -> (Self, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, received) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = heads.send(read_head(&mut socket).await);
                let _ = socket.write_all(answer).await;
            }
        });
        (Self { address, _serving: serving }, received)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(socket.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn whole(response: Response<Incoming>) -> Response<String> {
    let (head, body) = response.into_parts();
    let bytes = within(body.collect()).await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(bytes.to_vec()).unwrap())
}

/// What is waited for here comes at once; the limit is for when it does not.
async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("it took too long")
}

fn cache_status<B>(response: &Response<B>) -> &str {
    response.headers().get("cache-status").map_or("", |value| value.to_str().unwrap())
}

/// Answers with the number of the call, and these fields.
fn counting(fields: &'static [(&'static str, &'static str)]) -> (Router, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = move || {
        let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let mut response = Response::new(Body::from(format!("call {call}")));
            for (name, value) in fields {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            response
        }
    };
    (Router::new().fallback(handler), calls)
}

/// A body that is what is sent to it.
fn piped() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Bytes>();
    let frames = futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))))
    });
    (sender, Body::new(StreamBody::new(frames)))
}

/// Always the same single response, made by the test.
fn once(response: Response<Body>) -> Router {
    let response = std::sync::Mutex::new(Some(response));
    let response = Arc::new(response);
    Router::new().fallback(move || {
        let response = response.lock().unwrap().take();
        async move { response.unwrap_or_else(|| Response::builder().status(410).body(Body::empty()).unwrap()) }
    })
}

const LASTING: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test]
async fn a_second_get_is_a_hit_with_its_age() {
    let (router, calls) = counting(LASTING);
    let origin = Origin::start(router).await;
    let proxy = Proxy::start(&origin.url(), &[]);

    let first = proxy.get("/?b=2&a=1", &[]).await;
    let second = proxy.get("/?a=1&b=2", &[]).await;

    assert_eq!((first.body().as_str(), second.body().as_str()), ("call 1", "call 1"));
    assert!(cache_status(&first).starts_with("microcache; fwd=uri-miss; fwd-status=200; ttl="), "{first:?}");
    assert!(cache_status(&first).ends_with("; stored"), "{first:?}");
    assert!(cache_status(&second).starts_with("microcache; hit"), "{second:?}");
    assert!(second.headers()["age"].to_str().unwrap().parse::<u64>().unwrap() < 60);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn chunks_pass_as_they_come() {
    for content_type in ["text/event-stream", "text/plain"] {
        let (chunks, body) = piped();
        let response = Response::builder().header("content-type", content_type).body(body).unwrap();
        let origin = Origin::start(once(response)).await;
        let proxy = Proxy::start(&origin.url(), &[]);
        let request = proxy.request(Method::GET, "/").body(Full::default()).unwrap();

        chunks.send("data: 1\n\n".into()).unwrap();
        let mut answer = proxy.send(request).await;
        let first = within(answer.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "data: 1\n\n", "{content_type}");

        chunks.send("data: 2\n\n".into()).unwrap();
        drop(chunks);
        let rest = within(answer.collect()).await.unwrap().to_bytes();
        assert_eq!(rest, "data: 2\n\n", "{content_type}");
    }
}

#[tokio::test]
async fn a_post_passes_untouched_while_it_is_sent() {
    let echo = Router::new().route("/echo", any(|request: Request| async { Response::new(request.into_body()) }));
    let origin = Origin::start(echo).await;
    let proxy = Proxy::start(&origin.url(), &[]);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let (chunks, body) = piped();
    let request = proxy.request(Method::POST, "/echo").body(body).unwrap();

    chunks.send("one".into()).unwrap();
    let mut answer = within(client.request(request)).await.unwrap();
    let first = within(answer.frame()).await.unwrap().unwrap().into_data().unwrap();
    chunks.send(" two".into()).unwrap();
    drop(chunks);

    assert_eq!((first.as_ref(), cache_status(&answer)), (b"one".as_slice(), ""));
    assert_eq!(within(answer.collect()).await.unwrap().to_bytes(), " two");
}

#[tokio::test]
async fn a_get_with_content_of_unknown_length_keeps_it() {
    let echo = Router::new().fallback(|request: Request| async { Response::new(request.into_body()) });
    let origin = Origin::start(echo).await;
    let proxy = Proxy::start(&origin.url(), &[]);

    let answer = proxy
        .exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        .await;

    assert!(answer.contains("\r\n4\r\nbody\r\n"), "{answer}");
}

#[tokio::test]
async fn a_dead_upstream_is_a_502_that_is_not_stored() {
    // Bound, so that nobody else gets the port, and not listening yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let proxy = Proxy::start(&format!("http://{}", socket.local_addr().unwrap()), &[]);

    let failed = timeout(Duration::from_secs(2), proxy.get("/", &[])).await.expect("not at once");
    assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    assert!(failed.body().contains("the upstream can not be reached"), "{failed:?}");

    let (router, _) = counting(LASTING);
    let _origin = Origin::on(socket.listen(16).unwrap(), router);
    let answer = proxy.get("/", &[]).await;
    assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, "call 1"));
    assert!(cache_status(&answer).contains("fwd=uri-miss"), "{answer:?}");
}

#[tokio::test]
async fn what_is_not_http_is_a_502() {
    for answer in [b"".as_slice(), b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"] {
        let (origin, _heads) = Origin::raw(answer).await;
        let proxy = Proxy::start(&origin.url(), &[]);

        let failed = proxy.get("/", &[]).await;

        assert_eq!(failed.status(), StatusCode::BAD_GATEWAY, "{:?}", answer.escape_ascii().to_string());
        assert!(failed.body().contains("the upstream did not answer"), "{failed:?}");
    }
}

#[tokio::test]
async fn a_hit_needs_no_upstream() {
    let (router, _) = counting(LASTING);
    let origin = Origin::start(router).await;
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/", &[]).await;

    drop(origin);

    let hit = proxy.get("/", &[]).await;
    assert_eq!((hit.status(), hit.body().as_str()), (StatusCode::OK, "call 1"));
    assert_eq!(proxy.get("/other", &[]).await.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn fields_of_one_connection_stay_on_it() {
    let (origin, mut heads) = Origin::raw(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Theirs\r\nX-Theirs: 1\r\nKeep-Alive: timeout=5\r\n\
          Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
          2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let proxy = Proxy::start(&origin.url(), &[]);

    let answer = proxy
        .exchange(
            "GET / HTTP/1.1\r\nHost: Shop.example\r\nConnection: close, X-Ours, Host\r\nX-Ours: 1\r\n\
             Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip, trailers\r\nProxy-Authorization: Basic x\r\n\
             Upgrade: h2c\r\nX-Kept: 1\r\nVia: 1.0 first\r\n\r\n",
        )
        .await
        .to_lowercase();

    let forwarded = heads.recv().await.unwrap().to_lowercase();
    let mut lines: Vec<_> = forwarded.trim_end().lines().collect();
    lines.sort_unstable();
    let expected = [
        "connection: te",
        "get / http/1.1",
        "host: shop.example",
        "te: trailers",
        "via: 1.0 first",
        "via: 1.1 microcache",
        "x-kept: 1",
    ];
    assert_eq!(lines, expected);
    for dropped in ["x-theirs", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(!answer.contains(dropped), "{dropped} in {answer}");
    }
    assert!(answer.contains("\r\nx-kept: 1\r\n") && answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_passes_through() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut origin = JoinSet::new();
    origin.spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let head = read_head(&mut socket).await.to_lowercase();
        assert!(head.contains("upgrade: echo\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ";
        socket.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let proxy = Proxy::start(&url, &[]);

    let mut socket = proxy.connect().await;
    let request = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut socket).await.to_lowercase();
    socket.write_all(b"world").await.unwrap();
    socket.shutdown().await.unwrap();
    let mut echoed = String::new();
    within(socket.read_to_string(&mut echoed)).await.unwrap();

    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: echo\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n") && !head.contains("cache-status"), "{head}");
    assert_eq!(echoed, "hello world");
    within(origin.join_next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_end_well() {
    let halves: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for half in halves {
        let (origin, _heads) = Origin::raw(half).await;
        let proxy = Proxy::start(&origin.url(), &[]);
        let what = half.escape_ascii().to_string();
        for _ in 0..2 {
            let request = proxy.request(Method::GET, "/").body(Full::default()).unwrap();
            // The connection may break before the head is out, too.
            if let Ok(answer) = within(proxy.client.request(request)).await {
                assert!(!cache_status(&answer).contains("hit"), "{what}");
                assert!(within(answer.collect()).await.is_err(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_hundred_gets_at_once_are_one_forward() {
    let (calls, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, gate) = (Arc::clone(&calls), Arc::clone(&go));
    let router = Router::new().fallback(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            ([("cache-control", "max-age=60")], "shared")
        }
    });
    let origin = Origin::start(router).await;
    let proxy = Proxy::start(&origin.url(), &[]);

    let mut sockets = Vec::new();
    for _ in 0..100 {
        let mut socket = proxy.connect().await;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        sockets.push(socket);
    }
    go.notify_one();
    let mut answers = HashSet::new();
    for mut socket in sockets {
        let mut answer = String::new();
        within(socket.read_to_string(&mut answer)).await.unwrap();
        answers.insert(answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned());
    }

    // Whether it waited or came late enough for a hit, each has the one answer.
    assert_eq!((answers, calls.load(Ordering::SeqCst)), (HashSet::from(["shared".to_owned()]), 1));
}

#[tokio::test]
async fn tenants_share_nothing_and_strangers_nothing_at_all() {
    let (router, _) = counting(LASTING);
    let origin = Origin::start(router).await;
    let proxy = Proxy::start(&origin.url(), &["--tenant", "header:X-Tenant"]);

    let requests: [(&[(&str, &str)], &str); 7] = [
        (&[("x-tenant", "a")], "call 1"),
        (&[("x-tenant", "b")], "call 2"),
        (&[("x-tenant", "a")], "call 1"),
        (&[], "call 3"),
        (&[], "call 4"),
        (&[("x-tenant", "a"), ("x-tenant", "b")], "call 5"),
        // The upstream would not see it, so it counts for nothing.
        (&[("x-tenant", "a"), ("connection", "x-tenant")], "call 6"),
    ];
    for (fields, expected) in requests {
        assert_eq!(proxy.get("/", fields).await.body(), expected, "{fields:?}");
    }
}

#[tokio::test]
async fn the_tenant_may_be_in_the_host_or_the_path() {
    let (router, _) = counting(LASTING);
    let origin = Origin::start(router).await;
    let by_host = Proxy::start(&origin.url(), &["--tenant=host"]);
    let by_path = Proxy::start(&origin.url(), &["--tenant=path:0"]);

    for (host, expected) in [("a.example", "call 1"), ("b.example", "call 2"), ("A.example", "call 1")] {
        assert_eq!(by_host.get("/", &[("host", host)]).await.body(), expected, "{host}");
    }
    for (path, expected) in
        [("/a/x", "call 3"), ("/b/x", "call 4"), ("/a/x", "call 3"), ("/", "call 5"), ("/", "call 6")]
    {
        assert_eq!(by_path.get(path, &[]).await.body(), expected, "{path}");
    }
}

#[tokio::test]
async fn flags_reach_the_policy() {
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(&[&str], &str, Fields, bool); 7] = [
        (&[], "/?page=2", &[], true),
        (&[], "/?page=2&utm_x=1", &[], false),
        (&["--ignore-query", "utm_*,ref"], "/?utm_x=1&page=2&ref=3", &[], true),
        (&["--only-query=page"], "/?whatever=1&page=2", &[], true),
        (&["--ignore-cookies"], "/?page=2", &[("cookie", "a=1")], true),
        (&["--default-freshness", "none"], "/?page=2", &[], false),
        (&["--max-body", "3"], "/?page=2", &[], false),
    ];
    for (flags, path, fields, is_hit) in cases {
        let (router, _) = counting(&[]);
        let origin = Origin::start(router).await;
        let flags = [&["--default-freshness=1h"], flags].concat();
        let proxy = Proxy::start(&origin.url(), &flags);

        proxy.get("/?page=2", &[]).await;
        let second = proxy.get(path, fields).await;

        assert_eq!(cache_status(&second).contains("hit"), is_hit, "{flags:?} {path} {second:?}");
    }
}

#[tokio::test]
async fn the_upstream_sees_what_is_in_the_key_where_it_is_to_see_nothing_else() {
    let echo = async |request: Request| {
        let names: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
        format!("{} {}", request.uri(), names.join(" "))
    };
    let origin = Origin::start(Router::new().fallback(echo)).await;
    let flags = ["--only-keyed-input", "--ignore-query=utm_*", "--tenant=header:x-tenant"];
    let proxy = Proxy::start(&origin.url(), &flags);

    let evil = [("x-tenant", "a"), ("x-own", "evil"), ("x-forwarded-for", "evil"), ("user-agent", "evil")];
    let first = proxy.get("/?utm_x=evil&b=1", &evil).await;
    assert_eq!(first.body(), "/?b=1 x-tenant host via");
    let second = proxy.get("/?b=1", &[("x-tenant", "a")]).await;
    assert!(cache_status(&second).contains("hit"), "{second:?}");

    let login = proxy.get("/", &[("x-tenant", "a"), ("authorization", "Basic YQ=="), ("x-own", "1")]).await;
    assert!(login.body().contains("authorization") && login.body().contains("x-own"), "{login:?}");
    assert!(cache_status(&login).ends_with("detail=credentials"), "{login:?}");
}

#[tokio::test]
async fn every_form_of_a_target_finds_its_way() {
    let tell = |request: Request| async move {
        let host = request.headers().get("host").map_or("none", |host| host.to_str().unwrap());
        format!("{} {} at {host}", request.method(), request.uri())
    };
    let origin = Origin::start(Router::new().fallback(tell)).await;
    let (plain, based) = (Proxy::start(&origin.url(), &[]), Proxy::start(&format!("{}/base/", origin.url()), &[]));

    let address = origin.address.to_string();
    let cases = [
        (&plain, "GET /a//b?c=%7e&d HTTP/1.1\r\nHost: X:8", "GET /a//b?c=%7e&d at X:8".to_owned()),
        (&plain, "GET http://real:8/a HTTP/1.1\r\nHost: other", "GET /a at real:8".to_owned()),
        (&plain, "OPTIONS * HTTP/1.1\r\nHost: x", "OPTIONS * at x".to_owned()),
        (&plain, "GET / HTTP/1.0", format!("GET / at {address}")),
        (&based, "GET /a?b HTTP/1.1\r\nHost: x", "GET /base/a?b at x".to_owned()),
        (&plain, "GET / HTTP/1.1", "400 Bad Request: Host is needed once\n".to_owned()),
        (&plain, "GET / HTTP/1.1\r\nHost: a\r\nHost: b", "400 Bad Request: Host is needed once\n".to_owned()),
        (&plain, "GET a HTTP/1.1\r\nHost: x", "400 Bad Request: the target is no path\n".to_owned()),
        (&plain, "CONNECT a:1 HTTP/1.1\r\nHost: a:1", "501 Not Implemented: this is no forward proxy\n".to_owned()),
    ];
    for (proxy, request, expected) in cases {
        let answer = proxy.exchange(&format!("{request}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(answer.rsplit_once("\r\n\r\n").unwrap().1, expected, "{request}: {answer}");
    }
}

#[tokio::test]
async fn http_2_is_spoken_on_both_sides() {
    let tell = |request: Request| async move {
        let authority = request.uri().authority().map_or("none", |authority| authority.as_str());
        let cookie = request.headers().get_all("cookie").iter().map(|line| line.to_str().unwrap()).collect::<Vec<_>>();
        format!("{:?} {authority} {cookie:?} {}", request.version(), request.headers().contains_key("host"))
    };
    let origin = Origin::start(Router::new().fallback(tell)).await;
    let to_h2 = Proxy::start(&format!("h2c://{}", origin.address), &[]);
    let to_h1 = Proxy::start(&origin.url(), &[]);
    let h2_client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();

    let answer = to_h2.get("/", &[("host", "shop.example"), ("upgrade", "x"), ("connection", "upgrade")]).await;
    assert_eq!(answer.body(), "HTTP/2.0 shop.example [] false");
    assert_eq!(answer.version(), Version::HTTP_11);

    let request = to_h1.request(Method::GET, "/").header("cookie", "a=1").header("cookie", "b=2");
    let answer = within(h2_client.request(request.body(Empty::new()).unwrap())).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(whole(answer).await.body(), "HTTP/1.1 none [\"a=1; b=2\"] true");
}

#[tokio::test]
async fn clients_of_both_protocols_share_what_is_stored() {
    let (router, _) = counting(LASTING);
    let origin = Origin::start(router).await;
    let proxy = Proxy::start(&origin.url(), &[]);
    let h2_client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();

    proxy.get("/", &[]).await;
    let request = proxy.request(Method::GET, "/").body(Empty::new()).unwrap();
    let answer = whole(within(h2_client.request(request)).await.unwrap()).await;

    assert_eq!(answer.body(), "call 1");
}

#[tokio::test]
async fn an_old_upstream_does_not_make_us_old() {
    let (origin, _heads) = Origin::raw(b"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nold").await;
    let proxy = Proxy::start(&origin.url(), &[]);

    let first = proxy.get("/", &[]).await;
    let second = proxy.get("/", &[]).await;

    assert_eq!((first.version(), first.body().as_str()), (Version::HTTP_11, "old"));
    assert!(cache_status(&second).contains("hit"), "{second:?}");
}

#[tokio::test]
async fn a_body_over_the_limit_passes_whole_and_is_not_stored() {
    let large = Bytes::from(vec![b'x'; 3 << 20]);
    for is_sized in [true, false] {
        let (body, calls) = (large.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&calls);
        let handler = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let body = body.clone();
            async move {
                if is_sized {
                    return Response::new(Body::from(body));
                }
                let (chunks, piped) = piped();
                body.chunks(64 << 10).for_each(|chunk| chunks.send(Bytes::copy_from_slice(chunk)).unwrap());
                Response::new(piped)
            }
        };
        let origin = Origin::start(Router::new().route("/", get(handler))).await;
        let proxy = Proxy::start(&origin.url(), &[]);

        for _ in 0..2 {
            let answer = proxy.get("/", &[]).await;
            assert_eq!(answer.body().len(), large.len(), "sized: {is_sized}");
            assert!(answer.body().bytes().all(|byte| byte == b'x'));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2, "sized: {is_sized}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_under_way_is_finished_before_the_end() {
    for signal in ["-TERM", "-INT"] {
        let (chunks, body) = piped();
        let origin = Origin::start(once(Response::new(body))).await;
        let mut proxy = Proxy::start(&origin.url(), &[]);
        let request = proxy.request(Method::GET, "/").body(Full::default()).unwrap();
        chunks.send("before".into()).unwrap();
        let mut answer = proxy.send(request).await;
        within(answer.frame()).await.unwrap().unwrap();

        proxy.signal(signal);
        // It has heard once it accepts no more.
        while TcpStream::connect(&proxy.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        chunks.send("after".into()).unwrap();
        drop(chunks);

        assert_eq!(within(answer.collect()).await.unwrap().to_bytes(), "after");
        assert_eq!(proxy.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_bad_flag_is_named_and_ends_with_2() {
    let table: &[&[&str]] = &[
        &["--upstream"],
        &["--upstream", "ftp://a"],
        &["--upstream", "127.0.0.1:80"],
        &["--upstream", "https://a"],
        &["--upstream", "http://a:99999"],
        &["--upstream", "http://user@a"],
        &["--upstream", "http://a/?b"],
        &["--listen", "nowhere"],
        &["--listen"],
        &["--listen", "--threads"],
        &["--listen="],
        &["--default-freshness", "1"],
        &["--default-freshness", "-1s"],
        &["--default-freshness", "99999999999999999999s"],
        &["--store", "disk:1MiB"],
        &["--store", "memory"],
        &["--store=memory:1.5MiB"],
        &["--memcached", "a"],
        &["--memcached", "a:1,,b:2"],
        &["--memcached"],
        &["--near-freshness", "soon"],
        &["--near-freshness", "1s"],
        &["--seal-key-file"],
        &["--seal-key-file", "/key"],
        &["--tenant", "user"],
        &["--tenant", "header:"],
        &["--tenant", "path:x"],
        &["--ignore-query", "a,,b"],
        &["--only-query", ""],
        &["--ignore-cookies=yes"],
        &["--stale-while-revalidate", "1"],
        &["--stale-if-error", "x"],
        &["--max-body", "1MB"],
        &["--max-body", "99999999999GiB"],
        &["--collapse-wait", "5"],
        &["--collapse-max-followers", "-1"],
        &["--only-keyed-input=1"],
        &["--admin-token", ""],
        &["--admin-token", "guessable"],
        &["--threads", "0"],
        &["--threads", "many"],
        &["--no-such-flag"],
        &["word"],
        &["--only-query", "a", "--ignore-query", "b"],
    ];
    for arguments in table {
        // The upstream first, so that it is only the flag after it that can be wrong.
        let arguments = [&["--upstream", "http://127.0.0.1:1"], *arguments].concat();
        let output = run(&arguments);

        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        let named = arguments[2].split('=').next().unwrap();
        assert!(complaint.starts_with(&format!("reverse_proxy: {named}: ")), "{arguments:?}: {complaint}");
        assert_eq!((complaint.lines().count(), output.stdout.len()), (1, 0), "{complaint}");
    }
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--upstream: missing"));
}

#[test]
fn every_flag_is_understood() {
    let flags = [
        "--default-freshness=500ms",
        "--heuristic-freshness=1h",
        "--store=memory:10KiB",
        "--tenant=shared",
        "--ignore-query=a,utm_*",
        "--ignore-cookies",
        "--stale-while-revalidate=1s",
        "--stale-if-error=2m",
        "--max-body=65536",
        "--collapse-wait=5s",
        "--collapse-max-followers=0",
        "--threads=1",
        "--only-keyed-input",
        "--admin-token=correct-horse-battery",
        "--memcached=127.0.0.1:11211,[::1]:11211,cache.example:1",
        "--near-freshness=0s",
    ];
    let mut proxy = Proxy::start("http://127.0.0.1:1", &flags);
    proxy.child.kill().unwrap();

    let mut told = String::new();
    proxy.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();

    assert_eq!(told, "");
}

#[tokio::test]
async fn the_admin_service_is_there_for_those_who_have_the_token_and_only_if_it_was_asked_for() {
    let origin = Origin::start(Router::new().fallback(async || "the upstream's")).await;
    let asked = Proxy::start(&origin.url(), &["--admin-token", "correct-horse-battery"]);
    let plain = Proxy::start(&origin.url(), &[]);
    let known = &[("host", "shop.example"), ("authorization", "Bearer correct-horse-battery")];

    assert_eq!(asked.get("/a", &known[..1]).await.body(), "the upstream's");
    for path in ["/-/cache", "/-/cache/"] {
        assert!(asked.get(path, &known[..1]).await.body().starts_with("<!DOCTYPE html>"), "{path}");
        assert_eq!(plain.get(path, known).await.body(), "the upstream's", "{path}");
    }
    assert_eq!(asked.get("/-/cache/stats?a=1", &known[..1]).await.status(), StatusCode::UNAUTHORIZED);
    let stats = asked.get("/-/cache/stats?a=1", known).await.into_body();
    assert!(stats.contains("\"forwards\":1"), "{stats}");
    assert_eq!(asked.get("/-/cached", known).await.body(), "the upstream's");
}

#[test]
fn help_lists_every_flag() {
    let output = run(&["--help"]);

    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for flag in [
        "--upstream",
        "--listen",
        "--default-freshness",
        "--store",
        "--memcached",
        "--near-freshness",
        "--seal-key-file",
        "--tenant",
        "--ignore-query",
        "--only-query",
        "--ignore-cookies",
        "--stale-while-revalidate",
        "--stale-if-error",
        "--max-body",
        "--collapse-wait",
        "--collapse-max-followers",
        "--only-keyed-input",
        "--admin-token",
        "--threads",
    ] {
        assert!(help.contains(&format!("\n  {flag}")), "{flag}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_told_and_ends_with_1() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap();

    let output = run(&["--upstream=http://127.0.0.1:1", &format!("--listen={taken}")]);

    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.starts_with(&format!("reverse_proxy: --listen: {taken}: ")), "{complaint}");
}

#[tokio::test]
async fn trailers_pass_through() {
    assert_eq!(trailers_of("no-store").await, [Some("7".to_owned()), Some("7".to_owned())]);
}

#[tokio::test]
async fn trailers_are_kept_with_what_is_stored() {
    assert_eq!(trailers_of("max-age=60").await, [Some("7".to_owned()), Some("7".to_owned())]);
}

/// The trailer `x-sum` of two answers in a row, which the origin sends with this `Cache-Control`.
async fn trailers_of(cache_control: &str) -> [Option<String>; 2] {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: {cache_control}\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"
    );
    let (origin, _heads) = Origin::raw(answer.into_bytes().leak()).await;
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut found = [const { None }; 2];
    for trailer in &mut found {
        let request = proxy.request(Method::GET, "/").header("te", "trailers").body(Full::default()).unwrap();
        let body = within(proxy.send(request).await.collect()).await.unwrap();
        let value = body.trailers().and_then(|trailers| trailers.get("x-sum"));
        *trailer = value.map(|value| value.to_str().unwrap().to_owned());
    }
    found
}
