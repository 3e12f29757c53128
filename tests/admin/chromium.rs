//! A browser of one test: started by it, ended with it. Speaks the DevTools protocol over two pipes, so that no port is
//! open to others. No assertions about the page in here.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Chromium with one page open.
pub(crate) struct Chromium {
    process: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
    home: PathBuf,
    page: Option<String>,
    sent: u64,
    /// What the page did, in the protocol's words.
    pub(crate) events: Vec<Value>,
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("microcache-browser-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let home = std::env::temp_dir().join(name);
        // The protocol has 3 and 4, which are what this process has as 0 and 1.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec chromium "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "sh"]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", home.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().expect("there is no sh");
        let (commands, replies) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut started = Self { process, commands, replies, home, page: None, sent: 0, events: Vec::new() };
        let target = started.send("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = started.send("Target.attachToTarget", attach).await;
        started.page = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            started.send(&format!("{domain}.enable"), json!({})).await;
        }
        started
    }

    pub(crate) async fn open(&mut self, url: &str) {
        let opened = self.send("Page.navigate", json!({ "url": url })).await;
        assert_eq!(opened.get("errorText"), None, "{url}: {opened}");
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'").await;
    }

    /// The value of an expression in the page.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let said = self.send("Runtime.evaluate", asked).await;
        assert_eq!(said.get("exceptionDetails"), None, "{expression}: {said}");
        said["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&mut self, expression: &str) {
        let look = format!(
            "new Promise((done) => {{ const from = Date.now(); const look = () => ({expression}) ? done(true) \
             : Date.now() - from > {} ? done(false) : setTimeout(look, 20); look(); }})",
            PATIENCE.as_millis() / 2
        );
        if self.value(&look).await != true {
            let shown = self.value("document.body.innerText").await;
            panic!("never: {expression}\nevents: {:?}\n{}", self.complaints(), shown.as_str().unwrap_or_default());
        }
    }

    /// Puts text into a field as a user does.
    pub(crate) async fn fill(&mut self, id: &str, text: &str) {
        self.value(&format!("document.getElementById('{id}').focus()")).await;
        self.value(&format!("document.getElementById('{id}').select()")).await;
        self.send("Input.insertText", json!({ "text": text })).await;
    }

    pub(crate) async fn click(&mut self, selector: &str) {
        self.value(&format!("document.querySelector('{selector}').click()")).await;
    }

    /// Presses a key in whatever has the focus.
    pub(crate) async fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.send("Input.dispatchKeyEvent", event).await;
        }
    }

    pub(crate) async fn send(&mut self, method: &str, params: Value) -> Value {
        timeout(PATIENCE, self.exchange(method, params))
            .await
            .unwrap_or_else(|_| panic!("chromium did not answer {method} in time"))
    }

    async fn exchange(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(page) = &self.page {
            message["sessionId"] = page.as_str().into();
        }
        // Fails when it has ended, as what is read next says.
        let _ = self.commands.write_all(format!("{message}\0").as_bytes()).await;
        loop {
            let mut reply = Vec::new();
            self.replies.read_until(0, &mut reply).await.unwrap();
            assert_eq!(
                reply.pop(),
                Some(0),
                "chromium is not there or has ended: run scripts/chromium, which installs it"
            );
            let mut reply: Value = serde_json::from_slice(&reply).unwrap();
            if reply["id"] == self.sent {
                assert_eq!(reply.get("error"), None, "{method}");
                return reply["result"].take();
            }
            self.events.push(reply);
        }
    }

    /// Errors and warnings in the console, and exceptions.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => true,
            Some("Log.entryAdded") => {
                ["error", "warning"].map(Value::from).contains(&event["params"]["entry"]["level"])
            }
            _ => false,
        };
        self.events.iter().filter(is_complaint).map(|event| event["params"].to_string()).collect()
    }

    /// The URLs of all requests.
    pub(crate) fn requests(&self) -> Vec<&str> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        // What it started ends when it does, and writes until then.
        for _ in 0..500 {
            let has_ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            if has_ended && (!self.home.exists() || std::fs::remove_dir_all(&self.home).is_ok()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

const FLAGS: [&str; 13] = [
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "about:blank",
];

/// How long the browser may take for anything: machines that build and test at the same time are slow.
const PATIENCE: Duration = Duration::from_secs(60);
