//! May this stored response answer this request now?

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::Credentials;
use crate::{status::ForwardReason, stored::StoredHead};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It may, and is fresh yet.
    Fresh { age: Duration, remaining: Duration },
    /// It may not, and this is why the request goes to the origin.
    Unusable(ForwardReason),
}

/// RFC 9111 §4, for what was found in the store.
pub(crate) fn reuse(stored: &StoredHead, credentials: Credentials, request: &HeaderMap, now: SystemTime) -> Reuse {
    if let Err(reason) = selected(stored, credentials, request) {
        return Reuse::Unusable(reason);
    }
    let age = stored.age(now);
    let remaining = stored.remaining(age, now);
    // A response is fresh while its age is below its lifetime (§4.2).
    if remaining.is_zero() { Reuse::Unusable(ForwardReason::Stale) } else { Reuse::Fresh { age, remaining } }
}

/// The part that holds at any age: a follower asks no more of what has just landed (§4: a response that is
/// stored or storable may satisfy the requests that were collapsed with the one it answers).
pub(crate) fn selected(
    stored: &StoredHead,
    credentials: Credentials,
    request: &HeaderMap,
) -> Result<(), ForwardReason> {
    // §4.1: the fields nominated by `Vary` match.
    if !stored.nominated.matches(request) {
        return Err(ForwardReason::VaryMiss);
    }
    // The origin did not say that this is for everybody; the policy's guess is for strangers only.
    if stored.implied && credentials.any() {
        return Err(ForwardReason::Request);
    }
    Ok(())
}
