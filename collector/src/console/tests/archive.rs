//! Old evidence that is moved to an archive. Invariant: it goes once a sealed statement covers it and it is old enough,
//! and whatever was asked of it before is answered from the archive, in this store and in one made of a backup.

use crate::backup::back_up;
use crate::backup::restore::{Asked, restore};
use crate::config::ArchiveConfig;
use crate::doctor;
use crate::jobs::archive::ArchiveJob;

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
        let Self { folder, token, console, end } = self;
        let config = Config::clone(&console.config);
        drop(console);
        end.close().await.unwrap();
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
    let again = old.at("2027-03-02T12:00:00Z").await;
    for name in ["snapshot", "snapshot.previous"] {
        std::fs::remove_file(again.house.folder.path().join(name)).unwrap();
    }
    let again = again.at("2027-03-03T12:00:00Z").await;
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
