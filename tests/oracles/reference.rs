//! The cache against `http-cache-semantics`: may what came for one request be reused for another, without asking?
//!
//! Where the two differ, a [`Difference`] says what of the messages that crate reads otherwise, and which sentence is
//! ours. It is no excuse: it puts into the messages what we read in them, and then both must say the same.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::FutureExt;
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use microcache::{CacheLayer, CacheStatus, Collapse, ManualClock, MemoryStore, Policy};
use proptest::{prelude::*, sample::select};
use tower::{Layer, Service, service_fn};

use crate::{
    date,
    drawn::{any_members, field},
    said::{Directives, Fields, Request, Response, date as date_in, delta_seconds, has, lines, list, single, vary},
    wire,
};

/// A request and its response, and another request later on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    first: Request,
    response: Response,
    /// When it came, in milliseconds since 1970.
    arrival: u64,
    pause: u64,
    second: Request,
}

/// What that crate reads otherwise. [`EXAMPLES`] has one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// RFC 9213 §2.2: with a targeted field a cache "MUST ignore the Cache-Control and Expires header fields in that
    /// response".
    TargetedFieldsAreRead,
    /// §5.4: "Because the meaning of "Pragma: no-cache" in responses was never specified, it does not provide a reliable
    /// replacement for "Cache-Control: no-cache" in them."
    PragmaOfResponsesSaysNothing,
    /// §5.2.1: "They are advisory; caches MAY implement them, but are not required to." §5.4 deprecates `Pragma`.
    RequestDirectivesAreIgnored,
    /// §3: "A cache MUST NOT store a response to a request unless [...]" obliges nobody to store. With
    /// [`Collapse::off`] the answers to other methods than GET are not, nor those to what asks for less than the whole.
    OnlyTheWholeIsStored,
    /// RFC 9110 §13.1.1, §13.1.4: "MAY ignore", and so may leave to the origin.
    PreconditionsAreTheOrigins,
    /// §7.3: `Set-Cookie` "does not inhibit caching", for an origin that says so with `public` either. Stricter here.
    SetCookieIsNeverStored,
    /// §3 obliges nobody to store. A response with ever other variants is not.
    VaryOnAtMostEight,
    /// §5.2: an argument may be a quoted string, in which a comma is data (RFC 9110 §5.6.4).
    QuotedCommasAreData,
    /// §5.2: "to be compared case-insensitively".
    DirectivesInAnyCase,
    /// §5.2.2.2, §5.2.2.9: with an argument these are not the directives of §3.5, and `must-understand` is unclear.
    ArgumentsTakePermission,
    /// §5.2: what is not of the grammar could be any directive that is named in it. It is the most restrictive.
    BrokenMembersRestrict,
    /// §4.2.1: "Caches are encouraged to consider responses that have invalid freshness information (e.g., a max-age
    /// directive with a non-integer value) to be stale."
    MalformedSecondsAreStale,
    /// §4.2.1: "either the first occurrence should be used or the response should be considered stale": stale as soon as
    /// one of them has it so.
    SmallestOfSeveral,
    /// §5.2.2.3: next to `must-understand` "the cache SHOULD ignore the no-store directive if it understands and
    /// implements the status code's caching requirements".
    MustUnderstandIsKnown,
    /// §3: "the response status code is final"; that it be understood is asked of 206, 304 and `must-understand` alone.
    AnyFinalStatus,
    /// RFC 9110 §5.6.7: a recipient "MUST accept all three HTTP-date formats".
    DatesInAllForms,
    /// §4.2.1, as for directives: two `Expires` that differ are stale.
    ConflictingExpires,
    /// RFC 9110 §6.6.1: without `Date` the time of receipt is recorded as one, in whole seconds.
    DateOfArrival,
    /// §5.1: of a list "a cache [...] SHOULD use the first member", and if that is no number, it "SHOULD ignore the
    /// field".
    FirstAge,
    /// §4.2.3: "apparent_age = max(0, response_time - date_value)" is an age as well.
    ApparentAge,
    /// RFC 5861 §3: "caches MAY serve the response in which it appears after it becomes stale, up to the indicated number
    /// of seconds".
    StaleWhileRevalidate,
    /// §5.2.2.8: `proxy-revalidate` holds "once the response has become stale".
    ProxyRevalidateOnceStale,
    /// RFC 9110 §9.3.1: of the response to a GET "a cache MAY use it to satisfy subsequent GET and HEAD requests".
    HeadFromGet,
    /// §4.1: all lines of a nominated field are compared.
    LinesAreCompared,
    /// §4.1: fields match after "normalizing both header field values in a way that is known to have identical
    /// semantics".
    NormalForms,
}

impl Difference {
    /// Puts into the messages what we read in them.
    fn apply(self, case: &mut Case) {
        match self {
            Self::TargetedFieldsAreRead => targeted(&mut case.response.fields),
            Self::PragmaOfResponsesSaysNothing => remove(&mut case.response.fields, "pragma"),
            Self::RequestDirectivesAreIgnored => {
                for request in [&mut case.first, &mut case.second] {
                    remove(&mut request.fields, "cache-control");
                    remove(&mut request.fields, "pragma");
                }
            }
            Self::OnlyTheWholeIsStored => {
                let asks_for_less =
                    ["range", "if-none-match", "if-modified-since"].iter().any(|name| has(&case.first.fields, name));
                case.never_reused_if(case.first.method != "GET" || asks_for_less);
            }
            Self::PreconditionsAreTheOrigins => {
                let is_asked = has(&case.first.fields, "if-match") || has(&case.second.fields, "if-match");
                case.never_reused_if(is_asked);
            }
            Self::SetCookieIsNeverStored => case.never_reused_if(has(&case.response.fields, "set-cookie")),
            Self::VaryOnAtMostEight => case.never_reused_if(vary(&case.response.fields).len() > 8),
            Self::QuotedCommasAreData => members(case, |member| match member.split_once('=') {
                Some((name, argument)) if is_closed(member) && argument.contains(',') => format!("{name}=quoted"),
                _ => member.to_owned(),
            }),
            Self::DirectivesInAnyCase => members(case, |member| match member.split_once('=') {
                Some((name, argument)) => format!("{}={argument}", name.to_lowercase()),
                None => member.to_lowercase(),
            }),
            Self::ArgumentsTakePermission => members(case, |member| match member {
                "must-revalidate=1" => "proxy-revalidate".to_owned(),
                "must-understand=1" => "private".to_owned(),
                "public=1" => "unknown".to_owned(),
                _ => member.to_owned(),
            }),
            Self::BrokenMembersRestrict => members(case, broken),
            Self::MalformedSecondsAreStale => members(case, malformed_seconds),
            Self::SmallestOfSeveral => smallest(case),
            Self::MustUnderstandIsKnown => {
                if case.says("must-understand") && case.response.status != UNKNOWN {
                    members(case, |member| if member == "no-store" { "unknown" } else { member }.to_owned());
                }
            }
            Self::AnyFinalStatus => {
                let is_understood = case.response.status != UNKNOWN || !case.says("must-understand");
                if is_understood && [201, UNKNOWN, 403, 500, 503].contains(&case.response.status) {
                    case.response.status = 302;
                }
            }
            _ => self.apply_to_time(case),
        }
    }

    /// [`apply`](Self::apply) for what is about dates, ages, and the second request.
    fn apply_to_time(self, case: &mut Case) {
        let fields = &mut case.response.fields;
        match self {
            Self::DatesInAllForms => {
                for (name, value) in fields.iter_mut().filter(|(name, _)| name == "date" || name == "expires") {
                    *value = date::read(value).map_or_else(|| format!("no {name}"), date::write);
                }
            }
            Self::ConflictingExpires if has(fields, "expires") && single(fields, "expires").is_none() => {
                set(fields, "expires", "0".to_owned());
            }
            Self::DateOfArrival if date_in(fields, "date").is_none() => {
                set(fields, "date", date::write(case.arrival / 1000));
            }
            Self::FirstAge if has(fields, "age") => {
                let first = list(fields, "age").into_iter().next();
                set(fields, "age", first.and_then(|age| delta_seconds(&age)).unwrap_or(0).to_string());
            }
            Self::ApparentAge => {
                let date = date_in(fields, "date").unwrap_or(u64::MAX);
                let apparent_age = (case.arrival / 1000).saturating_sub(date);
                if apparent_age > single(fields, "age").and_then(|age| age.parse().ok()).unwrap_or(0) {
                    set(fields, "age", apparent_age.to_string());
                }
            }
            Self::StaleWhileRevalidate => stale_while_revalidate(case),
            Self::ProxyRevalidateOnceStale => {
                members(case, |member| if member == "proxy-revalidate" { "unknown" } else { member }.to_owned());
            }
            Self::HeadFromGet if case.first.method == "GET" && case.second.method == "HEAD" => {
                case.second.method = "GET".to_owned();
            }
            Self::LinesAreCompared => each_request(case, "x-lang", |lines| lines.join("|")),
            Self::NormalForms => each_request(case, "accept-encoding", |lines| {
                let mut codings: Vec<_> = lines.iter().flat_map(|line| line.split(',')).map(str::trim).collect();
                codings.sort_unstable();
                codings.join(", ")
            }),
            _ => {}
        }
    }
}

impl Case {
    fn says(&self, directive: &str) -> bool {
        Directives::of(&self.response.fields).has_bare(directive)
    }

    /// Makes the response one that is for the first request alone.
    fn never_reused_if(&mut self, condition: bool) {
        if condition {
            set(&mut self.response.fields, "cache-control", "private".to_owned());
        }
    }

    /// In the words of the other crate.
    fn translated(&self) -> Self {
        let mut case = self.clone();
        differences().for_each(|difference| difference.apply(&mut case));
        case
    }

    /// Whether the other crate reuses.
    fn is_reused_there(&self) -> bool {
        let options = CacheOptions {
            shared: true,
            // Neither is without a word of the origin: the cache is `without_default_freshness`.
            cache_heuristic: 0.0,
            immutable_min_time_to_live: Duration::ZERO,
            ignore_cargo_cult: false,
        };
        let at = |millis| -> SystemTime { UNIX_EPOCH + Duration::from_millis(millis) };
        let (first, response) = (wire::request(&self.first), wire::response(&self.response));
        let policy = CachePolicy::new_options(&first, &response, at(self.arrival), options);
        let before = policy.before_request(&wire::request(&self.second), at(self.arrival + self.pause));
        policy.is_storable() && matches!(before, BeforeRequest::Fresh(_))
    }

    /// Whether the cache reuses.
    fn is_reused_here(&self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _guard = runtime.enter();
        let clock = ManualClock::new();
        let policy = Policy::new().without_default_freshness().collapse(Collapse::off());
        let layer = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).policy(policy).clock(clock.clone());
        let response = self.response.clone();
        let mut cache = layer
            .build()
            .unwrap()
            .layer(service_fn(move |_| std::future::ready(Ok::<_, Infallible>(wire::response(&response)))));
        clock.advance(Duration::from_millis(self.arrival - wire::millis(&clock)));
        // An origin that answers at once leaves nothing to wait for.
        drop(cache.call(wire::request(&self.first)).now_or_never().unwrap().unwrap());
        clock.advance(Duration::from_millis(self.pause));
        let response = cache.call(wire::request(&self.second)).now_or_never().unwrap().unwrap();
        CacheStatus::of(&response).is_some_and(|status| status.is_hit())
    }
}

fn remove(fields: &mut Fields, name: &str) {
    fields.retain(|(other, _)| other != name);
}

/// One line in place of those that are there.
fn set(fields: &mut Fields, name: &str, value: String) {
    let place = fields.iter().position(|(other, _)| other == name).unwrap_or(fields.len());
    remove(fields, name);
    fields.insert(place, (name.to_owned(), value));
}

/// Changes each member of `Cache-Control`, line by line.
fn members(case: &mut Case, change: impl Fn(&str) -> String) {
    for line in case.response.fields.iter_mut().filter(|(name, _)| name == "cache-control") {
        let members = list(&vec![line.clone()], "cache-control");
        line.1 = members.iter().map(|member| change(member)).collect::<Vec<_>>().join(", ");
    }
}

/// No quotes, or one at each end of the argument.
fn is_closed(member: &str) -> bool {
    let argument = member.split_once('=').map_or("", |(_, argument)| argument);
    let quoted = argument.strip_prefix('"').and_then(|argument| argument.strip_suffix('"'));
    !quoted.unwrap_or(member).contains('"')
}

fn targeted(fields: &mut Fields) {
    if Directives::of(fields).is_targeted {
        let value = lines(fields, "cdn-cache-control").join(", ");
        remove(fields, "expires");
        remove(fields, "pragma");
        set(fields, "cache-control", value);
    }
}

/// A member that is not of the grammar, as all that is named in it and restricts. Quotes may hide more than names.
fn broken(member: &str) -> String {
    if is_closed(member) && !member.contains([' ', ';']) {
        return member.to_owned();
    }
    let words = member.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    let restricts = words.filter_map(|word| match word.to_lowercase().as_str() {
        "must-revalidate" => Some("proxy-revalidate".to_owned()),
        "must-understand" => Some("private".to_owned()),
        name @ ("no-store" | "no-cache" | "private" | "proxy-revalidate") => Some(name.to_owned()),
        name @ ("max-age" | "s-maxage" | "stale-while-revalidate") => Some(format!("{name}=0")),
        _ => None,
    });
    // What no `must-understand` lifts.
    let hidden = member.contains('"').then(|| "private".to_owned());
    restricts.chain(hidden).collect::<Vec<_>>().join(", ")
}

fn malformed_seconds(member: &str) -> String {
    let (name, argument) = member.split_once('=').unwrap_or((member, ""));
    match delta_seconds(argument.trim_matches('"')) {
        None if ["max-age", "s-maxage"].contains(&name) => format!("{name}=0"),
        _ => member.to_owned(),
    }
}

fn smallest(case: &mut Case) {
    for name in ["max-age", "s-maxage"] {
        let prefix = format!("{name}=");
        let Some(least) = Directives::of(&case.response.fields).seconds(name) else { continue };
        members(case, |member| match member.strip_prefix(&prefix) {
            Some(_) => format!("{prefix}{least}"),
            None => member.to_owned(),
        });
    }
}

/// What may be served stale for a while is as good as fresh for that while.
fn stale_while_revalidate(case: &mut Case) {
    let fields = &case.response.fields;
    let directives = Directives::of(fields);
    let window = directives.seconds("stale-while-revalidate").unwrap_or(0);
    let expires = date_in(fields, "expires").unwrap_or(0).saturating_sub(date_in(fields, "date").unwrap_or(0));
    let explicit = directives.seconds("max-age").or(has(fields, "expires").then_some(expires));
    // What the origin gave no lifetime is stored where its status allows it, for strangers.
    let is_stranger = |request: &Request| !has(&request.fields, "cookie") && !has(&request.fields, "authorization");
    let is_heuristic = [200, 404].contains(&case.response.status) || directives.has_bare("public");
    let is_stored = is_heuristic && is_stranger(&case.first) && is_stranger(&case.second);
    let lifetime = explicit.or(is_stored.then_some(0));
    // §3 obliges nobody to store: an error that is stale when it comes is not.
    let age = single(fields, "age").and_then(|age| age.parse().ok()).unwrap_or(0);
    let is_stale_error = case.response.status >= 500 && lifetime.unwrap_or(0) <= age;
    if window == 0 || directives.forbids_stale() || is_stale_error {
        return;
    }
    if let Some(lifetime) = lifetime {
        members(case, |member| if member.starts_with("max-age=") { "unknown" } else { member }.to_owned());
        case.response.fields.push(("cache-control".to_owned(), format!("max-age={}", lifetime + window)));
    }
}

fn each_request(case: &mut Case, name: &str, change: impl Fn(&[&str]) -> String) {
    for request in [&mut case.first, &mut case.second] {
        if has(&request.fields, name) {
            let value = change(&lines(&request.fields, name));
            set(&mut request.fields, name, value);
        }
    }
}

/// A status that no RFC defines.
const UNKNOWN: u16 = 299;
/// The second that the clock starts at.
const START: u64 = 1_600_000_000;
const CASES: u32 = 1_500;

fn cache_control() -> impl Strategy<Value = Option<(String, String)>> {
    let members = any_members(vec![
        "max-age=5",
        "max-age=5",
        "max-age=5",
        "max-age=60",
        "s-maxage=2",
        "s-maxage=60",
        "public",
        "public",
        "private",
        "no-store",
        "no-cache",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "immutable",
        "stale-while-revalidate=3",
        "Max-Age=5",
        "NO-STORE",
        "max-age=\"5\"",
        "max-age=x",
        "max-age",
        "max-age=-1",
        "max-age=+5",
        "max-age = 60",
        "max-age=5.0",
        "s-maxage",
        "s-maxage=x",
        "no-store; max-age=60",
        "public=1",
        "must-revalidate=1",
        "must-understand=1",
        "x=\"a, max-age=60\"",
        "x=\"a, max-age=60",
        "private=\"x, y\"",
        "no-cache=\"x\"",
        "unknown",
    ]);
    let line = members.prop_map(|members| ("cache-control".to_owned(), members));
    prop::option::weighted(0.8, line)
}

fn response() -> impl Strategy<Value = Response> {
    let written = |name: &'static str, offsets: Vec<Option<i64>>| {
        let form = select(vec![date::write, date::write, date::write, date::write_rfc_850, date::write_asctime]);
        (select(offsets), form).prop_map(move |(offset, form)| {
            offset.map(|offset| (name.to_owned(), form(START.saturating_add_signed(offset))))
        })
    };
    let status = select(vec![200, 200, 200, 200, 200, 200, 201, 206, UNKNOWN, 302, 304, 403, 404, 429, 500, 503, 511]);
    let fields = (
        (cache_control(), cache_control().prop_map(|line| line.filter(|(_, line)| line.len() % 3 == 0))),
        (
            written("expires", vec![None, None, Some(5), Some(60), Some(-5)]),
            field("expires", vec!["", "", "", "", "", "0"]),
        ),
        written("date", vec![None, Some(0), Some(0), Some(-3), Some(3)]),
        field("age", vec!["", "", "", "1", "x", "2, 5", "+2"]),
        field(
            "vary",
            vec!["", "", "x-lang", "X-Lang, accept-encoding", "accept-encoding", "*", "a, b, c, d, e, f, g, h, i"],
        ),
        field("set-cookie", vec!["", "", "", "", "", "a=1"]),
        field("pragma", vec!["", "", "", "", "", "no-cache"]),
        field("cdn-cache-control", vec!["", "", "", "", "", "max-age=5", "private", "max-age=5, =", "x"]),
        field("etag", vec!["", "\"a\""]),
    );
    (status, fields).prop_map(|(status, ((a, b), (c, d), e, f, g, h, i, j, k))| {
        let fields = [a, b, c, d, e, f, g, h, i, j, k].into_iter().flatten().collect();
        Response { status, fields, body: "body".to_owned() }
    })
}

fn request() -> impl Strategy<Value = Request> {
    let method = select(vec!["GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST"]);
    let path = select(vec!["/a", "/a", "/a", "/a", "/a", "/a", "/a", "/b"]);
    let fields = (
        field("x-lang", vec!["", "", "de", "en"]),
        field("x-lang", vec!["", "", "", "", "", "en"]),
        field("accept-encoding", vec!["", "gzip, br", "br,gzip", "gzip"]),
        field("authorization", vec!["", "", "", "Basic YQ=="]),
        field("cookie", vec!["", "", "", "a=1"]),
        field("cache-control", vec!["", "", "", "", "no-cache", "no-store", "max-age=0", "max-stale", "min-fresh=3"]),
        field("pragma", vec!["", "", "", "", "", "", "no-cache"]),
        field("range", vec!["", "", "", "", "", "", "", "bytes=0-1"]),
        field("if-none-match", vec!["", "", "", "", "", "", "", "\"a\""]),
        field("if-match", vec!["", "", "", "", "", "", "", "\"a\""]),
    );
    (method, path, fields).prop_map(|(method, path, (a, b, c, d, e, f, g, h, i, j))| {
        let fields = [a, b, c, d, e, f, g, h, i, j].into_iter().flatten().collect();
        Request { method: method.to_owned(), path: path.to_owned(), fields }
    })
}

/// The second request is often the first again: else little would be reused.
fn case() -> impl Strategy<Value = Case> {
    let second = prop_oneof![request().prop_map(Some), Just(None)];
    let pause = select(vec![0, 400, 1_000, 1_999, 2_000, 3_000, 4_999, 5_000, 7_999, 8_000, 59_999, 60_000]);
    let millis = select(vec![0, 0, 700]);
    (request(), response(), millis, pause, second).prop_map(|(first, response, millis, pause, second)| {
        let second = second.unwrap_or_else(|| first.clone());
        Case { first, response, arrival: START * 1000 + millis, pause, second }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_reused_is_what_another_crate_reuses_but_for_known_differences(case in case()) {
        let translated = case.translated();
        let known: Vec<_> = differences().filter(|difference| {
            let mut changed = case.clone();
            difference.apply(&mut changed);
            changed != case
        }).collect();
        prop_assert_eq!(case.is_reused_here(), translated.is_reused_there(), "{:?} as {:?}", known, translated);
    }
}

type Lines = &'static [(&'static str, &'static str)];

/// A difference, the first request, the response, the second request, and milliseconds between. `:method` and `:status`
/// stand for what is no field.
type Example = (Difference, Lines, Lines, Lines, u64);

const FRESH: (&str, &str) = ("cache-control", "max-age=5");
const FIVE_BEFORE: &str = "Sun, 13 Sep 2020 12:26:35 GMT";
const FIVE_AFTER: &str = "Sun, 13 Sep 2020 12:26:45 GMT";
const FIVE_AFTER_AS_RFC_850: &str = "Sunday, 13-Sep-20 12:26:45 GMT";
const HEAD: Lines = &[(":method", "HEAD")];
const MUST_UNDERSTAND: Lines = &[("cache-control", "must-understand, no-store, max-age=5")];

/// One example each, in the order in which messages are put into the words of the other crate: without the difference
/// both say the same.
const EXAMPLES: [Example; 25] = {
    use Difference::*;
    [
        (TargetedFieldsAreRead, &[], &[("cdn-cache-control", "max-age=5")], &[], 0),
        (PragmaOfResponsesSaysNothing, &[], &[("expires", FIVE_AFTER), ("pragma", "no-cache")], &[], 0),
        (RequestDirectivesAreIgnored, &[], &[FRESH], &[("cache-control", "no-cache")], 0),
        (OnlyTheWholeIsStored, HEAD, &[FRESH], HEAD, 0),
        (PreconditionsAreTheOrigins, &[], &[FRESH], &[("if-match", "\"a\"")], 0),
        (SetCookieIsNeverStored, &[], &[("cache-control", "public, max-age=5"), ("set-cookie", "a=1")], &[], 0),
        (VaryOnAtMostEight, &[], &[FRESH, ("vary", "a, b, c, d, e, f, g, h, i")], &[], 0),
        (QuotedCommasAreData, &[], &[("cache-control", "x=\"a, max-age=60\"")], &[], 0),
        (DirectivesInAnyCase, &[], &[("cache-control", "Max-Age=5")], &[], 0),
        (ArgumentsTakePermission, AUTHORIZED, &[("cache-control", "max-age=5, public=1")], AUTHORIZED, 0),
        (BrokenMembersRestrict, &[], &[("cache-control", "max-age = 60")], &[], 0),
        (MalformedSecondsAreStale, &[], &[("cache-control", "max-age=+5")], &[], 0),
        (SmallestOfSeveral, &[], &[("cache-control", "max-age=60, max-age=5")], &[], 10_000),
        (MustUnderstandIsKnown, &[], MUST_UNDERSTAND, &[], 0),
        (DatesInAllForms, &[], &[("expires", FIVE_AFTER_AS_RFC_850)], &[], 0),
        (ConflictingExpires, &[], &[("expires", FIVE_AFTER), ("expires", "0")], &[], 0),
        // The response comes 700 ms after its second began.
        (DateOfArrival, &[], &[("expires", FIVE_AFTER)], &[], 4_500),
        (FirstAge, &[], &[FRESH, ("age", "5, 2")], &[], 0),
        (ApparentAge, &[], &[FRESH, ("date", FIVE_BEFORE)], &[], 0),
        (StaleWhileRevalidate, &[], &[("cache-control", "max-age=5, stale-while-revalidate=3")], &[], 6_000),
        (AnyFinalStatus, &[], &[FRESH, (":status", "403")], &[], 0),
        (ProxyRevalidateOnceStale, &[], &[("cache-control", "max-age=5, proxy-revalidate")], &[], 0),
        (HeadFromGet, &[], &[FRESH], HEAD, 0),
        (LinesAreCompared, &[("x-lang", "de"), ("x-lang", "en")], VARIED, &[("x-lang", "de")], 0),
        (NormalForms, &[("accept-encoding", "gzip, br")], VARIED, &[("accept-encoding", "br,gzip")], 0),
    ]
};

fn differences() -> impl Iterator<Item = Difference> {
    EXAMPLES.iter().map(|(difference, ..)| *difference)
}

const AUTHORIZED: Lines = &[("authorization", "Basic YQ==")];
const VARIED: Lines = &[FRESH, ("vary", "x-lang, accept-encoding")];

fn example(first: Lines, response: Lines, second: Lines, pause: u64) -> Case {
    let pseudo = |lines: Lines, name| lines.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let fields = |lines: Lines| -> Fields {
        let real = lines.iter().filter(|(name, _)| !name.starts_with(':'));
        real.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let request = |lines| {
        let method = pseudo(lines, ":method").unwrap_or("GET").to_owned();
        Request { method, path: "/a".to_owned(), fields: fields(lines) }
    };
    let status = pseudo(response, ":status").map_or(200, |status| status.parse().unwrap());
    let response = Response { status, fields: fields(response), body: "body".to_owned() };
    Case { first: request(first), response, arrival: START * 1000 + 700, pause, second: request(second) }
}

#[test]
fn each_known_difference_is_one_and_the_only_one_in_its_example() {
    for (difference, first, response, second, pause) in EXAMPLES {
        let case = example(first, response, second, pause);
        let here = case.is_reused_here();
        assert_ne!(case.is_reused_there(), here, "{difference:?} makes no difference");
        let mut translated = case.clone();
        difference.apply(&mut translated);
        assert_eq!(translated.is_reused_there(), here, "{difference:?} is not all that differs");
    }
}
