//! One connection to a memcached server, and the operations on their way through it.
//!
//! What was asked is written as it comes and answered in the same order, so that any number of operations share a
//! round trip. Each reply is matched by its place and by its token. On any doubt the connection ends, and with it all
//! that is in flight: a reply never reaches another operation than its own.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{mpsc, oneshot},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    outgoing::Outgoing,
    replies::{Replies, Reply, Said},
    wire::{Fault, Got, LINE_END, Outcome},
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
    pub(super) line: Vec<u8>,
    /// The parts of the value that follows the line, if one does.
    pub(super) value: Option<Vec<Bytes>>,
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
    outgoing: Outgoing,
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
            outgoing: Outgoing::default(),
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
            let read_bytes = self.read(cx)?;
            if took && busy && !self.gathering {
                // While the server is busy, whoever else is ready to ask may do so first, and share the write.
                self.gathering = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.gathering = false;
            let wrote = self.outgoing.write(&mut self.stream, cx)?;
            if self.ending && self.in_flight.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if read_bytes >= TURN_BYTES && !self.in_flight.is_empty() {
                // Who got a value uses it while the processor has it at hand, and gives its memory back.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !(took || read_bytes > 0 || wrote) {
                return self.poll_patience(cx);
            }
        }
    }

    /// Takes what is asked, as much as there is room for.
    fn take(&mut self, operations: &mut mpsc::Receiver<Operation>, cx: &mut Context<'_>) -> bool {
        let mut now = None;
        while !self.ending && self.has_room() {
            match operations.poll_recv(cx) {
                Poll::Ready(Some(operation)) => self.begin(operation, *now.get_or_insert_with(monotonic)),
                Poll::Ready(None) => self.ending = true,
                Poll::Pending => break,
            }
        }
        now.is_some()
    }

    fn has_room(&self) -> bool {
        // The next replies are likely to be as long as the last one was.
        let owed_bytes = self.in_flight.len().saturating_mul(self.replies.last_bytes());
        self.in_flight.len() < self.limits.in_flight
            && owed_bytes < OWED_BYTES
            && self.outgoing.bytes() < OUTGOING_BYTES
    }

    fn begin(&mut self, operation: Operation, now: Instant) {
        if operation.until <= now {
            operation.waiting.fail(&too_late());
            return;
        }
        if self.in_flight.is_empty() {
            self.silent_since = now;
        }
        self.outgoing.push_short(&operation.line);
        if let Some(value) = operation.value {
            value.into_iter().for_each(|part| self.outgoing.push(part));
            self.outgoing.push_short(LINE_END);
        }
        self.in_flight.push_back((operation.token, operation.waiting));
    }

    /// Says how many bytes there were; from [`TURN_BYTES`] on there may be more.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<usize, Fault> {
        let mut bytes = 0;
        loop {
            let mut answered = false;
            while let Some(reply) = self.replies.next()? {
                self.pair(reply)?;
                answered = true;
            }
            if answered {
                self.silent_since = monotonic();
            }
            if bytes >= TURN_BYTES {
                return Ok(bytes);
            }
            let mut room = self.replies.room();
            match pin!(self.stream.read_buf(&mut room)).poll(cx)? {
                Poll::Ready(0) if self.in_flight.is_empty() && self.replies.is_empty() => {
                    self.ending = true;
                    return Ok(bytes);
                }
                Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Poll::Ready(more) => bytes += more,
                Poll::Pending => return Ok(bytes),
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

/// No more is taken while the replies that are owed are likely to be longer. What the socket can not take waits in the
/// server, and then it is our reading that has to drive its sending.
const OWED_BYTES: usize = 512 * 1024;

/// How much is read before others may run.
const TURN_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use tokio::io::ReadBuf;
    use tokio_test::task;

    use super::*;
    use crate::store::memcached::replies::READ_BYTES;

    const VALUE_BYTES: usize = 10_000;

    /// A server that takes all, and has replied to everything before it was asked: the bytes from here on.
    struct Hasty {
        replies: Vec<u8>,
        read: Arc<AtomicUsize>,
    }

    impl AsyncRead for Hasty {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let rest = &self.replies[self.read.load(SeqCst)..];
            if rest.is_empty() {
                return Poll::Pending;
            }
            let bytes = rest.len().min(room.remaining());
            room.put_slice(&rest[..bytes]);
            self.read.fetch_add(bytes, SeqCst);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Hasty {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn between_two_turns_of_reading_the_others_may_run() {
        let (asks, mut operations) = mpsc::channel(100);
        let (mut callers, mut replies) = (Vec::new(), Vec::new());
        for token in 0..100 {
            let (caller, answer) = oneshot::channel();
            let until = later(monotonic(), Duration::from_secs(60));
            let (line, waiting) = (b"mg a v\r\n".to_vec(), Waiting::Got(caller));
            asks.try_send(Operation { line, value: None, token: Some(token), until, waiting }).unwrap();
            callers.push(answer);
            replies.extend_from_slice(format!("VA {VALUE_BYTES} c1 O{token:x}\r\n").as_bytes());
            replies.extend_from_slice(&[b'x'; VALUE_BYTES]);
            replies.extend_from_slice(LINE_END);
        }
        drop(asks);
        let (all, read) = (replies.len(), Arc::new(AtomicUsize::new(0)));
        let stream = Box::new(Hasty { replies, read: Arc::clone(&read) });
        let limits = Limits { in_flight: 100, max_value_bytes: 1 << 20, silence: Duration::from_secs(60) };
        let first = operations.try_recv().unwrap();
        let mut carrying = task::spawn(Connection::new(stream, limits).carry(first, &mut operations));

        let mut before = 0;
        while carrying.poll().is_pending() {
            assert!(carrying.is_woken() || read.load(SeqCst) == all, "it waits, and there is more");
            let turn = read.load(SeqCst) - before;
            assert!(turn < TURN_BYTES + READ_BYTES, "{turn} bytes in a turn");
            before += turn;
        }

        for mut answer in callers {
            assert!(matches!(answer.try_recv(), Ok(Ok(Got::Value { bytes, .. })) if bytes.len() == VALUE_BYTES));
        }
    }
}
