//! One memcached server, and the tasks that talk to it.
//!
//! A task of its own carries each connection. Whoever asks hands over an operation and waits for its answer, until its
//! deadline and no longer: one that is dropped, or late, leaves the connection as it is.

use std::{
    fmt,
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{timeout, timeout_at},
};

use super::{
    address::Address,
    connection::{Connection, Limits, Operation, Stream, Waiting, too_late},
    network::Network,
    wire::{self, Fault, Got, Outcome},
};
use crate::{
    clock::{later, monotonic},
    store::{StoreError, StoreErrorKind},
};

/// How a server is talked to.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// How long an operation may take.
    pub(super) deadline: Duration,
    /// One or two. Operations on one key go through the same one, so that they arrive in order.
    pub(super) connections: usize,
    /// The longest value that is sent or taken.
    pub(super) max_value_bytes: usize,
    pub(super) connect_timeout: Duration,
    /// How many operations may wait for a connection, and how many be on their way through it.
    pub(super) queue: usize,
    pub(super) network: Network,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(50),
            connections: 1,
            // memcached's own bound is 1 MiB, with the key and up to 60 bytes beside it.
            max_value_bytes: (1 << 20) - 512,
            connect_timeout: Duration::from_secs(1),
            queue: 1024,
            network: Network::default(),
        }
    }
}

/// One server. It connects when it is first asked, and again whenever the connection has broken.
///
/// Clones share the connections, which end with the last of them. An error does not say that nothing was done: a change
/// whose reply did not come in time may still be made, even after what is asked later.
#[derive(Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    address: Arc<Address>,
    settings: Settings,
    lanes: Box<[Lane]>,
    next_token: AtomicU64,
}

/// The way to the task of one connection; none before the first operation.
type Lane = RwLock<Option<mpsc::Sender<Operation>>>;

impl Server {
    /// No connection is made before the first operation, and no runtime is needed.
    pub(super) fn new(address: Address, settings: Settings) -> Self {
        let lanes = (0..settings.connections.clamp(1, 2)).map(|_| Lane::default()).collect();
        // Anywhere, so that a reply meant for another process carries no token of ours.
        let next_token = AtomicU64::new(RandomState::new().hash_one(0));
        Self { shared: Arc::new(Shared { address: Arc::new(address), settings, lanes, next_token }) }
    }

    pub(super) fn address(&self) -> &Address {
        &self.shared.address
    }

    /// What is there under `key`. With `vivify`, a miss leaves a stub for so many seconds, whose lease one caller wins.
    pub(super) async fn get(&self, key: &str, vivify: Option<u32>) -> Result<Got, StoreError> {
        self.get_after(key, key, vivify).await
    }

    /// The same, through the connection of another key: after what was asked of that before.
    pub(super) async fn get_after(&self, first: &str, key: &str, vivify: Option<u32>) -> Result<Got, StoreError> {
        let token = self.token();
        let line = wire::get(key, vivify, token)?;
        self.ask(first, Some(token), line, None, Waiting::Got).await
    }

    /// Stores the parts of `value`, one after the other; with `cas`, in place of the item with this CAS alone.
    pub(super) async fn set(
        &self,
        key: &str,
        value: Vec<Bytes>,
        ttl_seconds: u32,
        cas: Option<u64>,
    ) -> Result<Outcome, StoreError> {
        let value_bytes = value.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        // The server would remove what is there under the key, and with it the lease.
        if value_bytes > self.shared.settings.max_value_bytes {
            return Err(Fault::refused("the value is too large").into());
        }
        let token = self.token();
        let line = wire::set(key, value_bytes, ttl_seconds, cas, token)?;
        self.ask(key, Some(token), line, Some(value), Waiting::Outcome).await
    }

    /// Removes what is there under `key`; with `cas`, the item with this CAS alone.
    pub(super) async fn delete(&self, key: &str, cas: Option<u64>) -> Result<Outcome, StoreError> {
        let token = self.token();
        let line = wire::delete(key, cas, token)?;
        self.ask(key, Some(token), line, None, Waiting::Outcome).await
    }

    /// Whether the server answers at all.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.ask("", None, wire::probe(), None, Waiting::Alive).await
    }

    fn token(&self) -> u64 {
        self.shared.next_token.fetch_add(1, Relaxed)
    }

    async fn ask<T>(
        &self,
        key: &str,
        token: Option<u64>,
        line: Vec<u8>,
        value: Option<Vec<Bytes>>,
        waiting: fn(oneshot::Sender<Result<T, StoreError>>) -> Waiting,
    ) -> Result<T, StoreError> {
        let until = later(monotonic(), self.shared.settings.deadline);
        let (caller, answer) = oneshot::channel();
        self.shared.hand_over(key, Operation { line, value, token, until, waiting: waiting(caller) })?;
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::new(StoreErrorKind::Io, "the runtime of the connection has ended").into()),
            Err(_) => Err(too_late().into()),
        }
    }
}

impl Shared {
    fn hand_over(&self, key: &str, operation: Operation) -> Result<(), Fault> {
        let lane = self.lane(key);
        let sent = match &*lane.read().unwrap_or_else(PoisonError::into_inner) {
            Some(task) => task.try_send(operation),
            None => Err(TrySendError::Closed(operation)),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Fault::refused("too many operations wait for the server")),
            Err(TrySendError::Closed(operation)) => self.start(lane, operation),
        }
    }

    /// Starts the task of a connection, or one in place of that which has ended with its runtime.
    fn start(&self, lane: &Lane, operation: Operation) -> Result<(), Fault> {
        let Ok(runtime) = Handle::try_current() else {
            return Err(Fault::refused("memcached is asked outside of a tokio runtime"));
        };
        let mut lane = lane.write().unwrap_or_else(PoisonError::into_inner);
        let task = match lane.take().filter(|task| !task.is_closed()) {
            // Somebody else was faster.
            Some(task) => task,
            None => {
                let (task, operations) = mpsc::channel(self.settings.queue.clamp(1, LONGEST_QUEUE));
                runtime.spawn(drive(Arc::clone(&self.address), self.settings.clone(), operations));
                task
            }
        };
        let sent = task.try_send(operation);
        *lane = Some(task);
        sent.map_err(|_| Fault::refused("too many operations wait for the server"))
    }

    fn lane(&self, key: &str) -> &Lane {
        if let [only] = &*self.lanes {
            return only;
        }
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let lanes = self.lanes.len() as u64;
        &self.lanes[usize::try_from(hasher.finish() % lanes).unwrap_or(0)]
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

/// Connects as often as it takes, while there is anybody to ask for it.
async fn drive(address: Arc<Address>, settings: Settings, mut operations: mpsc::Receiver<Operation>) {
    let limits = Limits {
        in_flight: settings.queue.clamp(1, LONGEST_QUEUE),
        max_value_bytes: settings.max_value_bytes,
        silence: settings.deadline.saturating_mul(SILENT_DEADLINES),
    };
    while let Some(first) = operations.recv().await {
        if first.until <= monotonic() {
            first.waiting.fail(&too_late());
            continue;
        }
        match connect(&address, &settings).await {
            Ok(stream) => Connection::new(stream, limits).carry(first, &mut operations).await,
            Err(fault) => {
                first.waiting.fail(&fault);
                while let Ok(operation) = operations.try_recv() {
                    operation.waiting.fail(&fault);
                }
            }
        }
    }
}

async fn connect(address: &Address, settings: &Settings) -> Result<Box<dyn Stream>, Fault> {
    let too_slow = || Fault::new(StoreErrorKind::Timeout, "the server could not be connected to in time");
    timeout(settings.connect_timeout, settings.network.open(address)).await.unwrap_or_else(|_| Err(too_slow()))
}

/// A connection that gives no reply for so many deadlines is given up.
const SILENT_DEADLINES: u32 = 4;

/// More than any process asks at once.
const LONGEST_QUEUE: usize = 1 << 20;

#[cfg(test)]
pub(super) mod tests;
