//! What does a request cost that the cache does not handle?
//!
//! Against the same service without the cache. Target: not one allocation more, unsafe methods apart.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use bytes::Bytes;
use common::{
    exchange::{Prepared, URI, exchange, get, reply, request},
    table::Table,
    timing::{Case, interleaved, run_one},
};
use microcache::{CacheLayer, MemoryStore, Policy};
use tower::Layer;

fn main() {
    let mut cases = cases();
    if allocations::uncounted(|| run_one(&mut cases)) {
        return;
    }
    let times = allocations::uncounted(|| interleaved(&mut cases, 64, 5_000));
    let mut table = Table::new(&["case", "ns", "p10", "p90", "x bare", "allocations", "bytes"]);
    for (case, times_here) in cases.iter_mut().zip(&times) {
        table.row(allocations::costs(case, times_here, times[0].median()));
    }
    table.print("a request that the cache does not handle (target: no allocation more than bare)");
}

fn cases() -> Vec<Case<'static>> {
    let post = || request("POST", URI);
    let origin = Prepared::new(reply(Bytes::from(vec![b'x'; 1 << 10])));
    let layer = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    let paused = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    paused.handle().pause();
    let by_policy = layer.with_policy(Policy::new().bypass_when(|_| true));

    let mut bare = origin.clone();
    let mut method = layer.layer(origin.clone());
    let mut paused = paused.layer(origin.clone());
    let mut by_policy = by_policy.layer(origin);
    vec![
        Case::new("bare", get, move |request| exchange(&mut bare, request)),
        Case::new("bypass", get, move |request| exchange(&mut by_policy, request)),
        Case::new("bypass-paused", get, move |request| exchange(&mut paused, request)),
        // It makes a key, and invalidates what may be stored under it.
        Case::new("unsafe", post, move |request| exchange(&mut method, request)),
    ]
}
