//! Floods of requests that nobody asks twice: what is remembered of them is bounded (markers, flights, fences, indexes,
//! quotas). What the store itself keeps is bounded by its bytes.

use std::{collections::HashMap, sync::Mutex};

use microcache::{CacheKey, CacheLayer, Peek, Put, Store, StoreError, Stored, Tenancy, Tenant};
use tokio_test::assert_ready_ok;
use tower::Layer;

use crate::common::*;

type Fields = &'static [(&'static str, &'static str)];

/// The request with this number, and what the origin answers.
type Flood = fn(u32) -> (Ask, u16, Fields);

const FLOODS: [(&str, Flood); 13] = [
    ("ranges of one response", |n| (ranged("/fixed", n), 200, &[("cache-control", "max-age=3600")])),
    ("ranges of many", |n| (ranged(&path(n), n), 200, &[])),
    ("ranges that the origin cuts itself", |n| (ranged(&path(n), n), 206, &[("content-range", "bytes 0-3/9")])),
    ("conditions on one response", |n| (condition("/fixed", n), 200, &[("etag", "\"1\"")])),
    ("conditions on many", |n| (condition(&path(n), n), 304, &[("etag", "\"1\"")])),
    ("methods that nobody knows", |n| (request(&format!("M{n}"), &path(n), &[]), 200, &[])),
    ("unsafe methods", |n| (request("POST", &path(n), &[]), 200, &[("location", "/elsewhere")])),
    ("HEAD", |n| (request("HEAD", &path(n), &[]), 200, &[])),
    ("variants of one response", |n| (get_with("/v", &[("accept-language", &n.to_string())]), 200, VARY)),
    ("variants of many", |n| (get_with(&path(n), &[("accept-language", &n.to_string())]), 200, VARY)),
    ("credentials", |n| (get_with("/secret", &[("authorization", &n.to_string())]), 200, &[])),
    ("tenants", |n| (get_with("/fixed", &[("x-tenant", &n.to_string())]), 200, &[])),
    ("failures", |n| (get(&path(n)), 503, &[])),
];

const VARY: Fields = &[("vary", "accept-language"), ("cache-control", "max-age=3600")];

fn path(number: u32) -> String {
    format!("/flood/{number}?with=a&longer=name")
}

fn ranged(path: &str, number: u32) -> Ask {
    get_with(path, &[("range", &format!("bytes={}-{}", number % 4, number))])
}

fn condition(path: &str, number: u32) -> Ask {
    get_with(path, &[("if-none-match", &format!("\"{number}\""))])
}

fn cache() -> (TestCache, Origin) {
    let origin = Origin::default();
    let tenancy = Tenancy::from_fn(|head| match head.headers().get("x-tenant") {
        Some(name) => Tenant::named(name.to_str().unwrap()),
        None => Tenant::shared(),
    });
    let layer = CacheLayer::builder(Few::default()).tenant(tenancy);
    (layer.build().unwrap().layer(origin.clone()), origin)
}

fn run(flood: Flood, numbers: std::ops::Range<u32>, cache: &mut TestCache, origin: &Origin) {
    for number in numbers {
        let (request, status, fields) = flood(number);
        let seen = origin.forwards();
        let mut asked = send(cache, request);
        if asked.poll().is_pending() {
            assert_eq!(origin.forwards(), seen + 1, "it waits for the origin and for nothing else");
            origin.reply(reply(status, fields, "page"));
            drop(assert_ready_ok!(asked.poll()));
        }
    }
}

#[test]
fn what_a_flood_leaves_behind_is_bounded() {
    let (mut cache, origin) = cache();
    // All the markers that there may be.
    let uncacheable: Flood = |n| (get(&path(n)), 200, &[("cache-control", "no-store")]);
    let markers = allocation_counter::measure(|| run(uncacheable, 0..18_000, &mut cache, &origin));
    assert!(markers.bytes_current < 3 << 20, "{} bytes", markers.bytes_current);
    for (name, flood) in FLOODS {
        check_bounded(name, |numbers| run(flood, numbers, &mut cache, &origin));
        assert_eq!(origin.waiting(), 0);
    }
}

#[test]
fn clients_that_leave_at_once_leave_nothing_behind() {
    let (mut cache, origin) = cache();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    check_bounded("clients that leave", |numbers| {
        runtime.block_on(async {
            for number in numbers {
                let mut asked: Vec<_> = (0..3).map(|_| send(&mut cache, get(&path(number)))).collect();
                asked.iter_mut().for_each(|asked| assert!(asked.poll().is_pending()));
                drop(asked);
                // The forward goes on without them.
                origin.reply(ok("page"));
                settle().await;
            }
        });
    });
}

fn check_bounded(name: &str, mut flood: impl FnMut(std::ops::Range<u32>)) {
    flood(0..500);
    let grown = allocation_counter::measure(|| flood(500..2_000));
    assert!(grown.bytes_current < NOISE_BYTES, "{name}: {} bytes", grown.bytes_current);
}

/// Room for a few, without a thread of its own or garbage that others collect.
#[derive(Default)]
struct Few(Mutex<HashMap<CacheKey, Stored>>);

impl Store for Few {
    fn peek(&self, key: &CacheKey) -> Peek {
        self.0.lock().unwrap().get(key).map_or(Peek::Absent, |stored| Peek::Found(stored.clone()))
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        let mut few = self.0.lock().unwrap();
        if few.len() >= 10 {
            few.clear();
        }
        few.insert(key.clone(), stored);
        Ok(Put::Stored)
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

/// What is stored comes and goes. Twenty bytes a request: a key that is kept takes more.
const NOISE_BYTES: i64 = 30_000;
