//! Fields that many servers take for the target of a request, in place of what the request itself says.
//!
//! A load balancer sets them, and so can anybody. When a request carries one it goes into the key by itself: a
//! service behind a load balancer still hits, and a poisoned answer reaches only who sent the same field.

use http::{HeaderMap, HeaderName, header};

use super::{KeyError, escape, push_field, within_limit};

/// Appends the override fields that the request carries, in one order, but for those that are `chosen` anyway.
pub(super) fn push(out: &mut String, chosen: &[HeaderName], headers: &HeaderMap) -> Result<(), KeyError> {
    for name in OVERRIDES {
        let name = HeaderName::from_static(name);
        if headers.contains_key(&name) && !chosen.contains(&name) {
            push_field(out, "|h:", &name, headers)?;
        }
    }
    if chosen.contains(&header::FORWARDED) {
        return Ok(());
    }
    push_forwarded(out, headers)
}

/// Whether it is one of these fields.
pub(crate) fn is_override(name: &str) -> bool {
    OVERRIDES.contains(&name) || name == header::FORWARDED.as_str()
}

/// Of `Forwarded` (RFC 7239) only `host` and `proto` say what was asked for; `for` and `by` say who, and differ
/// with each client. A line with quotes counts whole: cutting it wrongly would be worse than missing.
fn push_forwarded(out: &mut String, headers: &HeaderMap) -> Result<(), KeyError> {
    for line in headers.get_all(header::FORWARDED) {
        within_limit(out.len() + line.len())?;
        let line = line.as_bytes();
        let told = if line.contains(&b'"') { line.to_vec() } else { host_and_proto(line) };
        if told.iter().any(|byte| *byte != b',') {
            out.push_str("|h:forwarded=");
            escape::push(out, &told, |byte| byte == b'=');
        }
    }
    Ok(())
}

/// The pairs of each element that matter, the elements still apart: which one a server believes is its own choice.
fn host_and_proto(line: &[u8]) -> Vec<u8> {
    let matters = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"host") || name.eq_ignore_ascii_case(b"proto")
    };
    let elements = line.split(|byte| *byte == b',').map(|element| {
        let pairs: Vec<&[u8]> = element.split(|byte| *byte == b';').filter(matters).collect();
        pairs.join(&b';')
    });
    elements.collect::<Vec<_>>().join(&b',')
}

/// In the order in which they go into the key.
const OVERRIDES: [&str; 12] = [
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-host",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key(chosen: &[HeaderName], lines: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let mut out = String::new();
        push(&mut out, chosen, &headers).unwrap();
        out
    }

    #[test]
    fn a_field_that_overrides_the_target_is_keyed_when_it_is_there() {
        let table: [(&[(&'static str, &'static str)], &str); 9] = [
            (&[("x-forwarded-for", "10.0.0.1"), ("x-request-id", "7"), ("from", "a")], ""),
            (&[("x-forwarded-host", "evil")], "|h:x-forwarded-host=evil"),
            (&[("x-forwarded-host", "")], "|h:x-forwarded-host="),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "a"), ("x-forwarded-host", "b")],
                "|h:x-forwarded-host=a=b|h:x-forwarded-proto=https",
            ),
            (&[("forwarded", "for=10.0.0.1;by=b")], ""),
            (&[("forwarded", "for=10.0.0.1; Host=evil;proto=http")], "|h:forwarded=%20Host%3Devil;proto%3Dhttp"),
            (&[("forwarded", "for=a, host=x;for=b")], "|h:forwarded=,%20host%3Dx"),
            (&[("forwarded", "host=x;for=a, for=b")], "|h:forwarded=host%3Dx,"),
            (&[("forwarded", "for=\"a;host=x\"")], "|h:forwarded=for%3D\"a;host%3Dx\""),
        ];
        for (lines, expected) in table {
            assert_eq!(key(&[], lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_field_that_is_chosen_is_keyed_once() {
        let chosen = [HeaderName::from_static("x-forwarded-host"), header::FORWARDED];

        assert_eq!(key(&chosen, &[("x-forwarded-host", "a"), ("forwarded", "host=b")]), "");
    }
}
