//! The cache against two others: a model that is RFC 9111 line by line, and a crate that reads the standard on its own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod date;
mod drawn;
mod model;
mod reference;
mod said;
mod traces;
mod wire;
