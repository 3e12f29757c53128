//! May this response be stored, for how long, and may those that wait for it share it?

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::{Credentials, Policy};
use crate::rfc9111::{
    age::{Exchange, corrected_initial_age},
    directives::Directives,
    freshness::{Freshness, freshness},
    storing::{Refusal, Storing, may_store},
    variants::Vary,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storability {
    /// It may be shared with those that wait for it, and stored if it is fresh at all.
    Store(Plan),
    /// It is for this request alone.
    Skip(SkipReason),
}

/// How a response is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) freshness_lifetime: Duration,
    pub(crate) initial_age: Duration,
    /// The lifetime is the policy's, not the origin's.
    pub(crate) implied: bool,
    pub(crate) vary: Vary,
}

impl Plan {
    /// What is left of the freshness lifetime on arrival.
    pub(crate) fn remaining(&self) -> Duration {
        self.freshness_lifetime.saturating_sub(self.initial_age)
    }
}

/// Why a response is for one request alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// What the standard forbids.
    Standard(Refusal),
    /// It sets a cookie: for whoever asked (RFC 9111 §7.3).
    SetCookie,
    /// It may be reused only after validation.
    Validation,
    /// Its `Vary` says that no request is like another, or nominates too many fields.
    Vary,
    /// 101, 204, 206, 304 or 5xx.
    Status,
    /// A stream without an end: events, records, gRPC, multipart pushes.
    Stream,
    /// The request had credentials and the origin did not say how long the response is fresh.
    Credentials,
    /// Its body is over the limit.
    TooLarge,
    /// Its length is not what it says.
    Length,
    /// The request was one that nothing is stored for.
    Request,
    /// The key of its variant would be too long.
    KeyTooLong,
}

impl SkipReason {
    /// The word for it in `Cache-Status`.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Standard(refusal) => match refusal {
                Refusal::NoStore => "no-store",
                Refusal::Private => "private",
                Refusal::Authorization => "authorization",
                Refusal::MustUnderstand => "must-understand",
                Refusal::NoFreshness => "no-freshness",
                Refusal::PartialContent | Refusal::NotModified | Refusal::Interim => "status",
            },
            Self::SetCookie => "set-cookie",
            Self::Validation => "validation",
            Self::Vary => "vary",
            Self::Status => "status",
            Self::Stream => "stream",
            Self::Credentials => "credentials",
            Self::TooLarge => "too-large",
            Self::Length => "length",
            Self::Request => "request",
            Self::KeyTooLong => "key-too-long",
        }
    }
}

impl Policy {
    pub(crate) fn storability(
        &self,
        credentials: Credentials,
        status: StatusCode,
        headers: &HeaderMap,
        exchange: &Exchange,
    ) -> Storability {
        // 204 has no body to save the origin from making, and a 5xx says that the origin is not itself.
        if status.is_server_error() || status == StatusCode::NO_CONTENT || status.is_informational() {
            return Storability::Skip(SkipReason::Status);
        }
        self.plan(credentials, status, headers, exchange).map_or_else(Storability::Skip, Storability::Store)
    }

    /// A 5xx that all attempts ended in may be shared with those that waited for it, under the same
    /// conditions as any response but for its status.
    pub(crate) fn may_share_failure(
        &self,
        credentials: Credentials,
        headers: &HeaderMap,
        exchange: &Exchange,
    ) -> Option<Plan> {
        let plan = self.plan(credentials, StatusCode::OK, headers, exchange).ok()?;
        Some(Plan { freshness_lifetime: Duration::ZERO, ..plan })
    }

    fn plan(
        &self,
        credentials: Credentials,
        status: StatusCode,
        headers: &HeaderMap,
        exchange: &Exchange,
    ) -> Result<Plan, SkipReason> {
        let directives = Directives::of(headers);
        if let Storing::Refused(refusal) = may_store(status, headers, &directives, credentials.authorization) {
            return Err(SkipReason::Standard(refusal));
        }
        if headers.contains_key(header::SET_COOKIE) {
            return Err(SkipReason::SetCookie);
        }
        if headers.contains_key(header::UPGRADE) || is_stream(headers) {
            return Err(SkipReason::Stream);
        }
        let vary = Vary::of(headers);
        if matches!(&vary, Vary::Any) || matches!(&vary, Vary::Names(names) if names.len() > MAX_NOMINATED) {
            return Err(SkipReason::Vary);
        }
        // §5.2.2.4: not even for those that wait, without asking the origin.
        if directives.no_cache {
            return Err(SkipReason::Validation);
        }
        let initial_age = corrected_initial_age(headers, exchange);
        let plan = match freshness(headers, &directives, exchange.response_time) {
            Freshness::Explicit(freshness_lifetime) => Plan { freshness_lifetime, initial_age, implied: false, vary },
            Freshness::Unspecified if credentials.any() => return Err(SkipReason::Credentials),
            Freshness::Unspecified => {
                // The policy's lifetime is ours to count: from arrival, so that a handler that takes longer
                // than its response may live is cached at all.
                let arrival = Exchange { request_time: exchange.response_time, ..*exchange };
                let initial_age = corrected_initial_age(headers, &arrival);
                let lifetime = self.default_freshness.filter(|_| status == StatusCode::OK);
                Plan { freshness_lifetime: lifetime.unwrap_or_default(), initial_age, implied: true, vary }
            }
        };
        // §5.2.2.2, §5.2.2.8 and §5.2.2.10: stale on arrival, and stale may not be reused.
        let never_stale = directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some();
        if never_stale && plan.remaining().is_zero() {
            return Err(SkipReason::Validation);
        }
        Ok(plan)
    }
}

/// Content that does not end by itself is not waited for.
fn is_stream(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().any(|value| {
        let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let streams: [&[u8]; 4] =
            [b"text/event-stream", b"multipart/x-mixed-replace", b"application/x-ndjson", b"application/json-seq"];
        streams.iter().any(|stream| media_type.eq_ignore_ascii_case(stream))
            || media_type.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
    })
}

/// More nominated fields than this, and every request is a variant of its own.
const MAX_NOMINATED: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::{HeaderName, HeaderValue};

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const ANONYMOUS: Credentials = Credentials { authorization: false, cookie: false };
    const COOKIE: Credentials = Credentials { authorization: false, cookie: true };
    const AUTHORIZED: Credentials = Credentials { authorization: true, cookie: false };

    fn judge(credentials: Credentials, status: u16, fields: &[(&str, &str)]) -> Storability {
        let headers = fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        let exchange = Exchange { request_time: NOW, response_time: NOW };
        Policy::new().storability(credentials, StatusCode::from_u16(status).unwrap(), &headers, &exchange)
    }

    type Fields = &'static [(&'static str, &'static str)];

    /// Seconds of freshness and whether they are implied, or the reason.
    fn verdict(storability: Storability) -> Result<(u64, bool), &'static str> {
        match storability {
            Storability::Store(plan) => Ok((plan.freshness_lifetime.as_secs(), plan.implied)),
            Storability::Skip(reason) => Err(reason.detail()),
        }
    }

    #[test]
    fn default_freshness_is_for_200_and_for_strangers() {
        let implied = |seconds| Ok((seconds, true));
        let table = [
            (ANONYMOUS, 200, implied(1)),
            (ANONYMOUS, 404, implied(0)),
            (ANONYMOUS, 301, implied(0)),
            (ANONYMOUS, 302, Err("no-freshness")),
            (ANONYMOUS, 403, Err("no-freshness")),
            (ANONYMOUS, 204, Err("status")),
            (ANONYMOUS, 206, Err("status")),
            (ANONYMOUS, 304, Err("status")),
            (ANONYMOUS, 500, Err("status")),
            (ANONYMOUS, 503, Err("status")),
            (COOKIE, 200, Err("credentials")),
            (AUTHORIZED, 200, Err("authorization")),
        ];
        for (credentials, status, expected) in table {
            assert_eq!(verdict(judge(credentials, status, &[])), expected, "{status} {credentials:?}");
        }
    }

    #[test]
    fn explicit_freshness_is_the_origins() {
        let explicit = |seconds| Ok((seconds, false));
        const MAX_AGE: Fields = &[("cache-control", "max-age=60")];
        let table: [(Credentials, u16, Fields, _); 9] = [
            (ANONYMOUS, 200, MAX_AGE, explicit(60)),
            (COOKIE, 200, MAX_AGE, explicit(60)),
            (AUTHORIZED, 200, MAX_AGE, Err("authorization")),
            (AUTHORIZED, 200, &[("cache-control", "public, max-age=60")], explicit(60)),
            (AUTHORIZED, 200, &[("cache-control", "public")], Err("credentials")),
            (ANONYMOUS, 403, MAX_AGE, explicit(60)),
            (ANONYMOUS, 204, MAX_AGE, Err("status")),
            (ANONYMOUS, 500, MAX_AGE, Err("status")),
            (ANONYMOUS, 200, &[("cache-control", "max-age=60, max-age=bad")], explicit(0)),
        ];
        for (credentials, status, fields, expected) in table {
            assert_eq!(verdict(judge(credentials, status, fields)), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn what_is_for_one_request_alone_says_why() {
        let table: [(Fields, &str); 15] = [
            (&[("set-cookie", "a=1"), ("cache-control", "public, max-age=60")], "set-cookie"),
            (&[("cache-control", "private")], "private"),
            (&[("cache-control", "No-Store")], "no-store"),
            (&[("cache-control", "no-cache")], "validation"),
            (&[("cache-control", "max-age=0, must-revalidate")], "validation"),
            (&[("cache-control", "s-maxage=0")], "validation"),
            (&[("vary", "accept, *")], "vary"),
            (&[("vary", "a, b, c, d, e, f, g, h, i")], "vary"),
            (&[("vary", "not a name")], "vary"),
            (&[("content-type", "text/event-stream")], "stream"),
            (&[("content-type", "Text/Event-Stream; charset=utf-8")], "stream"),
            (&[("content-type", "application/grpc+proto")], "stream"),
            (&[("content-type", "application/x-ndjson")], "stream"),
            (&[("content-type", "multipart/x-mixed-replace; boundary=x")], "stream"),
            (&[("upgrade", "h2c")], "stream"),
        ];
        for (fields, detail) in table {
            assert_eq!(verdict(judge(ANONYMOUS, 200, fields)), Err(detail), "{fields:?}");
        }
    }

    #[test]
    fn a_response_that_is_stale_on_arrival_is_only_for_those_that_wait() {
        let Storability::Store(plan) = judge(ANONYMOUS, 200, &[("cache-control", "max-age=60"), ("age", "60")]) else {
            panic!("not for anyone");
        };

        assert_eq!(plan.remaining(), Duration::ZERO);
    }
}
