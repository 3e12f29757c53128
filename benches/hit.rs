//! What does a memory hit cost?
//!
//! Against the floor: a service that clones a response that is ready. Target: at most 1.7 x its time, and no allocation
//! more. The body is shared, so its size must not matter.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

#[path = "common/allocations.rs"]
mod allocations;
mod common;

use bytes::Bytes;
use common::{
    exchange::{Ask, Prepared, Reply, URI, answered, exchange, get, reply, request, varied_reply},
    table::Table,
    timing::{Case, Times, interleaved, run_one},
};
use http::HeaderValue;
use microcache::{Cache, CacheLayer, CacheStatus, MemoryStore};
use tower::Layer;

fn main() {
    let mut cases = cases();
    #[cfg(feature = "metrics")]
    cases.push(recorded::hit());
    #[cfg(feature = "tracing")]
    cases.push(traced::hit());
    if allocations::uncounted(|| run_one(&mut cases)) {
        return;
    }
    let times = allocations::uncounted(|| interleaved(&mut cases, 64, 3_000));
    print(&mut cases, &times);
}

fn cases() -> Vec<Case<'static>> {
    vec![
        floor("floor", 1 << 10),
        hit("hit", reply(body(1 << 10)), get),
        hit("hit-1h", varied_reply(body(1 << 10), "public, max-age=3600", ""), get),
        hit("hit-vary", varied_reply(body(1 << 10), "public, max-age=60", "accept-encoding, accept-language"), get),
        hit("hit-head", reply(body(1 << 10)), || request("HEAD", URI)),
        hit("hit-304", reply(body(1 << 10)), if_none_match),
        floor("floor-64k", 64 << 10),
        hit("hit-64k", reply(body(64 << 10)), get),
        floor("floor-1m", 1 << 20),
        hit("hit-1m", reply(body(1 << 20)), get),
    ]
}

fn floor(name: &'static str, bytes: usize) -> Case<'static> {
    let mut origin = Prepared::new(reply(body(bytes)));
    Case::new(name, get, move |request| exchange(&mut origin, request))
}

/// Fresh for longer than this runs.
fn hit(name: &'static str, reply: Reply, ask: fn() -> Ask) -> Case<'static> {
    let mut cache = filled(reply, ask);
    Case::new(name, ask, move |request| exchange(&mut cache, request))
}

/// A cache that answers what is asked out of its memory.
fn filled(reply: Reply, ask: fn() -> Ask) -> Cache<Prepared> {
    let mut cache = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)).layer(Prepared::new(reply));
    exchange(&mut cache, get());
    assert!(CacheStatus::of(&answered(&mut cache, ask())).is_some_and(|status| status.is_hit()));
    cache
}

#[cfg(feature = "metrics")]
mod recorded {
    use super::*;

    /// The same as `hit`, with a recorder for all that is counted and timed.
    pub(super) fn hit() -> Case<'static> {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let mut cache = metrics::with_local_recorder(&recorder, || {
            let mut cache = filled(reply(body(1 << 10)), get);
            // One of 64 is timed, by chance: one of so many is.
            (0..10_000).for_each(|_| exchange(&mut cache, get()));
            cache
        });
        let rendered = recorder.handle().render();
        assert!(rendered.contains("microcache_requests_total") && rendered.contains("microcache_hit_seconds"));
        Case::new("hit-recorded", get, move |request| exchange(&mut cache, request))
    }
}

#[cfg(feature = "tracing")]
mod traced {
    use std::sync::Once;

    use tracing::{
        Event, Level, Metadata, Subscriber,
        level_filters::LevelFilter,
        span::{Attributes, Id, Record},
        subscriber::set_global_default,
    };

    use super::*;

    /// The same as `hit`, with a subscriber as applications have one: it takes INFO and what is worse. It listens from
    /// the first request of this case on, to those of the others as well.
    pub(super) fn hit() -> Case<'static> {
        static LISTENS: Once = Once::new();
        let mut cache = filled(reply(body(1 << 10)), get);
        let ask = || {
            LISTENS.call_once(|| set_global_default(Info).unwrap());
            get()
        };
        Case::new("hit-traced", ask, move |request| exchange(&mut cache, request))
    }

    struct Info;

    impl Subscriber for Info {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::INFO
        }

        fn max_level_hint(&self) -> Option<LevelFilter> {
            Some(LevelFilter::INFO)
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn event(&self, event: &Event<'_>) {
            panic!("a hit tells at most TRACE, and not {event:?}");
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}

fn body(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

fn if_none_match() -> Ask {
    let mut request = get();
    let tag = HeaderValue::from_static("\"33a64df551425fcc55e4d42a148795d9f25f89d4\"");
    request.headers_mut().insert("if-none-match", tag);
    request
}

fn print(cases: &mut [Case<'_>], times: &[Times]) {
    let mut table = Table::new(&["case", "ns", "p10", "p90", "x floor", "allocations", "bytes"]);
    let mut floor = 0.0;
    for (case, times) in cases.iter_mut().zip(times) {
        if case.name.starts_with("floor") {
            floor = times.median();
        }
        table.row(allocations::costs(case, times, floor));
    }
    table.print("a hit in memory, per request (target: 1.7 x floor, no allocation more)");
}
