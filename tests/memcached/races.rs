//! What two processes do to one key at the same time: nothing that was invalidated comes back, nothing waits in vain.

use std::time::Duration;

use microcache::{CacheLayer, Collapse, KeySpec, Lease, MemcachedStore, Policy, RequestHead, Store, Tenant};
use tokio::time::{sleep, timeout};
use tower::Layer;

use crate::{
    common::{Answer, Origin, TestCache, ask, get, get_with, reply, request, status, text},
    lease::{forwards, patient, stampede, until},
    memcached::Memcached,
    raw,
    shared::{PATIENCE, clock_of_today, far, process, settle_io, tiered},
};

const HOUR: &[(&str, &str)] = &[("cache-control", "max-age=3600")];
const SECOND: &[(&str, &str)] = &[("cache-control", "max-age=1")];
const PRIVATE: &[(&str, &str)] = &[("cache-control", "private")];

/// A request whose answer is still to come.
async fn begin(cache: &TestCache, origin: &Origin, path: &'static str) -> tokio::task::JoinHandle<Answer> {
    let mut cache = cache.clone();
    let before = origin.waiting();
    let asked = tokio::spawn(async move { ask(&mut cache, get(path)).await });
    until(|| origin.waiting() > before).await;
    asked
}

/// An invalidation, after what began before it by the clock of any process.
async fn invalidate(cache: &mut TestCache, origin: &Origin) {
    sleep(Duration::from_millis(2)).await;
    origin.queue([reply(200, &[], "done")]);
    ask(cache, request("POST", "/", &[])).await;
    settle_io().await;
}

#[tokio::test]
async fn a_variant_that_was_invalidated_elsewhere_does_not_come_back_with_the_next_one() {
    let memcached = Memcached::start(&[]);
    for near_freshness in [Duration::ZERO, Duration::from_millis(100)] {
        let (mut one, origin) = process(tiered(&memcached, near_freshness), Policy::new());
        let (mut other, elsewhere) = process(tiered(&memcached, near_freshness), Policy::new());
        let fields = [HOUR[0], ("vary", "x-lang")];
        for lang in ["de", "en"] {
            origin.queue([reply(200, &fields, "old")]);
            ask(&mut one, get_with("/", &[("x-lang", lang)])).await;
        }
        invalidate(&mut other, &elsewhere).await;
        sleep(near_freshness * 2).await;

        for lang in ["de", "en"] {
            origin.queue([reply(200, &fields, "new")]);
            let answer = ask(&mut one, get_with("/", &[("x-lang", lang)])).await;
            assert_eq!(text(answer).await.unwrap(), "new", "{lang}");
        }
        invalidate(&mut other, &elsewhere).await;
        sleep(near_freshness * 2).await;
    }
}

#[tokio::test]
async fn variants_that_two_processes_store_in_turn_are_all_found() {
    let memcached = Memcached::start(&[]);
    let processes: Vec<_> = (0..2).map(|_| process(far(&memcached), Policy::new())).collect();
    let fields = [HOUR[0], ("vary", "x-lang")];
    let langs = ["de", "en", "fr", "it"];
    for (number, lang) in langs.into_iter().enumerate() {
        let (cache, origin) = &processes[number % 2];
        origin.queue([reply(200, &fields, lang)]);
        ask(&mut cache.clone(), get_with("/", &[("x-lang", lang)])).await;
    }
    for lang in langs {
        for (cache, _) in &processes {
            let answer = ask(&mut cache.clone(), get_with("/", &[("x-lang", lang)])).await;
            assert!(status(&answer).starts_with("hit"), "{lang}: {}", status(&answer));
            assert_eq!(text(answer).await.unwrap(), lang);
        }
    }
}

#[tokio::test]
async fn variants_that_two_processes_store_at_once_are_found_after_one_forward_more_at_most() {
    let memcached = Memcached::start(&[]);
    let policy = || Policy::new().collapse(Collapse::new().without_leases());
    let processes: Vec<_> = (0..2).map(|_| process(far(&memcached), policy())).collect();
    let fields = [HOUR[0], ("vary", "x-lang")];
    let langs = ["de", "en"];
    let mut asked = Vec::new();
    for ((cache, origin), lang) in processes.iter().zip(langs) {
        let mut cache = cache.clone();
        asked.push(tokio::spawn(async move { ask(&mut cache, get_with("/", &[("x-lang", lang)])).await }));
        until(|| origin.waiting() == 1).await;
    }
    for ((_, origin), lang) in processes.iter().zip(langs) {
        origin.reply(reply(200, &fields, lang));
    }
    for asked in asked {
        asked.await.unwrap();
    }
    settle_io().await;
    for _ in 0..2 {
        for ((cache, origin), lang) in processes.iter().zip(langs) {
            origin.queue([reply(200, &fields, lang)]);
            let answer = ask(&mut cache.clone(), get_with("/", &[("x-lang", lang)])).await;
            assert_eq!(text(answer).await.unwrap(), lang);
            settle_io().await;
        }
    }
    let (mut third, silent) = process(far(&memcached), policy());
    for lang in langs {
        assert_eq!(text(ask(&mut third, get_with("/", &[("x-lang", lang)])).await).await.unwrap(), lang);
    }
    assert_eq!(silent.forwards(), 0);
}

#[tokio::test]
async fn what_takes_the_place_of_what_was_invalidated_does_not_let_the_old_one_in_when_it_ends() {
    let memcached = Memcached::start(&[]);
    // Each is of use for a second.
    for fields in [SECOND, PRIVATE] {
        let policy = || Policy::new().collapse(Collapse::new().marker_lifetime(Duration::from_secs(1)));
        let (one, origin) = process(far(&memcached), policy());
        let (mut other, elsewhere) = process(far(&memcached), policy());
        let early = begin(&one, &origin, "/").await;
        invalidate(&mut other, &elsewhere).await;

        // The lease of the early one ends, then the other forwards.
        elsewhere.queue([reply(200, fields, "new")]);
        assert_eq!(text(ask(&mut other, get("/")).await).await.unwrap(), "new");
        sleep(Duration::from_millis(3_500)).await;

        origin.reply(reply(200, HOUR, "old"));
        assert_eq!(text(early.await.unwrap()).await.unwrap(), "old");
        let (mut third, origin) = process(far(&memcached), policy());
        origin.queue([reply(200, HOUR, "newest")]);
        assert_eq!(text(ask(&mut third, get("/")).await).await.unwrap(), "newest", "{fields:?}");
        invalidate(&mut other, &elsewhere).await;
        settle_io().await;
    }
}

#[tokio::test]
async fn what_was_forwarded_for_longer_than_an_invalidation_is_remembered_is_not_stored() {
    let memcached = Memcached::start(&[]);
    let clock = clock_of_today();
    let layer = CacheLayer::builder(far(&memcached)).clock(clock.clone()).store_deadline(PATIENCE).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    let early = begin(&cache, &origin, "/").await;
    clock.advance(Duration::from_secs(60 * 60 + 1));
    origin.reply(reply(200, &[("cache-control", "max-age=100000")], "old"));
    assert_eq!(text(early.await.unwrap()).await.unwrap(), "old");

    origin.queue([reply(200, HOUR, "new")]);
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_processes_that_have_a_stale_copy_near_one_forwards() {
    let memcached = Memcached::start(&[]);
    let processes: Vec<_> = (0..4).map(|_| process(tiered(&memcached, Duration::from_secs(60)), patient())).collect();
    processes[0].1.queue([reply(200, SECOND, "old")]);
    for (cache, _) in &processes {
        assert_eq!(text(ask(&mut cache.clone(), get("/")).await).await.unwrap(), "old");
    }
    assert_eq!(forwards(&processes), 1);
    sleep(Duration::from_millis(1_050)).await;

    let asked = stampede(&processes, 20);
    until(|| forwards(&processes) == 2).await;
    // Long enough for the others, too, if they would.
    sleep(Duration::from_millis(200)).await;
    for (_, origin) in processes.iter().filter(|(_, origin)| origin.waiting() > 0) {
        origin.reply(reply(200, HOUR, "new"));
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "new");
    }
    assert_eq!(forwards(&processes), 2);
}

#[tokio::test]
async fn what_one_user_alone_may_have_does_not_push_out_what_all_may_have() {
    let memcached = Memcached::start(&[]);
    // The policy's own lifetime is for strangers only.
    let policy = || Policy::new().default_freshness(Duration::from_secs(60));
    let (mut one, origin) = process(far(&memcached), policy());
    let (mut other, elsewhere) = process(far(&memcached), policy());
    origin.queue([reply(200, &[], "for all")]);
    ask(&mut one, get("/")).await;

    for cookie in ["user=1", "user=2"] {
        elsewhere.queue([reply(200, PRIVATE, "own")]);
        let answer = ask(&mut other, get_with("/", &[("cookie", cookie)])).await;
        assert_eq!(text(answer).await.unwrap(), "own");
    }
    settle_io().await;
    let before = origin.forwards();
    origin.queue([reply(200, &[], "again")]);
    assert_eq!(text(ask(&mut one, get("/")).await).await.unwrap(), "for all");
    assert_eq!(origin.forwards(), before);
}

#[tokio::test]
async fn a_lease_that_is_granted_after_its_asker_has_left_is_handed_back() {
    let memcached = Memcached::start(&[]);
    let store = MemcachedStore::builder([memcached.address()]).deadline(Duration::from_secs(10)).build().unwrap();
    let request = http::Request::get("/").header("host", "shop.example").body(()).unwrap();
    let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::named("acme")).unwrap();
    store.get(&key).await.unwrap();
    for _ in 0..5 {
        memcached.pause();
        // Granted before it hangs, or after its asker has left.
        drop(timeout(Duration::from_millis(50), store.lease(&key, PATIENCE)).await);
        memcached.resume();
        let granted = async {
            while !matches!(store.lease(&key, PATIENCE).await, Ok(Lease::Granted(_))) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        // Less than a lease lives.
        timeout(Duration::from_millis(1_500), granted).await.unwrap();
        settle_io().await;
    }
}

#[tokio::test]
async fn nobody_waits_in_turn_for_what_took_longer_than_the_marker_lives() {
    let memcached = Memcached::start(&[]);
    let policy = || {
        let collapse = Collapse::new().wait_at_most(PATIENCE * 12).lock_age(PATIENCE * 12);
        Policy::new().collapse(collapse.marker_lifetime(Duration::from_secs(1)))
    };
    let processes: Vec<_> = (0..3).map(|_| process(far(&memcached), policy())).collect();
    let asked = stampede(&processes, 1);
    until(|| forwards(&processes) == 1).await;
    sleep(Duration::from_millis(1_200)).await;
    processes.iter().find(|(_, origin)| origin.waiting() == 1).unwrap().1.reply(reply(200, PRIVATE, "own"));
    all_at_once(&processes, asked, PRIVATE).await;
}

#[tokio::test]
async fn nobody_waits_in_turn_for_what_is_too_large_for_the_server() {
    let memcached = Memcached::start(&[]);
    let store = || {
        let builder = MemcachedStore::builder([memcached.address()]).deadline(PATIENCE);
        builder.max_value_bytes(1024).build().unwrap()
    };
    let processes: Vec<_> = (0..3).map(|_| process(store(), patient())).collect();
    let asked = stampede(&processes, 1);
    until(|| forwards(&processes) == 1).await;
    let large = || bytes::Bytes::from(vec![b'x'; 2_048]);
    processes.iter().find(|(_, origin)| origin.waiting() == 1).unwrap().1.reply(reply(200, HOUR, large()));
    all_at_once(&processes, asked, HOUR).await;
}

/// The two that are left forward at the same time.
async fn all_at_once(
    processes: &[(TestCache, Origin)],
    asked: Vec<tokio::task::JoinHandle<String>>,
    fields: &[(&str, &str)],
) {
    let waiting = || processes.iter().map(|(_, origin)| origin.waiting()).sum::<usize>();
    timeout(Duration::from_secs(2), until(|| waiting() == 2)).await.expect("one waits for the other");
    for (_, origin) in processes.iter().filter(|(_, origin)| origin.waiting() > 0) {
        origin.reply(reply(200, fields, "own"));
    }
    for asked in asked {
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn a_value_larger_than_any_of_ours_costs_nobody_else_the_connection() {
    let memcached = Memcached::start(&["-I", "4m"]);
    let (mut cache, origin) = process(far(&memcached), Policy::new());
    origin.queue([reply(200, HOUR, "other")]);
    ask(&mut cache, get("/other")).await;
    raw::set(&memcached, &raw::name("/"), &vec![b'x'; 3 << 20]);
    let before = memcached.stat("total_connections");

    for _ in 0..10 {
        origin.queue([reply(200, HOUR, "page")]);
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "page");
        assert!(status(&ask(&mut cache, get("/other")).await).starts_with("hit"));
    }
    // This one asks for it once more.
    assert_eq!(memcached.stat("total_connections"), before + 1);
    assert!(status(&ask(&mut cache, get("/")).await).starts_with("hit"));
}
