//! Several proxies, one memcached.

use std::{fs, sync::atomic::AtomicU32};

use super::{memcached::Memcached, *};

/// The key has the host, and each proxy has a port of its own.
const HOST: &[(&str, &str)] = &[("host", "shop.example")];
const AT_ONCE: &str = "--near-freshness=0s";
const LATE: &str = "--near-freshness=1h";

fn node(origin: &Origin, memcached: &Memcached, flags: &[&str]) -> Proxy {
    let flag = format!("--memcached={}", memcached.address());
    Proxy::start(&origin.url(), &[&[flag.as_str()], flags].concat())
}

/// Tries on one fresh path after the other until it is so. A busy machine may be too slow for the deadline of the store,
/// which then is not used that time.
async fn at_last(is_so: impl AsyncFn(&str) -> bool) {
    for number in 0..100 {
        if is_so(&format!("/{number}")).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to be so");
}

#[tokio::test]
async fn what_one_proxy_has_stored_is_a_hit_in_the_other() {
    let (router, calls) = counting(LASTING);
    let (origin, memcached) = (Origin::start(router).await, Memcached::start(&[]));
    let (one, other) = (node(&origin, &memcached, &[]), node(&origin, &memcached, &[]));

    at_last(async |path| {
        let first = one.get(path, HOST).await;
        assert!(cache_status(&first).contains("fwd=uri-miss"), "{first:?}");
        let before = calls.load(Ordering::SeqCst);
        let second = other.get(path, HOST).await;
        let is_hit = cache_status(&second).starts_with("microcache; hit");
        assert_eq!(first.body() == second.body(), is_hit, "{second:?}");
        assert_eq!(calls.load(Ordering::SeqCst) == before, is_hit, "{second:?}");
        is_hit
    })
    .await;
}

#[tokio::test]
async fn an_invalidation_in_one_proxy_is_seen_in_the_other_once_its_memory_may_not_answer() {
    let (router, _) = counting(LASTING);
    let (origin, memcached) = (Origin::start(router).await, Memcached::start(&[]));
    let one = node(&origin, &memcached, &[]);
    let (at_once, late) = (node(&origin, &memcached, &[AT_ONCE]), node(&origin, &memcached, &[LATE]));

    at_last(async |path| {
        let old = one.get(path, HOST).await.into_body();
        if at_once.get(path, HOST).await.into_body() != old || late.get(path, HOST).await.into_body() != old {
            return false;
        }
        let delete = one.request(Method::DELETE, path).header("host", "shop.example").body(Full::default()).unwrap();
        assert_eq!(one.send(delete).await.status(), StatusCode::OK);
        assert_ne!(one.get(path, HOST).await.into_body(), old, "not even here");
        for _ in 0..100 {
            if at_once.get(path, HOST).await.into_body() != old {
                assert_eq!(late.get(path, HOST).await.into_body(), old, "the flag has no effect");
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    })
    .await;
}

#[tokio::test]
async fn of_several_proxies_one_forwards() {
    let (router, calls) = counting(LASTING);
    let slow = router.layer(axum::middleware::map_request(async |request: Request| {
        tokio::time::sleep(Duration::from_millis(200)).await;
        request
    }));
    let (origin, memcached) = (Origin::start(slow).await, Memcached::start(&[]));
    let proxies: Vec<Proxy> = (0..3).map(|_| node(&origin, &memcached, &[])).collect();

    at_last(async |path| {
        let before = calls.load(Ordering::SeqCst);
        let mut clients = JoinSet::new();
        for proxy in proxies.iter().flat_map(|proxy| std::iter::repeat_n(proxy, 20)) {
            let client = proxy.client.clone();
            let request =
                proxy.request(Method::GET, path).header("host", "shop.example").body(Full::default()).unwrap();
            clients.spawn(async move { whole(within(client.request(request)).await.unwrap()).await.into_body() });
        }
        let answers: HashSet<String> = clients.join_all().await.into_iter().collect();
        let forwards = calls.load(Ordering::SeqCst) - before;
        assert!((1..=3).contains(&forwards) && answers.len() <= forwards, "{forwards}: {answers:?}");
        forwards == 1
    })
    .await;
}

#[tokio::test]
async fn who_has_another_key_shares_nothing() {
    let (router, _) = counting(LASTING);
    let (origin, memcached) = (Origin::start(router).await, Memcached::start(&[]));
    let (raw, hex) = (KeyFile::new(&[0xab; 32]), KeyFile::new(format!("{}\n", "aB".repeat(32)).as_bytes()));
    let foreign = KeyFile::new(&[b'0'; 64]);
    let sealed = |file: &KeyFile| node(&origin, &memcached, &[AT_ONCE, &file.flag()]);
    let (one, same, other, open) =
        (sealed(&raw), sealed(&hex), sealed(&foreign), node(&origin, &memcached, &[AT_ONCE]));

    at_last(async |path| {
        let first = one.get(path, HOST).await.into_body();
        let is_shared = same.get(path, HOST).await.into_body() == first;
        assert_ne!(open.get(path, HOST).await.into_body(), first, "no key");
        let first = one.get(path, HOST).await.into_body();
        assert_ne!(other.get(path, HOST).await.into_body(), first, "another key");
        is_shared
    })
    .await;
}

#[tokio::test]
async fn without_its_memcached_a_proxy_goes_on_with_its_memory() {
    let (router, _) = counting(LASTING);
    let (origin, mut memcached) = (Origin::start(router).await, Memcached::start(&[]));
    let proxy = node(&origin, &memcached, &[LATE]);
    proxy.get("/before", HOST).await;
    memcached.kill();

    for path in ["/before", "/after", "/later"] {
        let first = proxy.get(path, HOST).await;
        let second = proxy.get(path, HOST).await;
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK), "{path}");
        // From memory, or from the flight that is on its way there.
        let said = cache_status(&second);
        assert!(said.starts_with("microcache; hit") || said.ends_with("; collapsed"), "{path}: {second:?}");
        assert_eq!(first.body(), second.body(), "{path}");
    }
}

#[test]
fn a_key_that_is_none_is_told_without_telling_it() {
    let secret = "correct horse battery staple";
    let files: [&[u8]; 7] = [b"", secret.as_bytes(), &[7; 31], &[7; 33], &[b'a'; 63], &[b'g'; 64], &b"a".repeat(300)];
    for content in files {
        let file = KeyFile::new(content);
        complains_of_key(&file.flag(), "neither 32 bytes nor 64 hex digits", secret);
    }
    let (gone, directory) = (std::env::temp_dir().join("microcache-no-such-key"), std::env::temp_dir());
    for path in [gone, directory] {
        complains_of_key(&format!("--seal-key-file={}", path.display()), "(os error ", secret);
    }
}

fn complains_of_key(flag: &str, wrong: &str, secret: &str) {
    let output = run(&["--upstream=http://127.0.0.1:1", "--memcached=127.0.0.1:1", flag]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), complaint.lines().count()), (Some(2), 1), "{complaint}");
    assert!(complaint.starts_with("reverse_proxy: --seal-key-file: "), "{complaint}");
    assert!(complaint.contains(wrong) && !complaint.contains(secret), "{complaint}");
}

#[test]
fn a_server_that_can_not_be_one_is_told() {
    for (servers, wrong) in [
        ("a", "there is no port"),
        ("a:0", "the port is no number"),
        ("a:1,", "there is no port"),
        ("redis://a:1", "the scheme `redis` is not known"),
        ("a:1,a:1", "is there twice"),
    ] {
        let output = run(&["--upstream=http://127.0.0.1:1", "--memcached", servers]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{servers}: {complaint}");
        assert!(complaint.starts_with("reverse_proxy: --memcached: ") && complaint.contains(wrong), "{complaint}");
    }
}

/// A file with a key in it, or with something else. Removed when it is dropped.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(content: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("microcache-{}-{}.key", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn flag(&self) -> String {
        format!("--seal-key-file={}", self.0.display())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
