//! Computations without HTTP that several processes share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use microcache::{CacheHandle, CacheLayer, Tenant};
use tokio::sync::Semaphore;

use crate::{
    lease::until,
    memcached::Memcached,
    shared::{PATIENCE, tiered},
};

fn process(memcached: &Memcached) -> CacheHandle {
    CacheLayer::builder(tiered(memcached, PATIENCE)).store_deadline(PATIENCE).build().unwrap().handle()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_processes_one_computes_and_the_others_find_its_value() {
    let memcached = Memcached::start(&[]);
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let ask = || {
        let (handle, begun, go) = (process(&memcached), Arc::clone(&begun), Arc::clone(&go));
        let compute = move || async move {
            let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
            // The first one fails.
            go.acquire().await.unwrap().forget();
            if number == 1 { Err(()) } else { Ok(Bytes::from_static(b"value")) }
        };
        let minute = Duration::from_secs(60);
        tokio::spawn(async move { handle.get_or_compute(&Tenant::named("acme"), &["a b"], minute, compute).await })
    };
    let asked: Vec<_> = (0..4).map(|_| ask()).collect();
    until(|| begun.load(Ordering::SeqCst) == 1).await;
    go.add_permits(1);
    until(|| begun.load(Ordering::SeqCst) == 2).await;
    go.add_permits(1);

    let mut failures = 0;
    for asked in asked {
        match asked.await.unwrap() {
            Ok(value) => assert_eq!(value, "value"),
            Err(()) => failures += 1,
        }
    }
    assert_eq!((failures, begun.load(Ordering::SeqCst)), (1, 2));
    assert_eq!(ask().await.unwrap().unwrap(), "value", "a process that comes later finds it");
    assert_eq!(begun.load(Ordering::SeqCst), 2);
}
