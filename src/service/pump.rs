//! The pump of a fill: reads the origin's body to its end, stores it, and says how it ended.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http_body::SizeHint;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use super::{
    Core, Invalidation, Landed, job::Job, keep::Keep, origin::Carries, patience::Patience, store::Place,
    turn::TurnLease,
};
use crate::{
    body::{BodyError, End, Fill, FillReader, FillState, concatenate},
    clock::monotonic,
    collapse::{Announcer, Leader},
    field::{ContentLength, content_length},
    observe::Tally,
    policy::SkipReason,
    stored::{StoredBody, StoredHead, StoredResponse},
};

/// What a response is good for beyond the request it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is stored, and shared with those that wait.
    Store,
    /// It is shared with those that wait, and its key is asked for too seldom to store it.
    Pass,
    /// It is the last of several failures, and shared with those that wait.
    Share,
}

impl Use {
    /// Why a response is not stored that could be, in the words of `SkipReason`.
    pub(super) fn not_stored(self) -> &'static str {
        match self {
            Self::Store => "no-freshness",
            Self::Pass => SkipReason::OneOff.detail(),
            Self::Share => SkipReason::Status.detail(),
        }
    }
}

/// What a fill is for.
pub(super) struct Pump {
    pub(super) core: Arc<Core>,
    pub(super) tally: Arc<Tally>,
    pub(super) head: Arc<StoredHead>,
    /// None: only those that wait share it.
    pub(super) place: Option<Place>,
    pub(super) limit: u64,
    pub(super) declared: Option<u64>,
    pub(super) leader: Option<Leader<Landed>>,
    /// What the response makes invalid unless it is stored.
    pub(super) invalidation: Option<Box<Invalidation>>,
    /// Handed back when what came is stored, or will not be.
    pub(super) lease: Option<TurnLease>,
    pub(super) patience: Patience,
    /// Why it is not stored, if it has no place.
    pub(super) reason: &'static str,
    /// The flight of a failure that is shared, once that is published.
    pub(super) spent: Option<Announcer<Landed>>,
}

impl Pump {
    /// Begins with what is there, tells those that wait, and gives the first reader.
    pub(super) fn begin<B>(
        mut self,
        chunks: Vec<Bytes>,
        rest: Pin<Box<B>>,
        purpose: Use,
        finish_limit: Duration,
    ) -> FillReader
    where
        B: Carries,
    {
        let (head, is_streamable) = (Arc::clone(&self.head), self.declared.is_some());
        let announcer = self.leader.as_ref().map(Leader::announcer);
        // The flight of a failure is over; that of a response that is stored, when it is.
        let spent = if purpose == Use::Share { self.leader.take() } else { None };
        self.spent = spent.as_ref().map(Leader::announcer);
        let read = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let state = FillState::new(chunks, self.declared);
        let rest = UnsyncBoxBody::new(rest.map_err(BodyError::new));
        let reader = Fill::begin(Arc::clone(&state), self.run(state, rest, read).boxed(), finish_limit);
        let fresh_until = monotonic() + head.initially_remaining().min(LONG);
        let landed = Landed::filling(head, &reader, is_streamable);
        match (spent, announcer) {
            (Some(leader), _) => leader.spend(Some(landed)),
            (None, Some(announcer)) => announcer.announce(landed, fresh_until),
            (None, None) => {}
        }
        reader
    }

    async fn run(mut self, state: Arc<FillState>, mut rest: UnsyncBoxBody<Bytes, BodyError>, mut read: u64) {
        let mut trailers = None;
        // More than was promised is as broken as less.
        let limit = self.declared.unwrap_or(self.limit);
        while let Some(frame) = rest.frame().await {
            // A body that is always ready must not keep its reader's thread to itself.
            tokio::task::consume_budget().await;
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return self.fail(&state, error),
            };
            match frame.into_data() {
                Ok(chunk) => {
                    read = read.saturating_add(chunk.len() as u64);
                    if read > limit && self.declared.is_some() {
                        return self.fail(&state, BodyError::new("the origin sent more than it declared"));
                    }
                    state.push(chunk);
                    if read > limit {
                        return self.overflow(&state, rest);
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        if self.declared.is_some_and(|declared| declared != read) {
            return self.fail(&state, BodyError::new("the origin sent less than it declared"));
        }
        self.finish(&state, trailers).await;
    }

    async fn finish(&mut self, state: &FillState, trailers: Option<HeaderMap>) {
        let body = StoredBody { bytes: concatenate(&state.chunks()), trailers: trailers.map(Arc::new) };
        let response = StoredResponse::new(Arc::clone(&self.head), body.clone());
        // Who waited and has not looked yet finds it in the flight, whatever became of the fill's readers and of the
        // store.
        if let Some(place) = self.place.take() {
            // There, or in the flight until it is: who comes after the end finds it.
            let (core, leader, lease) = (Arc::clone(&self.core), self.leader.take(), self.lease.take());
            let kept = Keep { core, place, response, leader, lease }.begin(self.patience.has_client());
            self.patience.told(kept).await;
        } else {
            self.tally.not_stored(self.reason);
            if let Some(leader) = self.leader.take() {
                leader.bring(Landed::from(response), monotonic());
            } else if let Some(spent) = self.spent.take() {
                spent.replace(Landed::from(response));
            }
        }
        drop(self.lease.take());
        state.end(End::Whole(body));
    }

    /// What came is not there for other processes, and they need not wait for the next one.
    fn release_others(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.mark(&self.core, self.head.began);
        }
    }

    fn not_stored(&mut self, reason: &str) {
        self.tally.not_stored(reason);
        if let Some(invalidation) = self.invalidation.take() {
            invalidation.apply(self.head.status, &self.head.headers);
        }
    }

    /// The flight knows before its followers are woken, so that they find out what became of it.
    fn fail(&mut self, state: &FillState, error: BodyError) {
        self.not_stored("broken-off");
        if let Some(leader) = self.leader.take() {
            leader.fail();
        }
        state.end(End::Failed(error));
    }

    fn overflow(&mut self, state: &FillState, rest: UnsyncBoxBody<Bytes, BodyError>) {
        self.not_stored(SkipReason::TooLarge.detail());
        self.release_others();
        if let Some(leader) = self.leader.take() {
            leader.not_reusable(monotonic());
        }
        state.overflow(rest);
    }
}

impl Job {
    /// The body is still coming: from here on whoever reads it moves it on.
    pub(super) fn fill<B>(
        &mut self,
        chunks: Vec<Bytes>,
        rest: Pin<Box<B>>,
        head: &Arc<StoredHead>,
        place: Place,
        declared: Option<u64>,
        purpose: Use,
    ) -> FillReader
    where
        B: Carries,
    {
        let will_be_stored = purpose == Use::Store && !head.useful_for().is_zero();
        if will_be_stored {
            self.status = self.status.with_stored(head.initially_remaining());
        }
        let pump = Pump {
            core: Arc::clone(&self.core),
            tally: Arc::clone(&self.asked.tally),
            head: Arc::clone(head),
            place: will_be_stored.then_some(place),
            limit: self.asked.policy.max_body_bytes,
            declared,
            leader: self.leader.take(),
            invalidation: self.invalidation.take(),
            lease: self.lease.take(),
            patience: self.patience.take(),
            reason: purpose.not_stored(),
            spent: None,
        };
        pump.begin(chunks, rest, purpose, self.asked.policy.collapse.finish_limit)
    }
}

/// The length that the origin promises: by field, or by what its body knows of itself. Two that differ, or
/// one that is no number, are a message that nobody should keep (RFC 9110 §8.6).
pub(super) fn declared_length(headers: &HeaderMap, hint: &SizeHint) -> Result<Option<u64>, SkipReason> {
    match (content_length(headers), hint.exact()) {
        (ContentLength::Absent, exact) => Ok(exact),
        (ContentLength::Malformed, _) => Err(SkipReason::Length),
        (ContentLength::Bytes(length), Some(exact)) if length != exact => Err(SkipReason::Length),
        (ContentLength::Bytes(length), _) => Ok(Some(length)),
    }
}

/// Longer than any fill, and short enough to be added to any instant.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
