//! Rounds: in each a cache of its own, with settings by the seed of the round, and many clients at a time.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Once},
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use microcache::{Cache, CacheBody, CacheHandle, CacheLayer, CacheStatus, Reach};
use tokio::{task::JoinSet, time::timeout};
use tower::{Layer, Service};

use crate::{
    body::Made,
    caches::layers,
    checker::{Answer, Asked, End, Rule, Settings, Violation, check},
    endings::invalidated,
    history::{Ending, History},
    leaks::{Hidden, Leak},
    operator::Order,
    origin::{CONFIRMED, FORWARD, Failed, Origin},
    tally::Tally,
    world::{Ask, Carried, Dice, Principal, is_keyed_by_content},
};

/// One cache, or two on one server, and what its clients do.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) seed: u64,
    /// Of each client.
    pub(crate) requests: u64,
    pub(crate) clients: u64,
    /// The address of a memcached that two caches share. Without it there is one, in memory.
    pub(crate) memcached: Option<String>,
    pub(crate) leak: Option<Leak>,
}

/// Runs one round to its end.
pub(crate) async fn run(round: Round) -> Tally {
    expect_panics();
    let history = Arc::new(History::new(round.seed));
    let origin = Origin::new(Arc::clone(&history), round.leak);
    let (layers, settings) = layers(&round, &history, &mut Dice::new(round.seed));
    let caches: Vec<_> = layers.iter().map(|layer| layer.layer(origin.clone())).collect();
    let mut clients = JoinSet::new();
    for number in 1..=round.clients {
        let client = Client {
            round: round.clone(),
            caches: caches.clone(),
            handles: layers.iter().map(CacheLayer::handle).collect(),
            origin: origin.clone(),
            history: Arc::clone(&history),
            settings,
            dice: Dice::new(round.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d)).in_fashion(round.seed),
            operator: Dice::new(!round.seed ^ number.wrapping_mul(0x9e37_79b9)).in_fashion(round.seed),
            remembered: None,
            tally: Tally::default(),
        };
        clients.spawn(client.run(number));
    }
    let mut tally = Tally::default();
    while let Some(client) = clients.join_next().await {
        tally.add(client.unwrap());
    }
    for layer in &layers {
        tally.add_stats(&layer.handle().stats());
    }
    tally.count("forwards", history.forwards());
    tally
}

/// One after the other, a client sends its requests.
struct Client {
    round: Round,
    caches: Vec<Cache<Origin>>,
    handles: Vec<CacheHandle>,
    origin: Origin,
    history: Arc<History>,
    settings: Settings,
    dice: Dice,
    /// Apart, so that as much is purged whatever else happens.
    operator: Dice,
    /// The last entity tag that it was given.
    remembered: Option<HeaderValue>,
    tally: Tally,
}

impl Client {
    async fn run(mut self, number: u64) -> Tally {
        for index in 0..self.round.requests {
            if let Some(order) = Order::draw(&mut self.operator) {
                self.purge(order).await;
            }
            // Now and then many ask for the same at about the same time.
            let is_in_a_crowd = self.dice.one_in(4);
            let crowd = Dice::new(self.round.seed ^ (index / 2)).in_fashion(self.round.seed);
            let mut dice = if is_in_a_crowd { crowd } else { self.dice.branch() };
            let ask = Ask::random(&mut dice, (number << 32) | index, self.remembered.as_ref());
            if self.dice.one_in(16) {
                self.history.ticks.advance(1 + self.dice.roll(self.settings.pace));
            }
            let process = usize::try_from(self.dice.roll(self.caches.len() as u64)).unwrap();
            let asked = Asked { ask, sent: self.history.ticks.tick(), sent_at: Instant::now(), process };
            // Rarely: it is for all.
            let is_paused = self.dice.one_in(8_000).then(|| self.handles[process].clone());
            is_paused.iter().for_each(CacheHandle::pause);
            let answer = AssertUnwindSafe(Box::pin(self.ask(&asked))).catch_unwind().await;
            is_paused.iter().for_each(CacheHandle::resume);
            match answer {
                Ok(Some(answer)) => self.judge(&asked, &answer),
                Ok(None) => {}
                Err(_) => self.tally.count("panics", 1),
            }
        }
        self.tally
    }

    /// Sends one request. None without a head: the client has left, or the origin has failed.
    async fn ask(&mut self, asked: &Asked) -> Option<Answer> {
        let leaves = self.dice.one_in(12).then(|| self.dice.roll(4));
        let response = match timeout(PATIENCE, while_patient(leaves, self.send(asked))).await {
            Ok(Some(Ok(response))) => response,
            Ok(Some(Err(Failed))) => {
                self.tally.count("errors", 1);
                return None;
            }
            Ok(None) => {
                self.tally.count("left", 1);
                return None;
            }
            Err(_) => {
                self.waits_for_ever(asked, "the head");
                return None;
            }
        };
        let cache = CacheStatus::of(&response);
        let (head, body) = response.into_parts();
        self.learn(asked, head.status, &head.headers);
        let mut answer = Answer {
            status: head.status,
            headers: head.headers,
            cache,
            body: Bytes::new(),
            trailers: None,
            end: End::Left,
        };
        if self.dice.one_in(4) {
            // Others go on meanwhile.
            tokio::task::yield_now().await;
        }
        let leaves = self.dice.one_in(12).then(|| self.dice.roll(3));
        if timeout(PATIENCE, read(&mut answer, body, leaves)).await.is_err() {
            self.waits_for_ever(asked, &format!("the body of {answer:?}"));
            return None;
        }
        Some(answer)
    }

    fn send(&mut self, asked: &Asked) -> impl Future<Output = Result<Response<CacheBody<Made>>, Failed>> + use<> {
        let mut request = asked.ask.request();
        let leak = self.round.leak;
        if leak == Some(Leak::HiddenCredentials) {
            let hidden = Hidden::take_from(request.headers_mut());
            request.extensions_mut().insert(hidden);
        }
        let past = (leak == Some(Leak::UnseenChanges) && !asked.ask.is_safe()).then(|| self.origin.clone());
        let mut cache = self.caches[asked.process].clone();
        async move {
            match past {
                Some(origin) => past_the_cache(origin, request).await,
                None => cache.call(request).await,
            }
        }
    }

    /// What the client knows now: its own change, and an entity tag.
    fn learn(&mut self, asked: &Asked, status: StatusCode, headers: &HeaderMap) {
        if let Some(tag) = headers.get(header::ETAG) {
            self.remembered = Some(tag.clone());
        }
        // A `POST` that only asks changes nothing, if what it brings is stored.
        let only_asks = is_keyed_by_content(asked.ask.uri.path()) && asked.ask.method == Method::POST;
        let is_change = !asked.ask.is_safe() && !only_asks && (status.is_success() || status.is_redirection());
        if !is_change || asked.ask.tenant().is_none() {
            return;
        }
        let Some(record) = headers.get(FORWARD).and_then(|number| self.history.record(number)) else { return };
        let ending = self.ending(record.answered, asked.process, self.settings.seen_elsewhere);
        self.tally.count("changes", 1);
        self.history.end(invalidated(&asked.ask), ending);
        // RFC 9111 §4.4: that, too, is changed.
        if let Some(location) = headers.get(header::LOCATION) {
            let mut named = asked.ask.clone();
            named.uri = location.to_str().unwrap().parse().unwrap();
            self.history.end(invalidated(&named), ending);
        }
    }

    /// What began before has ended, as is known now.
    fn ending(&self, before: u64, process: usize, elsewhere: Option<Duration>) -> Ending {
        let known = self.history.ticks.tick();
        Ending { before, known, known_at: Instant::now(), process, elsewhere, is_soft: false }
    }

    /// Purges through any cache. It counts there when the call returns, and elsewhere as the answer says.
    async fn purge(&mut self, order: Order) {
        let Order { purge, scope, is_soft, name } = order;
        let process = usize::try_from(self.operator.roll(self.caches.len() as u64)).unwrap();
        let before = self.history.ticks.tick();
        let is_ignored = self.round.leak == Some(Leak::IgnoredPurges);
        let told = (!is_ignored).then(|| self.handles[process].purge(purge));
        self.history.end(scope.clone(), Ending { is_soft, ..self.ending(before, process, None) });
        self.tally.count(name, 1);
        self.tally.count(if is_soft { "soft purges" } else { "hard purges" }, 1);
        // Whether or not it is waited for.
        let Some(told) = told.filter(|_| !self.operator.one_in(4)) else { return };
        let problem = match timeout(PATIENCE, told).await {
            Ok(Ok(purged)) => {
                let Reach::Within(elsewhere) = purged.others() else { return };
                self.tally.count("purges elsewhere", 1);
                let ending = self.ending(before, process, Some(elsewhere));
                return self.history.end(scope, Ending { is_soft, ..ending });
            }
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        };
        let violation = Violation { rule: Rule::End, detail: format!("{scope}: {problem}") };
        self.tally.violation(&violation, || format!("{:?}\n{:?}", self.round, self.settings));
    }

    fn waits_for_ever(&mut self, asked: &Asked, what: &str) {
        let violation = Violation { rule: Rule::End, detail: format!("waits for {what}") };
        self.tally.violation(&violation, || format!("{:?}\n{:?}\nasked {asked:?}", self.round, self.settings));
    }

    fn judge(&mut self, asked: &Asked, answer: &Answer) {
        self.tally.count("answers", 1);
        for name in kinds(asked, answer) {
            self.tally.count(name, 1);
        }
        if let Err(violation) = check(asked, answer, &self.history, &self.settings) {
            let record = |name| answer.headers.get(name).and_then(|number| self.history.record(number));
            self.tally.violation(&violation, || {
                let (first, latest) = (record(FORWARD), record(CONFIRMED));
                let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
                let head = (answer.status, &answer.headers, answer.cache.map(|cache| cache.to_string()), answer.end);
                let (round, settings) = (&self.round, &self.settings);
                format!(
                    "{round:?}\n{settings:?}\nasked {asked:?}\nanswered {head:?}\n{body}\nfirst {first:?}\nlatest {latest:?}"
                )
            });
        }
    }
}

/// What is worth counting in an answer.
fn kinds(asked: &Asked, answer: &Answer) -> impl Iterator<Item = &'static str> {
    let cache = answer.cache.unwrap_or_default();
    let has_cache = answer.cache.is_some();
    let is_confirmed = answer.headers.contains_key(FORWARD) && answer.headers.contains_key(CONFIRMED);
    [
        (has_cache && cache.is_hit() && cache.ttl().is_some_and(|ttl| ttl > 0), "hits"),
        (has_cache && cache.is_hit() && cache.ttl().is_some_and(|ttl| ttl <= 0), "stale hits"),
        (has_cache && cache.is_hit() && matches!(asked.ask.principal(), Principal::User(_)), "hits of a principal"),
        (cache.detail() == Some("stale-if-error"), "stale if error"),
        (cache.is_collapsed(), "collapsed"),
        (is_confirmed, "confirmed"),
        (answer.status == 304, "304"),
        (answer.status == 206, "206"),
        (answer.status == 416, "416"),
        (matches!(answer.status.as_u16(), 502..=504), "502 to 504"),
        (answer.end == End::Failed, "broken bodies"),
        (answer.end == End::Left, "bodies half read"),
        (answer.trailers.is_some(), "trailers"),
    ]
    .into_iter()
    .filter_map(|(holds, name)| holds.then_some(name))
}

async fn past_the_cache(mut origin: Origin, request: Request<Carried>) -> Result<Response<CacheBody<Made>>, Failed> {
    let (mut head, body) = origin.call(request).await?.into_parts();
    head.extensions.insert(CacheStatus::default());
    drop(body);
    Ok(Response::from_parts(head, CacheBody::default()))
}

/// Polls no more often than this; none without an end.
async fn while_patient<F: Future>(mut patience: Option<u64>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if patience == Some(0) {
            return Poll::Ready(None);
        }
        patience = patience.map(|left| left - 1);
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if patience == Some(0) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Reads a body, no more than so many frames of it.
async fn read(answer: &mut Answer, body: CacheBody<Made>, mut frames: Option<u64>) {
    let (mut body, mut bytes) = (pin!(body), BytesMut::new());
    while frames != Some(0) {
        frames = frames.map(|left| left - 1);
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(frame) => answer.trailers = frame.into_trailers().ok(),
            },
            Some(Err(_)) => {
                answer.end = End::Failed;
                break;
            }
            None => {
                answer.end = End::Clean;
                break;
            }
        }
    }
    answer.body = bytes.freeze();
}

/// What the origin panics with.
pub(crate) struct Expected;

/// Panics of the origin are part of the plan, and say nothing.
fn expect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Expected>() {
                others(info);
            }
        }));
    });
}

/// Nothing takes that long, unless somebody waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);
