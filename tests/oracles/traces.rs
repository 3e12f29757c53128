//! Random traces, sent to the cache and to the model one request after the other.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use microcache::{CacheLayer, CacheStatus, Collapse, ManualClock, MemoryStore, Policy};
use proptest::{prelude::*, sample::select};
use tower::{Layer, Service, service_fn};

use crate::{
    date,
    drawn::{any_members, field},
    model::{Answer, Exchange, Model, Outcome, Question, is_for_the_origin},
    said::{Fields, Request, Response, date as date_in, has, is_tag, list, single, weakly_equal},
    wire,
};

/// One request, after a pause, and what the origin would say to it.
#[derive(Clone, Debug)]
struct Step {
    pause: u64,
    request: Request,
    origin: Template,
}

/// What the origin has at the time.
#[derive(Clone, Debug)]
struct Template {
    status: u16,
    fields: Fields,
    /// Seconds between the arrival and the `Date`.
    date: Option<i64>,
    /// Seconds between the `Date`, or the arrival, and `Expires`.
    expires: Option<i64>,
    /// Its 304 says no more than that.
    is_sloppy: bool,
    /// How long it takes, in milliseconds.
    delay: u64,
}

fn cache_control() -> impl Strategy<Value = Option<(String, String)>> {
    let members = any_members(vec![
        "max-age=2",
        "max-age=2",
        "max-age=60",
        "max-age=0",
        "s-maxage=5",
        "s-maxage=0",
        "public",
        "private",
        "no-store",
        "no-cache",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "immutable",
        "stale-while-revalidate=3",
        "stale-if-error=60",
        "stale-if-error=60",
        "Max-Age=2",
        "max-age=\"2\"",
        "private=\"x, y\"",
        "no-cache=\"set-cookie\"",
        "max-age=x",
        "max-age",
        "max-age=-1",
        "max-age = 60",
        "no-store; max-age=60",
        "must-revalidate=1",
        "must-understand=1",
        "public=1",
        "s-maxage=x",
        "x=\"no-store\"",
        "x=\"max-age=60, no-cache",
        "stale-while-revalidate=x",
        "unknown",
    ]);
    let line = prop_oneof![3 => members, 2 => Just("max-age=2".to_owned()), 1 => Just(HIDDEN.to_owned())];
    prop::option::weighted(0.75, line.prop_map(|line| ("cache-control".to_owned(), line)))
}

/// What an origin may say.
fn any_template() -> impl Strategy<Value = Template> {
    let status = select(vec![200, 200, 200, 200, 200, 200, 200, 204, 206, 299, 301, 302, 304, 404, 429, 500, 503, 511]);
    let fields = (
        cache_control(),
        field(
            "cdn-cache-control",
            vec!["", "", "", "", "", "", "max-age=5", "no-store", "max-age=5, =", "private", "x"],
        ),
        field(
            "vary",
            vec![
                "",
                "",
                "x-lang",
                "x-lang",
                "X-Lang, x-size",
                "x-size",
                "x-lang, cookie",
                "*",
                "a, b, c, d, e, f, g, h, i",
            ],
        ),
        field("etag", vec!["", "\"a\"", "\"a\"", "\"b\"", "W/\"a\"", "a"]),
        field("last-modified", vec!["", "", LONG_AGO, LATER, "0"]),
        field("age", vec!["", "", "", "", "1", "x", "1, 5", "-1"]),
        field("set-cookie", vec!["", "", "", "", "", "", "", "a=1"]),
        field("location", vec!["", "", "", "/b", "http://shop.example/b", "http://other.example/b"]),
    );
    let fields = fields.prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].into_iter().flatten().collect());
    let date = select(vec![None, None, Some(0), Some(0), Some(-1), Some(5)]);
    let expires = select(vec![None, None, None, Some(2), Some(60), Some(-2)]);
    let delay = select(vec![0, 0, 0, 0, 0, 1_500]);
    (status, fields, date, expires, prop::bool::weighted(0.2), delay).prop_map(
        |(status, fields, date, expires, is_sloppy, delay)| Template {
            status,
            fields,
            date,
            expires,
            is_sloppy,
            delay,
        },
    )
}

/// What origins say most: little, so that what one response says meets what another did.
fn plain_template() -> impl Strategy<Value = Template> {
    let control = vec![
        "",
        "max-age=2",
        "max-age=2",
        "max-age=60",
        "no-cache",
        "private",
        "max-age=0, stale-if-error=60",
        "max-age=0, stale-while-revalidate=60",
        "max-age=0, must-revalidate, stale-if-error=60",
    ];
    let fields = (
        field("cache-control", control),
        field("vary", vec!["", "x-lang", "x-lang"]),
        field("etag", vec!["", "", "\"a\"", "\"a\"", "\"b\"", "W/\"a\"", "a"]),
        field("last-modified", vec!["", "", "", LONG_AGO, LATER]),
        field("age", vec!["", "", "", "", "1"]),
        field("location", vec!["", "/b"]),
    );
    let fields = fields.prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f].into_iter().flatten().collect());
    let status = select(vec![200, 200, 200, 200, 200, 200, 200, 304, 503, 503]);
    let (date, delay) = (select(vec![0, 0, 0, -5]), select(vec![0, 0, 0, 0, 1_500]));
    (status, fields, date, delay).prop_map(|(status, fields, date, delay)| Template {
        status,
        fields,
        date: Some(date),
        expires: None,
        is_sloppy: false,
        delay,
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let method = select(vec!["GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "POST", "PUT", "OPTIONS"]);
    let fields = (
        field("x-lang", vec!["", "", "de", "en", "fr"]),
        field("x-size", vec!["", "", "", "1"]),
        field("authorization", vec!["", "", "", "Basic YQ=="]),
        field("cookie", vec!["", "", "", "", "", "a=1"]),
        field("if-none-match", vec!["", "", "", "", "", "", "\"a\"", "W/\"b\"", "\"c\", \"b\"", "*"]),
        field("if-modified-since", vec!["", "", "", "", "", LONG_AGO, LATER, SOON, "0"]),
        field("range", vec!["", "", "", "", "", "", "", "bytes=0-1", "bytes=9-"]),
        field("cache-control", vec!["", "", "", "", "no-cache", "no-store", "max-age=0", "max-stale"]),
        field("if-match", vec!["", "", "", "", "", "", "", "", "", "", "", "", "\"a\""]),
    );
    let fields =
        fields.prop_map(|(a, b, c, d, e, f, g, h, i)| [a, b, c, d, e, f, g, h, i].into_iter().flatten().collect());
    (method, fields).prop_map(|(method, fields)| with_target(method, fields))
}

fn plain_request() -> impl Strategy<Value = Request> {
    let method = select(vec!["GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "POST"]);
    let fields = (field("x-lang", vec!["de", "en", "fr"]), field("cookie", vec!["", "", "", "a=1"]));
    let fields = fields.prop_map(|(a, b)| [a, b].into_iter().flatten().collect());
    (method, fields).prop_map(|(method, fields)| with_target(method, fields))
}

fn with_target(method: &str, mut fields: Fields) -> Request {
    fields.insert(0, ("host".to_owned(), "shop.example".to_owned()));
    Request { method: method.to_owned(), path: "/a".to_owned(), fields }
}

/// Mostly plain exchanges, or exchanges of all kinds.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = prop::collection::vec(step(any_request(), any_template()).boxed(), 1..16);
    let plain = prop_oneof![
        5 => step(plain_request(), plain_template()),
        1 => step(any_request(), any_template()),
    ];
    prop_oneof![any, prop::collection::vec(plain.boxed(), 1..24)]
}

fn step(
    request: impl Strategy<Value = Request> + 'static,
    origin: impl Strategy<Value = Template> + 'static,
) -> impl Strategy<Value = Step> {
    let pause = select(vec![0, 1, 1, 1, 400, 999, 1_000, 1_001, 2_000, 2_000, 3_000, 6_000, 60_000, 3_700_000]);
    let path = select(vec!["/a", "/a", "/b"]);
    (pause, path, request, origin).prop_map(|(pause, path, mut request, origin)| {
        request.path = path.to_owned();
        Step { pause, request, origin }
    })
}

const CASES: u32 = 900;
/// A quote that hides what follows, if anything does.
const HIDDEN: &str = "must-understand, s-maxage=60, x=\"a";
const LONG_AGO: &str = "Sun, 13 Sep 2020 10:00:00 GMT";
/// Some seconds after the clock starts.
const SOON: &str = "Sun, 13 Sep 2020 12:26:45 GMT";
const LATER: &str = "Sunday, 13-Sep-20 11:00:00 GMT";

/// The origin, and all that it saw.
struct Origin {
    clock: ManualClock,
    number: usize,
    template: Option<Template>,
    seen: Vec<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    request: Request,
    response: Response,
    request_time: u64,
    response_time: u64,
}

impl Origin {
    fn reply(&mut self, request: Request) -> Seen {
        let template = self.template.clone().unwrap();
        let request_time = wire::millis(&self.clock);
        self.clock.advance(Duration::from_millis(template.delay));
        let response_time = wire::millis(&self.clock);
        let response = template.response(&request, self.number, response_time / 1000);
        let seen = Seen { request, response, request_time, response_time };
        self.seen.push(seen.clone());
        seen
    }
}

impl Template {
    /// RFC 9110 §13.2.2: 304 where the condition says that the client has it.
    fn response(&self, request: &Request, number: usize, now: u64) -> Response {
        let Self { status, mut fields, .. } = self.clone();
        let date = self.date.map(|offset| now.saturating_add_signed(offset));
        fields.extend(date.map(|date| ("date".to_owned(), date::write(date))));
        let expires = self.expires.map(|offset| date.unwrap_or(now).saturating_add_signed(offset));
        fields.extend(expires.map(|expires| {
            let text = match number % 4 {
                0 => date::write_rfc_850(expires),
                1 => date::write_asctime(expires),
                2 => "0".to_owned(),
                _ => date::write(expires),
            };
            ("expires".to_owned(), text)
        }));
        fields.push(("x-news".to_owned(), number.to_string()));
        let is_safe = ["GET", "HEAD"].contains(&request.method.as_str());
        if status == 304 || is_safe && (200..300).contains(&status) && is_current(&fields, &request.fields) {
            if self.is_sloppy {
                fields.retain(|(name, _)| name != "etag" && name != "last-modified");
            }
            return Response { status: 304, fields, body: String::new() };
        }
        fields.push(("x-body".to_owned(), number.to_string()));
        let body = if request.method == "HEAD" { String::new() } else { format!("{number:02}-{number:02}") };
        Response { status, fields, body }
    }
}

/// Whether the condition of a request names what the origin has.
fn is_current(own: &Fields, request: &Fields) -> bool {
    if has(request, "if-none-match") {
        let own = single(own, "etag").unwrap_or_default();
        return list(request, "if-none-match")
            .iter()
            .any(|tag| tag == "*" || is_tag(tag) && is_tag(own) && weakly_equal(tag, own));
    }
    let (since, modified) = (date_in(request, "if-modified-since"), date_in(own, "last-modified"));
    since.is_some() && modified.is_some() && modified <= since
}

/// What the client got.
struct Got {
    answer: Answer,
    status: Option<CacheStatus>,
}

/// Sends the steps one after the other, and holds each answer against the model's.
async fn play(policy: Policy, default_freshness: Option<u64>, steps: &[Step]) {
    let clock = ManualClock::new();
    let store = MemoryStore::with_max_bytes(1 << 20);
    let layer = CacheLayer::builder(store).policy(policy).clock(clock.clone()).build().unwrap();
    let origin = Arc::new(Mutex::new(Origin { clock: clock.clone(), number: 0, template: None, seen: Vec::new() }));
    let shared = Arc::clone(&origin);
    let mut cache = layer.layer(service_fn(move |request: http::Request<Empty<Bytes>>| {
        let seen = shared.lock().unwrap().reply(wire::read_request(&request));
        async move {
            // The timers keep step with the clock.
            tokio::time::advance(Duration::from_millis(seen.response_time - seen.request_time)).await;
            Ok::<_, Infallible>(wire::response(&seen.response))
        }
    }));
    let mut model = Model::new(default_freshness);
    for (number, step) in steps.iter().enumerate() {
        clock.advance(Duration::from_millis(step.pause));
        tokio::time::advance(Duration::from_millis(step.pause)).await;
        {
            let mut origin = origin.lock().unwrap();
            (origin.number, origin.template) = (number, Some(step.origin.clone()));
        }
        let now = wire::millis(&clock);
        let response = cache.call(wire::request(&step.request)).await.unwrap();
        let status = CacheStatus::of(&response);
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let fields = wire::read_fields(&head.headers);
        // RFC 9110 §8.6.
        assert!(head.status != 204 || !has(&fields, "content-length"), "step {number}: a 204 has no length");
        let age = single(&fields, "age").and_then(|age| age.parse().ok());
        let mark = |name| single(&fields, name).unwrap_or_default().to_owned();
        let marks = (mark("x-body"), mark("x-news"));
        let got = Got { answer: Answer { status: head.status.as_u16(), body, age, marks }, status };
        // What is refreshed meanwhile is there before the next request.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let seen = std::mem::take(&mut origin.lock().unwrap().seen);
        check(&mut model, &step.request, now, &got, &seen, number);
    }
}

/// Holds what the cache did with one request against what the model does.
fn check(model: &mut Model, request: &Request, now: u64, got: &Got, seen: &[Seen], number: usize) {
    let is_hit = got.status.is_some_and(|status| status.is_hit());
    let served = if is_for_the_origin(request) { None } else { model.served(request, now) };
    let Some((answer, is_refreshed)) = served else {
        assert!(!is_hit, "step {number}: served what may not be reused, {:?}", got.answer);
        assert_eq!(seen.len(), 1, "step {number}: one request, one forward");
        let outcome = forwarded(model, request, &seen[0], number, Model::receive);
        return compare(outcome, got, number);
    };
    assert!(is_hit, "step {number}: forwarded needlessly, {answer:?} may be reused");
    assert_eq!(got.answer, answer, "step {number}: what is served from the store");
    assert_eq!(seen.len(), usize::from(is_refreshed), "step {number}: what is stale is refreshed, and nothing else");
    for seen in seen {
        forwarded(model, request, seen, number, Model::refreshed);
    }
}

/// Checks what the origin was asked, and tells the model what it said.
fn forwarded(
    model: &mut Model,
    request: &Request,
    seen: &Seen,
    number: usize,
    take: fn(&mut Model, &Exchange<'_>) -> Outcome,
) -> Outcome {
    let Seen { request: forwarded, response, request_time, response_time } = seen;
    let fields = &forwarded.fields;
    let tags = list(fields, "if-none-match").into_iter().collect();
    let asked = Question { tags, date: single(fields, "if-modified-since").map(str::to_owned) };
    let own = if is_for_the_origin(request) { None } else { model.question(request, *request_time) };
    match own {
        Some(question) => assert_eq!(asked, question, "step {number}: what the origin is asked to confirm"),
        // Whole, or as the client asked.
        None if asked == Question::default() => {}
        None => assert_eq!(forwarded, request, "step {number}: nothing is stored that could be confirmed"),
    }
    let (request_time, response_time) = (*request_time, *response_time);
    take(model, &Exchange { request, forwarded, response, request_time, response_time })
}

/// Holds what the client got of a forward against the model.
fn compare(outcome: Outcome, got: &Got, number: usize) {
    match outcome {
        Outcome::Passed => assert_eq!(got.answer.marks.1, number.to_string(), "step {number}: the origin's own"),
        Outcome::Contradicted => {
            let detail = got.status.and_then(|status| status.detail());
            assert_eq!((got.answer.status, detail), (502, Some("not-asked")), "step {number}");
        }
        Outcome::Stale(answer) => {
            assert_eq!(got.status.and_then(|status| status.detail()), Some("stale-if-error"), "step {number}");
            assert_eq!(got.answer, answer, "step {number}: stale, since the origin failed");
        }
        // §5.1: `Age` is for what was not validated just now.
        Outcome::Confirmed(answer) => {
            let got = Answer { age: answer.age, ..got.answer.clone() };
            assert_eq!(got, answer, "step {number}: what the origin has confirmed");
        }
    }
}

fn run(collapse: Collapse, default_freshness: bool, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let policy = Policy::new().collapse(collapse);
    let (policy, freshness) = match default_freshness {
        true => (policy, Some(1_000)),
        false => (policy.without_default_freshness(), None),
    };
    runtime.block_on(play(policy, freshness, steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cache_that_does_not_collapse_does_as_the_model(
        steps in steps(), default_freshness in any::<bool>(),
    ) {
        run(Collapse::off(), default_freshness, &steps);
    }

    #[test]
    fn a_cache_with_the_defaults_does_as_the_model(
        steps in steps(), default_freshness in any::<bool>(),
    ) {
        run(Collapse::new(), default_freshness, &steps);
    }
}

/// Random traces seldom get there.
#[test]
fn of_several_variants_with_one_tag_the_one_with_the_latest_date_is_confirmed() {
    let fields = |lines: &[(&str, &str)]| -> Fields {
        lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let step = |request: &[(&str, &str)], date| Step {
        pause: 1,
        request: with_target("GET", fields(request)),
        origin: Template {
            status: 200,
            fields: fields(&[("cache-control", "max-age=60"), ("vary", "x-lang"), ("etag", "\"a\"")]),
            date: Some(date),
            expires: None,
            is_sloppy: false,
            delay: 0,
        },
    };
    for date in [0, -5] {
        // The second is not asked to confirm the first, since it has a cookie.
        let steps = [
            step(&[("x-lang", "de")], 0),
            step(&[("x-lang", "en"), ("cookie", "a=1")], date),
            step(&[("x-lang", "fr")], 0),
        ];
        run(Collapse::off(), true, &steps);
    }
}
