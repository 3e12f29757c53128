//! The cache without HTTP: a report that many ask for at once, computed once, and kept for each tenant.
//!
//! ```text
//! cargo run --release --example compute
//! ```

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use microcache::{CacheHandle, CacheLayer, MemoryStore, Tenant};
use tokio::task::JoinSet;

type Anything = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Anything> {
    println!("{}", run().await?);
    Ok(())
}

/// A hundred ask for the report of one tenant, one for that of another, and one for what can not be computed.
async fn run() -> Result<String, Anything> {
    let cache = CacheLayer::new(MemoryStore::with_max_bytes(64 << 20)).handle();
    let mut asks = JoinSet::new();
    for _ in 0..100 {
        let cache = cache.clone();
        asks.spawn(async move { report(&cache, "acme", 2024).await });
    }
    while let Some(told) = asks.join_next().await {
        assert_eq!(told??, "acme sold 14168 in 2024");
    }
    report(&cache, "other", 2024).await?;
    let failed = report(&cache, "other", 0).await.is_err();

    let stats = cache.stats();
    // Those that came together waited for one, those that came later found it.
    let spared = stats.hits + stats.collapsed;
    Ok(format!("102 asked, {} computed, {spared} spared; an error is the caller's own: {failed}", stats.forwards))
}

/// What it depends on is in the key: the year, and the tenant.
async fn report(cache: &CacheHandle, tenant: &'static str, year: u32) -> Result<String, Anything> {
    let key = ["report", &year.to_string()];
    let compute = move || async move {
        // A database takes its time.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if year == 0 {
            return Err(io::Error::other("there was no such year"));
        }
        Ok(Bytes::from(format!("{tenant} sold {} in {year}", year * 7)))
    };
    let value = cache.get_or_compute(&Tenant::named(tenant), &key, Duration::from_secs(30), compute).await?;
    Ok(String::from_utf8(value.to_vec())?)
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_hundred_that_ask_for_one_report_compute_it_once() {
        let told = super::run().await.unwrap();

        assert_eq!(told, "102 asked, 3 computed, 99 spared; an error is the caller's own: true");
    }
}
