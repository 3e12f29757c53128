//! What is told of a cache when it is asked: a snapshot.

use std::{collections::BTreeMap, time::Duration};

use super::{histogram::Snapshot, hottest::Hot};
use crate::store::{ServerState, StoreSize};

/// What one cache has done since it was built: a snapshot.
///
/// Each request is counted once it is known what answers it: [`hits`](Self::hits), [`stale`](Self::stale),
/// [`collapsed`](Self::collapsed), [`forwards`](Self::forwards), [`bypasses`](Self::bypasses) or
/// [`refused`](Self::refused). What was computed without HTTP counts as a request.
///
/// ```
/// use microcache::{CacheLayer, MemoryStore};
///
/// let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
/// let stats = cache.handle().stats();
/// assert_eq!((stats.hits, stats.forwards), (0, 0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Requests answered with a fresh response from the store.
    pub hits: u64,
    /// Requests answered with a stale response from the store that did not go to the origin: it is refreshed meanwhile,
    /// the client allows it, or the request could not wait.
    pub stale: u64,
    /// Requests answered by the forward of another.
    pub collapsed: u64,
    /// Requests sent to the origin, those that were bypassed apart, whatever came of it.
    pub forwards: u64,
    /// Requests handed to the origin untouched.
    pub bypasses: u64,
    /// Requests that the cache answered with a failure of its own: 503, or 504 for `only-if-cached`.
    pub refused: u64,
    /// Why requests were forwarded, in the words of RFC 9211 §2.2.
    pub forward_reasons: BTreeMap<&'static str, u64>,
    /// Why requests were bypassed.
    pub bypass_reasons: BTreeMap<&'static str, u64>,
    /// Forwards in the background, which refresh what is stored.
    pub refreshes: u64,
    /// Requests that could not wait: the flight was full, or the wait limit passed.
    pub overflows: u64,
    /// Forwards that began beside another for the same, which took too long or is of before a purge.
    pub second_leaders: u64,
    /// Requests that went to the origin, which failed, and were answered with a stale response.
    pub stale_if_error: u64,
    /// Responses stored.
    pub stored: u64,
    /// Forwards whose response was not stored.
    pub not_stored: u64,
    /// Why they were not, in the words of `detail` in `Cache-Status`.
    pub not_stored_reasons: BTreeMap<&'static str, u64>,
    /// Responses not stored because a newer one was there, or a fence.
    pub fenced: u64,
    /// Times that the store failed or did not answer in time.
    pub store_errors: u64,
    /// Target URIs invalidated by unsafe methods (RFC 9111 §4.4).
    pub invalidations: u64,
    /// What was purged by the application.
    pub purges: u64,
    /// [`Tags`](crate::Tags) that were too long or too many to be kept: what had them ends with a purge by any tag.
    pub tags_dropped: u64,
    /// What there is at this moment.
    pub gauges: Gauges,
    /// How long requests took.
    pub latencies: Latencies,
    /// By route: those that the layer was built with, and `computed`.
    pub routes: Vec<RouteStats>,
    /// By tenant: `shared`, `unidentified`, the first 256 by name, and all others together as `other`.
    pub tenants: Vec<TenantStats>,
    /// The keys that were asked for most lately, the hottest first. Keys may hold personal data:
    /// [`CacheLayerBuilder::count_keys`](crate::CacheLayerBuilder::count_keys).
    pub hottest: Vec<HotKey>,
    /// The keys that were forwarded most lately, the worst first.
    pub offenders: Vec<HotKey>,
    /// Whether the whole cache is [paused](crate::CacheHandle::pause); for one route, see its own.
    pub is_paused: bool,
    /// What the store holds, as far as it knows.
    pub store: StoreSize,
    /// The servers of the store.
    pub servers: Vec<ServerState>,
    /// When the counting began, in milliseconds since 1970.
    pub since_ms: u64,
    /// When this snapshot was made.
    pub now_ms: u64,
}

/// What became of some of the requests: see [`Stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Requests {
    /// As [`Stats::hits`].
    pub hits: u64,
    /// As [`Stats::stale`].
    pub stale: u64,
    /// As [`Stats::collapsed`].
    pub collapsed: u64,
    /// As [`Stats::forwards`].
    pub forwards: u64,
    /// As [`Stats::bypasses`].
    pub bypasses: u64,
    /// As [`Stats::refused`].
    pub refused: u64,
    /// As [`Stats::overflows`].
    pub overflows: u64,
    /// As [`Stats::refreshes`].
    pub refreshes: u64,
    /// As [`Stats::second_leaders`].
    pub second_leaders: u64,
    /// As [`Stats::stale_if_error`].
    pub stale_if_error: u64,
    /// As [`Stats::stored`].
    pub stored: u64,
    /// As [`Stats::not_stored`].
    pub not_stored: u64,
    /// As [`Stats::not_stored_reasons`].
    pub not_stored_reasons: BTreeMap<&'static str, u64>,
    /// As [`Stats::fenced`].
    pub fenced: u64,
    /// As [`Stats::forward_reasons`].
    pub forward_reasons: BTreeMap<&'static str, u64>,
    /// As [`Stats::bypass_reasons`].
    pub bypass_reasons: BTreeMap<&'static str, u64>,
}

impl Requests {
    pub(super) fn add_forwards(&mut self, reason: &'static str, count: u64) {
        self.forwards += count;
        add(&mut self.forward_reasons, reason, count);
    }

    pub(super) fn add_bypasses(&mut self, reason: &'static str, count: u64) {
        self.bypasses += count;
        add(&mut self.bypass_reasons, reason, count);
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.hits += more.hits;
        self.stale += more.stale;
        self.collapsed += more.collapsed;
        self.refused += more.refused;
        self.overflows += more.overflows;
        self.refreshes += more.refreshes;
        self.second_leaders += more.second_leaders;
        self.stale_if_error += more.stale_if_error;
        self.stored += more.stored;
        self.not_stored += more.not_stored;
        self.fenced += more.fenced;
        for (reason, count) in &more.not_stored_reasons {
            add(&mut self.not_stored_reasons, reason, *count);
        }
        for (reason, count) in &more.forward_reasons {
            self.add_forwards(reason, *count);
        }
        for (reason, count) in &more.bypass_reasons {
            self.add_bypasses(reason, *count);
        }
    }
}

fn add(reasons: &mut BTreeMap<&'static str, u64>, reason: &'static str, count: u64) {
    if count > 0 {
        *reasons.entry(reason).or_default() += count;
    }
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouteStats {
    /// Its [label](crate::Policy::label), or its path; `default` for the paths without a route of their own.
    pub route: String,
    /// Whether its requests go to the origin untouched.
    pub is_paused: bool,
    /// What became of its requests.
    #[cfg_attr(feature = "admin", serde(flatten))]
    pub requests: Requests,
}

/// One tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TenantStats {
    /// Its name.
    pub tenant: String,
    /// What became of its requests.
    #[cfg_attr(feature = "admin", serde(flatten))]
    pub requests: Requests,
}

/// What there is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Gauges {
    /// Forwards that others wait for, or may.
    pub flights: u64,
    /// Requests that wait for them.
    pub waiting: u64,
    /// Keys that were not reusable lately, some of them a while ago.
    pub markers: u64,
}

/// How long requests took; none where there was no such request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Latencies {
    /// Hits that need not wait: one of 64 is measured.
    pub hit: Option<Latency>,
    /// Forwards, until the head of the response.
    pub forward: Option<Latency>,
    /// Waits for the forward of another.
    pub wait: Option<Latency>,
}

/// How long the faster ones took at most, to within a quarter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Latency {
    /// Half of them.
    #[cfg_attr(feature = "admin", serde(serialize_with = "as_micros"))]
    pub p50: Duration,
    /// 90 of a hundred.
    #[cfg_attr(feature = "admin", serde(serialize_with = "as_micros"))]
    pub p90: Duration,
    /// 99 of a hundred.
    #[cfg_attr(feature = "admin", serde(serialize_with = "as_micros"))]
    pub p99: Duration,
}

impl Latency {
    pub(super) fn of(snapshot: &Snapshot) -> Option<Self> {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| snapshot.quantile(q));
        Some(Self { p50: p50?, p90: p90?, p99: p99? })
    }
}

#[cfg(feature = "admin")]
fn as_micros<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// A key that is hot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "admin", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HotKey {
    /// The [short form](crate::CacheKey::short) of it.
    pub key: String,
    /// About how often at least, in the last minute, half of the minute before, and so on.
    pub count: u64,
}

impl From<Hot> for HotKey {
    fn from(hot: Hot) -> Self {
        Self { count: hot.at_least(), key: hot.key }
    }
}
