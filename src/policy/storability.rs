//! May this response be stored, for how long, and may those that wait for it share it?

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::{Credentials, Policy, Said, Scope};
use crate::{
    key::CacheKey,
    rfc9111::{
        age::{Exchange, corrected_initial_age},
        directives::{Delta, Directives},
        freshening::has_validator,
        freshness::{Freshness, freshness, heuristic},
        storing::{Refusal, Storing, may_store},
        targeted,
        variants::Vary,
    },
    stored::Staleness,
};

/// A response, and what it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) said: Said,
    /// The key of the request.
    pub(crate) key: &'a CacheKey,
    pub(crate) exchange: &'a Exchange,
    pub(crate) credentials: Credentials,
    /// The request was keyed by its content: only the origin's own word makes such a response reusable.
    pub(crate) by_content: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storability {
    /// It may be stored, if it is of use at all, and shared as the plan says.
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
    pub(crate) staleness: Staleness,
    pub(crate) has_validator: bool,
    /// Those that wait for it may have it. Otherwise it is stored for the origin to confirm each time.
    pub(crate) is_shareable: bool,
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
    /// It is for fewer than share its key.
    Scope,
    /// It sets a cookie: for whoever asked (RFC 9111 §7.3).
    SetCookie,
    /// It may be reused only after validation.
    Validation,
    /// Its `Vary` says that no request is like another, or nominates too many fields.
    Vary,
    /// A failure without explicit freshness.
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
    /// There are as many variants under its key as there may be.
    Variants,
    /// Its key was not asked for often enough lately.
    OneOff,
    /// The origin says that what nobody asked about still holds.
    NotAsked,
}

impl SkipReason {
    /// Whether it lies in the request that was answered, and says nothing of what is stored for others.
    pub(crate) fn is_of_request(self) -> bool {
        matches!(
            self,
            Self::Credentials
                | Self::Request
                | Self::KeyTooLong
                | Self::Variants
                | Self::OneOff
                | Self::Standard(Refusal::Authorization)
        )
    }

    /// The word for it in `Cache-Status`.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Standard(refusal) => match refusal {
                Refusal::NoStore => "no-store",
                Refusal::Private => "private",
                Refusal::Authorization => "authorization",
                Refusal::MustUnderstand => "must-understand",
                Refusal::NoFreshness => "no-freshness",
                Refusal::PartialContent | Refusal::NotModified | Refusal::OneRequest | Refusal::Interim => "status",
            },
            Self::Scope => "scope",
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
            Self::Variants => "variants",
            Self::OneOff => "one-off",
            Self::NotAsked => "not-asked",
        }
    }
}

impl Policy {
    pub(crate) fn storability(&self, candidate: &Candidate<'_>) -> Storability {
        match self.plan(candidate) {
            // Nobody has said that this failure lasts: it is not kept, and who waits tries again.
            Ok(plan) if candidate.status.is_server_error() && plan.remaining().is_zero() => {
                Storability::Skip(SkipReason::Status)
            }
            // A call that is stale on arrival is nobody else's: it may have changed something.
            Ok(plan) if candidate.by_content && plan.remaining().is_zero() => {
                Storability::Skip(SkipReason::Standard(Refusal::NoFreshness))
            }
            Ok(plan) => Storability::Store(plan),
            Err(reason) => Storability::Skip(reason),
        }
    }

    /// A 5xx that all attempts ended in may be shared with those that waited for it, under the same
    /// conditions as any response but for its status.
    pub(crate) fn may_share_failure(&self, candidate: &Candidate<'_>) -> Option<Plan> {
        let plan = self.plan(&Candidate { status: StatusCode::OK, ..*candidate }).ok()?;
        plan.is_shareable.then_some(Plan { freshness_lifetime: Duration::ZERO, ..plan })
    }

    fn plan(&self, candidate: &Candidate<'_>) -> Result<Plan, SkipReason> {
        let Candidate { status, headers, said, key, credentials, by_content, .. } = *candidate;
        let directives = targeted::directives(headers, &self.targeted_fields);
        match said.scope {
            Some(Scope::Private) => return Err(SkipReason::Standard(Refusal::Private)),
            Some(Scope::Principal) if !key.has_principal() => return Err(SkipReason::Scope),
            Some(Scope::Tenant) if !key.has_tenant() => return Err(SkipReason::Scope),
            Some(Scope::Principal | Scope::Tenant | Scope::Shared) | None => {}
        }
        match may_store(status, headers, &directives, credentials.authorization) {
            Storing::Allowed => {}
            // §3: explicit freshness, and the handler has given it with a type.
            Storing::Refused(Refusal::NoFreshness) if said.freshness.is_some() => {}
            Storing::Refused(refusal) => return Err(SkipReason::Standard(refusal)),
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
        let (initial_age, lifetime, implied) = self.lifetime(candidate, &directives);
        if implied && credentials.any() {
            return Err(SkipReason::Credentials);
        }
        if implied && by_content {
            return Err(SkipReason::Standard(Refusal::NoFreshness));
        }
        // §5.2.2.4: never without asking the origin, as if it were stale.
        let freshness_lifetime = if directives.no_cache { Duration::ZERO } else { lifetime };
        let staleness = self.staleness(&directives);
        let has_validator = has_validator(headers);
        let mut plan =
            Plan { freshness_lifetime, initial_age, implied, staleness, has_validator, is_shareable: true, vary };
        // Stale on arrival, and stale may not be reused: not even those that wait may have it unasked.
        if plan.remaining().is_zero() && (directives.no_cache || is_revalidated(&directives)) {
            if !has_validator {
                return Err(SkipReason::Validation);
            }
            plan.is_shareable = false;
        }
        Ok(plan)
    }

    /// The age on arrival, the freshness lifetime, and whether that is the policy's.
    fn lifetime(&self, candidate: &Candidate<'_>, directives: &Directives) -> (Duration, Duration, bool) {
        let Candidate { status, headers, said, exchange, .. } = *candidate;
        let age = corrected_initial_age(headers, exchange);
        // What of the age the exchange has taken. Most responses need not know.
        let delay = || {
            let arrival = Exchange { request_time: exchange.response_time, ..*exchange };
            age.saturating_sub(corrected_initial_age(headers, &arrival))
        };
        if let Some(said) = said.freshness {
            return (age, said.lifetime().saturating_add(age), false);
        }
        match freshness(headers, directives, exchange.response_time) {
            Freshness::Explicit(lifetime) if self.ages_from_arrival => (age, lifetime.saturating_add(delay()), false),
            Freshness::Explicit(lifetime) => (age, lifetime, false),
            Freshness::Unspecified => {
                let guess = self.heuristic_freshness.and_then(|at_most| {
                    let guess = heuristic(headers, status, directives, exchange.response_time)?;
                    Some(guess.min(at_most))
                });
                let default = || self.default_freshness.filter(|_| status == StatusCode::OK);
                // The policy's lifetime is ours to count: from arrival, so that a handler that takes longer
                // than its response may live is cached at all.
                (age, guess.or_else(default).map_or(Duration::ZERO, |lifetime| lifetime.saturating_add(delay())), true)
            }
        }
    }

    /// What may be done once it is stale: the origin's word, then the policy's.
    fn staleness(&self, directives: &Directives) -> Staleness {
        // §4.2.4: a response that forbids it is not served stale, unless the operator has agreed otherwise.
        if (directives.no_cache || is_revalidated(directives)) && !self.overrides_revalidation {
            return Staleness { is_immutable: directives.immutable, ..Staleness::FORBIDDEN };
        }
        let window = |said: Option<Delta>, policy| said.map_or(policy, Delta::lifetime);
        Staleness {
            is_forbidden: false,
            while_revalidate: window(directives.stale_while_revalidate, self.stale_while_revalidate),
            if_error: window(directives.stale_if_error, self.stale_if_error),
            is_immutable: directives.immutable,
        }
    }
}

/// §5.2.2.2, §5.2.2.8 and §5.2.2.10: once stale, it is validated before it is reused.
fn is_revalidated(directives: &Directives) -> bool {
    directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some()
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

    use super::*;
    use crate::{
        field::testing::headers,
        key::{KeySpec, Principal, RequestHead, Tenant},
    };

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const ANONYMOUS: Credentials = Credentials { authorization: false, cookie: false };
    const COOKIE: Credentials = Credentials { authorization: false, cookie: true };
    const AUTHORIZED: Credentials = Credentials { authorization: true, cookie: false };

    fn judge(credentials: Credentials, status: u16, fields: &[(&str, &str)]) -> Storability {
        judge_by(&Policy::new(), credentials, status, fields, Said::default())
    }

    fn judge_by(
        policy: &Policy,
        credentials: Credentials,
        status: u16,
        fields: &[(&str, &str)],
        said: Said,
    ) -> Storability {
        let headers = headers(fields);
        let exchange = Exchange { request_time: NOW, response_time: NOW };
        let status = StatusCode::from_u16(status).unwrap();
        let (headers, exchange, key) = (&headers, &exchange, &key_of(&KeySpec::new(), &Tenant::shared()));
        policy.storability(&Candidate { status, headers, said, key, exchange, credentials, by_content: false })
    }

    fn key_of(spec: &KeySpec, tenant: &Tenant) -> CacheKey {
        // Neither the path nor a field can pass for a tenant or a principal.
        let request = http::Request::get("/|p:alice|p:bob").header("x-host", "|p:alice").body(()).unwrap();
        spec.key(RequestHead::of(&request), tenant).unwrap()
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
            (ANONYMOUS, 204, implied(0)),
            (ANONYMOUS, 206, Err("status")),
            (ANONYMOUS, 304, Err("status")),
            (ANONYMOUS, 500, Err("no-freshness")),
            (ANONYMOUS, 501, Err("status")),
            (ANONYMOUS, 503, Err("no-freshness")),
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
            (ANONYMOUS, 204, MAX_AGE, explicit(60)),
            (ANONYMOUS, 500, MAX_AGE, explicit(60)),
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

    #[test]
    fn a_response_for_fewer_than_share_its_key_is_for_one_request_alone() {
        let alice = KeySpec::new().principal(Principal::from_fn(|_| Some("alice".into())));
        let keys = [
            key_of(&KeySpec::new(), &Tenant::shared()),
            key_of(&KeySpec::new(), &Tenant::named("|p:acme")),
            key_of(&alice, &Tenant::shared()),
            key_of(&alice, &Tenant::named("acme")),
        ];
        let (headers, exchange) = (headers::<&str>(&[]), Exchange { request_time: NOW, response_time: NOW });
        let table = [
            (None, [Ok((1, true)); 4]),
            (Some(Scope::Shared), [Ok((1, true)); 4]),
            (Some(Scope::Tenant), [Err("scope"), Ok((1, true)), Err("scope"), Ok((1, true))]),
            (Some(Scope::Principal), [Err("scope"), Err("scope"), Ok((1, true)), Ok((1, true))]),
            (Some(Scope::Private), [Err("private"); 4]),
        ];
        for (scope, expected) in table {
            let found = keys.each_ref().map(|key| {
                let said = Said { scope, ..Said::default() };
                let candidate = Candidate {
                    status: StatusCode::OK,
                    headers: &headers,
                    said,
                    key,
                    exchange: &exchange,
                    credentials: ANONYMOUS,
                    by_content: false,
                };
                verdict(Policy::new().storability(&candidate))
            });
            assert_eq!(found, expected, "{scope:?}");
        }
    }
}
