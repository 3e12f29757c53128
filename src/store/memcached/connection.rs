//! One connection to a memcached server, and the operations on their way through it.
//!
//! What was asked is written as it comes and answered in the same order, so that any number of operations share a
//! round trip. Each reply is matched by its place and by its token. On any doubt the connection ends, and with it all
//! that is in flight: a reply never reaches another operation than its own.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{mpsc, oneshot},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    replies::{Replies, Reply, Said},
    wire::{Fault, Got, Outcome},
};
use crate::{
    clock::{later, monotonic},
    store::{StoreError, StoreErrorKind},
};

/// TCP or a Unix socket.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One command, as bytes, and who waits for its reply.
#[derive(Debug)]
pub(super) struct Operation {
    /// The line, then the value and its end.
    pub(super) command: Vec<Bytes>,
    pub(super) token: Option<u64>,
    /// It is not begun after this. Whoever waits for it watches the time, too.
    pub(super) until: Instant,
    pub(super) waiting: Waiting,
}

/// Who waits, and for what. They may have gone, and the operation goes on all the same.
#[derive(Debug)]
pub(super) enum Waiting {
    Got(oneshot::Sender<Result<Got, StoreError>>),
    Outcome(oneshot::Sender<Result<Outcome, StoreError>>),
    Alive(oneshot::Sender<Result<(), StoreError>>),
}

impl Waiting {
    /// Passes on what was said; an error says that this was no reply to the operation.
    fn answer(self, said: Result<Said, Fault>) -> Result<(), Fault> {
        match self {
            Self::Got(caller) => tell(caller, said.and_then(Said::got)),
            Self::Outcome(caller) => tell(caller, said.and_then(Said::outcome)),
            Self::Alive(caller) => tell(caller, said.and_then(Said::alive)),
        }
    }

    pub(super) fn fail(self, fault: &Fault) {
        // The fault is known to whoever calls this.
        let _ = self.answer(Err(fault.clone()));
    }
}

fn tell<T>(caller: oneshot::Sender<Result<T, StoreError>>, answer: Result<T, Fault>) -> Result<(), Fault> {
    let (answer, told) = match answer {
        Ok(answer) => (Ok(answer), Ok(())),
        Err(fault) => (Err(fault.clone().into()), Err(fault)),
    };
    // A reply that comes after the deadline, or for a caller who has gone, ends here.
    let _ = caller.send(answer);
    told
}

/// What a connection may hold and how long it may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) in_flight: usize,
    pub(super) max_value_bytes: usize,
    /// Without one reply for so long while some are owed, it is given up.
    pub(super) silence: Duration,
}

/// An open connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    limits: Limits,
    outgoing: VecDeque<Bytes>,
    outgoing_bytes: usize,
    /// Replies are owed in this order.
    in_flight: VecDeque<(Option<u64>, Waiting)>,
    replies: Replies,
    /// When the last reply came, or the first that is owed was asked for.
    silent_since: Instant,
    patience: Pin<Box<Sleep>>,
    /// Nobody asks any more, or the server has closed the connection while it owed nothing.
    ending: bool,
    /// What was taken is written with the next turn.
    gathering: bool,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>, limits: Limits) -> Self {
        let now = monotonic();
        Self {
            stream,
            limits,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            in_flight: VecDeque::new(),
            replies: Replies::new(limits.max_value_bytes),
            silent_since: now,
            patience: Box::pin(sleep_until(later(now, limits.silence))),
            ending: false,
            gathering: false,
        }
    }

    /// Carries operations until the connection breaks, or is closed when it owes nothing.
    pub(super) async fn carry(mut self, first: Operation, operations: &mut mpsc::Receiver<Operation>) {
        self.begin(first, monotonic());
        if let Err(fault) = poll_fn(|cx| self.poll(operations, cx)).await {
            for (_, waiting) in self.in_flight.drain(..) {
                waiting.fail(&fault);
            }
        }
    }

    /// One task for both directions, so that a server that waits for us to read is never waited for in turn.
    fn poll(&mut self, operations: &mut mpsc::Receiver<Operation>, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let busy = !self.in_flight.is_empty();
            let took = self.take(operations, cx);
            let read = self.read(cx)?;
            if took && busy && !self.gathering {
                // While the server is busy, whoever else is ready to ask may do so first, and share the write.
                self.gathering = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.gathering = false;
            let wrote = self.write(cx)?;
            if self.ending && self.in_flight.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !(took || read || wrote) {
                return self.poll_patience(cx);
            }
        }
    }

    /// Takes what is asked, as much as there is room for.
    fn take(&mut self, operations: &mut mpsc::Receiver<Operation>, cx: &mut Context<'_>) -> bool {
        let mut now = None;
        while !self.ending && self.in_flight.len() < self.limits.in_flight && self.outgoing_bytes < OUTGOING_BYTES {
            match operations.poll_recv(cx) {
                Poll::Ready(Some(operation)) => self.begin(operation, *now.get_or_insert_with(monotonic)),
                Poll::Ready(None) => self.ending = true,
                Poll::Pending => break,
            }
        }
        now.is_some()
    }

    fn begin(&mut self, operation: Operation, now: Instant) {
        if operation.until <= now {
            operation.waiting.fail(&too_late());
            return;
        }
        if self.in_flight.is_empty() {
            self.silent_since = now;
        }
        for part in operation.command.into_iter().filter(|part| !part.is_empty()) {
            self.outgoing_bytes = self.outgoing_bytes.saturating_add(part.len());
            self.outgoing.push_back(part);
        }
        self.in_flight.push_back((operation.token, operation.waiting));
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let mut moved = false;
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, part) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(part);
            }
            let parts = self.outgoing.len().min(SLICES);
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..parts])? {
                Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Poll::Ready(bytes) => self.written(bytes),
                Poll::Pending => break,
            }
            moved = true;
        }
        Ok(moved)
    }

    fn written(&mut self, mut bytes: usize) {
        self.outgoing_bytes = self.outgoing_bytes.saturating_sub(bytes);
        while let Some(part) = self.outgoing.front_mut() {
            if bytes < part.len() {
                part.advance(bytes);
                return;
            }
            bytes -= part.len();
            self.outgoing.pop_front();
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let mut moved = false;
        loop {
            let mut answered = false;
            while let Some(reply) = self.replies.next()? {
                self.pair(reply)?;
                answered = true;
            }
            if answered {
                self.silent_since = monotonic();
            }
            let mut room = self.replies.room();
            match pin!(self.stream.read_buf(&mut room)).poll(cx)? {
                Poll::Ready(0) if self.in_flight.is_empty() && self.replies.is_empty() => {
                    self.ending = true;
                    return Ok(moved);
                }
                Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Poll::Ready(_) => moved = true,
                Poll::Pending => return Ok(moved),
            }
        }
    }

    fn pair(&mut self, reply: Reply) -> Result<(), Fault> {
        let Some((token, waiting)) = self.in_flight.pop_front() else {
            return Err(Fault::new(StoreErrorKind::Corrupt, "a reply that nobody asked for"));
        };
        match reply {
            Reply::Said(said) => waiting.answer(said.to(token)),
            // Its place alone says whose it is. Were it another's, then the next token would tell.
            Reply::Failed(fault) => {
                waiting.fail(&fault);
                Ok(())
            }
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.in_flight.is_empty() {
            return Poll::Pending;
        }
        while self.patience.as_mut().poll(cx).is_ready() {
            let until = later(self.silent_since, self.limits.silence);
            if until <= monotonic() {
                return Poll::Ready(Err(Fault::new(StoreErrorKind::Timeout, "the server is silent")));
            }
            // Set when it is up, not with each reply.
            self.patience.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("in_flight", &self.in_flight.len()).finish_non_exhaustive()
    }
}

/// The deadline of an operation has passed.
pub(super) fn too_late() -> Fault {
    Fault::new(StoreErrorKind::Timeout, "the deadline has passed")
}

/// No more is taken while so much waits to be written; one value may go beyond.
const OUTGOING_BYTES: usize = 256 * 1024;

/// How many parts one write takes.
const SLICES: usize = 128;
