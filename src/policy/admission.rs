//! May this request be looked up at all? From its head alone.

use http::{HeaderMap, Method, header};

use super::{Cookies, Policy};
use crate::key::{OverrideRule, RequestHead, overrides::is_method_override};

/// What the cache does with a request before it looks anything up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Look it up.
    Lookup(Carried),
    /// Read its content, and look it up by that, too.
    LookupByContent(Carried),
    /// Hand it to the origin untouched.
    Bypass(BypassReason),
}

/// What was seen among the fields of a request, so that nobody has to look for what is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) credentials: Credentials,
    /// `If-None-Match` or `If-Modified-Since`.
    pub(crate) condition: bool,
    /// `Range`.
    pub(crate) range: bool,
    /// A field that many servers take for the target: it goes into the key.
    pub(crate) overrides: bool,
    /// `Cache-Control`, and the policy does what it asks.
    pub(crate) wishes: bool,
}

/// What a request carries of its sender's identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) authorization: bool,
    /// A cookie that is neither in the key nor declared irrelevant.
    pub(crate) cookie: bool,
}

impl Credentials {
    pub(crate) fn any(self) -> bool {
        self.authorization || self.cookie
    }
}

/// Why a request is handed to the origin untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BypassReason {
    /// The cache is paused.
    Paused,
    /// Neither GET nor HEAD, nor one that the policy keys by its content.
    Method,
    /// `Policy::bypass_when` held.
    Policy,
    /// It asks for another protocol.
    Upgrade,
    /// It has `If-Match` or `If-Unmodified-Since`, which only the origin can judge (RFC 9110 §13.1).
    Precondition,
    /// It asks to be taken for another method by a field.
    MethodOverride,
    /// It has a field that the operator does not want to be believed: `OverrideRule::Bypass`.
    Override,
    /// Content that is not in the key: the origin may look at it.
    Content,
    /// More content than the policy reads, or content that broke off.
    LongContent,
    /// `Host` is missing its meaning: several, malformed, or at odds with the target URI.
    Authority,
    /// The key would be longer than 8 KiB.
    KeyTooLong,
    /// The query has more parameters than the policy allows.
    TooManyParameters,
    /// Nobody can tell whose request it is.
    Tenant,
    /// Credentials that the origin is to see, and that are not in the key.
    Credentials,
    /// Nobody can tell who within the tenant is asking.
    Principal,
}

impl BypassReason {
    pub(crate) const ALL: [Self; 15] = [
        Self::Paused,
        Self::Method,
        Self::Policy,
        Self::Upgrade,
        Self::Precondition,
        Self::MethodOverride,
        Self::Override,
        Self::Content,
        Self::LongContent,
        Self::Authority,
        Self::KeyTooLong,
        Self::TooManyParameters,
        Self::Tenant,
        Self::Credentials,
        Self::Principal,
    ];

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Method => "method",
            Self::Policy => "policy",
            Self::Upgrade => "upgrade",
            Self::Precondition => "precondition",
            Self::MethodOverride => "method-override",
            Self::Override => "override",
            Self::Content => "content",
            Self::LongContent => "long-content",
            Self::Authority => "authority",
            Self::KeyTooLong => "key-too-long",
            Self::TooManyParameters => "too-many-parameters",
            Self::Tenant => "tenant",
            Self::Credentials => "credentials",
            Self::Principal => "principal",
        }
    }

    /// The word for it in `Cache-Status`; none where bypassing is the plain course of things, and the
    /// response stays the origin's byte for byte.
    pub(crate) fn detail(self) -> Option<&'static str> {
        match self {
            Self::Paused | Self::Method | Self::Policy | Self::Upgrade => None,
            told => Some(told.word()),
        }
    }
}

impl Policy {
    /// `has_content`: the body may have bytes, as far as the server can tell.
    pub(crate) fn admit(&self, head: RequestHead<'_>, has_content: bool) -> Admission {
        let by_content = match *head.method() {
            Method::GET | Method::HEAD => false,
            ref other if self.content.is_some() && (*other == Method::POST || other.as_str() == "QUERY") => true,
            _ => return Admission::Bypass(BypassReason::Method),
        };
        if self.bypass.as_ref().is_some_and(|when| when(head)) {
            return Admission::Bypass(BypassReason::Policy);
        }
        let carried = match self.look_through(head.headers(), by_content) {
            Ok(carried) => carried,
            Err(reason) => return Admission::Bypass(reason),
        };
        if self.only_keyed_input && self.has_unkeyed_credentials(carried.credentials) {
            return Admission::Bypass(BypassReason::Credentials);
        }
        match by_content {
            // RFC 9110 §13.1.2, §14.2: what these mean for a POST is not for a cache to say.
            true if carried.condition || carried.range => Admission::Bypass(BypassReason::Precondition),
            true => Admission::LookupByContent(carried),
            false if has_content => Admission::Bypass(BypassReason::Content),
            false => Admission::Lookup(carried),
        }
    }

    /// One look at each field name, told apart by its first byte: most are of no concern here.
    fn look_through(&self, headers: &HeaderMap, by_content: bool) -> Result<Carried, BypassReason> {
        let (mut carried, mut refused) = (Carried::default(), None);
        for name in headers.keys() {
            let name = name.as_str();
            match self.key.override_rule(name) {
                Some(OverrideRule::Keyed) => carried.overrides = true,
                Some(OverrideRule::Bypass) => refused = Some(BypassReason::Override),
                Some(OverrideRule::Irrelevant) | None => {}
            }
            match name.as_bytes().first() {
                Some(b'a') if name == "authorization" => {
                    // RFC 9111 §3.5: it counts as none where the key is of whom it names.
                    carried.credentials.authorization = !self.key.keys_authorization();
                }
                Some(b'c') => match name {
                    "cookie" => carried.credentials.cookie = self.cookies_matter(headers),
                    "cache-control" => carried.wishes = self.honours_requests,
                    // RFC 9112 §6: a request has content if it has one of these. Zero is no content.
                    "content-length" if !by_content && !is_zero(headers) => refused = Some(BypassReason::Content),
                    _ => {}
                },
                Some(b't') if name == "transfer-encoding" && !by_content => refused = Some(BypassReason::Content),
                Some(b'i') => match name {
                    "if-none-match" | "if-modified-since" => carried.condition = true,
                    "if-match" | "if-unmodified-since" => refused = Some(BypassReason::Precondition),
                    _ => {}
                },
                Some(b'r') if name == "range" => carried.range = true,
                Some(b'u') if name == "upgrade" => refused = Some(BypassReason::Upgrade),
                // Before all others: it may make the request an unsafe one.
                Some(b'x') if is_method_override(name) => return Err(BypassReason::MethodOverride),
                _ => {}
            }
        }
        refused.map_or(Ok(carried), Err)
    }

    /// Whether a request with such a body can be keyed by its content.
    pub(crate) fn can_replay<B: 'static>(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.replay::<B>().is_some())
    }

    fn cookies_matter(&self, headers: &HeaderMap) -> bool {
        if self.cookies.none_matters {
            return false;
        }
        headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .map(|pair| pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii())
            .any(|name| !name.is_empty() && !self.cookies.is_irrelevant(name) && !self.key.keys_cookie(name))
    }
}

impl Cookies {
    pub(super) fn is_irrelevant(&self, name: &[u8]) -> bool {
        self.irrelevant.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning.as_bytes()),
            None => name == pattern.as_bytes(),
        })
    }
}

fn is_zero(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_LENGTH).iter().all(|value| value.as_bytes() == b"0")
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;
    use crate::key::{KeySpec, Principal};

    fn admit(policy: &Policy, request: http::request::Builder) -> Admission {
        policy.admit(RequestHead::of(&request.body(()).unwrap()), false)
    }

    const ANONYMOUS: Admission = with(Credentials { authorization: false, cookie: false });
    const WITH_COOKIE: Admission = with(Credentials { authorization: false, cookie: true });

    const fn with(credentials: Credentials) -> Admission {
        Admission::Lookup(Carried { credentials, condition: false, range: false, overrides: false, wishes: false })
    }

    #[test]
    fn a_request_is_admitted_by_its_method_and_fields() {
        use BypassReason::{Content, Method, MethodOverride, Precondition, Upgrade};
        let bypass = Admission::Bypass;
        let with_authorization = with(Credentials { authorization: true, cookie: false });
        let table = [
            ("GET", "accept", "*/*", ANONYMOUS),
            ("HEAD", "accept", "*/*", ANONYMOUS),
            ("GET", "content-length", "0", ANONYMOUS),
            ("GET", "cookie", "", ANONYMOUS),
            ("GET", "cookie", " ; ", ANONYMOUS),
            ("GET", "authorization", "Basic YQ==", with_authorization),
            ("GET", "cookie", "session=1", WITH_COOKIE),
            ("POST", "accept", "*/*", bypass(Method)),
            ("PURGE", "accept", "*/*", bypass(Method)),
            ("get", "accept", "*/*", bypass(Method)),
            ("GET", "content-length", "7", bypass(Content)),
            ("GET", "content-length", "00", bypass(Content)),
            ("GET", "content-length", "x", bypass(Content)),
            ("GET", "transfer-encoding", "chunked", bypass(Content)),
            ("GET", "upgrade", "websocket", bypass(Upgrade)),
            ("GET", "x-http-method-override", "DELETE", bypass(MethodOverride)),
            ("GET", "if-match", "\"a\"", bypass(Precondition)),
            ("GET", "if-unmodified-since", "x", bypass(Precondition)),
        ];
        for (method, name, value, expected) in table {
            let request = Request::builder().method(method).header(name, value);
            assert_eq!(admit(&Policy::new(), request), expected, "{method} with {name}: {value}");
        }
    }

    #[test]
    fn cookies_matter_unless_they_are_keyed_or_declared_irrelevant() {
        let policy = Policy::new().ignore_cookie("_ga*").ignore_cookie("theme").key(KeySpec::new().cookie("lang"));
        let table = [
            ("_ga=1; _gat_x=2; theme=dark", ANONYMOUS),
            ("lang=de; _ga=1", ANONYMOUS),
            ("lang=de;session=1", WITH_COOKIE),
            ("Theme=dark", WITH_COOKIE),
            ("theme2=dark", WITH_COOKIE),
            ("bare", WITH_COOKIE),
            ("\u{e9}=1", WITH_COOKIE),
        ];
        for (cookies, expected) in table {
            assert_eq!(admit(&policy, Request::builder().header("cookie", cookies)), expected, "{cookies}");
        }
        let several = Request::builder().header("cookie", "theme=1").header("cookie", "session=1");
        assert_eq!(admit(&policy, several), WITH_COOKIE, "on a second line");
        let ignored = Request::builder().header("cookie", "session=1");
        assert_eq!(admit(&Policy::new().ignore_cookies(), ignored), ANONYMOUS);
    }

    #[test]
    fn credentials_that_the_principal_is_made_of_are_none() {
        let none = ANONYMOUS;
        let authorized = with(Credentials { authorization: true, cookie: false });
        let both = with(Credentials { authorization: true, cookie: true });
        let table = [
            (Principal::header(header::AUTHORIZATION), [none, WITH_COOKIE, WITH_COOKIE, WITH_COOKIE]),
            (Principal::header(header::COOKIE), [authorized, none, none, authorized]),
            (Principal::header(HeaderName::from_static("x-user")), [authorized, WITH_COOKIE, WITH_COOKIE, both]),
            (Principal::cookie("sid"), [authorized, none, WITH_COOKIE, authorized]),
            (Principal::extension(|_: &String| None), [none, none, none, none]),
            (Principal::from_fn(|_| None), [none, none, none, none]),
        ];
        for (principal, expected) in table {
            let policy = Policy::new().key(KeySpec::new().principal(principal.clone()));
            let get = |fields: &[(&str, &str)]| {
                fields.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value))
            };
            let found = [
                admit(&policy, get(&[("authorization", "Basic YQ==")])),
                admit(&policy, get(&[("cookie", "sid=1")])),
                admit(&policy, get(&[("cookie", "sid=1; theme=dark")])),
                admit(&policy, get(&[("authorization", "Basic YQ=="), ("cookie", "sid=1")])),
            ];
            assert_eq!(found, expected, "{principal:?}");
        }
    }

    #[test]
    fn a_field_that_overrides_the_target_is_keyed_ignored_or_bypasses() {
        let name = HeaderName::from_static;
        let policy = Policy::new().key(
            KeySpec::new()
                .override_field(name("x-forwarded-port"), OverrideRule::Irrelevant)
                .override_field(name("x-original-url"), OverrideRule::Bypass)
                .override_field(name("cookie2"), OverrideRule::Keyed)
                .override_field(name("x-http-method"), OverrideRule::Irrelevant),
        );
        let keyed = Admission::Lookup(Carried { overrides: true, ..Carried::default() });
        let bypass = Admission::Bypass;
        for (name, by_default, expected) in [
            ("x-forwarded-host", keyed, keyed),
            ("x_forwarded_host", keyed, keyed),
            ("front-end-https", keyed, keyed),
            ("x-forwarded-for", ANONYMOUS, ANONYMOUS),
            ("x-forwarded-port", keyed, ANONYMOUS),
            ("x-original-url", keyed, bypass(BypassReason::Override)),
            ("cookie2", ANONYMOUS, keyed),
            ("x-http-method", bypass(BypassReason::MethodOverride), bypass(BypassReason::MethodOverride)),
            ("x_http_method", bypass(BypassReason::MethodOverride), bypass(BypassReason::MethodOverride)),
        ] {
            let request = || Request::get("/").header(name, "a");
            assert_eq!(admit(&Policy::new(), request()), by_default, "{name}");
            assert_eq!(admit(&policy, request()), expected, "{name}");
        }
    }

    #[test]
    fn content_that_no_field_announces_is_content_all_the_same() {
        let request = Request::new(());
        let admission = Policy::new().admit(RequestHead::of(&request), true);

        assert_eq!(admission, Admission::Bypass(BypassReason::Content));
    }

    #[test]
    fn the_operator_can_send_requests_past_the_cache() {
        let policy = Policy::new().bypass_when(|head| head.uri().path().starts_with("/admin"));

        assert_eq!(admit(&policy, Request::get("/admin/x")), Admission::Bypass(BypassReason::Policy));
        assert_eq!(admit(&policy, Request::get("/")), ANONYMOUS);
    }
}
