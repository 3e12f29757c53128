//! The command line: text in, settings or one line of complaint out.
//!
//! Pure: opens nothing, prints nothing, ends nothing.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use http::{HeaderName, Uri, uri::Authority};
use microcache::Tenancy;

/// What was asked for.
pub(crate) enum Asked {
    Help,
    Run(Upstream, Box<Flags>),
}

/// Where requests are forwarded to.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) authority: Authority,
    /// Stands before each path; has no slash at its end.
    pub(crate) base: String,
    pub(crate) is_h2: bool,
}

/// All settings that have a default.
pub(crate) struct Flags {
    pub(crate) listen: String,
    pub(crate) default_freshness: Option<Duration>,
    /// None: it was not said.
    heuristic_freshness: Option<Option<Duration>>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) store_bytes: u64,
    /// None: memory alone.
    pub(crate) memcached: Option<Vec<String>>,
    /// None: it was not said.
    pub(crate) near_freshness: Option<Duration>,
    pub(crate) seal_key_file: Option<PathBuf>,
    pub(crate) tenant: Tenancy,
    /// Where that is a field.
    pub(crate) tenant_field: Option<HeaderName>,
    pub(crate) ignore_query: Option<Vec<String>>,
    pub(crate) only_query: Option<Vec<String>>,
    pub(crate) ignore_cookies: bool,
    pub(crate) only_keyed_input: bool,
    pub(crate) max_body_bytes: u64,
    pub(crate) collapse_wait: Duration,
    pub(crate) collapse_max_followers: usize,
    pub(crate) admin_token: Option<String>,
    pub(crate) threads: Option<usize>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            default_freshness: Some(Duration::from_secs(1)),
            heuristic_freshness: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            store_bytes: 64 << 20,
            memcached: None,
            near_freshness: None,
            seal_key_file: None,
            tenant: Tenancy::shared(),
            tenant_field: None,
            ignore_query: None,
            only_query: None,
            ignore_cookies: false,
            only_keyed_input: false,
            max_body_bytes: 1 << 20,
            collapse_wait: Duration::from_secs(5),
            collapse_max_followers: 1024,
            admin_token: None,
            threads: None,
        }
    }
}

/// Reads the arguments after the name of the program. A flag that is given twice counts as it was given last.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let mut arguments = arguments.map(|argument| {
        argument.into_string().map_err(|argument| format!("`{}` is not UTF-8", argument.to_string_lossy()))
    });
    let (mut upstream, mut flags) = (None, Flags::default());
    while let Some(argument) = arguments.next().transpose()? {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        if matches!(name, "--help" | "-h") {
            return Ok(Asked::Help);
        }
        let value = Value { inline, rest: &mut arguments };
        let read = match name {
            "--upstream" => value.given().and_then(|text| read_upstream(&text)).map(|read| upstream = Some(read)),
            _ => flags.set(name, value),
        };
        read.map_err(|complaint| format!("{name}: {complaint}"))?;
    }
    if flags.ignore_query.is_some() && flags.only_query.is_some() {
        return Err("--only-query: can not be combined with --ignore-query".to_owned());
    }
    if let Some(name) = flags.without_memcached() {
        return Err(format!("{name}: needs --memcached"));
    }
    let upstream = upstream.ok_or("--upstream: missing; give the URL of the server behind it")?;
    Ok(Asked::Run(upstream, Box::new(flags)))
}

impl Flags {
    /// How long is guessed from `Last-Modified` at most. Without a default freshness the standard alone counts, and
    /// that has a guess.
    pub(crate) fn heuristic_freshness(&self) -> Option<Duration> {
        let is_standard_alone = self.default_freshness.is_none();
        self.heuristic_freshness.unwrap_or_else(|| is_standard_alone.then_some(Duration::from_secs(24 * 60 * 60)))
    }

    /// A flag that says nothing where memory is all there is. Nobody shall think that it protects anything.
    fn without_memcached(&self) -> Option<&'static str> {
        let given =
            [("--near-freshness", self.near_freshness.is_some()), ("--seal-key-file", self.seal_key_file.is_some())];
        given.into_iter().find(|(_, is_given)| *is_given && self.memcached.is_none()).map(|(name, _)| name)
    }

    fn set(&mut self, name: &str, value: Value<'_>) -> Result<(), String> {
        match name {
            "--listen" => self.listen = host_and_port(value.given()?)?,
            "--default-freshness" => self.default_freshness = duration_or_none(&value.given()?)?,
            "--heuristic-freshness" => self.heuristic_freshness = Some(duration_or_none(&value.given()?)?),
            "--stale-while-revalidate" => self.stale_while_revalidate = duration(&value.given()?)?,
            "--stale-if-error" => self.stale_if_error = duration(&value.given()?)?,
            "--store" => self.store_bytes = store(&value.given()?)?,
            // The store knows what an address is.
            "--memcached" => self.memcached = Some(value.given()?.split(',').map(str::to_owned).collect()),
            "--near-freshness" => self.near_freshness = Some(duration(&value.given()?)?),
            "--seal-key-file" => self.seal_key_file = Some(value.given()?.into()),
            "--tenant" => (self.tenant, self.tenant_field) = tenant(&value.given()?)?,
            "--ignore-query" => self.ignore_query = Some(names(&value.given()?)?),
            "--only-query" => self.only_query = Some(names(&value.given()?)?),
            "--ignore-cookies" => {
                value.absent()?;
                self.ignore_cookies = true;
            }
            "--max-body" => self.max_body_bytes = size(&value.given()?)?,
            "--collapse-wait" => self.collapse_wait = duration(&value.given()?)?,
            "--collapse-max-followers" => self.collapse_max_followers = number(&value.given()?)?,
            "--threads" => self.threads = Some(threads(&value.given()?)?),
            "--only-keyed-input" => {
                value.absent()?;
                self.only_keyed_input = true;
            }
            // The service knows what a token is.
            "--admin-token" => self.admin_token = Some(value.given()?),
            _ => return Err("no such flag; --help lists them".to_owned()),
        }
        Ok(())
    }
}

/// What may follow a flag: after its `=`, or the next argument.
struct Value<'a> {
    inline: Option<String>,
    rest: &'a mut dyn Iterator<Item = Result<String, String>>,
}

impl Value<'_> {
    fn given(self) -> Result<String, String> {
        let value = match self.inline {
            Some(inline) => inline,
            // A flag in the place of a value means that the value was forgotten.
            None => self.rest.next().transpose()?.filter(|next| !next.starts_with("--")).unwrap_or_default(),
        };
        if value.is_empty() { Err("needs a value".to_owned()) } else { Ok(value) }
    }

    fn absent(self) -> Result<(), String> {
        self.inline.map_or(Ok(()), |value| Err(format!("takes no value, but `{value}` was given")))
    }
}

fn read_upstream(text: &str) -> Result<Upstream, String> {
    let complaint = |what: &str| Err(format!("`{text}` {what}"));
    let Ok(uri) = text.parse::<Uri>() else { return complaint("is no URL") };
    let is_h2 = match uri.scheme_str() {
        Some("http") => false,
        Some("h2c") => true,
        Some("https") => return complaint("needs TLS, which this program does not have; use http:// or h2c://"),
        _ => return complaint("has no scheme that is known here; write http://HOST:PORT or h2c://HOST:PORT"),
    };
    let Some(authority) = uri.authority() else { return complaint("names no host") };
    let has_legal_port = match authority.port_u16() {
        Some(port) => port != 0,
        None => authority.as_str() == authority.host(),
    };
    if authority.host().is_empty() || authority.as_str().contains('@') || !has_legal_port {
        return complaint("needs a host, and after it nothing but a port from 1 to 65535");
    }
    if uri.query().is_some() {
        return complaint("has a query, which belongs to each request");
    }
    let base = uri.path().trim_end_matches('/').to_owned();
    Ok(Upstream { authority: authority.clone(), base, is_h2 })
}

fn host_and_port(text: String) -> Result<String, String> {
    let is_legal = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok()),
            None => !host.is_empty() && !host.contains([':', '/', '@', ' ']),
        };
        is_host && port.parse::<u16>().is_ok()
    });
    if is_legal { Ok(text) } else { Err(format!("`{text}` is no HOST:PORT")) }
}

fn store(text: &str) -> Result<u64, String> {
    match text.split_once(':') {
        Some(("memory", bytes)) => size(bytes),
        _ => Err(format!("`{text}` is no store; write memory:64MiB")),
    }
}

fn tenant(text: &str) -> Result<(Tenancy, Option<HeaderName>), String> {
    let complaint = || format!("`{text}` is none of shared, host, header:NAME, path:N");
    let tenancy = match (text, text.split_once(':')) {
        ("shared", _) => Tenancy::shared(),
        ("host", _) => Tenancy::host(),
        (_, Some(("header", name))) => {
            let name: HeaderName = name.parse().map_err(|_| complaint())?;
            return Ok((Tenancy::header(name.clone()), Some(name)));
        }
        (_, Some(("path", segment))) => Tenancy::path_segment(segment.parse().map_err(|_| complaint())?),
        _ => return Err(complaint()),
    };
    Ok((tenancy, None))
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(format!("`{text}` has an empty name in it; write a,b or utm_*"));
    }
    Ok(names)
}

fn duration_or_none(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" { Ok(None) } else { duration(text).map(Some) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    quantity(text, &units)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is no duration; write 500ms, 1s, 2m or 1h"))
}

fn size(text: &str) -> Result<u64, String> {
    let units = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    quantity(text, &units).ok_or_else(|| format!("`{text}` is no size; write 65536, 10KiB, 64MiB or 1GiB"))
}

/// Digits and one of the units, in that unit's parts; none if it is anything else or too large.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    count.parse::<u64>().ok()?.checked_mul(*factor)
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number"))
}

fn threads(text: &str) -> Result<usize, String> {
    match number(text)? {
        threads @ 1..=MAX_THREADS => Ok(threads),
        _ => Err(format!("`{text}` is not between 1 and {MAX_THREADS}")),
    }
}

const MAX_THREADS: usize = 1024;

pub(crate) const HELP: &str = "\
A reverse proxy with microcache in front of an HTTP server.

usage: reverse_proxy --upstream URL [flags]

  --upstream URL               http://HOST[:PORT][/BASE] speaks HTTP/1.1 to it,
                               h2c://HOST[:PORT][/BASE] HTTP/2 without TLS (prior knowledge)
  --listen ADDR                where to accept HTTP/1.1 and h2c [127.0.0.1:8080]; port 0 picks one
  --threads N                  worker threads [one per core]

what is stored
  --default-freshness 1s|none  for responses that do not say how long they are fresh; none: what RFC 9111 says [1s]
  --heuristic-freshness 1h|none
                               a tenth of the time since Last-Modified, at most this [none; with no default: 24h]
  --store memory:SIZE          where, and how much [memory:64MiB]
  --max-body SIZE              larger bodies are passed on and not stored [1MiB]
  --ignore-cookies             cookies do not change what the upstream answers
  --stale-while-revalidate 1s  how long stale responses are served while they are refreshed [0s]
  --stale-if-error 10s         how long stale responses are served when the upstream fails [0s]

who shares what
  --tenant BY                  shared, host, header:NAME, or path:N for the Nth segment from 0 [shared]
  --ignore-query a,utm_*       parameters that do not count
  --only-query a,b             the only parameters that count
  --only-keyed-input           the upstream sees of a request that may be shared only what tells it apart: the host, the
                               path, the parameters that count, the tenant, and cookies that are ignored

requests that arrive together
  --collapse-wait 5s           how long one waits for another's forward [5s]
  --collapse-max-followers N   how many wait for one forward [1024]

several nodes
  --memcached H:P[,H:P..]      adds memcached behind the memory store, for all nodes that name the same servers;
                               of these, one forwards for a key
  --near-freshness 1s          how long memory answers in front of memcached; 0s: memcached answers every hit [1s]
  --seal-key-file PATH         32 bytes, or 64 hex digits: who does not have them can write to memcached, and this
                               proxy serves none of it

who may look and purge
  --admin-token TOKEN          serves the dashboard on /-/cache/, GET /-/cache/stats and POST /-/cache/purge, for those
                               who send it as a bearer token; at least 16 characters [there is none of this]

Durations are written 500ms, 1s, 2m, 1h; sizes 65536, 10KiB, 64MiB, 1GiB; --flag VALUE or --flag=VALUE.
";
