//! Which package of a version this is, and of when. Invariant: both come from the sources or the command line, never
//! from the clock, so that a second build has the same bytes.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::compile;

/// Says of when the sources are, to every tool that makes reproducible files.
const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// What of a package is said on the command line.
#[derive(Debug, Clone, Args)]
pub struct EditionArgs {
    /// Number of the package among those of one version
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    revision: u32,
    /// Who answers for the package
    #[arg(long, value_name = "NAME <ADDRESS>", default_value = "Seatbeat <packages@seatbeat.invalid>")]
    maintainer: String,
}

/// See the file's text.
#[derive(Debug, Clone)]
pub struct Edition {
    /// Of the workspace.
    pub version: &'static str,
    /// Counted from 1 for each version.
    pub revision: u32,
    /// Who answers for it.
    pub maintainer: String,
    /// Of when the sources are: the time of every file in a package.
    pub at: Timestamp,
}

impl Edition {
    /// As the command line and the sources have it.
    ///
    /// # Errors
    /// When nothing says of when the sources are.
    pub fn of(args: &EditionArgs) -> Result<Self> {
        let EditionArgs { revision, maintainer } = args.clone();
        Ok(Self { version: env!("CARGO_PKG_VERSION"), revision, maintainer, at: source_date()? })
    }

    /// Version and revision.
    pub fn text(&self) -> String {
        format!("{}-{}", self.version, self.revision)
    }

    /// Seconds since 1970, as archives have them.
    pub fn seconds(&self) -> u64 {
        u64::try_from(self.at.as_second()).unwrap_or(0)
    }

    /// As mail and Debian's change logs have it.
    pub fn mail_date(&self) -> String {
        self.at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }
}

/// As the variable says, else when the sources were last committed.
fn source_date() -> Result<Timestamp> {
    let text = match std::env::var(VARIABLE) {
        Ok(text) => text,
        Err(_) => committed()?,
    };
    let seconds = text.trim().parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.with_context(|| format!("`{}` is no number of seconds since 1970 ({VARIABLE})", text.trim()))
}

fn committed() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(compile::root()).args(["log", "-1", "--format=%ct"]);
    match git.output() {
        Ok(told) if told.status.success() => Ok(String::from_utf8_lossy(&told.stdout).into_owned()),
        _ => bail!("nothing says of when the sources are: set {VARIABLE} to seconds since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_as_mail_has_it() {
        let edition = Edition {
            version: "1.2.3",
            revision: 4,
            maintainer: String::new(),
            at: Timestamp::from_second(1_792_857_600).unwrap(),
        };
        assert_eq!(edition.mail_date(), "Sat, 24 Oct 2026 16:00:00 +0000");
        assert_eq!((edition.text().as_str(), edition.seconds()), ("1.2.3-4", 1_792_857_600));
    }
}
