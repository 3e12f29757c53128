//! `Vary` (RFC 9111 §4.1).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use microcache::{CacheKey, MemoryStore, Policy, Put, Store, StoreError, Stored};
use tokio_test::assert_ready_ok;

use crate::common::*;

const VARY: [(&str, &str); 1] = [("vary", "accept-language")];

#[tokio::test]
async fn each_variant_has_its_own_response() {
    let (mut cache, origin, _) = cache(Policy::new());
    let in_language = |language| get_with("/", &[("accept-language", language)]);
    origin.queue([reply(200, &VARY, "hallo"), reply(200, &VARY, "hello"), reply(200, &VARY, "?")]);

    assert_eq!(text(ask(&mut cache, in_language("de")).await).await.unwrap(), "hallo");
    let other = ask(&mut cache, in_language("en")).await;
    assert_eq!(status(&other), "fwd=vary-miss; fwd-status=200; ttl=1; stored");
    assert_eq!(text(other).await.unwrap(), "hello");
    assert_eq!(text(ask(&mut cache, get("/")).await).await.unwrap(), "?", "absent is a variant of its own");
    for (language, body) in [("de", "hallo"), ("en", "hello")] {
        let hit = ask(&mut cache, in_language(language)).await;
        assert_eq!((status(&hit).as_str(), text(hit).await.unwrap().as_str()), ("hit; ttl=1", body));
    }
    assert_eq!(origin.forwards(), 3);
}

#[tokio::test]
async fn one_response_is_for_all_spellings_that_say_the_same() {
    let (mut cache, origin, _) = cache(Policy::new());
    let vary = [("vary", "accept-encoding, accept-language")];
    let negotiated = |coding, language| get_with("/", &[("accept-encoding", coding), ("accept-language", language)]);
    origin.queue([reply(200, &vary, "first"), reply(200, &vary, "second"), reply(200, &vary, "third")]);
    ask(&mut cache, negotiated("gzip, br", "de-AT, en;q=0.5")).await;

    let hit = ask(&mut cache, negotiated("BR,gzip;q=1.0", "EN;q=0.50,de-at")).await;
    assert_eq!((status(&hit).as_str(), text(hit).await.unwrap().as_str()), ("hit; ttl=1", "first"));
    let other = ask(&mut cache, negotiated("gzip;q=0, br", "de-AT, en;q=0.5")).await;
    assert_eq!(text(other).await.unwrap(), "second", "another weight");
    let other = ask(&mut cache, negotiated("gzip, br", "de_AT, en;q=0.5")).await;
    assert_eq!(text(other).await.unwrap(), "third", "no language range");
    assert_eq!(origin.forwards(), 3);
}

#[tokio::test]
async fn nominated_fields_add_up_over_lines_and_responses() {
    let (mut cache, origin, _) = cache(Policy::new());
    let fields = [("vary", "Accept-Language , accept"), ("vary", "X-Theme")];
    origin.queue([reply(200, &fields, "one"), reply(200, &fields, "two"), reply(200, &fields, "three")]);
    ask(&mut cache, get_with("/", &[("accept", "a"), ("x-theme", "dark")])).await;

    let other = ask(&mut cache, get_with("/", &[("accept", "a"), ("x-theme", "light")])).await;
    assert_eq!(text(other).await.unwrap(), "two");
    let other = ask(&mut cache, get_with("/", &[("accept", "b"), ("x-theme", "dark")])).await;
    assert_eq!(text(other).await.unwrap(), "three");
    let same = ask(&mut cache, get_with("/", &[("accept", "a"), ("x-theme", "dark")])).await;
    assert_eq!(text(same).await.unwrap(), "one");
}

#[tokio::test]
async fn a_response_that_stops_varying_is_for_everybody() {
    let (mut cache, origin, clock) = cache(Policy::new());
    origin.queue([reply(200, &VARY, "varies"), ok("for all")]);
    ask(&mut cache, get_with("/", &[("accept-language", "de")])).await;
    clock.advance(SECOND);
    ask(&mut cache, get_with("/", &[("accept-language", "de")])).await;

    let hit = ask(&mut cache, get_with("/", &[("accept-language", "en")])).await;

    assert_eq!(text(hit).await.unwrap(), "for all");
}

#[tokio::test]
async fn vary_on_credentials_keeps_users_apart() {
    let (mut cache, origin, _) = cache(Policy::new());
    let fields = [("vary", "cookie"), ("cache-control", "max-age=60")];
    origin.queue([reply(200, &fields, "alice's"), reply(200, &fields, "bob's")]);

    ask(&mut cache, get_with("/", &[("cookie", "user=alice")])).await;
    let bob = ask(&mut cache, get_with("/", &[("cookie", "user=bob")])).await;

    assert_eq!(text(bob).await.unwrap(), "bob's");
}

#[tokio::test]
async fn a_variant_is_stored_even_if_another_variant_began_later_and_landed_first() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let vary = [("vary", "accept-language"), ("cache-control", "max-age=60")];
    let lang = |it| get_with("/", &[("accept-language", it)]);
    origin.queue([reply(200, &vary, "fr")]);
    ask(&mut cache, lang("fr")).await;
    let mut de = send(&mut cache, lang("de"));
    assert!(de.poll().is_pending());
    clock.advance(MILLI);
    let mut en = send(&mut cache, lang("en"));
    assert!(en.poll().is_pending());
    clock.advance(MILLI);
    origin.reply_last(reply(200, &vary, "en"));
    assert_ready_ok!(en.poll());
    origin.reply(reply(200, &vary, "de"));
    let answer = assert_ready_ok!(de.poll());
    assert_eq!(status(&answer), "fwd=vary-miss; fwd-status=200; ttl=60; stored");
    let mut again = send(&mut cache, lang("de"));
    assert!(again.poll().is_ready(), "de has to be forwarded again");
}

#[tokio::test]
async fn an_index_outlives_its_longest_variant() {
    #[derive(Clone)]
    struct Spy(MemoryStore, Arc<Mutex<Vec<(bool, Duration)>>>);
    impl Store for Spy {
        async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
            self.0.get(key).await
        }
        async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
            self.1.lock().unwrap().push((stored.response().is_none(), stored.useful_for()));
            self.0.put(key, stored).await
        }
        async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
            self.0.remove(key).await
        }
    }
    let spy = Spy(MemoryStore::with_max_bytes(1 << 20), Arc::default());
    let (mut cache, origin, _) = cache_on(spy.clone(), Policy::new());
    origin.queue([
        reply(200, &[("vary", "accept"), ("cache-control", "max-age=3600")], "long"),
        reply(200, &[("vary", "accept"), ("cache-control", "max-age=1")], "short"),
    ]);
    ask(&mut cache, get_with("/", &[("accept", "a")])).await;
    ask(&mut cache, get_with("/", &[("accept", "b")])).await;
    let last = spy.1.lock().unwrap().iter().rev().find(|it| it.0).unwrap().1;
    assert!(last >= Duration::from_secs(3600), "the index may go after {last:?}");
}

#[tokio::test]
async fn variants_that_are_stale_do_not_keep_others_out() {
    let (mut cache, origin, clock) = cache(Policy::new());
    let fields = [("cache-control", "max-age=1"), ("vary", "x-lang"), ("etag", "\"a\"")];
    let lang = |number: u32| get_with("/", &[("x-lang", &number.to_string())]);
    for number in 0..32 {
        origin.queue([reply(200, &fields, "page")]);
        ask(&mut cache, lang(number)).await;
        clock.advance(MILLI);
    }
    clock.advance(600 * SECOND);
    origin.queue([reply(200, &fields, "new")]);

    let answer = ask(&mut cache, lang(32)).await;

    assert_eq!(status(&answer), "fwd=vary-miss; fwd-status=200; ttl=1; stored");
}

#[test]
fn an_index_does_not_hold_on_to_the_heads_of_its_variants() {
    // Room for the index, and for none of what it names.
    let store = MemoryStore::with_max_bytes(10_000);
    let of_heads = "x".repeat(60_000);
    let held = allocation_counter::measure(|| {
        let (mut cache, origin, clock) = cache_on(store.clone(), Policy::new());
        for number in 0..8 {
            let tag = format!("\"{number}\"");
            let fields = [VARY[0], ("cache-control", "max-age=60"), ("etag", &tag), ("x-large", &of_heads)];
            origin.queue([reply(200, &fields, "page")]);
            let mut asked = send(&mut cache, get_with("/", &[("accept-language", &number.to_string())]));
            drop(assert_ready_ok!(asked.poll()));
            clock.advance(MILLI);
        }
        let mut other = send(&mut cache, get_with("/", &[("accept-language", "other")]));
        assert!(other.poll().is_pending());
        assert_eq!(origin.forwards(), 9);
    });
    assert!(held.bytes_current < 60_000, "{} bytes", held.bytes_current);
}
