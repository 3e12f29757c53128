//! A request that can not wait for others.

use super::{
    Flow, Lookup, answer,
    origin::{Answer, Carries, Origin},
};
use crate::{collapse::Overflow, status::CacheStatus};

impl<S, ReqBody> Flow<S, ReqBody>
where
    S: Origin<ReqBody>,
    ReqBody: Carries,
{
    /// It can not wait. The store is asked once more, since a second flight may have landed. `takes_stale`: to forward
    /// it would be no help, or no choice.
    pub(super) async fn overflow(
        self: Box<Self>,
        lookup: Lookup,
        status: CacheStatus,
        takes_stale: bool,
    ) -> Answer<S, ReqBody> {
        let tally = &self.asked.tally;
        self.core.counters.overflowed(tally);
        if let Some(response) = self.core.hit(&self.asked.key, &self.asked.ask, self.request.headers(), tally) {
            return Ok(response);
        }
        if let Some(stored) = lookup.stored().filter(|_| takes_stale)
            && let Some(response) = self.core.stale(stored, &self.asked, self.request.headers(), status)
        {
            tally.hit(false);
            return Ok(response);
        }
        match self.asked.policy.collapse.overflow {
            Overflow::Forward => self.alone(&lookup, status).await,
            Overflow::Unavailable => {
                tally.refused();
                Ok(answer::unavailable(status.with_detail("overflow")))
            }
        }
    }
}
