//! Backups of books in use, and stores made of them. Invariant: what is changed on purpose is refused, every file of it.

use std::os::unix::fs::PermissionsExt as _;

use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire::CustomerAdded;
use seatbeat_proto::wire::journal_record::Fact;
use tempfile::TempDir;

use super::restore::{Asked, RestoreError, Restored, restore};
use super::*;
use crate::books::BooksEnd;
use crate::clock::Clock;
use crate::found::found;
use crate::set_back::{SetBack, Unreached};
use crate::vault::VaultRow;

struct House {
    place: TempDir,
    books: Books,
    end: BooksEnd,
}

impl House {
    fn founded() -> Self {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("store");
        found(&store, &Config::default(), "zone = \"UTC\"", Clock::real()).unwrap();
        let (books, end) = Books::open(&store, Clock::real()).unwrap();
        Self { place, books, end }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    async fn customers(&self, prefix: &str, count: usize) {
        for number in 0..count {
            let customer: CustomerId = format!("cus_{prefix}{number}").parse().unwrap();
            let name = format!("Name of {customer}");
            self.books.vault().put(VaultRow::CustomerName(&customer), name.as_bytes()).unwrap();
            let fact = Fact::CustomerAdded(CustomerAdded { customer: customer.to_string() });
            self.books.write(COLLECTOR, "", fact).await.unwrap();
        }
    }

    fn asked(&self, backup: &str, store: &str) -> Asked {
        Asked {
            backup: self.path(backup),
            store: self.path(store),
            reason: "the disk failed".to_owned(),
            witnessed: Vec::new(),
            now: self.books.clock().now(),
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found.sort();
    found
}

fn restored(asked: &Asked) -> Restored {
    restore(asked).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_books_in_use_becomes_a_store_with_the_same_records_and_names() {
    let house = House::founded();
    house.customers("a", 20).await;
    let writing = { async { house.customers("during", 20).await } };
    let books = house.books.clone();
    let folder = house.path("backup");
    let making = tokio::task::spawn_blocking(move || back_up(&books, &folder));
    writing.await;
    let made = making.await.unwrap().unwrap();
    assert!(made.records >= 23, "{made:?}");
    house.customers("lost", 5).await;

    let restored = restored(&house.asked("backup", "again"));
    assert_eq!((restored.records, &restored.root), (made.records, &made.root));
    assert_eq!((restored.epoch, &restored.unreached), (1, &None));
    let (books, end) = Books::open(&house.path("again"), Clock::real()).unwrap();
    assert_eq!(
        books.read(|fold| fold.position()),
        made.records + 1,
        "the epoch's record is behind the backup's"
    );
    assert_eq!(books.read(|fold| fold.orders().epoch()), 1);
    let same = |books: &Books| books.records(Position(0), made.records as usize).unwrap();
    assert_eq!(same(&books), same(&house.books));
    let name = |id: &str| {
        let id: CustomerId = id.parse().unwrap();
        let name = books.vault().get(VaultRow::CustomerName(&id)).unwrap();
        name.map(|name| String::from_utf8(name.to_vec()).unwrap())
    };
    assert_eq!(name("cus_a7").as_deref(), Some("Name of cus_a7"));
    assert_eq!(name("cus_lost0"), None);
    house.books.vault().delete(VaultRow::CustomerName(&"cus_a7".parse().unwrap())).unwrap();
    assert_eq!(SetBack::of(books.folder()).unwrap().frontier.size(), made.records);
    drop(books);
    end.close().await.unwrap();
    Books::open(&house.path("again"), Clock::real()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_a_snapshot_starts_from_it_and_is_for_its_owner_alone() {
    let house = House::founded();
    house.customers("a", 3).await;
    let House { place, books, end } = house;
    drop(books);
    end.close().await.unwrap();
    let (books, end) = Books::open(&place.path().join("store"), Clock::real()).unwrap();
    let house = House { place, books, end };
    house.customers("b", 3).await;
    let folder = house.path("deep");
    fs::create_dir(&folder).unwrap();
    back_up(&house.books, &folder.join("backup")).unwrap();
    let made = files(&folder);
    assert!(made.iter().any(|path| path.ends_with("snapshot")), "{made:?}");
    for path in &made {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.join("backup")), mode(&folder.join("backup/vault"))), (0o700, 0o700));
    restored(&Asked { backup: folder.join("backup"), ..house.asked("backup", "again") });
    assert_eq!(mode(&house.path("again")), 0o700);
    let (books, _end) = Books::open(&house.path("again"), Clock::real()).unwrap();
    assert_eq!(books.read(|fold| fold.registry().customers().count()), 6);
    drop(house.end);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_changed_in_a_backup_is_refused_and_leaves_nothing() {
    let house = House::founded();
    house.customers("a", 3).await;
    back_up(&house.books, &house.path("backup")).unwrap();
    for path in files(&house.path("backup")) {
        let whole = fs::read(&path).unwrap();
        let shown = path.display();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        for bytes in [changed, whole[..whole.len() - 1].to_vec(), Vec::new()] {
            fs::write(&path, bytes).unwrap();
            // One bit of a manifest's name or version may mean as much as before; nothing else may pass.
            let told = restore(&house.asked("backup", "again"));
            let is_manifest = path.ends_with(manifest::FILE);
            assert!(told.is_err() || is_manifest, "{shown}: {told:?}");
            if let Err(error) = told {
                assert!(!error.to_string().is_empty());
                assert!(!house.path("again").exists() && !house.path("again.restoring").exists(), "{shown}");
            } else {
                fs::remove_dir_all(house.path("again")).unwrap();
            }
        }
        fs::remove_file(&path).unwrap();
        restore(&house.asked("backup", "again")).unwrap_err();
        fs::write(&path, whole).unwrap();
    }
    restored(&house.asked("backup", "again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_there_is_written_over() {
    let house = House::founded();
    let there = house.path("there");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("thesis.odt"), b"mine").unwrap();
    assert!(matches!(back_up(&house.books, &there), Err(BackupError::Exists(_))));
    let error = back_up(&house.books, Path::new("relative")).unwrap_err();
    assert!(matches!(error, BackupError::Place(_)) && error.hint().is_some());
    let nowhere = back_up(&house.books, Path::new("/proc/nowhere/backup")).unwrap_err();
    assert!(nowhere.to_string().contains("/proc/nowhere"), "{nowhere}");
    back_up(&house.books, &house.path("backup")).unwrap();
    for store in ["there", "store"] {
        let error = restore(&house.asked("backup", store)).unwrap_err();
        assert!(matches!(error, RestoreError::Exists(_)) && error.hint().is_some(), "{error}");
    }
    assert_eq!(fs::read(there.join("thesis.odt")).unwrap(), b"mine");
    let unsaid = Asked { reason: " ".to_owned(), ..house.asked("backup", "again") };
    assert!(matches!(restore(&unsaid), Err(RestoreError::NoReason)));
    let none = restore(&house.asked("there", "again")).unwrap_err();
    assert!(matches!(none, RestoreError::NoBackup { .. }), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_checkpoint_that_is_not_reached_is_named() {
    let house = House::founded();
    let kept = house.path("kept");
    fs::create_dir(&kept).unwrap();
    let keep = |name: &str| fs::write(kept.join(name), house.books.checkpoint()).unwrap();
    keep("1.checkpoint");
    house.customers("a", 3).await;
    back_up(&house.books, &house.path("backup")).unwrap();
    keep("2.checkpoint");
    let asked = Asked { witnessed: vec![kept.clone()], ..house.asked("backup", "reached") };
    assert_eq!(restored(&asked).unreached, None, "what the backup holds is reached");

    house.customers("b", 3).await;
    keep("3.checkpoint");
    house.customers("c", 4).await;
    keep("4.checkpoint");
    let root = house.books.read(|fold| STANDARD.encode(fold.root()));
    let last = Unreached { size: 13, root };
    let asked = Asked { store: house.path("again"), ..asked };
    assert_eq!(restored(&asked).unreached, Some(last.clone()));
    assert_eq!(Unreached::of(&house.path("again")), Some(last));

    let note = fs::read_to_string(kept.join("4.checkpoint")).unwrap();
    fs::write(kept.join("4.checkpoint"), note.replacen("\n13\n", "\n14\n", 1)).unwrap();
    let error = restore(&Asked { store: house.path("third"), ..asked }).unwrap_err();
    assert!(error.to_string().contains("4.checkpoint"), "{error}");
}
