//! Ways to tamper with a bundle, and the words by which each is refused. Invariant: no two recipes have the same words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::jcs::to_canonical;

/// A bundle on its way to whoever checks it, and what they ask.
struct Parcel<'a> {
    house: &'a House,
    lines: Vec<String>,
    question: Question,
}

impl Parcel<'_> {
    /// Changes a line as JSON and writes it in canonical form again.
    fn edit(&mut self, line: usize, edit: impl FnOnce(&mut Value)) {
        let mut value: Value = serde_json::from_str(&self.lines[line]).unwrap();
        edit(&mut value);
        self.lines[line] = to_canonical(&value).unwrap();
    }

    fn body(&mut self, edit: impl FnOnce(&mut Value)) {
        self.edit(0, |value| edit(&mut value["statement"]["body"]));
    }

    fn log(&mut self, edit: impl FnOnce(&mut Value)) {
        self.edit(1, |value| edit(&mut value["log"]));
    }

    /// Changes the statement's text in the log's proof.
    fn proof(&mut self, from: &str, to: &str) {
        self.log(|log| {
            let text = log["inclusion"].as_str().unwrap();
            assert!(text.contains(from), "{text}");
            log["inclusion"] = text.replacen(from, to, 1).into();
        });
    }

    /// The line at which a section begins.
    fn section(&self, customer: &str, sku: &str) -> usize {
        let begin = json!({"line": {"customer": customer, "sku": sku}}).to_string();
        self.lines.iter().position(|line| *line == begin).unwrap_or_else(|| panic!("{begin}"))
    }

    fn excluded(&self) -> usize {
        self.lines.iter().position(|line| line == r#"{"excluded":{}}"#).unwrap()
    }

    fn resign(&mut self) {
        let statement_key = self.house.statement_key.clone();
        self.edit(0, |value| {
            let body = sealed::body_bytes(&value["statement"]["body"]).unwrap();
            let signed = sealed::seal(body, &statement_key);
            value["statement"]["signature"] = STANDARD.encode(signed.signature).into();
        });
    }

    fn sample(&mut self) -> &mut Sample {
        let sample = self.house.sample("2026-10", "ingram", NONCE).unwrap();
        self.question.level = Level::Sampled;
        self.question.sample.insert(sample)
    }

    fn replay(&mut self) -> &mut Replay {
        let replay = self.house.replay("2026-10", "ingram");
        self.question.level = Level::Replayed;
        self.question.sample = Some(self.house.sample("2026-10", "ingram", NONCE).unwrap());
        self.question.replay.insert(replay)
    }
}

/// The index of the sample's first pick for which this holds.
fn pick_of(sample: &Sample, is_it: impl Fn(&crate::sample::Pick) -> bool) -> usize {
    sample.picks.iter().position(is_it).unwrap()
}

/// The words of a refusal, with short names in the place of pseudonyms and machine ids.
fn words(text: &str) -> String {
    let is_mark = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut text = text.to_owned();
    for machine in 0..=9 {
        text = text.replace(machine_id(machine).as_str(), &format!("mch_{machine}"));
    }
    let word = |word: &str| {
        let trimmed = word.trim_end_matches(|c: char| !is_mark(c));
        let is_pseudonym = trimmed.len() == 32 && trimmed.chars().all(is_mark);
        if is_pseudonym { format!("M{}", &word[trimmed.len()..]) } else { word.to_owned() }
    };
    text.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

type Recipe = (&'static str, fn(&mut Parcel<'_>), &'static str);

mod body;
mod log;
mod rows;
mod sample;

#[test]
fn each_way_to_tamper_is_refused_in_its_own_words() {
    let house = october();
    let bundle = house.bundle("2026-10", "ingram", &[40], false);
    let mut said: BTreeMap<String, &str> = BTreeMap::new();
    let mut wrong = Vec::new();
    let recipes = [body::RECIPES, rows::RECIPES, log::RECIPES, sample::RECIPES].concat();
    assert!(recipes.len() >= 40, "{} recipes", recipes.len());
    for (name, tamper, expected) in recipes {
        let lines = bundle.lines().map(str::to_owned).collect();
        let mut parcel = Parcel { house: &house, lines, question: house.question(Level::Recomputed) };
        tamper(&mut parcel);
        let told = match verify((parcel.lines.join("\n") + "\n").as_bytes(), parcel.question) {
            Ok(_) => "accepted".to_owned(),
            Err(failures) => words(&failures.to_string()),
        };
        if told != expected {
            wrong.push(format!("(\"{name}\", …, {told:?}),"));
        }
        if let Some(other) = said.insert(told, name) {
            wrong.push(format!("{name} and {other} are refused in the same words"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
