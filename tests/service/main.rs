//! The cache as a service, one request after the other.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod body;
mod bypass;
mod compute;
mod conditions;
mod content;
mod faults;
mod floods;
mod freshness;
mod hit;
mod invalidation;
mod keys;
mod observe;
mod one_offs;
mod only_keyed_input;
mod purge;
mod readiness;
mod said;
mod shared;
mod stale;
mod tenant_policies;
mod tenants;
#[cfg(feature = "tracing")]
mod traces;
mod validation;
mod variants;
