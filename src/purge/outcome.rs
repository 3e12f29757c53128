//! What became of a purge.

use std::{error::Error, fmt};

use crate::store::{Reach, StoreError};

/// How far a purge reaches: this process uses nothing from before any more, and others are told.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore, Purge, Reach};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), microcache::PurgeError> {
/// let handle = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20)).handle();
/// let purged = handle.purge(Purge::all()).await?;
/// assert_eq!(purged.others(), Reach::Alone);
/// assert_eq!(purged.to_string(), "this process now, there are no others");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    others: Reach,
}

impl Purged {
    pub(crate) fn new(others: Reach) -> Self {
        Self { others }
    }

    /// When other processes that share the store are as far, from now on.
    #[must_use]
    pub fn others(&self) -> Reach {
        self.others
    }
}

impl fmt::Display for Purged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this process now, {}", self.others)
    }
}

/// A purge that made no sense, and changed nothing; or one that counts in this process alone so far.
#[derive(Debug)]
pub struct PurgeError {
    kind: PurgeErrorKind,
    source: Option<StoreError>,
}

/// The kinds of [`PurgeError`]. After all but [`Store`](Self::Store) nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PurgeErrorKind {
    /// It is not known whose responses are meant.
    Tenant,
    /// The URL is none, or names no host.
    Url,
    /// Nothing can be stored under such a key.
    Key,
    /// The tag is one that nothing can have.
    Tag,
    /// The store has not said that it knows. This process uses nothing from before any more; others may.
    Store,
}

impl PurgeError {
    pub(crate) fn of_store(error: StoreError) -> Self {
        Self { kind: PurgeErrorKind::Store, source: Some(error) }
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> PurgeErrorKind {
        self.kind
    }
}

impl From<PurgeErrorKind> for PurgeError {
    fn from(kind: PurgeErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            PurgeErrorKind::Tenant => "nothing was purged: name the tenant whose responses are meant",
            PurgeErrorKind::Url => "nothing was purged: write a whole URL, as https://shop.example/products?a=1",
            PurgeErrorKind::Key => {
                "nothing was purged: nothing can be stored under a key that is too long, of an ambiguous host, or of \
                 too many parameters"
            }
            PurgeErrorKind::Tag => "nothing was purged: a tag has 1 to 256 bytes",
            PurgeErrorKind::Store => {
                "this process has purged, but not all servers have said that they know: they are told until they do, \
                 while this process runs; purge again if it ends before"
            }
        })
    }
}

impl Error for PurgeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn Error + 'static))
    }
}
