//! The cache without axum: a hyper server, and the layer over a tower function.
//!
//! ```text
//! cargo run --example plain_hyper              # serves on http://127.0.0.1:3000 until Ctrl-C
//! cargo run --example plain_hyper -- --once    # asks itself twice, prints what came back, exits
//! ```

use std::{convert::Infallible, error::Error, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Request, Response, body::Incoming, client, server};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use microcache::{Cache, CacheLayer, MemoryStore};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, service_fn};

type Failure = Box<dyn Error + Send + Sync>;

async fn origin<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(format!("you asked for {}\n", request.uri().path()))))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // Made once. Each connection has a clone, and all clones are one cache.
    let service = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)).layer(service_fn(origin::<Incoming>));

    if std::env::args().any(|argument| argument == "--once") {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(serve(listener, service));
        for line in ask_twice(address).await? {
            println!("{line}");
        }
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::select! {
        ended = serve(listener, service) => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// Accepts until the listener fails.
async fn serve<S>(listener: TcpListener, service: Cache<S>) -> Result<(), Failure>
where
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let connection = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("connection: {error}");
            }
        });
    }
}

/// Asks for the same page twice. Gives the status and the `Cache-Status` of each answer.
async fn ask_twice(address: SocketAddr) -> Result<Vec<String>, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut connection, driver) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    let mut lines = Vec::new();
    for _ in 0..2 {
        connection.ready().await?;
        let request = Request::get("/hello").header("host", "localhost").body(Empty::<Bytes>::new())?;
        let response = connection.send_request(request).await?;
        let cache_status = response.headers().get("cache-status").map_or(Ok("none"), |value| value.to_str())?;
        lines.push(format!("{}  cache-status: {cache_status}", response.status()));
        response.into_body().collect().await?;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_answer_is_a_hit() -> Result<(), Failure> {
        let service = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)).layer(service_fn(origin::<Incoming>));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(serve(listener, service));

        let lines = ask_twice(address).await?;

        assert!(lines[0].contains("fwd=uri-miss"), "{lines:?}");
        assert!(lines[1].contains("; hit"), "{lines:?}");
        Ok(())
    }
}
