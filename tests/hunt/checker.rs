//! Was this a legal answer to this request, after all that has happened? Pure, and sure of what it finds: where two
//! things happened at the same time, the order is taken that makes the answer legal.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use microcache::CacheStatus;

use crate::{
    content,
    endings::{is_not_invalidated, is_not_purged},
    history::{History, Record, SECOND, bare},
    origin::{CACHE_TAG, CONFIRMED, FORWARD, SURROGATE_KEY},
    world::{Ask, Principal, is_keyed_by_content},
};

/// A request, as its client sent it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    /// Before the cache had it.
    pub(crate) sent: u64,
    pub(crate) sent_at: Instant,
    /// Through which cache it goes.
    pub(crate) process: usize,
}

/// What the client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) cache: Option<CacheStatus>,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) end: End,
}

/// How the body ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Failed,
    /// The client left before.
    Left,
}

/// The settings that make a difference here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) default_freshness: u64,
    /// Of the policy for the path whose answers may be stale.
    pub(crate) while_revalidate: u64,
    pub(crate) if_error: u64,
    /// What clients ask in `Cache-Control` counts.
    pub(crate) honours_wishes: bool,
    /// By how many milliseconds the clock goes on at most, when it does.
    pub(crate) pace: u64,
    /// How long after an invalidation the other process knows of it for certain; none if there is none.
    pub(crate) seen_elsewhere: Option<Duration>,
}

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Every response comes from the origin, or is a failure of the cache's own.
    Source,
    /// Tenant, authority, path, the query as it counts, and the fields in the key are the same.
    Key,
    /// Where the policy keys by who asks, each has what was made for the same.
    Principal,
    /// Only what a GET has brought is for others, or a `POST` that is keyed by its content.
    Method,
    /// `private`, `no-store` and `Set-Cookie` are for whoever asked.
    Private,
    /// What was made for credentials is for others only if the origin says so.
    Credentials,
    /// The fields in `Vary` match.
    Variant,
    /// It is fresh, or may be stale.
    Stale,
    /// It is what the client has asked for in `Cache-Control`, where that counts.
    Wish,
    /// `Age` says how old it is.
    Age,
    /// It is not older than what is known to have changed it.
    Invalidated,
    /// What was purged hard is gone, and what was purged softly is not fresh.
    Purged,
    /// What a 304 or a HEAD says is said of what is served.
    Confirmed,
    /// The status is the origin's, or follows from it.
    Status,
    /// A 304 is for who has it.
    Condition,
    /// The part is the one that was asked for.
    Range,
    /// The fields are those of the response.
    Fields,
    /// The body is whole, and of one forward.
    Content,
    /// Every request has an answer, and every body an end.
    End,
}

/// An answer that the request must not have had.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

pub(crate) type Verdict = Result<(), Violation>;

impl Rule {
    pub(crate) fn holds_if(self, holds: bool, detail: impl FnOnce() -> String) -> Verdict {
        if holds { Ok(()) } else { Err(Violation { rule: self, detail: detail() }) }
    }
}

/// Where an answer comes from.
pub(crate) struct Source {
    /// The forward that brought the content; none if there is none.
    pub(crate) first: Option<Arc<Record>>,
    /// The one that said the last word of it: the same, a 304, or the answer to a HEAD.
    pub(crate) latest: Arc<Record>,
}

pub(crate) fn check(asked: &Asked, answer: &Answer, history: &History, settings: &Settings) -> Verdict {
    let Some(source) = source(answer, history)? else { return own_failure(asked, answer, settings) };
    let number = asked.ask.number();
    let is_own = |record: &Record| record.saw.number() == number;
    for record in source.both() {
        let (whose, who) = (record.saw.principal(), asked.ask.principal());
        Rule::Principal.holds_if(whose == who, || format!("forward {} is for {whose:?}", record.number))?;
        let key = record.saw.key();
        Rule::Key.holds_if(key == asked.ask.key(), || format!("forward {} is of {key}", record.number))?;
        if !is_own(record) {
            may_be_stored(record, settings)?;
        }
    }
    if !is_own(&source.latest) {
        may_be_reused(asked, answer, &source, settings)?;
        is_not_invalidated(asked, &source.latest, history)?;
    }
    is_not_purged(asked, answer, &source, history)?;
    is_confirmed(asked, &source, history)?;
    has_the_fields(answer, &source)?;
    content::check(asked, answer, &source)
}

fn source(answer: &Answer, history: &History) -> Result<Option<Source>, Violation> {
    let record = |name: &HeaderName| -> Result<Option<Arc<Record>>, Violation> {
        let Some(number) = answer.headers.get(name) else { return Ok(None) };
        let record = history.record(number);
        Rule::Source.holds_if(record.is_some(), || format!("there was no forward {number:?}"))?;
        Ok(record)
    };
    let (first, confirmed) = (record(&FORWARD)?, record(&CONFIRMED)?);
    let latest = confirmed.or_else(|| first.clone());
    Ok(latest.map(|latest| Source { first, latest }))
}

impl Source {
    pub(crate) fn both(&self) -> impl Iterator<Item = &Record> {
        let first = self.first.as_deref().filter(|first| first.number != self.latest.number);
        first.into_iter().chain([&*self.latest])
    }

    /// What the content came with, or the head alone.
    pub(crate) fn base(&self) -> &Record {
        self.first.as_deref().unwrap_or(&self.latest)
    }
}

/// A failure that the cache answers with has nothing of anybody in it.
fn own_failure(asked: &Asked, answer: &Answer, settings: &Settings) -> Verdict {
    let is_failure = match answer.status.as_u16() {
        502 | 503 => true,
        504 => settings.honours_wishes && asked.ask.wish() == "only-if-cached",
        _ => false,
    };
    let control = answer.headers.get(header::CACHE_CONTROL);
    let holds = is_failure && answer.body.is_empty() && control.is_some_and(|control| control == "no-store");
    Rule::Source.holds_if(holds, || "an answer of nobody".to_owned())
}

/// RFC 9111 §3 and §3.5, and what the crate says of cookies.
fn may_be_stored(record: &Record, settings: &Settings) -> Verdict {
    let Record { number, control, status, saw, .. } = record;
    let of = |rule: Rule, holds: bool, why: &str| rule.holds_if(holds, || format!("forward {number} {why}"));
    let only_asks = only_asks(saw) && control.lifetime.is_some();
    let is_for_others = matches!(saw.method, Method::GET | Method::HEAD) || only_asks;
    of(Rule::Method, is_for_others, "was for another method")?;
    of(Rule::Key, !saw.has_unkeyed_content(), "had content")?;
    of(Rule::Wish, !(settings.honours_wishes && saw.wish() == "no-store"), "was not to be stored")?;
    of(Rule::Key, saw.tenant().is_some(), "is of nobody known")?;
    of(Rule::Principal, saw.principal() != Principal::Nobody, "is for nobody known")?;
    of(Rule::Private, !control.is_private, "is private")?;
    of(Rule::Private, !record.sets_cookie(), "sets a cookie")?;
    of(Rule::Variant, !record.vary.contains(&"*"), "is like no other")?;
    of(Rule::Status, !matches!(status.as_u16(), 206 | 429), "is of one request")?;
    let has_credentials = saw.has_authorization() || saw.has_cookie();
    of(Rule::Credentials, !has_credentials || control.lifetime.is_some(), "says nothing of others")?;
    of(Rule::Credentials, !saw.has_authorization() || control.takes_authorization, "was authorized")
}

/// RFC 9111 §4, and what the crate says of its own guess.
fn may_be_reused(asked: &Asked, answer: &Answer, source: &Source, settings: &Settings) -> Verdict {
    let Source { first, latest } = source;
    let of = |rule: Rule, holds: bool, why: &str| rule.holds_if(holds, || format!("forward {} {why}", latest.number));
    let saw = &asked.ask;
    let first = first.as_ref().map(|first| &first.saw.method);
    let is_for_it = match saw.method {
        Method::GET | Method::HEAD => first == Some(&Method::GET),
        _ => only_asks(saw) && first == Some(&Method::POST),
    };
    of(Rule::Method, is_for_it, "is not for this method")?;
    of(Rule::Key, !saw.has_unkeyed_content(), "is not for this content")?;
    for name in latest.vary {
        let name = name.to_ascii_lowercase();
        of(Rule::Variant, saw.means_the_same(&latest.saw, &name), &format!("differs in {name}"))?;
    }
    let control = latest.control;
    of(Rule::Stale, !control.no_cache, "is for nobody without asking")?;
    let is_guess = control.lifetime.is_none();
    let has_credentials = saw.has_authorization() || saw.has_cookie();
    of(Rule::Credentials, !(is_guess && has_credentials), "is a guess, and for strangers")?;
    if settings.honours_wishes {
        is_as_wished(asked, latest, fresh_until(source, settings))?;
    }
    let until = fresh_until(source, settings).saturating_add(stale_for(asked, answer, latest, settings));
    let is_usable = asked.sent < until;
    if answer.cache.is_some_and(|cache| cache.is_collapsed()) {
        // Who waits for a forward has what it brings, unless that was stale when it came and may never be.
        let arrives_stale = control.lifetime.is_some_and(|lifetime| lifetime <= latest.age);
        of(Rule::Stale, !(arrives_stale && control.is_strict), "was stale when it came")?;
        return of(Rule::Stale, is_usable || waited_for(asked, latest), "was over long ago");
    }
    let may_be_guessed = may_be_kept_without_freshness(source.base().status) || control.text == "public";
    of(Rule::Status, !is_guess || may_be_guessed, "has a status that nobody guesses for")?;
    of(Rule::Stale, is_usable, &format!("was stale at {until}"))?;
    has_its_age(asked, answer, latest)
}

/// Whether the request can have waited for this forward: it was not sent long after that had ended.
fn waited_for(asked: &Asked, record: &Record) -> bool {
    record.ended_at.get().is_none_or(|ended| asked.sent_at < *ended + LANDING)
}

fn only_asks(ask: &Ask) -> bool {
    is_keyed_by_content(ask.uri.path()) && ask.method == Method::POST
}

/// RFC 9111 §5.2.1. The age is what it is at least.
fn is_as_wished(asked: &Asked, record: &Record, until: u64) -> Verdict {
    let arrived = record.arrived.load(SeqCst);
    let age = if arrived == 0 { 0 } else { asked.sent.saturating_sub(arrived) + record.age * SECOND };
    let holds = match asked.ask.wish() {
        "no-cache" => false,
        "max-age=1" => age <= SECOND && asked.sent < until,
        "min-fresh=1" => asked.sent + SECOND <= until,
        _ => true,
    };
    Rule::Wish.holds_if(holds, || format!("forward {} is not as wished", record.number))
}

/// The latest moment at which it can have been fresh, whatever happened between the cache and the origin.
fn fresh_until(source: &Source, settings: &Settings) -> u64 {
    let record = &source.latest;
    let (began, lifetime) = match record.control.lifetime {
        // RFC 9111 §4.2.3: the time that the origin took counts.
        Some(lifetime) => (record.began, lifetime * SECOND),
        None if source.base().status != StatusCode::OK => (record.began, 0),
        // The crate's own lifetime begins when the response is there.
        None => (record.arrived.load(SeqCst), settings.default_freshness),
    };
    if began == 0 {
        return u64::MAX;
    }
    (began + lifetime).saturating_sub(record.age * SECOND)
}

/// RFC 9110 §15.1. Such a response is stale at once, but for a 200.
fn may_be_kept_without_freshness(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414)
}

/// For how long it may be served stale (RFC 9111 §4.2.4, RFC 5861).
fn stale_for(asked: &Asked, answer: &Answer, record: &Record, settings: &Settings) -> u64 {
    let control = record.control;
    if control.is_strict || control.no_cache {
        return 0;
    }
    let is_lenient = asked.ask.uri.path().starts_with("/stale/");
    let window = |said: Option<u64>, policy: u64| match said {
        Some(said) => said * SECOND,
        None if is_lenient => policy,
        None => 0,
    };
    // Those that waited for what failed are not told why they have something stale.
    let has_failed = answer.cache.is_some_and(|cache| cache.detail() == Some("stale-if-error") || cache.is_collapsed());
    let if_error = if has_failed { window(control.if_error, settings.if_error) } else { 0 };
    let wished = match asked.ask.wish() {
        "max-stale" if settings.honours_wishes => u64::MAX,
        "max-stale=1" if settings.honours_wishes => SECOND,
        _ => 0,
    };
    window(control.while_revalidate, settings.while_revalidate).max(if_error).max(wished)
}

/// RFC 9111 §5.1, in whole seconds. A 416 is not the response that was stored.
fn has_its_age(asked: &Asked, answer: &Answer, record: &Record) -> Verdict {
    if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(());
    }
    let age = answer.headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok());
    let arrived = match record.arrived.load(SeqCst) {
        0 => asked.sent,
        arrived => arrived,
    };
    let least = asked.sent.saturating_sub(arrived) / SECOND + record.age;
    Rule::Age.holds_if(age.is_some_and(|age| age >= least), || {
        format!("forward {} is {least} seconds old at least, not {age:?}", record.number)
    })
}

/// RFC 9111 §4.3.4 and §4.3.5: the last word is of the same resource, version and representation.
fn is_confirmed(asked: &Asked, source: &Source, history: &History) -> Verdict {
    let Source { first: Some(first), latest } = source else { return Ok(()) };
    if first.number == latest.number {
        return Ok(());
    }
    let of = |holds: bool, why: &str| {
        Rule::Confirmed.holds_if(holds, || format!("forward {} by {}: {why}", first.number, latest.number))
    };
    of(latest.status == StatusCode::NOT_MODIFIED || latest.saw.method == Method::HEAD, "says nothing of another")?;
    of(first.tag() == latest.tag(), "another entity tag")?;
    let modified = |record: &Record| record.validators.get(header::LAST_MODIFIED).cloned();
    of(modified(first) == modified(latest), "modified at another time")?;
    if first.tag().is_some() || modified(first).is_some() {
        return of(first.version == latest.version, "another version");
    }
    // Nothing but a HEAD that names no validator: what was invalid stays so.
    is_not_invalidated(asked, first, history)
}

/// Each field is what the last word has said of it, or the first where the last says nothing. None is anybody else's.
fn has_the_fields(answer: &Answer, source: &Source) -> Verdict {
    let (base, latest) = (source.base(), &source.latest);
    let of = |name: &HeaderName| if latest.headers.contains_key(name) { &latest.headers } else { &base.headers };
    // They are nobody else's concern.
    let has_tags = [SURROGATE_KEY, CACHE_TAG].iter().any(|name| answer.headers.contains_key(name));
    let is_of_cache = answer.cache.is_some_and(|cache| cache.is_hit() || cache.is_collapsed());
    Rule::Fields.holds_if(!(has_tags && is_of_cache), || "the tags are there".to_owned())?;
    for name in answer.headers.keys().filter(|name| !is_made_here(name)) {
        let said = of(name).get_all(name);
        let holds = answer.headers.get_all(name).iter().eq(said.iter());
        Rule::Fields.holds_if(holds, || format!("{name} is not what the origin said, {said:?}"))?;
    }
    if matches!(answer.status.as_u16(), 304 | 416) {
        return Ok(());
    }
    let is_left_out = |name: &HeaderName| is_made_here(name) || [SURROGATE_KEY, CACHE_TAG].contains(name);
    for name in base.headers.keys().chain(latest.headers.keys()).filter(|name| !is_left_out(name)) {
        Rule::Fields.holds_if(answer.headers.contains_key(name), || format!("{name} is gone"))?;
    }
    Ok(())
}

/// Fields that a cache makes, or that follow from the body.
fn is_made_here(name: &HeaderName) -> bool {
    matches!(name.as_str(), "age" | "date" | "cache-status" | "content-length" | "content-range" | "content-type")
}

/// Whether the client says that it has this (RFC 9110 §13.1).
pub(crate) fn is_known_to_client(asked: &Ask, answer: &HeaderMap, source: &Source) -> bool {
    if let Some(known) = asked.headers.get(header::IF_NONE_MATCH) {
        let tag = source.base().tag().or(source.latest.tag());
        return tag.is_some_and(|tag| bare(known.to_str().unwrap()) == tag);
    }
    let date = |headers: &HeaderMap, name: HeaderName| {
        headers.get(name).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
    };
    let modified = date(&source.base().validators, header::LAST_MODIFIED)
        .or_else(|| date(&source.latest.validators, header::LAST_MODIFIED))
        .or_else(|| date(answer, header::DATE));
    let known = date(&asked.headers, header::IF_MODIFIED_SINCE);
    known.is_some_and(|known| modified.is_some_and(|modified| modified <= known))
}

/// More than it takes to store what has come and to tell those that wait.
const LANDING: Duration = Duration::from_secs(2);
