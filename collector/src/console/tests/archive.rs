//! Old evidence that is moved to an archive. Invariant: it goes once a sealed statement covers it and it is old enough,
//! and whatever was asked of it before is answered from the archive, in this store and in one made of a backup.

use std::path::Path;
use std::sync::Arc;

use seatbeat_postgres::Server;
use tokio::sync::watch;

use crate::backup::back_up;
use crate::backup::restore::{Asked, restore};
use crate::config::ArchiveConfig;
use crate::doctor;
use crate::jobs::archive::ArchiveJob;
use crate::joining::join;
use crate::journal::{FileJournal, Journal as _, PostgresJournal, Pruner, copy};
use crate::postgres::Address;
use crate::postgres::testing::{age, migrated, shared};
use crate::vault::Vault;

use super::*;

const SEGMENT_BYTES: u64 = 4096;

struct Archiving {
    house: House,
    to: tempfile::TempDir,
}

impl Archiving {
    /// A month with a machine that reports, all in small segments.
    async fn of_october() -> Self {
        let mut house = House::founded("2026-10-25T12:00:00Z").in_segments("2026-10-25T12:00:00Z").await;
        house.customer("cus_acme").await;
        let mut machine = house.machine(&house.token("cus_acme").await).await;
        for _ in 0..100 {
            machine.reports(&house, "dsa").await;
        }
        house = house.in_segments("2026-11-05T12:00:00Z").await;
        Self { house, to: tempfile::tempdir().unwrap() }
    }

    async fn at(self, at: &str) -> Self {
        Self { house: self.house.in_segments(at).await, to: self.to }
    }

    /// As [`Archiving::at`], of a store without a snapshot.
    async fn at_without_a_snapshot(self, at: &str) -> Self {
        Self { house: self.house.in_segments_behind(at, forget_snapshots).await, to: self.to }
    }

    fn job(&self) -> ArchiveJob {
        let to = self.to.path().to_str().unwrap().to_owned();
        ArchiveJob::new(self.house.console.books.clone(), ArchiveConfig { to, after_months: 3 })
    }

    /// How many segments a job moves until nothing is left to do.
    fn moved(&self) -> usize {
        std::iter::from_fn(|| self.job().run().then_some(())).count()
    }

    fn objects(&self) -> usize {
        std::fs::read_dir(self.to.path()).unwrap().count()
    }
}

impl House {
    async fn in_segments(self, at: &str) -> Self {
        self.in_segments_behind(at, |_| ()).await
    }

    /// With something done to the store while nobody holds it.
    async fn in_segments_behind(self, at: &str, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { folder, token, console, end } = self;
        let config = Config::clone(&console.config);
        drop(console);
        end.close().await.unwrap();
        meanwhile(folder.path());
        let clock = Clock::as_of(at.parse().unwrap());
        let (books, end) = Books::open_in_segments(folder.path(), clock, SEGMENT_BYTES).unwrap();
        // What a start passes over is looked at beside it, and not moved before.
        while books.journal_files().iter().any(|segment| !segment.is_checked) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let closing = Closing::new(books.clone(), config.clone(), folder.path().join("statements"));
        let proofs = Proofs::new(books.clone(), &config, folder.path().join("statements"));
        Self {
            folder,
            token,
            console: Console::new(books, Presence::default(), config, closing, proofs),
            end,
        }
    }
}

fn forget_snapshots(folder: &Path) {
    for name in ["snapshot", "snapshot.previous"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    assert!(crate::snapshot::load(folder).unwrap().is_none());
}

async fn seal(house: &House) {
    let mut client = house.client();
    let period = || "2026-10".to_owned();
    let request = wire::PeriodRequest { period: period(), after_position: 0 };
    let digest = client.draft_statement(request).await.unwrap().into_inner().digest;
    let seal = wire::SealRequest { period: period(), digest, reason: "checked".to_owned(), supersede: false };
    client.seal_statement(seal).await.unwrap();
}

fn all(books: &Books) -> Vec<Vec<u8>> {
    let records = books.records(crate::journal::Position(0), usize::MAX).unwrap();
    records.into_iter().map(|(_, record)| record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_goes_once_it_is_sealed_and_old_and_is_read_from_there() {
    let october = Archiving::of_october().await;
    let young = october.at("2027-03-01T12:00:00Z").await;
    assert_eq!(young.moved(), 0, "no statement is sealed");
    let sealed = young.at("2026-11-05T12:00:00Z").await;
    seal(&sealed.house).await;
    assert_eq!(sealed.moved(), 0, "it is not three months old");
    let old = sealed.at("2027-03-01T12:00:00Z").await;
    let before = all(&old.house.console.books);
    let size = old.house.console.books.journal_bytes();
    let moved = old.moved();
    assert!(moved > 2 && old.objects() == moved, "{moved} moved");
    assert!(old.house.console.books.journal_bytes() < size, "room is made");
    assert_eq!(all(&old.house.console.books), before);
    assert_eq!(old.moved(), 0, "what is done is done");

    // A start without a snapshot folds what is in the archive.
    let root = old.house.console.books.read(|fold| fold.root());
    let again = old.at_without_a_snapshot("2027-03-02T12:00:00Z").await;
    assert_eq!(all(&again.house.console.books), before);
    assert_eq!(again.house.console.books.read(|fold| fold.root()), root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_gone_raises_an_alarm_until_it_is_back_and_the_doctor_names_it() {
    let october = Archiving::of_october().await;
    seal(&october.house).await;
    let old = october.at("2027-03-01T12:00:00Z").await;
    assert!(old.job().run());
    let (to, away) = (old.to.path().to_owned(), old.house.folder.path().join("away"));
    std::fs::rename(&to, &away).unwrap();
    assert!(!old.job().run());
    let alarms = old.house.console.books.alarms();
    assert!(alarms.stands("archive"), "{:?}", alarms.standing());
    let found = |folder: &std::path::Path| -> Vec<String> {
        let findings = doctor::look(folder, old.house.console.books.clock().now());
        findings
            .into_iter()
            .filter(|one| ["archive", "journal"].contains(&one.check.as_str()))
            .map(|one| one.what)
            .collect()
    };
    let told = found(old.house.folder.path()).join("; ");
    assert!(told.contains(to.to_str().unwrap()), "{told}");
    std::fs::rename(&away, &to).unwrap();
    assert!(old.job().run());
    assert!(!alarms.stands("archive"), "{:?}", alarms.standing());
    let told = found(old.house.folder.path()).join("; ");
    assert!(told.contains("2 segments, up to record"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_names_the_archive_and_a_store_made_of_it_reads_there() {
    let october = Archiving::of_october().await;
    seal(&october.house).await;
    let old = october.at("2027-03-01T12:00:00Z").await;
    let moved = old.moved();
    let place = tempfile::tempdir().unwrap();
    let (backup, store) = (place.path().join("backup"), place.path().join("store"));
    let books = old.house.console.books.clone();
    let made = back_up(&books, &backup).unwrap();
    let segments = std::fs::read_dir(backup.join("journal")).unwrap().count();
    assert_eq!(segments, books.journal_files().len() - moved + 1, "the index, and what is not archived");
    let asked = Asked {
        backup,
        store: store.clone(),
        reason: "the disk failed".to_owned(),
        witnessed: Vec::new(),
        now: books.clock().now(),
    };
    let restored = restore(&asked).unwrap();
    assert_eq!((restored.records, restored.root), (made.records, made.root));
    let (again, end) = Books::open(&store, books.clock()).unwrap();
    let (before, after) = (all(&books), all(&again));
    assert_eq!(after[..before.len()], before);
    drop(again);
    end.close().await.unwrap();
}

/// The same house with its journal in a database; what it wrote before is of a month that is over.
struct InDatabase {
    of: Archiving,
    server: Arc<Server>,
    address: Address,
    config: Config,
    leads: watch::Sender<Option<i64>>,
}

impl InDatabase {
    async fn moved(archiving: Archiving) -> Option<Self> {
        let server = shared()?;
        let (database, address) = migrated(&server);
        let Archiving { house, to } = archiving;
        let House { folder, token, console, end } = house;
        let mut config = Config::clone(&console.config);
        let now = console.books.clock();
        drop(console);
        end.close().await.unwrap();
        let files = FileJournal::open(&folder.path().join("journal")).unwrap();
        copy(&files, &mut PostgresJournal::open(address.clone()).unwrap(), |_, _| ()).unwrap();
        drop(files);
        age(&server, &database, 202_610);
        Vault::open(&folder.path().join("vault")).unwrap().share(&address).unwrap();
        config.journal = Some(server.url(&database));
        config.archive = Some(ArchiveConfig { to: to.path().to_str().unwrap().to_owned(), after_months: 3 });
        std::fs::write(folder.path().join(Config::FILE), toml::to_string(&config).unwrap()).unwrap();
        let (house, leads) = Self::open(folder, token, &config, now);
        // Enough for segments of the month that goes on.
        for number in 0..80 {
            house.customer(&format!("cus_{number}")).await;
        }
        Some(Self { of: Archiving { house, to }, server, address, config, leads })
    }

    fn open(
        folder: tempfile::TempDir,
        token: String,
        config: &Config,
        clock: Clock,
    ) -> (House, watch::Sender<Option<i64>>) {
        let (books, end) = Books::open_in_segments(folder.path(), clock, SEGMENT_BYTES).unwrap();
        while books.journal_files().iter().any(|segment| !segment.is_checked) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let (leads, term) = watch::channel(None);
        let books = books.led_by(term);
        let closing = Closing::new(books.clone(), config.clone(), folder.path().join("statements"));
        let proofs = Proofs::new(books.clone(), config, folder.path().join("statements"));
        let console = Console::new(books, Presence::default(), config.clone(), closing, proofs);
        (House { folder, token, console, end }, leads)
    }

    async fn at(self, at: &str, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { of: Archiving { house, to }, server, address, config, .. } = self;
        let House { folder, token, console, end } = house;
        drop(console);
        end.close().await.unwrap();
        meanwhile(folder.path());
        let (house, leads) = Self::open(folder, token, &config, Clock::as_of(at.parse().unwrap()));
        Self { of: Archiving { house, to }, server, address, config, leads }
    }

    fn books(&self) -> &Books {
        &self.of.house.console.books
    }

    /// How many parts and months a job moves until nothing is left to do.
    fn moves(&self) -> usize {
        let table = || Pruner::new(self.address.clone(), SEGMENT_BYTES).unwrap();
        std::iter::from_fn(|| self.of.job().of_table(table()).run().then_some(())).count()
    }

    /// Where the database's table begins.
    fn begins(&self) -> u64 {
        PostgresJournal::open(self.address.clone()).unwrap().begins().0
    }

    fn found(&self) -> Vec<doctor::Finding> {
        let findings = doctor::look(self.of.house.folder.path(), self.books().clock().now());
        findings.into_iter().filter(|one| ["archive", "database"].contains(&one.check.as_str())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_a_database_goes_once_it_is_sealed_and_old_and_all_collectors_read_on() {
    let Some(open) = InDatabase::moved(Archiving::of_october().await).await else { return };
    open.leads.send_replace(Some(0));
    assert_eq!((open.moves(), open.begins()), (0, 0), "no statement is sealed");
    seal(&open.of.house).await;
    assert_eq!((open.moves(), open.begins()), (0, 0), "it is not three months old");
    let old = open.at("2027-03-01T12:00:00Z", |_| ()).await;
    let (before, root) = (all(old.books()), old.books().read(|fold| fold.root()));
    assert_eq!((old.moves(), old.begins()), (0, 0), "another runs the jobs");
    old.leads.send_replace(Some(7));
    assert_eq!((old.moves(), old.begins()), (0, 0), "another runs them by now");
    assert!(!old.books().alarms().stands("archive"));
    old.leads.send_replace(Some(0));
    let (moves, size) = (old.moves(), old.books().journal_bytes());
    assert!(moves > 2 && old.begins() > 100, "{moves} moves, from {}", old.begins());
    assert_eq!(old.of.objects(), moves - 1, "and one that dropped the month");
    assert_eq!(old.moves(), 0);
    assert!(old.books().journal_bytes() <= size && old.books().journal_files()[0].archived.is_some());
    assert_eq!(all(old.books()), before);

    // One that joins folds what is in the archive.
    let other = tempfile::tempdir().unwrap();
    let key = std::fs::read(old.of.house.folder.path().join("vault/vault.key")).unwrap();
    join(&other.path().join("store"), &old.config, &key).unwrap();
    let (books, end) = Books::open(&other.path().join("store"), old.books().clock()).unwrap();
    assert_eq!((all(&books), books.read(|fold| fold.root())), (before.clone(), root));
    drop(books);
    end.close().await.unwrap();

    // So does one whose store lost all but the vault.
    let lose = |folder: &Path| {
        forget_snapshots(folder);
        std::fs::remove_dir_all(folder.join("journal")).unwrap();
    };
    let again = old.at("2027-03-02T12:00:00Z", lose).await;
    assert_eq!((all(again.books()), again.books().read(|fold| fold.root())), (before, root));

    let levels = |findings: &[doctor::Finding]| findings.iter().map(|one| one.level).collect::<Vec<_>>();
    let found = again.found();
    assert_eq!(levels(&found), [doctor::Level::Ok; 2], "{found:?}");
    let object = std::fs::read_dir(again.of.to.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&object).unwrap();
    let found = again.found();
    assert_eq!(levels(&found), [doctor::Level::Ok, doctor::Level::Error], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_copy_that_made_room_is_whole() {
    let Some(open) = InDatabase::moved(Archiving::of_october().await).await else { return };
    seal(&open.of.house).await;
    let old = open.at("2027-03-01T12:00:00Z", |_| ()).await;
    old.leads.send_replace(Some(0));
    assert!(old.moves() > 2);
    let place = tempfile::tempdir().unwrap();
    let (backup, store) = (place.path().join("backup"), place.path().join("store"));
    let made = back_up(old.books(), &backup).unwrap();
    let asked = Asked {
        backup,
        store: store.clone(),
        reason: "the database failed".to_owned(),
        witnessed: Vec::new(),
        now: old.books().clock().now(),
    };
    let restored = restore(&asked).unwrap();
    assert_eq!((restored.records, restored.root), (made.records, made.root));
    // As after a restore: to an empty database.
    let (_, address) = migrated(&old.server);
    let files = FileJournal::open(&store.join("journal")).unwrap();
    copy(&files, &mut PostgresJournal::open(address).unwrap(), |_, _| ()).unwrap();
    let read = files.read_from(crate::journal::Position(0), usize::MAX).unwrap();
    let before = all(old.books());
    assert!(read.iter().take(before.len()).map(|(_, record)| record).eq(&before));
}
