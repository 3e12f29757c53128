//! Where a memcached server is.

use std::{fmt, net::Ipv6Addr};

use crate::field::digits;

/// The address of one server. Printed, it reads the same however it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    /// A host name or an IP address (IPv6 without its brackets), and a port.
    Tcp { host: String, port: u16 },
    /// The path of a Unix socket.
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

impl Address {
    /// Reads `host:port`, `[::1]:11211`, `memcache://host:port` or `unix:/path`.
    ///
    /// What is wrong with another, and how to write it, is said in full; who reads the setting names it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let address = match (text.strip_prefix("unix:"), text.split_once("://")) {
            (Some(path), _) => unix(path),
            (None, Some(("memcache", rest))) => tcp(rest),
            (None, Some((scheme, _))) => Err(format!("the scheme `{}` is not known", scheme.escape_debug())),
            (None, None) => tcp(text),
        };
        address.map_err(|wrong| format!("`{}`: {wrong}; write {FORMS}", text.escape_debug()))
    }
}

fn tcp(text: &str) -> Result<Address, String> {
    let Some((host, port)) = text.rsplit_once(':') else { return Err("there is no port".to_owned()) };
    let host = host_in(host)?;
    let port = digits(port.as_bytes()).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let Some(port) = port else { return Err("the port is no number from 1 to 65535".to_owned()) };
    Ok(Address::Tcp { host, port })
}

fn host_in(text: &str) -> Result<String, String> {
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inside.parse::<Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err("what stands in brackets is no IPv6 address".to_owned()),
        };
    }
    if text.contains(':') {
        return Err("an IPv6 address stands in brackets".to_owned());
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(legal) {
        return Err("there is no host name before the port".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(unix)]
fn unix(path: &str) -> Result<Address, String> {
    if !path.starts_with('/') {
        return Err("the path of a Unix socket begins with a slash".to_owned());
    }
    // Too long for the system, or with a zero in it.
    if let Err(error) = std::os::unix::net::SocketAddr::from_pathname(path) {
        return Err(format!("it can not be the path of a Unix socket ({error})"));
    }
    Ok(Address::Unix(path.into()))
}

#[cfg(not(unix))]
fn unix(_path: &str) -> Result<Address, String> {
    Err("there are no Unix sockets on this system".to_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

const FORMS: &str = "host:port, [::1]:11211, memcache://host:port or unix:/path";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_read_in_each_of_its_forms() {
        for (text, printed) in [
            ("cache.example:11211", "cache.example:11211"),
            ("Cache-1.Example:011211", "cache-1.example:11211"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("memcache://cache.example:65535", "cache.example:65535"),
            ("[::1]:11211", "[::1]:11211"),
            ("memcache://[0:0::0:1]:11211", "[::1]:11211"),
            ("unix:/run/memcached.sock", "unix:/run/memcached.sock"),
            ("unix:/run/a://b:1", "unix:/run/a://b:1"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let long = format!("unix:/{}", "a".repeat(200));
        for (text, wrong) in [
            ("", "there is no port"),
            ("cache.example", "there is no port"),
            (":11211", "there is no host name"),
            ("cache.example:", "the port is no number"),
            ("cache.example:0", "the port is no number"),
            ("cache.example:65536", "the port is no number"),
            ("cache.example:+1", "the port is no number"),
            ("cache.example:1 ", "the port is no number"),
            ("cache.example:11211/0", "the port is no number"),
            ("memcache://user:secret@cache.example:1", "an IPv6 address stands in brackets"),
            ("user@cache.example:1", "there is no host name"),
            ("cache example:1", "there is no host name"),
            ("::1:11211", "an IPv6 address stands in brackets"),
            ("[::1]", "an IPv6 address stands in brackets"),
            ("[cache.example]:1", "what stands in brackets is no IPv6 address"),
            ("redis://cache.example:6379", "the scheme `redis` is not known"),
            ("memcache+tls://cache.example:1", "the scheme `memcache+tls` is not known"),
            ("://cache.example:1", "the scheme `` is not known"),
            ("unix:", "begins with a slash"),
            ("unix:memcached.sock", "begins with a slash"),
            ("unix:/a\0b", "can not be the path of a Unix socket"),
            (&long, "can not be the path of a Unix socket"),
        ] {
            let message = Address::parse(text).unwrap_err();
            assert!(message.contains(wrong) && message.contains(FORMS), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_that_prints_as_itself_or_an_error(text in "\\PC{0,40}|[a-z:/\\[\\].0-9]{0,40}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
        }
    }
}
