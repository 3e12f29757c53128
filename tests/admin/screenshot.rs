//! The picture in the README: `cargo test --all-features --test admin -- --ignored screenshot`.

use serde_json::{Value, json};

use crate::{browser::sign_in, chromium::Chromium, scripted::Script, service::TOKEN};

#[tokio::test]
#[ignore = "writes docs/dashboard.png"]
async fn screenshot() {
    let (script, server) = Script::start().await;
    for second in 0..=121 {
        script.says("stats", &a_shop(second));
    }
    for event in things_that_happened() {
        script.says("cache", &event);
    }
    let mut browser = Chromium::start().await;
    let screen = json!({ "width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    browser.send("Emulation.setDeviceMetricsOverride", screen).await;
    browser.send("Emulation.setTimezoneOverride", json!({ "timezoneId": "UTC" })).await;
    sign_in(&mut browser, &server.origin, "/-/cache/", TOKEN).await;
    browser.until("document.querySelectorAll('#events li').length === 5").await;
    browser.value("document.activeElement.blur()").await;

    let scheme = json!([{ "name": "prefers-color-scheme", "value": "light" }]);
    browser.send("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    let height = browser.value("document.documentElement.scrollHeight").await;
    let clip = json!({ "x": 0, "y": 0, "width": 1280, "height": height, "scale": 1 });
    let asked = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
    let picture = browser.send("Page.captureScreenshot", asked).await;
    std::fs::write("docs/dashboard.png", bytes(picture["data"].as_str().unwrap())).unwrap();
}

/// A shop on a busy evening, `second` seconds into two minutes of it. A sale begins at the 40th; at the 85th all is
/// purged.
fn a_shop(second: u64) -> Value {
    let (mut requests, mut forwards) = (184_000_u64, 2_600_u64);
    for now in 0..second {
        let wave = (now as f64 / 9.0).sin() * 60.0 + (now as f64 / 2.3).sin() * 25.0 + (now as f64 * 1.7).sin() * 18.0;
        let sale = 900.0 / (1.0 + (-(now as f64 - 44.0) / 3.0).exp());
        requests += (520.0 + wave + sale) as u64;
        forwards += 9 + now * 7 % 5 + if (85..88).contains(&now) { 190 / (now - 84) } else { 0 };
    }
    let share = |of: u64, percent: u64| of * percent / 100;
    let one = |percent: u64, origin: u64| {
        json!({
            "hits": share(requests - forwards, percent), "forwards": share(forwards, origin), "stale": 0,
            "bypasses": 0, "collapsed": share(requests, percent) / 90,
        })
    };
    let named = |member: &str, name: &str, percent: u64, origin: u64| {
        let mut counted = one(percent, origin);
        counted[member] = name.into();
        counted
    };
    json!({
        "since_ms": 1_764_000_000_000_u64, "now_ms": 1_764_018_000_000_u64 + second * 1000, "is_paused": false,
        "paused_routes": ["/cart/{id}"],
        "requests": { "hits": requests - forwards, "stale": 41, "forwards": forwards, "bypasses": forwards / 9,
            "collapsed": requests / 90, "overflows": 0 },
        "forwards": { "uri-miss": share(forwards, 61), "stale": share(forwards, 34), "vary-miss": share(forwards, 4),
            "request": share(forwards, 1) },
        "bypasses": { "method": forwards / 9 },
        "responses": { "stored": share(forwards, 88), "not_stored": { "private": share(forwards, 9), "set-cookie": 31 },
            "fenced": 6, "evicted": 212 },
        "purges": 14, "invalidations": 329,
        "gauges": { "flights": 3, "waiting": 27, "markers": 12 },
        "store": { "bytes": 43_700_000, "max_bytes": 67_108_864, "responses": 5_214, "errors": 0 },
        "servers": [{ "server": "10.0.0.1:11211", "breaker": "closed" }, { "server": "10.0.0.2:11211", "breaker": "open" }],
        "latency_us": { "hit": { "p50": 38, "p90": 71, "p99": 240 }, "forward": { "p50": 84_000, "p90": 131_000, "p99": 412_000 },
            "wait": { "p50": 41_000, "p90": 97_000, "p99": 180_000 } },
        "routes": [named("route", "/products", 46, 38), named("route", "/products/{id}", 39, 41),
            named("route", "/search", 12, 17), named("route", "/cart/{id}", 0, 4), named("route", "default", 3, 0)],
        "tenants": [named("tenant", "acme", 58, 49), named("tenant", "globex", 29, 33), named("tenant", "initech", 13, 18)],
        "hottest": hot(&[("acme|GET|shop.example|/products", 31), ("acme|GET|shop.example|/products?page=2", 14),
            ("globex|GET|shop.example|/products", 12), ("acme|GET|shop.example|/products/1042", 9),
            ("acme|GET|shop.example|/search?q=lamp&sort=price", 4)], requests),
        "offenders": hot(&[("acme|GET|shop.example|/search?q=lamp&session=81f3", 11),
            ("globex|GET|shop.example|/search?q=&page=901", 8), ("acme|GET|shop.example|/products/1042?preview=1", 5),
            ("initech|GET|shop.example|/products?ts=1764018111", 4), ("acme|GET|shop.example|/search?q=sofa", 2)], forwards),
    })
}

fn hot(keys: &[(&str, u64)], of: u64) -> Value {
    keys.iter().map(|(key, percent)| json!({ "key": key, "count": of * percent / 100 })).collect()
}

fn things_that_happened() -> [Value; 5] {
    let at = |second: u64| 1_764_018_000_000_u64 + second * 1000;
    [
        json!({ "at_ms": at(12), "event": "purge", "tag": "product:1042", "tenant": "acme" }),
        json!({ "at_ms": at(44), "event": "second leader", "key": "acme|GET|shop.example|/search?q=lamp" }),
        json!({ "at_ms": at(61), "event": "store failed", "server": "10.0.0.2:11211", "count": 5 }),
        json!({ "at_ms": at(61), "event": "breaker opened", "server": "10.0.0.2:11211" }),
        json!({ "at_ms": at(85), "event": "purge", "all": true, "soft": true }),
    ]
}

/// Out of base64.
fn bytes(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let group = |group: &[u8]| {
        let digits = group.iter().filter(|byte| **byte != b'=').count();
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | if *byte == b'=' { 0 } else { digit(*byte) });
        bits.to_be_bytes()[1..digits].to_vec()
    };
    text.as_bytes().chunks(4).flat_map(group).collect()
}
