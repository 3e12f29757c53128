//! What can be wrong with settings.

use std::{error::Error, fmt};

/// A setting that can not work. Names the setting and says what to do.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore, Policy};
///
/// let error = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20))
///     .route("/reports/{id", Policy::new())
///     .build()
///     .unwrap_err();
/// assert_eq!(error.setting(), "route");
/// assert!(error.to_string().contains("/reports/{id"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    message: String,
}

impl ConfigError {
    pub(crate) fn new(setting: &'static str, message: String) -> Self {
        Self { setting, message }
    }

    /// The name of the setting.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "setting `{}`: {}", self.setting, self.message)
    }
}

impl Error for ConfigError {}
