//! Fences on real servers: each store here stands for a process.

use std::time::{Duration, SystemTime};

use tokio::time::{sleep, timeout};
use tokio_test::{assert_pending, task};

use super::{
    address::Address,
    driver::{Server, tests::memcached::Memcached},
    *,
};
use crate::{
    clock::{Clock, SystemClock},
    store::{
        Covers,
        contract::{key, response},
    },
    stored::raised::Raised,
};

fn store(servers: &[Memcached]) -> MemcachedStore {
    MemcachedStore::builder(servers.iter().map(Memcached::address)).deadline(PATIENCE).build().unwrap()
}

fn two() -> [Memcached; 2] {
    [Memcached::start(&[]), Memcached::start(&[])]
}

/// Each kind, for what [`began`] makes for the tenant `acme`, and for what it does not cover.
fn kinds(path: &str) -> [Covers; 4] {
    let tenant = "acme".to_owned();
    [
        Covers::Target(key(path)),
        Covers::Tag { tenant: tenant.clone(), tag: "shelf".into() },
        Covers::Tenant(tenant),
        Covers::All,
    ]
}

fn began(at: SystemTime) -> Stored {
    response(at, Default::default())
}

/// Later than what the servers took for granted when they were asked first.
async fn start(store: &MemcachedStore) -> SystemTime {
    for node in &store.inner.nodes {
        for tenant in [None, Some("acme")] {
            node.owe(&CacheKey::of_fences(tenant), &Raised::default()).unwrap().await.unwrap();
        }
    }
    sleep(MILLI * 2).await;
    SystemClock.now()
}

async fn is_found(store: &MemcachedStore, key: &CacheKey) -> bool {
    store.get(key).await.unwrap().is_some()
}

/// The servers, as somebody sees them who knows nothing of fences.
async fn remove_fences(server: &Memcached, tenant: Option<&str>) {
    let name = format!("microcache:fence1:{}", CacheKey::of_fences(tenant).as_str());
    let server = Server::new(Address::parse(&server.address()).unwrap(), driver::Settings::default());
    assert_eq!(server.delete(&name, None).await.unwrap(), Outcome::Done, "{name}");
}

#[tokio::test]
async fn what_one_process_purges_the_other_does_not_find_a_moment_later() {
    let servers = two();
    let (one, other) = (store(&servers), store(&servers));
    for (number, covers) in (0..4).flat_map(|kind| kinds("/a").into_iter().nth(kind)).enumerate() {
        let at = start(&one).await;
        for path in ["/a", "/b", "/c"] {
            assert_eq!(one.put(&key(path), began(at)).await.unwrap(), Put::Stored);
            assert!(is_found(&other, &key(path)).await);
        }
        let fence = Fence::new(covers, at + MILLI, false);

        one.fence(&fence).await.unwrap();
        assert!(!is_found(&one, &key("/a")).await, "{number}");
        sleep(MOMENT).await;

        assert!(!is_found(&other, &key("/a")).await, "{number}");
        assert_eq!(is_found(&other, &key("/b")).await, number == 0, "{number}");
        // What comes late is not stored, and what began after it is.
        assert_eq!(other.put(&key("/a"), began(at + MILLI)).await.unwrap(), Put::Fenced, "{number}");
        assert!(!is_found(&one, &key("/a")).await, "{number}");
        assert_eq!(other.put(&key("/a"), began(at + MILLI * 3)).await.unwrap(), Put::Stored, "{number}");
        assert!(is_found(&one, &key("/a")).await, "{number}");
    }
}

#[tokio::test]
async fn what_was_purged_softly_is_found_as_stale_and_what_comes_after_is_not() {
    let servers = two();
    let (one, other) = (store(&servers), store(&servers));
    for covers in kinds("/a") {
        let at = start(&one).await;
        one.put(&key("/a"), began(at)).await.unwrap();
        let is_softened = async || {
            sleep(MOMENT).await;
            other.get(&key("/a")).await.unwrap().unwrap().response().unwrap().is_softened
        };
        assert!(!is_softened().await);

        one.fence(&Fence::new(covers, at + MILLI, true)).await.unwrap();

        assert!(is_softened().await);
        one.put(&key("/a"), began(at + MILLI * 3)).await.unwrap();
        assert!(!is_softened().await);
    }
}

#[tokio::test]
async fn a_fence_covers_the_variants_and_all_other_keys_of_its_target() {
    let servers = two();
    let (one, other) = (store(&servers), store(&servers));
    let at = start(&one).await;
    let mut fields = http::HeaderMap::new();
    fields.insert("accept-language", http::HeaderValue::from_static("de"));
    let variant = key("/a").variant(&[http::header::ACCEPT_LANGUAGE], &fields).unwrap();
    one.put(&variant, began(at)).await.unwrap();

    other.fence(&Fence::new(Covers::Target(key("/a")), at, false)).await.unwrap();
    sleep(MOMENT).await;

    assert!(!is_found(&one, &variant).await);
}

#[tokio::test]
async fn fences_that_are_gone_or_unreadable_hide_what_was_stored_before() {
    let servers = [Memcached::start(&[])];
    let (one, other) = (store(&servers), store(&servers));
    for tenant in [None, Some("acme")] {
        let at = start(&one).await;
        one.put(&key("/a"), began(at)).await.unwrap();
        assert!(is_found(&other, &key("/a")).await);
        sleep(MOMENT).await;

        remove_fences(&servers[0], tenant).await;

        assert!(!is_found(&other, &key("/a")).await);
        assert_eq!(one.put(&key("/a"), began(at)).await.unwrap(), Put::Fenced);
        let at = start(&one).await;
        assert_eq!(one.put(&key("/a"), began(at)).await.unwrap(), Put::Stored);
        assert!(is_found(&other, &key("/a")).await);
    }
    // Somebody with another seal.
    let sealed = MemcachedStore::builder([servers[0].address()]).deadline(PATIENCE).sealed_with([1; 32]);
    start(&sealed.build().unwrap()).await;
    sleep(MOMENT).await;
    assert!(!is_found(&other, &key("/a")).await);
}

#[tokio::test]
async fn a_server_that_hangs_while_something_is_purged_does_not_serve_it_when_it_goes_on() {
    let servers = two();
    let (one, other) = (store(&servers), store(&servers));
    let impatient = |servers: &[Memcached]| {
        let builder = MemcachedStore::builder(servers.iter().map(Memcached::address));
        builder.deadline(MILLI * 50).build().unwrap()
    };
    let paths = [0, 1].map(|server| {
        let mut paths = (0..).map(|number| format!("/{number}"));
        paths.find(|path| one.inner.placement.index_of(&key(path)) == server).unwrap()
    });
    for kind in 0..4 {
        let at = start(&one).await;
        for path in &paths {
            one.put(&key(path), began(at)).await.unwrap();
        }
        let purger = impatient(&servers);
        servers[0].pause();
        let fence = Fence::new(kinds(&paths[0])[kind].clone(), at + MILLI, false);
        assert_eq!(purger.fence(&fence).await.unwrap_err().kind(), StoreErrorKind::Timeout);
        sleep(MOMENT).await;
        // The server that is well has it.
        assert_eq!(is_found(&other, &key(&paths[1])).await, kind == 0, "{kind}");

        servers[0].resume();
        sleep(MILLI * 500).await;

        assert!(!is_found(&other, &key(&paths[0])).await, "{kind}");
        assert_eq!(other.put(&key(&paths[0]), began(at)).await.unwrap(), Put::Fenced, "{kind}");
    }
}

#[tokio::test]
async fn a_server_that_could_not_be_reached_is_told_when_it_can() {
    let mut servers = two();
    let store = store(&servers);
    let at = start(&store).await;
    servers[0].kill();
    let fence = Fence::new(Covers::All, at + PATIENCE * 20, false);
    let mut told = std::pin::pin!(store.fence(&fence));
    assert!(timeout(MILLI * 300, &mut told).await.is_err());

    servers[0].restart();

    told.await.unwrap();
    for path in 0..20 {
        let key = key(&format!("/{path}"));
        assert_eq!(store.put(&key, began(at + PATIENCE)).await.unwrap(), Put::Fenced, "{path}");
    }
}

#[tokio::test]
async fn a_fence_that_nobody_waits_for_is_raised_all_the_same() {
    let servers = two();
    let (one, other) = (store(&servers), store(&servers));
    let at = start(&one).await;
    one.put(&key("/a"), began(at)).await.unwrap();
    let fence = Fence::new(Covers::All, at + MILLI, false);
    assert_pending!(task::spawn(one.fence(&fence)).poll());
    sleep(MOMENT).await;
    assert!(!is_found(&other, &key("/a")).await);
}

#[tokio::test]
async fn a_thousand_fences_at_once_take_few_writes() {
    let servers = [Memcached::start(&[])];
    let (one, other) = (store(&servers), store(&servers));
    let at = start(&one).await;
    let before = servers[0].stat("cmd_set");
    let fences: Vec<_> =
        (0..1_000).map(|number| Fence::new(Covers::Target(key(&format!("/{number}"))), at, true)).collect();

    for told in join_all(fences.iter().map(|fence| one.fence(fence))).await {
        told.unwrap();
    }

    let writes = servers[0].stat("cmd_set") - before;
    assert!(writes < 50, "{writes}");
    other.put(&key("/7"), began(at)).await.unwrap();
    assert!(other.get(&key("/7")).await.unwrap().unwrap().response().unwrap().is_softened);
}

#[tokio::test]
async fn processes_that_purge_at_once_lose_no_fence() {
    let servers = two();
    let stores: Vec<_> = (0..4).map(|_| store(&servers)).collect();
    let at = start(&stores[0]).await;
    let fences: Vec<_> =
        (0..200).map(|number| Fence::new(Covers::Target(key(&format!("/{number}"))), at, false)).collect();
    let told = fences.iter().enumerate().map(|(number, fence)| stores[number % 4].fence(fence));
    for told in join_all(told).await {
        told.unwrap();
    }
    for number in 0..200 {
        let put = stores[0].put(&key(&format!("/{number}")), began(at)).await.unwrap();
        assert_eq!(put, Put::Fenced, "{number}");
    }
}

#[tokio::test]
async fn fences_fit_into_the_smallest_values_that_can_be_set() {
    let server = Memcached::start(&[]);
    let builder = MemcachedStore::builder([server.address()]).deadline(PATIENCE);
    let store = builder.max_value_bytes(1_024).build().unwrap();
    let at = start(&store).await;
    for number in 0..300_u32 {
        let key = key(&format!("/{number}"));
        store.fence(&Fence::new(Covers::Target(key.clone()), at + MILLI * number, false)).await.unwrap();
        assert_eq!(store.put(&key, began(at + MILLI * number)).await.unwrap(), Put::Fenced, "{number}");
    }
    assert_eq!(store.put(&key("/new"), began(at + MILLI * 300)).await.unwrap(), Put::Stored);
}

#[test]
fn outside_of_a_runtime_a_fence_is_refused_and_still_owed() {
    let server = Memcached::start(&[]);
    let store = store(std::slice::from_ref(&server));
    let fence = Fence::new(Covers::All, SystemClock.now() + PATIENCE, false);
    let told = futures_util::FutureExt::now_or_never(store.fence(&fence)).unwrap();
    assert_eq!(told.unwrap_err().kind(), StoreErrorKind::Refused);

    // The runtime of the first ends before the server has been told.
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { assert_pending!(task::spawn(store.fence(&fence)).poll()) });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        store.fence(&fence).await.unwrap();
        assert_eq!(store.put(&key("/a"), began(SystemClock.now())).await.unwrap(), Put::Fenced);
    });
}

/// What another process may take to see a fence that has been taken.
const MOMENT: Duration = Duration::from_millis(110);

const MILLI: Duration = Duration::from_millis(1);

/// More than a busy machine needs, so that no test depends on its speed.
const PATIENCE: Duration = Duration::from_secs(5);
