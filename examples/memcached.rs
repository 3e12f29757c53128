//! Several processes, one cache: the memory of each in front of memcached servers that all of them share.
//!
//! ```text
//! cargo run --example memcached              # serves on http://127.0.0.1:3000 until Ctrl-C
//! cargo run --example memcached -- --once    # shows what two processes see, exits
//! ```
//!
//! `--servers HOST:PORT,HOST:PORT` names the servers. Without it the example starts a memcached of its own on a free
//! port, and ends it at the end; `scripts/memcached` installs one.
//!
//! What `--once` shows in one process holds for two as well: its two caches know of each other through memcached alone.

use std::{
    error::Error,
    io::ErrorKind,
    process::{ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Method, Request},
    routing::get,
};
use microcache::{CacheHandle, CacheLayer, ConfigError, MemcachedStore, MemoryStore, Tiered};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tower::ServiceExt;

type Failure = Box<dyn Error + Send + Sync>;

/// The price of a pear, in cents: what all processes have from one database.
type Price = Arc<AtomicU32>;

/// What is the same in all processes of a fleet, or they do not find what the others have stored.
struct Fleet {
    servers: Vec<String>,
    namespace: String,
    /// How long memcached may take for one operation.
    deadline: Duration,
}

/// One process.
fn app(fleet: &Fleet, price: &Price) -> Result<(Router, CacheHandle), ConfigError> {
    let far = MemcachedStore::builder(&fleet.servers).namespace(&fleet.namespace).deadline(fleet.deadline).build()?;
    let near = MemoryStore::with_max_bytes(64 << 20);
    let cache = CacheLayer::builder(Tiered::new(near, far).near_freshness(NEAR_FRESHNESS))
        // Longer than one operation, so that it is the store that knows which server is slow.
        .store_deadline(fleet.deadline + Duration::from_millis(10))
        .build()?;
    let handle = cache.handle();
    let pears = get(tell_price).put(raise_price);
    Ok((Router::new().route("/pears", pears).with_state(Arc::clone(price)).layer(cache), handle))
}

async fn tell_price(State(price): State<Price>) -> ([(&'static str, &'static str); 1], String) {
    ([("cache-control", "max-age=60")], format!("{} cents", price.load(Ordering::SeqCst)))
}

async fn raise_price(State(price): State<Price>) -> String {
    format!("{} cents", price.fetch_add(1, Ordering::SeqCst) + 1)
}

#[tokio::main]
async fn main() -> ExitCode {
    let asked = match flags(std::env::args_os().skip(1).map(|flag| flag.to_string_lossy().into_owned())) {
        Ok(asked) => asked,
        Err(message) => {
            eprintln!("memcached: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(asked).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memcached: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Asked {
    is_once: bool,
    /// None: one of our own.
    servers: Option<Vec<String>>,
}

/// What was asked for, or what is wrong.
fn flags(mut flags: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    while let Some(flag) = flags.next() {
        match flag.as_str() {
            "--once" => asked.is_once = true,
            "--servers" => {
                let servers = flags.next().ok_or("--servers needs a value")?;
                asked.servers = Some(servers.split(',').map(str::to_owned).collect());
            }
            _ => return Err(format!("unknown flag `{flag}`")),
        }
    }
    Ok(asked)
}

async fn run(asked: Asked) -> Result<(), Failure> {
    // Ended when this returns.
    let mut own = None;
    let servers = match asked.servers {
        Some(servers) => servers,
        None => vec![own.insert(OwnMemcached::start().await?).address.clone()],
    };
    println!("memcached: {}{}", servers.join(", "), if own.is_some() { " (started for this)" } else { "" });
    if asked.is_once {
        // A name of its own: what an earlier run has left there does not count. And more patience than a fleet would
        // have, so that it does not depend on the machine's mood what is shown.
        let namespace = format!("once-{}", std::process::id());
        return show(&Fleet { servers, namespace, deadline: Duration::from_secs(1) }).await;
    }
    let fleet = Fleet { servers, namespace: "pears".to_owned(), deadline: Duration::from_millis(40) };
    let (app, _) = app(&fleet, &Price::new(AtomicU32::new(50)))?;
    serve(app).await
}

async fn serve(app: Router) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("serving on http://{0}/pears until Ctrl-C; to see what the cache does:", listener.local_addr()?);
    println!("    curl -i http://127.0.0.1:3000/pears           # a forward, then hits");
    println!("    curl -i -X PUT http://127.0.0.1:3000/pears    # raises the price, and ends what is stored");
    println!("with --servers it is a hit even after this program was started again.");
    tokio::select! {
        ended = axum::serve(listener, app) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn show(fleet: &Fleet) -> Result<(), Failure> {
    let price = Price::new(AtomicU32::new(50));
    let (one, one_says) = app(fleet, &price)?;
    let (other, other_says) = app(fleet, &price)?;

    println!("\nprocess  request     answer    what the cache did");
    for answer in tell(&one, &other).await? {
        println!("{answer}");
    }
    let failed = one_says.stats().store_errors + other_says.stats().store_errors;
    if failed > 0 {
        println!("\n{failed} operations failed: is memcached there? Each cost a forward at most, and no answer.");
    }
    Ok(())
}

/// What two processes answer, in the order in which they are asked.
async fn tell(one: &Router, other: &Router) -> Result<Vec<String>, Failure> {
    let mut answers = vec![
        ask("one", one, Method::GET).await?,
        ask("other", other, Method::GET).await?,
        ask("one", one, Method::PUT).await?,
        // Its memory may still answer, but for no longer than the near freshness.
        ask("other", other, Method::GET).await?,
    ];
    tokio::time::sleep(NEAR_FRESHNESS).await;
    answers.push(format!("         ({} ms later)", NEAR_FRESHNESS.as_millis()));
    answers.push(ask("other", other, Method::GET).await?);
    answers.push(ask("one", one, Method::GET).await?);
    Ok(answers)
}

async fn ask(name: &str, process: &Router, method: Method) -> Result<String, Failure> {
    let request = Request::builder().method(&method).uri("/pears").header("host", "shop.example");
    let response = process.clone().oneshot(request.body(Body::empty())?).await?;
    let said = response.headers().get("cache-status").map_or(Ok("not looked up"), |value| value.to_str())?.to_owned();
    let answer = to_bytes(response.into_body(), 1 << 10).await?;
    Ok(format!("{name:<7}  {method:<3} /pears  {}  {said}", String::from_utf8_lossy(&answer)))
}

/// A memcached that ends with this program.
struct OwnMemcached {
    _process: Child,
    address: String,
}

impl OwnMemcached {
    async fn start() -> Result<Self, Failure> {
        for _ in 0..5 {
            // Free a moment ago. Somebody else may have taken it since: then the next one is tried.
            let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
            if let Some(started) = Self::start_on(port).await? {
                return Ok(started);
            }
        }
        Err("memcached ends as soon as it is started; name servers with --servers HOST:PORT".into())
    }

    /// None if it ends at once.
    async fn start_on(port: u16) -> Result<Option<Self>, Failure> {
        let mut command = Command::new("memcached");
        // The user counts only when root starts it, which it refuses otherwise.
        command.args(["-l", "127.0.0.1", "-U", "0", "-u", "root", "-p", &port.to_string()]);
        let spawned = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let mut process = spawned.map_err(|error| match error.kind() {
            ErrorKind::NotFound => "memcached is not installed: run scripts/memcached, which installs it, or name \
                servers with --servers HOST:PORT"
                .into(),
            _ => format!("memcached could not be started: {error}"),
        })?;
        let address = format!("127.0.0.1:{port}");
        for _ in 0..500 {
            let is_up = TcpStream::connect(&address).await.is_ok();
            if process.try_wait()?.is_some() {
                return Ok(None);
            }
            if is_up {
                return Ok(Some(Self { _process: process, address }));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("memcached does not answer on {address}").into())
    }
}

const USAGE: &str = "\
usage: memcached [--once] [--servers HOST:PORT[,HOST:PORT..]]
  --once     show what two processes on one memcached see, and exit
  --servers  use these; without it a memcached is started for this";

/// How long the memory of a process answers before memcached is asked again.
const NEAR_FRESHNESS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes on these servers, with more patience than any machine needs.
    fn two(servers: &[String]) -> Result<[Router; 2], Failure> {
        let (servers, namespace) = (servers.to_vec(), "test".to_owned());
        let fleet = Fleet { servers, namespace, deadline: Duration::from_secs(5) };
        let price = Price::new(AtomicU32::new(50));
        Ok([app(&fleet, &price)?.0, app(&fleet, &price)?.0])
    }

    #[tokio::test]
    async fn what_one_process_forwards_is_a_hit_in_the_other_until_one_of_them_ends_it() -> Result<(), Failure> {
        let memcached = OwnMemcached::start().await?;
        let [one, other] = two(std::slice::from_ref(&memcached.address))?;

        let answers = tell(&one, &other).await?;

        assert!(answers[0].contains("50 cents  microcache; fwd=uri-miss; fwd-status=200"), "{answers:#?}");
        assert!(answers[1].contains("50 cents  microcache; hit;"), "{answers:#?}");
        assert!(answers[2].contains("51 cents  not looked up"), "{answers:#?}");
        assert!(answers[5].contains("51 cents  microcache; fwd="), "{answers:#?}");
        assert!(answers[6].contains("51 cents  microcache; hit;"), "{answers:#?}");
        Ok(())
    }

    #[tokio::test]
    async fn without_memcached_each_process_forwards_for_itself() -> Result<(), Failure> {
        // Nobody listens on this port: it is held, and not listened on.
        let held = tokio::net::TcpSocket::new_v4()?;
        held.bind("127.0.0.1:0".parse()?)?;
        let [one, other] = two(&[held.local_addr()?.to_string()])?;

        for process in [&one, &other] {
            let answer = ask("", process, Method::GET).await?;
            assert!(answer.contains("50 cents  microcache; fwd=uri-miss"), "{answer}");
        }
        Ok(())
    }

    #[test]
    fn flags_are_read() {
        let parse = |words: &[&str]| flags(words.iter().map(|word| (*word).to_owned()));
        let servers = Some(vec!["a:1".to_owned(), "b:2".to_owned()]);

        assert_eq!(parse(&[]), Ok(Asked::default()));
        assert_eq!(parse(&["--servers", "a:1,b:2", "--once"]), Ok(Asked { is_once: true, servers }));
        assert_eq!(parse(&["--servers"]), Err("--servers needs a value".to_owned()));
        assert_eq!(parse(&["--twice"]), Err("unknown flag `--twice`".to_owned()));
    }
}
