//! Calls that only ask, by POST: a GraphQL-like endpoint whose queries are cached by what they say, and whose
//! mutations end what is stored.
//!
//! ```text
//! cargo run --example post_queries              # serves on http://127.0.0.1:3000 until Ctrl-C
//! cargo run --example post_queries -- --once    # sends itself calls, prints what became of each, exits
//! ```
//!
//! The digest of the content is part of the key. `traceId`, which each client makes up, does not count, and neither do
//! the order of the members and the space between them. The handler says by explicit freshness that an answer may be
//! kept; what says nothing, as a mutation, is forwarded each time, and invalidates what is stored for the endpoint.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use microcache::{CacheLayer, ConfigError, Content, Freshness, MemoryStore, Policy};
use tokio::net::TcpListener;
use tower::ServiceExt;

type Failure = Box<dyn Error + Send + Sync>;

/// The price of a pear, in cents.
type Price = Arc<AtomicU32>;

fn app() -> Result<Router, ConfigError> {
    let content = Content::new(Body::new).max_bytes(16 << 10).ignore_json_members(["traceId"]);
    let cache = CacheLayer::builder(MemoryStore::with_max_bytes(16 << 20))
        .route("/graphql", Policy::new().content(content))
        .build()?;
    let price = Price::new(AtomicU32::new(50));
    Ok(Router::new().route("/graphql", post(graphql)).with_state(price).layer(cache))
}

/// Understands two calls, which is enough here.
async fn graphql(State(price): State<Price>, call: String) -> Response {
    if call.contains("query { price }") {
        let answer = format!(r#"{{"data":{{"price":{}}}}}"#, price.load(Ordering::Relaxed));
        // The way to say it with a field is `Cache-Control: max-age=60`.
        return (Extension(Freshness::of(Duration::from_secs(60))), answer).into_response();
    }
    if call.contains("mutation { raise }") {
        let price = price.fetch_add(1, Ordering::Relaxed) + 1;
        return format!(r#"{{"data":{{"raise":{price}}}}}"#).into_response();
    }
    StatusCode::BAD_REQUEST.into_response()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let app = app()?;
    if std::env::args().any(|argument| argument == "--once") {
        return show(&app).await;
    }
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}/graphql; ask it, with curl:", listener.local_addr()?);
    println!(r#"  curl -i http://127.0.0.1:3000/graphql -H 'content-type: application/json' -d '{QUERY}'"#);
    tokio::select! {
        ended = axum::serve(listener, app) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

const QUERY: &str = r#"{"query":"query { price }","traceId":"a1"}"#;
const SAME_QUERY: &str = r#"{ "traceId": "b2", "query": "query { price }" }"#;
const MUTATION: &str = r#"{"query":"mutation { raise }","traceId":"c3"}"#;

async fn show(app: &Router) -> Result<(), Failure> {
    for call in [QUERY, SAME_QUERY, MUTATION, QUERY, SAME_QUERY] {
        let (answer, said) = ask(app, call).await?;
        println!("{call:<50} {answer:<24} {said}");
    }
    Ok(())
}

/// What came back, and what the cache says it did.
async fn ask(app: &Router, call: &'static str) -> Result<(String, String), Failure> {
    let request = Request::post("/graphql").header("host", "shop.example").header("content-type", "application/json");
    let response = app.clone().oneshot(request.body(Body::from(call))?).await?;
    let said = response.headers().get("cache-status").map_or(Ok("none"), |value| value.to_str())?.to_owned();
    let answer = to_bytes(response.into_body(), 1 << 20).await?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn equal_queries_share_one_answer_until_a_mutation_ends_it() -> Result<(), Failure> {
        let app = app()?;
        let asked = async |call| ask(&app, call).await;

        assert!(asked(QUERY).await?.1.contains("stored"));
        let (answer, said) = asked(SAME_QUERY).await?;
        assert_eq!((answer.as_str(), said.as_str()), (r#"{"data":{"price":50}}"#, "microcache; hit; ttl=60"));

        assert!(asked(MUTATION).await?.1.contains("detail=no-freshness"));
        let (answer, said) = asked(QUERY).await?;
        assert_eq!(answer, r#"{"data":{"price":51}}"#);
        assert!(said.contains("stored"), "{said}");
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_call_is_not_kept() -> Result<(), Failure> {
        let app = app()?;
        assert!(ask(&app, "nonsense").await?.1.contains("fwd-status=400"));
        assert!(ask(&app, "nonsense").await?.1.contains("fwd-status=400"));
        Ok(())
    }
}
