//! What of a hit is what: each part on its own, and how much of the whole that leaves.

use std::hint::black_box;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use microcache::{CacheLayer, KeySpec, MemoryStore, Peek, RequestHead, Store, Tenant};
use tower::Layer;

use crate::{
    common::{
        exchange::{Prepared, exchange, get, varied_reply},
        timing::{Case, Times},
    },
    page::{self, grouped},
    turns::in_turn,
};

pub fn table() -> String {
    let times: Vec<f64> = in_turn(&mut cases()).iter().map(Times::median).collect();
    let &[bare, floor, key, peek, hit] = &times[..] else { return String::new() };
    let part = |name: &str, part: f64| vec![name.to_owned(), grouped(part), format!("{:.0} %", part / hit * 100.0)];
    let rows = [
        part("the request dropped, the body handed out and read", bare),
        part("twelve fields cloned and dropped", floor - bare),
        part("the key made", key),
        part("the store asked", peek),
        part("the rest: may it be reused, `Age`, `Cache-Status`, counting", hit - floor - key - peek),
        part("a hit", hit),
    ];
    page::table(&["part of a hit, 1 KiB", "ns", "share"], &rows)
}

fn cases() -> Vec<Case<'static>> {
    let body = Bytes::from(vec![b'x'; 1 << 10]);
    let reply = varied_reply(body.clone(), "public, max-age=3600", "");
    let mut bare = Prepared::new(Response::new(Full::new(body)));
    let mut floor = Prepared::new(reply.clone());

    let store = MemoryStore::with_max_bytes(64 << 20);
    let mut cache = CacheLayer::new(store.clone()).layer(Prepared::new(reply));
    exchange(&mut cache, get());
    let (spec, tenant, asked) = (KeySpec::new(), Tenant::shared(), get());
    let key = spec.key(RequestHead::of(&asked), &tenant).unwrap();
    assert!(matches!(store.peek(&key), Peek::Found(_)));

    let make_key = move |()| drop(black_box(spec.key(RequestHead::of(&asked), &tenant)));
    vec![
        Case::new("bare", get, move |ask| exchange(&mut bare, ask)),
        Case::new("floor", get, move |ask| exchange(&mut floor, ask)),
        Case::new("key", || (), make_key),
        Case::new("peek", || (), move |()| drop(black_box(store.peek(&key)))),
        Case::new("hit", get, move |ask| exchange(&mut cache, ask)),
    ]
}
