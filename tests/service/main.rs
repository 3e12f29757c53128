//! The cache as a service, one request after the other.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod body;
mod bypass;
mod conditions;
mod content;
mod faults;
mod freshness;
mod hit;
mod invalidation;
mod keys;
mod readiness;
mod said;
mod shared;
mod stale;
mod validation;
mod variants;
