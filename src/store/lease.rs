//! Leases: which process forwards for a key that several miss.

use std::fmt;

/// Whose turn it is to forward for a key.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lease {
    /// Ours, until the guard is dropped.
    Granted(LeaseGuard),
    /// Somebody else's: what it brings will be in the store.
    Held,
}

/// Hands a lease back when it is dropped, whatever became of the forward.
pub struct LeaseGuard {
    give_back: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl LeaseGuard {
    /// A lease that nobody else could have.
    #[must_use]
    pub fn free() -> Self {
        Self { give_back: None }
    }

    /// Whether nobody else could have had it.
    pub(crate) fn is_free(&self) -> bool {
        self.give_back.is_none()
    }

    /// A lease that is handed back by this, which must not wait.
    #[must_use]
    pub fn new(give_back: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { give_back: Some(Box::new(give_back)) }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back();
        }
    }
}

impl fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGuard").finish_non_exhaustive()
    }
}
