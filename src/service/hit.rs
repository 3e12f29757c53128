//! What the store has for a request, and may be reused.

use std::time::Duration;

use http::Response;

use super::answer::Ask;
use crate::{
    body::CacheBody,
    observe::{Tally, trace},
    status::CacheStatus,
    stored::StoredResponse,
};

/// What was found may be reused.
pub(super) struct Hit<'a> {
    pub(super) stored: &'a StoredResponse,
    pub(super) status: CacheStatus,
    pub(super) age: Duration,
    pub(super) is_fresh: bool,
    /// It is stale, and to be refreshed meanwhile.
    pub(super) refresh: bool,
}

impl Hit<'_> {
    /// It answers a request.
    #[inline]
    pub(super) fn count(&self, tally: &Tally) {
        tally.hit(self.is_fresh);
        trace::hit(tally, &self.status);
    }

    #[inline]
    pub(super) fn answer<B>(&self, ask: &Ask) -> Response<CacheBody<B>> {
        ask.answer(self.stored, self.status, self.age)
    }
}
