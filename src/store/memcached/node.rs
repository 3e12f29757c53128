//! One server and its breaker: what is asked of it, and whether it is asked at all.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join3;
use tokio::time::Instant;

use super::{
    address::Address,
    breaker::{BreakerSettings, Permit, SharedBreaker, Ticket},
    driver::{Server, Settings},
    wire::{Got, Outcome},
};
use crate::{
    clock::monotonic,
    collapse::in_background,
    store::{BreakerState, ServerState, ServerWatch, StoreError, StoreErrorKind},
};

/// A server; clones are the same one.
#[derive(Clone)]
pub(super) struct Node {
    server: Server,
    breaker: Arc<SharedBreaker>,
    watched: Arc<Watched>,
    since: Instant,
    deadline: Duration,
}

/// Who is told of the breaker, and what they were told last.
struct Watched {
    was_closed: AtomicBool,
    by: RwLock<Vec<ServerWatch>>,
}

impl Node {
    pub(super) fn new(address: Address, settings: Settings) -> Self {
        let deadline = settings.deadline;
        let breaker = Arc::new(SharedBreaker::new(BreakerSettings::default()));
        let watched = Arc::new(Watched { was_closed: AtomicBool::new(true), by: RwLock::default() });
        Self { server: Server::new(address, settings), breaker, watched, since: monotonic(), deadline }
    }

    pub(super) fn state(&self) -> ServerState {
        ServerState::new(self.server.address().to_string(), self.breaker.state())
    }

    pub(super) fn watched_by(&self, watch: &ServerWatch) {
        self.watched.by.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(watch));
    }

    /// Tells those that watch, if the breaker has opened or closed since they were told.
    fn tell(&self) {
        let is_closed = self.breaker.is_closed();
        if self.watched.was_closed.load(SeqCst) == is_closed
            || self.watched.was_closed.swap(is_closed, SeqCst) == is_closed
        {
            return;
        }
        let breaker = if is_closed { BreakerState::Closed } else { BreakerState::Open };
        let state = ServerState::new(self.server.address().to_string(), breaker);
        let watches = self.watched.by.read().unwrap_or_else(PoisonError::into_inner).clone();
        watches.iter().for_each(|watch| watch(&state));
    }

    pub(super) async fn get(&self, name: &str, vivify: Option<u32>) -> Result<Got, StoreError> {
        self.ask(pin!(self.server.get(name, vivify))).await
    }

    /// The same, and then what is there under two others: in one round trip.
    pub(super) async fn get_then(
        &self,
        name: &str,
        vivify: Option<u32>,
        others: [&str; 2],
    ) -> Result<(Got, [Got; 2]), StoreError> {
        let [one, other] = others.map(|other| self.server.get_after(name, other, None));
        let all = pin!(try_join3(self.server.get(name, vivify), one, other));
        let (got, one, other) = self.ask(all).await?;
        Ok((got, [one, other]))
    }

    /// For what has to be tried, however often the server has failed.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) async fn set(
        &self,
        name: &str,
        value: Vec<Bytes>,
        seconds: u32,
        cas: u64,
    ) -> Result<Outcome, StoreError> {
        self.ask(pin!(self.server.set(name, value, seconds, Some(cas)))).await
    }

    pub(super) async fn delete(&self, name: &str, cas: Option<u64>) -> Result<Outcome, StoreError> {
        self.ask(pin!(self.server.delete(name, cas))).await
    }

    /// `operation` is pinned where it is, since each future that takes it over has room for it twice.
    async fn ask<T>(&self, operation: impl Future<Output = Result<T, StoreError>> + Unpin) -> Result<T, StoreError> {
        let now = monotonic();
        match self.breaker.permit(now.duration_since(self.since)) {
            Permit::Go(ticket) => self.watch(ticket, now, operation).await,
            Permit::Probe(ticket) => {
                // Nobody waits for a server that may still hang.
                let node = self.clone();
                in_background(async move { node.watch(ticket, now, pin!(node.server.probe())).await }, PROBE_LIMIT);
                Err(left_alone())
            }
            Permit::Refused => Err(left_alone()),
        }
    }

    async fn watch<T>(
        &self,
        ticket: Ticket,
        began: Instant,
        operation: impl Future<Output = Result<T, StoreError>> + Unpin,
    ) -> Result<T, StoreError> {
        let mut asked = AskedFor { node: self, ticket: Some(ticket), began };
        let result = operation.await;
        asked.told(result.as_ref().err().map(StoreError::kind));
        result
    }
}

/// Reports what became of an operation, also if nobody waits for that any more.
struct AskedFor<'a> {
    node: &'a Node,
    ticket: Option<Ticket>,
    began: Instant,
}

impl AskedFor<'_> {
    fn told(&mut self, failure: Option<StoreErrorKind>) {
        let Some(ticket) = self.ticket.take() else { return };
        let breaker = &self.node.breaker;
        match failure {
            None => breaker.succeeded(ticket),
            // It was this operation that was refused; the server works.
            Some(StoreErrorKind::Refused) => breaker.abandoned(ticket, self.node.since.elapsed()),
            Some(StoreErrorKind::Timeout | StoreErrorKind::Io | StoreErrorKind::Corrupt) => {
                breaker.failed(ticket, self.node.since.elapsed(), jitter());
            }
        }
        self.node.tell();
    }
}

impl Drop for AskedFor<'_> {
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        // Who waits for about as long as the server may take, and leaves, has waited for the server.
        let has_waited = self.began.elapsed() * 4 >= self.node.deadline * 3;
        self.told(Some(if has_waited { StoreErrorKind::Timeout } else { StoreErrorKind::Refused }));
    }
}

fn left_alone() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "the server failed lately and is left alone")
}

/// The operation has a deadline of its own, which is shorter.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

fn jitter() -> u16 {
    let [first, second, ..] = RandomState::new().hash_one(0).to_le_bytes();
    u16::from_le_bytes([first, second])
}
