//! The sources of a running Mac: its property lists and files, and what the system's own programs list of jobs and
//! extensions. Invariant: a program is asked by its whole path, and one that does not answer makes its source unreadable,
//! never empty. Never tried on a Mac: the lists and listings of the tests are samples.

use std::path::PathBuf;
#[cfg(target_os = "macos")]
use std::time::Duration;

use seatbeat_proto::catalogue::{Observations, Source, Wanted};

use super::mac_files::MacFiles;
use super::{Sensor, collected};

/// Bytes of a listing that are read: a Mac has some hundred jobs.
#[cfg(target_os = "macos")]
const LISTING_LENGTH_MAX: usize = 1024 * 1024;

type Parser = fn(&str, &Wanted<'_>, &mut Observations);

/// What lists what, and how that is read. Jobs' property lists tell which there are, `launchctl` which are loaded.
const LISTINGS: [(&str, &[&str], Source, Parser); 2] = [
    ("/bin/launchctl", &["list"], Source::Launchd, collected::launchd),
    ("/usr/bin/systemextensionsctl", &["list"], Source::SystemExtensions, collected::extensions),
];

/// The system's own programs.
pub(super) trait Programs {
    /// What a program says, or why it does not.
    fn answer(&self, program: &str, arguments: &[&str]) -> Result<String, String>;
}

/// Those of the running Mac.
#[cfg(target_os = "macos")]
pub(super) struct Own;

#[cfg(target_os = "macos")]
impl Programs for Own {
    fn answer(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        use super::exec;
        let time = Duration::from_secs(exec::TIME_S_MAX);
        match exec::run(program, arguments, time, LISTING_LENGTH_MAX) {
            Ok(answer) if answer.status.success() => Ok(answer.text),
            Ok(answer) => Err(format!("`{program}` gave no answer ({})", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A Mac: the folder that is its root, and its programs.
pub(super) struct Mac<P>(pub PathBuf, pub P);

impl<P: Programs> Sensor for Mac<P> {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        MacFiles(&self.0).look(wanted, seen);
        for path in wanted.paths.iter().filter(|path| path.starts_with('/')) {
            match std::fs::symlink_metadata(self.0.join(path.trim_start_matches('/'))) {
                Ok(_) => {
                    seen.paths.insert((*path).to_owned());
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    seen.unreadable.insert(Source::Paths, format!("failed to look for {path}: {error}"));
                }
            }
        }
        for (program, arguments, source, parse) in LISTINGS {
            match self.1.answer(program, arguments) {
                Ok(listing) => parse(&listing, wanted, seen),
                Err(why) => {
                    seen.unreadable.insert(source, why);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seatbeat_proto::catalogue::{Catalogue, Os, Process};

    use super::super::plist::tests::{INFO, binary_list};
    use super::*;

    struct Sampled(BTreeMap<&'static str, &'static str>);

    impl Programs for Sampled {
        fn answer(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
            assert_eq!(arguments, ["list"]);
            self.0
                .get(program)
                .map(|text| (*text).to_owned())
                .ok_or_else(|| format!("there is no `{program}`"))
        }
    }

    const JOBS: &str = "PID\tStatus\tLabel\n-\t0\tcom.apple.x\n77\t0\tcom.trendmicro.icore.main\n";

    const EXTENSIONS: &str = "1 extension(s)\n--- com.apple.system_extension.endpoint_security\n\
        enabled\tactive\tteamID\tbundleID (version)\tname\t[state]\n\
        *\t*\tE8P47U2H32\tcom.trendmicro.icore.es (3.5/1)\tiCore\t[activated enabled]\n";

    /// A Mac with the vendor's agent, as far as files tell.
    fn root() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in [
            ("Applications/TrendMicroSecurity.app/Contents/Info.plist", INFO.as_bytes()),
            ("Library/Application Support/TrendMicro/common/conf/EPStatus.plist", &binary_list()),
            ("var/db/receipts/com.trendmicro.tmsm.tmappextra.plist", &binary_list()),
            ("Library/LaunchDaemons/com.trendmicro.icore.main.plist", b"<plist><dict/></plist>"),
            ("Library/LaunchDaemons/com.trendmicro.icore.av.plist", b"<plist><dict/></plist>"),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn seen(programs: &[(&'static str, &'static str)]) -> Observations {
        let folder = root();
        let mut seen = Observations { os: Os::Macos, ..Observations::default() };
        let catalogue = Catalogue::embedded();
        let mac = Mac(folder.path().to_owned(), Sampled(programs.iter().copied().collect()));
        mac.look(&catalogue.wanted(Os::Macos), &mut seen);
        seen
    }

    #[test]
    fn a_mac_tells_bundles_receipts_jobs_extensions_and_paths() {
        let mut seen = seen(&[("/bin/launchctl", JOBS), ("/usr/bin/systemextensionsctl", EXTENSIONS)]);
        assert_eq!(seen.unreadable, BTreeMap::new());
        assert_eq!(seen.bundles["/Applications/TrendMicroSecurity.app"], "3.5.7180");
        assert!(seen.receipts.contains_key("com.trendmicro.tmsm.tmappextra"));
        let jobs: Vec<(&str, bool)> = seen.launchd.iter().map(|(label, on)| (label.as_str(), *on)).collect();
        assert_eq!(jobs, [("com.trendmicro.icore.av", false), ("com.trendmicro.icore.main", true)]);
        assert!(seen.system_extensions["com.trendmicro.icore.es"]);
        assert!(seen.paths.contains("/Library/Application Support/TrendMicro"), "{:?}", seen.paths);
        seen.processes.push(Process { exe: "/Library/x/iCoreService".to_owned() });
        let found = Catalogue::embedded().find(&seen, jiff::Timestamp::from_second(1_786_542_300).unwrap());
        let found: Vec<_> = found.iter().map(|one| (one.product.to_string(), one.state.as_str())).collect();
        assert_eq!(found, [("tmsm".to_owned(), "active")]);
    }

    #[test]
    fn a_program_that_does_not_answer_leaves_its_source_unread() {
        let seen = seen(&[("/bin/launchctl", JOBS)]);
        assert_eq!(seen.unreadable.keys().collect::<Vec<_>>(), [&Source::SystemExtensions]);
        assert!(seen.launchd["com.trendmicro.icore.main"]);
    }
}
