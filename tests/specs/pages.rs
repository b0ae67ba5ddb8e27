//! Every page there is, found by its links, in a real browser: at a desk, in the dark and on a phone. Invariant: no page
//! is left out because nobody thought of it; each is looked at in a house that has something of everything.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::browser::{Browser, Look};
use crate::desk::{Desk, say, skip, text};

/// Patterns of pages, at most: a house has far fewer.
const PAGES_MAX: usize = 60;

/// Bytes that a page and all that it loads may have.
const WEIGHT_MAX: u64 = 300_000;

/// The demonstration, as somebody starts it who has just found the product.
struct Demonstration {
    process: Child,
    desk: Desk,
    /// `IP:PORT` of the operator door, and the path that signs in once.
    link: (String, String),
}

impl Demonstration {
    fn start() -> Self {
        let desk = Desk::unfounded();
        let folder = desk.path("demo");
        let arguments = [
            "demo",
            "--folder",
            text(&folder),
            "--agent-listen",
            "127.0.0.1:0",
            "--operator-listen",
            "127.0.0.1:0",
        ];
        let mut process = desk
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let link = |line: String| {
            let address = line.split_whitespace().find(|word| word.contains("/sign-in/link?"))?.to_owned();
            let (door, path) = address.strip_prefix("http://")?.split_once('/')?;
            Some((door.to_owned(), format!("/{path}")))
        };
        let link =
            lines.by_ref().map_while(Result::ok).find_map(link).expect("it prints a link to sign in with");
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, desk, link }
    }
}

impl Drop for Demonstration {
    fn drop(&mut self) {
        crate::desk::terminate(&self.process);
        let _ = self.process.wait();
        // The folder goes after the process.
        let _ = &self.desk;
    }
}

#[test]
fn every_page_can_be_used_at_a_desk_in_the_dark_and_on_a_phone() {
    if !Browser::is_here() {
        return;
    }
    let demonstration = Demonstration::start();
    let (door, path) = &demonstration.link;
    let browser = Browser::open(door);
    browser.go(path);
    browser.press("Sign in");
    browser.says("Overview");
    let axe = axe();
    let mut faults = Vec::new();
    let mut pages = 0;
    let mut seen = BTreeSet::new();
    let mut left = VecDeque::from(["/".to_owned()]);
    while let Some(path) = left.pop_front().filter(|_| pages < PAGES_MAX) {
        if !seen.insert(pattern(&path)) {
            continue;
        }
        pages += 1;
        for look in Look::ALL {
            browser.look(look);
            browser.go(&path);
            browser.picture(&format!("{}-{}", name(&path), look.name()));
            faults.extend(wide(&browser).map(|words| format!("{path} {}: {words}", look.name())));
            if let Some(axe) = &axe {
                faults.extend(
                    violations(&browser, axe)
                        .into_iter()
                        .map(|words| format!("{path} {}: {words}", look.name())),
                );
            }
        }
        faults.extend(heavy(&browser).map(|words| format!("{path}: {words}")));
        left.extend(links(&browser));
        faults.extend(browser.complaints());
    }
    say(&format!("{pages} pages: {seen:?}"));
    assert!(pages >= 15, "only {pages} pages were found: {seen:?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One page of each kind is looked at: ids and months are of a kind.
fn pattern(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let is_id = |part: &str| part.contains('_') || part.chars().any(|c| c.is_ascii_digit());
    path.split('/').map(|part| if is_id(part) { "*" } else { part }).collect::<Vec<_>>().join("/")
}

fn name(path: &str) -> String {
    let pattern = pattern(path).replace('*', "one");
    let name = pattern.trim_matches('/').replace('/', "-");
    if name.is_empty() { "overview".to_owned() } else { name }
}

/// Pages that a page leads to; files and what ends the session are none.
fn links(browser: &Browser) -> Vec<String> {
    let found = browser.script(
        "return [...document.querySelectorAll('a[href^=\"/\"]:not([download])')].map(a => a.getAttribute('href'))",
    );
    let all = found.as_array().cloned().unwrap_or_default();
    let all = all
        .iter()
        .filter_map(Value::as_str)
        .map(|href| href.split('#').next().unwrap_or_default().to_owned());
    let is_file = |href: &str| {
        let path = href.split('?').next().unwrap_or_default();
        path.starts_with("/v1/")
            || path.starts_with("/sign-")
            || path.starts_with("/assets/")
            || path.rsplit('/').next().is_some_and(|last| last.contains('.'))
    };
    all.filter(|href| !is_file(href)).collect()
}

/// A page that is wider than its window: only boxes within it may scroll. Its heading is made longer first: it may be
/// a name that somebody gave, or an id, without a space.
fn wide(browser: &Browser) -> Option<String> {
    let beyond = browser.script(
        "const heading = document.querySelector('h1'); const inside = heading.innerHTML; \
         heading.textContent = 'm'.repeat(200); \
         const e = document.scrollingElement; const beyond = e.scrollWidth - e.clientWidth; \
         heading.innerHTML = inside; return beyond > 1 ? beyond : 0",
    );
    beyond
        .as_i64()
        .filter(|beyond| *beyond > 0)
        .map(|beyond| format!("{beyond} pixels wider than its window"))
}

fn heavy(browser: &Browser) -> Option<String> {
    let weight = browser.script(
        "return performance.getEntries().filter(e => e.encodedBodySize !== undefined) \
         .reduce((sum, e) => sum + e.encodedBodySize, 0)",
    );
    weight.as_u64().filter(|weight| *weight > WEIGHT_MAX).map(|weight| format!("{weight} bytes"))
}

/// The program that finds what keeps people out; none where it is not.
fn axe() -> Option<String> {
    let axe = std::env::var_os("SEATBEAT_AXE").and_then(|path| std::fs::read_to_string(path).ok());
    if axe.is_none() {
        skip(
            "axe-core",
            "npm install --prefix FOLDER axe-core@4; SEATBEAT_AXE=FOLDER/node_modules/axe-core/axe.min.js",
        );
    }
    axe
}

/// What is serious for somebody.
fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    browser.script(axe);
    let found = browser.script_later(
        "const done = arguments[arguments.length - 1]; \
         axe.run(document).then(r => done(r.violations.filter(v => ['serious', 'critical'].includes(v.impact)) \
         .map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160) + ' ' + n.any.map(c => c.message).join('; ')).join(' | '))), \
         error => done([String(error)]))",
    );
    let found = found.as_array().cloned().unwrap_or_default();
    found.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
