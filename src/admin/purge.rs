//! What a client wants purged.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, error::Category};
use tokio::time::timeout;

use super::problem::Problem;
use crate::field::{Singleton, singleton, trim_ows};

/// What to purge, understood and possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PurgeRequest {
    pub(super) target: Target,
    pub(super) is_soft: bool,
}

/// What is purged. A URL or tag without a tenant is of the one that the cache finds itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Url { url: String, tenant: Option<String> },
    Tag { tag: String, tenant: Option<String> },
    Tenant(String),
    All,
}

impl PurgeRequest {
    /// Reads the JSON of a request. What is not understood whole is refused whole: a member that was mistyped must not
    /// make a larger purge of a smaller one.
    pub(super) fn read(content: &[u8]) -> Result<Self, Problem> {
        // serde would take a list for the members in their order.
        if content.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::unprocessable(ONE_OF.to_owned()));
        }
        let members: Members = serde_json::from_slice(content).map_err(|error| match error.classify() {
            Category::Data => Problem::unprocessable(error.to_string()),
            Category::Io | Category::Syntax | Category::Eof => Problem::new(StatusCode::BAD_REQUEST, error.to_string()),
        })?;
        let is_soft = members.soft;
        let target = match members {
            Members { url: Some(url), tag: None, all: None, tenant, .. } => {
                Target::Url { url: legal_url(url)?, tenant: tenant.map(legal_name).transpose()? }
            }
            Members { tag: Some(tag), url: None, all: None, tenant, .. } => {
                Target::Tag { tag: legal_name(tag)?, tenant: tenant.map(legal_name).transpose()? }
            }
            Members { tenant: Some(tenant), url: None, tag: None, all: None, .. } => {
                Target::Tenant(legal_name(tenant)?)
            }
            Members { all: Some(true), url: None, tag: None, tenant: None, .. } => Target::All,
            _ => return Err(Problem::unprocessable(ONE_OF.to_owned())),
        };
        Ok(Self { target, is_soft })
    }

    /// As the client said it.
    pub(super) fn described(&self) -> Value {
        let mut members = Map::new();
        let mut say = |name: &str, value: Value| members.insert(name.to_owned(), value);
        let tenant = match &self.target {
            Target::Url { url, tenant } => {
                say("url", url.as_str().into());
                tenant.as_ref()
            }
            Target::Tag { tag, tenant } => {
                say("tag", tag.as_str().into());
                tenant.as_ref()
            }
            Target::Tenant(tenant) => Some(tenant),
            Target::All => {
                say("all", true.into());
                None
            }
        };
        if let Some(tenant) = tenant {
            say("tenant", tenant.as_str().into());
        }
        say("soft", self.is_soft.into());
        members.into()
    }
}

/// The content of a purge, if it is JSON and not too long.
pub(super) async fn content<B>(request: Request<B>) -> Result<Bytes, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // A form of somebody else's page can not send this without asking us first, and we do not allow it.
    if !is_json(request.headers()) {
        let detail = "a purge is sent with `Content-Type: application/json`".to_owned();
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let too_long = || {
        let detail = format!("a purge has at most {MAX_BYTES} bytes; send several");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    // Refused before it is sent, where the length is known.
    if request.body().size_hint().lower() > MAX_BYTES as u64 {
        return Err(too_long());
    }
    match timeout(PATIENCE, Limited::new(request.into_body(), MAX_BYTES).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the request broke off".to_owned())),
        // RFC 9110 §15.5.9.
        Err(_) => {
            let detail = format!("the request was not there within {} s", PATIENCE.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// RFC 9110 §8.3.1: a media type has no case, and may have parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Singleton::One(value) = singleton(headers, &CONTENT_TYPE) else { return false };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    trim_ows(media_type).eq_ignore_ascii_case(b"application/json")
}

fn legal_url(url: String) -> Result<String, Problem> {
    let is_legal = url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_legal {
        return Ok(url);
    }
    Err(Problem::unprocessable("`url` is no URL; write https://shop.example/products?a=1".to_owned()))
}

fn legal_name(name: String) -> Result<String, Problem> {
    if name.is_empty() { Err(Problem::unprocessable("a tag and a tenant have a name".to_owned())) } else { Ok(name) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(default, deserialize_with = "given")]
    url: Option<String>,
    #[serde(default, deserialize_with = "given")]
    tag: Option<String>,
    #[serde(default, deserialize_with = "given")]
    tenant: Option<String>,
    #[serde(default, deserialize_with = "given")]
    all: Option<bool>,
    #[serde(default)]
    soft: bool,
}

/// A member that is there has a value: `"tenant":null` is a variable that was not set, and not a wish.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

const ONE_OF: &str = "a purge has one of `url`, `tag`, `tenant` and `\"all\":true`; \
    with `url` and `tag` there may be a `tenant`, and with each `soft`";

const MAX_BYTES: usize = 64 << 10;

/// How long the content of a purge may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<PurgeRequest, u16> {
        PurgeRequest::read(text.as_bytes()).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn what_is_understood_whole_is_purged() {
        let hard = |target: Target| Ok(PurgeRequest { target, is_soft: false });
        let shop = "https://shop.example/a?b=1".to_owned();
        let acme = Some("acme".to_owned());
        let table = [
            (r#"{"url":"https://shop.example/a?b=1"}"#, hard(Target::Url { url: shop.clone(), tenant: None })),
            (
                r#"{"url":"https://shop.example/a?b=1","tenant":"acme"}"#,
                hard(Target::Url { url: shop, tenant: acme.clone() }),
            ),
            (r#"{"tag":"product:7"}"#, hard(Target::Tag { tag: "product:7".to_owned(), tenant: None })),
            (r#" {"tenant":"acme","tag":"x"} "#, hard(Target::Tag { tag: "x".to_owned(), tenant: acme })),
            (r#"{"tenant":"acme","soft":false}"#, hard(Target::Tenant("acme".to_owned()))),
            (r#"{"all":true,"soft":true}"#, Ok(PurgeRequest { target: Target::All, is_soft: true })),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_is_refused_whole() {
        let malformed = ["", "{", r#"{"all":tru}"#, r#"{"all":true}{}"#, r#"{"all":true"#, "\u{feff}{}"];
        let senseless = [
            "{}",
            "null",
            "7",
            r#"["https://shop.example/"]"#,
            r#""all""#,
            r#"{"all":false}"#,
            r#"{"all":1}"#,
            r#"{"all":true,"al":true}"#,
            r#"{"all":true,"all":true}"#,
            r#"{"all":true,"tenant":"acme"}"#,
            r#"{"all":true,"tag":"x"}"#,
            r#"{"all":false,"tag":"x"}"#,
            r#"{"url":"https://shop.example/","tag":"x"}"#,
            r#"{"tag":"x","tenant":null}"#,
            r#"{"tag":"x","tenant":""}"#,
            r#"{"tag":""}"#,
            r#"{"tag":["x","y"]}"#,
            r#"{"soft":true}"#,
            r#"{"tag":"x","soft":null}"#,
            r#"{"url":"/products"}"#,
            r#"{"url":"shop.example"}"#,
            r#"{"url":"ftp://shop.example/"}"#,
            r#"{"url":"https://"}"#,
            r#"{"url":""}"#,
        ];
        for (status, texts) in [(400, &malformed[..]), (422, &senseless)] {
            for text in texts {
                assert_eq!(read(text), Err(status), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_described_is_read_as_the_same(tag in ".+", tenant in proptest::option::of(".+"), is_soft: bool) {
            let asked = PurgeRequest { target: Target::Tag { tag, tenant }, is_soft };
            prop_assert_eq!(read(&asked.described().to_string()), Ok(asked));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = PurgeRequest::read(&bytes);
        }
    }
}
