//! The least that a client of memcached can do: lines written by hand, replies counted.

use std::{collections::VecDeque, io::Write};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One connection, and the room for what comes through it.
pub struct Plain {
    stream: TcpStream,
    asks: Vec<u8>,
    input: Vec<u8>,
    read: usize,
    next_token: u64,
}

impl Plain {
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, asks: Vec::new(), input: vec![0; ROOM_BYTES], read: 0, next_token: 1 }
    }

    /// Asks for so many values, `window` of them at once: for each that has come the next is asked. Says how long the last
    /// was.
    pub async fn ask(&mut self, name: &str, window: usize, count: usize) -> usize {
        let (mut asked, mut owed, mut bytes) = (0, VecDeque::new(), 0);
        while asked < count || !owed.is_empty() {
            while asked < count && owed.len() < window {
                writeln!(self.asks, "mg {name} v c O{:x}\r", self.next_token).unwrap();
                owed.push_back(self.next_token);
                self.next_token += 1;
                asked += 1;
            }
            self.stream.write_all(&self.asks).await.unwrap();
            self.asks.clear();
            bytes = self.replies(&mut owed).await;
        }
        bytes
    }

    /// Takes all replies that one read brings, at least one.
    async fn replies(&mut self, owed: &mut VecDeque<u64>) -> usize {
        let (mut bytes, mut taken) = (0, 0);
        while taken == 0 {
            if self.read == self.input.len() {
                self.input.resize(2 * self.input.len(), 0);
            }
            let more = self.stream.read(&mut self.input[self.read..]).await.unwrap();
            assert!(more > 0, "the server has closed the connection");
            self.read += more;
            while let Some((length, token, whole)) = reply(&self.input[taken..self.read]) {
                assert_eq!(owed.pop_front(), Some(token));
                (bytes, taken) = (length, taken + whole);
            }
        }
        self.input.copy_within(taken..self.read, 0);
        self.read -= taken;
        bytes
    }
}

/// The length of the value, the token, and the length of the reply, if all of it is there.
fn reply(input: &[u8]) -> Option<(usize, u64, usize)> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&input[..end - 1]).unwrap();
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("VA"), "{line}");
    let length: usize = words.next().unwrap().parse().unwrap();
    let token = words.find_map(|word| word.strip_prefix('O')).unwrap();
    let whole = end + 1 + length + 2;
    let value = input.get(end + 1..whole)?;
    assert!(value.ends_with(b"\r\n"));
    Some((length, u64::from_str_radix(token, 16).unwrap(), whole))
}

const ROOM_BYTES: usize = 256 << 10;
