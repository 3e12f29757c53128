//! The caching standard, one file a section: `http` types in, enums and plain structs out.
//!
//! | section | question | file |
//! |---|---|---|
//! | RFC 9111 §3, §3.5 | may a shared cache store this response? | `storing.rs` |
//! | RFC 9111 §3.1 | which of its fields are stored? | `stored_fields.rs` |
//! | RFC 9111 §4.1 | which requests may a stored response answer? | `variants.rs` |
//! | RFC 9111 §4.1 | which spellings of a field mean the same? | `normal.rs` |
//! | RFC 9111 §4.2.1, §4.2.2 | how long is it fresh? | `freshness.rs` |
//! | RFC 9111 §4.2.3 | how old is it? | `age.rs` |
//! | RFC 9111 §4.3.2 | does the client have it already? | `validation.rs` |
//! | RFC 9111 §3.2, §4.3.1, §4.3.4, §4.3.5 | does it still hold, and what does the origin say of it now? | `freshening.rs` |
//! | RFC 9111 §4.4 | what does an unsafe method make invalid? | `invalidation.rs` |
//! | RFC 9111 §5.2.1 | what does the `Cache-Control` of a request say? | `request_directives.rs` |
//! | RFC 9111 §5.2.2 | what does the `Cache-Control` of a response say? | `directives.rs` |
//! | RFC 9213 §2 | what does a targeted field say in its place? | `targeted.rs` |
//! | RFC 9875 §2, §3 | which groups is it in, and which does it invalidate? | `groups.rs` |
//! | RFC 9110 §14 | which parts of it were asked for? | `ranges.rs` |
//! | RFC 9110 §15.3.7 | what does a 206 carry? | `multipart.rs` |
//!
//! Everything is a pure function of its arguments. Nothing here may import `policy`, `store`, `service` or `clock`,
//! take a lock, log or wait: `now` is an argument, and the operator's will is applied by `policy`.

pub(crate) mod age;
pub(crate) mod directives;
pub(crate) mod freshening;
pub(crate) mod freshness;
pub(crate) mod groups;
pub(crate) mod invalidation;
pub(crate) mod multipart;
pub(crate) mod normal;
pub(crate) mod ranges;
pub(crate) mod request_directives;
pub(crate) mod stored_fields;
pub(crate) mod storing;
pub(crate) mod targeted;
pub(crate) mod validation;
pub(crate) mod variants;
