//! What one line does: an axum service whose handler takes 100 ms, under load, without and with the cache.
//!
//! ```text
//! cargo run --release --example quickstart              # measures, then serves on http://127.0.0.1:3000
//! cargo run --release --example quickstart -- --once    # measures, then exits
//! ```
//!
//! Fifty clients, each on one connection that stays open, ask for the same page over real HTTP on the loopback
//! interface, as fast as they are answered: three seconds without the cache, three seconds with it.

use std::{
    error::Error,
    io::{IsTerminal, stderr},
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use microcache::{CacheLayer, MemoryStore};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The service as it was: every request is 100 ms of work.
fn slow_app(calls: &Calls) -> Router {
    Router::new().route("/products", get(list_products)).with_state(calls.clone())
}

/// The same service with a cache in front.
fn cached_app(calls: &Calls) -> Router {
    slow_app(calls)
        // This is the one line.
        .layer(CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)))
}

async fn list_products(State(calls): State<Calls>) -> &'static str {
    calls.fetch_add(1, Relaxed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    "apples, pears, plums\n"
}

/// How often the handler was called.
type Calls = Arc<AtomicU64>;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let is_once = match flags(std::env::args_os().skip(1).map(|flag| flag.to_string_lossy().into_owned())) {
        Ok(is_once) => is_once,
        Err(message) => {
            eprintln!("quickstart: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(is_once).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether to exit after the table, or what is wrong.
fn flags(flags: impl Iterator<Item = String>) -> Result<bool, String> {
    let mut is_once = false;
    for flag in flags {
        if flag != "--once" {
            return Err(format!("unknown flag `{flag}`"));
        }
        is_once = true;
    }
    Ok(is_once)
}

async fn run(is_once: bool) -> Result<(), Failure> {
    // Taken first: who can not serve later need not measure now.
    let public = if is_once { None } else { Some(bind_public().await?) };

    let calls = Calls::default();
    let without = measure("without the cache", slow_app(&calls), &calls).await?;
    let with = measure("with the cache", cached_app(&calls), &calls).await?;
    println!("{}", table(&without, &with));

    let Some(listener) = public else { return Ok(()) };
    println!("serving on http://{PUBLIC}/products until Ctrl-C; to see what the cache does:");
    println!("    curl -i http://{PUBLIC}/products");
    axum::serve(listener, cached_app(&calls)).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

async fn bind_public() -> Result<TcpListener, Failure> {
    TcpListener::bind(PUBLIC).await.map_err(|error| {
        format!("can not listen on {PUBLIC}: {error}\n(with `--once` it is not needed: it measures and exits)").into()
    })
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("quickstart: can not wait for Ctrl-C: {error}");
    }
}

/// What three seconds of load gave.
struct Measured {
    answers: usize,
    handler_calls: u64,
    p50: Duration,
    p99: Duration,
}

/// Serves `app` on a port of its own, and lets the clients at it.
async fn measure(name: &str, app: Router, calls: &Calls) -> Result<Measured, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let calls_before = calls.load(Relaxed);
    let answers = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(address, start + LOAD, Arc::clone(&answers)));
    }
    show_progress(name, start, &answers).await;
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client??);
    }
    server.abort();

    times.sort_unstable();
    Ok(Measured {
        answers: times.len(),
        handler_calls: calls.load(Relaxed) - calls_before,
        p50: percentile(&times, 50),
        p99: percentile(&times, 99),
    })
}

/// Asks again and again on one connection until `end`. Gives the time that each answer took.
async fn client(address: SocketAddr, end: Instant, answers: Arc<AtomicU64>) -> Result<Vec<Duration>, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    let host = address.to_string();
    let mut times = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= end {
            return Ok(times);
        }
        connection.ready().await?;
        let request = Request::get("/products").header("host", &host).body(Empty::<Bytes>::new())?;
        let response = connection.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the service answered {}", response.status()).into());
        }
        response.into_body().collect().await?;
        times.push(sent.elapsed());
        answers.fetch_add(1, Relaxed);
    }
}

/// One line that is updated on a terminal, one line a second elsewhere. Returns when the load is over.
async fn show_progress(name: &str, start: Instant, answers: &AtomicU64) {
    let is_terminal = stderr().is_terminal();
    let pause = Duration::from_millis(if is_terminal { 100 } else { 1_000 });
    let mut shown_at = start;
    while shown_at < start + LOAD {
        shown_at = (shown_at + pause).min(start + LOAD);
        tokio::time::sleep_until(shown_at.into()).await;
        let elapsed = (shown_at - start).as_secs_f32();
        let line = format!("{name:>17}: {elapsed:.1} s, {} answers", grouped(answers.load(Relaxed)));
        if is_terminal { eprint!("\r{line}") } else { eprintln!("{line}") }
    }
    if is_terminal {
        eprintln!();
    }
}

fn table(without: &Measured, with: &Measured) -> String {
    let number = |title: &str, of: fn(&Measured) -> u64| {
        format!("{title:<20}{:>19}{:>19}\n", grouped(of(without)), grouped(of(with)))
    };
    let time = |title: &str, of: fn(&Measured) -> Duration| {
        let milliseconds = |measured| format!("{:.1} ms", of(measured).as_secs_f64() * 1e3);
        format!("{title:<20}{:>19}{:>19}\n", milliseconds(without), milliseconds(with))
    };
    let mut text = format!("\n{CLIENTS} clients, {} s each, a handler that takes 100 ms\n\n", LOAD.as_secs());
    text += &format!("{:<20}{:>19}{:>19}\n", "", "without the cache", "with the cache");
    text += &number("requests answered", |measured| measured.answers as u64);
    text += &number("handler calls", |measured| measured.handler_calls);
    text += &time("p50 of the answers", |measured| measured.p50);
    text += &time("p99 of the answers", |measured| measured.p99);
    text
}

/// The smallest time that so many in a hundred do not exceed. The times are sorted.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// A number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const USAGE: &str = "usage: quickstart [--once]\n  --once  measure, print the table and exit";
const PUBLIC: &str = "127.0.0.1:3000";
const CLIENTS: usize = 50;
const LOAD: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fifty_requests_at_once_are_one_call_of_the_handler() -> Result<(), Failure> {
        let calls = Calls::default();
        let app = cached_app(&calls);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(app.clone().oneshot(Request::get("/products").body(Body::empty())?));
        }

        while let Some(answer) = clients.join_next().await {
            assert!(answer??.status().is_success());
        }
        assert_eq!(calls.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn the_only_flag_is_once() {
        let parse = |words: &[&str]| flags(words.iter().map(|word| (*word).to_owned()));

        assert_eq!(parse(&[]), Ok(false));
        assert_eq!(parse(&["--once"]), Ok(true));
        assert_eq!(parse(&["--twice"]), Err("unknown flag `--twice`".to_owned()));
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();

        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn thousands_are_grouped() {
        let table = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")];
        for (number, text) in table {
            assert_eq!(grouped(number), text);
        }
    }
}
