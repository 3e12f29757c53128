//! What a response shows of what the cache did, where the policy wants more or less than the plain field.

use http::Response;

use crate::{
    key::CacheKey,
    policy::{CacheStatusMode, Policy},
    status,
};

pub(super) struct Shown {
    mode: CacheStatusMode,
    key: Option<String>,
}

impl Shown {
    pub(super) fn of(policy: &Policy, key: &CacheKey) -> Self {
        let mode = policy.shows.mode;
        let shows_key = policy.shows.key && mode == CacheStatusMode::On;
        Self { mode, key: shows_key.then(|| key.short().into_owned()) }
    }

    /// For a response that says what this cache did.
    pub(super) fn apply<B>(&self, response: &mut Response<B>) {
        match self.mode {
            CacheStatusMode::On => {}
            CacheStatusMode::ExtensionOnly => status::hide(response, false),
            CacheStatusMode::Off => status::hide(response, true),
        }
        if let Some(key) = &self.key {
            status::show_key(response, key);
        }
    }
}
