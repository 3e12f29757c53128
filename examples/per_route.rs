//! Routes that differ: policies by path, policies on one route, query rules, cookies, stale answers, what a handler
//! says with types, collapsing without storing, and the handle.
//!
//! ```text
//! cargo run --example per_route              # serves on http://127.0.0.1:3000 until Ctrl-C
//! cargo run --example per_route -- --once    # sends itself requests, prints what each route does, exits
//! ```
//!
//! Where the cache stands among the layers of a service, from the client to the handler:
//!
//! ```text
//! trace               sees every answer, and in `Cache-Status` what the cache did
//! catch-panic         a panic of the origin comes through the cache
//! timeout             for the client: waiting for another request's forward counts
//! authentication      rejects here, so that no stranger is answered from the store
//! CACHE
//! compression         outside of it: one stored body; inside, as here: one for each `Accept-Encoding`
//! load shed           a hit is answered even while the origin sheds
//! concurrency limit   a hit takes no permit
//! timeout             for the origin
//! handler
//! ```
//!
//! `guarded` below has the layers from the cache inwards that tower brings along.

use std::{error::Error, time::Duration};

use axum::{
    BoxError, Extension, Router,
    body::{Body, to_bytes},
    error_handling::HandleErrorLayer,
    extract::Path,
    http::{HeaderMap, Request, StatusCode},
    response::IntoResponse,
    routing::get,
};
use microcache::{
    CacheHandle, CacheLayer, CollapseLayer, ConfigError, Freshness, KeySpec, MemoryStore, Policy, QueryRule, Scope,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer};

type Failure = Box<dyn Error + Send + Sync>;

fn app() -> Result<(Router, CacheHandle), ConfigError> {
    let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20))
        // For all paths that have no policy of their own. These parameters must not matter to the handlers.
        .policy(Policy::new().key(KeySpec::new().query(QueryRule::without(["utm_*", "fbclid"]))))
        // In axum's own syntax. Reports are dear, and nobody minds if they are half a minute old; who comes in the
        // ten seconds after that gets the old one at once, while a new one is made.
        .route(
            "/reports/{id}",
            Policy::new()
                .default_freshness(Duration::from_secs(30))
                .stale_while_revalidate(Duration::from_secs(10))
                .stale_if_error(Duration::from_secs(60)),
        )
        .build()?;
    let handle = cache.handle();

    // Another policy over the same store and handle. Without these two lines about cookies, a request with a
    // cookie would be answered by the handler each time.
    let per_currency = cache.with_policy(
        Policy::new()
            .default_freshness(Duration::from_secs(5))
            .key(KeySpec::new().query(QueryRule::only(["page"])).cookie("currency"))
            .ignore_cookie("_ga*"),
    );

    // One cache for these routes, outside of them: the policy is found by path.
    let by_path = guarded(
        Router::new()
            .route("/products", get(async || "apples, pears, plums"))
            .route("/reports/{id}", get(async |Path(id): Path<String>| format!("report {id}")))
            .route("/weather", get(weather))
            .route("/cart", get(cart)),
        cache,
    );
    // A layer for each of these: `route_layer` is on the route, and only there.
    let on_route = Router::new()
        .route("/prices", get(prices).route_layer(per_currency))
        .route("/live", get(live).route_layer(CollapseLayer::new()));
    Ok((by_path.merge(on_route), handle))
}

/// The cache and what belongs inside of it.
fn guarded(routes: Router, cache: CacheLayer) -> Router {
    routes.layer(
        ServiceBuilder::new()
            .layer(cache)
            // A 503 made here is the origin's answer, as the cache sees it: it is never stored.
            .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::SERVICE_UNAVAILABLE))
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(64))
            .timeout(Duration::from_secs(2)),
    )
}

/// The handler knows best how long. With the feature `axum` this is a part of the response without `Extension`.
async fn weather() -> impl IntoResponse {
    (Extension(Freshness::for_secs(600)), "rain")
}

/// And for whom. The same as `Cache-Control: private`, for this cache alone.
async fn cart() -> impl IntoResponse {
    (Extension(Scope::Private), "two pears")
}

async fn prices(headers: HeaderMap) -> String {
    let cookies = headers.get("cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let currency = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("currency=")).unwrap_or("EUR");
    format!("prices in {currency}")
}

/// Never older than the request that is answered, but made once for all that wait.
async fn live() -> &'static str {
    tokio::time::sleep(Duration::from_millis(50)).await;
    "3 : 2"
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (app, handle) = app()?;
    if std::env::args().any(|argument| argument == "--once") {
        return show(&app, &handle).await;
    }
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}: /products /reports/7 /weather /cart /prices /live", listener.local_addr()?);
    tokio::select! {
        ended = axum::serve(listener, app) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    println!("{:#?}", handle.stats());
    Ok(())
}

async fn show(app: &Router, handle: &CacheHandle) -> Result<(), Failure> {
    println!("a policy for all, and a query rule");
    ask(app, "/products?page=1&utm_source=mail", "").await?;
    ask(app, "/products?utm_source=web&page=1", "").await?;
    println!("a policy by path");
    ask(app, "/reports/7", "").await?;
    ask(app, "/reports/7", "").await?;
    println!("what the handler says");
    ask(app, "/weather", "").await?;
    ask(app, "/weather", "").await?;
    ask(app, "/cart", "").await?;
    println!("a policy on the route, a cookie in the key, cookies that do not matter");
    ask(app, "/prices", "currency=USD; _ga=1").await?;
    ask(app, "/prices", "_ga=2; currency=USD").await?;
    ask(app, "/prices", "currency=CHF").await?;
    ask(app, "/prices", "currency=USD; session=1f").await?;
    println!("collapsing without storing: two at once, then a third");
    tokio::try_join!(ask(app, "/live", ""), ask(app, "/live", ""))?;
    ask(app, "/live", "").await?;
    println!("the cache is paused, then resumed");
    handle.pause();
    ask(app, "/reports/7", "").await?;
    handle.resume();
    ask(app, "/reports/7", "").await?;
    let stats = handle.stats();
    println!("{} hits, {} forwards, {} bypasses (/live apart)", stats.hits, stats.forwards, stats.bypasses);
    Ok(())
}

/// Prints what came back, and gives what the cache says it did.
async fn ask(app: &Router, path: &str, cookie: &str) -> Result<String, Failure> {
    let mut request = Request::get(path).header("host", "shop.example");
    if !cookie.is_empty() {
        request = request.header("cookie", cookie);
    }
    let response = app.clone().oneshot(request.body(Body::empty())?).await?;
    let said = response.headers().get("cache-status").map_or(Ok("none"), |value| value.to_str())?.to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await?;
    println!("  {path:<34}{cookie:<26}{:<22}{said}", String::from_utf8_lossy(&body));
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_rule_makes_two_addresses_one() -> Result<(), Failure> {
        let (app, _) = app()?;

        assert!(ask(&app, "/products?page=1&utm_source=mail", "").await?.contains("stored"));
        assert!(ask(&app, "/products?fbclid=3&page=1", "").await?.contains("hit"));
        assert!(ask(&app, "/products?page=2", "").await?.contains("uri-miss"));
        Ok(())
    }

    #[tokio::test]
    async fn a_route_has_its_own_freshness() -> Result<(), Failure> {
        let (app, _) = app()?;

        assert!(ask(&app, "/reports/7", "").await?.contains("ttl=30"));
        assert!(ask(&app, "/products", "").await?.contains("ttl=1"));
        Ok(())
    }

    #[tokio::test]
    async fn a_handler_says_how_long_and_for_whom() -> Result<(), Failure> {
        let (app, _) = app()?;

        assert!(ask(&app, "/weather", "session=1f").await?.contains("ttl=600; stored"));
        assert!(ask(&app, "/weather", "").await?.contains("hit"));
        assert!(ask(&app, "/cart", "").await?.contains("detail=private"));
        Ok(())
    }

    #[tokio::test]
    async fn cookies_are_in_the_key_or_irrelevant_or_in_the_way() -> Result<(), Failure> {
        let (app, _) = app()?;

        assert!(ask(&app, "/prices", "currency=USD; _ga=1").await?.contains("stored"));
        assert!(ask(&app, "/prices", "_ga=2; currency=USD").await?.contains("hit"));
        assert!(ask(&app, "/prices", "currency=CHF").await?.contains("uri-miss"));
        assert!(ask(&app, "/prices", "currency=USD; session=1f").await?.contains("detail=credentials"));
        Ok(())
    }

    #[tokio::test]
    async fn what_is_collapsed_is_not_stored() -> Result<(), Failure> {
        let (app, _) = app()?;

        let (first, second) = tokio::try_join!(ask(&app, "/live", ""), ask(&app, "/live", ""))?;
        let third = ask(&app, "/live", "").await?;

        assert!(!first.contains("stored"), "{first}");
        assert!(second.contains("collapsed"), "{second}");
        assert!(third.contains("fwd=uri-miss") && !third.contains("collapsed"), "{third}");
        Ok(())
    }

    #[tokio::test]
    async fn a_paused_cache_is_out_of_the_way() -> Result<(), Failure> {
        let (app, handle) = app()?;
        ask(&app, "/reports/7", "").await?;

        handle.pause();
        assert_eq!(ask(&app, "/reports/7", "").await?, "none");
        handle.resume();
        assert!(ask(&app, "/reports/7", "").await?.contains("hit"));
        Ok(())
    }
}
