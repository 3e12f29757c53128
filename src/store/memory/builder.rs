//! The settings of a [`MemoryStore`].

use super::{MemoryStore, ledger::Share};
use crate::layers::ConfigError;

/// Builds a [`MemoryStore`].
///
/// ```
/// use microcache::MemoryStore;
///
/// let store = MemoryStore::builder().max_bytes(256 << 20).tenant_share(0.25).tenant_max_responses(10_000).build()?;
/// assert_eq!(store.max_bytes(), 256 << 20);
/// # Ok::<(), microcache::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryStoreBuilder {
    max_bytes: u64,
    tenant_share: f64,
    tenant_max_responses: usize,
}

impl MemoryStoreBuilder {
    pub(super) fn new() -> Self {
        Self { max_bytes: MAX_BYTES, tenant_share: 1.0, tenant_max_responses: usize::MAX }
    }

    /// Sets how many bytes there may be: keys, heads, bodies and what it takes to keep them. Default: 64 MiB. With zero
    /// it stores nothing.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets which part of the bytes one tenant may hold, the shared tenant, too: more than zero, at most one. Default:
    /// one, so that a tenant may hold all that no other needs.
    ///
    /// A tenant over its share evicts what it stored longest ago. A response that is larger is not stored.
    #[doc(alias = "quota")]
    pub fn tenant_share(mut self, part: f64) -> Self {
        self.tenant_share = part;
        self
    }

    /// Sets how many responses one tenant may hold, the shared tenant, too. Default: no limit but the bytes.
    #[doc(alias = "quota")]
    pub fn tenant_max_responses(mut self, responses: usize) -> Self {
        self.tenant_max_responses = responses;
        self
    }

    /// The store.
    ///
    /// # Errors
    ///
    /// The first setting that can not work.
    pub fn build(self) -> Result<MemoryStore, ConfigError> {
        if !(self.tenant_share > 0.0 && self.tenant_share <= 1.0) {
            let message = format!("{} is no part of the store; give one over 0.0 and up to 1.0", self.tenant_share);
            return Err(ConfigError::new("tenant_share", message));
        }
        if self.tenant_max_responses == 0 {
            let message = "zero leaves no tenant anything; give it some responses".to_owned();
            return Err(ConfigError::new("tenant_max_responses", message));
        }
        Ok(self.finish())
    }

    /// The store, with settings that can work.
    pub(super) fn finish(self) -> MemoryStore {
        // To the nearest byte that a float can tell, and no more than there are.
        let max_bytes = (self.max_bytes as f64 * self.tenant_share) as u64;
        let share = Share { max_bytes: max_bytes.min(self.max_bytes), max_responses: self.tenant_max_responses };
        MemoryStore::new(self.max_bytes, share)
    }
}

const MAX_BYTES: u64 = 64 << 20;
