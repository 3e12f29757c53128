//! The dashboard, in a browser.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::json;
use tower::ServiceExt;

use crate::{
    chromium::Chromium,
    scripted::{Script, Server},
    service::{TOKEN, shop},
};

/// Opens the page and tells it the token, by keyboard alone.
pub(crate) async fn sign_in(browser: &mut Chromium, origin: &str, path: &str, token: &str) {
    browser.open(&format!("{origin}{path}")).await;
    browser.until("document.activeElement.id === 'token'").await;
    browser.send("Input.insertText", json!({ "text": token })).await;
    browser.press("Enter", 13, "\r").await;
}

/// It neither complained nor asked anybody else.
fn was_quiet(browser: &Chromium, origin: &str) {
    assert_eq!(browser.complaints(), [""; 0]);
    let elsewhere = |url: &&&str| !url.starts_with(origin) && !url.starts_with("data:");
    assert_eq!(browser.requests().iter().find(elsewhere), None);
    assert!(!browser.requests().is_empty());
}

#[tokio::test]
async fn the_numbers_move_under_load() {
    let (app, _) = shop();
    let server = Server::start(app.clone()).await;
    let load = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        loop {
            pace.tick().await;
            let request = Request::get("/products").header("host", "shop.example").body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap();
        }
    });
    let mut browser = Chromium::start().await;
    for path in ["/-/cache", "/-/cache/"] {
        sign_in(&mut browser, &server.origin, path, TOKEN).await;

        browser.until("!document.getElementById('board').hidden").await;
        browser.until("document.getElementById('state').textContent === 'live'").await;
        browser.until("parseFloat(document.getElementById('rate').textContent) > 1").await;
        browser.until("parseFloat(document.getElementById('ratio').textContent) > 50").await;
        let before = browser.value("document.getElementById('foot').textContent").await;
        browser.until(&format!("document.getElementById('foot').textContent !== {before}")).await;
        browser.until("document.querySelectorAll('#chart path').length === 3").await;

        // In this tab the token is known, until it is to be forgotten.
        browser.value("window.isOld = true").await;
        browser.send("Page.reload", json!({})).await;
        browser.until("!window.isOld && document.getElementById('board')?.hidden === false").await;
        browser.click("#leave").await;
        browser.until("document.getElementById('board').hidden && sessionStorage.length === 0").await;
    }
    load.abort();
    was_quiet(&browser, &server.origin);
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_forgotten() {
    let (app, _) = shop();
    let server = Server::start(app).await;
    let mut browser = Chromium::start().await;

    sign_in(&mut browser, &server.origin, "/-/cache/", "correct-horse-batterz").await;

    browser.until("document.getElementById('refused').textContent === 'That is not the token.'").await;
    assert_eq!(browser.value("sessionStorage.length + document.cookie").await, "0");
    assert_eq!(browser.value("document.getElementById('board').hidden").await, true);
    // The browser itself writes down that something was refused, and no more.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|complaint| complaint.contains("401")), "{complaints:?}");

    browser.fill("token", TOKEN).await;
    browser.click("#signin button").await;
    browser.until("!document.getElementById('board').hidden").await;
    assert_eq!(browser.value("document.getElementById('refused').textContent").await, "");
    let kept = browser.value("[document.cookie, localStorage.length, location.search, location.hash].join()").await;
    assert_eq!(kept, ",0,,");
}

#[tokio::test]
async fn what_clients_chose_is_shown_as_text() {
    let (script, server) = Script::start().await;
    let evil = "</td><img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";
    let one = |name: &str| json!([{ name: evil, "hits": 1, "forwards": 1, "count": 7 }]);
    script.says(
        "stats",
        &json!({
            "hottest": one("key"), "offenders": one("key"), "routes": one("route"), "tenants": one("tenant"),
            "servers": [{ "server": evil, "breaker": evil }], "forwards": { evil: 1 }, "paused_routes": [evil],
        }),
    );
    script.says("cache", &json!({ "event": evil, "key": evil, evil: { evil: evil }, "line": "\u{2028}\n" }));
    let mut browser = Chromium::start().await;

    sign_in(&mut browser, &server.origin, "/-/cache/", TOKEN).await;

    browser.until("document.querySelectorAll('#events li').length === 1").await;
    for id in ["hottest", "offenders", "routes", "tenants", "servers"] {
        assert_eq!(browser.value(&format!("document.querySelector('#{id} tbody td').textContent")).await, evil, "{id}");
    }
    assert_eq!(browser.value("document.querySelector('#events li').children[1].textContent").await, evil);
    assert_eq!(browser.value("document.querySelectorAll('img, script').length").await, 1);
    assert_eq!(browser.value("document.title").await, "microcache");
    was_quiet(&browser, &server.origin);
}

#[tokio::test]
async fn what_is_told_again_and_again_is_one_line() {
    let (script, server) = Script::start().await;
    script.says("stats", &json!({}));
    for (at, count) in [(1_000, 1), (2_000, 30), (3_000, 4)] {
        script.says("cache", &json!({ "at_ms": at, "event": "store-failed", "kind": "io", "count": count }));
        script.says("cache", &json!({ "at_ms": at, "event": "purged", "what": "all", "is_soft": true, "route": null }));
    }
    script.says("cache", &json!({ "at_ms": 90_000, "event": "store-failed", "kind": "io", "count": 7 }));
    let mut browser = Chromium::start().await;
    sign_in(&mut browser, &server.origin, "/-/cache/", TOKEN).await;
    browser.until("document.getElementById('events').textContent.includes('count 7')").await;

    let lines = browser
        .value("[...document.querySelectorAll('#events li')].map((line) => line.lastChild.textContent).join('; ')");
    assert_eq!(lines.await, "count 7, kind io; soft, what all; count 35, kind io; soft, what all; soft, what all");
    was_quiet(&browser, &server.origin);
}

#[tokio::test]
async fn a_purge_is_sent_as_it_was_filled_in_and_its_reach_is_shown() {
    let (script, server) = Script::start().await;
    script.says("stats", &json!({}));
    script.answers(200, &json!({ "purged": {}, "reach": "this process now, others within 1 s" }));
    let mut browser = Chromium::start().await;
    sign_in(&mut browser, &server.origin, "/-/cache/", TOKEN).await;
    browser.until("!document.getElementById('board').hidden").await;

    browser.click("[value=tag]").await;
    browser.fill("value", "product:7").await;
    browser.fill("of", "acme").await;
    browser.click("#soft").await;
    browser.click("#do").await;
    browser.until("document.getElementById('purged').textContent.endsWith('others within 1 s')").await;
    assert_eq!(script.purges(), [json!({ "tag": "product:7", "tenant": "acme", "soft": true })]);

    // Everything takes a second thought.
    browser.click("#soft").await;
    browser.click("[value=all]").await;
    browser.click("#do").await;
    browser.until("document.getElementById('do').textContent === 'Yes, purge everything'").await;
    assert_eq!(script.purges().len(), 1);
    script.answers(422, &json!({ "title": "Unprocessable Content", "detail": "<b>not</b> today" }));
    browser.click("#do").await;
    browser.until("document.getElementById('purged').textContent === '<b>not</b> today'").await;
    assert_eq!(script.purges()[1..], [json!({ "all": true })]);
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|complaint| complaint.contains("422")), "{complaints:?}");
}

#[tokio::test]
async fn a_purge_from_the_page_is_one_of_the_cache() {
    let (app, handle) = shop();
    let server = Server::start(app.clone()).await;
    let products = || async {
        let request = Request::get("/products").header("host", "shop.example").body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap();
    };
    products().await;
    let mut browser = Chromium::start().await;
    sign_in(&mut browser, &server.origin, "/-/cache/", TOKEN).await;
    browser.until("!document.getElementById('board').hidden").await;

    browser.click("[value=tag]").await;
    browser.fill("value", "list").await;
    browser.click("#do").await;
    browser.until("document.getElementById('purged').textContent.endsWith('there are no others')").await;

    products().await;
    assert_eq!(handle.stats().forwards, 2);
    was_quiet(&browser, &server.origin);
}

#[tokio::test]
async fn it_copes_with_members_that_are_missing_and_counts_that_begin_anew() {
    let (script, server) = Script::start().await;
    let requests =
        |now: u64, hits: u64| json!({ "now_ms": now, "requests": { "hits": hits }, "routes": [], "store": {} });
    for stats in [json!({}), requests(1_000, 0), requests(2_000, 500), requests(3_000, 0), requests(4_000, 30)] {
        script.says("stats", &stats);
    }
    let mut browser = Chromium::start().await;

    sign_in(&mut browser, &server.origin, "/-/cache/", TOKEN).await;

    browser.until("document.getElementById('rate').textContent === '30'").await;
    assert_eq!(browser.value("document.getElementById('ratio').textContent").await, "100");
    was_quiet(&browser, &server.origin);
}
