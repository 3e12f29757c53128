//! Which requests share a response.

use http::HeaderName;
use microcache::{KeySpec, OverrideRule, Policy, QueryRule};

use crate::common::*;

/// Does the second request get the response to the first?
async fn share(policy: Policy, first: Ask, second: Ask) -> bool {
    let (mut cache, origin, _) = cache(policy);
    origin.queue([ok("one"), ok("two")]);
    ask(&mut cache, first).await;
    text(ask(&mut cache, second).await).await.unwrap() == "one"
}

#[tokio::test]
async fn requests_share_a_response_only_if_the_origin_can_not_tell_them_apart() {
    let table = [
        ("/a?b=1&a=2", "/a?a=2&b=1", true),
        ("/a?a=1&a=2", "/a?a=2&a=1", false),
        ("/a", "/a?", false),
        ("/a?b", "/a?b=", false),
        ("/a?b=1;c=2", "/a?c=2;b=1", false),
        ("/a?b=%7e", "/a?b=~", false),
        ("/a?b=%zz", "/a?b=zz", false),
        ("/a", "/A", false),
        ("/a", "/a/", false),
        ("/a//b", "/a/b", false),
        ("/a/./b", "/a/b", false),
        ("/a%2fb", "/a/b", false),
        ("/a%7cb", "/a|b", false),
    ];
    for (first, second, expected) in table {
        assert_eq!(share(Policy::new(), get(first), get(second)).await, expected, "{first} and {second}");
    }
}

#[tokio::test]
async fn hosts_do_not_share_but_their_case_does_not_matter() {
    let at = |host| http::Request::get("/").header("host", host).body(http_body_util::Empty::new()).unwrap();
    assert!(!share(Policy::new(), at("a.example"), at("b.example")).await);
    assert!(!share(Policy::new(), at("a.example"), at("a.example:8080")).await);
    assert!(share(Policy::new(), at("a.example"), at("A.Example")).await);
}

#[tokio::test]
async fn query_rules_say_what_matters() {
    let rule = |rule| Policy::new().key(KeySpec::new().query(rule));
    let without = || rule(QueryRule::without(["utm_*", "ref"]));
    assert!(share(without(), get("/?a=1&utm_x=2&ref=3"), get("/?utm_y=4&a=1")).await);
    assert!(!share(without(), get("/?a=1"), get("/?a=2")).await);
    let only = || rule(QueryRule::only(["page"]));
    assert!(share(only(), get("/?page=1&x=2"), get("/?y=3&page=1")).await);
    assert!(!share(only(), get("/?page=1"), get("/?page=2")).await);
    assert!(share(rule(QueryRule::ignore()), get("/?a=1"), get("/")).await);
    let normalized = || rule(QueryRule::keep().normalized());
    assert!(share(normalized(), get("/?a=%7e"), get("/?a=~")).await);
    assert!(!share(normalized(), get("/?a=%f6"), get("/?a=%ef%bf%bd")).await);
}

#[tokio::test]
async fn chosen_fields_and_cookies_are_part_of_the_key() {
    let policy = || Policy::new().key(KeySpec::new().header(http::header::ACCEPT_LANGUAGE).cookie("theme"));
    let de = |cookie| get_with("/", &[("accept-language", "de"), ("cookie", cookie)]);
    assert!(share(policy(), de("theme=dark"), de("theme=dark")).await);
    assert!(!share(policy(), de("theme=dark"), de("theme=light")).await);
    assert!(!share(policy(), get_with("/", &[("accept-language", "de")]), get("/")).await);
}

#[tokio::test]
async fn a_field_that_many_servers_take_for_the_target_is_part_of_the_key_by_itself() {
    let evil = [
        ("x-forwarded-host", "evil.example"),
        ("x_forwarded_host", "evil.example"),
        ("forwarded", "host=evil.example"),
        ("x-original-url", "/admin"),
        ("x-envoy-original-path", "/admin"),
        ("x-http-host-override", "evil.example"),
        ("front-end-https", "on"),
    ];
    for field in evil {
        assert!(!share(Policy::new(), get_with("/", &[field]), get("/")).await, "{field:?}");
        assert!(share(Policy::new(), get_with("/", &[field]), get_with("/", &[field])).await, "{field:?}");
    }
    let from = |address| get_with("/", &[("x-forwarded-for", address), ("x-forwarded-proto", "https")]);
    assert!(share(Policy::new(), from("10.0.0.1"), from("10.0.0.2")).await, "behind a load balancer it still hits");
}

#[tokio::test]
async fn the_operator_says_which_fields_override_the_target() {
    let policy =
        |rule| Policy::new().key(KeySpec::new().override_field(HeaderName::from_static("x-forwarded-port"), rule));
    let with = |port| get_with("/", &[("x-forwarded-port", port), ("x-forwarded-proto", "https")]);
    assert!(share(policy(OverrideRule::Irrelevant), with("80"), with("81")).await);
    assert!(!share(policy(OverrideRule::Keyed), with("80"), with("81")).await);
    assert!(share(policy(OverrideRule::Keyed), with("80"), with("80")).await);
    assert!(!share(policy(OverrideRule::Bypass), with("80"), with("80")).await);

    let (mut cache, origin, _) = cache(policy(OverrideRule::Bypass));
    origin.queue([ok("own")]);
    assert_eq!(status(&ask(&mut cache, with("80")).await), "fwd=bypass; detail=override");
}
