//! The network between nodes and servers: who is cut off from it, and how long a reply takes.

use std::{
    collections::VecDeque,
    future::pending,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::server::Items;

/// All servers, and the way to them. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    began: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    servers: Vec<Server>,
    is_cut_off: Vec<bool>,
}

#[derive(Debug, Default)]
struct Server {
    items: Items,
    is_gone: bool,
    /// How often it was started.
    starts: u64,
    /// When each node was first answered since.
    heard: Vec<Option<Instant>>,
}

impl Network {
    pub(crate) fn new(nodes: usize, servers: usize) -> Self {
        let server = || Server { heard: vec![None; nodes], ..Server::default() };
        let servers = (0..servers).map(|_| server()).collect();
        let state = State { servers, is_cut_off: vec![false; nodes] };
        Self { began: Instant::now(), state: Arc::new(Mutex::new(state)) }
    }

    /// What the servers are called.
    pub(crate) fn addresses(servers: usize) -> Vec<String> {
        (0..servers).map(|server| format!("memcached-{server}:11211")).collect()
    }

    /// Which of the servers is called that.
    pub(crate) fn number(address: &str) -> usize {
        address.trim_start_matches("memcached-").trim_end_matches(":11211").parse().unwrap()
    }

    /// A connection of a node. A server that is gone does not even refuse it.
    pub(crate) async fn connect(self, node: usize, address: String) -> io::Result<Wire> {
        let server = Self::number(&address);
        sleep(ROUND_TRIP).await;
        if self.lock().is_silent(node, server) {
            pending::<()>().await;
        }
        let starts = self.lock().servers[server].starts;
        let (input, replies, reader) = (BytesMut::new(), VecDeque::new(), None);
        let wait = Box::pin(sleep(Duration::ZERO));
        Ok(Wire { network: self, node, server, starts, input, replies, wait, reader })
    }

    /// From here on the server says nothing, as if its machine were gone.
    pub(crate) fn take_away(&self, server: usize) {
        self.lock().servers[server].is_gone = true;
    }

    /// The server is there again, and empty. It knows none of the connections that it had.
    pub(crate) fn bring_back(&self, server: usize) {
        let mut state = self.lock();
        let server = &mut state.servers[server];
        let (starts, heard) = (server.starts + 1, vec![None; server.heard.len()]);
        *server = Server { starts, heard, ..Server::default() };
    }

    /// Nothing reaches the node any more, nor comes from it.
    pub(crate) fn cut_off(&self, node: usize) {
        self.lock().is_cut_off[node] = true;
    }

    /// When each node was first answered by the server since that was last started.
    pub(crate) fn heard(&self, server: usize) -> Vec<Option<Instant>> {
        self.lock().servers[server].heard.clone()
    }

    /// How often what is stored for a path was looked up.
    pub(crate) fn lookups(&self, path: &str) -> u64 {
        self.lock().servers.iter().map(|server| server.items.lookups(path)).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn is_silent(&self, node: usize, server: usize) -> bool {
        self.is_cut_off[node] || self.servers[server].is_gone
    }
}

/// One connection. A command counts when it is written, and its reply comes a round trip later.
#[derive(Debug)]
pub(crate) struct Wire {
    network: Network,
    node: usize,
    server: usize,
    starts: u64,
    input: BytesMut,
    /// And when they are there.
    replies: VecDeque<(Instant, Bytes)>,
    wait: Pin<Box<Sleep>>,
    reader: Option<Waker>,
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut state = this.network.state.lock().unwrap();
        if state.is_silent(this.node, this.server) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let server = &mut state.servers[this.server];
        if server.starts != this.starts {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        this.input.extend_from_slice(bytes);
        let (now, mut output) = (Instant::now(), Vec::new());
        // The seconds of two servers do not begin together.
        let phase = Duration::from_millis(370) * u32::try_from(this.server).unwrap();
        let second = (now.duration_since(this.network.began) + phase).as_secs();
        if server.items.reply(&mut this.input, second, &mut output) > 0 {
            server.heard[this.node].get_or_insert(now);
        }
        if !output.is_empty() {
            this.replies.push_back((now + ROUND_TRIP, output.into()));
        }
        if let Some(reader) = this.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some((at, reply)) = this.replies.front_mut() else {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if *at > Instant::now() {
            this.wait.set(sleep_until(*at));
            if this.wait.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        if this.network.lock().is_silent(this.node, this.server) {
            // What was on its way is lost.
            this.replies.clear();
            return Poll::Pending;
        }
        let bytes = reply.len().min(room.remaining());
        room.put_slice(&reply[..bytes]);
        reply.advance(bytes);
        if reply.is_empty() {
            this.replies.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

/// The timer has no shorter one.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(1);
