//! What the cache does, for Prometheus: counters, gauges and histograms at /metrics.
//!
//! `cargo run --release --example metrics --features metrics` serves on <http://127.0.0.1:3000>; with `-- --once` it asks
//! itself for some pages, prints its metrics, and exits.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use microcache::{CacheLayer, ConfigError, MemoryStore, Policy};
use tokio::net::TcpListener;
use tower::ServiceExt;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Before the first request: what is told before there is a recorder is lost.
fn recorder() -> Result<PrometheusHandle, BuildError> {
    // From a microsecond, for hits, to ten seconds.
    let seconds = [1e-6, 5e-6, 2e-5, 1e-4, 1e-3, 5e-3, 2e-2, 0.1, 0.5, 2.0, 10.0];
    let suffix = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(suffix, &seconds)?.install_recorder()
}

fn app(prometheus: PrometheusHandle) -> Result<Router, ConfigError> {
    let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20))
        .route("/reports/{id}", Policy::new().default_freshness(Duration::from_secs(30)).label("reports"))
        .build()?;
    let handle = cache.handle();
    let scrape = move || {
        // The gauges are told when they are asked for.
        let _ = handle.stats();
        prometheus.run_upkeep();
        std::future::ready(prometheus.render())
    };
    Ok(Router::new()
        .route("/products", get(async || "a list"))
        .route("/reports/{id}", get(async || "numbers"))
        .layer(cache)
        // After the layer: not cached.
        .route("/metrics", get(scrape)))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let app = app(recorder()?)?;
    if std::env::args().any(|argument| argument == "--once") {
        println!("{}", show(&app).await?);
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}: /products /reports/7 /metrics", listener.local_addr()?);
    tokio::select! {
        ended = axum::serve(listener, app) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn show(app: &Router) -> Result<String, Failure> {
    for path in ["/products", "/products", "/reports/7", "/reports/7", "/reports/8"] {
        ask(app, path).await?;
    }
    ask(app, "/metrics").await
}

async fn ask(app: &Router, path: &str) -> Result<String, Failure> {
    let request = Request::get(path).header("host", "shop.example").body(Body::empty())?;
    let body = to_bytes(app.clone().oneshot(request).await?.into_body(), 1 << 20).await?;
    Ok(String::from_utf8(body.to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_it_did_is_in_its_metrics() -> Result<(), Failure> {
        let text = show(&app(recorder()?)?).await?;
        for line in [
            r#"microcache_requests_total{result="hit",route="default",tenant="shared"} 1"#,
            r#"microcache_requests_total{result="forward",reason="uri-miss",route="reports",tenant="shared"} 2"#,
            "microcache_store_responses 3",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is not in:\n{text}");
        }
        Ok(())
    }
}
