//! Leases: of the processes that miss a key, one forwards.

use std::time::Duration;

use microcache::{Collapse, Policy};

use crate::{
    common::{Does, Origin, TestCache, ask, get, reply, text},
    memcached::Memcached,
    shared::{far, process, tiered},
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
