//! What the tree itself has to keep: who may depend on whom, which rooms are pure, what stands at the top.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the specs stand below the root").to_owned()
}

/// Manifest folder of each crate, and which crates of ours it may build on.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("seatbeat-proto", "proto", &[]),
    ("seatbeat-agent", "agent", &["seatbeat-proto"]),
    ("seatbeat-ledger", "collector/ledger", &["seatbeat-proto"]),
    ("seatbeat-verify", "collector/verify", &["seatbeat-ledger", "seatbeat-proto"]),
    (
        "seatbeat-collector",
        "collector",
        &["seatbeat-ledger", "seatbeat-postgres", "seatbeat-proto", "seatbeat-standin"],
    ),
    // It builds the others by running cargo, and shares no code with them.
    ("seatbeat-installer", "installer", &[]),
    ("seatbeat-standin", "tests/standin", &[]),
    ("seatbeat-postgres", "tests/postgres", &[]),
    ("seatbeat-fleet", "tests/fleet", &["seatbeat-proto"]),
    (
        "seatbeat-benches",
        "tests/benches",
        &["seatbeat-collector", "seatbeat-fleet", "seatbeat-ledger", "seatbeat-postgres", "seatbeat-proto"],
    ),
    (
        "seatbeat-sim",
        "tests/sim",
        &["seatbeat-agent", "seatbeat-collector", "seatbeat-fleet", "seatbeat-ledger", "seatbeat-proto"],
    ),
    (
        "seatbeat-turmoil",
        "tests/turmoil",
        &["seatbeat-agent", "seatbeat-collector", "seatbeat-fleet", "seatbeat-ledger", "seatbeat-proto"],
    ),
    (
        "seatbeat",
        "collector/seatbeat",
        &[
            "seatbeat-agent",
            "seatbeat-collector",
            "seatbeat-fleet",
            "seatbeat-ledger",
            "seatbeat-proto",
            "seatbeat-standin",
            "seatbeat-verify",
        ],
    ),
    (
        "seatbeat-specs",
        "tests",
        &[
            "seatbeat",
            "seatbeat-agent",
            "seatbeat-collector",
            "seatbeat-fleet",
            "seatbeat-ledger",
            "seatbeat-postgres",
            "seatbeat-proto",
            "seatbeat-standin",
        ],
    ),
];

/// Files and folders that know no runtime, no files, no network and no clock.
const PURE: &[&str] = &[
    "proto/src",
    "collector/ledger/src",
    "agent/src/act/book.rs",
    "agent/src/act/book",
    "agent/src/act/trust.rs",
    "agent/src/detect/places.rs",
    "agent/src/detect/watch.rs",
    "agent/src/detect/windows/ini.rs",
    "agent/src/detect/windows/names.rs",
    "agent/src/detect/windows/smbios.rs",
    "agent/src/windows/access.rs",
    "agent/src/meter.rs",
    "agent/src/reporter.rs",
    "agent/src/reporter",
    "agent/src/session.rs",
    "collector/src/console/audit/actions.rs",
    "collector/src/console/downloads/asked.rs",
    "collector/src/console/downloads/tables.rs",
    "collector/src/console/machines/listing.rs",
    "collector/src/console/web/downloads/json.rs",
    "collector/src/gateway/admission.rs",
    "collector/src/gateway/decide.rs",
    "collector/src/outputs",
    "collector/src/gateway/greeting.rs",
    "collector/src/gateway/plan.rs",
    "collector/src/gateway/clocks.rs",
    "tests/fleet/src/machine.rs",
    "tests/fleet/src/plan.rs",
];

/// What a pure room does not say.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
];

const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "agent",
    "collector",
    "proto",
    "installer",
    "tests",
];

fn sources(below: &Path) -> Vec<PathBuf> {
    if below.is_file() {
        return vec![below.to_owned()];
    }
    let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().flat_map(|entry| sources(&entry.path())).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    found.sort();
    found
}

fn our_crates(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let dependencies = manifest.get(table).and_then(toml::Value::as_table);
    dependencies
        .into_iter()
        .flat_map(toml::Table::keys)
        .filter(|name| name.starts_with("seatbeat"))
        .cloned()
        .collect()
}

fn arrows_broken(manifests: &BTreeMap<&str, toml::Table>) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().map(|(name, _, may)| (*name, *may)).collect();
    let mut broken = Vec::new();
    for (name, manifest) in manifests {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for used in our_crates(manifest, table) {
                if !allowed[name].contains(&used.as_str()) {
                    broken.push(format!("{name} -> {used}"));
                }
            }
        }
    }
    broken
}

fn manifests() -> BTreeMap<&'static str, toml::Table> {
    let read = |folder: &str| {
        let text =
            fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("each crate has a manifest");
        text.parse().expect("a manifest is TOML")
    };
    ARROWS.iter().map(|(name, folder, _)| (*name, read(folder))).collect()
}

#[test]
fn every_arrow_between_crates_is_an_agreed_one() {
    assert_eq!(arrows_broken(&manifests()), Vec::<String>::new());
}

#[test]
fn an_arrow_that_was_not_agreed_is_noticed() {
    let mut manifests = manifests();
    let agent = manifests.get_mut("seatbeat-agent").expect("the agent has a manifest");
    agent["dependencies"]
        .as_table_mut()
        .expect("a table")
        .insert("seatbeat-collector".to_owned(), toml::Value::String("*".to_owned()));
    assert_eq!(arrows_broken(&manifests), ["seatbeat-agent -> seatbeat-collector"]);
}

#[test]
fn every_crate_of_the_workspace_has_its_arrows_named() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let workspace: toml::Table = text.parse().expect("a manifest is TOML");
    let members: BTreeSet<&str> = workspace["workspace"]["members"]
        .as_array()
        .expect("members are a list")
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let named: BTreeSet<&str> = ARROWS.iter().map(|(_, folder, _)| *folder).collect();
    assert_eq!(members, named);
}

/// Threads that end before the call that began them does, whose work is added up, are no runtime.
const PURE_THREADS: &str = "std::thread::scope(";

fn impure_words(text: &str) -> Vec<&'static str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<String> = code.map(|line| line.replace(PURE_THREADS, "")).collect();
    IMPURE.iter().copied().filter(|word| code.iter().any(|line| line.contains(word))).collect()
}

#[test]
fn pure_rooms_know_no_runtime_files_network_or_clock() {
    for room in PURE {
        let files = sources(&root().join(room));
        assert!(!files.is_empty(), "the pure room `{room}` is gone");
        for file in files {
            let text = fs::read_to_string(&file).expect("a source can be read");
            assert_eq!(impure_words(&text), Vec::<&str>::new(), "{}", file.display());
        }
    }
    assert_eq!(impure_words("use tokio::net;\n// std::fs is fine here"), ["tokio"]);
}

/// The one room that calls what no safe crate has.
const UNSAFE: &str = "agent/src/windows/raw.rs";

#[test]
fn one_room_calls_what_no_safe_crate_has() {
    for folder in ["proto", "agent", "collector", "installer", "tests"] {
        for file in sources(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("a source can be read");
            let says = concat!("unsafe", " {");
            let marked = concat!("unsafe", " fn");
            let calls = text.contains(says) || text.contains(marked);
            assert!(!calls || file.ends_with(UNSAFE), "{}", file.display());
        }
    }
}

#[test]
fn the_top_level_holds_what_was_agreed_and_dotfiles() {
    for entry in fs::read_dir(root()).expect("the root can be listed").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(
            name.starts_with('.') || name == "target" || TOP.contains(&name.as_str()),
            "`{name}` at the top level"
        );
    }
}

#[test]
fn every_source_opens_with_what_it_is_and_leaves_nothing_undone() {
    for folder in ["proto", "agent", "collector", "installer", "tests"] {
        for file in sources(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("a source can be read");
            let shown = file.display();
            assert!(text.starts_with("//!"), "{shown} does not say what it is");
            for undone in [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore")] {
                assert!(!text.contains(undone), "{shown} has `{undone}`");
            }
        }
    }
}

/// What stands between backticks in a text and is written as a test's name is: some words, each joined to the next.
fn tests_named(text: &str) -> BTreeSet<&str> {
    let is_name = |word: &&str| {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.chars().all(letters) && word.matches('_').count() >= 3
    };
    text.split('`').filter(is_name).collect()
}

#[test]
fn each_test_that_the_threat_model_names_is_there() {
    let model = fs::read_to_string(root().join(".github/SECURITY.md")).expect("the threat model can be read");
    let folders = ["proto", "agent", "collector", "tests"];
    let files = folders.iter().flat_map(|folder| sources(&root().join(folder)));
    let texts: Vec<String> =
        files.map(|file| fs::read_to_string(file).expect("a source can be read")).collect();
    let named = tests_named(&model);
    assert!(named.len() > 50, "{}", named.len());
    for name in named {
        let test = format!("fn {name}()");
        assert!(texts.iter().any(|text| text.contains(&test)), "no test is called `{name}`");
    }
}
