//! Files in a folder, where the distributor picks them up: a share, or what another program carries on. Invariant: a
//! name that is there has all of its bytes; a file that is there with other bytes is never written over; no verdict
//! ever comes from here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use seatbeat_ledger::uploads::Status;

use super::call::SendError;
use super::connector::{Answer, Connector};
use super::destination::{Destination, DestinationError};
use super::drop_files;
use super::projection::{Load, OutFile, OutPart, Outgoing, Projection, ProjectionError};

/// Option: where.
const PATH: &str = "path";

/// A folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// As it is configured.
    ///
    /// # Errors
    /// When `path` is missing or no whole one, or another option is there.
    pub fn new(destination: &Destination) -> Result<Self, DestinationError> {
        destination.only_options(&[PATH])?;
        let path = PathBuf::from(destination.needed(PATH)?);
        if !path.is_absolute() {
            return Err(DestinationError::Value { option: PATH, why: "has to begin with /".to_owned() });
        }
        Ok(Self { path })
    }
}

/// The files of a part of a drop.
pub(super) fn files_of(part: &OutPart) -> Result<&[OutFile], SendError> {
    match &part.load {
        Load::Files(files) => Ok(files),
        Load::Seats { .. } | Load::ByHand(_) => Err(SendError::stop(
            format!("`{}` is no file", part.id),
            "this is a fault of the program: a drop is handed files alone",
        )),
    }
}

/// As [`handed_in`], of a part that was sent before: nothing more is to come.
pub(super) fn handed_in_before(part: &OutPart) -> Result<Answer, SendError> {
    files_of(part).map(|files| handed_in(part, files))
}

/// What is answered of files that are there: the signed statement's name, and what was handed in.
pub(super) fn handed_in(part: &OutPart, files: &[OutFile]) -> Answer {
    let named = files.iter().find(|file| file.name.ends_with(".statement.json")).or(files.first());
    Answer::new(Status::Settled, named.map_or("", |file| file.name.as_str())).saying(part.digest.clone())
}

/// Why a file is not written over.
pub(super) fn taken(at: &str) -> SendError {
    SendError::stop(
        format!("`{at}` is there with other bytes, and is not written over"),
        "find out whose it is; move it away, then `seatbeat upload retry`",
    )
}

impl Connector for Folder {
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        drop_files::project(outgoing, |name| {
            let target = self.path.join(name).display().to_string();
            drop_files::aside_then_renamed(name, target)
        })
    }

    fn send<'a>(&'a self, part: &'a OutPart, _: &'a str) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let files = files_of(part)?;
            let (path, given) = (self.path.clone(), files.to_vec());
            let writing = tokio::task::spawn_blocking(move || hand_in(&path, &given, &mut || Ok(())));
            writing
                .await
                .map_err(|error| SendError::again(format!("the files were not written: {error}")))??;
            Ok(handed_in(part, files))
        }
        .boxed()
    }

    fn follow<'a>(
        &'a self,
        part: &'a OutPart,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        ready(handed_in_before(part)).boxed()
    }
}

/// Writes what is not there yet. `step` is asked between any two acts that a crash can part.
fn hand_in(
    folder: &Path,
    files: &[OutFile],
    step: &mut impl FnMut() -> Result<(), SendError>,
) -> Result<(), SendError> {
    for file in files {
        let (at, part) = (folder.join(&file.name), folder.join(format!("{}.part", file.name)));
        match fs::read(&at) {
            Ok(bytes) if *bytes == *file.bytes => {
                remove_if_there(&part).map_err(|error| failed("clear", &part, &error))?;
                continue;
            }
            Ok(_) => return Err(taken(&at.display().to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &at, &error)),
        }
        step()?;
        write_part(&part, &file.bytes, step)?;
        step()?;
        fs::rename(&part, &at).map_err(|error| failed("rename to", &at, &error))?;
        step()?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed("sync", folder, &e))?;
        step()?;
    }
    Ok(())
}

/// A new file: what a crash left under this name, or somebody put there, is not written through.
fn write_part(
    part: &Path,
    bytes: &[u8],
    step: &mut impl FnMut() -> Result<(), SendError>,
) -> Result<(), SendError> {
    let wrong = |error: &io::Error| failed("write", part, error);
    remove_if_there(part).map_err(|error| wrong(&error))?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(part).map_err(|e| wrong(&e))?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    file.write_all(first).map_err(|error| wrong(&error))?;
    step()?;
    file.write_all(rest).and_then(|()| file.sync_all()).map_err(|error| wrong(&error))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn failed(act: &str, path: &Path, error: &io::Error) -> SendError {
    let why = format!("failed to {act} `{}`: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => SendError::stop(
            why,
            "make the folder, or mount what it is on; it is not made here, where nobody might look for it",
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            SendError::stop(why, "let the collector's user write there, then `seatbeat upload retry`")
        }
        _ => SendError::again(why),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::samples::Sample;
    use super::*;

    fn folder(path: &Path) -> Folder {
        let text = format!(
            "connector = \"folder\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\noptions.path = \"{}\"",
            path.display()
        );
        Folder::new(&toml::from_str(&text).unwrap()).unwrap()
    }

    fn there(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn the_files_are_there_once_and_settled() {
        let temp = tempfile::tempdir().unwrap();
        let connector = folder(temp.path());
        let projection = Sample::default().project(&connector);
        let part = &projection.parts[0];
        let answer = connector.send(part, "key").await.unwrap();
        assert_eq!((answer.status, answer.far_id.as_str()), (Status::Settled, "2026-10-r1.statement.json"));
        assert_eq!(answer.said, part.digest);
        let files = there(temp.path());
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            [
                "2026-10-r1.csv",
                "2026-10-r1.json",
                "2026-10-r1.sha256",
                "2026-10-r1.statement.json",
                "2026-10-r1.xlsx"
            ]
        );
        assert_eq!(connector.send(part, "key").await.unwrap(), answer);
        assert_eq!(connector.follow(part, "key", "").await.unwrap(), answer);
        assert_eq!(there(temp.path()), files);
    }

    #[test]
    fn killed_between_any_two_steps_and_again_there_are_the_same_files_once() {
        let whole = tempfile::tempdir().unwrap();
        let files = Sample::default().files();
        let mut steps = 0;
        let mut count = || {
            steps += 1;
            Ok(())
        };
        hand_in(whole.path(), &files, &mut count).unwrap();
        assert_eq!(steps, 5 * files.len());
        for killed_at in 0..steps {
            let temp = tempfile::tempdir().unwrap();
            let mut left = killed_at;
            let mut kill = || match left {
                0 => Err(SendError::again("killed")),
                _ => {
                    left -= 1;
                    Ok(())
                }
            };
            hand_in(temp.path(), &files, &mut kill).unwrap_err();
            let torn = there(temp.path());
            let is_whole = |(name, bytes): (&String, &Vec<u8>)| {
                name.ends_with(".part") || files.iter().any(|f| f.name == *name && *f.bytes == **bytes)
            };
            assert!(torn.iter().all(is_whole), "killed at {killed_at}: a name without all of its bytes");
            hand_in(temp.path(), &files, &mut || Ok(())).unwrap();
            assert_eq!(there(temp.path()), there(whole.path()), "killed at {killed_at}");
        }
    }

    #[test]
    fn what_is_there_with_other_bytes_is_named_and_stays() {
        let temp = tempfile::tempdir().unwrap();
        let files = Sample::default().files();
        let theirs = temp.path().join(&files[1].name);
        fs::write(&theirs, b"theirs").unwrap();
        let error = hand_in(temp.path(), &files, &mut || Ok(())).unwrap_err();
        assert!(
            matches!(&error, SendError::Stop { why, .. } if why.contains("2026-10-r1.xlsx")),
            "{error:?}"
        );
        assert_eq!(fs::read(theirs).unwrap(), b"theirs");
    }

    #[test]
    fn what_lies_under_the_name_of_a_part_is_not_written_through() {
        let temp = tempfile::tempdir().unwrap();
        let files = Sample::default().files();
        let theirs = temp.path().join("theirs");
        fs::write(&theirs, b"theirs").unwrap();
        std::os::unix::fs::symlink(&theirs, temp.path().join(format!("{}.part", files[0].name))).unwrap();
        hand_in(temp.path(), &files, &mut || Ok(())).unwrap();
        assert_eq!(fs::read(theirs).unwrap(), b"theirs");
        assert!(there(temp.path()).keys().all(|name| !name.ends_with(".part")));
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_not_made() {
        let temp = tempfile::tempdir().unwrap();
        let away = temp.path().join("away");
        let connector = folder(&away);
        let projection = Sample::default().project(&connector);
        let error = connector.send(&projection.parts[0], "key").await.unwrap_err();
        assert!(matches!(&error, SendError::Stop { hint, .. } if hint.contains("mount")), "{error:?}");
        assert!(!away.exists());
    }

    #[test]
    fn a_path_that_is_none_is_refused() {
        let made = |options: &str| {
            let text = format!(
                "connector = \"folder\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n[options]\n{options}"
            );
            Folder::new(&toml::from_str(&text).unwrap()).map(|_| ()).unwrap_err().to_string()
        };
        assert!(made("").contains("`path` is missing"));
        assert!(made("path = \"drop\"").contains("begin with /"));
        assert!(made("path = \"/drop\"\nhost = \"x\"").contains("`host` is no option"));
    }
}
