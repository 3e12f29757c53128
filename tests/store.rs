//! The stores that come with the crate keep the promises that every store makes.

use std::sync::Arc;

use microcache::{MemoryStore, contract};

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    contract::check(MemoryStore::with_max_bytes(8 << 20)).await;
    contract::check(Arc::new(MemoryStore::with_max_bytes(8 << 20))).await;
}
