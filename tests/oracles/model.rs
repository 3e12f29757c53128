//! A shared cache as RFC 9111 §3 and §4 have it: the text of the standard above the lines that do what it says.
//!
//! It shares no code with the crate, looks nothing up twice, and is as slow as it is plain. Where the cache is known to
//! do less than the standard allows, or to go by another word, a [`Rule`] says so. Times are milliseconds since 1970.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    date,
    said::{
        Directives, Fields, Request, Response, date as date_in, delta_seconds, has, is_tag, is_weak, lines, list,
        single, tag, vary, weakly_equal,
    },
};

/// Where the cache deviates from the most that the standard allows, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// §7.3 leaves it to the origin to forbid that cookies are shared. Here they never are.
    SetCookieIsNeverStored,
    /// §3.3 and §4.3.4: parts are not joined, and a 304 is no response of its own.
    PartsAreNotStored,
    /// §4.1: a response that varies on more than eight fields, or on what is no field, is for one request alone.
    VaryOnAtMostEight,
    /// What the origin gave no explicit freshness is neither stored for requests with cookies or credentials, nor used
    /// to answer them.
    GuessesAreForStrangers,
    /// A response that is stale when it comes, may not be served stale, and can not be validated is not stored.
    CanNotBeValidated,
    /// Nor is any other that is neither fresh nor to be validated nor allowed to be served stale.
    OfNoUse,
    /// 5xx are stored only while they are fresh.
    FailuresOnlyWhileFresh,
    /// What answers a part or a condition of the client, sent as it came, is not stored.
    OnlyTheWholeIsStored,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum No {
    Standard(&'static str),
    /// §3: "the Authorization header field is not present in the request".
    Authorization,
    Rule(Rule),
}

impl No {
    /// It lies in the request, and says nothing of what is stored for others.
    fn is_of_request(self) -> bool {
        matches!(self, Self::Authorization | Self::Rule(Rule::GuessesAreForStrangers))
    }
}

/// A stored response.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    path: String,
    /// The request that it answered.
    request: Fields,
    response: Response,
    request_time: u64,
    response_time: u64,
    /// The fields by which it is told apart from others under its URI: those of its `Vary`, and those of the responses
    /// before it. The standard would find it by its own `Vary` alone.
    told_apart_by: BTreeSet<String>,
    /// The cache knows that it is there when another variant is asked for.
    is_listed: bool,
}

/// The requests for which one refresh is enough: a path, the fields by which the responses under it are told apart, and
/// whether there are credentials.
type Flight = (String, BTreeMap<String, Vec<String>>, bool);

/// What a 304 confirms (§4.3.4).
enum Confirmed {
    /// This, and with what it says the stored response is updated.
    News(Stored),
    /// This, as it is.
    NoNews(Stored),
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// What is fresh for so long without a word of the origin, if anything (§4.2.2).
    pub(crate) default_freshness: Option<u64>,
    stored: Vec<Stored>,
    /// By which fields the responses under a URI are told apart. None: nothing is found there.
    told_apart: BTreeMap<String, BTreeSet<String>>,
    /// Until when there is no further refresh.
    paused: BTreeMap<Flight, u64>,
    /// Until when other variants under a URI are not asked about.
    distrusted: BTreeMap<String, u64>,
    /// The last exchange has left something in the store.
    has_stored: bool,
}

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// In seconds.
    pub(crate) age: Option<u64>,
    /// `x-body` and `x-news`, which tell the origin's responses apart.
    pub(crate) marks: (String, String),
}

/// What the origin is asked to confirm (§4.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Question {
    /// In `If-None-Match`.
    pub(crate) tags: BTreeSet<String>,
    /// In `If-Modified-Since`.
    pub(crate) date: Option<String>,
}

/// A request that went to the origin, and what came back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    /// As the client sent it.
    pub(crate) request: &'a Request,
    /// As the origin saw it.
    pub(crate) forwarded: &'a Request,
    pub(crate) response: &'a Response,
    pub(crate) request_time: u64,
    pub(crate) response_time: u64,
}

/// What becomes of the origin's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client gets it.
    Passed,
    /// The client gets what it confirms.
    Confirmed(Answer),
    /// The client gets what is stale, since it is an error (RFC 5861 §4).
    Stale(Answer),
    /// It confirms what nobody asked about: 502.
    Contradicted,
}

/// Requests that are not for a cache: all methods but two (§3, §4), and preconditions that only the origin can judge
/// (RFC 9110 §13.1).
pub(crate) fn is_for_the_origin(request: &Request) -> bool {
    !["GET", "HEAD"].contains(&request.method.as_str())
        || has(&request.fields, "if-match")
        || has(&request.fields, "if-unmodified-since")
}

impl Stored {
    fn directives(&self) -> Directives {
        Directives::of(&self.response.fields)
    }

    /// §4.2.1: the first of `s-maxage`, `max-age`, and `Expires` minus `Date`.
    fn explicit_freshness_lifetime(&self) -> Option<u64> {
        let (fields, directives) = (&self.response.fields, self.directives());
        if let Some(seconds) = directives.seconds("s-maxage").or(directives.seconds("max-age")) {
            return Some(seconds * 1000);
        }
        if !has(fields, "expires") || directives.is_targeted {
            return None;
        }
        // §5.3: what is no date, "0" before all, is in the past. So are dates that differ (§4.2.1).
        let Some(expires) = date_in(fields, "expires") else { return Some(0) };
        Some(expires.saturating_sub(self.date_value()) * 1000)
    }

    /// §4.2.2: the cache's own lifetime, for what the origin gave none.
    fn own_freshness_lifetime(&self, default: Option<u64>) -> Option<u64> {
        default.filter(|_| self.response.status == 200 && self.explicit_freshness_lifetime().is_none())
    }

    fn freshness_lifetime(&self, default: Option<u64>) -> u64 {
        self.explicit_freshness_lifetime().or(self.own_freshness_lifetime(default)).unwrap_or(0)
    }

    /// RFC 9110 §6.6.1: a response without `Date` is of the second of its arrival.
    fn date_value(&self) -> u64 {
        date_in(&self.response.fields, "date").unwrap_or(self.response_time / 1000)
    }

    /// §4.2.3, in the names of the standard.
    fn current_age(&self, now: u64) -> u64 {
        // "apparent_age = max(0, response_time - date_value);", in whole seconds as `Date` is.
        let apparent_age = (self.response_time / 1000).saturating_sub(self.date_value()) * 1000;
        // "response_delay = response_time - request_time;"
        let response_delay = self.response_time - self.request_time;
        // "corrected_age_value = age_value + response_delay;"
        let corrected_age_value = self.age_value() + response_delay;
        // "corrected_initial_age = max(apparent_age, corrected_age_value);"
        let corrected_initial_age = apparent_age.max(corrected_age_value);
        // "resident_time = now - response_time; current_age = corrected_initial_age + resident_time;"
        corrected_initial_age + (now - self.response_time)
    }

    /// §5.1: of several the first, and nothing where it is no number.
    fn age_value(&self) -> u64 {
        let first = list(&self.response.fields, "age").into_iter().next();
        first.and_then(|value| delta_seconds(&value)).unwrap_or(0) * 1000
    }

    /// What is compared with the lifetime. A lifetime of the cache's own counts from arrival (§4.2.2 leaves it to the
    /// cache), so that a slow origin is cached at all.
    fn age_for_freshness(&self, default: Option<u64>, now: u64) -> u64 {
        match self.own_freshness_lifetime(default) {
            None => self.current_age(now),
            Some(_) => {
                let from_arrival = Self { request_time: self.response_time, ..self.clone() };
                from_arrival.current_age(now)
            }
        }
    }

    /// §4.2: "response_is_fresh = (freshness_lifetime > current_age)".
    fn is_fresh(&self, default: Option<u64>, now: u64) -> bool {
        self.freshness_lifetime(default) > self.age_for_freshness(default, now)
    }

    /// §4.2.4 and RFC 5861: it may be served stale for a while, by this directive of the origin.
    fn is_allowed_stale(&self, directive: &str, default: Option<u64>, now: u64) -> bool {
        let directives = self.directives();
        let stale_for = self.age_for_freshness(default, now).saturating_sub(self.freshness_lifetime(default));
        !directives.forbids_stale() && stale_for < directives.seconds(directive).unwrap_or(0) * 1000
    }

    /// §4.3.1: something that the origin can compare.
    fn has_validator(&self) -> bool {
        tag(&self.response.fields).is_some() || date_in(&self.response.fields, "last-modified").is_some()
    }

    /// [`Rule::GuessesAreForStrangers`].
    fn is_for(&self, request: &Fields) -> bool {
        self.explicit_freshness_lifetime().is_some() || !has_credentials(request)
    }

    /// For how long, from its arrival, it can be served: fresh, or stale where the origin allows it.
    fn servable_for(&self, default: Option<u64>) -> u64 {
        let directives = self.directives();
        let window = |name| if directives.forbids_stale() { 0 } else { directives.seconds(name).unwrap_or(0) * 1000 };
        self.remaining(default) + window("stale-while-revalidate").max(window("stale-if-error"))
    }

    /// What is left of its lifetime when it comes. With `no-cache` that is nothing (§5.2.2.4).
    fn remaining(&self, default: Option<u64>) -> u64 {
        let lifetime = if self.directives().has("no-cache") { 0 } else { self.freshness_lifetime(default) };
        lifetime.saturating_sub(self.age_for_freshness(default, self.response_time))
    }

    /// It can neither be served nor be validated.
    fn is_of_no_use(&self, default: Option<u64>) -> bool {
        self.servable_for(default) == 0 && !self.has_validator()
    }

    /// Whether a request finds it where it is kept.
    fn is_at(&self, told_apart_by: &BTreeSet<String>, request: &Fields) -> bool {
        self.told_apart_by == *told_apart_by && matches(told_apart_by, &self.request, request)
    }

    fn answer(&self, request: &Request, now: u64) -> Answer {
        let mark = |name| single(&self.response.fields, name).unwrap_or_default().to_owned();
        let (status, body) = cut(&self.response, request);
        // §5.1. A 416 is the cache's own, made now.
        let age = (status != 416).then_some(self.current_age(now) / 1000);
        Answer { status, body, age, marks: (mark("x-body"), mark("x-news")) }
    }
}

/// What is sent of a whole response for what was asked: nothing of it for HEAD, 304 if the client has it (§4.3.2), the
/// bytes of a range (RFC 9110 §14).
fn cut(response: &Response, request: &Request) -> (u16, String) {
    if (200..300).contains(&response.status) && has_it(&request.fields, &response.fields) {
        return (304, String::new());
    }
    match single(&request.fields, "range") {
        _ if request.method == "HEAD" => (response.status, String::new()),
        Some("bytes=0-1") if response.status == 200 => (206, response.body[..2].to_owned()),
        Some("bytes=9-") if response.status == 200 => (416, String::new()),
        _ => (response.status, response.body.clone()),
    }
}

/// §4.3.2: the client's own condition, with `If-None-Match` before `If-Modified-Since` (RFC 9110 §13.2.2).
fn has_it(request: &Fields, stored: &Fields) -> bool {
    if has(request, "if-none-match") {
        let asked = list(request, "if-none-match");
        let is_named = |own: &str| asked.iter().any(|tag| is_tag(tag) && weakly_equal(tag, own));
        return asked == ["*"] || tag(stored).is_some_and(is_named);
    }
    // "When a request contains an If-Modified-Since header field and the Last-Modified header field is not present in
    // the stored response, a cache SHOULD use the stored response's Date field value".
    let modified = if has(stored, "last-modified") { "last-modified" } else { "date" };
    match (date_in(request, "if-modified-since"), date_in(stored, modified)) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// §4.1: the nominated fields are the same in both requests, or in neither.
fn matches(nominated: &BTreeSet<String>, one: &Fields, other: &Fields) -> bool {
    nominated.iter().all(|name| lines(one, name) == lines(other, name))
}

fn has_credentials(request: &Fields) -> bool {
    has(request, "authorization") || has(request, "cookie")
}

impl Model {
    pub(crate) fn new(default_freshness: Option<u64>) -> Self {
        let (stored, told_apart, paused, distrusted, has_stored) = Default::default();
        Self { default_freshness, stored, told_apart, paused, distrusted, has_stored }
    }

    /// What is stored for a request, fresh or not: "the presented target URI and that of the stored response match",
    /// and "request header fields nominated by the stored response (if any) match those presented" (§4).
    ///
    /// Where the standard lets several match and asks for the most recent, the cache keeps only that.
    fn found(&self, request: &Request) -> Option<&Stored> {
        let told_apart_by = self.told_apart.get(&request.path)?;
        let mut found = self.stored.iter().filter(|stored| {
            stored.path == request.path
                && stored.is_at(told_apart_by, &request.fields)
                && matches(&vary(&stored.response.fields), &stored.request, &request.fields)
        });
        let one = found.next();
        assert!(found.next().is_none(), "one place, one response");
        one
    }

    /// §4: what is served without asking, and whether it is refreshed meanwhile.
    pub(crate) fn served(&self, request: &Request, now: u64) -> Option<(Answer, bool)> {
        let stored = self.found(request).filter(|stored| stored.is_for(&request.fields))?;
        // "the stored response does not contain the no-cache directive (Section 5.2.2.4), unless it is successfully
        // validated"
        if stored.directives().has("no-cache") {
            return None;
        }
        // "the stored response is one of the following: fresh, allowed to be served stale, or successfully validated"
        let is_fresh = stored.is_fresh(self.default_freshness, now);
        let is_allowed = stored.is_allowed_stale("stale-while-revalidate", self.default_freshness, now);
        let is_paused = self.paused.get(&self.flight(request)).is_some_and(|until| now < *until);
        (is_fresh || is_allowed).then(|| (stored.answer(request, now), !is_fresh && !is_paused))
    }

    fn flight(&self, request: &Request) -> Flight {
        let names = self.told_apart.get(&request.path).into_iter().flatten();
        let said = |name: &String| lines(&request.fields, name).into_iter().map(str::to_owned).collect();
        let told_apart = names.map(|name| (name.clone(), said(name))).collect();
        (request.path.clone(), told_apart, has_credentials(&request.fields))
    }

    /// A refresh of what was served stale. RFC 5861 §3: "the cache SHOULD attempt to revalidate it while still serving
    /// stale responses".
    ///
    /// Rule: after an attempt that left nothing in the store there is none for a second.
    pub(crate) fn refreshed(&mut self, exchange: &Exchange<'_>) -> Outcome {
        let flight = self.flight(exchange.request);
        let outcome = self.receive(exchange);
        if !self.has_stored {
            self.paused.insert(flight, exchange.response_time + 1_000);
        }
        outcome
    }

    /// §4.3.1: what the origin is asked to confirm, if anything is there that it could.
    pub(crate) fn question(&self, request: &Request, now: u64) -> Option<Question> {
        let Some(own) = self.validatable(request) else {
            let others = self.others(request, now);
            let tags = others.iter().filter_map(|other| tag(&other.response.fields)).map(str::to_owned).collect();
            return (!others.is_empty()).then_some(Question { tags, date: None });
        };
        let fields = &own.response.fields;
        // "MUST send the relevant entity tags [...] if the entity tags were provided in the stored response(s) being
        // validated." What is stored for the request is, and nothing else.
        let tags = tag(fields).into_iter().map(str::to_owned).collect();
        // "SHOULD send the Last-Modified value [...] if [...] that response contains a Last-Modified value."
        let date = date_in(fields, "last-modified").and_then(|_| single(fields, "last-modified"));
        Some(Question { tags, date: date.map(str::to_owned) })
    }

    fn validatable(&self, request: &Request) -> Option<&Stored> {
        self.found(request).filter(|stored| stored.has_validator() && stored.is_for(&request.fields))
    }

    /// §4.1: where "no stored response matches [...] the request is forwarded to the origin server, potentially with
    /// preconditions added to describe what responses the cache has already stored".
    ///
    /// Rule: of the others only those that may still be served, and that have a strong tag: a weak one may be that of
    /// other codings too (RFC 9110 §8.8.3.3). And none at all where credentials are in play, in the request or in what
    /// tells the responses apart.
    fn others(&self, request: &Request, now: u64) -> Vec<&Stored> {
        let Some(told_apart_by) = self.told_apart.get(&request.path) else { return Vec::new() };
        let is_personal = ["cookie", "authorization"].iter().any(|name| told_apart_by.contains(*name));
        let is_distrusted = self.distrusted.get(&request.path).is_some_and(|until| now < *until);
        if is_personal || is_distrusted || has_credentials(&request.fields) {
            return Vec::new();
        }
        let is_other = |stored: &&Stored| {
            stored.is_listed
                && stored.path == request.path
                && !stored.is_at(told_apart_by, &request.fields)
                && tag(&stored.response.fields).is_some_and(|tag| !is_weak(tag))
                && now < stored.response_time + stored.servable_for(self.default_freshness)
        };
        self.stored.iter().filter(is_other).collect()
    }

    /// What the origin's response does to the cache, and what the client gets.
    pub(crate) fn receive(&mut self, exchange: &Exchange<'_>) -> Outcome {
        let Exchange { request, forwarded, response, .. } = *exchange;
        self.has_stored = false;
        if is_for_the_origin(request) {
            self.invalidate(exchange);
            return Outcome::Passed;
        }
        let question = self.question(request, exchange.request_time);
        if question.is_some() && response.status == 304 {
            return self.not_modified(exchange);
        }
        if [500, 502, 503, 504].contains(&response.status)
            && let Some(answer) = self.stale_if_error(request, exchange.response_time)
        {
            return Outcome::Stale(answer);
        }
        if forwarded.method == "HEAD" && response.status == 200 {
            self.head(exchange);
        }
        // The cache's own condition is none whose answer the client could get.
        let is_whole = forwarded.method == "GET" && (question.is_some() || !asks_for_less(&forwarded.fields));
        let stored = self.newly_stored(exchange, response.clone());
        let verdict = self.may_store(&stored, &request.fields);
        let verdict = if is_whole { verdict } else { Err(No::Rule(Rule::OnlyTheWholeIsStored)) };
        if verdict.is_ok() {
            self.keep(stored);
        }
        Outcome::Passed
    }

    /// §3: whether a response may be stored.
    fn may_store(&self, stored: &Stored, request: &Fields) -> Result<(), No> {
        let Response { status, fields, .. } = &stored.response;
        let directives = stored.directives();
        let no = |text| Err(No::Standard(text));
        // "if the response status code is 206 or 304 [...]: the cache understands the response status code;"
        if [206, 304].contains(status) {
            return Err(No::Rule(Rule::PartsAreNotStored));
        }
        // RFC 6585 §3 to §6: "Responses with the 428 status code MUST NOT be stored by a cache", and so on.
        if [428, 429, 431, 511].contains(status) {
            return no("status");
        }
        // "or the must-understand cache directive [...] is present: the cache understands the response status code;"
        let is_understood = [200, 204, 301, 302, 404, 410, 500, 503].contains(status);
        if directives.has_bare("must-understand") && !is_understood {
            return no("must-understand");
        }
        // "the no-store cache directive is not present in the response", which §5.2.2.3 says to ignore next to
        // `must-understand`.
        if directives.has("no-store") && !directives.has_bare("must-understand") {
            return no("no-store");
        }
        // Rule: broken quotes may hide anything, and an unclear `must-understand` is as good as `no-store`.
        if directives.is_unclear() {
            return no("unclear");
        }
        // "if the cache is shared: the private response directive is either not present or allows a shared cache to
        // store a modified response", which this one takes for the same.
        if directives.has("private") {
            return no("private");
        }
        // "if the cache is shared: the Authorization header field is not present in the request [...] or a response
        // directive is present that explicitly allows shared caching (see Section 3.5)".
        let allows_sharing = directives.has_bare("must-revalidate")
            || directives.has_bare("public")
            || directives.is_well_formed("s-maxage");
        if has(request, "authorization") && !allows_sharing {
            return Err(No::Authorization);
        }
        // "the response contains at least one of the following: a public response directive; [...] an Expires header
        // field; a max-age response directive; if the cache is shared: an s-maxage response directive; [...] or a
        // status code that is defined as heuristically cacheable."
        let is_heuristic = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(status);
        let has_lifetime = directives.has("max-age") || directives.has("s-maxage");
        let expires = has(fields, "expires") && !directives.is_targeted;
        if !(directives.has_bare("public") || expires || has_lifetime || is_heuristic) {
            return no("freshness");
        }
        self.rules_of_storing(stored, request).map_or(Ok(()), |rule| Err(No::Rule(rule)))
    }

    /// The rules by which the cache stores less than it may.
    fn rules_of_storing(&self, stored: &Stored, request: &Fields) -> Option<Rule> {
        let Response { status, fields, .. } = &stored.response;
        let now = stored.response_time;
        // §4.1: "A stored response with a Vary header field value containing a member "*" always fails to match."
        let nominated = vary(fields);
        let may_remain_fresh = stored.is_fresh(self.default_freshness, now) && !stored.directives().has("no-cache");
        if has(fields, "set-cookie") {
            Some(Rule::SetCookieIsNeverStored)
        } else if nominated.len() > 8 || nominated.contains("*") {
            Some(Rule::VaryOnAtMostEight)
        } else if !stored.is_for(request) {
            Some(Rule::GuessesAreForStrangers)
        } else if *status >= 500 && !may_remain_fresh {
            Some(Rule::FailuresOnlyWhileFresh)
        } else if !may_remain_fresh && stored.directives().forbids_stale() && !stored.has_validator() {
            Some(Rule::CanNotBeValidated)
        } else if stored.is_of_no_use(self.default_freshness) {
            Some(Rule::OfNoUse)
        } else {
            None
        }
    }

    fn newly_stored(&self, exchange: &Exchange<'_>, mut response: Response) -> Stored {
        let Exchange { forwarded, request_time, response_time, .. } = *exchange;
        // RFC 9110 §6.6.1: a `Date` that is missing is added.
        if date_in(&response.fields, "date").is_none() {
            response.fields.retain(|(name, _)| name != "date");
            response.fields.push(("date".to_owned(), date::write(response_time / 1000)));
        }
        let (path, request) = (forwarded.path.clone(), forwarded.fields.clone());
        let told_apart_by = vary(&response.fields);
        Stored { path, request, response, request_time, response_time, told_apart_by, is_listed: false }
    }

    /// Stores. What was stored for the same request goes; so does, for each of the two, a response with `Vary` next to
    /// one without (§4: "the most recent").
    fn keep(&mut self, mut stored: Stored) {
        let path = stored.path.clone();
        let is_varied = !stored.told_apart_by.is_empty();
        if is_varied {
            stored.told_apart_by.extend(self.told_apart.get(&path).cloned().unwrap_or_default());
            stored.is_listed = true;
        } else {
            self.unlist(&path);
        }
        self.stored.retain(|other| {
            other.path != path
                || !other.is_at(&stored.told_apart_by, &stored.request)
                    && (other.told_apart_by.is_empty() == stored.told_apart_by.is_empty() || !is_varied)
        });
        self.told_apart.insert(path, stored.told_apart_by.clone());
        self.stored.push(stored);
        self.has_stored = true;
    }

    fn unlist(&mut self, path: &str) {
        self.stored.iter_mut().filter(|stored| stored.path == path).for_each(|stored| stored.is_listed = false);
    }

    /// What is stored for the request goes. Others stay.
    fn forget(&mut self, request: &Request) {
        let Some(told_apart_by) = self.told_apart.get(&request.path) else { return };
        self.stored.retain(|stored| stored.path != request.path || !stored.is_at(told_apart_by, &request.fields));
    }

    /// RFC 5861 §4: an error, and something stale that may be served instead.
    fn stale_if_error(&self, request: &Request, now: u64) -> Option<Answer> {
        let stored = self.found(request).filter(|stored| stored.is_for(&request.fields))?;
        stored.is_allowed_stale("stale-if-error", self.default_freshness, now).then(|| stored.answer(request, now))
    }

    /// §4.3.3, §4.3.4: a 304 to the cache's own question.
    fn not_modified(&mut self, exchange: &Exchange<'_>) -> Outcome {
        let (request, now) = (exchange.request, exchange.response_time);
        let stored = match self.confirmed(exchange) {
            Some(Confirmed::News(stored)) => stored,
            Some(Confirmed::NoNews(stored)) => return Outcome::Confirmed(stored.answer(request, now)),
            None => {
                // RFC 5861 §4: what would end in a 502 is an error.
                let stale = self.stale_if_error(request, now);
                // Rule: the next request does not ask the same again, nor about others for ten seconds.
                self.forget(request);
                let until = self.distrusted.entry(request.path.clone()).or_default();
                // One that has more than half of its time left stays as it is.
                if *until <= now + 5_000 {
                    *until = now + 10_000;
                }
                return stale.map_or(Outcome::Contradicted, Outcome::Stale);
            }
        };
        let updated = self.updated(&stored, exchange);
        let answer = updated.answer(request, now);
        match self.may_store(&updated, &request.fields) {
            Ok(()) => self.keep(updated),
            // §3.2, §3: with the new fields it may not be stored, be it for the credentials of the request.
            Err(_) => self.forget(request),
        }
        Outcome::Confirmed(answer)
    }

    /// §4.3.4: which response the 304 is about.
    fn confirmed(&self, exchange: &Exchange<'_>) -> Option<Confirmed> {
        let news = &exchange.response.fields;
        // "The initial set of stored responses to update are those that could have been chosen for that request".
        if let Some(own) = self.validatable(exchange.request) {
            if is_about(news, &own.response.fields, true) {
                return Some(Confirmed::News(own.clone()));
            }
            // "then the cache MUST NOT use the new response to update any stored responses." The condition held all the
            // same, by weak comparison (RFC 9110 §13.1.2), so that it answers the request.
            let (new, old) = (tag(news)?, tag(&own.response.fields)?);
            return weakly_equal(new, old).then(|| Confirmed::NoNews(own.clone()));
        }
        // §4.1: one of the others that were asked about, if the 304 names it. None of them is updated: they could not
        // have been chosen.
        let others = self.others(exchange.request, exchange.request_time);
        // Only strong tags were asked about.
        let is_strong = tag(news).is_some_and(|tag| !is_weak(tag));
        let named = others.into_iter().filter(|other| is_strong && is_about(news, &other.response.fields, false));
        // §4: "the most recent one (as determined by the Date header field)".
        let newest = named.max_by_key(|other| date_in(&other.response.fields, "date"))?;
        Some(Confirmed::News(newest.clone()))
    }

    /// §3.2: the stored response with the fields of the news.
    fn updated(&self, stored: &Stored, exchange: &Exchange<'_>) -> Stored {
        let mut response = stored.response.clone();
        let news = self.newly_stored(exchange, exchange.response.clone()).response.fields;
        // "the cache MUST add each header field in the provided response to the stored response, replacing field values
        // that are already present". Its age is that of the news: it was validated now (§4.2.3).
        response.fields.retain(|(name, _)| name != "age" && !has(&news, name));
        response.fields.extend(news);
        self.newly_stored(exchange, response)
    }

    /// §4.3.5: a 200 to a HEAD.
    fn head(&mut self, exchange: &Exchange<'_>) {
        let Exchange { request, response, .. } = *exchange;
        let found = self.found(request).filter(|stored| stored.is_for(&request.fields));
        let Some(stored) = found.cloned() else { return };
        // "if the stored response and HEAD response have matching values for any received validator fields (ETag and
        // Last-Modified)"
        let (news, old) = (&response.fields, &stored.response.fields);
        let is_same_tag = !has(news, "etag") || tag(news).is_some() && tag(news) == tag(old);
        let modified = date_in(news, "last-modified");
        let is_same_date =
            !has(news, "last-modified") || modified.is_some() && modified == date_in(old, "last-modified");
        if is_same_tag && is_same_date {
            // "the cache SHOULD update the stored response"
            let updated = self.updated(&stored, exchange);
            match self.may_store(&updated, &request.fields) {
                Ok(()) | Err(No::Rule(Rule::OfNoUse)) => self.keep(updated),
                Err(no) if no.is_of_request() => {}
                Err(_) => self.forget(request),
            }
        } else {
            // "otherwise, the cache SHOULD consider the stored response to be stale." Rule: it goes.
            self.forget(request);
        }
    }

    /// §4.4: what an unsafe method makes invalid.
    fn invalidate(&mut self, exchange: &Exchange<'_>) {
        let Exchange { request, response, .. } = *exchange;
        // "A cache MUST invalidate the target URI [...] when it receives a non-error status code in response to an
        // unsafe request method"; "a "non-error response" is one with a 2xx (Successful) or 3xx (Redirection) status".
        if ["GET", "HEAD", "OPTIONS"].contains(&request.method.as_str()) || !(200..400).contains(&response.status) {
            return;
        }
        // "A cache MAY invalidate other URIs [...] In particular, the URI(s) in the Location and Content-Location
        // response header fields (if present) are candidates for invalidation", but "a cache MUST NOT trigger an
        // invalidation under these conditions if the origin [...] of the URI to be invalidated differs".
        let named = ["location", "content-location"].map(|name| single(&response.fields, name));
        let named = named.iter().flatten().map(|uri| uri.strip_prefix("http://shop.example").unwrap_or(uri));
        for path in named.filter(|path| path.starts_with('/')).chain([request.path.as_str()]) {
            self.stored.retain(|stored| stored.path != path);
            self.told_apart.remove(path);
        }
    }
}

/// §4.3.4: whether a 304 is about a stored response. `only`: it was all that was asked about.
fn is_about(news: &Fields, stored: &Fields, only: bool) -> bool {
    let (new_date, old_date) = (date_in(news, "last-modified"), date_in(stored, "last-modified"));
    match (tag(news), tag(stored)) {
        // "If the new response contains one or more strong validators, then each of those strong validators identifies a
        // selected representation for update."
        (Some(new), old) if !is_weak(new) => old == Some(new),
        // "If the new response contains no strong validators but does contain one or more weak validators, and if those
        // validators correspond to one of the cache's stored responses [...]". Two dates that differ do not.
        (Some(new), Some(old)) => {
            weakly_equal(new, old) && !(new_date.is_some() && old_date.is_some() && new_date != old_date)
        }
        (Some(_), None) => false,
        (None, old) => {
            // The same of a date, unless the tag that is missing could have named another (RFC 9110 §15.4.5).
            let may_be_meant = old.is_none() || only && !has(news, "etag");
            if has(news, "last-modified") {
                return may_be_meant && new_date.is_some() && new_date == old_date;
            }
            // "If the new response does not include any form of validator [...] and there is only one stored response".
            // That it has no validator either is not asked here: the condition was about it alone.
            only && !has(news, "etag")
        }
    }
}

/// A condition or a range of the client, of the kind that counts.
fn asks_for_less(request: &Fields) -> bool {
    has(request, "range") || has(request, "if-none-match") || date_in(request, "if-modified-since").is_some()
}
