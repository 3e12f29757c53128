//! Stored values as bytes and back, for a store that several processes share.
//!
//! Bytes that others can write are not trusted. A frame names the whole key that it was made for, and is nothing under
//! any other. Nothing of it is read before its seal was verified, and whatever the bytes are, they give a value or an
//! error. Version 1 of the frame, with lengths of eight bytes, the most significant first:
//!
//! ```text
//! magic     4           0x9c "mcf"
//! version   1           1
//! flags     1           1: sealed with a key; all other bits are zero
//! key       8 + length  the canonical key
//! kind      1           0: a response, 1: the index of variants, 2: a marker, 3: fences
//! head      8 + length  what is neither body nor trailers
//! body      8 + length
//! trailers  8 + length
//! seal      16          XXH3 with 128 bits of all before it, the most significant byte first
//!           32          if sealed with a key: keyed BLAKE3 of all before it
//! ```
//!
//! Head and trailers are in the format of postcard. Times are milliseconds since 1970. A fraction of a millisecond is
//! rounded so that no lifetime gets longer and no age shorter, and so that a fence covers no less.

mod fields;
mod frame;
mod head;
mod heads;
mod index;
mod marker;
mod raised;
mod seal;
mod shapes;
#[cfg(test)]
mod tests;
pub(crate) mod units;

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::{
    frame::{FENCES, Frame, INDEX, MAGIC, MARKER, RESPONSE, VERSION},
    heads::Heads,
    seal::Seal,
};
use super::{Kind, Stored, StoredBody, StoredResponse, raised::Raised};
use crate::key::CacheKey;

/// Writes frames and reads them.
#[derive(Clone)]
pub(crate) struct Codec {
    seal: Seal,
    heads: Arc<Heads>,
}

/// A frame in pieces, so that the body is not copied.
pub(crate) struct EncodedParts {
    /// One after the other they are the frame.
    pub(crate) parts: [Bytes; 3],
}

/// Why bytes are not what is stored under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It is no frame.
    Magic,
    /// A frame of another version.
    Version,
    /// It has a checksum where a seal is asked for.
    Unsealed,
    /// It is sealed, and there is no key to verify that with.
    Sealed,
    /// It is not what was written, or was sealed with another key.
    Checksum,
    /// It was made for another key.
    OtherKey,
    /// It says what nothing stored says.
    Malformed,
}

impl Codec {
    /// Frames with a checksum: against accidents, not against somebody who can write to the store.
    pub(crate) fn plain() -> Self {
        Self::with(Seal::Checksum)
    }

    /// Frames that only those who have this key can make.
    pub(crate) fn sealed_with(key: [u8; 32]) -> Self {
        Self::with(Seal::Keyed(key))
    }

    fn with(seal: Seal) -> Self {
        Self { seal, heads: Arc::new(Heads::new()) }
    }

    /// The frame for this key. The body in it is the one that is stored, not a copy.
    ///
    /// More than 4096 field lines, or variants of another key, are written, but not read again.
    pub(crate) fn encode(&self, key: &CacheKey, stored: &Stored) -> EncodedParts {
        let (kind, head, body, trailers) = match &stored.kind {
            Kind::Response(response) => {
                let trailers = fields::write_trailers(response.trailers());
                (RESPONSE, head::write(&response.head), response.body.bytes.clone(), trailers)
            }
            Kind::Variants(index) => (INDEX, index::write(key, index), Bytes::new(), Vec::new()),
            Kind::Marker(marker) => (MARKER, marker::write(marker), Bytes::new(), Vec::new()),
        };
        self.write(key, kind, &head, body, &trailers)
    }

    /// The frame of the fences that stand under this key.
    pub(crate) fn encode_fences(&self, key: &CacheKey, raised: &Raised) -> EncodedParts {
        self.write(key, FENCES, &raised::write(raised), Bytes::new(), &[])
    }

    fn write(&self, key: &CacheKey, kind: u8, head: &[u8], body: Bytes, trailers: &[u8]) -> EncodedParts {
        let (start, mut end) = frame::write(self.seal.flags(), key, kind, head, body.len(), trailers);
        let mark = self.seal.close([&start, &body, &end]);
        end.extend_from_slice(&mark);
        EncodedParts { parts: [start.into(), body, end.into()] }
    }

    /// What is stored under this key, from its frame. The body is a slice of `bytes`, and so may be the values of fields
    /// beside one; the head may be that of others, of the same bytes; all else is copied.
    pub(crate) fn decode(&self, key: &CacheKey, bytes: &Bytes) -> Result<Stored, DecodeError> {
        let frame = self.read(key, bytes)?;
        match frame.kind {
            RESPONSE => self.response(&frame, bytes).map(Kind::Response),
            _ if !frame.body.is_empty() || !frame.trailers.is_empty() => None,
            INDEX => index::read(key, frame.head).map(Kind::Variants),
            MARKER => marker::read(frame.head).map(Kind::Marker),
            _ => None,
        }
        .map(Stored::new)
        .ok_or(DecodeError::Malformed)
    }

    /// The fences that stand under this key, from their frame.
    pub(crate) fn decode_fences(&self, key: &CacheKey, bytes: &[u8]) -> Result<Raised, DecodeError> {
        let frame = self.read(key, bytes)?;
        let is_whole = frame.kind == FENCES && frame.body.is_empty() && frame.trailers.is_empty();
        is_whole.then(|| raised::read(frame.head)).flatten().ok_or(DecodeError::Malformed)
    }

    fn read<'a>(&self, key: &CacheKey, bytes: &'a [u8]) -> Result<Frame<'a>, DecodeError> {
        let (frame, seal) = self.open(bytes)?;
        let frame = Frame::read(frame, seal).ok_or(DecodeError::Malformed)?;
        if frame.key == key.as_str().as_bytes() { Ok(frame) } else { Err(DecodeError::OtherKey) }
    }

    /// What stands between the flags and the seal, and the seal, once that is verified.
    fn open<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
        let flags = match bytes.strip_prefix(&MAGIC).ok_or(DecodeError::Magic)? {
            [VERSION, flags, ..] => *flags,
            [VERSION] | [] => return Err(DecodeError::Malformed),
            [_, ..] => return Err(DecodeError::Version),
        };
        match (&self.seal, flags) {
            (Seal::Checksum, seal::PLAIN) | (Seal::Keyed(_), seal::SEALED) => {}
            (Seal::Checksum, seal::SEALED) => return Err(DecodeError::Sealed),
            (Seal::Keyed(_), seal::PLAIN) => return Err(DecodeError::Unsealed),
            _ => return Err(DecodeError::Malformed),
        }
        let length = bytes.len().checked_sub(self.seal.length()).ok_or(DecodeError::Malformed)?;
        let (frame, mark) = bytes.split_at(length);
        if !self.seal.verify(frame, mark) {
            return Err(DecodeError::Checksum);
        }
        Ok((frame::after_prelude(frame).ok_or(DecodeError::Malformed)?, mark))
    }

    fn response(&self, frame: &Frame<'_>, bytes: &Bytes) -> Option<StoredResponse> {
        let body = bytes.slice_ref(frame.body);
        // Where a body keeps the bytes, they are there for the values of the fields, too.
        let kept = (!body.is_empty()).then_some(bytes);
        let head = self.heads.read(frame.seal, frame.head, kept)?;
        let trailers = fields::read_trailers(frame.trailers)?.map(Arc::new);
        Some(StoredResponse::new(head, StoredBody { bytes: body, trailers }))
    }
}

impl EncodedParts {
    /// How many bytes the parts are together.
    pub(crate) fn encoded_len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// Not the key.
impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("is_sealed", &matches!(self.seal, Seal::Keyed(_))).finish()
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "not a frame",
            Self::Version => "a frame of another version",
            Self::Unsealed => "a frame without a seal",
            Self::Sealed => "a frame with a seal that can not be verified",
            Self::Checksum => "a frame that was changed or sealed with another key",
            Self::OtherKey => "a frame for another key",
            Self::Malformed => "a malformed frame",
        })
    }
}

impl Error for DecodeError {}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Can not fail: a vector takes all that is written, and every sequence knows its length.
    postcard::to_extend(value, Vec::with_capacity(USUAL_BYTES)).unwrap_or_default()
}

/// Reads a value that takes all of the bytes.
fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        Ok(_) | Err(_) => None,
    }
}

/// More than most heads take.
const USUAL_BYTES: usize = 512;
