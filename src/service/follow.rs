//! A follower: it waits for a flight, and takes what landed only if that would have been a hit for it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Response};
use tokio::time::{Instant, timeout_at};

use super::{Asked, Core, Flow, Lookup, answer, held, store::within};
use crate::{
    body::{CacheBody, End, FillReader, WeakFill},
    clock::monotonic,
    collapse::{Follower, Landing, Leader, Role},
    key::CacheKey,
    observe::trace,
    policy::selected,
    status::CacheStatus,
    store::Reach,
    stored::{Kind, Stored, StoredBody, StoredHead, StoredResponse},
};

/// What a flight brings: a head, and a body that is here or still coming.
#[derive(Clone)]
pub(crate) struct Landed {
    head: Arc<StoredHead>,
    body: LandedBody,
    /// Its content was there before the flight began.
    is_older: bool,
    /// What brought it.
    by: trace::Followed,
}

#[derive(Clone)]
enum LandedBody {
    Whole(StoredBody),
    /// `is_streamable`: its declared length fits the limit, so that followers may read along.
    Filling {
        fill: WeakFill,
        is_streamable: bool,
    },
}

impl From<StoredResponse> for Landed {
    fn from(stored: StoredResponse) -> Self {
        let is_older = stored.head.brought < stored.head.began;
        Self { head: stored.head, body: LandedBody::Whole(stored.body), is_older, by: trace::current() }
    }
}

impl Landed {
    /// What the leader had found before it forwarded.
    pub(super) fn found(stored: StoredResponse) -> Self {
        Self { is_older: true, ..Self::from(stored) }
    }

    pub(super) fn filling(head: Arc<StoredHead>, reader: &FillReader, is_streamable: bool) -> Self {
        let body = LandedBody::Filling { fill: reader.downgrade(), is_streamable };
        Self { head, body, is_older: false, by: trace::current() }
    }
}

/// A request that waits for a flight.
pub(super) struct Waiting<'a> {
    pub(super) follower: Follower<Landed>,
    pub(super) asked: &'a Asked,
    pub(super) fields: &'a HeaderMap,
    /// Those of which it was known when it joined that the flight began after they were purged.
    pub(super) tags: &'a [Box<str>],
    pub(super) status: CacheStatus,
    pub(super) deadline: Instant,
}

/// How following ended.
pub(super) enum Followed<B> {
    Answer(Response<CacheBody<B>>),
    /// All attempts failed, and there is nothing of it that this request may share.
    Spent,
    /// The leader failed; this request is its successor.
    Lead(Leader<Landed>),
    /// What landed is for one request alone.
    Alone,
    /// What landed was purged by one of its tags, maybe before this request came: look again.
    Purged(Arc<[Box<str>]>),
    /// What a flight brings that began then, or before, was purged through another process: look again.
    Fenced(Instant),
    /// What landed is another variant, or is gone: look again. The names tell the variants apart where nothing
    /// is stored.
    Again(Vec<HeaderName>),
    TimedOut,
}

impl<S, ReqBody> Flow<S, ReqBody> {
    /// Joins the flight of what is asked for, or begins it; none if this request shares nothing.
    pub(super) fn join(
        &self,
        lookup: &Lookup,
        names: &[HeaderName],
        tags: &[Box<str>],
        purged: Option<Instant>,
    ) -> Option<Role<Landed>> {
        let flight = lookup.flight(&self.asked, names, self.request.headers())?;
        let is_shared = self.asked.policy.collapse.on && !self.asked.ask.wishes().is_demanding();
        let may_wait = is_shared && !held::is_held(&flight);
        may_wait.then(|| self.core.join(flight, &self.asked, tags, purged))
    }
}

impl Core {
    /// As [`follow`](Self::follow); says how long that took, and what answered.
    pub(super) async fn wait<B>(&self, waiting: &Waiting<'_>) -> Followed<B> {
        let began = monotonic();
        let followed = trace::within(trace::wait(&waiting.asked.tally), self.follow(waiting)).await;
        waiting.asked.tally.waited(began.elapsed());
        match &followed {
            Followed::Answer(_) => waiting.asked.tally.collapsed(),
            Followed::Spent => waiting.asked.tally.refused(),
            _ => {}
        }
        followed
    }

    /// Waits until the deadline at most, and answers the request if it can.
    ///
    /// Many wait at a time, so that what few come to is apart: their futures are as large as the longest way.
    pub(super) async fn follow<B>(&self, waiting: &Waiting<'_>) -> Followed<B> {
        let (follower, asked) = (&waiting.follower, waiting.asked);
        loop {
            let (landed, is_failure) = match follower.landing(waiting.deadline).await {
                Landing::Reusable(landed) => (landed, false),
                Landing::Spent(Some(failure)) => (failure, true),
                Landing::NotReusable => return Followed::Alone,
                Landing::Lead(leader) => return Followed::Lead(leader),
                Landing::Spent(None) => return Followed::Spent,
                Landing::TimedOut => return Followed::TimedOut,
            };
            trace::follows(&landed.by);
            // A failure is not tried again, also where it is not for this request, or of before a purge.
            let unless_failed = |again| if is_failure { Followed::Spent } else { again };
            if selected(&landed.head, asked.ask.credentials, waiting.fields).is_err() {
                return unless_failed(Followed::Again(landed.head.nominated.names().cloned().collect()));
            }
            if self.is_purged(&asked.key, &landed.head, waiting.tags) {
                return unless_failed(Followed::Purged(Arc::clone(&landed.head.tags)));
            }
            if self.may_be_fenced(follower, &landed) && Box::pin(self.is_fenced(&asked.key, &landed)).await {
                return unless_failed(Followed::Fenced(follower.flight_began()));
            }
            let Landed { head, body, .. } = landed;
            let (fill, is_streamable) = match body {
                LandedBody::Whole(body) => return Followed::Answer(self.answer(waiting, head, body)),
                LandedBody::Filling { fill, is_streamable } => (fill, is_streamable),
            };
            let announced = monotonic();
            match Box::pin(self.read(waiting, head, fill, is_streamable)).await {
                Read::Answer(response) => return Followed::Answer(response),
                Read::TimedOut => {
                    // It streams for longer than anybody waits: who comes next need not try, if it has to.
                    if !is_streamable && announced.elapsed() * 2 >= asked.policy.collapse.wait_limit {
                        follower.mark();
                    }
                    return Followed::TimedOut;
                }
                // The flight knows by now how it ended.
                Read::Nothing if !is_failure => {}
                Read::Nothing | Read::Gone => return unless_failed(Followed::Again(Vec::new())),
            }
        }
    }

    /// Whether one of the tags that were not known before is that of a purge, hard or soft. The other fences were asked
    /// for when the request joined.
    fn is_purged(&self, key: &CacheKey, head: &StoredHead, known: &[Box<str>]) -> bool {
        let has_news = head.tags.iter().any(|tag| !known.contains(tag));
        has_news && self.cover(key, head).is_some()
    }

    /// Whether the store has to be asked if it was purged through another process. Who joins within the store's reach of
    /// the forward came before any such purge is promised to be seen here. Who joins later, or is to have what was found
    /// before, asks the store: a forward for those alone would be one more for each reach that the origin takes.
    fn may_be_fenced(&self, follower: &Follower<Landed>, landed: &Landed) -> bool {
        match self.store.reach() {
            Reach::Within(reach) => follower.came_after() >= reach || landed.is_older,
            Reach::Alone => false,
        }
    }

    async fn is_fenced(&self, key: &CacheKey, landed: &Landed) -> bool {
        let head = StoredResponse::new(Arc::clone(&landed.head), StoredBody::default());
        let asked = Stored::new(Kind::Response(head));
        within(self.store_deadline, self.store.is_fenced(key, &asked)).await.unwrap_or_else(|error| {
            self.counters.store_failed(&error);
            true
        })
    }

    /// What landed is all here.
    fn answer<B>(&self, waiting: &Waiting<'_>, head: Arc<StoredHead>, body: StoredBody) -> Response<CacheBody<B>> {
        let age = head.age(self.clock.now());
        waiting.asked.ask.answer(&StoredResponse::new(head, body), waiting.collapsed(), age)
    }

    /// Reads along, or waits for the end.
    async fn read<B>(
        &self,
        waiting: &Waiting<'_>,
        head: Arc<StoredHead>,
        fill: WeakFill,
        is_streamable: bool,
    ) -> Read<B> {
        let Some(mut reader) = fill.reader() else { return Read::Gone };
        let ask = &waiting.asked.ask;
        if !ask.needs_length() && (is_streamable || ask.takes_no_body(&head)) {
            let age = head.age(self.clock.now());
            return Read::Answer(ask.answer_filling(&head, reader, waiting.collapsed(), age));
        }
        match timeout_at(waiting.deadline, reader.ended()).await {
            Err(_) => Read::TimedOut,
            Ok(End::Whole(body)) => Read::Answer(self.answer(waiting, head, body)),
            Ok(_) => Read::Nothing,
        }
    }
}

impl Waiting<'_> {
    fn collapsed(&self) -> CacheStatus {
        self.status.with_collapsed(Some(true))
    }
}

enum Read<B> {
    Answer(Response<CacheBody<B>>),
    TimedOut,
    /// It broke off, or is too large.
    Nothing,
    /// Nobody reads it any more: it is stored by now, or it was given up.
    Gone,
}

/// All attempts failed, and there is nothing of it that may be shared.
pub(super) fn spent<B>(status: CacheStatus) -> Response<CacheBody<B>> {
    answer::unavailable(status.with_collapsed(Some(true)).with_detail("origin-failed"))
}
