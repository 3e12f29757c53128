//! May this stored response answer this request now?

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::Credentials;
use crate::{
    rfc9111::request_directives::{MaxStale, RequestDirectives},
    status::ForwardReason,
    stored::StoredHead,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It may, and is fresh yet.
    Fresh { age: Duration, remaining: Duration },
    /// It may, though it is stale for so long: somebody allowed it.
    Stale {
        age: Duration,
        stale_for: Duration,
        /// It is to be refreshed meanwhile.
        refresh: bool,
    },
    /// It may not, and this is why the request goes to the origin.
    Unusable(ForwardReason),
}

/// RFC 9111 §4, for what was found in the store. `wishes`: what the client asked, where that counts.
pub(crate) fn reuse(
    stored: &StoredHead,
    credentials: Credentials,
    request: &HeaderMap,
    wishes: &RequestDirectives,
    now: SystemTime,
) -> Reuse {
    if let Err(reason) = selected(stored, credentials, request) {
        return Reuse::Unusable(reason);
    }
    // §5.2.1.4: not without asking the origin, however fresh.
    if wishes.no_cache {
        return Reuse::Unusable(ForwardReason::Request);
    }
    let age = stored.age(now);
    let remaining = stored.remaining(age, now);
    // A response is fresh while its age is below its lifetime (§4.2).
    if remaining.is_zero() {
        return stale(stored, wishes, age, now);
    }
    // §5.2.1.1: not older than this. RFC 8246 §2.1: a reload need not ask what the origin has promised.
    let is_too_old = wishes.max_age.is_some_and(|most| age > most.lifetime()) && !stored.staleness.is_immutable;
    // §5.2.1.3: fresh for this long yet.
    let is_ending = wishes.min_fresh.is_some_and(|least| remaining < least.lifetime());
    if is_too_old || is_ending { Reuse::Unusable(ForwardReason::Request) } else { Reuse::Fresh { age, remaining } }
}

/// RFC 9111 §4.2.4: a stale response is served only where somebody who may allows it.
fn stale(stored: &StoredHead, wishes: &RequestDirectives, age: Duration, now: SystemTime) -> Reuse {
    let unusable = Reuse::Unusable(ForwardReason::Stale);
    let Some(stale_for) = stored.stale_for(age, now) else { return unusable };
    if stored.staleness.is_forbidden || !takes_stale(wishes, age) {
        return unusable;
    }
    // RFC 5861 §3.
    let refresh = stale_for < stored.staleness.while_revalidate;
    // §5.2.1.2.
    let is_taken = match wishes.max_stale {
        Some(MaxStale::Any) => true,
        Some(MaxStale::AtMost(most)) => stale_for <= most,
        None => false,
    };
    if refresh || is_taken { Reuse::Stale { age, stale_for, refresh } } else { unusable }
}

/// The same under a soft fence: what is fresh is stale from now on, and may be served while it is refreshed, unless the
/// origin forbids what is stale (§4.2.4), or the client does not take it.
pub(crate) fn softened(verdict: Reuse, stored: &StoredHead, wishes: &RequestDirectives) -> Reuse {
    match verdict {
        Reuse::Fresh { age, .. } if !stored.staleness.is_forbidden && takes_stale(wishes, age) => {
            Reuse::Stale { age, stale_for: Duration::ZERO, refresh: true }
        }
        Reuse::Fresh { .. } => Reuse::Unusable(ForwardReason::Stale),
        Reuse::Stale { age, stale_for, .. } => Reuse::Stale { age, stale_for, refresh: true },
        Reuse::Unusable(reason) => Reuse::Unusable(reason),
    }
}

/// Whether the client would have a stale response of this age at all (§5.2.1.1, §5.2.1.3, §5.2.1.4).
fn takes_stale(wishes: &RequestDirectives, age: Duration) -> bool {
    // §5.2.1.1: `max-age` alone asks for a fresh one.
    let is_too_old = wishes.max_age.is_some_and(|most| wishes.max_stale.is_none() || age > most.lifetime());
    !(wishes.no_cache || wishes.min_fresh.is_some() || is_too_old)
}

/// RFC 5861 §4, when the origin has failed: for how long the response has been stale, if it may be served all the same.
pub(crate) fn if_error(
    stored: &StoredHead,
    credentials: Credentials,
    request: &HeaderMap,
    wishes: &RequestDirectives,
    now: SystemTime,
) -> Option<Duration> {
    selected(stored, credentials, request).ok()?;
    let age = stored.age(now);
    let stale_for = stored.stale_for(age, now)?;
    let is_allowed =
        !stored.staleness.is_forbidden && stale_for < stored.staleness.if_error && takes_stale(wishes, age);
    is_allowed.then_some(stale_for)
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
