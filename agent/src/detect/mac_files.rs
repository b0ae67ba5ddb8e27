//! Property lists of a Mac, below a folder that stands for its root: versions of bundles and receipts, launchd's jobs,
//! the vendor's settings. Invariant: bounded; only what is wanted is opened or kept, and nothing outside the folder.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use seatbeat_proto::catalogue::{Observations, Source, Wanted, glob};

use super::plist;

/// Lists of a folder that are opened; a Mac has some hundred receipts. Others are passed over.
const LISTS_MAX: usize = 2000;

/// Property lists of a Mac below a folder that stands for its root.
pub(super) struct MacFiles<'a>(pub &'a Path);

impl MacFiles<'_> {
    pub(super) fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        for bundle in &wanted.bundles {
            if let Some(info) = self.list(&format!("{bundle}/Contents/Info.plist"), Source::Bundles, seen) {
                let version = info.get("CFBundleShortVersionString").or_else(|| info.get("CFBundleVersion"));
                seen.bundles.insert((*bundle).to_owned(), version.cloned().unwrap_or_default());
            }
        }
        for name in &wanted.plists {
            let Some((path, keys)) = name.split_once('!') else { continue };
            let values = self.list(path, Source::Plists, seen);
            if let Some(value) = values.as_ref().and_then(|values| values.get(keys)) {
                seen.plist_values.insert((*name).to_owned(), value.clone());
            }
        }
        for folder in ["var/db/receipts", "Library/Receipts"] {
            for path in self.lists_in(folder) {
                let Some(receipt) = self.list(&path, Source::Receipts, seen) else { continue };
                let id = receipt.get("PackageIdentifier").cloned().unwrap_or_else(|| stem(&path));
                if wanted.receipts.iter().any(|name| glob(name, &id)) {
                    seen.receipts.insert(id, receipt.get("PackageVersion").cloned().unwrap_or_default());
                }
            }
        }
        for folder in ["Library/LaunchDaemons", "Library/LaunchAgents"] {
            for path in self.lists_in(folder) {
                let Some(job) = self.list(&path, Source::Launchd, seen) else { continue };
                let label = job.get("Label").cloned().unwrap_or_else(|| stem(&path));
                if wanted.launchd.iter().any(|name| glob(name, &label)) {
                    // Whether it is loaded, its list does not say.
                    seen.launchd.entry(label).or_default();
                }
            }
        }
    }

    /// A list's values; none where there is no such file. One that cannot be read makes its source unreadable.
    fn list(&self, path: &str, source: Source, seen: &mut Observations) -> Option<plist::Values> {
        let place = self.0.join(inside(path)?);
        let mut bytes = Vec::new();
        let file = match File::open(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            file => file,
        };
        let read = file.and_then(|file| file.take(plist::LENGTH_MAX as u64 + 1).read_to_end(&mut bytes));
        let values = match read {
            Ok(_) => plist::read(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match values {
            Ok(values) => Some(values),
            Err(why) => {
                let why = format!("failed to read `{}`: {why}", place.display());
                seen.unreadable.entry(source).or_insert(why);
                None
            }
        }
    }

    /// The property lists in a folder, by name; the first ones where there are too many.
    fn lists_in(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = self.0.join(folder).read_dir() else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.ends_with(".plist").then(|| format!("{folder}/{name}"))
        };
        let mut names: Vec<String> = entries.take(LISTS_MAX).filter_map(name).collect();
        names.sort();
        names
    }
}

/// A path of the Mac below the folder; none where it would lead out of it.
fn inside(path: &str) -> Option<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    path.components().all(|part| matches!(part, Component::Normal(_))).then(|| path.to_owned())
}

fn stem(path: &str) -> String {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.strip_suffix(".plist").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use seatbeat_proto::catalogue::Os;

    use super::*;

    #[test]
    fn property_lists_of_a_mac_are_read_at_their_own_places() {
        use super::super::plist::tests::{INFO, binary_list};
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write("Applications/TrendMicroSecurity.app/Contents/Info.plist", INFO.as_bytes());
        write("Library/Application Support/TrendMicro/common/conf/EPStatus.plist", &binary_list());
        write("var/db/receipts/com.trendmicro.tmsm.tmappextra.plist", &binary_list());
        write("var/db/receipts/com.apple.pkg.Core.plist", &binary_list());
        write("Library/LaunchDaemons/com.trendmicro.icore.main.plist", b"<plist><dict/></plist>");
        let wanted = seatbeat_proto::catalogue::Catalogue::embedded().wanted(Os::Macos);
        let mut seen = Observations { os: Os::Macos, ..Observations::default() };
        let listings = MacFiles(folder.path());
        listings.look(&wanted, &mut seen);
        assert_eq!(seen.bundles["/Applications/TrendMicroSecurity.app"], "3.5.7180");
        assert_eq!(seen.plist_values.values().collect::<Vec<_>>(), ["true"]);
        assert_eq!(seen.receipts, [("com.trendmicro.tmsm.tmappextra".to_owned(), "3.5".to_owned())].into());
        assert_eq!(seen.launchd, [("com.trendmicro.icore.main".to_owned(), false)].into());
        assert!(seen.unreadable.is_empty());
        write("Applications/TrendMicroSecurity.app/Contents/Info.plist", b"bplist00 cut");
        let mut seen = Observations { os: Os::Macos, ..Observations::default() };
        listings.look(&wanted, &mut seen);
        assert!(seen.bundles.is_empty() && seen.unreadable.contains_key(&Source::Bundles));
        assert_eq!(inside("/Applications/../../etc/passwd"), None);
    }
}
