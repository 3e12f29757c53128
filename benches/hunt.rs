//! Is there any answer, among as many as one likes, that its request must not have had?
//!
//! Rounds of 51,200 requests, each with a cache and settings of its own by its seed; one round in ten is two caches on one
//! memcached. Ends with what was found, and fails if that is anything. What clients ask follows from the seed; what the
//! threads make of it is theirs. Ten million answers:
//!
//! ```text
//! cargo bench --features memcached --bench hunt -- --answers 10000000 --seed 1
//! ```

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench may panic")]

#[path = "../tests/hunt/body.rs"]
mod body;
#[path = "../tests/hunt/caches.rs"]
mod caches;
#[path = "../tests/hunt/checker.rs"]
mod checker;
mod common;
#[path = "../tests/hunt/content.rs"]
mod content;
#[path = "../tests/hunt/endings.rs"]
mod endings;
#[path = "../tests/hunt/history.rs"]
mod history;
#[expect(dead_code, reason = "nothing is planted here")]
#[path = "../tests/hunt/leaks.rs"]
mod leaks;
#[expect(dead_code, reason = "a bench uses its part")]
#[path = "../tests/common/memcached.rs"]
mod memcached;
#[path = "../tests/hunt/operator.rs"]
mod operator;
#[path = "../tests/hunt/origin.rs"]
mod origin;
#[path = "../tests/hunt/run.rs"]
mod run;
#[path = "../tests/hunt/tally.rs"]
mod tally;
#[path = "../tests/hunt/world.rs"]
mod world;

use std::{process::ExitCode, time::Instant};

use common::{table::Table, timing::argument};
use memcached::Memcached;
use run::Round;
use tally::Tally;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let number = |name, default| argument(name).map_or(default, |number| number.replace('_', "").parse().unwrap());
    let (answers, mut seed): (u64, u64) = (number("--answers", 200_000), number("--seed", 1));
    let memcached = Memcached::start(&[]);
    // More than there may be cores, so that they are interrupted anywhere.
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (began, mut tally) = (Instant::now(), Tally::default());
    while tally.of("answers") < answers && tally.violations.is_empty() {
        let shared = (seed % 10 == 0).then(|| memcached.address());
        let name = if shared.is_some() { "answers over memcached" } else { "answers from memory" };
        let round = Round { seed, requests: 800, clients: 64, memcached: shared, leak: None };
        let found = runtime.block_on(run::run(round));
        tally.count(name, found.of("answers"));
        tally.add(found);
        if seed % 20 == 0 {
            eprintln!("{} answers after {:.0?}", tally.of("answers"), began.elapsed());
        }
        seed += 1;
    }
    let mut table = Table::new(&["what", "how often"]);
    for (name, count) in &tally.counts {
        table.row(vec![(*name).to_owned(), count.to_string()]);
    }
    table.row(vec![
        "violations".to_owned(),
        tally.violations.values().map(|found| found.count).sum::<u64>().to_string(),
    ]);
    table.print(&format!("{:.0?}, seeds up to {}", began.elapsed(), seed - 1));
    eprint!("{}", tally.report());
    if tally.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
