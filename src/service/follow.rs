//! A follower: it waits for a flight, and takes what landed only if that would have been a hit for it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Response};
use tokio::time::{Instant, timeout_at};

use super::{
    Asked, Core,
    answer::{self, Ask},
    store::within,
};
use crate::{
    body::{CacheBody, End, FillReader, WeakFill},
    clock::monotonic,
    collapse::{Follower, Landing, Leader},
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

/// How following ended.
pub(super) enum Followed<B> {
    Answer(Response<CacheBody<B>>),
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

impl Core {
    /// As [`follow`](Self::follow); says how long that took, and what answered.
    pub(super) async fn wait<B>(
        &self,
        follower: Follower<Landed>,
        asked: &Asked,
        fields: &HeaderMap,
        tags: &[Box<str>],
        status: CacheStatus,
        deadline: Instant,
    ) -> Followed<B> {
        let (began, span) = (monotonic(), trace::wait(&asked.tally));
        let followed = trace::within(span, self.follow(follower, asked, fields, tags, status, deadline)).await;
        asked.tally.waited(began.elapsed());
        if let Followed::Answer(response) = &followed {
            match CacheStatus::of(response) {
                Some(status) if status.detail() == Some(ORIGIN_FAILED) => asked.tally.refused(),
                _ => asked.tally.collapsed(),
            }
        }
        followed
    }

    /// Waits until `deadline` at most, and answers the request if it can. `tags`: those of which it was known when it
    /// joined that the flight began after they were purged.
    pub(super) async fn follow<B>(
        &self,
        follower: Follower<Landed>,
        asked: &Asked,
        fields: &HeaderMap,
        tags: &[Box<str>],
        status: CacheStatus,
        deadline: Instant,
    ) -> Followed<B> {
        let status = status.with_collapsed(Some(true));
        loop {
            let (landed, is_failure) = match follower.landing(deadline).await {
                Landing::Reusable(landed) => (landed, false),
                Landing::Spent(Some(failure)) => (failure, true),
                Landing::NotReusable => return Followed::Alone,
                Landing::Lead(leader) => return Followed::Lead(leader),
                Landing::Spent(None) => return Followed::Answer(spent(status)),
                Landing::TimedOut => return Followed::TimedOut,
            };
            trace::follows(&landed.by);
            if selected(&landed.head, asked.ask.credentials, fields).is_err() {
                return match is_failure {
                    true => Followed::Answer(spent(status)),
                    false => Followed::Again(landed.head.nominated.names().cloned().collect()),
                };
            }
            // A failure is not tried again, and of before a purge it is not served either.
            if self.is_purged(&asked.key, &landed.head, tags) {
                return match is_failure {
                    true => Followed::Answer(spent(status)),
                    false => Followed::Purged(Arc::clone(&landed.head.tags)),
                };
            }
            if self.is_fenced(&follower, &asked.key, &landed).await {
                return match is_failure {
                    true => Followed::Answer(spent(status)),
                    false => Followed::Fenced(follower.flight_began()),
                };
            }
            let announced = monotonic();
            match self.take(landed, &asked.ask, status, deadline).await {
                Taken::Answer(response) => return Followed::Answer(response),
                Taken::TimedOut { is_streamable } => {
                    // It streams for longer than anybody waits: who comes next need not try, if it has to.
                    if !is_streamable && announced.elapsed() * 2 >= asked.policy.collapse.wait_limit {
                        follower.mark();
                    }
                    return Followed::TimedOut;
                }
                Taken::Nothing | Taken::Gone if is_failure => return Followed::Answer(spent(status)),
                // The flight knows by now how it ended.
                Taken::Nothing => {}
                Taken::Gone => return Followed::Again(Vec::new()),
            }
        }
    }

    /// Whether one of the tags that were not known before is that of a purge, hard or soft. The other fences were asked
    /// for when the request joined.
    fn is_purged(&self, key: &CacheKey, head: &StoredHead, known: &[Box<str>]) -> bool {
        let has_news = head.tags.iter().any(|tag| !known.contains(tag));
        has_news && self.cover(key, head).is_some()
    }

    /// Whether it was purged through another process. Who joins within the store's reach of the forward came before any
    /// such purge is promised to be seen here. Who joins later, or is to have what was found before, asks the store: a
    /// forward for those alone would be one more for each reach that the origin takes.
    async fn is_fenced(&self, follower: &Follower<Landed>, key: &CacheKey, landed: &Landed) -> bool {
        let Reach::Within(reach) = self.store.reach() else { return false };
        if follower.came_after() < reach && !landed.is_older {
            return false;
        }
        let head = StoredResponse::new(Arc::clone(&landed.head), StoredBody::default());
        let asked = Stored::new(Kind::Response(head));
        within(self.store_deadline, self.store.is_fenced(key, &asked)).await.unwrap_or_else(|error| {
            self.counters.store_failed(&error);
            true
        })
    }

    async fn take<B>(&self, landed: Landed, ask: &Ask, status: CacheStatus, deadline: Instant) -> Taken<B> {
        let now = self.clock.now();
        let (fill, is_streamable) = match landed.body {
            LandedBody::Whole(body) => {
                let age = landed.head.age(now);
                return Taken::Answer(ask.answer(&StoredResponse::new(landed.head, body), status, age));
            }
            LandedBody::Filling { fill, is_streamable } => (fill, is_streamable),
        };
        let Some(mut reader) = fill.reader() else { return Taken::Gone };
        if !ask.needs_length() && (is_streamable || ask.takes_no_body(&landed.head)) {
            return Taken::Answer(ask.answer_filling(&landed.head, reader, status, landed.head.age(now)));
        }
        match timeout_at(deadline, reader.ended()).await {
            Err(_) => Taken::TimedOut { is_streamable },
            Ok(End::Whole(body)) => {
                let age = landed.head.age(self.clock.now());
                Taken::Answer(ask.answer(&StoredResponse::new(landed.head, body), status, age))
            }
            Ok(_) => Taken::Nothing,
        }
    }
}

enum Taken<B> {
    Answer(Response<CacheBody<B>>),
    TimedOut {
        /// It is only this request that had to wait for the end.
        is_streamable: bool,
    },
    /// It broke off, or is too large.
    Nothing,
    /// Nobody reads it any more: it is stored by now, or it was given up.
    Gone,
}

/// All attempts failed, and there is nothing of it that may be shared.
fn spent<B>(status: CacheStatus) -> Response<CacheBody<B>> {
    answer::unavailable(status.with_detail(ORIGIN_FAILED))
}

const ORIGIN_FAILED: &str = "origin-failed";
