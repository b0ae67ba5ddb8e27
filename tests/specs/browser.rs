//! A headless Chromium for a test, through its WebDriver. Invariant: it asks nobody but the collector; what it complains
//! of, and whatever it asks elsewhere, fails the test.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::{ParseError, Url};

use crate::desk::{say, skip, text};

/// How long something on a page may take: two cores are shared with other tests.
const TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(100);

/// How pages are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Desk,
    DeskDark,
    Phone,
}

impl Look {
    pub const ALL: [Self; 3] = [Self::Desk, Self::DeskDark, Self::Phone];

    fn size(self) -> (u32, u32) {
        match self {
            Self::Desk | Self::DeskDark => (1366, 900),
            Self::Phone => (390, 844),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Desk => "desk",
            Self::DeskDark => "desk-dark",
            Self::Phone => "phone",
        }
    }
}

/// See the module's text.
pub struct Browser {
    // Before what it needs: it is closed first.
    client: Option<Client>,
    driver: Child,
    runtime: Runtime,
    origin: String,
    _profile: TempDir,
}

/// A command of the DevTools protocol, or a log: what the driver has beside the standard.
#[derive(Debug)]
struct Beside {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Beside {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Whether there is a Chromium; without one a test is skipped.
    pub fn is_here() -> bool {
        let found =
            |program| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
        let is_here = found("chromedriver") && found("chromium");
        if !is_here {
            skip("Chromium and its driver", "apt-get install chromium chromium-driver");
        }
        is_here
    }

    /// A browser for the collector whose operator door is there.
    pub fn open(operators: &str) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder can be made");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver is here");
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let said = |line: String| line.split_once("successfully on port ").map(|(_, port)| port.to_owned());
        let port = lines.by_ref().map_while(Result::ok).find_map(said).expect("the driver says its port");
        std::thread::spawn(move || lines.for_each(drop));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let data = format!("--user-data-dir={}", text(profile.path()));
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--force-prefers-reduced-motion",
            data.as_str(),
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is written so") };
        let capabilities: Capabilities = capabilities;
        let port = port.trim_end_matches('.');
        let connecting = async {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await
        };
        let client = runtime.block_on(connecting).expect("Chromium starts");
        let browser = Self {
            client: Some(client),
            driver,
            runtime,
            origin: format!("http://{operators}"),
            _profile: profile,
        };
        browser.look(Look::Desk);
        browser
    }

    /// Shows pages so from now on.
    pub fn look(&self, look: Look) {
        let (width, height) = look.size();
        let is_phone = look == Look::Phone;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let scheme = if look == Look::DeskDark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    /// Goes to a page of the collector.
    pub fn go(&self, path: &str) {
        self.done(self.client().goto(&format!("{}{path}", self.origin)));
    }

    /// Where it is: path and query.
    pub fn path(&self) -> String {
        let url = self.done(self.client().current_url());
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// Waits for what a selector finds, and clicks it.
    pub fn click(&self, css: &str) {
        self.eventually(css, async |client| client.find(Locator::Css(css)).await?.click().await);
    }

    /// Clicks a link or a button by its words.
    pub fn press(&self, words: &str) {
        let path = format!("//a[normalize-space()='{words}'] | //button[normalize-space()='{words}']");
        self.eventually(words, async |client| client.find(Locator::XPath(&path)).await?.click().await);
    }

    /// Types into a field, in place of what stands there.
    pub fn fill(&self, css: &str, value: &str) {
        self.eventually(css, async |client| {
            let field = client.find(Locator::Css(css)).await?;
            field.clear().await?;
            field.send_keys(value).await
        });
    }

    /// Sends keys to whatever has the focus.
    pub fn keys(&self, keys: &str) {
        self.eventually("something has the focus", async |client| {
            client.active_element().await?.send_keys(keys).await
        });
    }

    /// The words of what has the focus.
    pub fn focused(&self) -> String {
        self.script(
            "const at = document.activeElement; return (at.innerText || at.name || at.tagName).trim()",
        )
        .as_str()
        .unwrap_or_default()
        .to_owned()
    }

    /// All words of the page.
    pub fn words(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says something.
    pub fn says(&self, words: &str) {
        for _ in 0..TRIES {
            if self.words().contains(words) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("{} never says {words:?}, but: {}", self.path(), self.words());
    }

    /// What a script of the test gives back.
    pub fn script(&self, script: &str) -> Value {
        self.done(self.client().execute(script, Vec::new()))
    }

    /// What a script of the test gives back when it calls its last argument.
    pub fn script_later(&self, script: &str) -> Value {
        self.done(self.client().execute_async(script, Vec::new()))
    }

    /// Keeps a picture of the whole page.
    pub fn picture(&self, name: &str) {
        let folder = pictures();
        let asked = json!({ "format": "png", "captureBeyondViewport": true });
        let taken = self.devtools("Page.captureScreenshot", asked);
        let data = taken["data"].as_str().expect("a picture has data");
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// What the console of the browser has said since it was asked last, and what was asked of others: nothing, or
    /// words.
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in self.log("browser") {
            let message = entry["message"].as_str().unwrap_or_default();
            // A page that refuses says so by its status; the test looks at what it says.
            let is_refusal = ["the server responded with a status of 4", "Response Status Error Code 4"]
                .iter()
                .any(|words| message.contains(words));
            if entry["level"] != "INFO" && !is_refusal {
                found.push(format!("{}: {message}", self.path()));
            }
        }
        for entry in self.log("performance") {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default()).unwrap();
            let message = &message["message"];
            if message["method"] == "Network.requestWillBeSent" {
                let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                if url.starts_with("http") && !url.starts_with(&self.origin) {
                    found.push(format!("{} asks {url}", self.path()));
                }
            }
        }
        found
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let log =
            self.done(self.client().issue_cmd(Beside { path: "se/log", body: json!({ "type": kind }) }));
        log.as_array().cloned().unwrap_or_default()
    }

    fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.done(self.client().issue_cmd(Beside { path: "goog/cdp/execute", body }))
    }

    fn eventually<T>(&self, what: &str, mut act: impl AsyncFnMut(&Client) -> Result<T, CmdError>) -> T {
        let mut why = String::new();
        for _ in 0..TRIES {
            match self.runtime.block_on(act(self.client())) {
                Ok(done) => return done,
                Err(error) => why = error.to_string(),
            }
            std::thread::sleep(PAUSE);
        }
        panic!("{} never lets {what:?} be done: {why}; it says: {}", self.path(), self.words());
    }

    fn done<T>(&self, act: impl Future<Output = Result<T, CmdError>>) -> T {
        self.runtime.block_on(act).unwrap_or_else(|error| panic!("the browser does not do it: {error}"))
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is open")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // What it leaves is ended with the driver.
            let _ = self.runtime.block_on(client.close());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Where pictures are kept: with what the build makes.
fn pictures() -> PathBuf {
    let program = Path::new(crate::desk::PROGRAM);
    let target = program.parent().expect("programs are built into a folder");
    let folder = target.join("pages");
    say(&format!("pictures are in {}", folder.display()));
    folder
}
