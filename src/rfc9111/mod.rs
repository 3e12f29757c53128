//! The caching standard, one file a section: `http` types in, enums and plain structs out.
//!
//! | section | question | file |
//! |---|---|---|
//! | RFC 9111 §3, §3.5 | may a shared cache store this response? | `storing.rs` |
//! | RFC 9111 §3.1 | which of its fields are stored? | `stored_fields.rs` |
//! | RFC 9111 §4.1 | which requests may a stored response answer? | `variants.rs` |
//! | RFC 9111 §4.2.1 | how long is it fresh? | `freshness.rs` |
//! | RFC 9111 §4.2.3 | how old is it? | `age.rs` |
//! | RFC 9111 §4.3.2 | does the client have it already? | `validation.rs` |
//! | RFC 9111 §5.2 | what does `Cache-Control` say? | `directives.rs` |
//! | RFC 9110 §14 | which part of it was asked for? | `ranges.rs` |
//!
//! Everything is a pure function of its arguments. Nothing here may import `policy`, `store`, `service` or `clock`,
//! take a lock, log or wait: `now` is an argument, and the operator's will is applied by `policy`.

pub(crate) mod age;
pub(crate) mod directives;
pub(crate) mod freshness;
pub(crate) mod ranges;
pub(crate) mod stored_fields;
pub(crate) mod storing;
pub(crate) mod validation;
pub(crate) mod variants;
