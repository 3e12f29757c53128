//! Leases: of the processes that miss a key, one forwards.

use std::time::Duration;

use microcache::{CacheLayer, Collapse, KeySpec, Lease, Policy, RequestHead, Store, Tenant};
use tower::Layer;

use crate::{
    common::{Does, Origin, TestCache, ask, get, reply, text},
    memcached::Memcached,
    shared::{PATIENCE, clock_of_today, far, process, settle_io, tiered},
};

const HOUR: &[(&str, &str)] = &[("cache-control", "max-age=3600")];

/// Asks every process so often at once, and gives the tasks.
pub(crate) fn stampede(processes: &[(TestCache, Origin)], each: usize) -> Vec<tokio::task::JoinHandle<String>> {
    let caches = processes.iter().flat_map(|(cache, _)| std::iter::repeat_n(cache.clone(), each));
    let one = |mut cache: TestCache| async move { text(ask(&mut cache, get("/")).await).await.unwrap() };
    caches.map(|cache| tokio::spawn(one(cache))).collect()
}

pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn forwards(processes: &[(TestCache, Origin)]) -> usize {
    processes.iter().map(|(_, origin)| origin.forwards()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_with_500_misses_each_forward_once() {
    let memcached = Memcached::start(&[]);
    let processes: Vec<_> = (0..8).map(|_| process(tiered(&memcached, Duration::from_secs(60)), patient())).collect();
    let asked = stampede(&processes, 500);
    until(|| forwards(&processes) == 1).await;
    let (_, origin) = processes.iter().find(|(_, origin)| origin.waiting() == 1).unwrap();
    origin.reply(reply(200, HOUR, "page"));

    for asked in asked {
        assert_eq!(asked.await.unwrap(), "page");
    }
    assert_eq!(forwards(&processes), 1);
}

#[tokio::test]
async fn a_lease_is_handed_back_when_its_forward_fails() {
    let memcached = Memcached::start(&[]);
    let processes: Vec<_> = (0..2).map(|_| process(far(&memcached), patient())).collect();
    let asked = stampede(&processes, 1);
    until(|| forwards(&processes) == 1).await;
    let first = usize::from(processes[1].1.waiting() == 1);
    processes[first].1.does(Does::Reply(reply(500, &[], "sick")));

    until(|| forwards(&processes) == 2).await;
    processes[1 - first].1.reply(reply(200, HOUR, "page"));
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.await.unwrap());
    }
    assert_eq!(answers[first], "sick");
    assert_eq!(answers[1 - first], "page");
}

#[tokio::test]
async fn nobody_waits_for_what_another_process_could_not_store() {
    let memcached = Memcached::start(&[]);
    let processes: Vec<_> = (0..3).map(|_| process(far(&memcached), patient())).collect();
    let asked = stampede(&processes, 1);
    until(|| forwards(&processes) == 1).await;
    for (_, origin) in &processes {
        origin.queue((0..2).map(|_| reply(200, &[("cache-control", "private")], "own")));
    }
    processes.iter().find(|(_, origin)| origin.waiting() == 1).unwrap().1.reply(reply(
        200,
        &[("cache-control", "private")],
        "own",
    ));
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "own");
    }
    assert_eq!(forwards(&processes), 3);
}

#[tokio::test]
async fn a_lease_whose_holder_is_gone_ends_by_itself() {
    let memcached = Memcached::start(&[]);
    let (one, origin) = process(far(&memcached), patient());
    let (other, elsewhere) = process(far(&memcached), patient());
    let dead = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut holder = one.clone();
    dead.spawn(async move { ask(&mut holder, get("/")).await });
    until(|| origin.waiting() == 1).await;
    // It ends as a process does that is killed: nothing is handed back.
    dead.shutdown_background();

    elsewhere.queue([reply(200, HOUR, "page")]);
    let mut other = other.clone();
    assert_eq!(text(ask(&mut other, get("/")).await).await.unwrap(), "page");
}

#[tokio::test]
async fn a_lease_is_kept_for_as_long_as_the_origin_takes() {
    let memcached = Memcached::start(&[]);
    let processes: Vec<_> = (0..2).map(|_| process(far(&memcached), patient())).collect();
    let asked = stampede(&processes, 1);
    until(|| forwards(&processes) == 1).await;
    // Longer than it lives when nobody renews it.
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert_eq!(forwards(&processes), 1);

    processes.iter().find(|(_, origin)| origin.waiting() == 1).unwrap().1.reply(reply(200, HOUR, "page"));
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "page");
    }
    assert_eq!(forwards(&processes), 1);
}

#[tokio::test]
async fn a_process_whose_origin_hangs_is_replaced_after_the_lock_age() {
    let memcached = Memcached::start(&[]);
    let collapse = Collapse::new().wait_at_most(Duration::from_secs(60)).lock_age(Duration::from_secs(1));
    let processes: Vec<_> =
        (0..2).map(|_| process(far(&memcached), Policy::new().collapse(collapse.clone()))).collect();
    let asked = stampede(&processes, 1);
    until(|| forwards(&processes) == 1).await;
    let first = usize::from(processes[1].1.waiting() == 1);

    until(|| forwards(&processes) == 2).await;
    for number in [1 - first, first] {
        processes[number].1.reply(reply(200, HOUR, "page"));
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "page");
    }
}

#[tokio::test]
async fn a_lease_that_was_renewed_is_handed_back_at_once() {
    let memcached = Memcached::start(&[]);
    let store = far(&memcached);
    let request = get("/");
    let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::shared()).unwrap();
    let granted = async || matches!(store.lease(&key, PATIENCE).await, Ok(Lease::Granted(_)));
    let lease = store.lease(&key, PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!granted().await);

    drop(lease);
    // Less than it lives for by itself.
    let free = async {
        while !granted().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(900), free).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_processes_that_serve_stale_one_refreshes() {
    let memcached = Memcached::start(&[]);
    let policy = || {
        let patient = Collapse::new().lock_age(Duration::from_secs(60));
        Policy::new().stale_while_revalidate(Duration::from_secs(600)).collapse(patient)
    };
    for near_freshness in [Duration::ZERO, Duration::from_secs(60)] {
        let clock = clock_of_today();
        let processes: Vec<_> = (0..8)
            .map(|_| {
                let builder = CacheLayer::builder(tiered(&memcached, near_freshness)).policy(policy());
                let layer = builder.clock(clock.clone()).store_deadline(PATIENCE).build().unwrap();
                let origin = Origin::default();
                (layer.layer(origin.clone()), origin)
            })
            .collect();
        let path = format!("/{}", near_freshness.as_secs());
        processes[0].1.queue([reply(200, &[("cache-control", "max-age=1")], "old")]);
        for (cache, _) in &processes {
            assert_eq!(text(ask(&mut cache.clone(), get(&path)).await).await.unwrap(), "old");
        }
        settle_io().await;
        clock.advance(Duration::from_secs(10));

        let everybody = async || {
            let mut answers = Vec::new();
            for (cache, _) in &processes {
                answers.push(text(ask(&mut cache.clone(), get(&path)).await).await.unwrap());
            }
            settle_io().await;
            answers
        };
        for _ in 0..3 {
            assert_eq!(everybody().await, ["old"; 8]);
        }
        assert_eq!(forwards(&processes), 2, "{near_freshness:?}");
        let refreshing = processes.iter().find(|(_, origin)| origin.waiting() == 1).unwrap();
        refreshing.1.reply(reply(200, HOUR, "new"));
        settle_io().await;
        // Who has a stale copy near asks for the lease, and finds what has come.
        everybody().await;
        assert_eq!(everybody().await, ["new"; 8]);
        assert_eq!(forwards(&processes), 2, "{near_freshness:?}");
    }
}

#[tokio::test]
async fn without_leases_each_process_forwards_once() {
    let memcached = Memcached::start(&[]);
    let policy = || Policy::new().collapse(Collapse::new().without_leases());
    let processes: Vec<_> = (0..3).map(|_| process(far(&memcached), policy())).collect();
    let asked = stampede(&processes, 10);
    until(|| forwards(&processes) == 3).await;
    for (_, origin) in &processes {
        origin.reply(reply(200, HOUR, "page"));
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "page");
    }
}

/// Waits for longer than any machine takes.
pub(crate) fn patient() -> Policy {
    Policy::new().collapse(Collapse::new().wait_at_most(Duration::from_secs(60)).lock_age(Duration::from_secs(60)))
}
