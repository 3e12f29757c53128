//! What is stored where there is nothing to reuse.

use std::time::{Duration, SystemTime};

/// There is nothing to reuse under this key, and that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// When the forward began that brought it, or when the invalidation came.
    pub(crate) began: SystemTime,
    /// For so long it holds, counted from the moment it is put.
    pub(crate) lifetime: Duration,
    pub(crate) why: Why,
}

/// Why there is nothing to reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The response could not be stored (RFC 9111 §3): nobody needs to wait for the next one.
    NotReusable,
    /// An invalidation (RFC 9111 §4.4): what began earlier is not stored any more.
    #[cfg_attr(not(feature = "memcached"), expect(dead_code, reason = "a store of one process has no fences"))]
    Invalidated,
}
