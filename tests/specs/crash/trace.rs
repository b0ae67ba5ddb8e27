//! What a test does to its files, as the system saw it: the test runs itself once more under strace, with all that it
//! starts, and what is read back is every act on a file below one folder, in the order in which the acts came to their ends.
//! Invariant: an act that this room does not know the meaning of stops the test; nothing is passed over.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::desk::{say, skip, text};

/// A file or folder, whatever it is called at the time.
pub type Node = usize;

/// The folder below which acts are recorded.
pub const TOP: Node = 0;

/// A name in a folder.
pub type Name = (Node, String);

/// One act.
#[derive(Debug, Clone)]
pub enum Act {
    /// A new file gets a name.
    File(Name, Node),
    /// A new folder gets a name.
    Folder(Name, Node),
    /// What has a name gets another; what had that one has none any more.
    Move(Name, Name),
    /// A name goes.
    Remove(Name),
    /// Bytes at a place of a file.
    Write(Node, u64, Vec<u8>),
    /// A file is cut, or lengthened by zeros.
    Length(Node, u64),
    /// A file's bytes and length, or a folder's names, are on the disk.
    Sync(Node),
    /// Something that the test says has happened by now.
    Mark(String),
}

/// Tells the test that it is the one that is recorded, and where.
const INSIDE: &str = "SEATBEAT_SPEC_RECORDED";

const MARKS: &str = "marks";

const CALLS: &str = "trace=openat,openat2,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,\
    rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,fsync,fdatasync,lseek,\
    copy_file_range,sendfile,splice,mmap,sync_file_range";

/// Where a recorded test works.
pub struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// The folder that is recorded.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says that something has happened by now: it stands among the acts.
    pub fn mark(&self, words: &str) {
        let path = self.folder.join(MARKS);
        let mut file = fs::File::options().append(true).create(true).open(path).expect("a mark can be made");
        file.write_all(words.as_bytes()).expect("a mark can be made");
    }
}

/// Why strace records nothing here; none where it does.
pub fn unable() -> Option<String> {
    let probe = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    match probe {
        Err(_) => Some(String::new()),
        Ok(ran) if !ran.status.success() => Some(String::from_utf8_lossy(&ran.stderr).into_owned()),
        Ok(_) => None,
    }
}

/// Whether strace works here; else it is said why not.
pub fn can_trace() -> bool {
    match unable() {
        None => true,
        Some(why) if why.is_empty() => {
            skip("strace", "apt-get install strace");
            false
        }
        // Containers often may not: nothing that could be installed helps.
        Some(why) => {
            say(&format!("skipped: needs to trace processes (run it as root): {why}"));
            false
        }
    }
}

/// Memory before a disk, where there is such a place: thousands of states are laid out.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder can be made")
}

/// What the test of this name does to its files while it does `work`; none in the run that is recorded, and where
/// nothing can be.
pub fn recorded(test: &str, work: impl FnOnce(&Stage)) -> Option<Vec<Act>> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        work(&Stage { folder: folder.into() });
        return None;
    }
    if !can_trace() {
        return None;
    }
    let scratch = scratch();
    let place = fs::canonicalize(scratch.path()).expect("it was made just now");
    let (folder, trace) = (place.join("recorded"), place.join("trace"));
    fs::create_dir(&folder).expect("a folder can be made");
    let ran = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-y", "-xx", "-s", "33554432", "-o", text(&trace), "-e", CALLS])
        .arg(std::env::current_exe().expect("a test is a program"))
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, &folder)
        .env("TMPDIR", &folder)
        .output()
        .expect("strace runs");
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    let lines = fs::read_to_string(&trace).expect("a trace was written");
    let mut reading = Reading::below(folder);
    lines.lines().for_each(|line| reading.line(line));
    // Behind the last mark the test clears up.
    let end = reading.acts.iter().rposition(|act| matches!(act, Act::Mark(_))).expect("something was marked");
    reading.acts.truncate(end + 1);
    Some(reading.acts)
}

/// Acts as they are read, and what there is by them.
struct Reading {
    acts: Vec<Act>,
    nodes: BTreeMap<PathBuf, Node>,
    lengths: Vec<u64>,
    /// Where the next bytes go that are written to a descriptor, and whether that is the file's end.
    places: HashMap<(String, Node), (u64, bool)>,
    marks: PathBuf,
    /// Calls that have not come to their end, by who called.
    begun: HashMap<String, String>,
}

/// A call: its name, its arguments, each a number, a quoted text or a descriptor, and what it answered.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    answer: &'a str,
}

impl<'a> Call<'a> {
    /// A call as it is written; none for what is no call.
    fn of(line: &'a str) -> Option<Self> {
        if line.starts_with("+++") || line.starts_with("---") {
            return None;
        }
        let (name, rest) = line.split_once('(')?;
        let (arguments, answer) = rest.rsplit_once(" = ")?;
        let arguments = arguments.trim_end().strip_suffix(')')?;
        Some(Self { name, arguments: arguments.split(", ").collect(), answer })
    }

    fn number(&self, at: usize) -> u64 {
        self.arguments[at].parse().unwrap_or_else(|_| panic!("no number: {:?}", self.arguments[at]))
    }

    fn bytes(&self, at: usize) -> Vec<u8> {
        unquoted(self.arguments[at])
    }
}

/// The bytes of a text in which each is written as `\x..`.
fn unquoted(text: &str) -> Vec<u8> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    hexed(inner.unwrap_or_else(|| panic!("no whole text: {text}")))
}

fn hexed(text: &str) -> Vec<u8> {
    let digit =
        |byte: u8| char::from(byte).to_digit(16).unwrap_or_else(|| panic!("no digit in {text}")) as u8;
    assert!(text.len().is_multiple_of(4), "each byte is four characters long: {text}");
    text.as_bytes().chunks_exact(4).map(|byte| digit(byte[2]) << 4 | digit(byte[3])).collect()
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes).expect("our names are text"))
}

/// The number of a descriptor, and the path that it stands for; none for one whose name is gone.
fn descriptor(text: &str) -> (&str, Option<PathBuf>) {
    let Some((number, rest)) = text.split_once('<') else { return (text, None) };
    let Some(path) = rest.strip_suffix('>') else { return (number, None) };
    // Sockets and pipes have other names.
    (number, path.starts_with("\\x2f").then(|| path_of(hexed(path))))
}

impl Reading {
    fn below(folder: PathBuf) -> Self {
        Self {
            acts: Vec::new(),
            marks: folder.join(MARKS),
            nodes: BTreeMap::from([(folder, TOP)]),
            lengths: vec![0],
            places: HashMap::new(),
            begun: HashMap::new(),
        }
    }

    /// A line begins with who called. A call that another came between is in two lines, and ends where it came to its end.
    fn line(&mut self, line: &str) {
        let Some((caller, line)) = line.trim_start().split_once(' ') else { return };
        let line = line.trim_start();
        if let Some(begun) = line.strip_suffix(" <unfinished ...>") {
            self.begun.insert(caller.to_owned(), begun.to_owned());
            return;
        }
        let resumed = line.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"));
        let whole = resumed.map(|(_, end)| self.begun.remove(caller).expect("it was begun") + end);
        let line = whole.as_deref().unwrap_or(line);
        // Told by its answer: where strace is asked for the successful alone, it loses ends of calls.
        let Some(call) = Call::of(line).filter(|call| !call.answer.starts_with(['-', '?'])) else { return };
        match call.name {
            "openat" => self.open(&call),
            "write" | "pwrite64" => self.write(&call),
            "ftruncate" => {
                if let Some(node) = self.described(call.arguments[0]).1 {
                    self.set_length(node, call.number(1));
                }
            }
            "lseek" => {
                if let (number, Some(node)) = self.described(call.arguments[0]) {
                    let at = call.answer.parse().expect("a seek answers with a place");
                    self.places.entry((number, node)).or_default().0 = at;
                }
            }
            "fsync" | "fdatasync" => {
                self.acts.extend(self.described(call.arguments[0]).1.map(Act::Sync));
            }
            "mkdir" => self.make(&path_of(call.bytes(0)), Act::Folder),
            "mkdirat" => self.make(&at(&call, 0), Act::Folder),
            "rename" => self.rename(&path_of(call.bytes(0)), &path_of(call.bytes(1))),
            "renameat" | "renameat2" => self.rename(&at(&call, 0), &at(&call, 2)),
            "unlink" | "rmdir" => self.remove(&path_of(call.bytes(0))),
            "unlinkat" => self.remove(&at(&call, 0)),
            "mmap" => {
                // What is mapped as it is in the file would change it unseen.
                let writes =
                    call.arguments[2].contains("PROT_WRITE") && call.arguments[3].contains("MAP_SHARED");
                assert!(
                    !writes || self.described(call.arguments[4]).1.is_none(),
                    "a file is written as memory"
                );
            }
            // It says itself that it makes nothing durable.
            "sync_file_range" => {}
            other => {
                let named = |argument: &&str| {
                    let path = if argument.starts_with('"') {
                        Some(path_of(unquoted(argument)))
                    } else {
                        descriptor(argument).1
                    };
                    path.is_some_and(|path| path.starts_with(self.top()))
                };
                assert!(!call.arguments.iter().any(named), "nobody knows what `{other}` does: {line}");
            }
        }
    }

    fn top(&self) -> &Path {
        self.marks.parent().expect("marks are in the folder")
    }

    fn described(&self, argument: &str) -> (String, Option<Node>) {
        let (number, path) = descriptor(argument);
        (number.to_owned(), path.and_then(|path| self.known(&path)))
    }

    /// What a path stands for; none for one that is not recorded.
    fn known(&self, path: &Path) -> Option<Node> {
        let node = self.nodes.get(path).copied();
        let is_ours = path.starts_with(self.top()) && path != self.marks;
        assert!(node.is_some() || !is_ours, "nobody made `{}`", path.display());
        node
    }

    fn name_of(&self, path: &Path) -> Option<Name> {
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        self.nodes.get(folder).map(|folder| (*folder, name.to_owned()))
    }

    fn make(&mut self, path: &Path, act: impl Fn(Name, Node) -> Act) {
        let Some(name) = self.name_of(path) else { return };
        let node = self.lengths.len();
        self.lengths.push(0);
        self.nodes.insert(path.to_owned(), node);
        self.acts.push(act(name, node));
    }

    fn open(&mut self, call: &Call<'_>) {
        let (number, path) = descriptor(call.answer);
        let Some(path) = path.filter(|path| path.starts_with(self.top())) else { return };
        let flags = call.arguments[2];
        if path == self.marks {
            return;
        }
        if flags.contains("O_CREAT") && !self.nodes.contains_key(&path) {
            self.make(&path, Act::File);
        }
        let Some(node) = self.known(&path) else { return };
        if flags.contains("O_TRUNC") && self.lengths[node] > 0 {
            self.set_length(node, 0);
        }
        self.places.insert((number.to_owned(), node), (0, flags.contains("O_APPEND")));
    }

    fn write(&mut self, call: &Call<'_>) {
        let (number, path) = descriptor(call.arguments[0]);
        let Some(path) = path else { return };
        let took = call.answer.parse::<usize>().expect("a write answers with a length");
        if path == self.marks {
            let words = String::from_utf8(call.bytes(1)).expect("a mark is text");
            return self.acts.push(Act::Mark(words));
        }
        let Some(node) = self.known(&path) else { return };
        let mut bytes = call.bytes(1);
        bytes.truncate(took);
        let at = if call.name == "pwrite64" {
            call.number(3)
        } else {
            let (place, appends) = self.places.entry((number.to_owned(), node)).or_default();
            let at = if *appends { self.lengths[node] } else { *place };
            *place = at + took as u64;
            at
        };
        self.lengths[node] = self.lengths[node].max(at + took as u64);
        self.acts.push(Act::Write(node, at, bytes));
    }

    fn set_length(&mut self, node: Node, length: u64) {
        self.lengths[node] = length;
        self.acts.push(Act::Length(node, length));
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let (Some(was), Some(is)) = (self.name_of(from), self.name_of(to)) else { return };
        let moved: Vec<PathBuf> = self
            .nodes
            .range(from.to_owned()..)
            .map(|(path, _)| path)
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for path in moved {
            let node = self.nodes.remove(&path).expect("it was found just now");
            let rest = path.strip_prefix(from).expect("it is below");
            let path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            self.nodes.insert(path, node);
        }
        self.acts.push(Act::Move(was, is));
    }

    fn remove(&mut self, path: &Path) {
        let Some(name) = self.name_of(path) else { return };
        self.nodes.remove(path);
        self.acts.push(Act::Remove(name));
    }
}

/// A path beside the folder that it counts from.
fn at(call: &Call<'_>, argument: usize) -> PathBuf {
    let path = path_of(call.bytes(argument + 1));
    let folder = call.arguments[argument].split_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
    folder.map_or_else(|| path.clone(), |folder| path_of(hexed(folder)).join(&path))
}
