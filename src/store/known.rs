//! What a store knows of itself: what it holds, and how its servers are.

use std::sync::Arc;

/// What a store holds, as far as it knows.
///
/// ```
/// use microcache::StoreSize;
///
/// let mut size = StoreSize::default();
/// size.responses = Some(7);
/// assert_eq!(size.bytes, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StoreSize {
    /// How many bytes there are.
    pub bytes: Option<u64>,
    /// How many there may be.
    pub max_bytes: Option<u64>,
    /// How many responses there are, and indexes of variants.
    pub responses: Option<u64>,
    /// How many it has dropped so far to stay within its bound.
    pub evictions: Option<u64>,
}

/// A server of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServerState {
    /// Its address.
    pub server: String,
    /// Whether it is asked.
    pub breaker: BreakerState,
}

impl ServerState {
    /// For stores of your own.
    pub fn new(server: impl Into<String>, breaker: BreakerState) -> Self {
        Self { server: server.into(), breaker }
    }
}

/// Whether a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[cfg_attr(feature = "admin", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It failed, and is left alone for a while.
    Open,
    /// One operation finds out whether it works again.
    HalfOpen,
}

/// Called when the breaker of a server opens, and when it closes again.
pub type ServerWatch = Arc<dyn Fn(&ServerState) + Send + Sync>;
