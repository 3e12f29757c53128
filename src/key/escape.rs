//! Escaping of the components of a key: what keeps one component from passing for two.
//!
//! `%` is always escaped itself, so that undoing the escapes gives back exactly the bytes that went in.

/// Appends a text in the same way as [`push`].
pub(super) fn push_str(out: &mut String, text: &str, also: impl Fn(u8) -> bool) {
    if is_plain(text.as_bytes(), &also) {
        out.push_str(text);
    } else {
        push(out, text.as_bytes(), also);
    }
}

/// Appends `bytes`, with `%` and two upper-case hex digits for each byte that is not visible ASCII, that
/// means something in every key, or for which `also` says that it means something in this component.
pub(crate) fn push(out: &mut String, bytes: &[u8], also: impl Fn(u8) -> bool) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let run_length = rest.iter().position(|&byte| is_special(byte) || also(byte)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(run_length);
        // What needs no escape is ASCII, and so is UTF-8: nothing is ever replaced here.
        out.push_str(str::from_utf8(run).unwrap_or_default());
        let Some((&byte, tail)) = tail.split_first() else {
            return;
        };
        out.push('%');
        out.push(hex_digit(byte >> 4));
        out.push(hex_digit(byte & 0xf));
        rest = tail;
    }
}

/// Whether nothing has to be escaped, as in nearly every component. It looks at sixteen bytes at once, without
/// stopping at the first, which is what compilers make fast; the last sixteen may overlap those before.
fn is_plain(bytes: &[u8], also: impl Fn(u8) -> bool) -> bool {
    let needs_none = |run: &[u8]| !run.iter().fold(false, |any, &byte| any | is_special(byte) | also(byte));
    match bytes.last_chunk::<16>() {
        Some(last) => bytes.chunks_exact(16).all(needs_none) && needs_none(last),
        None => needs_none(bytes),
    }
}

/// The bytes that are escaped in every component: `|` ends one, `%` begins an escape, `~` marks a shortened
/// key, and what is not visible ASCII is not legal in a key of memcached.
const fn is_special(byte: u8) -> bool {
    !matches!(byte, 0x21..=0x7d) || byte == b'|' || byte == b'%'
}

fn hex_digit(nibble: u8) -> char {
    char::from(match nibble {
        0..=9 => b'0' + nibble,
        _ => b'A' + (nibble - 10),
    })
}

/// Undoes percent-encoding, byte by byte. What is not `%` and two hex digits stays as it is.
pub(super) fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if let (b'%', [high, low, tail @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low))
        {
            decoded.push(high << 4 | low);
            rest = tail;
        } else {
            decoded.push(byte);
        }
    }
    decoded
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::tests::unescape;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        push(&mut out, text.as_bytes(), |byte| byte == b'=');
        out
    }

    #[test]
    fn special_bytes_are_escaped_and_others_are_not() {
        for (text, expected) in [
            ("", ""),
            ("/products", "/products"),
            ("a|b", "a%7Cb"),
            ("%7C", "%257C"),
            ("~me", "%7Eme"),
            ("a=b", "a%3Db"),
            (" \t\r\n\0\x7f", "%20%09%0D%0A%00%7F"),
            ("é|", "%C3%A9%7C"),
            ("{}!\"?&;", "{}!\"?&;"),
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn percent_decoding_leaves_alone_what_is_no_escape() {
        for (encoded, expected) in [
            (&b"a%7e%7Eb"[..], &b"a~~b"[..]),
            (b"%41%", b"A%"),
            (b"%4", b"%4"),
            (b"%4g%zz", b"%4g%zz"),
            (b"%%41", b"%A"),
            (b"%2541", b"%41"),
            (b"a+b", b"a+b"),
            (b"%ff\xff", b"\xff\xff"),
        ] {
            assert_eq!(percent_decode(encoded), expected);
        }
    }

    proptest! {
        #[test]
        fn escaping_is_visible_ascii_and_can_be_undone(bytes: Vec<u8>) {
            let mut out = String::new();
            push(&mut out, &bytes, |byte| byte == b'=');

            prop_assert!(out.bytes().all(|byte| byte.is_ascii_graphic() && !b"|~=".contains(&byte)));
            prop_assert_eq!(unescape(&out), bytes);
        }
    }
}
