//! `Cache-Status` and `Age` as text, with as few allocations as there can be.

use std::{
    fmt::{self, Write},
    sync::LazyLock,
};

use http::HeaderValue;

use super::{CACHE_NAME, CacheStatus, ForwardReason};

impl CacheStatus {
    pub(crate) fn to_value(self) -> HeaderValue {
        if let Some(prepared) = self.prepared() {
            return prepared;
        }
        let mut line = Line { bytes: [0; LONGEST_LINE], length: 0 };
        // Neither can fail: the line has room for the longest, and it is tokens and numbers only.
        let _ = line.write_str(CACHE_NAME).and_then(|()| line.write_str("; ")).and_then(|()| self.write(&mut line));
        HeaderValue::from_bytes(line.written()).unwrap_or(HeaderValue::from_static(CACHE_NAME))
    }

    /// Plain hits are the many, and those that waited come all at once; their text is made once.
    fn prepared(&self) -> Option<HeaderValue> {
        if let Some(reason) = self.plainly_collapsed() {
            return COLLAPSED.get(reason as usize).cloned();
        }
        let ttl = usize::try_from(self.ttl?).ok()?;
        let is_plain = *self == Self { ttl: self.ttl, ..Self::default() };
        if is_plain { HITS.get(ttl).cloned() } else { None }
    }

    /// The parameters, without the name of the cache. By hand, since each miss writes them.
    fn write(&self, out: &mut impl Write) -> fmt::Result {
        match self.forward {
            None => out.write_str("hit")?,
            Some(reason) => {
                out.write_str("fwd=")?;
                out.write_str(reason.as_str())?;
            }
        }
        if let Some(status) = self.forward_status {
            out.write_str("; fwd-status=")?;
            out.write_str(status.as_str())?;
        }
        if let Some(ttl) = self.ttl {
            out.write_str(if ttl < 0 { "; ttl=-" } else { "; ttl=" })?;
            write_decimal(out, ttl.unsigned_abs())?;
        }
        if self.stored {
            out.write_str("; stored")?;
        }
        match self.collapsed {
            Some(true) => out.write_str("; collapsed")?,
            Some(false) => out.write_str("; collapsed=?0")?,
            None => {}
        }
        if let Some(detail) = self.detail {
            out.write_str("; detail=")?;
            out.write_str(detail)?;
        }
        Ok(())
    }
}

/// The parameters, without the name of the cache.
impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// A line on its way into a field value, which copies it.
struct Line {
    bytes: [u8; LONGEST_LINE],
    length: usize,
}

impl Line {
    fn written(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn write_decimal(out: &mut impl Write, number: u64) -> fmt::Result {
    if number >= 10 {
        write_decimal(out, number / 10)?;
    }
    out.write_char(char::from(b'0' + (number % 10) as u8))
}

/// A number of seconds as a field value; the small ones are many and cost nothing.
pub(crate) fn whole_seconds(seconds: u64) -> HeaderValue {
    match usize::try_from(seconds) {
        Ok(small) if small < 100 => {
            // Two digits a number, without the leading zero.
            let start = small * 2 + usize::from(small < 10);
            HeaderValue::from_static(&TWO_DIGITS[start..small * 2 + 2])
        }
        _ => HeaderValue::from(seconds),
    }
}

/// Longer than what there is to say: an integer has 16 characters with its sign, a detail 32 at most.
const LONGEST_LINE: usize = 160;

/// `microcache; hit; ttl=N` for the first few N, kept for as long as the process lives.
static HITS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let leaked = |ttl| &*Box::leak(format!("{CACHE_NAME}; hit; ttl={ttl}").into_boxed_str());
    // Of static text, so that threads do not meet at a reference count.
    (0..=60).map(|ttl| HeaderValue::from_static(leaked(ttl))).collect()
});

/// `microcache; fwd=REASON; collapsed` for each reason.
static COLLAPSED: LazyLock<[HeaderValue; ForwardReason::ALL.len()]> = LazyLock::new(|| {
    let leaked = |reason: ForwardReason| {
        &*Box::leak(format!("{CACHE_NAME}; fwd={}; collapsed", reason.as_str()).into_boxed_str())
    };
    ForwardReason::ALL.map(|reason| HeaderValue::from_static(leaked(reason)))
});

static TWO_DIGITS: &str = concat!(
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839",
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879",
    "8081828384858687888990919293949596979899",
);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::status::LARGEST;

    #[test]
    fn small_and_large_ages_print_alike() {
        for seconds in (0..=1_000).chain([u64::MAX]) {
            assert_eq!(whole_seconds(seconds).to_str().unwrap(), seconds.to_string());
        }
    }

    #[test]
    fn the_text_is_that_of_rfc_9211() {
        let table = [
            (CacheStatus::hit(Duration::from_millis(1)), "microcache; hit; ttl=1"),
            (CacheStatus::hit(Duration::from_secs(3600)), "microcache; hit; ttl=3600"),
            (CacheStatus::stale_hit(Duration::from_millis(1)), "microcache; hit; ttl=-1"),
            (CacheStatus::forward(ForwardReason::UriMiss), "microcache; fwd=uri-miss"),
            (
                CacheStatus::forward(ForwardReason::Stale)
                    .with_status(StatusCode::OK)
                    .with_stored(Duration::from_secs(1)),
                "microcache; fwd=stale; fwd-status=200; ttl=1; stored",
            ),
            (
                CacheStatus::forward(ForwardReason::UriMiss).with_collapsed(Some(true)),
                "microcache; fwd=uri-miss; collapsed",
            ),
            (
                CacheStatus::forward(ForwardReason::VaryMiss).with_collapsed(Some(false)).with_detail("private"),
                "microcache; fwd=vary-miss; collapsed=?0; detail=private",
            ),
        ];
        for (status, text) in table {
            assert_eq!(status.to_value(), text);
        }
    }

    #[test]
    fn the_longest_text_has_room() {
        for ttl in [LARGEST, -LARGEST, 0, 9, 10, -61, 123_456] {
            let status = CacheStatus {
                forward: Some(ForwardReason::VaryMiss),
                forward_status: Some(StatusCode::NON_AUTHORITATIVE_INFORMATION),
                ttl: Some(ttl),
                stored: true,
                collapsed: Some(false),
                detail: Some("a-detail-of-thirty-two-characters"),
            };
            let expected = format!(
                "microcache; fwd=vary-miss; fwd-status=203; ttl={ttl}; stored; collapsed=?0; \
                 detail=a-detail-of-thirty-two-characters"
            );
            assert_eq!(status.to_value(), expected);
            assert_eq!(format!("microcache; {status}"), expected);
        }
    }
}
