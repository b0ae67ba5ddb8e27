//! Against a server in memory that dies at any act, and the files that are there in the end.

use std::collections::BTreeMap;

use futures_util::future::pending;
use seatbeat_standin::Standin;

use super::super::chance::Chance;
use super::super::samples::Sample;
use super::super::standin::{Memory, tools};
use super::*;

/// A server in memory, which one who asks may die in the middle of, or which fails.
#[derive(Default)]
struct InMemory {
    files: BTreeMap<String, Vec<u8>>,
    renamed: Vec<String>,
    /// Acts until who asks dies, after the act or before it.
    dies: Option<(u64, bool)>,
    /// Acts until one fails.
    fails: Option<u64>,
}

impl InMemory {
    /// Does an act, or half of it, or dies.
    fn act<T: Send + 'static>(
        &mut self,
        does: impl FnOnce(&mut Self) -> Result<T, SendError>,
    ) -> BoxFuture<'static, Result<T, SendError>> {
        if let Some((left, is_after)) = self.dies {
            self.dies = left.checked_sub(1).map(|left| (left, is_after));
            if left == 0 {
                if is_after {
                    let _ = does(self);
                }
                return pending().boxed();
            }
        }
        if let Some(left) = self.fails {
            self.fails = left.checked_sub(1);
            if left == 0 {
                return ready(Err(SendError::again("the connection broke"))).boxed();
            }
        }
        ready(does(self)).boxed()
    }
}

impl Remote for InMemory {
    fn length<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, SendError>> {
        self.act(|this| Ok(this.files.get(path).map(|bytes| bytes.len() as u64)))
    }

    fn read<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, SendError>> {
        self.act(|this| this.files.get(path).cloned().ok_or_else(|| SendError::again("it is gone")))
    }

    fn write<'a>(&'a mut self, path: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), SendError>> {
        // Half of it is there before all of it is.
        self.files.insert(path.to_owned(), bytes[..bytes.len() / 2].to_vec());
        self.act(|this| {
            this.files.insert(path.to_owned(), bytes.to_vec());
            Ok(())
        })
    }

    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        self.act(|this| {
            if this.files.contains_key(to) {
                return Err(SendError::again("Failure"));
            }
            let bytes = this.files.remove(from).ok_or_else(|| SendError::again("it is gone"))?;
            this.files.insert(to.to_owned(), bytes);
            this.renamed.push(to.to_owned());
            Ok(())
        })
    }

    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        self.act(|this| {
            this.files.remove(path);
            Ok(())
        })
    }
}

fn tried(remote: &mut InMemory, files: &[OutFile]) -> Option<Result<(), SendError>> {
    hand_in(remote, "/in", files).now_or_never()
}

fn check_whole(remote: &InMemory, files: &[OutFile], told: &str) {
    let there: Vec<(&str, &[u8])> =
        remote.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let mut expected: Vec<(String, &[u8])> =
        files.iter().map(|file| (format!("/in/{}", file.name), &file.bytes[..])).collect();
    expected.sort();
    let expected: Vec<(&str, &[u8])> = expected.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
    assert_eq!(there, expected, "{told}");
    assert_eq!(remote.renamed.len(), files.len(), "{told}: each once");
}

#[test]
fn whoever_dies_at_any_act_and_asks_again_hands_in_the_same_files_once() {
    let files = Sample::default().files();
    for is_after in [false, true] {
        for act in 0.. {
            let mut remote = InMemory { dies: Some((act, is_after)), ..InMemory::default() };
            let died = tried(&mut remote, &files).is_none();
            remote.dies = None;
            let named_whole = remote.files.iter().all(|(path, bytes)| {
                path.ends_with(".part")
                    || files.iter().any(|f| *path == format!("/in/{}", f.name) && *f.bytes == **bytes)
            });
            assert!(named_whole, "died at {act}: a name without all of its bytes");
            tried(&mut remote, &files).unwrap().unwrap();
            check_whole(&remote, &files, &format!("died at {act}"));
            if !died {
                assert!(act > 20, "{act} acts are not all");
                break;
            }
        }
    }
}

#[test]
fn whatever_fails_wherever_it_dies_the_files_are_there_once() {
    let files = Sample::default().files();
    for seed in 0..300 {
        let mut chance = Chance::of(seed);
        let mut remote = InMemory::default();
        for _ in 0..chance.below(12) {
            remote.dies = chance.one_in(2).then(|| (chance.below(20), chance.one_in(2)));
            remote.fails = chance.one_in(2).then(|| chance.below(20));
            if let Some(Err(SendError::Stop { why, .. })) = tried(&mut remote, &files) {
                panic!("seed {seed}: {why}");
            }
        }
        (remote.dies, remote.fails) = (None, None);
        tried(&mut remote, &files).unwrap().unwrap();
        check_whole(&remote, &files, &format!("seed {seed}"));
    }
}

#[test]
fn what_is_there_with_other_bytes_is_named_and_stays() {
    let files = Sample::default().files();
    let same_length = vec![0; files[1].bytes.len()];
    for theirs in [b"theirs".to_vec(), same_length] {
        let mut remote = InMemory::default();
        remote.files.insert(format!("/in/{}", files[1].name), theirs.clone());
        let error = tried(&mut remote, &files).unwrap().unwrap_err();
        assert!(
            matches!(&error, SendError::Stop { why, .. } if why.contains("2026-10-r1.xlsx")),
            "{error:?}"
        );
        assert_eq!(remote.files[&format!("/in/{}", files[1].name)], theirs);
    }
}

#[test]
fn a_server_without_a_known_key_is_none() {
    struct Nobody;
    impl seatbeat_standin::Platform for Nobody {
        fn answer(&mut self, _: &http::Request<bytes::Bytes>) -> http::Response<bytes::Bytes> {
            panic!("SFTP asks nobody over HTTP")
        }

        fn effects(&self) -> Vec<String> {
            Vec::new()
        }

        fn decide(&mut self, _: seatbeat_standin::Verdict) {}
    }
    let made = |options: &str| {
        let (tools, ..) = tools(Standin::new(Nobody), &Memory::of(&[]), "2026-11-05T09:00:00Z");
        let text = format!(
            "connector = \"sftp\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n[options]\nhost = \"h\"\nuser = \"u\"\n\
             path = \"/in\"\n{options}"
        );
        Sftp::new(&toml::from_str(&text).unwrap(), tools).map(|_| ()).map_err(|error| error.to_string())
    };
    let key = format!("host_key = \"SHA256:{}\"", "a".repeat(43));
    assert_eq!(made(&key), Ok(()));
    for (options, words) in [
        (String::new(), "`host_key` is missing"),
        ("host_key = \"any\"".to_owned(), "has to be a fingerprint"),
        (format!("{key}\nport = \"0\""), "is no port"),
        (format!("{key}\ntrust = \"yes\""), "no option"),
    ] {
        assert!(made(&options).unwrap_err().contains(words), "{options}");
    }
}
