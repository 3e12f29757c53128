//! The one file that knows the `tracing` crate. Without its feature nothing is traced, and that costs nothing.
//!
//! The fields have the names that `Cache-Status` gives them (RFC 9211 §2), after `cache.`.

pub(crate) use self::traced::{Followed, current, follows, forward, happened, hit, said, store, wait, within};

#[cfg(feature = "tracing")]
mod traced {
    use std::future::Future;

    use tracing::{Instrument, Span, debug_span, field::Empty, trace_span};

    use crate::{
        observe::{Event, tally::Tally},
        status::{CacheStatus, ForwardReason},
    };

    /// The span that another follows from.
    pub(crate) type Followed = Option<tracing::Id>;

    /// A plain hit is an event: a span for each would cost more than the hit.
    #[inline]
    pub(crate) fn hit(tally: &Tally, status: &CacheStatus) {
        tracing::trace!(
            target: TARGET,
            { cache.hit = true, cache.ttl = status.ttl(), tenant = tally.tenant(), route = tally.route() },
            "hit"
        );
    }

    /// Of one request to the origin, until its response is stored or passed on.
    pub(crate) fn forward(tally: &Tally, status: &CacheStatus, is_refresh: bool) -> Span {
        debug_span!(
            target: TARGET,
            "forward",
            cache.fwd = status.forward_reason().map(ForwardReason::as_str),
            cache.fwd_status = Empty,
            cache.ttl = Empty,
            cache.stored = Empty,
            cache.collapsed = Empty,
            cache.detail = Empty,
            refresh = is_refresh,
            tenant = tally.tenant(),
            route = tally.route(),
        )
    }

    /// Of one request that waits for the forward of another.
    pub(crate) fn wait(tally: &Tally) -> Span {
        debug_span!(target: TARGET, "wait", tenant = tally.tenant(), route = tally.route())
    }

    pub(crate) fn store(operation: &'static str) -> Span {
        trace_span!(target: TARGET, "store", operation)
    }

    /// Says in the current span what the cache did.
    pub(crate) fn said(status: Option<&CacheStatus>) {
        let span = Span::current();
        let Some(status) = status.filter(|_| !span.is_disabled()) else { return };
        span.record("cache.stored", status.is_stored());
        span.record("cache.collapsed", status.is_collapsed());
        if let Some(code) = status.forward_status() {
            span.record("cache.fwd_status", code.as_u16());
        }
        if let Some(ttl) = status.ttl() {
            span.record("cache.ttl", ttl);
        }
        if let Some(detail) = status.detail() {
            span.record("cache.detail", detail);
        }
    }

    pub(crate) fn happened(event: &Event) {
        match event {
            Event::BreakerClosed { .. } | Event::Purged { .. } | Event::Switched { .. } => {
                tracing::info!(target: TARGET, ?event);
            }
            _ => tracing::warn!(target: TARGET, ?event),
        }
    }

    /// The span that this runs in.
    pub(crate) fn current() -> Followed {
        Span::current().id()
    }

    /// What the current span waited for.
    pub(crate) fn follows(followed: &Followed) {
        Span::current().follows_from(followed.clone());
    }

    pub(crate) fn within<F: Future>(span: Span, future: F) -> impl Future<Output = F::Output> {
        future.instrument(span)
    }

    const TARGET: &str = "microcache";
}

#[cfg(not(feature = "tracing"))]
mod traced {
    use crate::{
        observe::{Event, tally::Tally},
        status::CacheStatus,
    };

    /// Nothing.
    pub(crate) struct Span;

    /// Nothing.
    #[derive(Clone)]
    pub(crate) struct Followed;

    #[inline(always)]
    pub(crate) fn hit(_: &Tally, _: &CacheStatus) {}

    #[inline(always)]
    pub(crate) fn forward(_: &Tally, _: &CacheStatus, _: bool) -> Span {
        Span
    }

    #[inline(always)]
    pub(crate) fn wait(_: &Tally) -> Span {
        Span
    }

    #[inline(always)]
    pub(crate) fn store(_: &'static str) -> Span {
        Span
    }

    #[inline(always)]
    pub(crate) fn said(_: Option<&CacheStatus>) {}

    #[inline(always)]
    pub(crate) fn happened(_: &Event) {}

    #[inline(always)]
    pub(crate) fn current() -> Followed {
        Followed
    }

    #[inline(always)]
    pub(crate) fn follows(_: &Followed) {}

    #[inline(always)]
    pub(crate) fn within<F>(_: Span, future: F) -> F {
        future
    }
}
