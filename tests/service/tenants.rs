//! Whose requests share a response: tenants, found once, and who is asking within one.

use http::{HeaderName, StatusCode, header};
use microcache::{
    CacheBody, CacheLayer, KeySpec, ManualClock, MemoryStore, Policy, Principal, Scope, Tenancy, Tenant, TenantLayer,
};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, Service, ServiceExt};

use crate::common::*;

fn cache_by(tenancy: Tenancy, policy: Policy) -> (TestCache, Origin) {
    let builder = CacheLayer::builder(MemoryStore::with_max_bytes(1 << 20)).clock(ManualClock::new());
    let origin = Origin::default();
    (builder.tenant(tenancy).policy(policy).build().unwrap().layer(origin.clone()), origin)
}

fn by(principal: Principal) -> Policy {
    Policy::new().key(KeySpec::new().principal(principal))
}

fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

#[tokio::test]
async fn each_tenant_has_its_own_and_who_is_none_gets_nothing() {
    let at = |host: &str, path: &str| {
        let mut request = get(path);
        request.headers_mut().insert("host", host.parse().unwrap());
        request
    };
    type Way = fn() -> Tenancy;
    let ways: [(Way, [Ask; 3], Ask); 3] = [
        (Tenancy::host, [at("a.example", "/"), at("b.example", "/"), at("A.example", "/")], at("a..example", "/")),
        (
            || Tenancy::header(name("x-tenant")),
            [
                get_with("/", &[("x-tenant", "a")]),
                get_with("/", &[("x-tenant", "b")]),
                get_with("/", &[("x-tenant", "a")]),
            ],
            get_with("/", &[("x-tenant", "a"), ("x-tenant", "a")]),
        ),
        (|| Tenancy::path_segment(0), [get("/a/"), get("/b/"), get("/a/")], get("/../a/")),
    ];
    for (tenancy, [one, other, again], nobody) in ways {
        let (mut cache, origin) = cache_by(tenancy(), Policy::new());
        origin.queue([ok("one's"), ok("other's"), ok("nobody's")]);
        for (request, expected) in [(one, "one's"), (other, "other's"), (again, "one's")] {
            assert_eq!(text(ask(&mut cache, request).await).await.unwrap(), expected, "{:?}", tenancy());
        }
        let answer = ask(&mut cache, nobody).await;
        assert_eq!(status(&answer), "fwd=bypass; detail=tenant", "{:?}", tenancy());
    }
}

/// A cache without tenants of its own inside of a layer that finds them.
fn layered(layer: &TenantLayer) -> (impl Service<Ask, Response = Layered, Error = OriginFailed>, Origin) {
    let (cache, origin, _) = cache(Policy::new());
    (layer.layer(cache), origin)
}

type Layered = http::Response<CacheBody<CacheBody<TestBody>>>;

#[tokio::test]
async fn a_tenant_that_the_layer_has_found_counts_in_the_cache_and_for_the_origin() {
    let layer = TenantLayer::new(Tenancy::header(name("x-tenant")));
    let (mut service, origin) = layered(&layer);
    origin.queue([ok("a"), ok("b"), ok("nobody")]);
    for (fields, expected) in [
        (&[("x-tenant", "a")][..], "fwd=uri-miss; fwd-status=200; ttl=1; stored"),
        (&[("x-tenant", "b")], "fwd=uri-miss; fwd-status=200; ttl=1; stored"),
        (&[("x-tenant", "a")], "hit; ttl=1"),
        (&[], "fwd=bypass; detail=tenant"),
    ] {
        let answer = service.call(get_with("/", fields)).await.unwrap();
        assert_eq!(status(&answer), expected, "{fields:?}");
    }
    let mut asked = tokio_test::task::spawn(service.call(request("POST", "/", &[("x-tenant", "c")])));
    assert_pending!(asked.poll());
    assert_eq!(origin.head().extensions.get(), Some(&Tenant::named("c")));
    origin.reply(ok("done"));
    assert_ready_ok!(asked.poll());
}

#[tokio::test]
async fn a_tenant_that_was_there_before_the_layer_stays() {
    let layer = TenantLayer::new(Tenancy::header(name("x-tenant")));
    let (mut service, origin) = layered(&layer);
    let mut request = get_with("/", &[("x-tenant", "a")]);
    request.extensions_mut().insert(Tenant::named("outer"));
    let mut asked = tokio_test::task::spawn(service.call(request));
    assert_pending!(asked.poll());

    assert_eq!(origin.head().extensions.get(), Some(&Tenant::named("outer")));
}

#[tokio::test]
async fn who_is_refused_does_not_reach_the_origin() {
    let builder = || TenantLayer::builder(Tenancy::header(name("x-tenant")));
    let known = |tenant: &Tenant| tenant.name() == Some("a");
    let (nobody, stranger, acquaintance) = (&[][..], &[("x-tenant", "b")][..], &[("x-tenant", "a")][..]);
    let gone = StatusCode::GONE;
    let table = [
        (builder(), nobody, None),
        (builder(), stranger, None),
        (builder().known(known), nobody, None),
        (builder().known(known), acquaintance, None),
        (builder().known(known), stranger, Some((404, "unknown tenant\n"))),
        (builder().known(known).refuse_unknown(gone), stranger, Some((410, "unknown tenant\n"))),
        (builder().refuse_unknown(gone), stranger, None),
        (builder().refuse_unidentified(gone), nobody, Some((410, "unidentified tenant\n"))),
        (builder().refuse_unidentified(gone).known(known), acquaintance, None),
        (builder().refuse_unidentified(gone).known(known), stranger, Some((404, "unknown tenant\n"))),
    ];
    for (row, (builder, fields, expected)) in table.into_iter().enumerate() {
        let layer = builder.build().unwrap();
        for method in ["GET", "POST", "HEAD"] {
            let (mut service, origin) = layered(&layer);
            origin.queue([ok("page")]);
            let answer = service.call(request(method, "/", fields)).await.unwrap();
            let Some((code, text)) = expected else {
                assert_eq!((answer.status().as_u16(), origin.forwards()), (200, 1), "{row}");
                continue;
            };
            assert_eq!((answer.status().as_u16(), origin.forwards()), (code, 0), "{row}");
            assert_eq!(field(&answer, "cache-control"), "no-store");
            assert_eq!(field(&answer, "content-type"), "text/plain; charset=utf-8");
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
            assert_eq!(body, if method == "HEAD" { "" } else { text }, "{row}");
        }
    }
}

#[test]
fn a_status_that_is_no_error_can_not_refuse() {
    let builder = || TenantLayer::builder(Tenancy::host());
    for code in [100, 200, 204, 301, 399, 600] {
        let code = StatusCode::from_u16(code).unwrap();
        let unidentified = builder().refuse_unidentified(code).build().unwrap_err();
        let unknown = builder().refuse_unknown(code).refuse_unidentified(code).build().unwrap_err();
        assert_eq!((unidentified.setting(), unknown.setting()), ("refuse_unidentified", "refuse_unknown"), "{code}");
    }
    assert!(builder().refuse_unidentified(StatusCode::BAD_REQUEST).build().is_ok());
    assert!(builder().refuse_unknown(StatusCode::SERVICE_UNAVAILABLE).build().is_ok());
}

#[tokio::test]
async fn handlers_of_axum_see_the_tenant() {
    use axum::{Extension, Router, body::Body, routing::get};

    let cache = CacheLayer::new(MemoryStore::with_max_bytes(1 << 20));
    let app = Router::new()
        .nest(
            "/acme",
            Router::new().route(
                "/",
                get(|Extension(tenant): Extension<Tenant>| async move { tenant.name().unwrap().to_owned() }),
            ),
        )
        .layer(cache)
        .layer(TenantLayer::new(Tenancy::path_segment(0)));
    for expected in ["microcache; fwd=uri-miss; fwd-status=200; ttl=1; stored", "microcache; hit; ttl=1"] {
        let request = http::Request::get("/acme").body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        assert_eq!(field(&answer, "cache-status"), expected);
        assert_eq!(axum::body::to_bytes(answer.into_body(), 100).await.unwrap(), "acme");
    }
}

#[tokio::test]
async fn each_principal_has_its_own_and_nobody_gets_nothing() {
    let auth = |secret| get_with("/", &[("authorization", secret)]);
    let cookie = |cookies| get_with("/", &[("cookie", cookies)]);
    let user = |name: &str| {
        // All credentials are accounted for by who knows the user.
        let mut request = get_with("/", &[("authorization", "Bearer token"), ("cookie", "any=1")]);
        request.extensions_mut().insert(name.to_owned());
        request
    };
    type Way = fn() -> Principal;
    let ways: [(Way, [Ask; 3], [Ask; 2]); 4] = [
        (
            || Principal::header(header::AUTHORIZATION),
            [auth("Basic YQ=="), auth("Basic Yg=="), auth("Basic YQ==")],
            [get("/"), get_with("/", &[("authorization", "a"), ("authorization", "a")])],
        ),
        (
            || Principal::cookie("sid"),
            [cookie("sid=1"), cookie("sid=2"), cookie("sid=1")],
            [get("/"), cookie("sid=1; sid=2")],
        ),
        (
            || Principal::extension(|user: &String| Some(user.as_str().into())),
            [user("alice"), user("bob"), user("alice")],
            [auth("Bearer token"), user("")],
        ),
        (
            || Principal::from_fn(|head| Some(head.headers().get("x-user")?.to_str().ok()?.into())),
            [get_with("/", &[("x-user", "a")]), get_with("/", &[("x-user", "b")]), get_with("/", &[("x-user", "a")])],
            [get("/"), cookie("sid=1")],
        ),
    ];
    for (principal, [one, other, again], strangers) in ways {
        let (mut cache, origin, _) = cache(by(principal()));
        origin.queue([ok("one's"), ok("other's"), ok("nobody's"), ok("nobody's")]);
        for (request, expected) in [(one, "one's"), (other, "other's"), (again, "one's")] {
            assert_eq!(text(ask(&mut cache, request).await).await.unwrap(), expected, "{:?}", principal());
        }
        for stranger in strangers {
            let answer = ask(&mut cache, stranger).await;
            assert_eq!(status(&answer), "fwd=bypass; detail=principal", "{:?}", principal());
        }
        assert_eq!(origin.forwards(), 4);
    }
}

#[tokio::test]
async fn a_principal_accounts_for_no_other_credentials() {
    for (principal, sent, reason) in [
        (Principal::cookie("sid"), [("cookie", "sid=1"), ("authorization", "Basic YQ==")], "authorization"),
        (Principal::cookie("sid"), [("cookie", "sid=1"), ("cookie", "theme=dark")], "credentials"),
        (Principal::header(header::AUTHORIZATION), [("authorization", "a"), ("cookie", "sid=1")], "credentials"),
        (Principal::header(name("x-user")), [("x-user", "a"), ("authorization", "a")], "authorization"),
    ] {
        let (mut cache, origin, _) = cache(by(principal.clone()));
        origin.queue([ok("page")]);
        let answer = ask(&mut cache, get_with("/", &sent)).await;
        assert_eq!(status(&answer), format!("fwd=uri-miss; fwd-status=200; detail={reason}"), "{principal:?}");
    }
}

#[tokio::test]
async fn what_the_origin_forbids_is_stored_for_no_principal() {
    for (fields, reason) in [
        (("cache-control", "private, max-age=60"), "private"),
        (("cache-control", "no-store"), "no-store"),
        (("set-cookie", "sid=2"), "set-cookie"),
    ] {
        let (mut cache, origin, _) = cache(by(Principal::cookie("sid")));
        origin.queue([reply(200, &[fields], "page")]);
        let answer = ask(&mut cache, get_with("/", &[("cookie", "sid=1")])).await;
        assert_eq!(status(&answer), format!("fwd=uri-miss; fwd-status=200; detail={reason}"));
    }
}

#[tokio::test]
async fn principals_never_wait_for_each_other_and_an_unsafe_method_invalidates_for_all() {
    let (mut cache, origin, clock) = cache(by(Principal::header(header::AUTHORIZATION)));
    let as_user = |method, user| request(method, "/", &[("authorization", user)]);
    let mut asked = ["a", "b", "a", "b"].map(|user| send(&mut cache, as_user("GET", user)));
    asked.iter_mut().for_each(|asked| assert_pending!(asked.poll()));
    assert_eq!(origin.waiting(), 2);
    origin.reply(ok("a's"));
    origin.reply(ok("b's"));
    for (asked, expected) in asked.iter_mut().zip(["a's", "b's", "a's", "b's"]) {
        assert_eq!(text(assert_ready_ok!(asked.poll())).await.unwrap(), expected);
    }

    clock.advance(MILLI);
    origin.queue([ok("done"), ok("a's new"), ok("b's new")]);
    ask(&mut cache, as_user("DELETE", "c")).await;
    for (user, expected) in [("a", "a's new"), ("b", "b's new")] {
        assert_eq!(text(ask(&mut cache, as_user("GET", user)).await).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_response_for_fewer_than_its_key_releases_all_that_wait() {
    let acme = || Tenancy::from_fn(|_| Tenant::named("acme"));
    let alice = || by(Principal::from_fn(|_| Some("alice".into())));
    for (tenancy, policy, scope, expected) in [
        (Tenancy::shared(), Policy::new(), Scope::Shared, None),
        (Tenancy::shared(), Policy::new(), Scope::Tenant, Some("scope")),
        (acme(), Policy::new(), Scope::Tenant, None),
        (acme(), Policy::new(), Scope::Principal, Some("scope")),
        (Tenancy::shared(), alice(), Scope::Tenant, Some("scope")),
        (Tenancy::shared(), alice(), Scope::Principal, None),
        (acme(), alice(), Scope::Private, Some("private")),
    ] {
        let (mut cache, origin) = cache_by(tenancy, policy);
        let mut asked = [(); 3].map(|()| send(&mut cache, get("/")));
        asked.iter_mut().for_each(|asked| assert_pending!(asked.poll()));
        let mut answer = ok("page");
        answer.extensions_mut().insert(scope);
        origin.reply(answer);
        let stored = "ttl=1; stored".to_owned();
        let said = expected.map_or(stored, |reason| format!("detail={reason}"));
        assert_eq!(status(&assert_ready_ok!(asked[0].poll())), format!("fwd=uri-miss; fwd-status=200; {said}"));
        for asked in &mut asked[1..] {
            assert_eq!(asked.poll().is_pending(), expected.is_some(), "{scope:?}");
        }
        assert_eq!(origin.waiting(), if expected.is_some() { 2 } else { 0 }, "{scope:?}");
    }
}
