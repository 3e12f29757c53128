//! What is traced of the cache: spans of what takes time, an event for each hit.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use microcache::{CacheLayer, ManualClock, MemoryStore, Policy};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::Layer;
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_default,
};
use tracing_core::span::Current;

use crate::common::*;

/// Keeps what it is told as lines of text, in order.
#[derive(Clone, Default)]
struct Kept {
    lines: Arc<Mutex<Vec<String>>>,
    inside: Arc<Mutex<Vec<(Id, &'static Metadata<'static>)>>>,
    spans: Arc<Mutex<HashMap<Id, &'static Metadata<'static>>>>,
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Kept {
    fn keep(&self, mut line: String, record: impl FnOnce(&mut Text<'_>)) -> usize {
        record(&mut Text(&mut line));
        let mut lines = self.lines.lock().unwrap();
        lines.push(line);
        lines.len()
    }

    /// The number of the span that begins so.
    fn number(&self, beginning: &str) -> usize {
        1 + self.lines.lock().unwrap().iter().position(|line| line.starts_with(beginning)).unwrap()
    }

    /// Those that begin so.
    fn lines(&self, beginning: &str) -> Vec<String> {
        self.lines.lock().unwrap().iter().filter(|line| line.starts_with(beginning)).cloned().collect()
    }
}

impl Subscriber for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "microcache"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = Id::from_u64(self.keep(span.metadata().name().to_owned(), |text| span.record(text)) as u64);
        self.spans.lock().unwrap().insert(id.clone(), span.metadata());
        id
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.keep(format!("of {}:", span.into_u64()), |text| values.record(text));
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.keep(format!("{} follows from {}", span.into_u64(), follows.into_u64()), |_| {});
    }

    fn event(&self, event: &Event<'_>) {
        self.keep("event".to_owned(), |text| event.record(text));
    }

    fn enter(&self, span: &Id) {
        self.inside.lock().unwrap().push((span.clone(), self.spans.lock().unwrap()[span]));
    }

    fn exit(&self, _: &Id) {
        self.inside.lock().unwrap().pop();
    }

    fn current_span(&self) -> Current {
        let inside = self.inside.lock().unwrap();
        inside.last().map_or_else(Current::none, |(id, metadata)| Current::new(id.clone(), metadata))
    }
}

#[tokio::test(start_paused = true)]
async fn forwards_waits_and_hits_are_traced_in_the_words_of_cache_status() {
    let kept = Kept::default();
    // With one subscriber alone, a span that another test opens first is taken for one that nobody wants.
    let _second = Dispatch::new(kept.clone());
    let _guard = set_default(kept.clone());
    let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).clock(ManualClock::new());
    let layer = layer.route("/reports/{id}", Policy::new()).build().unwrap();
    let origin = Origin::default();
    let mut cache = layer.layer(origin.clone());
    let mut leader = send(&mut cache, get("/reports/7"));
    let mut follower = send(&mut cache, get("/reports/7"));
    assert_pending!(leader.poll());
    assert_pending!(follower.poll());
    origin.reply(ok("page"));
    assert_ready_ok!(leader.poll());
    assert_ready_ok!(follower.poll());
    ask(&mut cache, get("/reports/7")).await;

    let where_it_is = r#"tenant="shared" route="/reports/{id}""#;
    let forwards = kept.lines("forward");
    assert_eq!(forwards, [format!(r#"forward cache.fwd="uri-miss" refresh=false {where_it_is}"#)]);
    assert_eq!(kept.lines("wait"), [format!("wait {where_it_is}")]);
    assert_eq!(kept.lines("store").last().unwrap(), r#"store operation="put""#);
    let (wait, forward) = (kept.number("wait"), kept.number("forward"));
    assert_eq!(kept.lines(&format!("{wait} follows")), [format!("{wait} follows from {forward}")]);
    assert_eq!(kept.lines("event"), [format!("event message=hit cache.hit=true cache.ttl=1 {where_it_is}")]);
    let said = kept.lines(&format!("of {forward}:")).join(",");
    for what in ["cache.stored=true", "cache.collapsed=false", "cache.fwd_status=200", "cache.ttl=1"] {
        assert!(said.contains(what), "{said}");
    }
    assert!(kept.lines.lock().unwrap().iter().all(|line| !line.contains("shop.example")), "no key is traced");
}
