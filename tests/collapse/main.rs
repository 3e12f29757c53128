//! Many requests at once: the eight rules of collapsing, each with its tests.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "each theme uses its part")]
#[path = "../common/mod.rs"]
mod common;

mod cancellation;
mod failure;
mod fills;
mod leaving;
mod limits;
mod sharing;
mod tenant_limits;
mod threads;
