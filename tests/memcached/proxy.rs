//! What stands between a cache and its memcached: it is slow, cuts connections, or says something else.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::memcached::Memcached;

/// What becomes of the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replies {
    Whole,
    /// Each piece comes so much later.
    Late(Duration),
    /// The connection ends after so many bytes of the next one.
    CutAfter(usize),
    /// This, instead.
    Garbage(&'static [u8]),
    /// With another token: a reply to something else that was asked.
    SomebodyElses,
}

/// A proxy in front of one memcached.
pub(crate) struct Proxy {
    address: String,
    replies: watch::Sender<Replies>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(memcached: &Memcached) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (replies, now) = watch::channel(Replies::Whole);
        let server: Arc<str> = memcached.address().into();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, now) = (Arc::clone(&server), now.clone());
                tokio::spawn(async move { carry(client, &server, &now).await });
            }
        });
        Self { address, replies, task }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// From now on, on the connections that there are, too.
    pub(crate) fn does(&self, replies: Replies) {
        self.replies.send_replace(replies);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends both directions when one of them has ended.
async fn carry(client: TcpStream, server: &str, replies: &watch::Receiver<Replies>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asked = tokio::io::copy(&mut from_client, &mut to_server);
    let answered = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let piece = &mut buffer[..length];
            let now = *replies.borrow();
            let sent = match now {
                Replies::Whole => to_client.write_all(piece).await,
                Replies::Late(by) => {
                    tokio::time::sleep(by).await;
                    to_client.write_all(piece).await
                }
                Replies::CutAfter(bytes) => {
                    let _ = to_client.write_all(&piece[..bytes.min(length)]).await;
                    return;
                }
                Replies::Garbage(bytes) => to_client.write_all(bytes).await,
                Replies::SomebodyElses => {
                    change_token(piece);
                    to_client.write_all(piece).await
                }
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::select! { _ = asked => {}, () = answered => {} }
}

/// The last hexadecimal digit of the first token.
fn change_token(piece: &mut [u8]) {
    let Some(line) = piece.iter().position(|byte| *byte == b'\r') else { return };
    let Some(token) = piece[..line].windows(2).position(|pair| pair == b" O") else { return };
    let end = piece[token + 2..].iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(0);
    let digit = &mut piece[token + 1 + end];
    *digit = if *digit == b'0' { b'1' } else { b'0' };
}
