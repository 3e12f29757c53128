//! What can go wrong with a store.

use std::{error::Error, fmt};

/// A store could not do what it was asked. The cache forwards instead, so no response fails by it.
///
/// ```
/// use microcache::{StoreError, StoreErrorKind};
///
/// let error = StoreError::new(StoreErrorKind::Io, std::io::Error::other("connection reset"));
/// assert_eq!(error.to_string(), "store input or output failed");
/// assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "connection reset");
/// ```
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

/// The kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It did not answer in time.
    Timeout,
    /// It could not be reached, or the connection broke.
    Io,
    /// What it answered was not what was put there.
    Corrupt,
    /// It refused, for a reason of its own.
    Refused,
}

impl StoreError {
    /// An error of this kind, with its cause.
    pub fn new(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Timeout => "store did not answer in time",
            StoreErrorKind::Io => "store input or output failed",
            StoreErrorKind::Corrupt => "store answered with something else",
            StoreErrorKind::Refused => "store refused",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
