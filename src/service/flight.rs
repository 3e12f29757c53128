//! Which flight a request may share.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::{Asked, Lookup};
use crate::key::{CacheKey, WITH_CREDENTIALS};

impl Lookup {
    /// The flight that the request may share: one per key, or per variant once `Vary` is known. Requests
    /// with credentials keep to themselves, so that what is not reusable for one of them says nothing about
    /// strangers.
    ///
    /// `names`: what a flight that this request followed told of `Vary`, for where the store does not.
    pub(super) fn flight(&self, asked: &Asked, names: &[HeaderName], request: &HeaderMap) -> Option<Arc<str>> {
        let told = match self {
            Self::Nothing | Self::Failed | Self::Response(_) if !names.is_empty() => {
                Some(asked.key.variant(names, request).ok()?)
            }
            _ => None,
        };
        let key = told.as_ref().or_else(|| self.own_key(asked))?;
        Some(match suffix(asked) {
            "" => key.as_str().into(),
            suffix => [key.as_str(), suffix].concat().into(),
        })
    }

    /// The flight for what was found alone. `known`: the one that the request leads, so that the same need not be written
    /// again.
    pub(super) fn flight_as(&self, known: Option<Arc<str>>, asked: &Asked, request: &HeaderMap) -> Option<Arc<str>> {
        let key = self.own_key(asked)?.as_str();
        let is_same = |known: &Arc<str>| known.strip_suffix(suffix(asked)) == Some(key);
        known.filter(is_same).or_else(|| self.flight(asked, &[], request))
    }

    /// Of what was found, or is to be stored; none if that has no key, or is not waited for.
    fn own_key<'a>(&'a self, asked: &'a Asked) -> Option<&'a CacheKey> {
        match self {
            Self::Nothing | Self::Failed | Self::Response(_) => Some(&asked.key),
            Self::Variant { key, .. } => Some(key),
            Self::Unkeyable | Self::Marked => None,
        }
    }
}

/// What keeps the flights of requests with credentials apart.
fn suffix(asked: &Asked) -> &'static str {
    if asked.ask.credentials.any() { WITH_CREDENTIALS } else { "" }
}
