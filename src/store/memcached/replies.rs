//! Replies of memcached's meta protocol, out of the bytes of a connection.

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};
use memcache::exp::{Error, MetaResponse, ReturnCode, parse_meta_result};

use super::wire::{Fault, Got, LINE_END, Outcome};
use crate::field::digits;

/// A reply, framed.
#[derive(Debug)]
pub(super) enum Reply {
    /// `SERVER_ERROR`: the server could not do this one, and goes on. It says no token.
    Failed(Fault),
    Said(Said),
}

/// A reply that says what it is.
#[derive(Debug)]
pub(super) struct Said {
    code: ReturnCode,
    token: Option<u64>,
    cas: Option<u64>,
    won: bool,
    pending: bool,
    stale: bool,
    value: Bytes,
}

impl Said {
    fn new(code: ReturnCode) -> Self {
        Self { code, token: None, cas: None, won: false, pending: false, stale: false, value: Bytes::new() }
    }

    /// The same, if it answers what was asked with this token.
    pub(super) fn to(self, token: Option<u64>) -> Result<Self, Fault> {
        if self.token == token { Ok(self) } else { Err(Fault::corrupt("a reply to something else")) }
    }

    pub(super) fn got(self) -> Result<Got, Fault> {
        let Self { code, cas, won, pending, stale, value: bytes, .. } = self;
        match (code, cas) {
            (ReturnCode::En, _) => Ok(Got::Miss),
            (ReturnCode::Va, Some(cas)) => Ok(Got::Value { bytes, cas, won, pending, stale }),
            _ => Err(Fault::corrupt("no reply to mg")),
        }
    }

    pub(super) fn outcome(self) -> Result<Outcome, Fault> {
        match self.code {
            ReturnCode::Hd => Ok(Outcome::Done),
            ReturnCode::Ex => Ok(Outcome::Exists),
            ReturnCode::Nf => Ok(Outcome::NotFound),
            ReturnCode::Ns => Ok(Outcome::NotStored),
            _ => Err(Fault::corrupt("no reply to ms or md")),
        }
    }

    pub(super) fn alive(self) -> Result<(), Fault> {
        if self.code == ReturnCode::Mn { Ok(()) } else { Err(Fault::corrupt("no reply to mn")) }
    }
}

/// Takes replies out of the bytes of a connection. Holds at most one value and [`READ_BYTES`], whatever they say.
#[derive(Debug)]
pub(super) struct Replies {
    input: BytesMut,
    unfinished: Option<Unfinished>,
    max_value_bytes: usize,
    last_bytes: usize,
}

/// A reply whose value is still being read; a long one into a place of its own, and what is behind it may be read along.
#[derive(Debug)]
struct Unfinished {
    said: Said,
    value: BytesMut,
    /// What is not kept of a value that is longer than any of ours.
    skip_bytes: usize,
    /// The length of the value with its line end, without what is skipped.
    whole_bytes: usize,
}

impl Replies {
    pub(super) fn new(max_value_bytes: usize) -> Self {
        Self { input: BytesMut::new(), unfinished: None, max_value_bytes, last_bytes: 0 }
    }

    /// Where what is read next belongs. There is room in it once [`next`](Self::next) has given nothing.
    pub(super) fn room(&mut self) -> Limit<&mut BytesMut> {
        let has_begun = self.unfinished.is_some();
        match &mut self.unfinished {
            Some(unfinished) if unfinished.skip_bytes == 0 && !unfinished.is_short() => {
                let room = unfinished.value.capacity() - unfinished.value.len();
                return (&mut unfinished.value).limit(room);
            }
            _ => {}
        }
        // Behind one long value there is likely another: what is read of it with its line has to be copied.
        let most = if self.last_bytes > READ_BYTES && !has_begun { READ_BYTES_BETWEEN } else { READ_BYTES };
        let room = most.saturating_sub(self.input.len());
        self.input.reserve(room);
        (&mut self.input).limit(room)
    }

    /// The next reply, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Fault> {
        let mut unfinished = match self.unfinished.take() {
            Some(unfinished) => unfinished,
            None => match self.next_line()? {
                None => return Ok(None),
                Some(Line::Whole(reply)) => {
                    self.last_bytes = 0;
                    return Ok(Some(reply));
                }
                Some(Line::Before(unfinished)) => unfinished,
            },
        };
        let skipped = self.input.len().min(unfinished.skip_bytes);
        unfinished.skip_bytes -= skipped;
        self.input.advance(skipped);
        if unfinished.skip_bytes > 0 {
            self.unfinished = Some(unfinished);
            return Ok(None);
        }
        // One that is read in pieces leaves no room for those behind it: each of them would then be read by itself.
        if unfinished.is_short() && self.input.len() < unfinished.whole_bytes {
            self.unfinished = Some(unfinished);
            return Ok(None);
        }
        let there = self.input.len().min(unfinished.missing_bytes());
        unfinished.value.extend_from_slice(&self.input[..there]);
        self.input.advance(there);
        if unfinished.missing_bytes() > 0 {
            self.unfinished = Some(unfinished);
            return Ok(None);
        }
        // There is nothing before it: all of the input went into the value.
        self.input.extend_from_slice(unfinished.beyond());
        self.last_bytes = unfinished.whole_bytes;
        unfinished.finish().map(|said| Some(Reply::Said(said)))
    }

    /// The length of the last value; zero if the last reply had none.
    pub(super) fn last_bytes(&self) -> usize {
        self.last_bytes
    }

    fn next_line(&mut self) -> Result<Option<Line>, Fault> {
        let Some(end) = self.input.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
            let too_long = self.input.len() >= LONGEST_LINE;
            return if too_long { Err(Fault::corrupt("a line without an end")) } else { Ok(None) };
        };
        let Some(line) = self.input[..=end].strip_suffix(LINE_END) else {
            return Err(Fault::corrupt("half the end of a line"));
        };
        let line = read_line(line, self.max_value_bytes, self.input.len() - end - 1)?;
        self.input.advance(end + 1);
        Ok(Some(line))
    }

    /// Whether no reply has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty() && self.unfinished.is_none()
    }
}

impl Unfinished {
    /// Whether it is copied out of what is read, when all of it is there.
    fn is_short(&self) -> bool {
        self.whole_bytes <= SHORT_BYTES
    }

    fn missing_bytes(&self) -> usize {
        self.whole_bytes.saturating_sub(self.value.len())
    }

    /// What was read along of the next replies.
    fn beyond(&self) -> &[u8] {
        self.value.get(self.whole_bytes..).unwrap_or_default()
    }

    fn finish(mut self) -> Result<Said, Fault> {
        let bytes = self.whole_bytes.saturating_sub(LINE_END.len());
        if self.value.get(bytes..self.whole_bytes) != Some(LINE_END) {
            return Err(Fault::corrupt("a value that does not end where it was to"));
        }
        self.value.truncate(bytes);
        Ok(Said { value: self.value.freeze(), ..self.said })
    }
}

/// A line of a reply.
enum Line {
    Whole(Reply),
    /// Its value follows.
    Before(Unfinished),
}

/// Reads a line that so many bytes are there after.
fn read_line(line: &[u8], max_value_bytes: usize, following: usize) -> Result<Line, Fault> {
    let (said, length) = match usual(line) {
        Some(read) => read,
        None => match MetaResponse::parse_header(line) {
            Ok(response) => unusual(line, response)?,
            Err(Error::Server(why)) => return Ok(Line::Whole(Reply::Failed(Fault::refused(why)))),
            Err(error) => return Err(error.into()),
        },
    };
    let Some(length) = length else { return Ok(Line::Whole(Reply::Said(said))) };
    // Somebody else's, or from other settings: it is as good as empty, and no reason to end what others wait for.
    let skip_bytes = if length > max_value_bytes { length } else { 0 };
    let whole_bytes = (length - skip_bytes).saturating_add(LINE_END.len());
    // With the rest of it, the line of the next is read, and it is known at once where that belongs.
    let beyond = if whole_bytes > following.max(SHORT_BYTES) { LONGEST_LINE } else { 0 };
    let value = BytesMut::with_capacity(whole_bytes.saturating_add(beyond));
    Ok(Line::Before(Unfinished { said, value, skip_bytes, whole_bytes }))
}

/// A line, and the length of the value that follows it, if one does: what answers `mg`, and nothing that memcached does
/// not say to ours. None if it is anything else, which `memcache` reads.
fn usual(line: &[u8]) -> Option<(Said, Option<usize>)> {
    let mut words = line.split(|byte| *byte == b' ');
    let (code, length) = match words.next()? {
        b"VA" => (ReturnCode::Va, Some(value_length(words.next()?)?)),
        b"EN" => (ReturnCode::En, None),
        b"HD" => (ReturnCode::Hd, None),
        _ => return None,
    };
    let mut said = Said::new(code);
    for word in words {
        match word {
            b"W" => said.won = true,
            b"Z" => said.pending = true,
            b"X" => said.stale = true,
            // The greatest may be one that is too great.
            [b'c', cas @ ..] if said.cas.is_none() => said.cas = Some(digits(cas).filter(|cas| *cas < u64::MAX)?),
            [b'O', token @ ..] if said.token.is_none() => said.token = Some(read_token(token).ok()?),
            _ => return None,
        }
    }
    Some((said, length))
}

/// The same of any line, as `memcache` reads it.
fn unusual(line: &[u8], response: MetaResponse) -> Result<(Said, Option<usize>), Fault> {
    let flags = parse_meta_result(response)?;
    let token = flags.opaque.as_deref().map(read_token).transpose()?;
    let said =
        Said { token, cas: flags.cas, won: flags.won, pending: flags.busy, stale: flags.stale, ..Said::new(flags.rc) };
    if said.code != ReturnCode::Va {
        return Ok((said, None));
    }
    // `memcache` keeps the length for its own connection, so it is read once more.
    match line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(1).and_then(value_length) {
        Some(length) => Ok((said, Some(length))),
        None => Err(Fault::corrupt("a value longer than any that memcached has")),
    }
}

fn value_length(word: &[u8]) -> Option<usize> {
    usize::try_from(digits(word)?).ok().filter(|length| *length <= LONGEST_VALUE)
}

fn read_token(token: &[u8]) -> Result<u64, Fault> {
    let token = str::from_utf8(token).ok().and_then(|token| u64::from_str_radix(token, 16).ok());
    token.ok_or_else(|| Fault::corrupt("a token that is none of ours"))
}

/// Many times what a reply to one of our commands can say beside its value.
const LONGEST_LINE: usize = 1024;

/// The most that `memcached -I` takes.
const LONGEST_VALUE: usize = 1 << 30;

/// How much is read at once.
pub(super) const READ_BYTES: usize = 32 * 1024;

/// Up to this length copying a value costs less than reading it by itself.
const SHORT_BYTES: usize = READ_BYTES / 4;

/// How much is read at once between long values: room for any line.
const READ_BYTES_BETWEEN: usize = 2 * LONGEST_LINE;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{StoreError, StoreErrorKind};

    const MOST: usize = 4 * READ_BYTES;

    /// What is taken out of `bytes` when they come in pieces of this size, and whether the connection lives on.
    fn replies(bytes: &[u8], piece: usize) -> (Vec<String>, Option<Fault>) {
        let mut replies = Replies::new(MOST);
        let (mut taken, mut rest) = (Vec::new(), bytes);
        loop {
            match replies.next() {
                Ok(Some(reply)) => taken.push(format!("{reply:?}")),
                Ok(None) if rest.is_empty() => return (taken, None),
                Ok(None) => {
                    let mut room = replies.room();
                    assert!(room.remaining_mut() > 0, "no room after {} replies", taken.len());
                    let (now, later) = rest.split_at(rest.len().min(piece).min(room.remaining_mut()));
                    room.put_slice(now);
                    rest = later;
                }
                Err(fault) => return (taken, Some(fault)),
            }
            let held = replies.input.capacity() + replies.unfinished.as_ref().map_or(0, |it| it.value.capacity());
            assert!(held <= MOST + 4 * READ_BYTES, "{held} bytes are held");
        }
    }

    fn kind<T: std::fmt::Debug>(result: Result<T, Fault>) -> StoreErrorKind {
        StoreError::from(result.unwrap_err()).kind()
    }

    fn one(bytes: &[u8]) -> Said {
        let mut replies = Replies::new(MOST);
        replies.room().put_slice(bytes);
        match replies.next().unwrap().unwrap() {
            Reply::Said(said) => said,
            Reply::Failed(fault) => panic!("{fault:?}"),
        }
    }

    #[test]
    fn what_mg_finds_is_read() {
        let value = |bytes: &'static str, cas, won, pending, stale| Got::Value {
            bytes: Bytes::from_static(bytes.as_bytes()),
            cas,
            won,
            pending,
            stale,
        };
        for (bytes, expected) in [
            ("EN O1\r\n", Got::Miss),
            ("VA 5 c7 O1\r\nhello\r\n", value("hello", 7, false, false, false)),
            ("VA 0 c7 O1 W\r\n\r\n", value("", 7, true, false, false)),
            ("VA 0 c7 O1 Z\r\n\r\n", value("", 7, false, true, false)),
            ("VA 2 c18446744073709551615 O1 X W\r\n\r\n\r\n", value("\r\n", u64::MAX, true, false, true)),
        ] {
            assert_eq!(one(bytes.as_bytes()).to(Some(1)).unwrap().got().unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_memcached_says_to_an_mg_is_usual() {
        for line in ["EN O1", "HD Off", "VA 5 c7 O1", "VA 0 c7 Offffffffffffffff W", "VA 1073741824 c1 O1 Z X"] {
            assert!(usual(line.as_bytes()).is_some(), "{line}");
        }
    }

    #[test]
    fn what_became_of_a_change_is_read() {
        for (bytes, expected) in [
            ("HD O1\r\n", Outcome::Done),
            ("EX O1\r\n", Outcome::Exists),
            ("NF O1\r\n", Outcome::NotFound),
            ("NS O1\r\n", Outcome::NotStored),
        ] {
            assert_eq!(one(bytes.as_bytes()).to(Some(1)).unwrap().outcome().unwrap(), expected);
        }
        one(b"MN\r\n").to(None).unwrap().alive().unwrap();
    }

    #[test]
    fn a_reply_to_something_else_is_none() {
        for (bytes, token) in [
            ("EN O2\r\n", Some(1)),
            ("EN\r\n", Some(1)),
            ("EN O1\r\n", None),
            ("MN\r\n", Some(1)),
            ("HD O11\r\n", Some(1)),
        ] {
            assert_eq!(kind(one(bytes.as_bytes()).to(token)), StoreErrorKind::Corrupt, "{bytes:?}");
        }
        for bytes in ["HD O1\r\n", "NF O1\r\n", "MN O1\r\n", "VA 0 O1\r\n\r\n"] {
            assert_eq!(kind(one(bytes.as_bytes()).got()), StoreErrorKind::Corrupt, "{bytes:?}");
        }
        for bytes in ["EN O1\r\n", "MN O1\r\n", "VA 0 c1 O1\r\n\r\n"] {
            assert_eq!(kind(one(bytes.as_bytes()).outcome()), StoreErrorKind::Corrupt, "{bytes:?}");
        }
        assert_eq!(kind(one(b"HD\r\n").alive()), StoreErrorKind::Corrupt);
    }

    #[test]
    fn what_can_not_be_a_reply_ends_the_connection() {
        let (endless, too_long) = ("a".repeat(LONGEST_LINE), format!("VA {} c1 O1\r\n", LONGEST_VALUE + 1));
        for (bytes, expected) in [
            ("\r\n", StoreErrorKind::Corrupt),
            ("EN O1\n", StoreErrorKind::Corrupt),
            ("HTTP/1.1 400 Bad Request\r\n", StoreErrorKind::Corrupt),
            ("en O1\r\n", StoreErrorKind::Corrupt),
            ("END\r\n", StoreErrorKind::Corrupt),
            ("HD Oxyz\r\n", StoreErrorKind::Corrupt),
            ("VA\r\n", StoreErrorKind::Corrupt),
            ("VA c1 O1\r\n", StoreErrorKind::Corrupt),
            ("VA +1 c1 O1\r\n", StoreErrorKind::Corrupt),
            ("VA -1 c1 O1\r\n", StoreErrorKind::Corrupt),
            ("VA 99999999999999999999 c1 O1\r\n", StoreErrorKind::Corrupt),
            ("VA 18446744073709551615 c1 O1\r\n", StoreErrorKind::Corrupt),
            ("VA 1 cx O1\r\n", StoreErrorKind::Corrupt),
            ("VA 1 c1 O1\r\nabc", StoreErrorKind::Corrupt),
            ("ERROR\r\n", StoreErrorKind::Io),
            ("ERROR Too many open connections\r\n", StoreErrorKind::Io),
            ("CLIENT_ERROR bad data chunk\r\n", StoreErrorKind::Io),
            (&endless, StoreErrorKind::Corrupt),
            (&too_long, StoreErrorKind::Corrupt),
        ] {
            for piece in [1, 7, bytes.len()] {
                let (taken, fault) = replies(bytes.as_bytes(), piece);
                assert_eq!((taken.len(), kind::<()>(Err(fault.unwrap()))), (0, expected), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_server_error_fails_one_operation_and_no_more() {
        let (taken, fault) = replies(b"SERVER_ERROR out of memory storing object\r\nHD O2\r\n", 3);
        assert!(taken[0].contains("out of memory storing object") && taken[0].contains("Refused"), "{taken:?}");
        assert!(taken.len() == 2 && fault.is_none());
    }

    #[test]
    fn a_value_longer_than_any_of_ours_is_as_good_as_empty() {
        let long = format!("VA {} c7 O1\r\n{}\r\nHD O2\r\n", MOST + 1, "x".repeat(MOST + 1));
        for piece in [7, 4_096, long.len()] {
            let (taken, fault) = replies(long.as_bytes(), piece);
            assert!(taken[0].contains("cas: Some(7)") && taken[0].contains("value: b\"\""), "{taken:?}");
            assert!(taken.len() == 2 && fault.is_none());
        }
        let cut = long.replace("x\r\n", "xx\r\n");
        assert_eq!(kind::<()>(Err(replies(cut.as_bytes(), 4_096).1.unwrap())), StoreErrorKind::Corrupt);
    }

    #[test]
    fn behind_a_long_value_a_line_is_read_and_behind_anything_else_much() {
        let mut replies = Replies::new(MOST);
        let long = format!("VA {} c1 O1\r\n{}\r\n", 2 * READ_BYTES, "x".repeat(2 * READ_BYTES));
        let usual = (0, READ_BYTES);
        for (reply, expected) in [
            ("EN O1\r\n", usual),
            (&long, (2 * READ_BYTES + LINE_END.len(), READ_BYTES_BETWEEN)),
            ("VA 3 c1 O1\r\nabc\r\n", (5, READ_BYTES)),
            (&long, (2 * READ_BYTES + LINE_END.len(), READ_BYTES_BETWEEN)),
            ("SERVER_ERROR out of memory\r\n", usual),
            (&long, (2 * READ_BYTES + LINE_END.len(), READ_BYTES_BETWEEN)),
            ("HD O1\r\n", usual),
        ] {
            let (mut rest, mut taken) = (reply.as_bytes(), None);
            while taken.is_none() {
                let mut room = replies.room();
                let (now, later) = rest.split_at(rest.len().min(room.remaining_mut()));
                room.put_slice(now);
                rest = later;
                taken = replies.next().unwrap();
            }
            assert_eq!((replies.last_bytes(), replies.room().remaining_mut()), expected, "{reply:.20}");
        }
    }

    #[test]
    fn values_that_are_there_are_read_many_at_once() {
        let reply = format!("VA 1700 c1 O1\r\n{}\r\n", "x".repeat(1_700));
        let all = reply.repeat(1_000);
        let (mut replies, mut rest, mut reads) = (Replies::new(MOST), all.as_bytes(), 0);
        for number in 0..1_000 {
            while replies.next().unwrap().is_none() {
                let mut room = replies.room();
                let (now, later) = rest.split_at(rest.len().min(room.remaining_mut()));
                room.put_slice(now);
                (rest, reads) = (later, reads + 1);
                assert!(reads <= number / 15 + 1, "{reads} reads for {number} values");
            }
        }
    }

    /// Short ones, and some that are not.
    fn any_value() -> impl Strategy<Value = Vec<u8>> {
        let bytes = |length| prop::collection::vec(any::<u8>(), length);
        prop_oneof![8 => bytes(0..2_000), 1 => bytes(SHORT_BYTES - 4..SHORT_BYTES + 4)]
    }

    /// Something that looks like a line of a reply.
    fn nearly_a_line() -> impl Strategy<Value = String> {
        let codes = prop::sample::select(vec!["VA", "EN", "HD", "NF", "MN", "va", "VAX", "SERVER_ERROR", ""]);
        let flag = prop_oneof![
            "[cOWZXsbk0-9]?[0-9a-f]{0,2}",
            "[cO][0-9a-fA-F+-]{0,18}",
            any::<u64>().prop_map(|number| format!("c{number}")),
            any::<u64>().prop_map(|number| format!("O{number:x}")),
            Just("c18446744073709551616".to_owned()),
            Just(format!("{LONGEST_VALUE}")),
            Just(format!("{}", LONGEST_VALUE + 1)),
        ];
        (codes, prop::collection::vec(flag, 0..6)).prop_map(|(code, flags)| format!("{code} {}", flags.join(" ")))
    }

    /// Something that looks like replies.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let parts =
            ["VA ", "HD", "EN", "MN", "SERVER_ERROR x", "0", "3", "131072", " c1", " O1", " W", "\r\n", "\n", "abc"];
        prop::collection::vec(prop::sample::select(parts.to_vec()), 0..40).prop_map(|parts| parts.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn what_is_usual_says_what_memcache_reads_in_it(line in nearly_a_line()) {
            for line in [line.as_bytes(), line.trim().as_bytes()] {
                let Some((said, length)) = usual(line) else { continue };
                let (expected, expected_length) = unusual(line, MetaResponse::parse_header(line).unwrap()).unwrap();
                prop_assert_eq!((format!("{said:?}"), length), (format!("{expected:?}"), expected_length));
            }
        }

        #[test]
        fn any_bytes_are_replies_or_a_fault_however_they_are_cut(
            bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..3000), nearly()],
            piece in 1..4000_usize,
        ) {
            let (cut, cut_fault) = replies(&bytes, piece);
            let (whole, whole_fault) = replies(&bytes, usize::MAX);
            prop_assert_eq!((cut, format!("{cut_fault:?}")), (whole, format!("{whole_fault:?}")));
        }

        #[test]
        fn values_of_any_bytes_come_back_whole(
            values in prop::collection::vec(any_value(), 1..20),
            piece in 1..5000_usize,
        ) {
            let mut bytes = Vec::new();
            for (token, value) in values.iter().enumerate() {
                bytes.extend_from_slice(format!("VA {} c{token} O{token:x}\r\n", value.len()).as_bytes());
                bytes.extend_from_slice(value);
                bytes.extend_from_slice(LINE_END);
            }
            let mut expected = Vec::new();
            for (token, value) in values.into_iter().enumerate() {
                let line = format!("VA {} c{token} O{token:x}\r\n", value.len());
                let said = Said { value: value.clone().into(), ..one(&[line.as_bytes(), &value, LINE_END].concat()) };
                expected.push(format!("{:?}", Reply::Said(said)));
            }
            prop_assert_eq!(replies(&bytes, piece).0, expected);
        }
    }
}
