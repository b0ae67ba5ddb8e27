//! What a program was made of, as a CycloneDX bill of materials. Invariant: exactly the crates that cargo builds into it
//! for that target, with the checksums of `Cargo.lock`; nothing of the machine or the hour.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::compile;
use crate::content::Part;
use crate::edition::Edition;

/// Parts a line of `cargo tree`: how deep, what, under which licence.
const FORMAT: &str = "\t{p}\t{l}";

/// A crate, by name and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
}

#[derive(Debug, Default)]
struct About {
    licence: String,
    /// Of this workspace: it is in no registry.
    is_ours: bool,
    uses: BTreeSet<Crate>,
}

impl Crate {
    fn reference(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// The bill of a part for a target, as JSON.
///
/// # Errors
/// When cargo does not tell what is built.
pub fn bill(part: Part, target: &str, edition: &Edition) -> Result<Vec<u8>> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(compile::root()).args([
        "tree",
        "--locked",
        "--package",
        part.cargo(),
        "--target",
        target,
    ]);
    cargo.args(["--edges", "normal", "--prefix", "depth", "--format", FORMAT]).args(part.features());
    let told = cargo.output().context("failed to run `cargo tree`")?;
    if !told.status.success() {
        bail!("`cargo tree` failed: {}", String::from_utf8_lossy(&told.stderr).trim());
    }
    let (root, crates) = read(&String::from_utf8_lossy(&told.stdout))?;
    let lock =
        std::fs::read_to_string(compile::root().join("Cargo.lock")).context("failed to read `Cargo.lock`")?;
    let bill = document(&root, &crates, &checksums(&lock)?, target, edition);
    let mut bytes = serde_json::to_vec_pretty(&bill)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Each crate with what it uses; the first line's is the program's.
fn read(tree: &str) -> Result<(Crate, BTreeMap<Crate, About>)> {
    let mut crates: BTreeMap<Crate, About> = BTreeMap::new();
    let mut above: Vec<Crate> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let unread = || format!("`cargo tree` told something else than a crate: `{line}`");
        let mut parts = line.split('\t');
        let depth: usize = parts.next().and_then(|depth| depth.parse().ok()).with_context(unread)?;
        let mut words = parts.next().with_context(unread)?.split(' ');
        let name = words.next().with_context(unread)?.to_owned();
        let version = words.next().and_then(|word| word.strip_prefix('v')).with_context(unread)?.to_owned();
        let is_ours = words.any(|word| word.starts_with("(/"));
        // A crate that stood further up has a mark behind its licence.
        let licence = parts.next().unwrap_or_default().trim_end_matches(" (*)").replace('/', " OR ");
        let found = Crate { name, version };
        above.truncate(depth);
        if let Some(user) = above.last() {
            crates.entry(user.clone()).or_default().uses.insert(found.clone());
        }
        let about = crates.entry(found.clone()).or_default();
        (about.licence, about.is_ours) = (licence, is_ours);
        above.push(found);
    }
    let root = above.into_iter().next().context("`cargo tree` told nothing")?;
    Ok((root, crates))
}

fn checksums(lock: &str) -> Result<BTreeMap<Crate, String>> {
    let lock: toml::Table = lock.parse().context("`Cargo.lock` is not valid")?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("`Cargo.lock` names no crate")?;
    let text = |package: &toml::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let of = |package: &toml::Value| {
        let (name, version) = (text(package, "name")?, text(package, "version")?);
        Some((Crate { name, version }, text(package, "checksum")?))
    };
    Ok(packages.iter().filter_map(of).collect())
}

fn document(
    root: &Crate,
    crates: &BTreeMap<Crate, About>,
    checksums: &BTreeMap<Crate, String>,
    target: &str,
    edition: &Edition,
) -> Value {
    let component = |kind: &str, one: &Crate, about: &About| {
        let mut shown = json!({
            "type": kind,
            "bom-ref": one.reference(),
            "name": one.name,
            "version": one.version,
            "licenses": [{ "expression": about.licence }],
        });
        if !about.is_ours {
            shown["purl"] = json!(one.reference());
        }
        if let Some(sum) = checksums.get(one) {
            shown["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        shown
    };
    let others = crates.iter().filter(|(one, _)| *one != root);
    let uses = |(one, about): (&Crate, &About)| json!({ "ref": one.reference(), "dependsOn": about.uses.iter().map(Crate::reference).collect::<Vec<_>>() });
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": edition.at.to_string(),
            "component": component("application", root, &crates[root]),
            "properties": [{ "name": "cargo:target", "value": target }],
        },
        "components": others.map(|(one, about)| component("library", one, about)).collect::<Vec<_>>(),
        "dependencies": crates.iter().map(uses).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0\tagent v0.1.0 (/src/agent)\tApache-2.0\n1\tserde v1.0.1\tMIT OR Apache-2.0\n\
                        2\tserde_core v1.0.1\tMIT/Apache-2.0\n1\tserde_core v1.0.1\tMIT/Apache-2.0 (*)\n";

    #[test]
    fn each_crate_is_there_once_with_what_it_uses_and_its_sum() {
        let (root, crates) = read(TREE).unwrap();
        let sums = checksums(
            "[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nchecksum = \"ab\"\n\
             [[package]]\nname = \"agent\"\nversion = \"0.1.0\"\n",
        );
        let edition = Edition {
            version: "0.1.0",
            revision: 1,
            maintainer: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let bill = document(&root, &crates, &sums.unwrap(), "t", &edition);
        assert_eq!(bill["metadata"]["component"]["name"], "agent");
        assert!(bill["metadata"]["component"]["purl"].is_null(), "it is in no registry");
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        assert_eq!(names, ["serde", "serde_core"]);
        assert_eq!(bill["components"][0]["hashes"][0]["content"], "ab");
        assert_eq!(bill["components"][1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(
            bill["dependencies"][0]["dependsOn"],
            json!(["pkg:cargo/serde@1.0.1", "pkg:cargo/serde_core@1.0.1"])
        );
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        assert!(read("error: nothing\n").is_err());
        assert!(read("").is_err());
    }
}
