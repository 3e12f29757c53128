//! What a store holds: stored responses, the index of the variants under a key, and markers that there is nothing.
//!
//! Immutable and cheap to clone. Decides nothing; imports neither policy nor store nor service.

#[cfg(feature = "memcached")]
pub(crate) mod codec;
mod index;
mod interned;
mod kind;
mod marker;
#[cfg(feature = "memcached")]
pub(crate) mod raised;
mod staleness;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

pub use self::kind::Stored;
pub(crate) use self::{
    index::{KnownVariant, VariantIndex},
    interned::twin,
    kind::Kind,
    marker::Marker,
    staleness::Staleness,
};
use crate::{
    rfc9111::{age, variants::Nominated},
    status,
};

/// A response as a store holds it: immutable, and cheap to clone (two reference counts).
///
/// Its fields are those of RFC 9111 §3.1, with a place for `Age` that is filled in for each hit.
#[derive(Clone)]
pub struct StoredResponse {
    pub(crate) head: Arc<StoredHead>,
    pub(crate) body: StoredBody,
    /// A soft fence covers it: it is stale, however fresh.
    pub(crate) is_softened: bool,
}

/// A complete body.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredBody {
    pub(crate) bytes: Bytes,
    pub(crate) trailers: Option<Arc<HeaderMap>>,
}

/// Everything about a stored response but its body.
#[derive(Debug)]
pub(crate) struct StoredHead {
    pub(crate) status: StatusCode,
    /// They come after [`places_before`] them.
    pub(crate) headers: HeaderMap,
    /// Whether the place for `Cache-Status` is there: the second field.
    pub(crate) has_status_place: bool,
    /// The request fields that its `Vary` nominates, as they were.
    pub(crate) nominated: Nominated,
    /// When the forward began that said the last word of it.
    pub(crate) began: SystemTime,
    /// When the forward began that brought its content: the same, unless that was confirmed since.
    pub(crate) brought: SystemTime,
    /// `response_time` of RFC 9111 §4.2.3.
    pub(crate) response_time: SystemTime,
    /// `corrected_initial_age` of RFC 9111 §4.2.3.
    pub(crate) initial_age: Duration,
    /// From generation, in total.
    pub(crate) freshness_lifetime: Duration,
    /// The freshness lifetime is the policy's, not the origin's: never for requests with credentials.
    pub(crate) implied: bool,
    pub(crate) staleness: Staleness,
    /// The origin can be asked whether it still holds (RFC 9111 §4.3.1).
    pub(crate) has_validator: bool,
    /// By which it can be purged: sorted, each once.
    pub(crate) tags: Arc<[Box<str>]>,
}

impl StoredHead {
    /// What was left of the freshness lifetime on arrival.
    pub(crate) fn initially_remaining(&self) -> Duration {
        self.freshness_lifetime.saturating_sub(self.initial_age)
    }

    /// For how long, from its arrival, it can be of use: fresh, stale where that is allowed, or to be validated.
    pub(crate) fn useful_for(&self) -> Duration {
        let validatable = if self.has_validator { KEPT_FOR_VALIDATION } else { Duration::ZERO };
        self.servable_for().max(self.initially_remaining().saturating_add(validatable))
    }

    /// For how long, from its arrival, it can be served: fresh, or stale where that is allowed.
    pub(crate) fn servable_for(&self) -> Duration {
        let Staleness { while_revalidate, if_error, .. } = self.staleness;
        self.initially_remaining().saturating_add(while_revalidate.max(if_error))
    }

    /// How many bytes of memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| size_of_val(tag) + tag.len()).sum();
        size_of::<Self>() + fields_bytes(&self.headers) + self.nominated.weight_bytes() + tags
    }

    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        age::current_age(self.initial_age, self.response_time, now)
    }

    /// For how long it has been stale at this age; none if it can not be known (the clock was set back).
    pub(crate) fn stale_for(&self, age: Duration, now: SystemTime) -> Option<Duration> {
        (!self.is_ahead(now)).then(|| age.saturating_sub(self.freshness_lifetime))
    }

    /// What remains of the freshness lifetime at this age; zero is stale (RFC 9111 §4.2).
    pub(crate) fn remaining(&self, age: Duration, now: SystemTime) -> Duration {
        if self.is_ahead(now) { Duration::ZERO } else { self.freshness_lifetime.saturating_sub(age) }
    }

    /// The clock was set back past the moment of receipt: the age is unknown, and unknown is stale.
    fn is_ahead(&self, now: SystemTime) -> bool {
        self.response_time > now && age::since(self.response_time, now) > CLOCK_SKEW
    }

    /// Its fields without [`places_before`] them.
    pub(crate) fn without_places(&self) -> HeaderMap {
        let places = 1 + usize::from(self.has_status_place);
        self.headers.iter().skip(places).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Its fields, as they go out at this age, with what the cache did in the place for that.
    pub(crate) fn headers_at(&self, age: Duration, status: HeaderValue) -> HeaderMap {
        let mut headers = self.headers.clone();
        let mut places = headers.values_mut();
        // `places_before` put them first; there they are found without a search.
        if let Some(place) = places.next() {
            *place = status::whole_seconds(age.as_secs());
        }
        match places.next() {
            Some(place) if self.has_status_place => *place = status,
            _ => {
                headers.append(status::CACHE_STATUS, status);
            }
        }
        headers
    }
}

impl StoredResponse {
    pub(crate) fn new(head: Arc<StoredHead>, body: StoredBody) -> Self {
        Self { head, body, is_softened: false }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The stored fields, every line in order.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The body; cloning it copies nothing.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body.bytes
    }

    /// The trailers that followed the body.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.body.trailers.as_deref()
    }

    /// How old it is at `now` (RFC 9111 §4.2.3).
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        self.head.age(now)
    }

    /// Whether it is fresh at `now` (RFC 9111 §4.2).
    #[must_use]
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        !self.head.remaining(self.age(now), now).is_zero()
    }

    /// How many bytes of memory it takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.head.size_bytes() + self.trailers().map_or(0, fields_bytes) + self.body.bytes.len()
    }
}

impl fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the fields and the body: they are somebody's data.
        f.debug_struct("StoredResponse")
            .field("status", &self.head.status)
            .field("freshness_lifetime", &self.head.freshness_lifetime)
            .field("size_bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}

/// A map that begins with places for `Age` and `Cache-Status`, so that a hit neither grows it nor searches it, and
/// whether the second is there, for `fields` to follow. Where caches nearer to the origin have spoken, ours is one more
/// line after theirs.
pub(crate) fn places_before(fields: &HeaderMap) -> (HeaderMap, bool) {
    let has_status_place = !fields.contains_key(status::CACHE_STATUS);
    let mut headers = HeaderMap::new();
    // One more for `Date`, which may be missing. Whether there is as much room shows when they are added.
    let _ = headers.try_reserve(fields.len().saturating_add(3));
    headers.insert(header::AGE, HeaderValue::from_static("0"));
    if has_status_place {
        headers.insert(status::CACHE_STATUS, HeaderValue::from_static(status::CACHE_NAME));
    }
    (headers, has_status_place)
}

/// Fields as they are kept for long: with shared values, and without room to spare.
#[cfg(feature = "memcached")]
pub(crate) fn compact(mut fields: HeaderMap) -> HeaderMap {
    for (name, value) in &mut fields {
        if let Some(twin) = twin(name, value) {
            *value = twin;
        }
    }
    // A clone has no room to spare.
    fields.clone()
}

/// What a header map without room to spare takes: its entries, its table, and the text of its fields.
fn fields_bytes(headers: &HeaderMap) -> usize {
    let text: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    headers.len() * BYTES_PER_FIELD + text
}

/// A bucket with its hash, name and value, and its share of the table.
const BYTES_PER_FIELD: usize = 128;

/// How far in the future a stored response may lie: clocks of one fleet differ a little.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(1);

/// How long a stale response waits for the origin to say that it still holds.
const KEPT_FOR_VALIDATION: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::field::testing;

    #[test]
    fn fields_are_the_same_after_their_places_are_gone() {
        for lines in [
            &[("x-a", "1"), ("x-b", "2"), ("x-a", "3")][..],
            &[("x-a", "1"), ("cache-status", "other; hit"), ("x-b", "2"), ("cache-status", "third")],
            &[],
        ] {
            let fields = testing::headers(lines);
            let (mut headers, has_status_place) = places_before(&fields);
            headers.extend(fields.clone());
            let head = StoredHead {
                status: StatusCode::OK,
                headers,
                has_status_place,
                nominated: Nominated::default(),
                began: UNIX_EPOCH,
                brought: UNIX_EPOCH,
                response_time: UNIX_EPOCH,
                initial_age: Duration::ZERO,
                freshness_lifetime: Duration::ZERO,
                implied: false,
                staleness: Staleness::default(),
                has_validator: false,
                tags: Arc::default(),
            };

            let found = head.without_places();

            assert!(found.iter().eq(fields.iter()), "{lines:?}: {found:?}");
        }
    }

    #[test]
    fn fields_take_no_more_than_is_said_however_many_there_are() {
        let names: Vec<String> = (0..40).map(|number| format!("x-{number}")).collect();
        for most in 0..=names.len() {
            let lines: Vec<_> = names[..most].iter().map(|name| (name.as_str(), "1")).collect();
            let fields = testing::headers(&lines);
            let (mut headers, _) = places_before(&fields);
            headers.extend(fields);

            let kept = headers.clone();
            // Their entries and their table; the text is shared.
            let taken = allocation_counter::measure(|| drop(kept.clone())).bytes_total;

            assert!(taken <= fields_bytes(&kept) as u64, "{taken} bytes for {most} fields");
        }
    }
}
