//! Measures each of the fronts in turn, several times, and prints one table. With `--write` the table goes to the page
//! on performance, and a picture of ten seconds to `docs/requests.svg`. `benches/http/run` builds and starts it.

mod fronts;
mod left;
mod load;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/page.rs"]
mod page;
mod picture;
mod process;

use std::{env, io, process::Command};

use fronts::{Front, Fronts};
use load::Asked;
use page::grouped;

fn main() -> io::Result<()> {
    let (rounds, seconds) = (number("--rounds", 3), number("--seconds", 5));
    let work = fronts::calibrated()?;
    let mut text = format!(
        "Measured on {}; load {} at the start. {}. {rounds} rounds of {seconds} s each, medians.\n\n",
        machine::machine(),
        machine::load(),
        versions(),
    );
    text += &measured(&Fronts::start(&work)?, rounds, seconds)?;
    text += &left::measured(&work, rounds, seconds)?;
    page::publish("http", &text);
    if env::args().any(|argument| argument == "--write") {
        eprintln!("ten seconds for the picture");
        picture::draw(&picture::samples("bare", &work)?, &picture::samples("cached", &work)?)?;
    }
    Ok(())
}

/// Some seconds of load on one front.
struct Round {
    per_second: f64,
    per_core: f64,
    calls: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

fn measured(fronts: &Fronts, rounds: u64, seconds: u64) -> io::Result<String> {
    let mut all: Vec<Vec<Round>> = fronts.all.iter().map(|_| Vec::new()).collect();
    for number in 1..=rounds {
        for (front, rounds) in fronts.all.iter().zip(&mut all) {
            eprintln!("round {number}: {}", front.name);
            // What was stored in an earlier round is stale, and connections to the handler may have been closed.
            load::wrk(front.address, Asked::Page, 1)?;
            rounds.push(round(fronts, front, seconds)?);
        }
    }
    let best = median(&all[0], |round| round.per_second);
    let rows = fronts.all.iter().zip(&all).map(|(front, rounds)| {
        let per_second = median(rounds, |round| round.per_second);
        vec![
            front.name.to_owned(),
            grouped(per_second),
            format!("{:.0} %", per_second / best * 100.0),
            grouped(median(rounds, |round| round.per_core)),
            format!("{:.2}", median(rounds, |round| round.p50)),
            format!("{:.2}", median(rounds, |round| round.p99)),
            format!("{:.1}", median(rounds, |round| round.max)),
            format!("{:.1}", median(rounds, |round| round.calls)),
        ]
    });
    Ok(page::table(&HEAD, &rows.collect::<Vec<_>>()) + &ratios(&all))
}

/// What a core does with the cache in the process, and with that of the proxy, next to what it does with the others.
fn ratios(all: &[Vec<Round>]) -> String {
    let per_core = |place: usize| all.get(place).map_or(f64::NAN, |rounds| median(rounds, |round| round.per_core));
    let mut text = "\nRequests/s per core".to_owned();
    for (name, place) in [("axum + microcache", fronts::CACHED), ("`reverse_proxy`", fronts::PROXY)] {
        let times = |other: usize| per_core(place) / per_core(other);
        text += &format!(
            "; {name}: {:.1} x nginx ({:.1} x with `open_file_cache`), {:.1} x Varnish",
            times(fronts::NGINX),
            times(fronts::NGINX_OPEN),
            times(fronts::VARNISH),
        );
    }
    text.replacen(';', ",", 1) + ".\n"
}

fn round(fronts: &Fronts, front: &Front, seconds: u64) -> io::Result<Round> {
    let handler = fronts.handler(front);
    let (cpu, calls) = (fronts.cpu_seconds(front), load::counts(handler)?.1);
    let load = load::wrk(front.address, Asked::Page, seconds)?;
    let (cpu, calls) = (fronts.cpu_seconds(front) - cpu, load::counts(handler)?.1 - calls);
    Ok(Round {
        per_second: load.requests / load.seconds,
        per_core: load.requests / cpu,
        calls: calls as f64 / load.seconds,
        p50: load.p50,
        p99: load.p99,
        max: load.max,
    })
}

fn median(rounds: &[Round], of: fn(&Round) -> f64) -> f64 {
    middle(rounds.iter().map(of).collect())
}

/// The median.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The number after `name`.
fn number(name: &str, otherwise: u64) -> u64 {
    let Some(text) = env::args().skip_while(|argument| argument != name).nth(1) else { return otherwise };
    text.parse().ok().filter(|number| *number > 0).unwrap_or_else(|| panic!("{name} takes a number from 1 on"))
}

/// What the others are, each in a few words of its own.
fn versions() -> String {
    let told = |program: &str, flag: &str| {
        let output = Command::new(program).arg(flag).output();
        let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    };
    let nginx = told("nginx", "-v").replace("nginx version: nginx/", "nginx ");
    let varnish = told("varnishd", "-V");
    let varnish = varnish.split_once("varnish-").map_or("?", |(_, rest)| rest.split(' ').next().unwrap_or(rest));
    let wrk = told("wrk", "-v");
    let wrk = wrk.split([' ', '/', '-']).find(|word| word.starts_with(|digit: char| digit.is_ascii_digit()));
    let wrk = wrk.unwrap_or("?");
    format!("{nginx}, Varnish {varnish}, wrk {wrk}")
}

const HEAD: [&str; 8] = [
    "64 connections",
    "requests/s",
    "of static",
    "requests/s per core",
    "p50 ms",
    "p99 ms",
    "max ms",
    "handler calls/s",
];
