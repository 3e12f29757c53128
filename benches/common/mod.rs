//! How the benches measure, and what they ask. `allocations` is for those that count, by `#[path]`: it brings its
//! allocator with it, which the others must not have.

#![allow(dead_code, reason = "a bench uses its part, and some use all, so that nothing of it can be expected")]
#![expect(unreachable_pub, reason = "modules of the benches")]

pub mod exchange;
pub mod memory;
pub mod table;
pub mod timing;
