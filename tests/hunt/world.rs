//! Random requests over alphabets so small that keys collide on purpose, and what each word of them means.

use std::{borrow::Cow, io};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, request};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

/// Chance, the same again with the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    random: Rng,
    /// Which word of an alphabet is the most popular.
    fashion: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), fashion: 0 }
    }

    /// The same, in a round with other popular words.
    pub(crate) fn in_fashion(self, fashion: u64) -> Self {
        Self { fashion, ..self }
    }

    /// Another generator, by the next number of this one.
    pub(crate) fn branch(&mut self) -> Self {
        Self { random: self.random.fork(), fashion: self.fashion }
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.random.u64(..sides)
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *self.random.choice(from).unwrap()
    }

    /// The same, where some come more often.
    fn pick_popular<T: Copy>(&mut self, from: &[T]) -> T {
        let sides = from.len() as u64;
        let rank = (0..6).map(|_| self.roll(sides)).min().unwrap_or_default();
        from[usize::try_from((rank + self.fashion) % sides).unwrap()]
    }
}

/// The body of a request.
pub(crate) type Carried = UnsyncBoxBody<Bytes, io::Error>;

/// A request, and what follows from its words.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Bytes,
}

impl Ask {
    pub(crate) fn of(parts: request::Parts, content: Bytes) -> Self {
        Self { method: parts.method, uri: parts.uri, headers: parts.headers, content }
    }

    /// The request with this number. `remembered`: the last entity tag that its client was given.
    pub(crate) fn random(dice: &mut Dice, number: u64, remembered: Option<&HeaderValue>) -> Self {
        let path = dice.pick_popular(&PATHS);
        let uri = match dice.pick_popular(&QUERIES) {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(NUMBER, number.into());
        let mut say = |name: &'static str, value: &'static str| {
            headers.append(name, HeaderValue::from_static(value));
        };
        say("host", dice.pick_popular(&HOSTS));
        if let Some(tenant) = dice.pick(&TENANTS) {
            say("x-tenant", tenant);
        }
        for (name, one_in, values) in FIELDS {
            // Where it counts who asks, most say so.
            let tells = path.starts_with("/own/") && ["authorization", "cookie", "x-user"].contains(name);
            if dice.one_in(if tells { 2 } else { *one_in }) {
                say(name, dice.pick_popular(values));
            }
        }
        let known = remembered.filter(|_| !dice.one_in(4)).cloned();
        let tag = known.unwrap_or(HeaderValue::from_static("\"nothing\""));
        if dice.one_in(8) {
            headers.insert(header::IF_NONE_MATCH, tag);
        } else if dice.one_in(16) {
            headers.insert(header::RANGE, HeaderValue::from_static(dice.pick(&RANGES)));
            if dice.one_in(2) {
                headers.insert(header::IF_RANGE, tag);
            }
        } else if dice.one_in(24) {
            headers.insert(header::IF_MODIFIED_SINCE, HeaderValue::from_static(dice.pick(&DATES)));
        }
        let method = if is_keyed_by_content(path) && dice.one_in(2) { "POST" } else { method(dice) };
        let carries = method == "POST" || dice.one_in(200);
        let content = if carries { Bytes::from_static(dice.pick(&CONTENTS).as_bytes()) } else { Bytes::new() };
        if carries && !dice.one_in(4) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Self { method: method.parse().unwrap(), uri: uri.parse().unwrap(), headers, content }
    }

    pub(crate) fn request(&self) -> Request<Carried> {
        let mut request = Request::new(Full::new(self.content.clone()).map_err(|never| match never {}).boxed_unsync());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Which request of the hunt this is, or comes from.
    pub(crate) fn number(&self) -> u64 {
        self.text(NUMBER).parse().unwrap()
    }

    /// None is nobody known.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.headers.get("x-tenant").map(|tenant| tenant.to_str().unwrap())
    }

    /// What the request says in a field; `-` if it does not have it, which no alphabet has.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.headers.get(name).map_or("-", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// Tenant, authority, path, and the query as it counts: what an unsafe method invalidates (RFC 9111 §4.4).
    pub(crate) fn target(&self) -> String {
        let tenant = self.tenant().unwrap_or_default();
        let (host, path) = (self.text("host").to_ascii_lowercase(), self.uri.path());
        format!("{tenant}|{host}|{path}{}", counted(path, self.uri.query()))
    }

    /// All that has to be the same in two requests for the same stored responses.
    pub(crate) fn key(&self) -> String {
        let key = format!("{}|{}", self.target(), self.text("x-forwarded-host"));
        if is_keyed_by_content(self.uri.path()) && self.method == Method::POST {
            return format!("{key}|{}|{}", self.text("content-type"), self.counted_content());
        }
        if !is_keyed(self.uri.path()) {
            return key;
        }
        let lang = self.cookies().find(|cookie| cookie.starts_with("lang=")).unwrap_or("-");
        format!("{key}|{}|{lang}", self.text("x-region"))
    }

    /// Without the value of the member that is declared irrelevant, where the content is JSON.
    fn counted_content(&self) -> Cow<'_, str> {
        let content = String::from_utf8_lossy(&self.content);
        if self.text("content-type") == "-" {
            return content;
        }
        match &*content {
            "{\"q\":1,\"id\":8}" => "{\"id\":7,\"q\":1}".into(),
            _ => content,
        }
    }

    /// Whether what it asks for depends on content that is in no key.
    pub(crate) fn has_unkeyed_content(&self) -> bool {
        let is_keyed = is_keyed_by_content(self.uri.path()) && self.method == Method::POST;
        !self.content.is_empty() && !is_keyed
    }

    /// A directive of its own, if it has one.
    pub(crate) fn wish(&self) -> &str {
        self.text("cache-control")
    }

    fn cookies(&self) -> impl Iterator<Item = &str> {
        let cookies = self.headers.get(header::COOKIE).map_or("", |value| value.to_str().unwrap());
        cookies.split(';').map(str::trim).filter(|cookie| !cookie.is_empty())
    }

    /// Who within the tenant is asking.
    pub(crate) fn principal(&self) -> Principal<'_> {
        let told = match self.uri.path() {
            "/own/token" => self.text("authorization"),
            "/own/session" => {
                let mut sessions = self.cookies().filter(|cookie| cookie.starts_with("sid="));
                // Of two, nobody knows which the origin takes.
                sessions.next().filter(|_| sessions.next().is_none()).unwrap_or("-")
            }
            "/own/named" => self.text("x-user"),
            _ => return Principal::Anybody,
        };
        if told == "-" { Principal::Nobody } else { Principal::User(told) }
    }

    /// Whether it has an `Authorization` that the principal does not account for.
    pub(crate) fn has_authorization(&self) -> bool {
        let is_accounted_for = matches!(self.uri.path(), "/own/token" | "/own/named");
        self.headers.contains_key(header::AUTHORIZATION) && !is_accounted_for
    }

    /// Whether it has a cookie that is neither in the key nor declared irrelevant.
    pub(crate) fn has_cookie(&self) -> bool {
        let known: &[&str] = match self.uri.path() {
            "/own/session" => &["sid="],
            "/own/named" => return false,
            path if is_keyed(path) => &["lang=", "theme="],
            _ => &[],
        };
        self.cookies().any(|cookie| !known.iter().any(|name| cookie.starts_with(name)))
    }

    /// Whether it says the same as `other` in a field that a response varies on (RFC 9111 §4.1).
    pub(crate) fn means_the_same(&self, other: &Self, name: &str) -> bool {
        meaning(name, self.text(name)) == meaning(name, other.text(name))
    }
}

/// Who within a tenant is asking, where the policy wants to know. By hand, so that it is not the crate's reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Principal<'a> {
    /// It does not count who.
    Anybody,
    /// The request does not tell, or tells it in two ways.
    Nobody,
    User(&'a str),
}

fn method(dice: &mut Dice) -> &'static str {
    match dice.roll(100) {
        0..2 => "POST",
        2 => "DELETE",
        3 => "OPTIONS",
        4..14 => "HEAD",
        _ => "GET",
    }
}

/// The path whose key has a field and a cookie in it, and not all of the query.
pub(crate) fn is_keyed(path: &str) -> bool {
    path.starts_with("/keyed/")
}

/// The path where a `POST` only asks.
pub(crate) fn is_keyed_by_content(path: &str) -> bool {
    path == "/ask"
}

/// The query in the order in which it counts, with its question mark.
fn counted(path: &str, query: Option<&str>) -> String {
    let Some(query) = query else { return String::new() };
    let mut pieces: Vec<&str> =
        query.split('&').filter(|piece| !(is_keyed(path) && piece.starts_with("utm_"))).collect();
    if pieces.is_empty() {
        return String::new();
    }
    // Stable: those of one name stay in their order.
    pieces.sort_by_key(|piece| piece.split('=').next());
    format!("?{}", pieces.join("&"))
}

/// One spelling for all that mean the same. By hand, so that it is not the crate's reading.
fn meaning<'a>(name: &str, value: &'a str) -> &'a str {
    match (name, value) {
        ("accept-encoding", "GZIP" | "x-gzip") => "gzip",
        ("accept-encoding", "br, gzip" | "gzip;q=1, br") => "gzip, br",
        ("accept-language", "DE") => "de",
        ("accept-language", "en;q=0.5,de") => "de, en;q=0.5",
        _ => value,
    }
}

/// How a request with this `Range` is answered from a body of `length` bytes: none is whole, and no parts are not
/// satisfiable (RFC 9110 §14.1.2).
pub(crate) fn ranges(field: &str, length: usize) -> Option<Vec<(usize, usize)>> {
    match field {
        "bytes=0-9" => Some(vec![(0, 9)]),
        "bytes=10-" => Some(vec![(10, length - 1)]),
        "bytes=-5" => Some(vec![(length - 5, length - 1)]),
        "bytes=99999-" => Some(Vec::new()),
        "bytes=0-3,20-29" => Some(vec![(0, 3), (20, 29)]),
        _ => None,
    }
}

/// The field that tells requests apart, for the hunt alone.
pub(crate) const NUMBER: &str = "x-ask";

const TENANTS: [Option<&str>; 16] = {
    let mut tenants = [Some("acme"); 16];
    tenants[0] = None;
    let mut next = 1;
    while next < 8 {
        tenants[next] = Some("globex");
        next += 1;
    }
    tenants
};

const HOSTS: [&str; 3] = ["shop.example", "Shop.Example", "other.example"];

/// Those below `/own/` have a policy by principal.
pub(crate) const PATHS: [&str; 12] = [
    "/plain",
    "/own/session",
    "/stale/news",
    "/minute",
    "/own/token",
    "/langs",
    "/stale/old",
    "/keyed/list",
    "/own/named",
    "/ask",
    "/mine",
    "/live",
];

pub(crate) const QUERIES: [Option<&str>; 14] = [
    None,
    Some("a=1"),
    Some("a=1&b=1"),
    Some("b=1&a=1"),
    Some("a=2"),
    Some("a=1&a=2"),
    Some("a=2&a=1"),
    Some("a=1&utm_x=7"),
    Some("utm_x=7"),
    Some("a"),
    Some("a="),
    Some("%61=1"),
    Some("a=1;b=1"),
    Some(""),
];

/// How rarely a request has a field, and what it says there.
const FIELDS: &[(&str, u64, &[&str])] = &[
    ("authorization", 16, &["Bearer ann", "Bearer bob"]),
    (
        "cookie",
        12,
        &[
            "sid=1",
            "lang=de",
            "sid=2",
            "theme=dark",
            "lang=en; sid=1",
            "lang=de; theme=dark",
            "lang=de;theme=light",
            "sid=1; sid=2",
        ],
    ),
    ("x-user", 16, &["ann", "bob"]),
    ("accept-encoding", 3, &["gzip, br", "br, gzip", "gzip", "GZIP", "x-gzip", "gzip;q=1, br", "gzip;q=0"]),
    ("accept-language", 3, &["de", "DE", "en", "de, en;q=0.5", "en;q=0.5,de", "en, de"]),
    ("x-flavour", 4, &["a", "A", "a, b", ""]),
    ("x-region", 4, &["eu", "us"]),
    (
        "cache-control",
        12,
        &["max-age=1", "no-cache", "no-store", "max-stale", "max-stale=1", "min-fresh=1", "only-if-cached"],
    ),
    ("x-forwarded-host", 40, &["evil.example", "mirror.example"]),
];

const CONTENTS: [&str; 5] = ["", "{\"q\":1}", "{\"q\":2}", "{\"id\":7,\"q\":1}", "{\"q\":1,\"id\":8}"];

const RANGES: [&str; 8] = [
    "bytes=0-9",
    "bytes=10-",
    "bytes=-5",
    "bytes=99999-",
    "bytes=0-3,20-29",
    "bytes=0-3,20-29",
    "bytes=5-2",
    "items=0-1",
];

/// Of the first versions of a resource, and of all that will ever be.
const DATES: [&str; 4] = [
    "Fri, 14 Jul 2017 02:40:00 GMT",
    "Fri, 14 Jul 2017 02:40:02 GMT",
    "Fri, 14 Jul 2017 02:41:00 GMT",
    "Wed, 18 May 2033 03:33:20 GMT",
];
