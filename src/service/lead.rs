//! A leader: it forwards for all that wait, unless somebody was faster.

use std::future::Future;

use tokio::time::Instant;

use super::{
    Flow, Forward, Landed, Lookup, answer, held,
    origin::{Answer, Carries, Origin},
    turn::Turn,
};
use crate::{
    clock::monotonic,
    collapse::{FinishOnDrop, Leader, Overflow},
    status::CacheStatus,
};

impl<S, ReqBody> Flow<S, ReqBody>
where
    S: Origin<ReqBody>,
    ReqBody: Carries,
{
    /// Forwards for all that wait, also if its own client leaves. `is_near`: what was found, the store had at hand.
    pub(super) fn lead(
        self: Box<Self>,
        leader: Leader<Landed>,
        lookup: Lookup,
        is_near: bool,
        status: CacheStatus,
        deadline: Instant,
    ) -> impl Future<Output = Answer<S, ReqBody>> + Send {
        let finish_limit = self.asked.policy.collapse.finish_limit;
        // From here on: a client that leaves while it waits for its turn is no failure of the origin.
        let led = held::hold(leader.key(), self.led(leader, lookup, is_near, status, deadline));
        let led = FinishOnDrop::new(led, finish_limit);
        // Not a future with all that leading takes: who follows would carry it.
        async move {
            match led.await {
                Led::Answer(answer) => answer,
                Led::Alone(alone) => {
                    let (flow, lookup) = *alone;
                    flow.alone(&lookup, status).await
                }
            }
        }
    }

    /// Another flight may have landed between the look and the join: then there is nothing to forward.
    async fn led(
        mut self: Box<Self>,
        leader: Leader<Landed>,
        lookup: Lookup,
        is_near: bool,
        status: CacheStatus,
        deadline: Instant,
    ) -> Led<Box<Self>, Answer<S, ReqBody>> {
        let (fields, patience) = (self.request.headers(), &mut self.patience);
        let lookup = self.core.look_before_forward(&self.asked, fields, lookup, is_near, patience).await;
        if let Ok(hit) = self.core.reuse(&lookup, &self.asked.ask, self.request.headers())
            && hit.is_fresh
        {
            hit.count(&self.asked.tally);
            let response = hit.answer(&self.asked.ask);
            land(leader, &lookup);
            return Led::Answer(Ok(response));
        }
        let (mut lookup, mut lease) = (lookup, None);
        if self.core.store.is_shared() && self.asked.policy.collapse.leases {
            let (fields, patience) = (self.request.headers(), &mut self.patience);
            // Apart, so that a miss in memory does not carry it.
            match Box::pin(self.core.turn(&self.asked, fields, lookup, deadline, patience)).await {
                Turn::Forward(found, granted) => (lookup, lease) = (found, granted),
                Turn::Landed { found, response, is_fresh } => {
                    self.asked.tally.hit(is_fresh);
                    land(leader, &found);
                    return Led::Answer(Ok(response));
                }
                Turn::Marked(found) => {
                    leader.not_reusable(monotonic());
                    return Led::Alone(Box::new((self, found)));
                }
                Turn::Held(found) => {
                    self.core.counters.overflowed(&self.asked.tally);
                    let stored = found.stored();
                    let fields = self.request.headers();
                    if let Some(response) =
                        stored.and_then(|stored| self.core.stale(stored, &self.asked, fields, status))
                    {
                        self.asked.tally.hit(false);
                        land(leader, &found);
                        return Led::Answer(Ok(response));
                    }
                    if self.asked.policy.collapse.overflow == Overflow::Unavailable {
                        self.asked.tally.refused();
                        return Led::Answer(Ok(answer::unavailable(status.with_detail("overflow"))));
                    }
                    lookup = found;
                }
            }
        }
        let forward = Forward::new(*self, &lookup, status, Some(leader)).with_lease(lease);
        Led::Answer(forward.run().await)
    }
}

/// There is nothing to forward any more.
pub(super) fn land(leader: Leader<Landed>, lookup: &Lookup) {
    match lookup.stored() {
        Some(stored) => leader.bring(stored.clone().into(), monotonic()),
        None => leader.land(),
    }
}

/// How leading ended.
enum Led<Flow, Answer> {
    Answer(Answer),
    /// There is nothing to lead: it forwards for itself only, if its client is still there.
    Alone(Box<(Flow, Lookup)>),
}
