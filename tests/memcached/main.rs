//! On real memcached servers, which each test starts and ends: `scripts/memcached` installs them.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[expect(dead_code, reason = "each theme uses its part")]
#[path = "../common/mod.rs"]
mod common;
#[expect(dead_code, reason = "each theme uses its part")]
#[path = "../common/memcached.rs"]
mod memcached;

mod cancellation;
mod compute;
mod fault;
mod fences;
mod freshness;
mod late;
mod lease;
mod lies;
mod proxy;
mod purge;
mod races;
mod raw;
mod shared;
mod watched;
