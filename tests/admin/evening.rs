//! A shop on a busy evening: a real cache, and clients that come whether or not they are answered. No assertions in here.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Extension, Router, body::Body, extract::Path, routing::get};
use fastrand::Rng;
use http::{HeaderName, Request, Response, StatusCode, header::CACHE_CONTROL};
use microcache::{
    AdminService, CacheHandle, CacheLayer, MemcachedStore, MemoryStore, Policy, Purge, Tags, Tenancy, Tenant, Tiered,
};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::ServiceExt;

use crate::service::TOKEN;

/// What goes on until it is dropped.
pub(crate) struct Evening {
    /// With the dashboard.
    pub(crate) app: Router,
    tasks: [JoinHandle<()>; 2],
}

impl Evening {
    pub(crate) async fn start() -> Self {
        let servers = [Memcached::start().await, Memcached::start().await];
        let cache = cache(servers.each_ref().map(|server| server.address.as_str()));
        let handle = cache.handle();
        handle.pause_route("/cart/{id}").unwrap();
        let admin = AdminService::builder(handle.clone()).bearer_token(TOKEN).build().unwrap();
        let shop = Router::new()
            .route("/products", get(list))
            .route("/products/{id}", get(product).put(async || StatusCode::NO_CONTENT))
            .route("/search", get(async || page(3).await))
            .route("/cart/{id}", get(async || page(1).await))
            .layer(cache);
        let tasks = [tokio::spawn(clients(shop.clone())), tokio::spawn(incidents(handle, servers))];
        Self { app: shop.nest_service("/-/cache", admin), tasks }
    }
}

impl Drop for Evening {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Three tenants, three routes and a paused one, memory in front of memcached.
fn cache(servers: [&str; 2]) -> CacheLayer {
    let near = MemoryStore::with_max_bytes(16 << 20);
    let fresh = |seconds| Policy::new().default_freshness(Duration::from_secs(seconds));
    let far = MemcachedStore::builder(servers).deadline(DEADLINE).build().unwrap();
    CacheLayer::builder(Tiered::new(near, far).near_freshness(NEAR_FRESHNESS))
        .store_deadline(DEADLINE + Duration::from_millis(10))
        .tenant(Tenancy::header(HeaderName::from_static("x-tenant")))
        .route("/products", fresh(10).stale_while_revalidate(Duration::from_secs(5)))
        .route("/products/{id}", fresh(30))
        .route("/search", fresh(10))
        .route("/cart/{id}", Policy::new())
        .build()
        .unwrap()
}

async fn list() -> (Extension<Tags>, String) {
    (Extension(Tags::new(["list"])), page(4).await)
}

async fn product(Path(id): Path<u32>) -> ([(HeaderName, &'static str); 1], Extension<Tags>, String) {
    let freshness = if id % 50 == 49 { "private" } else { "s-maxage=30" };
    ([(CACHE_CONTROL, freshness)], Extension(Tags::new([format!("product:{id}")])), page(2).await)
}

/// So many KiB, after 50 to 100 ms.
async fn page(kib: usize) -> String {
    sleep(Duration::from_millis(fastrand::u64(50..=100))).await;
    "x".repeat(kib << 10)
}

/// An open loop: 500 requests a second, and from the 45th second on a sale, with three times as many.
async fn clients(shop: Router) {
    let (began, mut random) = (Instant::now(), Rng::new());
    let mut next = 0.0;
    loop {
        let now = began.elapsed().as_secs_f64();
        while next <= now {
            let rate = 500.0 + 1_000.0 / (1.0 + (-(next - 50.0) / 2.5).exp());
            next -= (1.0 - random.f64()).ln() / rate;
            let (request, shop) = (visit(&mut random), shop.clone());
            tokio::spawn(async move { read(shop.oneshot(request).await.unwrap()).await });
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn read(response: Response<Body>) {
    axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
}

fn visit(random: &mut Rng) -> Request<Body> {
    let tenant = ["acme", "acme", "acme", "globex", "globex", "initech"][random.usize(..6)];
    let method = if random.u32(..1_000) == 0 { "PUT" } else { "GET" };
    let path = match random.u32(..100) {
        _ if method == "PUT" => format!("/products/{}", popular(random, 2_000)),
        0..45 => format!("/products?page={}", popular(random, 50)),
        45..85 => format!("/products/{}", popular(random, 2_000)),
        85..97 => {
            let word = ["lamp", "sofa", "chair", "rug", "desk"][popular(random, 5) as usize - 1];
            format!("/search?q={word}&page={}", popular(random, 20))
        }
        _ => format!("/cart/{}", random.u32(..500)),
    };
    let request = Request::builder().method(method).uri(path).header("host", "shop.example");
    request.header("x-tenant", tenant).body(Body::empty()).unwrap()
}

/// From 1 to `most`, each about in inverse proportion to itself.
fn popular(random: &mut Rng, most: u32) -> u32 {
    f64::from(most + 1).powf(random.f64()) as u32
}

/// Purges, and a server that dies.
async fn incidents(handle: CacheHandle, servers: [Memcached; 2]) {
    let [_first, second] = servers;
    let purge = async |purge: Purge| drop(handle.purge(purge).await);
    sleep(Duration::from_secs(20)).await;
    purge(Purge::tag("product:42").tenant(Tenant::named("acme")).into()).await;
    sleep(Duration::from_secs(15)).await;
    purge(Purge::tag("list").tenant(Tenant::named("globex")).soft().into()).await;
    sleep(Duration::from_secs(35)).await;
    drop(second);
    sleep(Duration::from_secs(20)).await;
    purge(Purge::all()).await;
    std::future::pending().await
}

/// A server of this evening, on a port that was free a moment ago.
struct Memcached {
    process: Child,
    address: String,
}

impl Memcached {
    async fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-U", "0", "-u", "root", "-p", &free.port().to_string()]);
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("run scripts/memcached");
        while tokio::net::TcpStream::connect(free).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        Self { process, address: free.to_string() }
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // Only fails when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Longer than by default, so that memory helps out for a server that is gone.
const NEAR_FRESHNESS: Duration = Duration::from_secs(10);

/// A browser draws on the same machine: a server that is there is not to be taken for one that is gone.
const DEADLINE: Duration = Duration::from_millis(500);
