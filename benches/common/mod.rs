//! How the benches measure, and what they ask. `allocations` is for those that count, by `#[path]`: it brings its
//! allocator with it, which the others must not have.

#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

pub mod exchange;
pub mod table;
pub mod timing;
