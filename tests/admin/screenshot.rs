//! The picture in the README, of two minutes of a real cache:
//! `cargo test --release --all-features --test admin -- --ignored screenshot`.

use std::time::Duration;

use serde_json::json;

use crate::{browser::sign_in, chromium::Chromium, evening::Evening, scripted::Server, service::TOKEN};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes, and writes docs/dashboard.png"]
async fn screenshot() {
    let mut browser = Chromium::start().await;
    let screen = json!({ "width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    browser.send("Emulation.setDeviceMetricsOverride", screen).await;
    browser.send("Emulation.setTimezoneOverride", json!({ "timezoneId": "UTC" })).await;
    let scheme = json!([{ "name": "prefers-color-scheme", "value": "light" }]);
    browser.send("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    let evening = Evening::start().await;
    let server = Server::start(evening.app.clone()).await;
    sign_in(&mut browser, &server.origin, "/-/cache/", TOKEN).await;
    browser.until("!document.getElementById('board').hidden").await;
    browser.value("document.activeElement.blur()").await;

    tokio::time::sleep(Duration::from_secs(122)).await;

    browser.until("document.querySelector('#servers .bad')?.textContent === 'open'").await;
    let height = browser.value("document.documentElement.scrollHeight").await;
    let clip = json!({ "x": 0, "y": 0, "width": 1280, "height": height, "scale": 1 });
    let asked = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
    let picture = browser.send("Page.captureScreenshot", asked).await;
    std::fs::write("docs/dashboard.png", bytes(picture["data"].as_str().unwrap())).unwrap();
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
