//! What stands where in a frame.

use crate::key::CacheKey;

pub(super) const MAGIC: [u8; 4] = *b"\x9cmcf";
pub(super) const VERSION: u8 = 1;

pub(super) const RESPONSE: u8 = 0;
pub(super) const INDEX: u8 = 1;
pub(super) const MARKER: u8 = 2;
pub(super) const FENCES: u8 = 3;

/// A frame taken apart: slices of it.
pub(super) struct Frame<'a> {
    pub(super) key: &'a [u8],
    pub(super) kind: u8,
    pub(super) head: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) trailers: &'a [u8],
    /// The start of its seal.
    pub(super) seal: u64,
}

impl<'a> Frame<'a> {
    /// Takes apart what stands between the flags and the seal.
    pub(super) fn read(mut rest: &'a [u8], seal: &[u8]) -> Option<Self> {
        let key = section(&mut rest)?;
        let kind = *rest.split_off_first()?;
        let frame = Self {
            key,
            kind,
            head: section(&mut rest)?,
            body: section(&mut rest)?,
            trailers: section(&mut rest)?,
            seal: u64::from_be_bytes(*seal.first_chunk()?),
        };
        rest.is_empty().then_some(frame)
    }
}

/// What stands before the body, and what stands between it and the seal.
pub(super) fn write(
    flags: u8,
    key: &CacheKey,
    kind: u8,
    head: &[u8],
    body_length: usize,
    trailers: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let key = key.as_str().as_bytes();
    let mut start = Vec::with_capacity(PRELUDE_BYTES + 3 * LENGTH_BYTES + key.len() + 1 + head.len());
    start.extend_from_slice(&MAGIC);
    start.extend_from_slice(&[VERSION, flags]);
    push_length(&mut start, key.len());
    start.extend_from_slice(key);
    start.push(kind);
    push_length(&mut start, head.len());
    start.extend_from_slice(head);
    push_length(&mut start, body_length);

    let mut end = Vec::with_capacity(LENGTH_BYTES + trailers.len() + blake3::OUT_LEN);
    push_length(&mut end, trailers.len());
    end.extend_from_slice(trailers);
    (start, end)
}

/// A frame without its magic, version and flags.
pub(super) fn after_prelude(frame: &[u8]) -> Option<&[u8]> {
    frame.get(PRELUDE_BYTES..)
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    // No platform has longer ones.
    out.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
}

/// Takes a length, and as many bytes as it says.
fn section<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u64::from_be_bytes(*rest.split_off(..LENGTH_BYTES)?.first_chunk()?);
    rest.split_off(..usize::try_from(length).ok()?)
}

/// Magic, version and flags.
const PRELUDE_BYTES: usize = MAGIC.len() + 2;
const LENGTH_BYTES: usize = size_of::<u64>();
