//! Two requests, and what becomes of the second. No assertions in here.

use std::{task::Poll, time::Duration};

use http::{HeaderMap, header};
use microcache::{Collapse, Policy};

use crate::common::{
    Answer, Ask, Does, MILLI, Origin, TestCache, ask, cache, reply, request, send, settle, status, text,
};

pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is answered from the store, and the origin hears nothing of it.
    Stored,
    /// It is answered from the store, and the origin is asked meanwhile.
    Refreshed,
    /// The origin gets it, without a condition.
    Forwarded,
    /// The origin gets it with these conditions.
    Asked(&'static str),
    /// The cache answers by itself, with this status.
    Refused(u16),
}

/// The policy that adds nothing to the standard.
pub(crate) fn plain() -> Policy {
    Policy::new().without_default_freshness()
}

/// The same without collapsing, so that requests are forwarded as they are.
pub(crate) fn single() -> Policy {
    plain().collapse(Collapse::off())
}

/// A first exchange with the origin, some time, and a second request.
#[derive(Clone)]
#[must_use]
pub(crate) struct Given<'a> {
    policy: Policy,
    method: &'a str,
    asked: Fields<'a>,
    code: u16,
    said: Fields<'a>,
    after: Duration,
    then_method: &'a str,
    then_asked: Fields<'a>,
}

/// The origin answers a GET so. At once comes a second one.
pub(crate) fn given<'a>(code: u16, said: Fields<'a>) -> Given<'a> {
    Given {
        policy: plain(),
        method: "GET",
        asked: &[],
        code,
        said,
        after: Duration::ZERO,
        then_method: "GET",
        then_asked: &[],
    }
}

impl<'a> Given<'a> {
    pub(crate) fn policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The first request.
    pub(crate) fn asked(self, method: &'a str, asked: Fields<'a>) -> Self {
        Self { method, asked, ..self }
    }

    pub(crate) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// The second request.
    pub(crate) fn then(self, method: &'a str, asked: Fields<'a>) -> Self {
        Self { then_method: method, then_asked: asked, ..self }
    }

    /// What becomes of the second request.
    pub(crate) async fn second(self) -> Then {
        let asked = request(self.then_method, "/", self.then_asked);
        let (mut cache, origin) = self.first().await;
        then(&mut cache, &origin, asked).await
    }

    /// The answer to the second request, if it comes without the origin.
    pub(crate) async fn answer(self) -> Option<Answer> {
        let asked = request(self.then_method, "/", self.then_asked);
        let (mut cache, _origin) = self.first().await;
        match send(&mut cache, asked).poll() {
            Poll::Ready(answer) => answer.ok(),
            Poll::Pending => None,
        }
    }

    /// Whether the response is fresh for just so many seconds.
    pub(crate) async fn lasts(self, seconds: u64) -> bool {
        let end = Duration::from_secs(seconds);
        if let Some(before) = end.checked_sub(MILLI)
            && self.clone().after(before).second().await != Then::Stored
        {
            return false;
        }
        !matches!(self.after(end).second().await, Then::Stored | Then::Refreshed)
    }

    /// The cache after the first exchange and the time that passes.
    pub(crate) async fn first(self) -> (TestCache, Origin) {
        let (mut cache, origin, clock) = cache(self.policy);
        origin.queue([reply(self.code, self.said, content(self.code))]);
        // A body that breaks off is read as far as it goes.
        let _ = text(ask(&mut cache, request(self.method, "/", self.asked)).await).await;
        clock.advance(self.after);
        (cache, origin)
    }
}

/// What becomes of this request. The origin fails to answer it, so that nothing is left of it.
pub(crate) async fn then(cache: &mut TestCache, origin: &Origin, asked: Ask) -> Then {
    let mut sent = send(cache, asked);
    match sent.poll() {
        Poll::Pending => {
            let asked = conditions(&origin.does(Does::Fail).headers);
            let _ = sent.poll();
            if asked.is_empty() { Then::Forwarded } else { Then::Asked(asked.leak()) }
        }
        Poll::Ready(answer) => {
            let answer = answer.unwrap();
            settle().await;
            match (status(&answer).starts_with("hit"), origin.waiting()) {
                (true, 0) => Then::Stored,
                (true, _) => Then::Refreshed,
                (false, _) => Then::Refused(answer.status().as_u16()),
            }
        }
    }
}

/// The conditions and the range of a request, as one text.
pub(crate) fn conditions(fields: &HeaderMap) -> String {
    let names = [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
    ];
    let lines = names.iter().flat_map(|name| fields.get_all(name).iter().map(move |value| (name, value)));
    let lines: Vec<_> = lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.join("; ")
}

/// What a response with this status has for content.
pub(crate) fn content(code: u16) -> &'static str {
    if matches!(code, 204 | 205 | 304) { "" } else { "one" }
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The time at which the clock of each test starts.
pub(crate) const NOW: &str = "Sun, 13 Sep 2020 12:26:40 GMT";
/// A minute later.
pub(crate) const IN_A_MINUTE: &str = "Sun, 13 Sep 2020 12:27:40 GMT";
/// A minute earlier.
pub(crate) const A_MINUTE_AGO: &str = "Sun, 13 Sep 2020 12:25:40 GMT";
/// Ten hours earlier.
pub(crate) const TEN_HOURS_AGO: &str = "Sun, 13 Sep 2020 02:26:40 GMT";
