//! rpm packages. Invariant: rpm itself reads its database, on the running machine only; where it cannot, the source is
//! unreadable rather than empty.

use std::time::Duration;

use seatbeat_proto::catalogue::{OUTPUT_LENGTH_MAX, Observations, Package, PackageManager, Source, Wanted};

use super::Sensor;
use super::exec::{self, ExecError};
use super::root::Root;

const RPM: &str = "/usr/bin/rpm";

/// Where a database shows, whatever its format.
pub(super) const DATABASES: [&str; 6] = [
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages",
    "/usr/lib/sysimage/rpm/Packages.db",
];

/// A line for each package: nothing that a message in any language looks like.
const FORMAT: &str = "=\t%{NAME}\t%{VERSION}-%{RELEASE}\n";

/// rpm's database under a root.
pub struct Rpm(pub Root);

impl Sensor for Rpm {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if wanted.rpms.is_empty() || !DATABASES.iter().any(|path| self.0.exists(path).unwrap_or(true)) {
            return;
        }
        if !self.0.is_live() {
            let why = "only rpm can read its database, and nothing is run under a foreign root";
            seen.unreadable.insert(Source::Rpm, why.into());
            return;
        }
        match ask(wanted) {
            Ok(packages) => seen.packages.extend(packages),
            Err(why) => {
                seen.unreadable.insert(Source::Rpm, why);
            }
        }
    }
}

fn ask(wanted: &Wanted<'_>) -> Result<Vec<Package>, String> {
    let mut arguments = vec!["-q", "--qf", FORMAT, "--"];
    arguments.extend(wanted.rpms.iter().filter(|name| !name.contains('*')));
    let answer = exec::run(RPM, &arguments, Duration::from_secs(exec::TIME_S_MAX), OUTPUT_LENGTH_MAX)
        .map_err(|error| match error {
            ExecError::Absent(_) => format!("there is an rpm database, but no {RPM}"),
            other => other.to_string(),
        })?;
    // rpm says of each name that it knows it or does not; saying nothing is a failure.
    if answer.text.trim().is_empty() || answer.status.code().is_none() {
        return Err(format!("{RPM} could not read its database"));
    }
    Ok(packages(&answer.text))
}

pub(super) fn packages(answer: &str) -> Vec<Package> {
    let package = |line: &str| {
        let (name, version) = line.strip_prefix("=\t")?.split_once('\t')?;
        Some(Package {
            manager: PackageManager::Rpm,
            name: name.to_owned(),
            version: version.trim_end().to_owned(),
            state: Package::INSTALLED.to_owned(),
        })
    };
    answer.lines().filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_from_messages() {
        let found =
            packages("package SProtectLinux is not installed\n=\tds_agent\t20.0.2-1390.ol7\n=\tbroken\n");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("ds_agent", "20.0.2-1390.ol7"));
    }
}
