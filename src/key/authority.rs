//! Who a request is addressed to (RFC 9110 §7.1 and §7.2), as a component of its key.
//!
//! A request that names two authorities, or one that parsers may read in two ways, has none here: the layer
//! that picked the tenant and the origin could each have believed another.

use http::{HeaderMap, Uri, header::HOST};

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
    let host = host.map(unmistakable).transpose()?;
    let scheme = uri.scheme_str();
    let authority = without_default_port(unmistakable(authority.as_str().as_bytes())?, scheme);
    if host.is_some_and(|host| !without_default_port(host, scheme).eq_ignore_ascii_case(authority)) {
        return Err(KeyError::AmbiguousAuthority);
    }
    if let Some(scheme) = scheme {
        push_lowercase(out, scheme.as_bytes());
        out.push_str("://");
    }
    push_lowercase(out, authority);
    Ok(())
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
    host.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':'))
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
