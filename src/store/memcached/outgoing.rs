//! What is on its way to a server, in order.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Bytes that wait to be written. Long parts stay as they are, and all that is short between them becomes one.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    parts: VecDeque<Bytes>,
    /// What comes after the parts.
    short: BytesMut,
    bytes: usize,
}

impl Outgoing {
    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, part: Bytes) {
        if part.len() <= SHORT_BYTES {
            return self.push_short(&part);
        }
        self.close_short();
        self.bytes = self.bytes.saturating_add(part.len());
        self.parts.push_back(part);
    }

    /// The same, for what is copied in any case.
    pub(super) fn push_short(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.short.extend_from_slice(bytes);
    }

    /// Writes as much as `stream` takes now; says whether that was anything.
    pub(super) fn write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin + ?Sized),
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        let mut moved = false;
        self.close_short();
        while !self.parts.is_empty() {
            match self.write_some(Pin::new(&mut *stream), cx)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(bytes) => self.written(bytes),
                Poll::Pending => break,
            }
            moved = true;
        }
        Ok(moved)
    }

    fn write_some(
        &self,
        stream: Pin<&mut (impl AsyncWrite + ?Sized)>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Nearly always: lines alone.
        if let (Some(only), 1) = (self.parts.front(), self.parts.len()) {
            return stream.poll_write(cx, only);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        stream.poll_write_vectored(cx, &slices[..self.parts.len().min(SLICES)])
    }

    fn close_short(&mut self) {
        if !self.short.is_empty() {
            self.parts.push_back(self.short.split().freeze());
        }
    }

    fn written(&mut self, mut bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        while let Some(part) = self.parts.front_mut() {
            if bytes < part.len() {
                part.advance(bytes);
                return;
            }
            bytes -= part.len();
            self.parts.pop_front();
        }
    }
}

/// Up to this length, copying a part costs less than writing it by itself.
const SHORT_BYTES: usize = 1024;

/// How many parts one write takes.
const SLICES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_test::task;

    use super::*;

    /// Takes so many bytes at once, and every other time nothing.
    struct Narrow {
        taken: Vec<u8>,
        parts: Vec<usize>,
        width: usize,
        is_full: bool,
    }

    impl Narrow {
        fn new(width: usize) -> Self {
            Self { taken: Vec::new(), parts: Vec::new(), width, is_full: false }
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.is_full = !self.is_full;
            if !self.is_full {
                return Poll::Pending;
            }
            let width = self.width;
            let before = self.taken.len();
            self.taken.extend(slices.iter().flat_map(|slice| slice.iter()).take(width));
            let bytes = self.taken.len() - before;
            self.parts.push(slices.len());
            Poll::Ready(Ok(bytes))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(outgoing: &mut Outgoing, stream: &mut Narrow) -> io::Result<bool> {
        task::spawn(()).enter(|cx, _| outgoing.write(stream, cx))
    }

    #[test]
    fn lines_go_out_as_one_part_and_a_long_value_as_it_is() {
        let mut outgoing = Outgoing::default();
        for _ in 0..100 {
            outgoing.push_short(b"mg a\r\n");
        }
        outgoing.push(Bytes::from(vec![b'x'; SHORT_BYTES + 1]));
        outgoing.push_short(b"\r\n");
        let mut stream = Narrow::new(usize::MAX);

        assert!(write(&mut outgoing, &mut stream).unwrap());

        assert_eq!((stream.parts, outgoing.bytes()), (vec![3], 0));
    }

    #[test]
    fn a_stream_that_takes_no_more_is_an_error() {
        let mut outgoing = Outgoing::default();
        assert!(!write(&mut outgoing, &mut Narrow::new(0)).unwrap(), "there is nothing to write");
        outgoing.push_short(b"a");
        assert_eq!(write(&mut outgoing, &mut Narrow::new(0)).unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

    proptest! {
        #[test]
        fn all_of_it_is_written_in_order(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..2 * SHORT_BYTES), 0..4_u8), 0..30),
            width in 1..5_000_usize,
        ) {
            let (mut outgoing, mut stream, mut expected) = (Outgoing::default(), Narrow::new(width), Vec::new());
            for (part, way) in parts {
                expected.extend_from_slice(&part);
                match way {
                    0 => outgoing.push_short(&part),
                    1 => {
                        outgoing.push(part.into());
                        write(&mut outgoing, &mut stream).unwrap();
                    }
                    _ => outgoing.push(part.into()),
                }
                prop_assert_eq!(outgoing.bytes(), expected.len() - stream.taken.len());
            }
            while outgoing.bytes() > 0 {
                write(&mut outgoing, &mut stream).unwrap();
            }
            prop_assert_eq!(stream.taken, expected);
        }
    }
}
