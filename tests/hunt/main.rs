//! The hunt for leaks: many tenants, users, variants, aborts, changes and failures at once, over small alphabets, and a
//! checker that knows what the origin said. `benches/hunt.rs` is the same for as many answers as one likes.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod body;
mod caches;
mod checker;
mod content;
mod endings;
mod history;
mod leaks;
#[expect(dead_code, reason = "each crate of tests uses its part")]
#[path = "../common/memcached.rs"]
mod memcached;
mod operator;
mod origin;
mod run;
mod tally;
mod world;

use std::ops::RangeInclusive;

use crate::{leaks::Leak, memcached::Memcached, run::Round, tally::Tally};

const CLIENTS: u64 = 64;

/// Of rounds in which everything happens.
const SEEDS: RangeInclusive<u64> = 21..=28;

fn round(seed: u64, requests: u64) -> Round {
    Round { seed, requests, clients: CLIENTS, memcached: None, leak: None }
}

async fn run(rounds: impl IntoIterator<Item = Round>) -> Tally {
    let mut tally = Tally::default();
    for round in rounds {
        tally.add(run::run(round).await);
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_no_answer_is_one_that_its_request_must_not_have() {
    let tally = run(SEEDS.map(|seed| round(seed, 64))).await;

    assert!(tally.violations.is_empty(), "{}", tally.report());
    // All of it happens, or the hunt has nothing to find.
    for name in [
        "purges of all",
        "purges of a tenant",
        "purges of a tag",
        "purges of a URL",
        "purges of a request",
        "hard purges",
        "soft purges",
        "hits of a principal",
        "answers",
        "hits",
        "stale hits",
        "stale if error",
        "collapsed",
        "confirmed",
        "304",
        "206",
        "416",
        "errors",
        "panics",
        "left",
        "broken bodies",
        "bodies half read",
        "trailers",
        "changes",
        "fenced",
        "overflows",
    ] {
        assert!(tally.of(name) > 0, "{name}: {:?}", tally.counts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_where_two_processes_share_a_memcached() {
    let memcached = Memcached::start(&[]);
    let rounds = (1..=4).map(|seed| Round { memcached: Some(memcached.address()), ..round(seed, 32) });

    let tally = run(rounds).await;

    assert!(tally.violations.is_empty(), "{}", tally.report());
    for name in ["hits", "stored", "purges elsewhere", "hard purges", "soft purges", "hits of a principal"] {
        assert!(tally.of(name) > 0, "{name}: {:?}", tally.counts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_leak_that_is_planted_is_found() {
    for leak in Leak::ALL {
        let mut tally = Tally::default();
        for seed in 1..=ROUNDS_TO_FIND {
            tally.add(run::run(Round { leak: Some(leak), ..round(seed, 64) }).await);
            if leak.breaks().is_none_or(|rule| tally.violations.contains_key(&rule)) {
                break;
            }
        }
        match leak.breaks() {
            Some(rule) => assert!(tally.violations.contains_key(&rule), "{leak:?} is not found: {}", tally.report()),
            None => assert!(tally.violations.is_empty(), "{leak:?}: {}", tally.report()),
        }
    }
}

/// The first is enough, most of the time.
const ROUNDS_TO_FIND: u64 = 12;
