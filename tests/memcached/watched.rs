//! What an operator sees of servers that fail and come back.

use std::time::Duration;

use microcache::{BreakerState, CacheLayer, Event, Happened};
use tower::Layer;

use crate::{
    common::Origin,
    fault::{answers, recovers},
    memcached::Memcached,
    shared::far,
};

fn of_servers(happened: &[Happened]) -> Vec<&Event> {
    let is_of_servers = |event: &&Event| matches!(event, Event::BreakerOpened { .. } | Event::BreakerClosed { .. });
    happened.iter().map(|happened| &happened.event).filter(is_of_servers).collect()
}

#[tokio::test]
async fn a_server_that_fails_is_told_of_once_and_so_is_its_return() {
    let mut memcached = Memcached::start(&[]);
    let layer = CacheLayer::new(far(&memcached));
    let (handle, origin) = (layer.handle(), Origin::default());
    let mut cache = layer.layer(origin.clone());
    answers(&mut cache, &origin, "/first").await;
    let state = || handle.stats().servers.into_iter().map(|one| (one.server, one.breaker)).collect::<Vec<_>>();
    assert_eq!(state(), [(memcached.address(), BreakerState::Closed)]);

    memcached.kill();
    for number in 0..50 {
        answers(&mut cache, &origin, &format!("/{number}")).await;
        // Long enough for some probes to fail, too.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_ne!(state()[0].1, BreakerState::Closed);
    let opened = Event::BreakerOpened { server: memcached.address() };
    assert_eq!(of_servers(&handle.events(0)), [&opened]);

    memcached.restart();
    recovers(&mut cache, &origin).await;
    assert_eq!(state(), [(memcached.address(), BreakerState::Closed)]);
    let closed = Event::BreakerClosed { server: memcached.address() };
    assert_eq!(of_servers(&handle.events(0)), [&opened, &closed]);
    assert_eq!(handle.stats().store.bytes, None, "it does not know");
}
