//! What is said to memcached in its meta protocol, and what can come of it.
//!
//! `memcache` writes the lines of the commands and reads those of the replies; but for `mg` and what answers it, which
//! is nearly all that is said and for which it makes a dozen small allocations. What frames both is ours: its own
//! connection takes a line and a value of any length, gives the same tokens to each batch, and answers one batch before
//! it writes the next.

use std::{io::Write, sync::Arc};

use bytes::Bytes;
use memcache::exp::{Error, MetaCommand, MetaOp};

use crate::store::{StoreError, StoreErrorKind};

/// What `mg` finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// Nothing.
    Miss,
    /// An item. One without bytes that was won is the stub that the vivifying `mg` has made.
    Value {
        bytes: Bytes,
        cas: u64,
        /// `W`: the lease is the caller's.
        won: bool,
        /// `Z`: the lease is somebody else's.
        pending: bool,
        /// `X`: it was marked as stale.
        stale: bool,
    },
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// `HD`: it was made.
    Done,
    /// `EX`: the item is not the one with this CAS any more.
    Exists,
    /// `NF`: there is no item.
    NotFound,
    /// `NS`: the server did not store it.
    NotStored,
}

/// Why an operation failed; told to each that it concerns.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    kind: StoreErrorKind,
    why: Arc<str>,
}

impl Fault {
    pub(super) fn new(kind: StoreErrorKind, why: impl Into<Arc<str>>) -> Self {
        Self { kind, why: why.into() }
    }

    /// Bytes that no reply to what was asked begins with. Nothing after them can be trusted.
    pub(super) fn corrupt(why: &'static str) -> Self {
        Self::new(StoreErrorKind::Corrupt, why)
    }

    pub(super) fn refused(why: impl Into<Arc<str>>) -> Self {
        Self::new(StoreErrorKind::Refused, why)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.kind, &*fault.why)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::new(StoreErrorKind::Io, error.to_string())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Usage(_) => StoreErrorKind::Refused,
            // `ERROR` and `CLIENT_ERROR`: the server would not talk to us, as with too many connections.
            Error::Rejected(_) => StoreErrorKind::Io,
            _ => StoreErrorKind::Corrupt,
        };
        Self::new(kind, error.to_string())
    }
}

/// `mg`: the value and its CAS. With `vivify`, a miss makes a stub for so many seconds, which one caller wins.
pub(super) fn get(key: &str, vivify: Option<u32>, token: u64) -> Result<Vec<u8>, Fault> {
    check(key)?;
    let mut line = Vec::with_capacity(key.len() + LONGEST_FLAGS);
    line.extend_from_slice(b"mg ");
    line.extend_from_slice(key.as_bytes());
    line.extend_from_slice(b" v c");
    if let Some(seconds) = vivify {
        write!(line, " N{}", relative(seconds))?;
    }
    write!(line, " O{token:x}\r\n")?;
    Ok(line)
}

/// The line of `ms`; the value and a [`LINE_END`] follow it.
pub(super) fn set(
    key: &str,
    value_bytes: usize,
    ttl_seconds: u32,
    cas: Option<u64>,
    token: u64,
) -> Result<Vec<u8>, Fault> {
    // The length is given as the first flag, so that the value need not be copied into the command.
    let command = command(MetaOp::Set, key)?.flag(value_bytes.to_string());
    let ttl_seconds = if ttl_seconds == FOR_EVER { 0 } else { relative(ttl_seconds) };
    encode(command.flag(format!("T{ttl_seconds}")), cas, token)
}

/// `md`.
pub(super) fn delete(key: &str, cas: Option<u64>, token: u64) -> Result<Vec<u8>, Fault> {
    encode(command(MetaOp::Delete, key)?, cas, token)
}

/// `mn`, which takes no token.
pub(super) fn probe() -> Vec<u8> {
    b"mn\r\n".to_vec()
}

fn command(operation: MetaOp, key: &str) -> Result<MetaCommand, Fault> {
    // Refused before `memcache` sees it, which would send it as base64, under another name.
    check(key)?;
    Ok(MetaCommand::new(operation, key))
}

/// Refuses a key that could end the line, or say more than a key.
fn check(key: &str) -> Result<(), Fault> {
    // All of them in any case, so that the loop takes many at once.
    let is_bad = |is_bad, byte| is_bad | (byte <= b' ') | (byte == 0x7f);
    if key.is_empty() || key.len() > LONGEST_KEY || key.bytes().fold(false, is_bad) {
        return Err(Fault::refused("the key is not one of memcached's"));
    }
    Ok(())
}

fn encode(command: MetaCommand, cas: Option<u64>, token: u64) -> Result<Vec<u8>, Fault> {
    let command = match cas {
        Some(cas) => command.flag(format!("C{cas}")),
        None => command,
    };
    let mut line = Vec::with_capacity(USUAL_LINE);
    command.flag(format!("O{token:x}")).encode_into(&mut line)?;
    Ok(line)
}

/// Seconds that mean seconds from now: zero would be for ever, and more than thirty days a date.
fn relative(seconds: u32) -> u32 {
    seconds.clamp(1, 30 * 86_400)
}

/// In place of seconds: it does not expire.
pub(super) const FOR_EVER: u32 = u32::MAX;

/// The end of a line and of a value.
pub(super) const LINE_END: &[u8] = b"\r\n";

/// memcached's.
const LONGEST_KEY: usize = 250;

/// Longer than most lines are.
const USUAL_LINE: usize = 128;

/// Of `mg`, with all that is not the key.
const LONGEST_FLAGS: usize = 48;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_written_as_memcached_reads_them() {
        let longest = "k".repeat(LONGEST_KEY);
        for (written, expected) in [
            (get("a", None, 255), "mg a v c Off\r\n".to_owned()),
            (get("a", Some(3), 1), "mg a v c N3 O1\r\n".to_owned()),
            (get("a", Some(0), 1), "mg a v c N1 O1\r\n".to_owned()),
            (get(&longest, None, u64::MAX), format!("mg {longest} v c Offffffffffffffff\r\n")),
            (get("h\u{e9}", None, 0), "mg h\u{e9} v c O0\r\n".to_owned()),
            (set("a", 5, 60, None, 1), "ms a 5 T60 O1\r\n".to_owned()),
            (set("a", 0, 0, Some(7), 1), "ms a 0 T1 C7 O1\r\n".to_owned()),
            (set("a", 5, u32::MAX - 1, None, 1), "ms a 5 T2592000 O1\r\n".to_owned()),
            (set("a", 5, FOR_EVER, None, 1), "ms a 5 T0 O1\r\n".to_owned()),
            (delete("a", None, 1), "md a O1\r\n".to_owned()),
            (delete("a", Some(7), 1), "md a C7 O1\r\n".to_owned()),
            (Ok(probe()), "mn\r\n".to_owned()),
        ] {
            assert_eq!(written.unwrap(), expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn an_mg_is_written_as_memcache_would(
            key in "[!-~\u{e9}]{1,120}",
            vivify: Option<u32>,
            token in prop_oneof![any::<u64>(), 0..70_u64],
        ) {
            let mut command = MetaCommand::new(MetaOp::Get, key.as_str()).flag("v").flag("c");
            if let Some(seconds) = vivify {
                command = command.flag(format!("N{}", relative(seconds)));
            }
            prop_assert_eq!(get(&key, vivify, token).unwrap(), encode(command, None, token).unwrap());
        }
    }

    #[test]
    fn a_key_that_could_end_the_line_or_say_more_is_refused() {
        let longer = "k".repeat(LONGEST_KEY + 1);
        for key in ["", " ", "a b", "a\r\nmd b", "a\nb", "a\tb", "a\0", "a\x7f", &longer] {
            for written in [get(key, Some(1), 1), set(key, 1, 1, None, 1), delete(key, None, 1)] {
                assert_eq!(written.unwrap_err().kind, StoreErrorKind::Refused, "{key:?}");
            }
        }
    }
}
