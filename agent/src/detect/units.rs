//! systemd units: their files, whether they are enabled, and on the running machine their state.
//! Invariant: a unit is there when its file is; a link to /dev/null or a link to nothing alone is no unit.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use seatbeat_proto::catalogue::{OUTPUT_LENGTH_MAX, Observations, Source, Unit, Wanted};

use super::root::Root;
use super::{Sensor, exec};

const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// The administrator's folder, which wins.
pub(super) const SETTINGS: &str = "/etc/systemd/system";

/// Folders that packages install units into.
pub(super) const FOLDERS: [&str; 3] =
    ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Is there while systemd runs the machine.
const RUNNING: &str = "/run/systemd/system";

/// Folders of units that systemd or a program made for this run of the machine.
const MADE: [&str; 6] = [
    "/run/systemd/system",
    "/run/systemd/transient",
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
    "/etc/systemd/system.attached",
];

/// Entries of the settings folder that are looked at.
const ENTRIES_MAX: usize = 10_000;

const PROPERTIES: &str = "Id,LoadState,ActiveState,UnitFileState,FragmentPath";

/// systemd under a root.
pub struct Units(pub Root);

impl Sensor for Units {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if wanted.units.is_empty() {
            return;
        }
        match self.files(wanted) {
            Ok(units) => seen.units.extend(units),
            Err(error) => {
                seen.unreadable.insert(Source::UnitFiles, format!("failed to look for unit files: {error}"));
            }
        }
        if !self.0.is_live() {
            seen.unreadable.insert(Source::UnitState, "a foreign root has no running units".into());
        } else if self.0.exists(RUNNING).unwrap_or(false) {
            let known: Vec<&str> =
                wanted.units.iter().copied().filter(|unit| self.is_known(unit, seen)).collect();
            match self.states(&known) {
                Ok(states) => self.merge(states, seen),
                Err(why) => {
                    seen.unreadable.insert(Source::UnitState, why);
                }
            }
        } else {
            // Without systemd no unit is active, whatever files there are.
            seen.units.values_mut().for_each(|unit| unit.active = "inactive".into());
        }
    }
}

impl Units {
    fn files(&self, wanted: &Wanted<'_>) -> io::Result<BTreeMap<String, Unit>> {
        let mut units = BTreeMap::new();
        for name in &wanted.units {
            let masked = self.0.link(SETTINGS, name).is_some_and(|target| target == "/dev/null");
            let mut there = !masked && self.0.exists(&format!("{SETTINGS}/{name}"))?;
            for folder in FOLDERS {
                there = there || self.0.exists(&format!("{folder}/{name}"))?;
            }
            if there {
                let enabled = if masked { "masked" } else { "disabled" };
                let load = if masked { "masked".to_owned() } else { String::new() };
                units.insert(
                    (*name).to_owned(),
                    Unit { load, active: String::new(), enabled: enabled.into() },
                );
            }
        }
        if units.values().any(|unit| unit.enabled == "disabled") {
            self.mark_enabled(&mut units)?;
        }
        Ok(units)
    }

    fn mark_enabled(&self, units: &mut BTreeMap<String, Unit>) -> io::Result<()> {
        let folders = self.0.names(SETTINGS, ENTRIES_MAX)?;
        for folder in folders.iter().filter(|name| name.ends_with(".wants") || name.ends_with(".requires")) {
            for (name, unit) in units.iter_mut().filter(|(_, unit)| unit.enabled == "disabled") {
                if self.0.link(&format!("{SETTINGS}/{folder}"), name).is_some() {
                    unit.enabled = "enabled".into();
                }
            }
        }
        Ok(())
    }

    /// Whether systemd can have anything to say of it: asking costs a process.
    fn is_known(&self, unit: &str, seen: &Observations) -> bool {
        let made = |folder: &&str| self.0.exists(&format!("{folder}/{unit}")).unwrap_or(true);
        seen.units.contains_key(unit) || unit.contains('*') || MADE.iter().any(made)
    }

    fn states(&self, units: &[&str]) -> Result<Vec<Shown>, String> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let mut arguments = vec!["show", "--no-pager", "-p", PROPERTIES, "--"];
        arguments.extend(units);
        let answer =
            exec::run(SYSTEMCTL, &arguments, Duration::from_secs(exec::TIME_S_MAX), OUTPUT_LENGTH_MAX)
                .map_err(|error| error.to_string())?;
        match answer.status.success() {
            true => Ok(shown(&answer.text)),
            false => Err(format!("{SYSTEMCTL} failed ({})", answer.status)),
        }
    }

    fn merge(&self, states: Vec<Shown>, seen: &mut Observations) {
        for state in states {
            // Units that systemd makes from init scripts have their file in a folder of its own.
            let generated = !state.path.is_empty() && self.0.exists(&state.path).unwrap_or(false);
            if generated && state.unit.load == "loaded" {
                seen.units.entry(state.id.clone()).or_default();
            }
            if let Some(unit) = seen.units.get_mut(&state.id) {
                let enabled = match state.unit.enabled.is_empty() {
                    true => std::mem::take(&mut unit.enabled),
                    false => state.unit.enabled,
                };
                *unit = Unit { enabled, ..state.unit };
            }
        }
    }
}

/// What systemd says of one unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) id: String,
    path: String,
    unit: Unit,
}

/// Blocks of `Property=value`, an empty line between them.
pub(super) fn shown(answer: &str) -> Vec<Shown> {
    let block = |text: &str| {
        let mut shown = Shown::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let place = match name {
                "Id" => &mut shown.id,
                "FragmentPath" => &mut shown.path,
                "LoadState" => &mut shown.unit.load,
                "ActiveState" => &mut shown.unit.active,
                "UnitFileState" => &mut shown.unit.enabled,
                _ => continue,
            };
            *place = value.trim().to_owned();
        }
        shown
    };
    answer.split("\n\n").map(block).filter(|shown| !shown.id.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_read_block_by_block() {
        let answer = "Id=ds_agent.service\nLoadState=loaded\nActiveState=active\nFragmentPath=/lib/systemd/system/x\n\
            UnitFileState=enabled\n\nId=tmxbc.service\nLoadState=not-found\nActiveState=inactive\nFragmentPath=\n";
        let shown = shown(answer);
        assert_eq!(shown.len(), 2);
        let unit = Unit { load: "loaded".into(), active: "active".into(), enabled: "enabled".into() };
        assert_eq!((shown[0].id.as_str(), &shown[0].unit), ("ds_agent.service", &unit));
        assert_eq!(shown[1].unit.load, "not-found");
    }
}
