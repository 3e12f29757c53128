//! What the cache did with a request, as RFC 9211 says it. Written last, never read by a decision.

mod text;

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

pub(crate) use self::text::whole_seconds;

/// What the cache did with a request (RFC 9211): [`of`](Self::of) a response. Clients see it as its `Cache-Status` field,
/// where the cache calls itself `microcache` and does not show the key.
///
/// A response that the cache was not to handle (another method, a paused cache, the operator's word) is the
/// origin's, untouched, and has none.
///
/// ```
/// use microcache::{CacheStatus, ForwardReason};
///
/// fn log(response: &http::Response<()>) -> Option<ForwardReason> {
///     CacheStatus::of(response)?.forward_reason()
/// }
/// assert_eq!(log(&http::Response::new(())), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    forward: Option<ForwardReason>,
    forward_status: Option<StatusCode>,
    ttl: Option<i64>,
    stored: bool,
    collapsed: Option<bool>,
    detail: Option<&'static str>,
}

/// Why a request was sent to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardReason {
    /// The cache was told not to handle this request, or could not tell whose it is.
    Bypass,
    /// Nothing is stored under its key.
    UriMiss,
    /// Something is stored under its key, for other values of the fields in `Vary`.
    VaryMiss,
    /// A fresh response is stored, but not for a request like this one.
    Request,
    /// What is stored is stale.
    Stale,
}

impl ForwardReason {
    pub(crate) const ALL: [Self; 5] = [Self::Bypass, Self::UriMiss, Self::VaryMiss, Self::Request, Self::Stale];

    /// The token of RFC 9211.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl fmt::Display for ForwardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CacheStatus {
    pub(crate) fn hit(remaining: Duration) -> Self {
        Self { ttl: Some(whole(remaining)), ..Self::default() }
    }

    /// Served stale: §2.4 has a negative time to live for that.
    pub(crate) fn stale_hit(stale_for: Duration) -> Self {
        Self { ttl: Some(-whole(stale_for)), ..Self::default() }
    }

    /// Served stale, after the origin was asked in vain.
    pub(crate) fn with_stale(mut self, stale_for: Duration) -> Self {
        self.ttl = Some(-whole(stale_for));
        self
    }

    pub(crate) fn forward(reason: ForwardReason) -> Self {
        Self { forward: Some(reason), ..Self::default() }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.forward_status = Some(status);
        self
    }

    pub(crate) fn with_collapsed(mut self, collapsed: Option<bool>) -> Self {
        self.collapsed = collapsed;
        self
    }

    pub(crate) fn with_stored(mut self, remaining: Duration) -> Self {
        self.stored = true;
        self.ttl = Some(whole(remaining));
        self
    }

    pub(crate) fn with_detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// What a response says of what the cache did with its request: in its extensions, or, since a hit and one of many
    /// that waited have nothing to spare for these, in its field. Where this cache was not to handle the request, or says
    /// nothing ([`CacheStatusMode::Off`](crate::CacheStatusMode::Off)), that may be the field of another `microcache`
    /// nearer to the origin.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Option<Self> {
        response.extensions().get().copied().or_else(|| Self::of_field(response.headers()))
    }

    /// What [`is_in_field`](Self::is_in_field), as [`to_value`](Self::to_value) writes it.
    fn of_field(headers: &HeaderMap) -> Option<Self> {
        let line = headers.get_all(CACHE_STATUS).iter().next_back()?.to_str().ok()?;
        let mut told = line.strip_prefix(CACHE_NAME)?.strip_prefix("; ")?.split("; ");
        match (told.next()?, told.next()?) {
            ("hit", ttl) => {
                let ttl = ttl.strip_prefix("ttl=")?.parse().ok()?;
                Some(Self { ttl: Some(ttl), ..Self::default() })
            }
            (forward, "collapsed") if told.next().is_none_or(|more| more.starts_with("key=")) => {
                let reason = forward.strip_prefix("fwd=")?;
                let reason = ForwardReason::ALL.into_iter().find(|known| known.as_str() == reason)?;
                Some(Self::forward(reason).with_collapsed(Some(true)))
            }
            _ => None,
        }
    }

    /// Whether the field says all of it: of the many that are answered without a forward of their own, extensions would
    /// take a good part of the time.
    pub(crate) fn is_in_field(&self) -> bool {
        self.is_hit() || self.plainly_collapsed().is_some()
    }

    /// Why it was to be forwarded, if all there is to say is that another was.
    fn plainly_collapsed(&self) -> Option<ForwardReason> {
        self.forward.filter(|&reason| *self == Self::forward(reason).with_collapsed(Some(true)))
    }

    /// Whether the request was answered without going to the origin (§2.1).
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.forward.is_none()
    }

    /// Why it went to the origin, if it did (§2.2).
    #[must_use]
    pub fn forward_reason(&self) -> Option<ForwardReason> {
        self.forward
    }

    /// The status that the origin answered with (§2.3).
    #[must_use]
    pub fn forward_status(&self) -> Option<StatusCode> {
        self.forward_status
    }

    /// The remaining freshness in whole seconds, rounded up; negative when it was served stale (§2.4).
    #[must_use]
    pub fn ttl(&self) -> Option<i64> {
        self.ttl
    }

    /// Whether the response was stored, or is being stored while it streams (§2.5). An answer does not wait for a store
    /// that takes its time: then it does not say so, and may be stored all the same.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Whether it waited for another request's forward and was answered by it (§2.6).
    #[must_use]
    pub fn is_collapsed(&self) -> bool {
        self.collapsed == Some(true)
    }

    /// A word on why, e.g. `private` for a response that was not stored (§2.8).
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        self.detail
    }
}

/// Takes what the cache says of itself out of the field, and leaves it in the extensions unless `is_off`.
pub(crate) fn hide<B>(response: &mut Response<B>, is_off: bool) {
    let status = CacheStatus::of(response).filter(|_| !is_off);
    if let Some((lines, _)) = own(response.headers()) {
        put(response.headers_mut(), lines);
    }
    response.extensions_mut().remove::<CacheStatus>();
    if let Some(status) = status {
        response.extensions_mut().insert(status);
    }
}

/// Adds the key to what the cache says of itself (RFC 9211 §2.7).
pub(crate) fn show_key<B>(response: &mut Response<B>, key: &str) {
    let Some((mut lines, own)) = own(response.headers()) else { return };
    let mut text = own.to_str().unwrap_or(CACHE_NAME).to_owned();
    text.push_str("; key=\"");
    // RFC 8941 §3.3.3. A key is visible ASCII.
    for character in key.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    if let Ok(value) = HeaderValue::from_str(&text) {
        lines.push(value);
        put(response.headers_mut(), lines);
    }
}

/// The line that is this cache's, which is the last, and those before it.
fn own(headers: &HeaderMap) -> Option<(Vec<HeaderValue>, HeaderValue)> {
    let mut lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().cloned().collect();
    let own = lines.pop().filter(|own| own.as_bytes().starts_with(CACHE_NAME.as_bytes()))?;
    Some((lines, own))
}

fn put(headers: &mut HeaderMap, lines: Vec<HeaderValue>) {
    headers.remove(CACHE_STATUS);
    for line in lines {
        headers.append(CACHE_STATUS, line);
    }
}

/// Rounded up, as `Age` is rounded down: what is fresh says more than zero, and both add up to the lifetime.
fn whole(duration: Duration) -> i64 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i64::try_from(seconds).map_or(LARGEST, |seconds| seconds.min(LARGEST))
}

/// An integer of structured fields has 15 digits at most (RFC 8941 §3.3.1).
const LARGEST: i64 = 999_999_999_999_999;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(crate) const CACHE_NAME: &str = "microcache";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_response_says_is_in_its_extensions_or_if_it_is_a_hit_or_has_waited_in_its_last_line() {
        let hit = |ttl| Some(CacheStatus { ttl: Some(ttl), ..CacheStatus::default() });
        let collapsed = |reason| Some(CacheStatus::forward(reason).with_collapsed(Some(true)));
        let table: [(&[&'static str], _); 16] = [
            (&[], None),
            (&["microcache; hit; ttl=7"], hit(7)),
            (&["microcache; hit; ttl=-7; key=\"a;b\""], hit(-7)),
            (&["edge; hit", "microcache; hit; ttl=0"], hit(0)),
            (&["microcache; hit; ttl=7", "edge; fwd=miss"], None),
            (&["microcache; hit"], None),
            (&["microcache; hit; ttl=x"], None),
            (&["microcache2; hit; ttl=7"], None),
            (&["microcache; fwd=uri-miss"], None),
            (&["microcache; fwd=uri-miss; collapsed"], collapsed(ForwardReason::UriMiss)),
            (&["microcache; fwd=stale; collapsed; key=\"a\""], collapsed(ForwardReason::Stale)),
            (&["microcache; fwd=stale; collapsed; detail=origin-failed"], None),
            (&["microcache; fwd=stale; collapsed=?0"], None),
            (&["microcache; fwd=other; collapsed"], None),
            (&["microcache; hit; collapsed"], None),
            (&["microcache; fwd=uri-miss; collapsed", "edge; fwd=miss"], None),
        ];
        for (lines, expected) in table {
            let mut response = Response::new(());
            for line in lines {
                response.headers_mut().append(CACHE_STATUS, HeaderValue::from_static(line));
            }
            assert_eq!(CacheStatus::of(&response), expected, "{lines:?}");
            assert!(
                expected.is_none_or(|told| told.is_in_field() && lines[lines.len() - 1].contains(&told.to_string()))
            );

            let forward = CacheStatus::forward(ForwardReason::Stale);
            response.extensions_mut().insert(forward);
            assert_eq!(CacheStatus::of(&response), Some(forward), "{lines:?}");
        }
    }
}
