//! What the operator purges: by request, URL, key, tag, tenant, or all at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderName, header::ACCEPT};
use microcache::{
    CacheHandle, CacheKey, CacheLayer, Collapse, CollapseLayer, Fence, KeySpec, ManualClock, MemoryStore, Peek, Policy,
    Purge, PurgeErrorKind, Put, QueryRule, Reach, RequestHead, Store, StoreError, StoreErrorKind, Stored, TagField,
    Tags, Tenancy, Tenant, Tiered,
};
use tokio::sync::Semaphore;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, Service};

use crate::common::{late::Stage, *};

const LAMP: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("surrogate-key", "lamp list")];

struct Shop {
    cache: TestCache,
    origin: Origin,
    clock: ManualClock,
    handle: CacheHandle,
}

fn shop(store: impl Store, policy: Policy) -> Shop {
    shop_of(store, policy, Tenancy::shared())
}

fn shop_of(store: impl Store, policy: Policy, tenancy: Tenancy) -> Shop {
    let clock = ManualClock::new();
    let builder = CacheLayer::builder(store).policy(policy).tenant(tenancy).clock(clock.clone());
    let layer = builder.store_deadline(3_600 * SECOND).build().unwrap();
    let origin = Origin::default();
    Shop { cache: layer.layer(origin.clone()), origin, clock, handle: layer.handle() }
}

impl Shop {
    async fn stores(&mut self, request: Ask, fields: &[(&str, &str)], body: &'static str) {
        self.origin.queue([reply(200, fields, body)]);
        assert!(status(&ask(&mut self.cache, request).await).contains("stored"), "{body}");
    }

    /// The answer's body, and whether the origin was asked for it.
    async fn answers(&mut self, request: Ask, new: &'static str) -> (String, bool) {
        let before = self.origin.forwards();
        self.origin.queue([reply(200, LAMP, new)]);
        let answer = text(ask(&mut self.cache, request).await).await.unwrap();
        settle().await;
        let is_forwarded = self.origin.forwards() > before;
        if !is_forwarded {
            // The reply is left for nobody else.
            drop(self.origin.call(get("/")));
        }
        (answer, is_forwarded)
    }
}

fn memory() -> MemoryStore {
    MemoryStore::with_max_bytes(8 << 20)
}

/// All that a purge of what `/a` has can be by.
fn by_everything() -> [(&'static str, Purge); 6] {
    let key = KeySpec::new().key(RequestHead::of(&get("/a")), &Tenant::shared()).unwrap();
    [
        ("request", Purge::request(&get("/a"))),
        ("url", Purge::url("https://shop.example/a").into()),
        ("key", Purge::key(&key)),
        ("tag", Purge::tag("lamp").into()),
        ("tenant", Purge::tenant(Tenant::shared())),
        ("all", Purge::all()),
    ]
}

#[tokio::test]
async fn what_was_purged_is_forwarded_and_what_was_not_stays() {
    for (name, purge) in by_everything() {
        let mut shop = shop(memory(), Policy::new());
        shop.stores(get("/a"), LAMP, "old").await;
        shop.stores(get("/b"), &LAMP[..1], "other").await;

        let purged = shop.handle.purge(purge).await.unwrap();

        assert_eq!(
            (purged.others(), purged.to_string().as_str()),
            (Reach::Alone, "this process now, there are no others")
        );
        assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true), "{name}");
        assert_eq!(shop.answers(get("/a"), "newer").await, ("new".to_owned(), false), "{name}");
        let stays = !["tenant", "all"].contains(&name);
        assert_eq!(shop.answers(get("/b"), "new").await.1, !stays, "{name}");
    }
}

#[tokio::test]
async fn a_purge_counts_before_it_is_waited_for_and_though_nobody_does() {
    for (name, purge) in by_everything() {
        let mut shop = shop(memory(), Policy::new());
        shop.stores(get("/a"), LAMP, "old").await;

        drop(shop.handle.purge(purge));

        assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true), "{name}");
    }
}

#[test]
fn a_purge_of_a_store_in_memory_needs_no_runtime() {
    let handle = CacheLayer::new(memory()).handle();
    let mut purged = tokio_test::task::spawn(handle.purge(Purge::all()));

    assert_eq!(assert_ready_ok!(purged.poll()).others(), Reach::Alone);
}

/// A fill is in flight, the purge comes, somebody joins, the fill lands.
async fn late(store: impl Store, stage: Stage, purge: Purge, joins: bool, is_soft: bool) {
    let gate = stage.gate();
    let mut shop = shop(Gated(store, Arc::clone(&gate)), Policy::new());
    let mut early = send(&mut shop.cache, get("/a"));
    assert_pending!(early.poll());
    let feed = stage.begin(&shop.origin, LAMP);
    // The answer does not wait for the put.
    let begun = (stage != Stage::Asked).then(|| assert_ready_ok!(early.poll()));

    drop(shop.handle.purge(if is_soft { purge.soft() } else { purge }));

    let mut joined = joins.then(|| send(&mut shop.cache, get("/a")));
    if let Some(joined) = &mut joined {
        assert_pending!(joined.poll());
    }
    stage.end(&shop.origin, LAMP, &feed, &gate);
    let answer = match begun {
        Some(answer) => answer,
        None => assert_ready_ok!(early.poll()),
    };
    assert_eq!(text(answer).await.unwrap(), "old", "who asked before may have what was");
    settle().await;
    let landed = joined.as_mut().map(|joined| joined.poll());
    if let (Some(Poll::Ready(answer)), true) = (&landed, is_soft) {
        // It has found it stored, and stale.
        assert_eq!(status(answer.as_ref().unwrap()), "hit; ttl=0");
        settle().await;
        shop.origin.reply(reply(200, LAMP, "new"));
        settle().await;
    } else if let Some(mut joined) = joined {
        assert_pending!(landed.unwrap());
        assert_eq!(shop.origin.waiting(), 1);
        shop.origin.reply(reply(200, LAMP, "new"));
        assert_eq!(text(assert_ready_ok!(joined.poll())).await.unwrap(), "new");
    } else if is_soft {
        // It is stale from the first moment.
        assert_eq!(shop.answers(get("/a"), "new").await, ("old".to_owned(), true));
    } else {
        assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true));
    }
    assert_eq!(shop.answers(get("/a"), "newer").await, ("new".to_owned(), false));
}

#[tokio::test]
async fn a_fill_that_began_before_a_purge_is_not_used_after_it_wherever_it_was() {
    for stage in Stage::ALL {
        for (joins, is_soft) in [(false, false), (true, false), (false, true), (true, true)] {
            for (_, purge) in by_everything() {
                late(memory(), stage, purge.clone(), joins, is_soft).await;
                late(Tiered::new(memory(), memory()), stage, purge, joins, is_soft).await;
            }
        }
    }
}

#[tokio::test]
async fn what_was_found_before_a_purge_is_not_confirmed_after_it() {
    /// A store that has to be waited for, and says what it had when it was asked.
    struct Slow(MemoryStore, Arc<Semaphore>);
    impl Store for Slow {
        async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
            let found = self.0.get(key).await;
            let _permit = self.1.acquire().await;
            found
        }
        async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
            self.0.put(key, stored).await
        }
        async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
            self.0.remove(key).await
        }
    }
    let gate = Arc::new(Semaphore::new(1));
    let mut shop = shop(Slow(memory(), Arc::clone(&gate)), Policy::new());
    shop.stores(get("/a"), &[("cache-control", "max-age=1"), ("etag", "\"a\""), ("surrogate-key", "lamp")], "old")
        .await;
    shop.clock.advance(2 * SECOND);
    gate.forget_permits(1);
    let mut asked = send(&mut shop.cache, get("/a"));
    assert_pending!(asked.poll());

    drop(shop.handle.purge(Purge::tag("lamp")));
    gate.add_permits(1);
    assert_pending!(asked.poll());

    assert!(!shop.origin.head().headers.contains_key("if-none-match"));
    shop.origin.reply(reply(200, LAMP, "new"));
    assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "new");
}

#[tokio::test]
async fn what_was_purged_softly_is_served_while_one_request_refreshes_it_and_if_that_fails() {
    for (name, purge) in by_everything() {
        let mut shop = shop(memory(), Policy::new());
        shop.stores(get("/a"), LAMP, "old").await;

        shop.handle.purge(purge.soft()).await.unwrap();

        for _ in 0..3 {
            let answer = ask(&mut shop.cache, get("/a")).await;
            assert_eq!(status(&answer), "hit; ttl=0", "{name}");
            assert_eq!(text(answer).await.unwrap(), "old", "{name}");
            settle().await;
        }
        assert_eq!((shop.origin.forwards(), shop.origin.waiting()), (2, 1), "{name}");
        shop.origin.does(Does::Fail);
        settle().await;
        assert_eq!(text(ask(&mut shop.cache, get("/a")).await).await.unwrap(), "old", "{name}");
    }
}

#[tokio::test]
async fn what_may_not_be_served_stale_is_validated_after_a_soft_purge() {
    for forbids in ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60"] {
        let mut shop = shop(memory(), Policy::new());
        shop.stores(get("/a"), &[("cache-control", forbids), ("etag", "\"a\""), LAMP[1]], "page").await;
        shop.handle.purge(Purge::tag("lamp").soft()).await.unwrap();

        let mut asked = send(&mut shop.cache, get("/a"));
        assert_pending!(asked.poll());
        assert_eq!(shop.origin.head().headers["if-none-match"], "\"a\"", "{forbids}");
        shop.origin.reply(reply(304, &[("etag", "\"a\"")], ""));
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), "page");
        assert_eq!(status(&ask(&mut shop.cache, get("/a")).await), "hit; ttl=60", "{forbids}");

        // The 304 said no tags: those that were there still count.
        shop.handle.purge(Purge::tag("lamp")).await.unwrap();
        assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true));
    }
}

#[tokio::test]
async fn by_url_and_request_everything_of_the_target_ends_and_nothing_else() {
    let policy = || Policy::new().key(KeySpec::new().query(QueryRule::without(["utm_*"])).header(ACCEPT));
    let targets = ["/a?x=1&y=2", "/a?x=1", "/b", "/%C3%A9"];
    let table: [(Purge, &str); 8] = [
        (Purge::url("https://shop.example/a?y=2&x=1&utm_source=mail").into(), "/a?x=1&y=2"),
        (Purge::url("http://SHOP.example:80/a?x=1&y=2#end").into(), "/a?x=1&y=2"),
        (Purge::url("https://shop.example:443/a?x=1").into(), "/a?x=1"),
        (Purge::url("https://shop.example/c/../b").into(), "/b"),
        (Purge::url("https://shop.example/é").into(), "/%C3%A9"),
        (Purge::request(&request("DELETE", "/b", &[])), "/b"),
        (Purge::request(&get_with("/b?utm_source=mail", &[("accept", "text/other")])), "/b"),
        (Purge::url("https://other.example/b").into(), ""),
    ];
    for (purge, ended) in table {
        let mut shop = shop(memory(), policy());
        let variants = [("text/html", "de"), ("text/html", "en"), ("text/plain", "de")];
        let asks = || {
            targets.iter().flat_map(|target| {
                variants.map(|(media, lang)| (*target, get_with(target, &[("accept", media), ("x-lang", lang)])))
            })
        };
        for (_, asked) in asks() {
            shop.stores(asked, &[("cache-control", "max-age=60"), ("vary", "x-lang")], "old").await;
        }

        shop.handle.purge(purge.clone()).await.unwrap();

        for (target, asked) in asks() {
            let expected = if target == ended { "new" } else { "old" };
            assert_eq!(shop.answers(asked, "new").await.0, expected, "{purge:?} {target}");
        }
    }
}

#[tokio::test]
async fn a_url_as_it_is_written_is_purged_too() {
    let mut shop = shop(memory(), Policy::new());
    for path in ["/a/../b", "/it's?q='"] {
        shop.stores(get(path), LAMP, "old").await;
        shop.handle.purge(Purge::url(format!("https://shop.example{path}"))).await.unwrap();

        assert_eq!(shop.answers(get(path), "new").await, ("new".to_owned(), true), "{path}");
    }
}

fn by_field() -> Tenancy {
    Tenancy::header(HeaderName::from_static("x-tenant"))
}

#[tokio::test]
async fn what_one_tenant_has_is_no_concern_of_another() {
    let of = |tenant: &str| get_with("/a", &[("x-tenant", tenant)]);
    let acme = || Tenant::named("acme");
    let table: [(&str, Purge); 6] = [
        ("request", Purge::request(&of("acme"))),
        ("url", Purge::url("https://shop.example/a").tenant(acme()).into()),
        ("tag", Purge::tag("lamp").tenant(acme()).into()),
        ("soft tag", Purge::tag("lamp").soft().tenant(acme()).into()),
        ("tenant", Purge::tenant(acme())),
        ("all", Purge::all()),
    ];
    for (name, purge) in table {
        let mut shop = shop_of(memory(), Policy::new(), by_field());
        for tenant in ["acme", "ACME", "a"] {
            shop.stores(of(tenant), LAMP, "old").await;
        }

        shop.handle.purge(purge).await.unwrap();

        assert!(shop.answers(of("acme"), "new").await.1, "{name}");
        for tenant in ["ACME", "a"] {
            assert_eq!(shop.answers(of(tenant), "new").await.1, name == "all", "{name} {tenant}");
        }
    }
}

#[tokio::test]
async fn a_tenant_that_the_url_tells_need_not_be_named() {
    let mut shop = shop_of(memory(), Policy::new(), Tenancy::host());
    shop.stores(get("/a"), LAMP, "old").await;
    shop.handle.purge(Purge::url("https://shop.example/a")).await.unwrap();

    assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true));
}

#[tokio::test]
async fn what_makes_no_sense_is_an_error_and_changes_nothing() {
    let mut shop = shop_of(memory(), Policy::new(), by_field());
    let acme = || Tenant::named("acme");
    let asked = || get_with("/a", &[("x-tenant", "acme")]);
    shop.stores(asked(), LAMP, "old").await;
    let url = |url: &str| Purge::url(url).tenant(acme()).into();
    let table: [(Purge, PurgeErrorKind); 16] = [
        (Purge::tenant(Tenant::unidentified()), PurgeErrorKind::Tenant),
        (Purge::tenant(Tenant::named("")), PurgeErrorKind::Tenant),
        (Purge::request(&get("/a")), PurgeErrorKind::Tenant),
        (Purge::url("https://shop.example/a").into(), PurgeErrorKind::Tenant),
        (Purge::tag("lamp").into(), PurgeErrorKind::Tenant),
        (Purge::tag("lamp").tenant(Tenant::unidentified()).into(), PurgeErrorKind::Tenant),
        (Purge::computed(&Tenant::unidentified(), &["a"]), PurgeErrorKind::Tenant),
        (Purge::tag("").tenant(acme()).into(), PurgeErrorKind::Tag),
        (Purge::tag("x".repeat(257)).tenant(acme()).into(), PurgeErrorKind::Tag),
        (url("/a"), PurgeErrorKind::Url),
        (url("shop.example/a"), PurgeErrorKind::Url),
        (url("https:///"), PurgeErrorKind::Url),
        (url("ftp://shop.example/a"), PurgeErrorKind::Url),
        (url("https://user@shop.example/a"), PurgeErrorKind::Url),
        (url(&format!("https://shop.example/{}", "a".repeat(9_000))), PurgeErrorKind::Key),
        (Purge::computed(&acme(), &[&"a".repeat(9_000)]), PurgeErrorKind::Key),
    ];
    for (purge, expected) in table {
        let error = shop.handle.purge(purge).await.unwrap_err();

        assert_eq!(error.kind(), expected);
        assert!(error.to_string().starts_with("nothing was purged: "), "{error}");
    }
    assert_eq!(shop.answers(asked(), "new").await, ("old".to_owned(), false));
}

#[tokio::test(start_paused = true)]
async fn who_asks_after_a_purge_shares_no_failure_of_before() {
    let mut shop = shop(memory(), Policy::new().collapse(Collapse::new().attempts(1)));
    let mut early = send(&mut shop.cache, get("/a"));
    assert_pending!(early.poll());
    drop(shop.handle.purge(Purge::tag("lamp")));
    let mut late = send(&mut shop.cache, get("/a"));
    assert_pending!(late.poll());

    shop.origin.reply(reply(502, &[("surrogate-key", "lamp")], "old"));

    assert_eq!(text(assert_ready_ok!(early.poll())).await.unwrap(), "old");
    settle().await;
    let late = assert_ready_ok!(late.poll());
    assert_eq!(late.status(), 503, "of the cache's own");
    assert_eq!(text(late).await.unwrap(), "");
}

/// A store that counts what it is asked, and does not take fences while it is broken.
#[derive(Clone)]
struct Counting(MemoryStore, Arc<[AtomicUsize; 2]>);

impl Store for Counting {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.1[0].fetch_add(1, SeqCst);
        self.0.peek(key)
    }
    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        self.1[0].fetch_add(1, SeqCst);
        self.0.get(key).await
    }
    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        self.1[0].fetch_add(1, SeqCst);
        self.0.put(key, stored).await
    }
    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.1[0].fetch_add(1, SeqCst);
        self.0.remove(key).await
    }
    async fn fence(&self, _: &Fence) -> Result<(), StoreError> {
        self.1[0].fetch_add(1, SeqCst);
        let is_broken = self.1[1].load(SeqCst) > 0;
        if is_broken { Err(StoreError::new(StoreErrorKind::Io, "broken")) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_purge_costs_the_store_the_same_however_much_it_has() {
    let mut counts = Vec::new();
    for responses in [1, 1_000] {
        let store = Counting(MemoryStore::with_max_bytes(64 << 20), Arc::default());
        let mut shop = shop(store.clone(), Policy::new());
        for number in 0..responses {
            shop.stores(get(&format!("/a?{number}")), LAMP, "old").await;
        }
        let mut asked = Vec::new();
        for (_, purge) in by_everything() {
            store.1[0].store(0, SeqCst);
            shop.handle.purge(purge).await.unwrap();
            asked.push(store.1[0].load(SeqCst));
        }
        counts.push(asked);
    }
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0].iter().all(|asked| *asked <= 2), "{counts:?}");
}

#[tokio::test]
async fn a_store_that_does_not_take_a_purge_is_an_error_and_this_process_has_purged() {
    let store = Counting(memory(), Arc::default());
    let mut shop = shop(store.clone(), Policy::new());
    shop.stores(get("/a"), LAMP, "old").await;
    store.1[1].store(1, SeqCst);

    let error = shop.handle.purge(Purge::tag("lamp")).await.unwrap_err();

    assert_eq!(error.kind(), PurgeErrorKind::Store);
    assert!(std::error::Error::source(&error).is_some() && error.to_string().starts_with("this process has purged"));
    assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true));
}

#[tokio::test]
async fn what_was_computed_is_purged_by_its_key_its_tenant_and_with_all() {
    let (acme, minute) = (Tenant::named("acme"), 60 * SECOND);
    let purges = [Purge::computed(&acme, &["a", "b"]), Purge::tenant(acme.clone()), Purge::all()];
    for (index, purge) in purges.into_iter().enumerate() {
        let handle = shop(memory(), Policy::new()).handle;
        let get = |key: &'static str, value: &'static [u8]| {
            let (handle, acme) = (handle.clone(), acme.clone());
            async move {
                let compute = move || async move { Ok::<_, ()>(Bytes::from_static(value)) };
                handle.get_or_compute(&acme, &["a", key], minute, compute).await.unwrap()
            }
        };
        for key in ["b", "c"] {
            assert_eq!(get(key, b"old").await, "old");
        }

        handle.purge(purge).await.unwrap();

        assert_eq!(get("b", b"new").await, "new");
        assert_eq!(get("c", b"new").await, if index == 0 { "old" } else { "new" });
    }
}

#[tokio::test]
async fn all_who_say_tags_are_heard_unless_the_policy_does_not_read_their_field() {
    let table: [(&[TagField], &[&str]); 3] = [
        (&[TagField::SurrogateKey, TagField::CacheTag, TagField::CacheGroups], &["key", "tag", "said"]),
        (&[TagField::CacheTag], &["tag", "said"]),
        (&[], &["said"]),
    ];
    for (fields, heard) in table {
        for tag in ["key", "tag", "said", "other"] {
            let mut shop = shop(memory(), Policy::new().tag_fields(fields.iter().copied()));
            let mut old = reply(200, &[LAMP[0], ("surrogate-key", "x key"), ("cache-tag", "x, tag")], "old");
            old.extensions_mut().insert(Tags::new(["said"]));
            shop.origin.queue([old]);
            ask(&mut shop.cache, get("/a")).await;

            shop.handle.purge(Purge::tag(tag)).await.unwrap();

            assert_eq!(shop.answers(get("/a"), "new").await.1, heard.contains(&tag), "{fields:?} {tag}");
        }
    }
}

#[tokio::test]
async fn the_fields_with_tags_do_not_go_out_unless_the_policy_says_so() {
    let fields = [LAMP[0], ("surrogate-key", "a"), ("cache-tag", "b"), ("cache-groups", "\"c\""), ("etag", "\"1\"")];
    let private = [("cache-control", "private"), ("surrogate-key", "a"), ("cache-tag", "b"), ("cache-groups", "\"c\"")];
    for (policy, are_there) in
        [(Policy::new(), false), (Policy::new().tag_fields([]), false), (Policy::new().keep_tag_fields(), true)]
    {
        let mut shop = shop(memory(), policy);
        shop.origin.queue([reply(200, &fields, "page"), reply(200, &private, "own")]);
        let not_modified = get_with("/a", &[("if-none-match", "\"1\"")]);
        for asked in [get("/a"), get("/a"), request("HEAD", "/a", &[]), not_modified, get("/own")] {
            let (path, answer) = (asked.uri().clone(), ask(&mut shop.cache, asked).await);
            let headers = answer.headers();
            for name in ["surrogate-key", "cache-tag"] {
                assert!(headers.contains_key(name) == are_there || answer.status() == 304, "{path} {headers:?}");
                assert!(are_there || !headers.contains_key(name), "{path} {headers:?}");
            }
            assert!(headers.contains_key("cache-groups") || answer.status() == 304, "{path} {headers:?}");
        }
    }
    // What collapses inside of a cache leaves it its tags.
    let origin = Origin::default();
    origin.queue([reply(200, &fields, "page")]);
    let answer = ask(&mut CollapseLayer::new().layer(origin), get("/a")).await;
    assert_eq!(field(&answer, "surrogate-key"), "a");
}

#[tokio::test]
async fn a_304_changes_the_tags_that_it_says_and_leaves_the_others() {
    type Fields = &'static [(&'static str, &'static str)];
    let table: [(Fields, [(&str, bool); 2]); 3] = [
        (&[], [("lamp", true), ("desk", false)]),
        (&[("surrogate-key", "desk")], [("lamp", false), ("desk", true)]),
        (&[("cache-groups", "\"desk\"")], [("lamp", true), ("desk", false)]),
    ];
    for (news, tags) in table {
        for (tag, ends) in tags {
            let mut shop = shop(memory(), Policy::new());
            shop.stores(get("/a"), &[LAMP[0], LAMP[1], ("etag", "\"1\"")], "old").await;
            shop.clock.advance(61 * SECOND);
            shop.origin.queue([reply(304, &[&[("etag", "\"1\""), LAMP[0]], news].concat(), "")]);
            let answer = ask(&mut shop.cache, get("/a")).await;
            assert!(!answer.headers().contains_key("surrogate-key"));
            assert_eq!(text(answer).await.unwrap(), "old");

            shop.handle.purge(Purge::tag(tag)).await.unwrap();

            assert_eq!(shop.answers(get("/a"), "new").await.1, ends, "{news:?} {tag}");
        }
    }
}

#[tokio::test]
async fn what_a_304_gives_a_tag_that_was_purged_before_is_made_anew() {
    let mut shop = shop(memory(), Policy::new());
    shop.stores(get("/a"), &[LAMP[0], ("etag", "\"1\"")], "old").await;
    shop.handle.purge(Purge::tag("lamp")).await.unwrap();
    assert_eq!(shop.answers(get("/a"), "new").await, ("old".to_owned(), false));
    shop.clock.advance(61 * SECOND);
    shop.origin.queue([reply(304, &[("etag", "\"1\""), LAMP[0], LAMP[1]], "")]);
    assert_eq!(text(ask(&mut shop.cache, get("/a")).await).await.unwrap(), "old");

    assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true));
    assert_eq!(shop.answers(get("/a"), "newer").await, ("new".to_owned(), false));
}

#[tokio::test]
async fn a_response_with_more_tags_than_are_kept_ends_with_any_of_them() {
    let mut shop = shop(memory(), Policy::new());
    let many: Vec<_> = (0..100).map(|number| format!("t{number}")).collect();
    shop.stores(get("/a"), &[LAMP[0], ("surrogate-key", &many.join(" "))], "old").await;
    assert_eq!(shop.handle.stats().tags_dropped, 36);

    shop.handle.purge(Purge::tag("t99")).await.unwrap();

    assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true));
}

/// RFC 9875 §3: on an unsafe method, whatever its status, at the same origin, for the same tenant.
#[tokio::test]
async fn an_unsafe_request_ends_the_groups_that_its_response_names() {
    const END: &[(&str, &str)] = &[("cache-group-invalidation", "\"list\", \"other\"")];
    for (method, code, fields, ends) in [
        ("POST", 200, END, true),
        ("DELETE", 404, END, true),
        ("FROBNICATE", 500, END, true),
        ("OPTIONS", 200, END, false),
        ("POST", 200, &[("cache-group-invalidation", "\"LIST\"")][..], false),
        ("POST", 200, &[("cache-group-invalidation", "list")][..], false),
        ("POST", 200, &[][..], false),
    ] {
        let mut shop = shop_of(memory(), Policy::new(), by_field());
        let asked = |host: &str, tenant| {
            let mut asked = get_with("/a", &[("x-tenant", tenant)]);
            asked.headers_mut().insert("host", host.parse().unwrap());
            asked
        };
        let asks = || {
            [("shop.example", "acme"), ("www.shop.example", "acme"), ("shop.example", "other")]
                .map(|(h, t)| asked(h, t))
        };
        for asked in asks() {
            shop.stores(asked, &[LAMP[0], ("cache-groups", "\"list\";x=1, \"b\"")], "old").await;
        }

        shop.origin.queue([reply(code, fields, "done")]);
        ask(&mut shop.cache, request(method, "/b", &[("x-tenant", "acme")])).await;

        for (asked, expected) in asks().into_iter().zip([ends, false, false]) {
            assert_eq!(shop.answers(asked, "new").await.1, expected, "{method} {code} {fields:?}");
        }
    }
    let mut shop = shop(memory(), Policy::new());
    shop.stores(get("/a"), &[LAMP[0], ("cache-groups", "\"list\"")], "old").await;
    shop.origin.queue([reply(200, END, "read")]);
    ask(&mut shop.cache, get("/b")).await;
    assert!(!shop.answers(get("/a"), "new").await.1, "a safe method ends no group");
}

#[tokio::test]
async fn what_is_of_a_group_and_on_its_way_comes_too_late() {
    let mut shop = shop(memory(), Policy::new());
    let mut early = send(&mut shop.cache, get("/a"));
    assert_pending!(early.poll());
    let mut post = send(&mut shop.cache, request("POST", "/b", &[]));
    assert_pending!(post.poll());
    shop.origin.reply_last(reply(200, &[("cache-group-invalidation", "\"list\"")], "done"));
    drop(assert_ready_ok!(post.poll()));

    shop.origin.reply(reply(200, &[LAMP[0], ("cache-groups", "\"list\"")], "old"));
    assert_eq!(text(assert_ready_ok!(early.poll())).await.unwrap(), "old");

    assert_eq!(shop.answers(get("/a"), "new").await, ("new".to_owned(), true));
}
