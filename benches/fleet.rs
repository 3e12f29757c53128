//! How much of it reaches the origin, and how soon is all well again, with up to 1,000 nodes?
//!
//! Every node is real: the cache with its flights, its near tier, fences, leases, breakers and deadlines, and the protocol
//! to memcached, byte by byte. Simulated are the time, which costs nothing, the network (a reply takes a millisecond, and
//! who is cut off hears nothing), the servers (items that expire as memcached's do, never full), the origin (100 ms)
//! and the clients (at random, few keys the most popular). Nodes and servers compute in no time, and clocks agree. Ends
//! with what was found, and fails if that is not what was promised. What clients ask follows from the seed; the
//! jitter of nodes is their own.
//!
//! ```text
//! cargo bench --features memcached,test-util --bench fleet -- --nodes 1000 --keys 100 --seed 1
//! ```

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod common;
#[path = "../tests/fleet/findings.rs"]
mod findings;
#[path = "../tests/fleet/network.rs"]
mod network;
#[path = "../tests/fleet/node.rs"]
mod node;
#[path = "../tests/fleet/records.rs"]
mod records;
#[path = "../tests/fleet/run.rs"]
mod run;
#[path = "../tests/fleet/server.rs"]
mod server;
#[path = "../tests/common/zipf.rs"]
mod zipf;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use common::{table::Table, timing::argument};
use findings::{Died, Findings, Gone, Purged, Spread, Steady};
use run::Settings;

fn main() -> ExitCode {
    let number = |name, default| argument(name).map_or(default, |number| number.replace('_', "").parse().unwrap());
    let (most, keys): (usize, usize) = (number("--nodes", 1_000), number("--keys", 100));
    let seed = argument("--seed").map_or(1, |seed| seed.parse().unwrap());
    let mut sizes: Vec<usize> = [1, 10, 100, 1_000].into_iter().filter(|nodes| *nodes < most).collect();
    sizes.push(most);
    let began = Instant::now();
    let mut found = Vec::new();
    for (nodes, leases) in sizes.into_iter().flat_map(|nodes| [(nodes, true), (nodes, false)]) {
        let settings = Settings { nodes, servers: 3, keys, requests_a_second: 20.0, leases, seed };
        let findings = Findings::of(&run::run(settings));
        eprintln!("{nodes} nodes, leases {}: after {:.0?}", on(leases), began.elapsed());
        for broken in findings.broken.iter().take(10) {
            eprintln!("  {broken}");
        }
        found.push((settings, findings));
    }
    print(&found);
    let is_all_well = found.iter().all(|(_, findings)| findings.broken.is_empty());
    if is_all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(found: &[(Settings, Findings)]) {
    table(
        "the steady state, forwards a second for one key: the hottest, the most, the mean; asks for the hottest",
        &["requests/s", "hottest", "model", "most", "mean", "asks/s", "model"],
        found,
        |settings, Findings { steady, .. }| {
            let Steady { requests_a_second, hottest, most, mean, lookups } = steady;
            let elected = if settings.leases { 1 } else { settings.nodes };
            let model = [elected.to_string(), settings.nodes.to_string()];
            let [elected, asks] = model;
            let first = [format!("{requests_a_second:.0}"), rate(*hottest), elected];
            first.into_iter().chain([rate(*most), rate(*mean), rate(*lookups), asks]).collect()
        },
    );
    table(
        "the server of the hottest key is gone, and comes back: forwards a second, for that key and for all",
        &["its keys", "hottest", "model", "all", "before", "slowest", "waits p50", "max", "back p50", "max"],
        found,
        |settings, Findings { gone, .. }| {
            let Gone { keys, hottest, all, all_before, slowest, waited, heard } = gone;
            let first = [keys.to_string(), rate(*hottest), settings.nodes.to_string(), rate(*all), rate(*all_before)];
            first.into_iter().chain([millis(*slowest)]).chain(spread(waited)).chain(spread(heard)).collect()
        },
    );
    table(
        "a tenth of the nodes dies in mid-forward: until what they held is refreshed, the slowest answer, forwards a second",
        &["dead", "held", "longest", "slowest", "all", "before"],
        found,
        |_, Findings { died, .. }| {
            let Died { nodes, orphans, longest, all, all_before, slowest } = died;
            let first = [nodes.to_string(), orphans.to_string(), millis(*longest), millis(*slowest)];
            first.into_iter().chain([rate(*all), rate(*all_before)]).collect()
        },
    );
    table(
        "all is purged: when each node gives its last old answer, and forwards for each key until then",
        &["purge took", "old p50", "max", "forwards"],
        found,
        |_, Findings { purged, .. }| {
            let Purged { took, old, forwards } = purged;
            let first = [millis(Some(*took))];
            first.into_iter().chain(spread(old)).chain([rate(*forwards)]).collect()
        },
    );
}

type Row = fn(&Settings, &Findings) -> Vec<String>;

fn table(title: &str, head: &[&str], found: &[(Settings, Findings)], row: Row) {
    let mut table = Table::new(&[&["nodes", "leases"], head].concat());
    for (settings, findings) in found {
        let first = [settings.nodes.to_string(), on(settings.leases).to_owned()];
        table.row(first.into_iter().chain(row(settings, findings)));
    }
    table.print(title);
}

fn on(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn rate(a_second: f64) -> String {
    format!("{a_second:.2}")
}

fn spread(Spread { median, most }: &Spread) -> [String; 2] {
    [millis(*median), millis(*most)]
}

fn millis(duration: Option<Duration>) -> String {
    duration.map_or("-".to_owned(), |duration| format!("{} ms", duration.as_millis()))
}
