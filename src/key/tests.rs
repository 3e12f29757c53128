use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use http::{
    HeaderValue, Method, Request,
    header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HOST},
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::rfc9111::{normal::testing::negotiating, variants::Nominated};

/// Undoes the escapes of a component, strictly.
pub(super) fn unescape(component: &str) -> Vec<u8> {
    let mut parts = component.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        assert!(!digits.contains(|c: char| c.is_ascii_lowercase()), "{component}");
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend(rest.as_bytes());
    }
    bytes
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

fn key(spec: &KeySpec, request: &Request<()>) -> Result<String, KeyError> {
    let head = RequestHead::of(request);
    spec.write(&head, true, &Tenant::shared(), None, String::new())
        .map(CacheKey::into_buffer)
        .map_err(|(error, _)| error)
}

fn query_in_key(rule: &QueryRule, uri: &str) -> String {
    let key = key(&KeySpec::new().query(rule.clone()), &get(uri)).unwrap();
    key.strip_prefix("|GET||/a").unwrap().to_owned()
}

#[test]
fn key_has_tenant_method_authority_path_and_sorted_query() {
    let mut request = get("/products?b=2&a=1");
    request.headers_mut().insert(HOST, HeaderValue::from_static("Shop.example"));
    let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::named("acme")).unwrap();

    assert_eq!(key.as_str(), "acme|GET|shop.example|/products?a=1&b=2");
    assert_eq!(KeySpec::new().key((&request.into_parts().0).into(), &Tenant::named("acme")), Some(key));
}

#[test]
fn head_counts_as_get_and_any_other_method_as_itself() {
    for (method, expected) in
        [("GET", "GET"), ("HEAD", "GET"), ("POST", "POST"), ("get", "get"), ("head", "head"), ("A|%~", "A%7C%25%7E")]
    {
        let request = Request::builder().method(method).uri("/").body(()).unwrap();

        assert_eq!(key(&KeySpec::new(), &request).unwrap(), format!("|{expected}||/"));
    }
}

#[test]
fn path_is_kept_byte_by_byte() {
    for (uri, expected) in [
        ("/", "/"),
        ("//a/./b/../c;x=1/", "//a/./b/../c;x=1/"),
        ("/A", "/A"),
        ("/%41", "/%2541"),
        ("/a%7Cb", "/a%257Cb"),
        ("/a%7cb", "/a%257cb"),
        ("/a|b", "/a%7Cb"),
        ("/~a", "/%7Ea"),
        ("/é", "/%C3%A9"),
        ("*", "*"),
    ] {
        assert_eq!(key(&KeySpec::new(), &get(uri)).unwrap(), format!("|GET||{expected}"), "{uri}");
    }
}

#[test]
fn query_is_sorted_by_name_and_nothing_is_merged() {
    for (uri, expected) in [
        ("/a", ""),
        ("/a?", "?"),
        ("/a?&", "?&"),
        ("/a?b&", "?&b"),
        ("/a?b=1&a=2", "?a=2&b=1"),
        ("/a?a=2&b=0&a=1", "?a=2&a=1&b=0"),
        ("/a?a=&a", "?a=&a"),
        ("/a?a&a=", "?a&a="),
        ("/a?b;a=1&a", "?a&b;a=1"),
        ("/a?a=b=c&=x", "?=x&a=b=c"),
        ("/a?ab=1&a=2", "?a=2&ab=1"),
        ("/a?b=%7e&a=|", "?a=%7C&b=%257e"),
        ("/a?A=1&%61=1&a=1&B=1", "?%2561=1&A=1&B=1&a=1"),
        ("/a??a/b", "??a/b"),
    ] {
        assert_eq!(query_in_key(&QueryRule::keep(), uri), expected, "{uri}");
    }
}

#[test]
fn many_parameters_are_sorted_like_few() {
    for count in [1, 2, 15, 16, 17, 18, 100] {
        let ascending: Vec<_> = (0..count).map(|n| format!("p{:03}={}", n / 2, 1000 - n)).collect();
        let mut shuffled = ascending.clone();
        shuffled.sort_by_key(|piece| (piece.as_bytes()[3], u8::MAX - piece.as_bytes()[2]));

        let uri = format!("/a?{}", shuffled.join("&"));
        assert_eq!(query_in_key(&QueryRule::keep(), &uri), format!("?{}", ascending.join("&")));
    }
}

#[test]
fn a_query_with_too_many_parameters_has_no_key() {
    let write = |rule: QueryRule, ands: usize| {
        let spec = KeySpec::new().query(rule);
        key(&spec, &get(&format!("/a?{}", "&".repeat(ands)))).map(|_| ())
    };
    let over = Err(KeyError::TooManyParameters);
    for rule in
        [QueryRule::keep(), QueryRule::keep().normalized(), QueryRule::without(["utm_*"]), QueryRule::verbatim()]
    {
        assert_eq!((write(rule.clone(), 255), write(rule.clone(), 256)), (Ok(()), over), "{rule:?}");
        let few = rule.clone().max_parameters(3);
        assert_eq!((write(few.clone(), 2), write(few, 3)), (Ok(()), over), "{rule:?}");
        assert_eq!(write(rule.max_parameters(0), 0), over);
    }
    // Those that do not count are looked at all the same.
    assert_eq!(write(QueryRule::only(["a"]), 256), over);
    assert_eq!(write(QueryRule::ignore().max_parameters(0), 1000), Ok(()));
    assert_eq!(key(&KeySpec::new().query(QueryRule::keep().max_parameters(0)), &get("/a")), Ok("|GET||/a".to_owned()));
}

#[test]
fn only_the_named_parameters_count() {
    let rule = QueryRule::only(["b", "a", "x_*", "*y"]);
    for (uri, expected) in [
        ("/a", ""),
        ("/a?", ""),
        ("/a?c=1", ""),
        ("/a?c=1&b=2&a=1&aa=3&A=4", "?a=1&b=2"),
        ("/a?x_=1&x_b&x=2&y=3&*y=4", "?*y=4&x_=1&x_b"),
        ("/a?a&a=", "?a&a="),
        // An origin that decodes names sees these.
        ("/a?%61=1&%78_1=2&%6", "?%2561=1&%2578_1=2"),
    ] {
        assert_eq!(query_in_key(&rule, uri), expected, "{uri}");
    }
    assert_eq!(query_in_key(&QueryRule::only([""]), "/a?&b&=1"), "?&=1");
    assert_eq!(query_in_key(&QueryRule::only(["*"]), "/a?b&a"), "?a&b");
    assert_eq!(query_in_key(&QueryRule::only::<[&str; 0]>([]), "/a?b&a"), "");
    assert_eq!(query_in_key(&QueryRule::only(["a b"]), "/a?a+b=1&a%20b=2&a%2Bb=3"), "?a%2520b=2&a+b=1");
}

#[test]
fn all_but_the_named_parameters_count() {
    let rule = QueryRule::without(["utm_*", "sid", "a*b"]);
    for (uri, expected) in [
        ("/a", ""),
        ("/a?", "?"),
        ("/a?sid=1", ""),
        ("/a?sid=1&", "?"),
        ("/a?sid&utm_source=x&utm_=y", ""),
        ("/a?z=1&sids=2&utm=3&a*b=4&acb=5", "?acb=5&sids=2&utm=3&z=1"),
        ("/a?%73id=1&utm%5Fx=2", "?%2573id=1&utm%255Fx=2"),
    ] {
        assert_eq!(query_in_key(&rule, uri), expected, "{uri}");
    }
    assert_eq!(query_in_key(&QueryRule::without(["*"]), "/a?b&a"), "");
}

#[test]
fn an_ignored_query_is_the_same_as_none_whatever_its_length() {
    let long = format!("/a?{}", "x".repeat(10_000));
    for uri in ["/a", "/a?", "/a?b=1", &long] {
        assert_eq!(query_in_key(&QueryRule::ignore(), uri), "", "{uri}");
        assert_eq!(query_in_key(&QueryRule::ignore().normalized(), uri), "", "{uri}");
    }
}

#[test]
fn normalized_parameters_are_equal_if_their_decoded_bytes_are() {
    let rule = QueryRule::keep().normalized();
    let normal = |uri: &str| query_in_key(&rule, uri);

    for same in [
        &["/a?~=~", "/a?%7e=%7E"] as &[&str],
        &["/a?a+b", "/a?a%20b"],
        &["/a?b=1&a=1", "/a?%61=1&b=%31"],
        &["/a?%zz", "/a?%25zz"],
        &["/a?a=b=c", "/a?a=b%3dc"],
        &["/a?b&a&c", "/a?c&%61&b"],
    ] {
        for uri in same {
            assert_eq!(normal(uri), normal(same[0]), "{uri}");
        }
    }
    let different = [
        "/a",
        "/a?",
        "/a?&",
        "/a?a",
        "/a?a=",
        "/a?%ff",
        "/a?%fe",
        "/a?%ef%bf%bd",
        "/a?a+b",
        "/a?a%2bb",
        "/a?a%26b",
        "/a?a&b",
        "/a?a%3Db",
        "/a?a=b",
        "/a?a=1&a=2",
        "/a?a=2&a=1",
    ];
    for (index, uri) in different.iter().enumerate() {
        for other in &different[..index] {
            assert_ne!(normal(uri), normal(other), "{uri} {other}");
        }
    }
    assert_eq!(normal("/a?%7e=%7E&a+b=%c3%a9"), "?%257E=%257E&a+b=%25C3%25A9");
}

#[test]
fn names_are_compared_decoded_when_the_query_is_normalized() {
    let only = QueryRule::only(["é", "a*"]).normalized();
    let without = QueryRule::without(["é", "a*"]).normalized();

    assert_eq!(query_in_key(&only, "/a?%c3%a9=1&%61b=2&c"), "?%25C3%25A9=1&ab=2");
    assert_eq!(query_in_key(&without, "/a?%c3%a9=1&%61b=2&c"), "?c");
    assert_eq!(query_in_key(&without, "/a?%c3%a9=1"), "");
}

#[test]
fn chosen_fields_and_cookies_are_sorted_and_absent_differs_from_empty() {
    let spec = KeySpec::new()
        .cookie("b")
        .header(ACCEPT_LANGUAGE)
        .cookie("a=;|")
        .header(ACCEPT)
        .header(ACCEPT_LANGUAGE)
        .cookie("b");
    let key_with = |lines: &[(HeaderName, &'static [u8])]| {
        let mut request = get("/?x");
        for (name, value) in lines {
            request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        }
        key(&spec, &request).unwrap()
    };

    for (lines, expected) in [
        (&[] as &[(HeaderName, &[u8])], "|h:accept|h:accept-language|c:a%3D%3B%7C|c:b"),
        (&[(ACCEPT, b"")], "|h:accept=|h:accept-language|c:a%3D%3B%7C|c:b"),
        (&[(ACCEPT, b"b"), (ACCEPT, b"a")], "|h:accept=b=a|h:accept-language|c:a%3D%3B%7C|c:b"),
        (&[(ACCEPT, b"b,a=|~ \xe9")], "|h:accept=b,a%3D%7C%7E%20%E9|h:accept-language|c:a%3D%3B%7C|c:b"),
        (&[(COOKIE, b"b=1"), (COOKIE, b"b=2; c=3")], "|h:accept|h:accept-language|c:a%3D%3B%7C|c:b=1=2"),
    ] {
        assert_eq!(key_with(lines), format!("|GET||/?x{expected}"), "{lines:?}");
    }
    assert!(spec.keys_cookie(b"b"));
    assert!(!spec.keys_cookie(b"B"));
    assert!(!spec.keys_cookie(b"c"));
}

#[test]
fn target_uri_stands_for_the_uri_of_the_request_when_it_is_known() {
    let spec = KeySpec::new().target_uri(|head| head.extensions().get());
    let mut nested = get("/list");
    let direct = get("/list");
    nested.extensions_mut().insert("/shop/list?b&a".parse::<http::Uri>().unwrap());

    assert_eq!(key(&spec, &nested).unwrap(), "|GET||/shop/list?a&b");
    assert_eq!(key(&spec, &direct).unwrap(), "|GET||/list");
}

#[test]
fn a_request_without_a_key_gives_the_buffer_back() {
    let mut two_hosts = get("/");
    two_hosts.headers_mut().append(HOST, HeaderValue::from_static("a"));
    two_hosts.headers_mut().append(HOST, HeaderValue::from_static("b"));
    for (request, tenant, expected) in [
        (get("/"), Tenant::unidentified(), KeyError::UnidentifiedTenant),
        (two_hosts, Tenant::shared(), KeyError::AmbiguousAuthority),
        (get(&format!("/{}", "a".repeat(8192))), Tenant::shared(), KeyError::TooLong),
        (get("/"), Tenant::named("a".repeat(8192)), KeyError::TooLong),
    ] {
        let head = RequestHead::of(&request);
        let (error, buffer) =
            KeySpec::new().write(&head, true, &tenant, None, String::with_capacity(1234)).unwrap_err();

        assert_eq!(error, expected);
        assert!(buffer.capacity() >= 1234);
        assert_eq!(KeySpec::new().key(head, &tenant), None);
    }
}

#[test]
fn a_reused_buffer_leaves_no_trace_of_the_key_before() {
    let (first, second) = (get("/long/path?with=query"), get("/b"));
    let (first, second) = (RequestHead::of(&first), RequestHead::of(&second));
    let spec = KeySpec::new();

    let buffer = spec.write(&first, true, &Tenant::named("acme"), None, "garbage".to_owned()).unwrap().into_buffer();
    let reused = spec.write(&second, true, &Tenant::shared(), None, buffer).unwrap();

    assert_eq!(reused.as_str(), "|GET||/b");
}

#[test]
fn the_digest_of_content_is_the_last_component() {
    let mut request = Request::builder().method("QUERY").uri("/a?b").body(()).unwrap();
    request.headers_mut().insert(COOKIE, HeaderValue::from_static("c=1|b:2"));
    let (spec, digest) = (KeySpec::new().cookie("c"), blake3::hash(b"content"));
    let write = |content| {
        spec.write(&RequestHead::of(&request), true, &Tenant::shared(), content, String::new()).unwrap().into_buffer()
    };

    assert_eq!(write(None), "|QUERY||/a?b|c:c=1%7Cb:2");
    assert_eq!(write(Some(&digest)), format!("|QUERY||/a?b|c:c=1%7Cb:2|b:{}", digest.to_hex()));
}

#[test]
fn the_principal_is_a_component_of_its_own() {
    let by_user = KeySpec::new().cookie("c").principal(Principal::header(HeaderName::from_static("x-user")));
    let mut request = Request::get("/a").header("x-user", "alice").header(COOKIE, "c=1|p:bob").body(()).unwrap();
    let digest = blake3::hash(b"content");
    let head = RequestHead::of(&request);
    let whole = by_user.write(&head, true, &Tenant::shared(), Some(&digest), String::new()).unwrap();
    let bare = KeySpec::new().cookie("c").key(head, &Tenant::named("p:a")).unwrap();

    assert_eq!(whole.as_str(), format!("|GET||/a|c:c=1%7Cp:bob|p:alice|b:{}", digest.to_hex()));
    assert_eq!((whole.has_principal(), whole.has_tenant()), (true, false));
    assert_eq!((bare.has_principal(), bare.has_tenant()), (false, true));
    assert_eq!(by_user.of_target().key(head, &Tenant::shared()).unwrap().as_str(), "|GET||/a");

    request.headers_mut().remove("x-user");
    assert_eq!(key(&by_user, &request), Err(KeyError::UnidentifiedPrincipal));
}

#[test]
fn a_key_with_a_digest_has_room_for_it() {
    let request = get(&format!("/{}", "a".repeat(MAX_BYTES - 64)));
    let (head, digest) = (RequestHead::of(&request), blake3::hash(b""));
    let write = |content| KeySpec::new().write(&head, true, &Tenant::shared(), content, String::new());

    assert!(write(None).is_ok());
    assert!(matches!(write(Some(&digest)), Err((KeyError::TooLong, _))));
}

#[test]
fn a_key_of_eight_kibibytes_is_the_longest() {
    let longest = MAX_BYTES - "|GET||".len();
    for (uri, fits) in [
        (format!("/{}", "a".repeat(longest - 1)), true),
        (format!("/{}", "a".repeat(longest)), false),
        (format!("/?{}", "b".repeat(longest - 2)), true),
        (format!("/?{}", "b".repeat(longest - 1)), false),
        (format!("/{}", "|".repeat(longest / 2)), false),
        (format!("/?{}", "b&a&".repeat(16_000)), false),
    ] {
        assert_eq!(key(&KeySpec::new(), &get(&uri)).is_ok(), fits, "{}", uri.len());
    }
    let mut request = get("/");
    request.headers_mut().insert(ACCEPT, HeaderValue::from_str(&"a".repeat(MAX_BYTES)).unwrap());
    assert_eq!(key(&KeySpec::new().header(ACCEPT), &request), Err(KeyError::TooLong));
}

#[test]
fn variant_adds_the_lines_of_the_nominated_fields() {
    let mut request = get("/a?x");
    request.headers_mut().append(ACCEPT, HeaderValue::from_static("b"));
    request.headers_mut().append(ACCEPT, HeaderValue::from_static("a="));
    let key = KeySpec::new().key(RequestHead::of(&request), &Tenant::shared()).unwrap();
    let variant = |names: &[HeaderName]| key.variant(names, request.headers());

    assert_eq!(variant(&[]).as_ref(), Ok(&key));
    assert_eq!(variant(&[ACCEPT, ACCEPT_LANGUAGE]).unwrap().as_str(), "|GET||/a?x|v:accept=b=a%3D|v:accept-language");
    request.headers_mut().insert(ACCEPT, HeaderValue::from_str(&"a".repeat(MAX_BYTES)).unwrap());
    assert_eq!(key.variant(&[ACCEPT], request.headers()), Err(KeyError::TooLong));
}

/// The key of a variant without what is before the nominated fields.
fn variant_of(names: &[HeaderName], headers: &HeaderMap) -> String {
    let key = KeySpec::new().key(RequestHead::of(&get("/a")), &Tenant::shared()).unwrap();
    key.variant(names, headers).unwrap().as_str().strip_prefix("|GET||/a").unwrap().to_owned()
}

fn variant_of_lines<V: AsRef<[u8]>>(name: &HeaderName, lines: impl IntoIterator<Item = V>) -> String {
    let lines = lines.into_iter().map(|line| (name.clone(), HeaderValue::from_bytes(line.as_ref()).unwrap()));
    variant_of(std::slice::from_ref(name), &lines.collect())
}

#[test]
fn variant_adds_the_normal_form_of_a_field_that_has_one() {
    for (name, lines, expected) in [
        (ACCEPT_ENCODING, &[] as &[&str], "|v:accept-encoding"),
        (ACCEPT_ENCODING, &[""], "|n:accept-encoding="),
        (ACCEPT_ENCODING, &["*"], "|n:accept-encoding=*"),
        (ACCEPT_ENCODING, &["GZip ; q=0.5", "br"], "|n:accept-encoding=br,gzip;q=0.500"),
        (ACCEPT_ENCODING, &["a|b%7C~"], "|n:accept-encoding=a%7Cb%257c%7E"),
        (ACCEPT_ENCODING, &["br;x=1", "GZip"], "|v:accept-encoding=br;x%3D1=GZip"),
        (ACCEPT_ENCODING, &["br|n:accept-encoding=gzip"], "|v:accept-encoding=br%7Cn:accept-encoding%3Dgzip"),
        (ACCEPT_LANGUAGE, &["en;q=0, de-AT"], "|n:accept-language=de-at,en;q=0.000"),
        (ACCEPT_LANGUAGE, &["de_AT"], "|v:accept-language=de_AT"),
        (ACCEPT, &["A/b"], "|v:accept=A/b"),
    ] {
        assert_eq!(variant_of_lines(&name, lines), expected, "{lines:?}");
    }
}

#[test]
fn a_normal_form_over_the_limit_of_a_key_is_refused() {
    let key = KeySpec::new().key(RequestHead::of(&get("/")), &Tenant::shared()).unwrap();
    let value = HeaderValue::from_str(&"a".repeat(MAX_BYTES)).unwrap();
    let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value)]);

    assert_eq!(key.variant(&[ACCEPT_ENCODING], &headers), Err(KeyError::TooLong));
}

#[test]
fn a_long_key_is_shortened_to_a_head_and_a_digest() {
    let of_length = |length: usize| CacheKey("k".repeat(length));
    assert_eq!(of_length(250).short(), of_length(250).as_str());

    let digest = blake3::hash("k".repeat(251).as_bytes()).to_hex();
    assert_eq!(of_length(251).short(), format!("{}~{digest}", "k".repeat(185)));
    assert_eq!(of_length(251).short().len(), 250);
    assert_ne!(of_length(251).short(), of_length(252).short());
}

#[test]
fn no_path_can_name_the_short_form_of_another_key() {
    let long = KeySpec::new().key(RequestHead::of(&get(&format!("/{}", "a".repeat(300)))), &Tenant::shared()).unwrap();
    let path = long.short().strip_prefix("|GET||").unwrap().to_owned();

    let forged = KeySpec::new().key(RequestHead::of(&get(&path)), &Tenant::shared()).unwrap();

    assert_ne!(forged.short(), long.short());
}

#[test]
fn debug_shows_a_digest_and_display_the_short_form() {
    let key = KeySpec::new().key(RequestHead::of(&get("/search?q=secret")), &Tenant::shared()).unwrap();

    assert_eq!(key.to_string(), "|GET||/search?q=secret");
    assert_eq!(format!("{key:?}"), format!("CacheKey({})", &blake3::hash(key.as_str().as_bytes()).to_hex()[..16]));
}

#[test]
fn a_key_hashes_and_compares_as_its_text() {
    let key = KeySpec::new().key(RequestHead::of(&get("/a")), &Tenant::shared()).unwrap();
    let hasher = RandomState::new();

    assert_eq!(hasher.hash_one(&key), hasher.hash_one("|GET||/a"));
    assert_eq!(HashMap::from([(key, 1)]).get("|GET||/a"), Some(&1));
}

#[test]
fn no_component_can_pass_for_two() {
    let key = |tenant: &str, host: &str, uri: &str| {
        let request = Request::builder().method("get").uri(uri).header(HOST, host).body(()).unwrap();
        KeySpec::new().key(RequestHead::of(&request), &Tenant::named(tenant)).unwrap()
    };

    // Joined with `|` and not escaped, both of each pair would be one text.
    assert_ne!(key("a|get", "b", "/"), key("a", "get|b", "/"));
    assert_ne!(key("a|get|b", "c", "/"), key("a", "b|get|c", "/"));
    assert_ne!(key("a%7Cget", "b", "/"), key("a|get", "b", "/"));
    assert_ne!(key("a", "b", "/|/c"), key("a", "b", "/%7C/c"));
}

/// A request as its components, for the model of what a key must tell apart.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    tenant: String,
    method: String,
    host: Option<String>,
    path: String,
    query: Option<String>,
    accept: Vec<Vec<u8>>,
    cookie: Vec<Vec<u8>>,
    /// Fields that override the target, by their place in [`OVERRIDING`].
    overriding: Vec<(usize, String)>,
    principal: WhoAsks,
    content: Option<u8>,
}

/// How the principal is found, and what the request says of it.
#[derive(Clone, Debug, PartialEq)]
enum WhoAsks {
    IsNotAsked,
    Named(String),
    Secret(String),
}

/// The first is no such field, the second is not looked at.
const OVERRIDING: [&str; 6] =
    ["x-forwarded-for", "x-forwarded-port", "x-forwarded-host", "x_forwarded_host", "x-host", "front-end-https"];

/// What the two requests of a pair must agree in to share a key, written as plainly as possible.
#[derive(Debug, PartialEq)]
struct Meaning {
    tenant: String,
    method: String,
    host: String,
    path: String,
    query: Option<Vec<(String, String)>>,
    accept: Vec<Vec<u8>>,
    /// For the cookies `a` and `0`: whether it is plain, and its value or, if not plain, the whole piece.
    cookies: [Vec<(bool, String)>; 2],
    /// The lines of each.
    overriding: Vec<Vec<String>>,
    principal: WhoAsks,
    content: Option<u8>,
}

impl Sample {
    fn spec() -> KeySpec {
        let port = HeaderName::from_static(OVERRIDING[1]);
        KeySpec::new().header(ACCEPT).cookie("a").cookie("0").override_field(port, OverrideRule::Irrelevant)
    }

    fn own_spec(&self) -> KeySpec {
        match &self.principal {
            WhoAsks::IsNotAsked => Self::spec(),
            WhoAsks::Named(_) => Self::spec().principal(Principal::extension(|name: &String| Some(name.into()))),
            WhoAsks::Secret(_) => Self::spec().principal(Principal::header(AUTHORIZATION)),
        }
    }

    fn tenant(&self) -> Tenant {
        if self.tenant.is_empty() { Tenant::shared() } else { Tenant::named(self.tenant.as_str()) }
    }

    fn request(&self) -> Option<Request<()>> {
        if self.path.contains('?') {
            return None;
        }
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let mut request =
            Request::builder().method(self.method.as_bytes()).uri(format!("/{}{query}", self.path)).body(()).ok()?;
        for (name, values) in [(ACCEPT, &self.accept), (COOKIE, &self.cookie)] {
            for value in values {
                request.headers_mut().append(&name, HeaderValue::from_bytes(value).ok()?);
            }
        }
        if let Some(host) = &self.host {
            request.headers_mut().append(HOST, HeaderValue::from_str(host).ok()?);
        }
        for (at, value) in &self.overriding {
            request.headers_mut().append(OVERRIDING[*at], HeaderValue::from_str(value).ok()?);
        }
        match &self.principal {
            WhoAsks::IsNotAsked => {}
            WhoAsks::Named(name) => drop(request.extensions_mut().insert(name.clone())),
            WhoAsks::Secret(secret) => {
                request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(secret).ok()?);
            }
        }
        Some(request)
    }

    fn key(&self) -> Option<CacheKey> {
        let request = self.request()?;
        let digest = self.content.map(|content| blake3::hash(&[content]));
        let spec = self.own_spec();
        spec.write(&RequestHead::of(&request), true, &self.tenant(), digest.as_ref(), String::new()).ok()
    }

    fn meaning(&self) -> Meaning {
        Meaning {
            tenant: self.tenant.clone(),
            method: if self.method == "HEAD" { "GET".to_owned() } else { self.method.clone() },
            host: self.host.clone().unwrap_or_default().to_ascii_lowercase(),
            path: self.path.clone(),
            query: self.query.as_ref().map(|query| {
                let mut pieces: Vec<_> = query
                    .split('&')
                    .map(|piece| (piece.split('=').next().unwrap().to_owned(), piece.to_owned()))
                    .collect();
                pieces.sort_by(|a, b| a.0.cmp(&b.0));
                pieces
            }),
            accept: self.accept.clone(),
            cookies: [self.cookie_meaning("a", "%61"), self.cookie_meaning("0", "%30")],
            overriding: (2..OVERRIDING.len())
                .map(|name| {
                    self.overriding.iter().filter(|(at, _)| *at == name).map(|(_, line)| line.clone()).collect()
                })
                .collect(),
            principal: self.principal.clone(),
            content: self.content,
        }
    }

    fn cookie_meaning(&self, name: &str, escaped: &str) -> Vec<(bool, String)> {
        let lines = self.cookie.iter().map(|line| String::from_utf8(line.clone()).unwrap());
        let pieces = lines.flat_map(|line| line.split(';').map(|piece| piece.trim().to_owned()).collect::<Vec<_>>());
        pieces
            .filter_map(|piece| {
                if let Some(value) = piece.strip_prefix(&format!("{name}=")) {
                    return Some((true, value.to_owned()));
                }
                let piece_name = piece.split('=').next().unwrap().trim().to_owned();
                (piece_name == name || piece_name == escaped).then_some((false, piece))
            })
            .collect()
    }
}

/// Bytes that mean something in a key, in a query or in an escape.
fn nasty(extra: &'static [&'static str]) -> impl Strategy<Value = String> {
    let mut alphabet = vec!["|", "%", "~", "a", "A", "0", "%7C", "%25", "%61", ":", "h:", "GET"];
    alphabet.extend(extra);
    vec(select(alphabet), 0..5).prop_map(|parts| parts.concat())
}

fn principals() -> impl Strategy<Value = WhoAsks> {
    let text = || nasty(&["=", "|p:", "p:", "|b:", "é"]);
    prop_oneof![
        2 => Just(WhoAsks::IsNotAsked),
        2 => text().prop_map(WhoAsks::Named),
        1 => text().prop_map(WhoAsks::Secret),
        // A name that looks like the digest of a secret.
        1 => text().prop_map(|text| WhoAsks::Named(format!("={}", blake3::hash(text.as_bytes()).to_hex()))),
    ]
}

fn nasty_lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(nasty(&["=", "?", ";", " ", "&", "a=", "0=", "; a=", "|c:a=", "|h:accept="]).prop_map(String::into_bytes), 0..3)
}

prop_compose! {
    fn samples()(
        tenant in nasty(&["?", "&", "=", " ", "é"]),
        method in select(vec!["GET", "HEAD", "POST", "get", "|", "%", "~", "%7C"]),
        host in proptest::option::of(nasty(&["&", "=", ";"])),
        path in nasty(&["&", "=", ";", "/", "é"]),
        query in proptest::option::of(nasty(&["&", "=", "?", ";", "&a=", "&0", "é", "|h:accept"])),
        accept in nasty_lines(),
        cookie in nasty_lines(),
        overriding in vec((0..OVERRIDING.len(), nasty(&["=", "|h:x-host=", " "])), 0..3),
        principal in principals(),
        content in proptest::option::of(0..3_u8),
    ) -> Sample {
        Sample { tenant, method: method.to_owned(), host, path, query, accept, cookie, overriding, principal, content }
    }
}

/// A pair that differs in what one or two small edits change, so that keys nearly collide.
fn pairs() -> impl Strategy<Value = (Sample, Sample)> {
    let edit = (0..23_u8, any::<prop::sample::Index>(), select(vec!['|', '%', '=', '&', '?', ';', '~', 'a', 'A', '0']));
    (samples(), samples(), vec(edit, 0..3)).prop_map(|(sample, other, edits)| {
        let mut edited = sample.clone();
        for (what, index, byte) in edits {
            apply(&mut edited, &other, what, &index, byte);
        }
        (sample, edited)
    })
}

fn apply(sample: &mut Sample, other: &Sample, what: u8, index: &prop::sample::Index, byte: char) {
    let insert = |text: &mut String| {
        let at = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(index.index(text.chars().count() + 1));
        text.insert(at.unwrap(), byte);
    };
    let swap_pieces = |text: &mut String| {
        let mut pieces: Vec<_> = text.split('&').collect();
        let at = index.index(pieces.len());
        pieces.rotate_left(at);
        *text = pieces.join("&");
    };
    match what {
        0 => insert(&mut sample.tenant),
        1 => insert(&mut sample.path),
        2 => insert(sample.query.get_or_insert_default()),
        3 => insert(sample.host.get_or_insert_default()),
        4 => swap_pieces(sample.query.get_or_insert_default()),
        // From the end of one component to the start of the next.
        5 => sample.path.insert_str(0, &std::mem::take(&mut sample.tenant)),
        6 => sample.path.push_str(&sample.query.take().unwrap_or_default()),
        7 => sample.query = Some(sample.path.split_off(0)),
        8 => sample.accept = other.accept.clone(),
        9 => sample.cookie = sample.accept.clone(),
        10 => sample.accept = vec![sample.accept.concat()],
        11 => sample.host.clone_from(&other.host),
        // What a key could mistake for its own escapes and separators.
        12 => sample.accept = vec![sample.accept.join(&b'=')],
        13 => {
            for line in &mut sample.cookie {
                *line = String::from_utf8_lossy(line).replace("; a=", "=").into_bytes();
            }
        }
        14 => sample.principal = other.principal.clone(),
        15 => {
            sample.principal = match &sample.principal {
                WhoAsks::IsNotAsked => WhoAsks::Named(std::mem::take(&mut sample.tenant)),
                WhoAsks::Named(name) => WhoAsks::Secret(name.clone()),
                WhoAsks::Secret(secret) => WhoAsks::Named(format!("={}", blake3::hash(secret.as_bytes()).to_hex())),
            };
        }
        16 => {
            if let WhoAsks::Named(name) | WhoAsks::Secret(name) = &mut sample.principal {
                insert(name);
            }
        }
        17 => sample.content = other.content,
        18 => sample.overriding.clone_from(&other.overriding),
        19 => sample.overriding.reverse(),
        20 => {
            for (at, _) in &mut sample.overriding {
                *at = (*at + 1) % OVERRIDING.len();
            }
        }
        21 => sample.method.clone_from(&other.method),
        _ => {
            let escape = |text: &str| text.replace(byte, &format!("%{:02X}", u32::from(byte)));
            sample.tenant = escape(&sample.tenant);
            sample.path = escape(&sample.path);
            sample.query = sample.query.as_deref().map(escape);
        }
    }
}

/// A coding or a language, in lower case, and its weight in thousandths.
type Weighted = (String, u16);

/// A few codings, each once, sorted.
fn codings() -> impl Strategy<Value = Vec<Weighted>> {
    let weight = prop_oneof![select(vec![0, 1, 10, 100, 500, 1000]), 0..=1000_u16];
    proptest::collection::btree_map("[a-c|%~*]{1,2}|gzip|identity", weight, 1..6)
        .prop_map(|map| map.into_iter().collect())
}

/// Members without blanks, all with three decimals.
fn plain(members: &[Weighted]) -> String {
    let member = |(name, weight): &Weighted| format!("{name};q={}.{:03}", weight / 1000, weight % 1000);
    members.iter().map(member).collect::<Vec<_>>().join(",")
}

/// Ways to write the same members in the same order: other case, blanks, decimals, lines and repetition.
fn spelled(members: Vec<Weighted>) -> impl Strategy<Value = Vec<String>> {
    let spellings = vec((any::<[bool; 5]>(), select(vec!["", " ", "\t", " \t "])), members.len());
    spellings.prop_map(move |spellings| {
        let mut lines = vec![String::new()];
        for ((name, weight), ([upper, short, twice, bare, new_line], blank)) in members.iter().zip(spellings) {
            let name = if upper { name.to_ascii_uppercase() } else { name.clone() };
            let decimals = format!("{}.{:03}", weight / 1000, weight % 1000);
            let decimals = if short { decimals.trim_end_matches('0') } else { &decimals };
            let parameter = if upper { "Q" } else { "q" };
            let member = match *weight == 1000 && bare {
                true => format!("{blank}{name}{blank},"),
                false => format!("{blank}{name}{blank};{blank}{parameter}={decimals}{blank},"),
            };
            if new_line {
                lines.push(String::new());
            }
            lines.last_mut().unwrap().push_str(&member.repeat(1 + usize::from(twice)));
        }
        lines
    })
}

/// More than usual; as many as `PROPTEST_CASES` asks for.
fn many_cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(2048), ..config }
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn requests_share_a_key_only_if_they_mean_the_same((one, other) in pairs()) {
        let (Some(one_key), Some(other_key)) = (one.key(), other.key()) else { return Ok(()) };

        prop_assert_eq!(one_key == other_key, one.meaning() == other.meaning(), "{} {}", one_key, other_key);
        prop_assert_eq!(one_key == other_key, one_key.short() == other_key.short());
    }

    #[test]
    fn components_can_be_read_back_from_a_key(sample in samples()) {
        let Some(key) = sample.key() else { return Ok(()) };
        let meaning = sample.meaning();

        let components: Vec<&str> = key.as_str().split('|').collect();
        let digest = |bytes: &[u8]| blake3::hash(bytes).to_hex();
        let (content, components): (Vec<_>, Vec<_>) = components.into_iter().partition(|it| it.starts_with("b:"));
        let (principal, components): (Vec<_>, Vec<_>) = components.into_iter().partition(|it| it.starts_with("p:"));
        let is_overriding = |it: &&str| OVERRIDING.iter().any(|name| it.starts_with(&format!("h:{name}")));
        let (overriding, components): (Vec<_>, Vec<_>) = components.into_iter().partition(is_overriding);
        let [tenant, method, host, target, accept, zero, a] = components[..] else { panic!("{key}") };
        let mut read = vec![Vec::new(); OVERRIDING.len() - 2];
        for component in overriding {
            let mut parts = component.strip_prefix("h:").unwrap().split('=');
            let name = parts.next().unwrap();
            let at = OVERRIDING.iter().position(|other| *other == name).unwrap();
            prop_assert!(read[at - 2].is_empty());
            read[at - 2] = parts.map(|line| String::from_utf8(unescape(line)).unwrap()).collect();
        }
        prop_assert_eq!(read, meaning.overriding);
        match &meaning.principal {
            WhoAsks::IsNotAsked => prop_assert!(principal.is_empty()),
            WhoAsks::Named(name) => {
                prop_assert!(!principal[0].contains('='));
                prop_assert_eq!(unescape(&principal[0]["p:".len()..]), name.as_bytes());
            }
            WhoAsks::Secret(secret) => prop_assert_eq!(principal[0], format!("p:={}", digest(secret.as_bytes()))),
        }
        let expected = meaning.content.map(|content| format!("b:{}", digest(&[content])));
        prop_assert_eq!(content.first().copied(), expected.as_deref());
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut lines = accept.split('=');
        let pieces = meaning.query.map(|query| query.into_iter().map(|(_, piece)| piece).collect::<Vec<_>>().join("&"));

        prop_assert_eq!(unescape(tenant), meaning.tenant.as_bytes());
        prop_assert_eq!(unescape(method), meaning.method.as_bytes());
        prop_assert_eq!(unescape(host), meaning.host.as_bytes());
        prop_assert_eq!(unescape(path), [b"/", meaning.path.as_bytes()].concat());
        prop_assert_eq!(query.map(unescape), pieces.map(String::into_bytes));
        prop_assert_eq!(lines.next(), Some("h:accept"));
        prop_assert_eq!(lines.map(unescape).collect::<Vec<_>>(), meaning.accept);
        for (component, name, expected) in [(a, "c:a", &meaning.cookies[0]), (zero, "c:0", &meaning.cookies[1])] {
            let mut read = Vec::new();
            let mut rest = component.strip_prefix(name).unwrap();
            while let Some(mark) = rest.chars().next() {
                let end = rest[1..].find(['=', ';']).map_or(rest.len(), |at| at + 1);
                read.push((mark == '=', String::from_utf8(unescape(&rest[1..end])).unwrap()));
                rest = &rest[end..];
            }
            prop_assert_eq!(&read, expected);
        }
    }

    #[test]
    fn requests_share_the_key_of_a_variant_if_they_match(one in negotiating(), other in negotiating()) {
        for names in [&[ACCEPT][..], &[ACCEPT_ENCODING], &[ACCEPT_LANGUAGE], &[ACCEPT_ENCODING, ACCEPT_LANGUAGE]] {
            let keys_are_equal = variant_of(names, &one) == variant_of(names, &other);

            prop_assert_eq!(keys_are_equal, Nominated::new(names, &one).matches(&other));
            prop_assert_eq!(keys_are_equal, Nominated::new(names, &other).matches(&one));
        }
    }

    #[test]
    fn codings_may_be_spelled_and_ordered_in_any_way((written, rewritten) in codings().prop_flat_map(|codings| {
        (spelled(codings.clone()), Just(codings).prop_shuffle().prop_flat_map(spelled))
    })) {
        let key = variant_of_lines(&ACCEPT_ENCODING, &written);

        prop_assert!(key.starts_with("|n:"), "{}", key);
        prop_assert_eq!(key, variant_of_lines(&ACCEPT_ENCODING, &rewritten), "{:?} {:?}", written, rewritten);
    }

    #[test]
    fn other_codings_or_weights_are_another_variant(one in codings(), other in codings(), which: prop::sample::Index) {
        let key = |codings: &[Weighted]| variant_of_lines(&ACCEPT_ENCODING, [plain(codings)]);
        let mut edited = one.clone();
        let which = which.index(edited.len());
        edited[which].1 = (edited[which].1 + 1) % 1001;
        let mut fewer = one.clone();
        fewer.remove(which);

        prop_assert_eq!(key(&one) == key(&other), one == other);
        prop_assert_ne!(key(&one), key(&edited));
        prop_assert_ne!(key(&one), key(&fewer));
    }

    #[test]
    fn languages_are_a_variant_of_their_own_in_each_order_of_equal_weights(
        (one, other) in proptest::collection::btree_map("de|en|fr|it-ch|[*]", select(vec![0, 500, 1000]), 1..5)
            .prop_map(|map| map.into_iter().collect::<Vec<Weighted>>())
            .prop_flat_map(|list| (Just(list.clone()).prop_shuffle(), Just(list).prop_shuffle())),
    ) {
        let key = |languages: &[Weighted]| variant_of_lines(&ACCEPT_LANGUAGE, [plain(languages)]);
        let in_order = |languages: &[Weighted]| {
            let mut sorted = languages.to_vec();
            sorted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
            sorted
        };

        prop_assert_eq!(key(&one) == key(&other), in_order(&one) == in_order(&other));
    }

    #[test]
    fn parameters_of_different_names_may_come_in_any_order(
        (pieces, shuffled) in proptest::collection::btree_map("[a-c%]{0,3}", "(=[a-c&&[^&]]{0,2})?", 0..40)
            .prop_map(|map| map.into_iter().map(|(name, value)| name + &value).collect::<Vec<_>>())
            .prop_flat_map(|pieces| (Just(pieces.clone()), Just(pieces).prop_shuffle())),
    ) {
        let of = |pieces: &[String]| query_in_key(&QueryRule::keep(), &format!("/a?{}", pieces.join("&")));

        prop_assert_eq!(of(&pieces), of(&shuffled));
    }

    #[test]
    fn parameters_of_one_name_keep_their_order(values in vec("[a-c]{0,2}", 2..40), others in vec("b[a-c]", 0..5)) {
        let query = |values: &[String]| {
            let pieces = values.iter().map(|value| format!("a={value}")).chain(others.iter().cloned().rev());
            query_in_key(&QueryRule::keep(), &format!("/a?{}", pieces.rev().collect::<Vec<_>>().join("&")))
        };
        let reversed: Vec<_> = values.iter().rev().cloned().collect();

        prop_assert_eq!(query(&values) == query(&reversed), values == reversed);
    }

    #[test]
    fn any_bytes_give_a_legal_key_or_none(
        uri in prop_oneof![vec(any::<u8>(), 0..40), "[!-~é]{1,400}".prop_map(String::into_bytes)],
        method in "[!-~]{1,9}",
        lines in vec((select(vec![HOST, ACCEPT, ACCEPT_ENCODING, COOKIE]), vec(any::<u8>(), 0..20)), 0..5),
        tenant: String,
        rule in select(vec![QueryRule::keep(), QueryRule::only(["a*"]).normalized(), QueryRule::without(["b"])]),
        normalized: bool,
    ) {
        let (Ok(uri), Ok(method)) = (http::Uri::try_from(uri), Method::from_bytes(method.as_bytes())) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        let spec = Sample::spec().query(if normalized { rule.normalized() } else { rule });
        let extensions = http::Extensions::new();
        let head = RequestHead::new(&method, &uri, &headers, &extensions);

        let Some(key) = spec.key(head, &Tenant::named(tenant)) else { return Ok(()) };
        let variant = key.variant(&[ACCEPT, ACCEPT_ENCODING, COOKIE], &headers).unwrap();

        for key in [key, variant] {
            prop_assert!((1..=MAX_BYTES).contains(&key.as_str().len()));
            prop_assert!((1..=SHORT_BYTES).contains(&key.short().len()));
            prop_assert!(key.as_str().bytes().chain(key.short().bytes()).all(|byte| byte.is_ascii_graphic()));
            prop_assert!(!key.as_str().contains('~'));
        }
    }
}
