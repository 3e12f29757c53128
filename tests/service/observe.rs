//! What is counted, told and shown of what the cache does.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body_util::Empty;
use microcache::{
    BreakerState, CacheHandle, CacheKey, CacheLayer, CacheLayerBuilder, CacheStatus, CacheStatusMode, Collapse,
    Content, Event, ManualClock, MemoryStore, Overflow, Policy, Purge, Put, Requests, ServerState, ServerWatch, Stats,
    Store, StoreError, StoreErrorKind, Stored, Tenancy, Tenant, TenantLimits, Tiered,
};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok, task::spawn};
use tower::Layer;

use crate::common::*;

fn builder() -> CacheLayerBuilder {
    CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).clock(ManualClock::new())
}

fn on(layer: &CacheLayer) -> (TestCache, Origin) {
    let origin = Origin::default();
    (layer.layer(origin.clone()), origin)
}

/// All requests, each once.
fn all(stats: &Stats) -> u64 {
    stats.hits + stats.stale + stats.collapsed + stats.forwards + stats.bypasses + stats.refused
}

fn results(requests: &Requests) -> [u64; 6] {
    let Requests { hits, stale, collapsed, forwards, bypasses, refused, .. } = *requests;
    [hits, stale, collapsed, forwards, bypasses, refused]
}

#[tokio::test(start_paused = true)]
async fn each_request_is_counted_once_by_what_answered_it() {
    let clock = ManualClock::new();
    let policy = Policy::new()
        .honour_request_directives()
        .stale_while_revalidate(SECOND)
        .stale_if_error(10 * SECOND)
        .collapse(Collapse::new().overflow(Overflow::Unavailable).max_followers(1));
    let layer = builder().clock(clock.clone()).policy(policy).build().unwrap();
    let (mut cache, origin) = on(&layer);
    let stats = || layer.handle().stats();

    origin.queue([ok("one"), ok("posted")]);
    ask(&mut cache, get("/")).await; // a forward
    ask(&mut cache, get("/")).await; // a hit
    ask(&mut cache, request("POST", "/other", &[])).await; // a bypass
    ask(&mut cache, get_with("/none", &[("cache-control", "only-if-cached")])).await; // refused
    assert_eq!(results(&stats().routes[0].requests), [1, 0, 0, 1, 1, 1]);

    // Stale while it is refreshed; the refresh is no request.
    clock.advance(Duration::from_millis(1_500));
    origin.queue([ok("two")]);
    assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=-1");
    while stats().refreshes < 1 || stats().stored < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(results(&stats().routes[0].requests), [1, 1, 0, 1, 1, 1]);

    // A forward, what it is collapsed with, and what does not fit beside it.
    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/slow"))).collect();
    assert_pending!(asked[0].poll());
    assert_pending!(asked[1].poll());
    assert_eq!((stats().gauges.flights, stats().gauges.waiting), (1, 1));
    assert_eq!(assert_ready_ok!(asked[2].poll()).status(), 503);
    advance(Duration::from_millis(40)).await;
    origin.reply(ok("slow"));
    assert_ready_ok!(asked[0].poll());
    assert_ready_ok!(asked[1].poll());
    assert_eq!(results(&stats().routes[0].requests), [1, 1, 1, 2, 1, 2]);

    // The origin fails: it was asked all the same.
    clock.advance(5 * SECOND);
    origin.queue([reply(503, &[], "")]);
    assert!(status(&ask(&mut cache, get("/")).await).ends_with("detail=stale-if-error"));

    let stats = stats();
    assert_eq!(results(&stats.routes[0].requests), [1, 1, 1, 3, 1, 2]);
    assert_eq!((all(&stats), stats.overflows, stats.stale_if_error), (9, 1, 1));
    assert_eq!(stats.forward_reasons.iter().collect::<Vec<_>>(), [(&"stale", &1), (&"uri-miss", &2)]);
    assert_eq!(stats.bypass_reasons.iter().collect::<Vec<_>>(), [(&"method", &1)]);
    assert_eq!(stats.not_stored_reasons.iter().collect::<Vec<_>>(), [(&"origin-failed", &1)]);
    let (forward, wait) = (stats.latencies.forward.unwrap(), stats.latencies.wait.unwrap());
    assert!(forward.p99 >= Duration::from_millis(40) && forward.p50 < Duration::from_millis(40), "{forward:?}");
    assert!(wait.p50 >= Duration::from_millis(40) && wait.p99 <= Duration::from_millis(50), "{wait:?}");
    assert_eq!((stats.gauges.flights, stats.gauges.waiting), (0, 0));
}

#[tokio::test]
async fn each_reason_not_to_store_has_its_word() {
    let builder = builder().policy(Policy::new().max_body_bytes(10)).route("/4", Policy::new().admit_after(2));
    let layer = builder.build().unwrap();
    let (mut cache, origin) = on(&layer);
    let (broken, feed) = TestBody::declared(4);
    origin.queue([
        reply(200, &[("cache-control", "private")], "mine"),
        reply(200, &[("set-cookie", "a=1")], "cookie"),
        ok("longer than ten bytes"),
        ok("once"),
        reply(200, &[("cache-control", "max-age=0")], "old"),
        reply(404, &[], "none"),
        reply(200, &[], broken),
    ]);
    for path in ["/1", "/2", "/3", "/4", "/5", "/6"] {
        ask(&mut cache, get(path)).await;
    }
    let answer = ask(&mut cache, get("/7")).await;
    feed.fail();
    assert!(text(answer).await.is_err());

    let stats = layer.handle().stats();
    let reasons: Vec<_> = stats.not_stored_reasons.iter().map(|(reason, count)| (*reason, *count)).collect();
    let expected =
        [("broken-off", 1), ("no-freshness", 2), ("one-off", 1), ("private", 1), ("set-cookie", 1), ("too-large", 1)];
    assert_eq!(reasons, expected);
    assert_eq!((stats.stored, stats.not_stored), (0, 7));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_by_tenant() {
    let layer = builder()
        .tenant(Tenancy::header(HeaderName::from_static("x-tenant")))
        .route("/reports/{id}", Policy::new())
        .route("/news/{*rest}", Policy::new().label("news"))
        .build()
        .unwrap();
    let named = layer.with_policy(Policy::new().label("news"));
    let (mut cache, origin) = on(&layer);
    let mut other = named.layer(origin.clone());
    origin.queue((0..6).map(|_| ok("page")));
    for path in ["/a", "/reports/1", "/reports/2", "/reports/1", "/news/today"] {
        ask(&mut cache, get_with(path, &[("x-tenant", "acme")])).await;
    }
    ask(&mut cache, get_with("/reports/1", &[("x-tenant", "umbrella")])).await;
    ask(&mut cache, get("/reports/1")).await;
    ask(&mut other, get_with("/news/today", &[("x-tenant", "acme")])).await;

    let stats = layer.handle().stats();
    let routes: Vec<_> = stats.routes.iter().map(|one| (one.route.as_str(), results(&one.requests))).collect();
    assert_eq!(
        routes,
        [("default", [0, 0, 0, 1, 0, 0]), ("/reports/{id}", [1, 0, 0, 3, 1, 0]), ("news", [1, 0, 0, 1, 0, 0])]
    );
    let tenants: Vec<_> = stats.tenants.iter().map(|one| (one.tenant.as_str(), results(&one.requests))).collect();
    assert_eq!(tenants[0], ("acme", [2, 0, 0, 4, 0, 0]));
    assert!(tenants.contains(&("umbrella", [0, 0, 0, 1, 0, 0])));
    assert!(tenants.contains(&("unidentified", [0, 0, 0, 0, 1, 0])));
    assert_eq!((all(&stats), stats.bypass_reasons["tenant"]), (8, 1));
}

#[tokio::test]
async fn past_256_tenants_the_rest_are_one() {
    let layer = builder().tenant(Tenancy::host()).build().unwrap();
    let (mut cache, origin) = on(&layer);
    for number in 0..300 {
        origin.queue([ok("page")]);
        let mut request = get("/");
        request.headers_mut().insert("host", HeaderValue::from_str(&format!("t{number}.example")).unwrap());
        ask(&mut cache, request).await;
    }
    let tenants = layer.handle().stats().tenants;

    assert_eq!(tenants.len(), 257);
    assert_eq!((tenants[0].tenant.as_str(), tenants[0].requests.forwards), ("other", 44));
}

#[tokio::test]
async fn what_is_computed_is_counted_as_a_request() {
    let (handle, acme) = (builder().build().unwrap().handle(), Tenant::named("acme"));
    let get = || handle.get_or_compute(&acme, &["a"], SECOND, || async { Ok::<_, ()>("1".into()) });
    get().await.unwrap();
    get().await.unwrap();
    handle.pause_route("computed").unwrap();
    get().await.unwrap();

    let computed = handle.stats().routes.pop().unwrap();
    assert_eq!((computed.route.as_str(), results(&computed.requests)), ("computed", [1, 0, 0, 1, 1, 0]));
}

#[tokio::test]
async fn a_route_is_paused_and_resumed_while_the_others_go_on() {
    let content = Policy::new().content(Content::new::<Empty<Bytes>>(|_| Empty::new()));
    let layer = builder().route("/reports/{id}", Policy::new()).route("/rpc", content).build().unwrap();
    let handle = layer.handle();
    let (mut cache, origin) = on(&layer);
    origin.queue((0..9).map(|_| ok("page")));
    for path in ["/a", "/reports/1"] {
        ask(&mut cache, get(path)).await;
    }

    handle.pause_route("/reports/{id}").unwrap();
    assert_eq!(status(&ask(&mut cache, get("/reports/1")).await), "", "untouched");
    assert_eq!(status(&ask(&mut cache, get("/a")).await), "hit; ttl=1");
    let paused: Vec<_> = handle.stats().routes.into_iter().filter(|one| one.is_paused).collect();
    assert_eq!((paused.len(), paused[0].route.as_str()), (1, "/reports/{id}"));
    assert_eq!(paused[0].requests.bypass_reasons["paused"], 1);
    handle.pause_route("/rpc").unwrap();
    assert_eq!(status(&ask(&mut cache, request("POST", "/rpc", &[])).await), "");

    handle.resume_route("/reports/{id}").unwrap();
    assert_eq!(status(&ask(&mut cache, get("/reports/1")).await), "hit; ttl=1");
    handle.pause_route("default").unwrap();
    assert_eq!(status(&ask(&mut cache, get("/a")).await), "");
    assert_eq!(origin.forwards(), 5);

    let error = handle.pause_route("/reports/1").unwrap_err();
    assert_eq!(error.setting(), "pause_route");
    assert!(error.to_string().ends_with("there are: default, /reports/{id}, /rpc"), "{error}");
}

#[tokio::test]
async fn an_unsafe_request_on_a_paused_route_still_invalidates() {
    let layer = builder().build().unwrap();
    let (mut cache, origin) = on(&layer);
    origin.queue([ok("old"), ok("posted"), ok("new")]);
    ask(&mut cache, get("/")).await;
    layer.handle().pause_route("default").unwrap();
    ask(&mut cache, request("POST", "/", &[])).await;
    layer.handle().resume_route("default").unwrap();

    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "new");
}

#[tokio::test]
async fn the_policy_says_where_it_is_shown_what_the_cache_did() {
    let inner = "inner; hit";
    let table = [
        (CacheStatusMode::On, vec![inner, "microcache; fwd=uri-miss; fwd-status=200; ttl=1; stored"], true),
        (CacheStatusMode::ExtensionOnly, vec![inner], true),
        (CacheStatusMode::Off, vec![inner], false),
    ];
    for (mode, expected, is_said) in table {
        let layer = builder().policy(Policy::new().cache_status(mode)).build().unwrap();
        let (mut cache, origin) = on(&layer);
        origin.queue((0..2).map(|_| reply(200, &[("cache-status", inner)], "page")));
        for (path, fields) in [("/", &[][..]), ("/", &[]), ("/", &[("if-match", "\"a\"")])] {
            let answer = ask(&mut cache, get_with(path, fields)).await;
            let lines: Vec<_> = answer.headers().get_all("cache-status").iter().collect();
            let said = CacheStatus::of(&answer);
            assert_eq!((lines.len(), said.is_some()), (expected.len(), is_said), "{mode:?} {lines:?}");
            assert_eq!(lines[0], inner);
            if said.is_some_and(|said| said.is_stored()) {
                assert_eq!(lines, expected);
            }
        }
        assert_eq!(layer.handle().stats().hits, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answers_of_the_caches_own_are_as_discreet() {
    let policy = Policy::new().honour_request_directives().cache_status(CacheStatusMode::Off);
    let (mut cache, _, _) = cache(policy);
    let answer = ask(&mut cache, get_with("/", &[("cache-control", "only-if-cached")])).await;
    assert_eq!((answer.status().as_u16(), status(&answer).as_str()), (504, ""));
}

#[tokio::test]
async fn the_key_is_shown_only_if_that_is_asked_for() {
    let policy = Policy::new().cache_status_with_key().content(Content::new::<Empty<Bytes>>(|_| Empty::new()));
    let (mut cache, origin, _) = cache(policy.clone());
    origin.queue([ok("page"), reply(200, &[("cache-control", "max-age=9")], "posted")]);
    let lines = [
        "microcache; fwd=uri-miss; fwd-status=200; ttl=1; stored; key=\"|GET|shop.example|/a?q=%2522b%255C\"",
        "microcache; hit; ttl=1; key=\"|GET|shop.example|/a?q=%2522b%255C\"",
    ];
    for line in lines {
        let answer = ask(&mut cache, get("/a?q=%22b%5C")).await;
        assert_eq!(field(&answer, "cache-status"), line);
    }
    let posted = ask(&mut cache, request("POST", "/rpc", &[])).await;
    assert!(field(&posted, "cache-status").contains("; key=\"|POST|shop.example|/rpc|b:"), "{posted:?}");

    origin.queue([ok("page")]);
    let long = ask(&mut cache, get(&format!("/{}", "x".repeat(4_000)))).await;
    assert!(field(&long, "cache-status").len() < 400, "the short form");
    let (mut discreet, origin, _) =
        cache_on(MemoryStore::with_max_bytes(1 << 20), policy.cache_status(CacheStatusMode::ExtensionOnly));
    origin.queue([ok("page")]);
    assert_eq!(field(&ask(&mut discreet, get("/")).await, "cache-status"), "");
}

/// The events that were told, through the hook.
fn told(builder: CacheLayerBuilder) -> (CacheLayer, Arc<Mutex<Vec<Event>>>) {
    let told = Arc::<Mutex<Vec<_>>>::default();
    let tell = Arc::clone(&told);
    (builder.on_event(move |event| tell.lock().unwrap().push(event.clone())).build().unwrap(), told)
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_of_overflows_second_leaders_and_quotas() {
    let collapse = Collapse::new().max_followers(1).lock_age(SECOND);
    let builder = builder().policy(Policy::new().collapse(collapse)).tenant_limits(TenantLimits::new().max_flights(2));
    let (layer, told) = told(builder);
    let (mut cache, _) = on(&layer);
    let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get("/"))).collect();
    asked.iter_mut().for_each(|asked| assert_pending!(asked.poll()));
    advance(2 * SECOND).await;
    let mut second = send(&mut cache, get("/"));
    assert_pending!(second.poll());
    let mut third = send(&mut cache, get("/other"));
    assert_pending!(third.poll());

    let (route, tenant) = ("default".to_owned(), "shared".to_owned());
    let overflowed = Event::Overflowed { route: route.clone(), tenant: tenant.clone(), count: 1 };
    let expected = [
        overflowed.clone(),
        Event::SecondLeader { route, tenant: tenant.clone(), count: 1 },
        Event::QuotaReached { tenant, count: 1 },
        overflowed,
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    let remembered: Vec<_> = layer.handle().events(0).into_iter().map(|happened| happened.event).collect();
    assert_eq!(remembered, expected);
    assert_eq!((layer.handle().stats().second_leaders, layer.handle().stats().overflows), (1, 2));
}

/// A store with a server that is down.
#[derive(Clone, Default)]
struct Down {
    watches: Arc<Mutex<Vec<ServerWatch>>>,
}

impl Store for Down {
    async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Err(StoreError::new(StoreErrorKind::Io, "connection refused"))
    }

    async fn put(&self, _: &CacheKey, _: Stored) -> Result<Put, StoreError> {
        Err(StoreError::new(StoreErrorKind::Timeout, "too late"))
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> {
        Ok(())
    }

    fn servers(&self) -> Vec<ServerState> {
        vec![ServerState::new("10.0.0.1:11211", BreakerState::Open)]
    }

    fn watch_servers(&self, watch: ServerWatch) {
        self.watches.lock().unwrap().push(watch);
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_of_a_store_that_fails_and_of_its_servers() {
    let store = Down::default();
    let tiered = Tiered::new(MemoryStore::with_max_bytes(1 << 20), store.clone()).near_freshness(Duration::ZERO);
    let (layer, told) = told(CacheLayer::builder(tiered).clock(ManualClock::new()));
    let (mut cache, origin) = on(&layer);
    for _ in 0..5 {
        origin.queue([ok("page")]);
        ask(&mut cache, get("/")).await;
    }
    let kinds = |told: &[Event]| -> Vec<_> {
        let failed = |event: &Event| match event {
            Event::StoreFailed { kind, count } => Some((*kind, *count)),
            _ => None,
        };
        told.iter().filter_map(failed).collect()
    };
    assert_eq!(kinds(&told.lock().unwrap()), [(StoreErrorKind::Io, 1), (StoreErrorKind::Timeout, 1)]);
    let before = layer.handle().stats().store_errors;
    advance(SECOND).await;
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;
    assert_eq!(kinds(&told.lock().unwrap()).len(), 4);
    let counted: u64 = kinds(&told.lock().unwrap()).iter().map(|(_, count)| count).sum();
    assert!(counted >= before && counted <= layer.handle().stats().store_errors);

    let watches = store.watches.lock().unwrap().clone();
    assert_eq!(watches.len(), 1);
    let mut state = ServerState::new("10.0.0.1:11211", BreakerState::Open);
    watches[0](&state);
    state.breaker = BreakerState::Closed;
    watches[0](&state);
    let server = || "10.0.0.1:11211".to_owned();
    let last = told.lock().unwrap().split_off(4);
    assert_eq!(last, [Event::BreakerOpened { server: server() }, Event::BreakerClosed { server: server() }]);
    assert_eq!(layer.handle().stats().servers, store.servers());
}

#[tokio::test]
async fn an_operator_is_told_of_purges_and_of_tags_that_were_dropped() {
    let (layer, told) = told(builder());
    let (mut cache, origin) = on(&layer);
    let handle = layer.handle();
    let acme = Tenant::named("acme");
    let long = format!("https://shop.example/{}", "x".repeat(1_000));
    handle.purge(Purge::url(&long).soft()).await.unwrap();
    handle.purge(Purge::tag("product:7").tenant(acme.clone())).await.unwrap();
    handle.purge(Purge::tenant(acme)).await.unwrap();
    handle.purge(Purge::tenant(Tenant::named("y".repeat(1_000)))).await.unwrap();
    handle.purge(Purge::all()).await.unwrap();
    handle.purge(Purge::url("no URL")).await.unwrap_err();
    origin.queue([reply(200, &[("surrogate-key", &"x".repeat(10_000))], "page")]);
    ask(&mut cache, get("/")).await;

    let purged = |what: &str, is_soft| Event::Purged { what: what.to_owned(), is_soft };
    let expected = [
        purged(&long[..256], true),
        purged("tag product:7 of tenant acme", false),
        purged("all of tenant acme", false),
        purged(&format!("all of tenant {}", "y".repeat(256)), false),
        purged("all", false),
        Event::TagsDropped { count: 1 },
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    assert_eq!((handle.stats().purges, handle.stats().tags_dropped), (5, 1));
}

#[tokio::test]
async fn a_hook_that_panics_fails_no_response() {
    let layer = builder().on_event(|_| panic!("of the hook's own")).build().unwrap();
    let (mut cache, origin) = on(&layer);
    layer.handle().pause();
    layer.handle().resume();
    origin.queue([ok("page")]);

    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "page");
    assert_eq!(layer.handle().events(0).len(), 2);
}

#[tokio::test]
async fn a_hook_may_use_the_handle_and_is_not_told_what_it_did_itself() {
    let (here, told) = (Arc::<OnceLock<CacheHandle>>::default(), Arc::new(Mutex::new(0)));
    let (there, count) = (Arc::clone(&here), Arc::clone(&told));
    let hook = move |_: &Event| {
        *count.lock().unwrap() += 1;
        let Some(handle) = there.get() else { return };
        handle.pause_route("default").unwrap();
        drop(handle.purge(Purge::all()));
        drop(handle.stats());
        handle.resume();
    };
    let layer = builder().on_event(hook).build().unwrap();
    let handle = here.get_or_init(|| layer.handle());
    handle.pause();
    handle.purge(Purge::tag("a")).await.unwrap();

    assert_eq!((*told.lock().unwrap(), handle.stats().purges, handle.is_paused()), (2, 3, false));
    assert_eq!(handle.events(0).len(), 8, "all of it is remembered");
}

#[tokio::test]
async fn who_is_told_of_a_purge_finds_it_done() {
    let (here, found) = (Arc::<OnceLock<CacheHandle>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let (there, find) = (Arc::clone(&here), Arc::clone(&found));
    let get = |handle: &CacheHandle, value: &'static str| {
        let (handle, shared) = (handle.clone(), Tenant::shared());
        let compute = move || async move { Ok::<_, ()>(Bytes::from_static(value.as_bytes())) };
        spawn(async move { handle.get_or_compute(&shared, &["a"], SECOND, compute).await })
    };
    let hook = move |_: &Event| find.lock().unwrap().push(assert_ready_ok!(get(there.get().unwrap(), "new").poll()));
    let layer = builder().on_event(hook).build().unwrap();
    let handle = here.get_or_init(|| layer.handle());
    assert_eq!(assert_ready_ok!(get(handle, "old").poll()), "old");
    handle.purge(Purge::all()).await.unwrap();

    assert_eq!(*found.lock().unwrap(), ["new"]);
    assert_eq!(assert_ready_ok!(get(handle, "newer").poll()), "new", "what was asked for then is kept");
}

#[tokio::test]
async fn what_is_purged_while_the_cache_is_paused_is_not_found_when_it_goes_on() {
    for is_route in [false, true] {
        let layer = builder().build().unwrap();
        let (handle, (mut cache, origin)) = (layer.handle(), on(&layer));
        origin.queue([ok("old"), ok("untouched"), ok("new")]);
        ask(&mut cache, get("/")).await;
        if is_route {
            handle.pause_route("default").unwrap()
        } else {
            handle.pause()
        }
        assert_eq!(handle.stats().is_paused, !is_route);
        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "untouched");
        handle.purge(Purge::url("http://shop.example/")).await.unwrap();
        if is_route {
            handle.resume_route("default").unwrap()
        } else {
            handle.resume()
        }

        assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "new");
        assert!(!handle.stats().is_paused);
    }
}

#[tokio::test]
async fn who_waits_when_its_route_is_paused_gets_what_it_waits_for() {
    let layer = builder().build().unwrap();
    let (handle, (mut cache, origin)) = (layer.handle(), on(&layer));
    let mut asked = [send(&mut cache, get("/")), send(&mut cache, get("/"))];
    asked.iter_mut().for_each(|asked| assert_pending!(asked.poll()));
    handle.pause_route("default").unwrap();
    let mut untouched = send(&mut cache, get("/"));
    assert_pending!(untouched.poll());
    assert_eq!(origin.forwards(), 2, "it does not wait for them");
    origin.reply(ok("page"));
    for asked in &mut asked {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
    }
    handle.resume_route("default").unwrap();
    assert_eq!(status(&ask(&mut cache, get("/")).await), "hit; ttl=1");
}

#[tokio::test]
async fn the_store_says_what_it_holds() {
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(10_000)).clock(ManualClock::new()).build().unwrap();
    let (mut cache, origin) = on(&layer);
    origin.queue([ok("page")]);
    ask(&mut cache, get("/")).await;
    let size = layer.handle().stats().store;
    assert_eq!((size.max_bytes, size.responses, size.evictions), (Some(10_000), Some(1), Some(0)));
    assert!(size.bytes.is_some_and(|bytes| bytes > 500 && bytes < 2_000), "{size:?}");
}

#[tokio::test]
async fn hot_keys_are_shown_unless_the_operator_does_not_want_them_counted() {
    for counts in [true, false] {
        let layer = builder().count_keys(counts).policy(Policy::new().without_default_freshness()).build().unwrap();
        let (mut cache, origin) = on(&layer);
        origin.queue([reply(200, &[("cache-control", "max-age=9")], "page")]);
        for _ in 0..2_000 {
            ask(&mut cache, get("/hot?secret")).await;
        }
        for _ in 0..500 {
            origin.queue([reply(200, &[("cache-control", "no-store")], "page")]);
            ask(&mut cache, get("/bad")).await;
        }
        let stats = layer.handle().stats();
        let first = |keys: &[microcache::HotKey]| keys.first().map(|one| one.key.clone());
        let expected = |key: &str| counts.then(|| format!("|GET|shop.example|{key}"));
        assert_eq!(first(&stats.hottest), expected("/hot?secret"));
        assert_eq!(first(&stats.offenders), expected("/bad"));
        assert!(stats.latencies.hit.is_some());
    }
}

#[tokio::test]
async fn two_caches_count_apart() {
    let (one, other) = (builder().build().unwrap(), builder().build().unwrap());
    for (layer, requests) in [(&one, 3), (&other, 2)] {
        let (mut cache, origin) = on(layer);
        origin.queue([ok("page")]);
        for _ in 0..requests {
            ask(&mut cache, get("/")).await;
        }
    }
    assert_eq!((one.handle().stats().hits, other.handle().stats().hits), (2, 1));
    assert_eq!(one.clone().handle().stats().hits, 2);
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_are_those_that_are_documented() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let text = metrics::with_local_recorder(&recorder, || {
        let layer = builder().route("/reports/{id}", Policy::new()).build().unwrap();
        let (mut cache, origin) = on(&layer);
        origin.queue([ok("page"), ok("posted"), reply(200, &[("cache-control", "private")], "mine")]);
        let asked = [get("/reports/1"), get("/reports/1"), request("POST", "/", &[]), get("/mine")];
        for request in asked {
            assert_ready_ok!(send(&mut cache, request).poll());
        }
        let _ = layer.handle().stats();
        recorder.handle().render()
    });
    let lines = [
        r#"microcache_requests_total{result="hit",route="/reports/{id}",tenant="shared"} 1"#,
        r#"microcache_requests_total{result="forward",reason="uri-miss",route="/reports/{id}",tenant="shared"} 1"#,
        r#"microcache_requests_total{result="forward",reason="uri-miss",route="default",tenant="shared"} 1"#,
        r#"microcache_requests_total{result="bypass",reason="method",route="default",tenant="shared"} 1"#,
        r#"microcache_stored_total{route="/reports/{id}",tenant="shared"} 1"#,
        r#"microcache_not_stored_total{reason="private",route="default",tenant="shared"} 1"#,
        "microcache_invalidations_total 1",
        "microcache_flights 0",
        "microcache_store_responses 1",
        r#"microcache_forward_seconds_count{route="default"} 1"#,
    ];
    for line in lines {
        assert!(text.lines().any(|there| there == line), "{line} is not in:\n{text}");
    }
    let documented = include_str!("../../src/docs/metrics.md");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(documented.contains(&format!("`{name}`")), "{name}");
    }
}

#[cfg(feature = "metrics")]
#[test]
fn a_tenant_makes_neither_lines_nor_labels_of_its_own() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let text = metrics::with_local_recorder(&recorder, || {
        let evil = "a\",tenant=\"acme\"} 9\nmicrocache_purges_total 7\n\\";
        let tenancy = Tenancy::from_fn(move |_| Tenant::named(evil));
        let (mut cache, origin) = on(&builder().tenant(tenancy).build().unwrap());
        origin.queue([ok("page")]);
        assert_ready_ok!(send(&mut cache, get("/")).poll());
        recorder.handle().render()
    });
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("microcache_requests_total")).collect();
    let escaped = r#"a\",tenant=\"acme\"} 9\nmicrocache_purges_total 7\n\\"#;
    let expected = format!(
        r#"microcache_requests_total{{result="forward",reason="uri-miss",route="default",tenant="{escaped}"}} 1"#
    );
    assert_eq!(lines, [expected]);
    assert!(!text.lines().any(|line| line.starts_with("microcache_purges_total")), "{text}");
}
