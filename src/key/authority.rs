//! Who a request is addressed to (RFC 9110 §7.1 and §7.2), as a component of its key.
//!
//! A request that names two authorities, or one that parsers may read in two ways, has none here: the layer
//! that picked the tenant and the origin could each have believed another.

use std::borrow::Cow;

use http::{HeaderMap, Uri, header::HOST, uri::Authority};

use super::{KeyError, escape, within_limit};

/// Appends the authority: of `uri` if it has one, else of `Host`, else nothing. With a scheme it is
/// `scheme://authority`, without the default port of that scheme.
pub(super) fn push(out: &mut String, uri: &Uri, headers: &HeaderMap) -> Result<(), KeyError> {
    let host = host_line(headers)?;
    let Some(authority) = uri.authority() else {
        let host = host.unwrap_or_default();
        match str::from_utf8(host) {
            Ok(text) if is_ordinary(host) => out.push_str(text),
            _ => push_lowercase(out, unmistakable(host)?),
        }
        return Ok(());
    };
    let authority = of_uri(authority, uri.scheme_str(), host)?;
    if let Some(scheme) = uri.scheme_str() {
        push_lowercase(out, scheme.as_bytes());
        out.push_str("://");
    }
    push_lowercase(out, authority);
    Ok(())
}

/// The same as a name of its own: in lower case, without the dot at the end of the host (RFC 3986 §3.2.2), and with the
/// port only if there is one that is not the scheme's. None if it is no name of a host and no address.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
    let line = host_line(headers).ok()?;
    let authority = match uri.authority() {
        Some(authority) => of_uri(authority, uri.scheme_str(), line).ok()?,
        None => line?,
    };
    let text = str::from_utf8(authority).ok()?;
    let host_length = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, port) = text.split_at_checked(host_length)?;
    let port = if port.is_empty() { "" } else { port.strip_prefix(':')? };
    let host = host.strip_suffix('.').unwrap_or(host);
    if !is_host(host) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let has_case = host.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(match port {
        // RFC 9110 §4.2.3: an empty port is none.
        "" if has_case => host.to_ascii_lowercase().into(),
        "" => host.into(),
        _ if has_case || host.len() < host_length => format!("{}:{port}", host.to_ascii_lowercase()).into(),
        _ => text.into(),
    })
}

/// The authority of a URI, without the default port of its scheme. A `Host` beside it has to say the same.
fn of_uri<'a>(authority: &'a Authority, scheme: Option<&str>, host: Option<&[u8]>) -> Result<&'a [u8], KeyError> {
    let host = host.map(unmistakable).transpose()?;
    let authority = without_default_port(unmistakable(authority.as_str().as_bytes())?, scheme);
    if host.is_some_and(|host| !without_default_port(host, scheme).eq_ignore_ascii_case(authority)) {
        return Err(KeyError::AmbiguousAuthority);
    }
    Ok(authority)
}

/// Labels of letters, digits, `-` and `_`, none of them empty; or what may be an IPv6 address in its brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| {
            address.contains(':') && address.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }),
        None => host.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        }),
    }
}

fn host_line(headers: &HeaderMap) -> Result<Option<&[u8]>, KeyError> {
    let Some(line) = headers.get(HOST) else { return Ok(None) };
    // More lines than names: some field has several, and it may be this one.
    if headers.len() != headers.keys_len() && headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(KeyError::AmbiguousAuthority);
    }
    within_limit(line.len())?;
    Ok(Some(line.as_bytes()))
}

/// A host as nearly all are: there is nothing to fold, to escape, or to refuse.
fn is_ordinary(host: &[u8]) -> bool {
    // As below, without stopping at the first.
    let is_ordinary = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':');
    host.iter().fold(true, |all, byte| all & is_ordinary(byte))
}

/// User information, lists, white space, and what ends an authority in a URI: nobody sends them in good faith.
fn unmistakable(authority: &[u8]) -> Result<&[u8], KeyError> {
    let legal = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'/' | b'?' | b'#' | b',');
    // Without stopping at the first, so that compilers look at many bytes at once.
    if authority.iter().fold(true, |all, byte| all & legal(byte)) {
        Ok(authority)
    } else {
        Err(KeyError::AmbiguousAuthority)
    }
}

fn without_default_port<'a>(authority: &'a [u8], scheme: Option<&str>) -> &'a [u8] {
    let port: &[u8] = match scheme {
        Some("http") => b":80",
        Some("https") => b":443",
        _ => return authority,
    };
    match authority.strip_suffix(port) {
        // The last group of an IPv6 address is a port only after its bracket.
        Some(host) if host.ends_with(b"]") || !(host.is_empty() || host.contains(&b':')) => host,
        _ => authority,
    }
}

fn push_lowercase(out: &mut String, text: &[u8]) {
    if text.iter().any(u8::is_ascii_uppercase) {
        escape::push(out, &text.to_ascii_lowercase(), |_| false);
    } else {
        escape::push(out, text, |_| false);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn authority(uri: &str, hosts: &[&[u8]]) -> Result<String, KeyError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host).unwrap());
        }
        let mut out = String::new();
        push(&mut out, &uri.parse().unwrap(), &headers).map(|()| out)
    }

    #[test]
    fn authority_is_of_the_uri_else_of_host_else_empty() {
        for (uri, hosts, expected) in [
            ("/", &[] as &[&[u8]], ""),
            ("/", &[b""], ""),
            ("/", &[b"shop.example"], "shop.example"),
            ("/", &[b"Shop.EXAMPLE:8080"], "shop.example:8080"),
            ("/", &[b"shop.example:80"], "shop.example:80"),
            ("/", &[b"[2001:DB8::1]:80"], "[2001:db8::1]:80"),
            ("/", &[b"a|b%~"], "a%7Cb%25%7E"),
            ("http://shop.example/", &[], "http://shop.example"),
            ("HTTP://Shop.example:80/", &[], "http://shop.example"),
            ("https://shop.example:443/", &[], "https://shop.example"),
            ("https://shop.example:80/", &[], "https://shop.example:80"),
            ("http://shop.example:8080/", &[], "http://shop.example:8080"),
            ("http://[::80]/", &[], "http://[::80]"),
            ("http://[::80]:80/", &[], "http://[::80]"),
            ("FTP://shop.example:80/", &[], "ftp://shop.example:80"),
            ("http://shop.example/", &[b"SHOP.example:80"], "http://shop.example"),
            ("http://shop.example:80/", &[b"shop.example"], "http://shop.example"),
            ("shop.example:443", &[b"shop.example:443"], "shop.example:443"),
        ] {
            assert_eq!(authority(uri, hosts).as_deref(), Ok(expected), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn an_authority_that_can_be_read_in_two_ways_is_refused() {
        for (uri, hosts) in [
            ("/", &[b"a" as &[u8], b"b"] as &[&[u8]]),
            ("/", &[b"a", b"a"]),
            ("/", &[b"a,b"]),
            ("/", &[b"a b"]),
            ("/", &[b"a\t"]),
            ("/", &[b"user@a"]),
            ("/", &[b"http://a"]),
            ("/", &[b"a?b"]),
            ("/", &[b"a#b"]),
            ("/", &[b"\xe9"]),
            ("http://a/", &[b"b"]),
            ("http://a/", &[b""]),
            ("http://a/", &[b"a:8080"]),
            ("http://a/", &[b"a:443"]),
            ("http://a/", &[b"a", b"a"]),
            ("http://user@a/", &[]),
            ("http://user:password@a/", &[b"a"]),
            ("a:443", &[b"a"]),
        ] {
            assert_eq!(authority(uri, hosts), Err(KeyError::AmbiguousAuthority), "{uri} {hosts:?}");
        }
    }
}
