//! What every store must pass: the promises of [`Store`], checked from outside.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use super::{Fence, Peek, Put, Store};
use crate::{
    clock::{Clock, SystemClock},
    key::{CacheKey, KeySpec, RequestHead, Tenant},
    rfc9111::variants::Nominated,
    stored::{Kind, Staleness, Stored, StoredBody, StoredHead, StoredResponse, VariantIndex},
};

/// Checks that an empty store keeps the promises of [`Store`]. It needs room for about 1 MiB.
///
/// # Panics
///
/// When it breaks one; the message says which.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use microcache::{MemoryStore, contract};
///
/// contract::check(MemoryStore::with_max_bytes(8 << 20)).await;
/// # }
/// ```
pub async fn check(store: impl Store) {
    // Later than whatever the store may remember of purges, and a whole second.
    let now = SystemClock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() + 2);
    what_was_put_is_found_whole(&store, start).await;
    keys_are_told_apart(&store, start).await;
    newer_wins(&store, start).await;
    an_index_is_kept_like_a_response(&store, start).await;
    what_was_removed_is_gone(&store, start).await;
    a_hard_fence_on_a_key_ends_what_began_before_it(&store, start).await;
    a_fence_on_a_key_is_for_that_alone(&store, start).await;
}

async fn what_was_put_is_found_whole(store: &impl Store, start: SystemTime) {
    let key = key("/whole?a=1");
    assert!(find(store, &key).await.is_none(), "an empty store has nothing");

    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", HeaderValue::from_static("7"));
    let body = StoredBody { bytes: Bytes::from(vec![7; 100_000]), trailers: Some(Arc::new(trailers)) };
    let put = response(start, body);
    assert_eq!(store.put(&key, put.clone()).await.ok(), Some(Put::Stored), "a put answers that it stored");

    let found = find(store, &key).await;
    let (put, found) = (put.response(), found.as_ref().and_then(Stored::response));
    assert!(same(put, found), "what is found is what was put: status, every field line in order, body, trailers");
}

async fn keys_are_told_apart(store: &impl Store, start: SystemTime) {
    let long = format!("/{}", "x".repeat(4_000));
    let paths = ["/k", "/K", "/k?", "/k?a", "/k?a=", "/k?a=1&a=2", "/k?a=2&a=1", &long, &format!("{long}y")];
    for (index, path) in paths.iter().enumerate() {
        let body = StoredBody { bytes: Bytes::from(index.to_string()), trailers: None };
        assert!(store.put(&key(path), response(start, body)).await.is_ok(), "{path} is stored");
    }
    for (index, path) in paths.iter().enumerate() {
        let found = find(store, &key(path)).await;
        let body = found.as_ref().and_then(Stored::response).map(|stored| stored.body().clone());
        assert_eq!(body, Some(Bytes::from(index.to_string())), "{path} has its own");
    }
}

async fn newer_wins(store: &impl Store, start: SystemTime) {
    let key = key("/newer");
    let at = |seconds, text: &'static str| {
        let body = StoredBody { bytes: Bytes::from_static(text.as_bytes()), trailers: None };
        response(start + Duration::from_secs(seconds), body)
    };
    assert_eq!(store.put(&key, at(1, "second")).await.ok(), Some(Put::Stored));
    assert_eq!(store.put(&key, at(0, "first, late")).await.ok(), Some(Put::Fenced), "what began earlier is fenced");
    let found = find(store, &key).await.and_then(|stored| stored.response().map(|stored| stored.body().clone()));
    assert_eq!(found, Some(Bytes::from_static(b"second")), "what began later stays");
    assert_eq!(store.put(&key, at(1, "as old")).await.ok(), Some(Put::Stored), "what began at the same time replaces");
    assert_eq!(store.put(&key, at(2, "third")).await.ok(), Some(Put::Stored), "what began later replaces");
}

async fn an_index_is_kept_like_a_response(store: &impl Store, start: SystemTime) {
    let key = key("/index");
    let names = Arc::from([HeaderName::from_static("accept-encoding"), HeaderName::from_static("accept-language")]);
    let index = VariantIndex { names, variants: Arc::new([]), began: start, useful_for: Duration::from_secs(60) };
    assert_eq!(store.put(&key, Stored::new(Kind::Variants(index.clone()))).await.ok(), Some(Put::Stored));
    match find(store, &key).await.map(|stored| stored.kind) {
        Some(Kind::Variants(found)) => assert_eq!(found.names, index.names, "the index keeps its names"),
        _ => panic!("an index is found as an index"),
    }
}

async fn what_was_removed_is_gone(store: &impl Store, start: SystemTime) {
    let key = key("/removed");
    assert!(store.put(&key, response(start, StoredBody::default())).await.is_ok());
    assert!(store.remove(&key).await.is_ok(), "removing answers");
    assert!(find(store, &key).await.is_none(), "what was removed is not found");
    assert!(store.remove(&key).await.is_ok(), "removing nothing is no error");
}

async fn a_hard_fence_on_a_key_ends_what_began_before_it(store: &impl Store, start: SystemTime) {
    let key = key("/fenced");
    let at = |millis| start + Duration::from_millis(millis);
    for (began, fenced, later) in [(10, 10, 20), (25, 30, 40)] {
        assert!(store.put(&key, response(at(began), StoredBody::default())).await.is_ok());
        let fence = Fence::target(&key, at(fenced));
        assert!(store.fence(&fence).await.is_ok(), "a store in good health takes a fence");
        assert!(find(store, &key).await.is_none(), "what began at a fence or before is not found");
        assert_eq!(store.put(&key, response(at(later), StoredBody::default())).await.ok(), Some(Put::Stored));
        assert!(find(store, &key).await.is_some(), "what began after a fence is found");
    }
}

async fn a_fence_on_a_key_is_for_that_alone(store: &impl Store, start: SystemTime) {
    let [one, other] = ["/one", "/other"].map(key);
    for key in [&one, &other] {
        assert!(store.put(key, response(start, StoredBody::default())).await.is_ok());
    }
    let fence = Fence::target(&one, start);
    assert!(store.fence(&fence.clone().soft()).await.is_ok());
    assert!(find(store, &one).await.is_some(), "what a soft fence covers is found");
    assert!(store.fence(&fence).await.is_ok());
    assert!(find(store, &one).await.is_none());
    assert!(find(store, &other).await.is_some(), "what a fence does not cover is found");
}

/// `peek` and `get` say the same.
async fn find(store: &impl Store, key: &CacheKey) -> Option<Stored> {
    let got = store.get(key).await;
    assert!(got.is_ok(), "a store in good health answers");
    let got = got.ok().flatten();
    match store.peek(key) {
        Peek::Found(_) => assert!(got.is_some(), "what can be peeked at can be got"),
        Peek::Absent => assert!(got.is_none(), "what can be got is not absent"),
        Peek::Wait => {}
    }
    got
}

fn same(put: Option<&StoredResponse>, found: Option<&StoredResponse>) -> bool {
    let (Some(put), Some(found)) = (put, found) else { return false };
    put.status() == found.status()
        && put.headers().iter().eq(found.headers().iter())
        && put.body() == found.body()
        && put.trailers() == found.trailers()
        && put.head.nominated == found.head.nominated
        && put.head.tags == found.head.tags
        && (put.head.began, put.head.brought) == (found.head.began, found.head.brought)
        && put.head.response_time == found.head.response_time
        && (put.head.initial_age, put.head.freshness_lifetime, put.head.implied)
            == (found.head.initial_age, found.head.freshness_lifetime, found.head.implied)
}

pub(crate) fn key(path: &str) -> CacheKey {
    let request = Request::get(path).header("host", "shop.example").body(());
    let key = request.ok().and_then(|request| KeySpec::new().key(RequestHead::of(&request), &Tenant::named("acme")));
    assert!(key.is_some(), "{path} has a key");
    key.unwrap_or_else(|| unreachable!())
}

pub(crate) fn response(began: SystemTime, body: StoredBody) -> Stored {
    let mut headers = HeaderMap::new();
    headers.append("age", HeaderValue::from_static("0"));
    headers.append("link", HeaderValue::from_static("</a>"));
    headers.append("content-type", HeaderValue::from_static("text/plain"));
    headers.append("link", HeaderValue::from_static("</b>"));
    headers.append("x-latin", HeaderValue::from_bytes(b"\xe9").unwrap_or(HeaderValue::from_static("e")));
    let mut request = HeaderMap::new();
    request.append("accept-language", HeaderValue::from_static("de"));
    let names = [HeaderName::from_static("accept-encoding"), HeaderName::from_static("accept-language")];
    let head = StoredHead {
        status: StatusCode::NOT_FOUND,
        headers,
        has_status_place: false,
        nominated: Nominated::new(&names, &request),
        began,
        brought: began,
        response_time: began + Duration::from_millis(1_234),
        initial_age: Duration::from_millis(567),
        freshness_lifetime: Duration::from_secs(3_600),
        implied: true,
        staleness: Staleness { while_revalidate: Duration::from_secs(7), ..Staleness::default() },
        has_validator: true,
        tags: Arc::new(["product:7".into(), "shelf".into()]),
    };
    Stored::new(Kind::Response(StoredResponse::new(Arc::new(head), body)))
}
