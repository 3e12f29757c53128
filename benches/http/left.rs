//! What the cache costs where it has nothing to give: requests that it leaves alone, and misses.

use std::io;

use crate::{
    fronts::server,
    load::{self, Asked},
    middle,
    page::{grouped, table},
    process::{Process, free_address},
};

/// Each kind of request, to a service without the cache and the same with it, in turns.
pub fn measured(work: &str, rounds: u64, seconds: u64) -> io::Result<String> {
    let mut rows = Vec::new();
    for (name, modes, asked) in KINDS {
        let addresses = [free_address()?, free_address()?];
        let servers = [
            Process::start(server(modes[0], addresses[0], work), addresses[0])?,
            Process::start(server(modes[1], addresses[1], work), addresses[1])?,
        ];
        let (mut bare, mut cached, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=rounds {
            eprintln!("round {number}: {name}");
            let per_core = |place: usize| {
                let cpu = servers[place].cpu_seconds();
                let load = load::wrk(addresses[place], asked, seconds)?;
                io::Result::Ok(load.requests / (servers[place].cpu_seconds() - cpu))
            };
            let (without, with) = (per_core(0)?, per_core(1)?);
            bare.push(without);
            cached.push(with);
            shares.push(with / without);
        }
        let (without, with) = (middle(bare), middle(cached));
        rows.push(vec![
            name.to_owned(),
            grouped(without),
            grouped(with),
            format!("{:.1} %", middle(shares) * 100.0),
            format!("{:.1}", (1.0 / with - 1.0 / without) * 1e6),
        ]);
    }
    Ok("\n".to_owned() + &table(&HEAD, &rows))
}

const KINDS: [(&str, [&str; 2], Asked); 4] = [
    ("OPTIONS, left alone; an answer that is ready", ["static", "static-cached"], Asked::Options),
    ("POST, which ends what is stored; the same", ["static", "static-cached"], Asked::Post),
    ("each GET a miss; an answer that is ready", ["static", "static-cached"], Asked::Others),
    ("each GET a miss; a handler of 2 ms", ["bare", "cached"], Asked::Others),
];

const HEAD: [&str; 5] =
    ["requests/s per core, 64 connections", "without the cache", "with it", "of that", "µs more per request"];
