//! What is stored where there is nothing to reuse.

use std::time::{Duration, SystemTime};

/// The response could not be stored (RFC 9111 §3), and that is known: nobody needs to wait for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// When the forward began that brought it.
    pub(crate) began: SystemTime,
    /// For so long it holds, counted from the moment it is put.
    pub(crate) lifetime: Duration,
}
