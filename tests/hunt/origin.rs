//! The origin: what it answers is computed from the head that it sees, the version of the resource, and chance by seed
//! and number of the forward. Each answer says what it was computed from.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tower::Service;

use crate::{
    body::Made,
    history::{History, Record, bare, hash},
    leaks::{Hidden, Leak},
    world::{Ask, Carried, Dice, NUMBER, PATHS, QUERIES, ranges},
};

/// What a response says of its use, and what that means here, by hand. Times are seconds.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) text: &'static str,
    /// Its explicit freshness.
    pub(crate) lifetime: Option<u64>,
    /// For whoever asked alone.
    pub(crate) is_private: bool,
    /// Not without asking the origin.
    pub(crate) no_cache: bool,
    /// Not once it is stale.
    pub(crate) is_strict: bool,
    /// Allowed as an answer to a request with `Authorization` (RFC 9111 §3.5).
    pub(crate) takes_authorization: bool,
    pub(crate) while_revalidate: Option<u64>,
    pub(crate) if_error: Option<u64>,
}

/// The service. Its answers go into the history before anybody has them.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    history: Arc<History>,
    leak: Option<Leak>,
    /// The content of the last forward, for the leak that needs it.
    last: Arc<Mutex<Bytes>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the origin has failed")
    }
}

impl std::error::Error for Failed {}

impl Origin {
    pub(crate) fn new(history: Arc<History>, leak: Option<Leak>) -> Self {
        Self { history, leak, last: Arc::default() }
    }

    async fn answer(self, request: Request<Carried>) -> Result<Response<Made>, Failed> {
        let began = self.history.ticks.tick();
        let number = self.history.next_forward();
        let mut dice = Dice::new(self.history.seed ^ number.wrapping_mul(0x9e37_79b9));
        let (mut parts, body) = request.into_parts();
        if let Some(Hidden(hidden)) = parts.extensions.remove() {
            parts.headers.extend(hidden);
        }
        let content = body.collect().await.map_err(|_| Failed)?.to_bytes();
        let saw = Ask::of(parts, content);
        let version = self.history.version(&saw.target()).load(SeqCst);
        take_time(&mut dice).await?;
        let mut record = draw(saw, &mut dice, (number, version, began), self.leak);
        if !record.saw.is_safe() && (record.status.is_success() || record.status.is_redirection()) {
            self.history.version(&record.saw.target()).fetch_add(1, SeqCst);
        }
        record.answered = self.history.ticks.tick();
        let mut response = self.send(record, &mut dice);
        if let Some(leak) = self.leak {
            leak.at_origin(response.headers_mut());
        }
        Ok(response)
    }

    fn send(&self, record: Record, dice: &mut Dice) -> Response<Made> {
        let content = if has_content(&record) { Bytes::from(record.content()) } else { Bytes::new() };
        let mut bytes = match record.part {
            Some((first, last)) => content.slice(first..=last),
            None => content,
        };
        if self.leak == Some(Leak::SwappedBodies) && record.length == bytes.len() {
            let mut last = self.last.lock().unwrap();
            let swapped = std::mem::replace(&mut *last, bytes.clone());
            bytes = if swapped.len() == bytes.len() { swapped } else { bytes };
        }
        let mut response = Response::new(());
        *response.status_mut() = record.status;
        response.headers_mut().clone_from(&record.headers);
        let (body, record) = Made::draw(bytes, record, dice, &self.history, self.leak);
        // The length that the head may say is that of the body that was meant, whatever comes.
        if let Some(length) = body.promised() {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        if record.saw.method == Method::HEAD {
            response.headers_mut().insert(header::CONTENT_LENGTH, record.length.into());
        }
        response.map(|()| body)
    }
}

impl Service<Request<Carried>> for Origin {
    type Response = Response<Made>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Made>, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Carried>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

async fn take_time(dice: &mut Dice) -> Result<(), Failed> {
    if dice.one_in(3) {
        for _ in 0..dice.roll(4) {
            tokio::task::yield_now().await;
        }
    }
    if dice.one_in(400) {
        tokio::time::sleep(Duration::from_millis(1 + dice.roll(8))).await;
    }
    match dice.roll(128) {
        0..3 => Err(Failed),
        3 => std::panic::panic_any(crate::run::Expected),
        _ => Ok(()),
    }
}

/// What the origin says, as far as its head goes.
fn draw(saw: Ask, dice: &mut Dice, (number, version, began): (u64, u64, u64), leak: Option<Leak>) -> Record {
    let (control, vary) = character(&saw, dice);
    let mut status = if saw.is_safe() { status(&saw, dice) } else { dice.pick(&UNSAFE_STATUSES) };
    let mut headers = HeaderMap::new();
    let mut length = LENGTHS[usize::try_from(hash(saw.target().as_bytes()) % 8).unwrap()];
    let (mut part, mut validators) = (None, HeaderMap::new());
    if matches!(saw.method, Method::GET | Method::HEAD) && status == 200 {
        add_validators(&mut validators, &saw, version);
        headers.clone_from(&validators);
        let lies = leak == Some(Leak::AnyTagHolds) && saw.headers.contains_key(header::IF_NONE_MATCH);
        if lies || is_unchanged(&saw, &validators) {
            status = 304;
            if lies || saw.uri.path() == "/live" && dice.one_in(2) {
                // Sloppy: it leaves out what it has compared.
                headers.clear();
            }
        } else if saw.method == Method::GET && !saw.headers.contains_key(header::IF_RANGE) && dice.one_in(2) {
            part = one_part(saw.text("range"), length);
        }
    } else if !saw.is_safe() && dice.one_in(4) {
        add_locations(&mut headers, dice);
    }
    if let Some((first, last)) = part {
        status = 206;
        headers.insert(header::CONTENT_RANGE, value(&format!("bytes {first}-{last}/{length}")));
    }
    if status == 204 || status == 304 {
        length = length.max(LENGTHS[0]);
    }
    // A HEAD or a 304 says something of content that another forward has brought.
    let name = if status == 304 || saw.method == Method::HEAD { CONFIRMED } else { FORWARD };
    headers.insert(name, number.into());
    // Each says all that any could say, so that nothing lingers from one 304 to the next.
    let text = if control.text.is_empty() { format!("n={number}") } else { format!("{}, n={number}", control.text) };
    headers.insert(header::CACHE_CONTROL, value(&text));
    headers.insert(header::VARY, value(&vary.join(", ")));
    headers.insert("x-said-to", value(saw.text(NUMBER)));
    if dice.one_in(24) {
        headers.insert(header::SET_COOKIE, value(&format!("sid={number}")));
    }
    let age = if dice.one_in(24) { 1 } else { 0 };
    if age > 0 {
        headers.insert(header::AGE, age.into());
    }
    Record {
        number,
        version,
        began,
        answered: 0,
        arrived: AtomicU64::new(0),
        ended_at: OnceLock::new(),
        status: StatusCode::from_u16(status).unwrap(),
        tags: add_tags(&mut headers, &saw, dice),
        headers,
        validators,
        control,
        vary,
        age,
        part,
        length,
        has_trailers: false,
        is_broken: false,
        saw,
    }
}

/// What a resource is like, most of the time.
fn character(saw: &Ask, dice: &mut Dice) -> (&'static Control, &'static [&'static str]) {
    let is_of_one = saw.has_authorization() || saw.has_cookie();
    if dice.one_in(8) {
        let controls = CONTROLS.len() as u64;
        return (&CONTROLS[usize::try_from(dice.roll(controls)).unwrap()], dice.pick(&VARIES));
    }
    let (control, vary): (usize, &[&str]) = match saw.uri.path() {
        "/plain" => (0, &[]),
        "/ask" => (1, &[]),
        "/stale/news" | "/stale/old" => (1, &[]),
        "/minute" => (2, &["accept-encoding"]),
        "/langs" => (3, &["accept-language", "x-flavour"]),
        "/keyed/list" => (0, &["Accept-Encoding"]),
        "/own/token" => (0, &[]),
        "/own/session" => (1, &[]),
        "/own/named" => (2, &[]),
        "/mine" if is_of_one => (4, &["cookie"]),
        "/mine" => (1, &["cookie", "authorization"]),
        _ => (5, &[]),
    };
    (&CONTROLS[control], vary)
}

fn status(saw: &Ask, dice: &mut Dice) -> u16 {
    let fails = if saw.uri.path().starts_with("/stale/") { 4 } else { 24 };
    if dice.one_in(fails) {
        return dice.pick(&[500, 503, 503, 502, 599]);
    }
    if dice.one_in(24) { dice.pick(&[404, 301, 302, 204, 203, 410, 429]) } else { 200 }
}

/// The validators that the resource has, if any: they change with each version and with what it reads, and with who
/// asks, if it is somebody's own.
fn add_validators(headers: &mut HeaderMap, saw: &Ask, version: u64) {
    let mut read = format!("{}|{}|{version}", saw.target(), saw.text("x-forwarded-host"));
    let reads: &[&str] = match saw.uri.path() {
        "/minute" | "/keyed/list" => &["accept-encoding", "x-region", "cookie"],
        "/langs" => &["accept-language", "x-flavour"],
        "/mine" | "/own/session" => &["cookie", "authorization"],
        _ => &[],
    };
    for name in reads {
        read = format!("{read}|{}", saw.text(name));
    }
    let tag = format!("\"{:x}\"", hash(read.as_bytes()));
    match saw.uri.path() {
        "/minute" | "/mine" | "/live" | "/own/session" => _ = headers.insert(header::ETAG, value(&tag)),
        "/langs" => _ = headers.insert(header::ETAG, value(&format!("W/{tag}"))),
        "/stale/news" | "/stale/old" => {
            let changed = std::time::UNIX_EPOCH + Duration::from_secs(1_500_000_000 + version);
            headers.insert(header::LAST_MODIFIED, value(&httpdate::fmt_http_date(changed)));
        }
        _ => {}
    }
}

/// Whether the client has it already.
fn is_unchanged(saw: &Ask, headers: &HeaderMap) -> bool {
    if let Some(asked) = saw.headers.get(header::IF_NONE_MATCH) {
        let own = headers.get(header::ETAG).map(|tag| bare(tag.to_str().unwrap()));
        return own.is_some_and(|own| asked.to_str().unwrap().split(',').any(|tag| bare(tag) == own));
    }
    let modified = headers.get(header::LAST_MODIFIED);
    modified.is_some() && modified == saw.headers.get(header::IF_MODIFIED_SINCE)
}

fn one_part(range: &str, length: usize) -> Option<(usize, usize)> {
    ranges(range, length).and_then(|parts| if let [part] = parts[..] { Some(part) } else { None })
}

/// By what the response can be purged: by nothing, or by one tag that all of the resource has, and maybe another.
fn add_tags(headers: &mut HeaderMap, saw: &Ask, dice: &mut Dice) -> Vec<&'static str> {
    if matches!(saw.uri.path(), "/plain" | "/live") {
        return Vec::new();
    }
    let mut tags = vec![TAGS[usize::try_from(hash(saw.target().as_bytes()) % 4).unwrap()]];
    if dice.one_in(2) {
        tags.push(dice.pick(&TAGS));
    }
    match dice.roll(2) {
        0 => headers.insert(SURROGATE_KEY, value(&tags.join(" "))),
        _ => headers.insert(CACHE_TAG, value(&tags.join(", "))),
    };
    tags
}

/// Names another resource of the same host, and one of another.
fn add_locations(headers: &mut HeaderMap, dice: &mut Dice) {
    let path = dice.pick(&PATHS);
    let query = dice.pick(&QUERIES[..5]).map_or(String::new(), |query| format!("?{query}"));
    headers.insert(header::LOCATION, value(&format!("{path}{query}")));
    headers.insert(header::CONTENT_LOCATION, value(&format!("http://strange.example{path}")));
}

fn has_content(record: &Record) -> bool {
    record.saw.method != Method::HEAD && !matches!(record.status.as_u16(), 204 | 304)
}

pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

/// The forward that brought the content.
pub(crate) const FORWARD: HeaderName = HeaderName::from_static("x-forward");
/// The last forward that said something of it.
pub(crate) const CONFIRMED: HeaderName = HeaderName::from_static("x-confirmed");

/// For the cache alone.
pub(crate) const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
pub(crate) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

pub(crate) const TAGS: [&str; 4] = ["lamp", "desk", "list", "sale"];

const UNSAFE_STATUSES: [u16; 8] = [200, 200, 201, 204, 303, 404, 409, 500];

/// Of resources; some are over the limit that some caches have.
const LENGTHS: [usize; 8] = [400, 400, 400, 500, 700, 1_000, 3_000, LONGEST];
pub(crate) const LONGEST: usize = 6_000;

const VARIES: [&[&str]; 10] = [
    &[],
    &[],
    &["accept-encoding"],
    &["accept-language"],
    &["x-flavour"],
    &["x-flavour", "accept-encoding"],
    &["cookie"],
    &["authorization", "cookie"],
    &["*"],
    &["x-flavour", "*"],
];

const NONE: Control = Control {
    text: "",
    lifetime: None,
    is_private: false,
    no_cache: false,
    is_strict: false,
    takes_authorization: false,
    while_revalidate: None,
    if_error: None,
};

/// The first six are what resources are like.
static CONTROLS: [Control; 22] = [
    NONE,
    Control { text: "max-age=1", lifetime: Some(1), ..NONE },
    Control { text: "public, max-age=2", lifetime: Some(2), takes_authorization: true, ..NONE },
    Control { text: "s-maxage=2", lifetime: Some(2), is_strict: true, takes_authorization: true, ..NONE },
    Control { text: "private", is_private: true, ..NONE },
    Control { text: "no-cache", no_cache: true, ..NONE },
    Control { text: "public", takes_authorization: true, ..NONE },
    Control { text: "private, max-age=60", lifetime: Some(60), is_private: true, ..NONE },
    Control { text: "PRIVATE=\"x-flavour\", s-maxage=60", lifetime: Some(60), is_private: true, ..NONE },
    Control { text: "no-store", is_private: true, ..NONE },
    Control { text: "max-age=60, No-Store", lifetime: Some(60), is_private: true, ..NONE },
    Control { text: "no-cache, max-age=9", lifetime: Some(9), no_cache: true, ..NONE },
    Control { text: "no-cache=\"x-flavour\", max-age=9", lifetime: Some(9), no_cache: true, ..NONE },
    Control { text: "max-age=0", lifetime: Some(0), ..NONE },
    Control { text: "s-maxage=0, max-age=9", lifetime: Some(0), is_strict: true, takes_authorization: true, ..NONE },
    Control { text: "max-age=9, s-maxage=1", lifetime: Some(1), is_strict: true, takes_authorization: true, ..NONE },
    Control {
        text: "max-age=1, must-revalidate",
        lifetime: Some(1),
        is_strict: true,
        takes_authorization: true,
        ..NONE
    },
    Control { text: "max-age=1, proxy-revalidate", lifetime: Some(1), is_strict: true, ..NONE },
    Control { text: "max-age=1, stale-while-revalidate=2", lifetime: Some(1), while_revalidate: Some(2), ..NONE },
    Control { text: "max-age=1, stale-if-error=5", lifetime: Some(1), if_error: Some(5), ..NONE },
    Control { text: "max-age=x", lifetime: Some(0), ..NONE },
    Control {
        text: "max-age=3, max-age=1, s-maxage=\"1\"",
        lifetime: Some(1),
        is_strict: true,
        takes_authorization: true,
        ..NONE
    },
];
