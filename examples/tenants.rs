//! Two tenants in one service: policies and quotas of their own, and what it costs the quiet one that the other is noisy.
//!
//! ```text
//! cargo run --example tenants              # serves on http://127.0.0.1:3000 until Ctrl-C
//! cargo run --example tenants -- --once    # lets one tenant make noise, prints what both got, exits
//! ```
//!
//! With `--once` it fails if anything of what it prints is not as it should be.

use std::{collections::HashMap, error::Error, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::Path,
    http::{Request, StatusCode},
    routing::get,
};
use futures_util::future::{join, try_join_all};
use microcache::{
    CacheLayer, CacheStatus, Collapse, ConfigError, MemoryStore, Overflow, Policy, Tenancy, Tenant, TenantLayer,
    TenantLimits,
};
use tokio::net::TcpListener;
use tower::ServiceExt;

type Failure = Box<dyn Error + Send + Sync>;

fn app() -> Result<Router, ConfigError> {
    // A tenant is named by the host, and these are our customers. Others are refused, or whoever invents hosts would
    // have as many tenants as they like.
    let policies = HashMap::from([(QUIET, Arc::new(quiet())), (NOISY, Arc::new(noisy()))]);
    let customers: Vec<&str> = policies.keys().copied().collect();
    let tenants = TenantLayer::builder(Tenancy::host())
        .refuse_unidentified(StatusCode::BAD_REQUEST)
        .known(move |tenant| tenant.name().is_some_and(|name| customers.contains(&name)))
        .build()?;

    // Of this store nobody holds more than half.
    let store = MemoryStore::builder().max_bytes(1 << 20).tenant_share(0.5).build()?;
    let cache = CacheLayer::builder(store)
        .policy_for(move |tenant| policies.get(tenant.name()?).cloned())
        // Of the forwards nobody has more than this many at a time.
        .tenant_limits(TenantLimits::new().max_flights(MAX_FLIGHTS).max_waiting(100))
        .build()?;
    Ok(Router::new()
        .route("/pages/{number}", get(page))
        .route("/reports/{number}", get(report))
        .layer(cache)
        // Outside of the cache, which goes by what this has found.
        .layer(tenants))
}

/// Pages that change seldom.
fn quiet() -> Policy {
    Policy::new().default_freshness(Duration::from_secs(3_600))
}

/// Fresh for a minute, and over its limits a request is told to come back: the origin is for others, too.
fn noisy() -> Policy {
    let collapse = Collapse::new().overflow(Overflow::Unavailable);
    Policy::new().default_freshness(Duration::from_secs(60)).collapse(collapse)
}

/// Some 1 KiB that says whose it is.
async fn page(Extension(tenant): Extension<Tenant>, Path(number): Path<u32>) -> String {
    format!("{} page {number} {}", tenant.name().unwrap_or_default(), "x".repeat(1_000))
}

/// What takes its time.
async fn report(Extension(tenant): Extension<Tenant>, Path(number): Path<u32>) -> String {
    tokio::time::sleep(Duration::from_millis(100)).await;
    format!("{} report {number}", tenant.name().unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let app = app()?;
    if std::env::args().any(|argument| argument == "--once") {
        return show(&app).await;
    }
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("    curl -i -H 'Host: {QUIET}' http://127.0.0.1:3000/pages/1    # or {NOISY}; others are refused");
    tokio::select! {
        ended = axum::serve(listener, app) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn show(app: &Router) -> Result<(), Failure> {
    make_noise(app).await?;
    println!();
    over_the_limits(app).await?;

    let stranger = ask(app, "stranger.example", "/pages/1").await?;
    check(stranger.status == StatusCode::NOT_FOUND, "a stranger is refused")?;
    println!("stranger.example is refused: {}", stranger.status);
    Ok(())
}

/// One asks for the same few pages, again and again; the other for ever new ones, and in between.
async fn make_noise(app: &Router) -> Result<(), Failure> {
    let cold = round(app).await?;
    let mut alone = Tally::default();
    for _ in 0..ROUNDS {
        alone.add(&round(app).await?);
    }
    let (mut beside, mut noise) = (Tally::default(), Tally::default());
    for url in 0..NOISE {
        noise.ask(app, NOISY, &format!("/pages/{url}")).await?;
        if url % (NOISE / ROUNDS) == 0 {
            beside.add(&round(app).await?);
        }
    }

    println!("{:<42}{:>8}{:>12}{:>14}{:>12}", "", "requests", "hit ratio", "kept for", "own answers");
    for (name, tally) in [
        (format!("{QUIET}, its first round"), &cold),
        (format!("{QUIET}, alone"), &alone),
        (format!("{QUIET}, beside the noise"), &beside),
        (format!("{NOISY}, the noise"), &noise),
    ] {
        let (hits, own) = (100.0 * tally.hit_ratio(), format!("{} / {}", tally.own, tally.requests));
        println!("{name:<42}{:>8}{hits:>10.1} %{:>12} s{own:>14}", tally.requests, tally.lifetime);
        check(tally.own == tally.requests, "each gets only its own answers")?;
    }
    check(noise.hit_ratio() == 0.0, "what nobody has asked for is no hit")?;
    check(alone.hit_ratio() - beside.hit_ratio() < 0.01, "the noise costs the quiet tenant no hits")?;
    check((cold.lifetime, noise.lifetime) == (3_600, 60), "each has its own policy")
}

/// The quiet tenant asks for each of its pages.
async fn round(app: &Router) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for number in 0..PAGES {
        tally.ask(app, QUIET, &format!("/pages/{number}")).await?;
    }
    Ok(tally)
}

/// One asks for a hundred reports at once; the other asks for one of its own meanwhile.
async fn over_the_limits(app: &Router) -> Result<(), Failure> {
    let paths: Vec<_> = (0..100).map(|number| format!("/reports/{number}")).collect();
    let crowd = try_join_all(paths.iter().map(|path| ask(app, NOISY, path)));
    let (crowd, single) = join(crowd, ask(app, QUIET, "/reports/1")).await;
    let (crowd, single) = (crowd?, single?);

    let refused = crowd.iter().filter(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE).count();
    let answered = crowd.iter().filter(|answer| answer.status == StatusCode::OK && answer.is_of(NOISY)).count();
    println!("{NOISY} asks for 100 reports at once: {answered} are made, {refused} told to come back");
    println!("{QUIET} asks for one meanwhile: {}", single.status);
    check(
        (answered, refused) == (MAX_FLIGHTS, 100 - MAX_FLIGHTS),
        "the noisy tenant has so many forwards and no more",
    )?;
    check(single.status == StatusCode::OK && single.is_of(QUIET), "the quiet tenant sees nothing of it")
}

/// What one tenant got.
#[derive(Default)]
struct Tally {
    requests: u32,
    hits: u32,
    /// Answers that were made for this tenant, and for this path.
    own: u32,
    /// How long an answer is kept, in seconds: the longest time that one had left.
    lifetime: i64,
}

impl Tally {
    async fn ask(&mut self, app: &Router, tenant: &str, path: &str) -> Result<(), Failure> {
        let answer = ask(app, tenant, path).await?;
        self.requests += 1;
        self.hits += u32::from(answer.is_hit);
        self.own +=
            u32::from(answer.body.starts_with(&format!("{tenant} page {} ", path.trim_start_matches("/pages/"))));
        self.lifetime = self.lifetime.max(answer.ttl);
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.hits += other.hits;
        self.own += other.own;
        self.lifetime = self.lifetime.max(other.lifetime);
    }

    fn hit_ratio(&self) -> f64 {
        f64::from(self.hits) / f64::from(self.requests.max(1))
    }
}

struct Answer {
    status: StatusCode,
    is_hit: bool,
    ttl: i64,
    body: String,
}

impl Answer {
    fn is_of(&self, tenant: &str) -> bool {
        self.body.starts_with(&format!("{tenant} "))
    }
}

async fn ask(app: &Router, host: &str, path: &str) -> Result<Answer, Failure> {
    let request = Request::get(path).header("host", host).body(Body::empty())?;
    let response = app.clone().oneshot(request).await?;
    let said = CacheStatus::of(&response);
    let (head, body) = response.into_parts();
    Ok(Answer {
        status: head.status,
        is_hit: said.is_some_and(|said| said.is_hit()),
        ttl: said.and_then(|said| said.ttl()).unwrap_or_default(),
        body: String::from_utf8(to_bytes(body, 1 << 20).await?.into())?,
    })
}

fn check(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(format!("this does not hold: {what}").into()) }
}

const QUIET: &str = "acme.example";
const NOISY: &str = "umbrella.example";

/// What the quiet tenant asks for, round after round: much less than half of the store.
const PAGES: u32 = 50;
const ROUNDS: u32 = 20;

/// What the noisy one asks for: several times what there is room for.
const NOISE: u32 = 5_000;

const MAX_FLIGHTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_noise_of_one_tenant_costs_the_other_nothing() -> Result<(), Failure> {
        make_noise(&app()?).await
    }

    #[tokio::test]
    async fn over_its_limits_a_tenant_is_told_to_come_back_and_the_other_is_not() -> Result<(), Failure> {
        over_the_limits(&app()?).await
    }

    #[tokio::test]
    async fn who_is_no_customer_is_refused() -> Result<(), Failure> {
        let app = app()?;

        assert_eq!(ask(&app, "stranger.example", "/pages/1").await?.status, StatusCode::NOT_FOUND);
        assert_eq!(ask(&app, "a.example, b.example", "/pages/1").await?.status, StatusCode::BAD_REQUEST);
        Ok(())
    }
}
