//! What is in the packages for Linux, whatever their format. Invariant: paths are sorted and owned by root, and nothing
//! but the program comes from outside this folder.

use anyhow::Result;
use clap::ValueEnum;

use crate::elf::Wants;

/// What is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// For machines that are counted
    Agent,
    /// For the reseller
    Collector,
}

/// A file in a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below `/`.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Whether an administrator may change it, and an upgrade may not.
    pub is_configuration: bool,
}

/// What a package runs, as its format has them.
#[derive(Debug, Clone, Copy)]
pub struct Scripts {
    /// Names and texts, as they lie in a .deb beside `control`.
    pub debian: &'static [(&'static str, &'static str)],
    /// After installing, before and after removing, for rpm.
    pub rpm: [&'static str; 3],
}

/// A package, before it has a format.
#[derive(Debug)]
pub struct Content {
    /// The package's name.
    pub name: &'static str,
    /// In a line.
    pub summary: &'static str,
    /// In some.
    pub description: &'static str,
    /// Files, by path.
    pub entries: Vec<Entry>,
    /// What it runs.
    pub scripts: Scripts,
    /// Packages beside those with its libraries, for Debian.
    pub debian_depends: &'static [&'static str],
    /// What its program wants.
    pub wants: Wants,
}

impl Part {
    /// Cargo's package, and the program's and the system package's name.
    pub fn cargo(self) -> &'static str {
        match self {
            Self::Agent => "seatbeat-agent",
            Self::Collector => "seatbeat",
        }
    }

    /// Words for cargo: no package has the demonstration in it.
    pub fn features(self) -> &'static [&'static str] {
        match self {
            Self::Agent => &[],
            Self::Collector => &["--no-default-features"],
        }
    }

    /// The package around a program.
    ///
    /// # Errors
    /// When the program is none for Linux.
    pub fn content(self, program: Vec<u8>) -> Result<Content> {
        let wants = Wants::of(&program)?;
        let mut entries = vec![entry(&format!("usr/bin/{}", self.cargo()), program, 0o755)];
        entries.extend(self.texts().iter().map(|(path, text)| entry(path, text.as_bytes().to_vec(), 0o644)));
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        let (summary, description) = self.told();
        let (scripts, debian_depends) = (self.scripts(), self.debian_depends());
        Ok(Content { name: self.cargo(), summary, description, entries, scripts, debian_depends, wants })
    }

    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => (
                "report which security products are installed and active",
                "Finds the vendor's security products on this machine and reports them, signed,\n\
                 to the reseller's collector, so that only what ran is paid for. It runs as a\n\
                 user without rights; what takes root is done by a helper on demand.",
            ),
            Self::Collector => (
                "count the licences that were used, and prove it",
                "Keeps the signed reports of agents on customers' machines, turns them into\n\
                 verified monthly counts by customer and SKU, prices them and seals them into a\n\
                 signed statement. Server and operators' command line in one program.",
            ),
        }
    }

    fn texts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Agent => &[
                ("etc/seatbeat-agent/agent.toml", include_str!("../linux/agent/agent.toml")),
                (
                    "usr/lib/systemd/system/seatbeat-agent-enrol.service",
                    include_str!("../systemd/seatbeat-agent-enrol.service"),
                ),
                (
                    "usr/lib/systemd/system/seatbeat-agent-helper.service",
                    include_str!("../systemd/seatbeat-agent-helper.service"),
                ),
                (
                    "usr/lib/systemd/system/seatbeat-agent-helper.socket",
                    include_str!("../systemd/seatbeat-agent-helper.socket"),
                ),
                (
                    "usr/lib/systemd/system/seatbeat-agent.service",
                    include_str!("../systemd/seatbeat-agent.service"),
                ),
                (
                    "usr/lib/sysusers.d/seatbeat-agent.conf",
                    include_str!("../systemd/seatbeat-agent.sysusers"),
                ),
            ],
            Self::Collector => &[
                (
                    "usr/lib/systemd/system/seatbeat-pass.service",
                    include_str!("../systemd/seatbeat-pass.service"),
                ),
                ("usr/lib/systemd/system/seatbeat.service", include_str!("../systemd/seatbeat.service")),
                ("usr/lib/sysusers.d/seatbeat.conf", include_str!("../systemd/seatbeat.sysusers")),
            ],
        }
    }

    /// The manual page: its path without `.gz`, and its text.
    pub fn manual(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => {
                ("usr/share/man/man8/seatbeat-agent.8", include_str!("../linux/agent/seatbeat-agent.8"))
            }
            Self::Collector => {
                ("usr/share/man/man1/seatbeat.1", include_str!("../linux/collector/seatbeat.1"))
            }
        }
    }

    fn scripts(self) -> Scripts {
        match self {
            Self::Agent => Scripts {
                debian: &[
                    ("config", include_str!("../linux/agent/config")),
                    ("postinst", include_str!("../linux/agent/postinst")),
                    ("postrm", include_str!("../linux/agent/postrm")),
                    ("prerm", include_str!("../linux/agent/prerm")),
                    ("templates", include_str!("../linux/agent/templates")),
                ],
                rpm: [
                    include_str!("../linux/agent/post.rpm.sh"),
                    include_str!("../linux/agent/preun.rpm.sh"),
                    include_str!("../linux/agent/postun.rpm.sh"),
                ],
            },
            Self::Collector => Scripts {
                debian: &[
                    ("postinst", include_str!("../linux/collector/postinst")),
                    ("postrm", include_str!("../linux/collector/postrm")),
                    ("prerm", include_str!("../linux/collector/prerm")),
                ],
                rpm: [
                    include_str!("../linux/collector/post.rpm.sh"),
                    include_str!("../linux/collector/preun.rpm.sh"),
                    include_str!("../linux/collector/postun.rpm.sh"),
                ],
            },
        }
    }

    fn debian_depends(self) -> &'static [&'static str] {
        match self {
            // The question for the token; the user; the scripts' own words.
            Self::Agent => &[
                "debconf (>= 0.5) | debconf-2.0",
                "init-system-helpers (>= 1.54)",
                "passwd",
                "systemd (>= 247)",
            ],
            Self::Collector => &["init-system-helpers (>= 1.54)", "passwd", "systemd (>= 247)"],
        }
    }
}

/// A file that root owns.
pub fn entry(path: &str, bytes: Vec<u8>, mode: u32) -> Entry {
    Entry { path: path.to_owned(), bytes, mode, is_configuration: path.starts_with("etc/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_that_a_script_names_is_in_the_package() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for part in [Part::Agent, Part::Collector] {
            let content = part.content(own.clone()).unwrap();
            let paths: Vec<&str> = content.entries.iter().map(|entry| entry.path.as_str()).collect();
            assert!(paths.is_sorted(), "{paths:?}");
            let texts = content.scripts.debian.iter().map(|(_, text)| *text).chain(content.scripts.rpm);
            for word in
                texts.flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c))))
            {
                let is_unit =
                    word.starts_with("seatbeat") && (word.ends_with(".service") || word.ends_with(".socket"));
                let path = format!("usr/lib/systemd/system/{word}");
                assert!(!is_unit || paths.contains(&path.as_str()), "{word}");
            }
            assert!(
                content.entries.iter().all(|entry| entry.is_configuration == entry.path.starts_with("etc/"))
            );
        }
    }
}
