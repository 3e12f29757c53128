//! What does a miss cost?
//!
//! Distinct keys over an origin that answers at once, against that origin alone plus one put into the store.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{
    exchange::{Ask, Prepared, at_once, exchange, reply, request},
    table::Table,
    timing::{Case, Times, interleaved, run_one},
};
use microcache::{
    CacheKey, CacheLayer, Collapse, KeySpec, MemoryStore, Peek, Policy, Put, RequestHead, Store, StoreError, Stored,
    Tenant,
};
use tower::Layer;

fn main() {
    let mut cases = cases();
    if allocations::uncounted(|| run_one(&mut cases)) {
        return;
    }
    let times = allocations::uncounted(|| interleaved(&mut cases, 64, 1_500));
    print(&mut cases, &times);
}

fn cases() -> Vec<Case<'static>> {
    let mut bare = origin();
    let (store, stored) = (memory(), stored());
    let mut through = CacheLayer::new(memory()).layer(origin());
    let mut kept_nowhere = CacheLayer::new(Nowhere::default()).layer(origin());
    let lonely = CacheLayer::new(memory()).with_policy(Policy::new().collapse(Collapse::off()));
    let mut lonely = lonely.layer(origin());
    vec![
        Case::new("bare", asks(), move |request| exchange(&mut bare, request)),
        Case::new("put", keys(), move |key| {
            assert_eq!(at_once(store.put(&key, stored.clone())).ok(), Some(Put::Stored));
        }),
        Case::new("miss", asks(), move |request| exchange(&mut through, request)),
        Case::new("miss-not-collapsed", asks(), move |request| exchange(&mut lonely, request)),
        Case::new("miss-not-stored", asks(), move |request| exchange(&mut kept_nowhere, request)),
    ]
}

/// Small enough that it is full soon: in the long run each put evicts.
fn memory() -> MemoryStore {
    MemoryStore::with_max_bytes(16 << 20)
}

fn origin() -> Prepared {
    Prepared::new(reply(Bytes::from(vec![b'x'; 1 << 10])))
}

fn asks() -> impl FnMut() -> Ask {
    let mut next = 0;
    move || {
        next += 1;
        request("GET", &format!("/api/v1/products/{next}?category=books&page=3&per_page=50&sort=price_asc"))
    }
}

fn keys() -> impl FnMut() -> CacheKey {
    let mut asks = asks();
    move || KeySpec::new().key(RequestHead::of(&asks()), &Tenant::shared()).unwrap()
}

/// What the cache puts into its store for this origin.
fn stored() -> Stored {
    let nowhere = Nowhere::default();
    exchange(&mut CacheLayer::new(nowhere.clone()).layer(origin()), asks()());
    nowhere.last.lock().unwrap().take().unwrap()
}

/// Keeps nothing but what it was given last.
#[derive(Clone, Default)]
struct Nowhere {
    last: Arc<Mutex<Option<Stored>>>,
}

impl Store for Nowhere {
    fn peek(&self, _: &CacheKey) -> Peek {
        Peek::Absent
    }

    async fn get(&self, _: &CacheKey) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }

    async fn put(&self, _: &CacheKey, stored: Stored) -> Result<Put, StoreError> {
        *self.last.lock().unwrap() = Some(stored);
        Ok(Put::Stored)
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), StoreError> {
        Ok(())
    }
}

fn print(cases: &mut [Case<'_>], times: &[Times]) {
    let least = times[0].median() + times[1].median();
    let mut table = Table::new(&["case", "ns", "p10", "p90", "x bare + put", "allocations", "bytes"]);
    for (case, times) in cases.iter_mut().zip(times) {
        table.row(allocations::costs(case, times, least));
    }
    table.print("a miss, per request");
    let [bare, put, miss, alone, kept_nowhere] = [0, 1, 2, 3, 4].map(|case: usize| times[case].median());
    let mut parts = Table::new(&["part", "ns", "% of a miss"]);
    for (part, nanos) in [
        ("the bare service", bare),
        ("one put, of a response that is in use", put),
        ("the cache itself", miss - least),
        ("  in that: collapse", miss - alone),
        ("the store, whose responses leave memory", miss - kept_nowhere),
    ] {
        parts.row([part.to_owned(), format!("{nanos:.0}"), format!("{:.0}", 100.0 * nanos / miss)]);
    }
    parts.print("where it goes");
}
