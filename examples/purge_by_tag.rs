//! A shop whose pages are kept for an hour. A product is changed, its tag is purged, and the list and the product's page
//! show it at once.
//!
//! ```text
//! cargo run --example purge_by_tag              # serves on http://127.0.0.1:3000 until Ctrl-C
//! cargo run --example purge_by_tag -- --once    # changes a price, prints what each page says, exits
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{Request, StatusCode},
    response::IntoResponse,
    routing::{get, put},
};
use microcache::{CacheHandle, CacheLayer, ConfigError, MemoryStore, Policy, Purge, Tags};
use tokio::net::TcpListener;
use tower::ServiceExt;

type Failure = Box<dyn Error + Send + Sync>;

/// What the handlers share: the prices, and a handle on the cache in front of them.
#[derive(Clone)]
struct Shop {
    prices: Arc<Mutex<BTreeMap<u32, u32>>>,
    cache: CacheHandle,
}

fn app() -> Result<Router, ConfigError> {
    let hour = Policy::new().default_freshness(Duration::from_secs(3_600));
    let cache = CacheLayer::builder(MemoryStore::with_max_bytes(64 << 20)).policy(hour).build()?;
    let prices = Arc::new(Mutex::new(BTreeMap::from([(7, 30), (8, 90)])));
    let shop = Shop { prices, cache: cache.handle() };
    Ok(Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(page))
        // An unsafe method ends what is stored under its own URI alone: nothing is stored there.
        .route("/admin/products/{id}", put(change))
        .with_state(shop)
        .layer(cache))
}

/// The list is about each product on it. `Surrogate-Key` or `Cache-Tag` would say the same; with the feature `axum`,
/// `Tags` is a part of a response, too.
async fn list(State(shop): State<Shop>) -> impl IntoResponse {
    let prices = shop.prices();
    let lines: Vec<_> = prices.iter().map(|(id, price)| format!("{id}: {price}")).collect();
    let mut response = lines.join(", ").into_response();
    response.extensions_mut().insert(Tags::new(prices.keys().map(|id| format!("product:{id}"))));
    response
}

async fn page(State(shop): State<Shop>, Path(id): Path<u32>) -> impl IntoResponse {
    let Some(price) = shop.prices().get(&id).copied() else { return StatusCode::NOT_FOUND.into_response() };
    ([("surrogate-key", format!("product:{id}"))], format!("product {id} costs {price}")).into_response()
}

/// First the change, then the purge: what is asked for from then on is made of the new price.
async fn change(State(shop): State<Shop>, Path(id): Path<u32>, price: String) -> impl IntoResponse {
    let Ok(price) = price.trim().parse() else { return (StatusCode::BAD_REQUEST, "a price is a number\n".to_owned()) };
    shop.prices().insert(id, price);
    match shop.cache.purge(Purge::tag(format!("product:{id}"))).await {
        Ok(purged) => (StatusCode::OK, format!("changed for {purged}\n")),
        // The price has changed; other processes may show the old one for a while.
        Err(error) => (StatusCode::ACCEPTED, format!("{error}\n")),
    }
}

impl Shop {
    fn prices(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, u32>> {
        self.prices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    if std::env::args().any(|argument| argument == "--once") {
        for line in demonstration().await? {
            println!("{line}");
        }
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("GET http://{0}/products, /products/7, PUT http://{0}/admin/products/7", listener.local_addr()?);
    Ok(axum::serve(listener, app()?).await?)
}

/// What each page says before and after the price of one product is changed.
async fn demonstration() -> Result<Vec<String>, Failure> {
    let app = app()?;
    let mut lines = Vec::new();
    for change in [false, true] {
        if change {
            let request = Request::put("/admin/products/7").body(Body::from("25"))?;
            lines.push(format!("PUT 25: {}", answer(&app, request).await?));
        }
        for path in ["/products", "/products/7", "/products/8", "/products"] {
            lines.push(format!("{path}: {}", answer(&app, Request::get(path).body(Body::empty())?).await?));
        }
    }
    Ok(lines)
}

/// The body, and what the cache did.
async fn answer(app: &Router, request: Request<Body>) -> Result<String, Failure> {
    let response = app.clone().oneshot(request).await?;
    let status = response.headers().get("cache-status").map(|status| status.to_str().map(str::to_owned)).transpose()?;
    let is_hit = status.is_some_and(|status| status.contains("hit"));
    let body = to_bytes(response.into_body(), 1 << 20).await?;
    Ok(format!("{}{}", str::from_utf8(&body)?.trim_end(), if is_hit { " (hit)" } else { "" }))
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_price_that_was_changed_is_on_the_list_and_on_its_page_at_once() {
        let lines = super::demonstration().await.unwrap();

        assert_eq!(
            lines,
            [
                "/products: 7: 30, 8: 90",
                "/products/7: product 7 costs 30",
                "/products/8: product 8 costs 90",
                "/products: 7: 30, 8: 90 (hit)",
                "PUT 25: changed for this process now, there are no others",
                "/products: 7: 25, 8: 90",
                "/products/7: product 7 costs 25",
                "/products/8: product 8 costs 90 (hit)",
                "/products: 7: 25, 8: 90 (hit)",
            ]
        );
    }
}
