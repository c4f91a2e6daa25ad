//! A real browser: headless Chromium, driven over `WebDriver` (<https://www.w3.org/TR/webdriver2/>).
//!
//! Must not know: any page.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use flotilla_testbed::{Process, Program, free_port};
use reqwest::Client;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// Where Debian's packages `chromium` and `chromium-driver` put their programs.
const DRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";

/// The name of an element in answers (section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window and a profile of its own.
pub(crate) struct Browser {
    http: Client,
    session: String,
    _driver: Process,
}

impl Browser {
    /// Whether there is a browser to drive here.
    pub(crate) fn is_there() -> bool {
        Path::new(DRIVER).is_file() && Path::new(CHROMIUM).is_file()
    }

    /// Starts one; certificates are not checked.
    pub(crate) async fn start(leash: &Path, dir: &Path) -> Self {
        let port = free_port().unwrap();
        let mut driver = Program::new("chromedriver", DRIVER, dir).arg(format!("--port={port}")).start(leash).unwrap();
        let listens = || Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        driver.wait_until("listens", LIMIT, listens).unwrap();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let profile = format!("--user-data-dir={}", dir.join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=900,700",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
        }}});
        let answer = http.post(format!("http://127.0.0.1:{port}/session")).json(&wanted).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {answer}"));
        Self { http, session: format!("http://127.0.0.1:{port}/session/{id}"), _driver: driver }
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Value> {
        let response = self.http.post(format!("{}/{path}", self.session)).json(&body).send().await.unwrap();
        let fine = response.status().is_success();
        let value = response.json::<Value>().await.unwrap()["value"].take();
        if fine { Ok(value) } else { Err(value) }
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}/{path}", self.session)).send().await.unwrap();
        response.json::<Value>().await.unwrap()["value"].take()
    }

    /// Visits an address.
    pub(crate) async fn visit(&self, url: &str) {
        self.post("url", json!({"url": url})).await.unwrap();
    }

    /// The address of the page that is shown.
    pub(crate) async fn url(&self) -> String {
        self.get("url").await.as_str().unwrap_or_default().to_owned()
    }

    /// The text of the page that is shown.
    pub(crate) async fn text(&self) -> String {
        match self.find("body").await {
            Some(body) => self.get(&format!("element/{body}/text")).await.as_str().unwrap_or_default().to_owned(),
            None => String::new(),
        }
    }

    async fn find(&self, css: &str) -> Option<String> {
        let found = self.post("element", json!({"using": "css selector", "value": css})).await.ok()?;
        found[ELEMENT].as_str().map(str::to_owned)
    }

    /// Whether there is an element.
    pub(crate) async fn has(&self, css: &str) -> bool {
        self.find(css).await.is_some()
    }

    /// Waits for an element and clicks it.
    pub(crate) async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.post(&format!("element/{element}/click"), json!({})).await.unwrap();
    }

    /// Waits for a field and types into it.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.post(&format!("element/{element}/value"), json!({"text": text})).await.unwrap();
    }

    async fn element(&self, css: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(element) = self.find(css).await {
                return element;
            }
            let shown = self.text().await;
            assert!(Instant::now() < deadline, "no {css} at {}:\n{shown}", self.url().await);
            // Nodes of other tests come and go, and the browser drops its connections at each new network interface.
            if shown.contains("ERR_NETWORK_CHANGED") {
                self.post("refresh", json!({})).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the page shows a text.
    pub(crate) async fn shows(&self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let shown = self.text().await;
            if shown.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "no {text:?} at {}:\n{shown}", self.url().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Forgets the cookies of the site that is shown.
    pub(crate) async fn forget_cookies(&self) {
        self.http.delete(format!("{}/cookie", self.session)).send().await.unwrap();
    }

    /// What the page looks like, as a PNG file.
    pub(crate) async fn screenshot(&self, file: &Path) {
        let picture = self.get("screenshot").await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Closes it.
    pub(crate) async fn close(self) {
        self.http.delete(&self.session).send().await.unwrap();
    }
}
