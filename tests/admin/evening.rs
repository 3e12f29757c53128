//! A shop on a busy evening: a real cache, and clients that come whether or not they are answered. No assertions in here.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Extension, Router, body::Body, extract::Path, routing::get};
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
    sleep(Duration::from_millis(50 + Chance::new().up_to(51))).await;
    "x".repeat(kib << 10)
}

/// An open loop: 500 requests a second, and from the 45th second on a sale, with three times as many.
async fn clients(shop: Router) {
    let (began, mut chance) = (Instant::now(), Chance::new());
    let mut next = 0.0;
    loop {
        let now = began.elapsed().as_secs_f64();
        while next <= now {
            let rate = 500.0 + 1_000.0 / (1.0 + (-(next - 50.0) / 2.5).exp());
            next -= chance.share().ln() / rate;
            let (request, shop) = (visit(&mut chance), shop.clone());
            tokio::spawn(async move { read(shop.oneshot(request).await.unwrap()).await });
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn read(response: Response<Body>) {
    axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
}

fn visit(chance: &mut Chance) -> Request<Body> {
    let tenant = ["acme", "acme", "acme", "globex", "globex", "initech"][chance.up_to(6) as usize];
    let method = if chance.up_to(1_000) == 0 { "PUT" } else { "GET" };
    let path = match chance.up_to(100) {
        _ if method == "PUT" => format!("/products/{}", chance.zipf(2_000)),
        0..45 => format!("/products?page={}", chance.zipf(50)),
        45..85 => format!("/products/{}", chance.zipf(2_000)),
        85..97 => {
            let word = ["lamp", "sofa", "chair", "rug", "desk"][chance.zipf(5) as usize - 1];
            format!("/search?q={word}&page={}", chance.zipf(20))
        }
        _ => format!("/cart/{}", chance.up_to(500)),
    };
    let request = Request::builder().method(method).uri(path).header("host", "shop.example");
    request.header("x-tenant", tenant).body(Body::empty()).unwrap()
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

/// Numbers by chance (splitmix64, Steele, Lea and Flood 2014).
struct Chance {
    state: u64,
}

impl Chance {
    fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};

        Self { state: RandomState::new().hash_one(0_u8) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn up_to(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Over 0, and 1 at most.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// From 1 to `most`, each about in inverse proportion to itself.
    fn zipf(&mut self, most: u32) -> u32 {
        f64::from(most + 1).powf(1.0 - self.share()) as u32
    }
}
