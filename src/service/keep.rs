//! What came, on its way into the store. The answer does not wait for a store that takes its time.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use http::response;

use super::{
    Core, Landed,
    job::{Digested, Job},
    origin::Carries,
    patience::{BACKGROUND_LIMIT, Patience},
    pump::Use,
    store::Place,
    turn::TurnLease,
};
use crate::{
    body::CacheBody,
    clock::{later, monotonic},
    collapse::{Leader, in_background},
    store::Put,
    stored::StoredResponse,
};

/// A response, its place in the store, and who waits for it to be there.
pub(super) struct Keep {
    pub(super) core: Arc<Core>,
    pub(super) place: Place,
    pub(super) response: StoredResponse,
    pub(super) leader: Option<Leader<Landed>>,
    pub(super) lease: Option<TurnLease>,
}

/// What is known of it when the answer could go out.
pub(super) enum Kept {
    /// Whether it is stored; none if who comes after the answer finds it in the flight, until it is stored.
    Told(Option<bool>),
    /// What is left to do, and to be waited for.
    Waits(BoxFuture<'static, bool>),
}

impl Keep {
    /// Who waits is answered, and who comes joins the flight, until it is stored: there, or in the flight, whoever may
    /// have it finds it at any moment.
    pub(super) fn begin(self, has_client: bool) -> Kept {
        let Self { core, place, response, leader, lease } = self;
        let clock = Arc::clone(&core.clock);
        let came = response.clone();
        let mut kept = async move {
            let kept = core.keep(&place, &response).await;
            match (lease, &kept) {
                // The other processes need not wait for the next one either. A store that fails says nothing of that, and
                // what was purged nothing of what comes next.
                (Some(lease), Ok(Put::Declined)) => lease.mark(&core, response.head.began),
                (lease, _) => drop(lease),
            }
            matches!(kept, Ok(Put::Stored))
        }
        .boxed();
        match ((&mut kept).now_or_never(), leader) {
            (Some(is_stored), leader) => {
                // Stored first: who comes after the landing finds it there.
                if let Some(leader) = leader {
                    leader.bring(Landed::from(came), monotonic());
                }
                Kept::Told(Some(is_stored))
            }
            (None, None) => Kept::Waits(kept),
            (None, Some(leader)) => {
                let now = clock.now();
                let remaining = came.head.remaining(came.head.age(now), now);
                leader.announce(Landed::from(came), later(monotonic(), remaining));
                let rest = kept.inspect(move |_| leader.land()).boxed();
                if !has_client {
                    return Kept::Waits(rest);
                }
                in_background(rest, BACKGROUND_LIMIT);
                Kept::Told(None)
            }
        }
    }
}

impl Job {
    pub(super) fn keep(&mut self, place: Place, response: StoredResponse) -> Kept {
        let (core, leader, lease) = (Arc::clone(&self.core), self.leader.take(), self.lease.take());
        Keep { core, place, response, leader, lease }.begin(self.patience.has_client())
    }

    /// The body is here: store, publish, answer.
    pub(super) fn whole<B>(
        mut self: Box<Self>,
        head: response::Parts,
        stored: StoredResponse,
        place: Place,
        purpose: Use,
    ) -> Digested<B>
    where
        B: Carries,
    {
        if purpose == Use::Store && !stored.head.useful_for().is_zero() {
            match self.keep(place, stored.clone()) {
                Kept::Told(is_stored) => self.say_stored(is_stored, &stored),
                Kept::Waits(rest) => {
                    let answer = async move {
                        let is_stored = self.patience.see(rest).await;
                        self.say_stored(is_stored, &stored);
                        self.pass(head, CacheBody::stored(stored.body), self.status)
                    };
                    return Digested::Later(answer.boxed());
                }
            }
        } else {
            self.asked.tally.not_stored(purpose.not_stored());
            let landed = Landed::from(stored.clone());
            match (self.leader.take(), purpose) {
                (Some(leader), Use::Store | Use::Pass) => leader.bring(landed, monotonic()),
                (Some(leader), Use::Share) => leader.spend(Some(landed)),
                (None, _) => {}
            }
        }
        Digested::Answer(self.pass(head, CacheBody::stored(stored.body), self.status))
    }

    fn say_stored(&mut self, is_stored: Option<bool>, stored: &StoredResponse) {
        if is_stored == Some(true) {
            self.status = self.status.with_stored(stored.head.initially_remaining());
        }
    }
}

impl Patience {
    /// Whether it is stored, if that is known when the answer can go out.
    pub(super) async fn told(&mut self, kept: Kept) -> Option<bool> {
        match kept {
            Kept::Told(is_stored) => is_stored,
            Kept::Waits(rest) => self.see(rest).await,
        }
    }
}
