//! A refresh in the background, while what is stale is served (RFC 5861 §3). No freshness arithmetic.

use std::{sync::Arc, time::Duration};

use super::{
    Core, Flow, Landed, Lookup,
    forward::Forward,
    held,
    lead::land,
    origin::{Carries, Origin},
    patience::Patience,
    turn::Turn,
};
use crate::{
    clock::monotonic,
    collapse::{Leader, in_background},
    status::{CacheStatus, ForwardReason},
};

impl<S, ReqBody> Flow<S, ReqBody>
where
    S: Origin<ReqBody>,
    ReqBody: Carries,
{
    /// Forwards in the background, unless somebody does so already, here or in another process. Nobody waits for it; who
    /// can not be served stale joins it.
    pub(super) fn refresh(mut self: Box<Self>, lookup: Lookup, is_near: bool) {
        let Some(flight) = lookup.flight(&self.asked, &[], self.request.headers()) else { return };
        // No key ends so, and no flight.
        let mark = format!("{flight}|~");
        let core = Arc::clone(&self.core);
        if held::is_held(&flight) || core.collapser.is_marked(&mark, monotonic()) {
            return;
        }
        let collapse = &self.asked.policy.collapse;
        let tenant = self.asked.key.tenant_component();
        let Some(leader) = core.collapser.lead(&flight, tenant, collapse, monotonic()) else { return };
        let limit = collapse.finish_limit;
        self.patience = Patience::without_client();
        let pause = Pause { core, mark: Some(mark) };
        in_background(held::hold(flight, self.refreshed(lookup, is_near, leader, pause)), limit);
    }

    async fn refreshed(mut self: Box<Self>, lookup: Lookup, is_near: bool, leader: Leader<Landed>, pause: Pause) {
        let (fields, patience) = (self.request.headers(), &mut self.patience);
        let mut lookup = self.core.look_before_forward(&self.asked, fields, lookup, is_near, patience).await;
        if self.core.reuse(&lookup, &self.asked.ask, fields).is_ok_and(|hit| hit.is_fresh) {
            pause.end();
            return land(leader, &lookup);
        }
        let mut lease = None;
        if self.core.store.is_shared() && self.asked.policy.collapse.leases {
            let (fields, patience) = (self.request.headers(), &mut self.patience);
            match self.core.look_for_turn::<S::ResBody>(&self.asked, fields, lookup, patience).await {
                Turn::Forward(found, granted) => (lookup, lease) = (found, granted),
                // Another process has done it, or does it. Who joined meanwhile, and may not have what is stale, waits for
                // that.
                Turn::Landed { found, .. } => {
                    pause.end();
                    return land(leader, &found);
                }
                Turn::Held(_) => return pause.end(),
                Turn::Marked(_) => return leader.not_reusable(monotonic()),
            }
        }
        let status = CacheStatus::forward(ForwardReason::Stale);
        // Whatever came of it is in the store, or nowhere. A body that is still coming is read to its end by its fill.
        let response = Forward::new(*self, &lookup, status, Some(leader)).refreshing().with_lease(lease).run().await;
        let said = response.ok().and_then(|response| CacheStatus::of(&response));
        if said.is_some_and(|said| said.is_stored()) {
            pause.end();
        }
    }
}

/// Unless it is ended, the next refresh has to wait: the origin has failed, or keeps its response to itself.
struct Pause {
    core: Arc<Core>,
    mark: Option<String>,
}

impl Pause {
    fn end(mut self) {
        self.mark = None;
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(mark) = &self.mark {
            self.core.collapser.mark(mark, PAUSE, monotonic());
        }
    }
}

/// How long after a refresh that failed.
const PAUSE: Duration = Duration::from_secs(1);
