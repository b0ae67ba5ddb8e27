//! What callers of the writer may rely on.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use futures_util::future::join_all;

use super::*;
use crate::journal::disk::faults::FaultyDisk;
use crate::journal::file::{FileJournal, SEGMENT_BYTES_MAX};

fn journal(folder: &Path, disk: &Arc<FaultyDisk>) -> FileJournal {
    FileJournal::open_on(folder, Arc::clone(disk) as _, SEGMENT_BYTES_MAX).unwrap()
}

fn begin(folder: &Path, disk: &Arc<FaultyDisk>) -> (Appender, WriterHandle) {
    start(Box::new(journal(folder, disk)), |_, _| {})
}

/// A journal whose disk takes its time: an append returns when the test lets it.
struct Slow {
    inner: FileJournal,
    go: std::sync::mpsc::Receiver<()>,
}

impl Journal for Slow {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        self.go.recv().unwrap();
        self.inner.append(batch)
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.inner.read_from(from, limit)
    }

    fn size(&self) -> Position {
        self.inner.size()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_are_all_kept_without_a_gap_and_with_few_syncs() {
    const COUNT: u64 = 10_000;
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<FaultyDisk>::default());
    let (appender, handle) = begin(folder.path(), &disk);
    let tasks: Vec<_> = (0..COUNT)
        .map(|number| {
            let appender = appender.clone();
            tokio::spawn(async move { (appender.append(number.to_le_bytes().to_vec()).await, number) })
        })
        .collect();
    let mut answered = Vec::new();
    for task in tasks {
        let (position, number) = task.await.unwrap();
        answered.push((position.unwrap(), number.to_le_bytes().to_vec()));
    }
    handle.close().await.unwrap();
    answered.sort();
    let syncs = disk.syncs.load(SeqCst);
    assert!(syncs < COUNT as usize / 5, "{syncs} syncs");
    let journal = journal(folder.path(), &disk);
    assert_eq!(journal.size(), Position(COUNT));
    assert_eq!(journal.read_from(Position(0), usize::MAX).unwrap(), answered);
}

#[tokio::test]
async fn the_fold_has_seen_a_record_before_its_caller_is_answered() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let seen = Arc::new(AtomicU64::new(0));
    let fold = Arc::clone(&seen);
    let (appender, _handle) =
        start(Box::new(journal(folder.path(), &disk)), move |first, batch: &[Vec<u8>]| {
            assert_eq!(fold.fetch_add(batch.len() as u64, SeqCst), first.0, "in order, without a gap");
        });
    let appends = (0..100u8).map(|number| {
        let (appender, seen) = (&appender, &seen);
        async move { (appender.append(vec![number]).await, seen.load(SeqCst)) }
    });
    for (position, folded) in join_all(appends).await {
        assert!(position.unwrap().0 < folded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_of_one_caller_stay_together_and_in_order() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let (appender, handle) = begin(folder.path(), &disk);
    let groups = (0..200u8).map(|number| {
        let records = (0..number % 7).map(|place| vec![number, place]).collect();
        let appender = appender.clone();
        async move { (number, appender.append_all(records).await.unwrap()) }
    });
    let answers = join_all(groups).await;
    let large = (0..2 * BATCH_RECORDS_MAX).map(|_| b"large".to_vec()).collect();
    let large_at = appender.append_all(large).await.unwrap();
    handle.close().await.unwrap();
    let journal = journal(folder.path(), &disk);
    for (number, first) in answers {
        let read = journal.read_from(first, usize::from(number % 7)).unwrap();
        let expected: Vec<_> = (0..number % 7).map(|place| vec![number, place]).collect();
        assert_eq!(read.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), expected);
    }
    assert_eq!(journal.size(), large_at.plus(2 * BATCH_RECORDS_MAX as u64));
}

#[tokio::test]
async fn a_full_disk_refuses_and_takes_again_once_there_is_room() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<FaultyDisk>::default());
    let (appender, handle) = begin(folder.path(), &disk);
    appender.append(b"kept".to_vec()).await.unwrap();
    disk.room.store(3, SeqCst);
    for _ in 0..3 {
        let error = appender.append(b"no room".to_vec()).await.unwrap_err();
        assert!(matches!(error, AppendError::Full(_)), "{error}");
    }
    disk.room.store(u64::MAX, SeqCst);
    assert_eq!(appender.append(b"again".to_vec()).await, Ok(Position(1)));
    handle.close().await.unwrap();
    assert_eq!(journal(folder.path(), &disk).size(), Position(2));
}

#[tokio::test]
async fn a_failed_sync_ends_the_writer_and_every_later_append_says_so() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<FaultyDisk>::default());
    let (appender, mut handle) = begin(folder.path(), &disk);
    disk.sync_fails.store(true, SeqCst);
    let error = appender.append(b"in doubt".to_vec()).await.unwrap_err();
    assert!(matches!(&error, AppendError::Fatal(reason) if reason.contains("sync")), "{error}");
    disk.sync_fails.store(false, SeqCst);
    assert_eq!(handle.ended().await, error);
    assert_eq!(appender.append(b"later".to_vec()).await, Err(error));
}

#[tokio::test]
async fn a_panic_in_the_fold_is_an_end_that_is_heard_of() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let (appender, mut handle) =
        start(Box::new(journal(folder.path(), &disk)), |_, _: &[Vec<u8>]| panic!("the fold cannot go on"));
    let answer = appender.append(b"record".to_vec()).await;
    assert!(matches!(answer, Err(AppendError::Fatal(_) | AppendError::Closed)), "{answer:?}");
    assert!(matches!(handle.ended().await, AppendError::Fatal(_)));
    assert!(matches!(appender.append(b"later".to_vec()).await, Err(AppendError::Fatal(_))));
}

#[tokio::test]
async fn closing_writes_what_waits_and_refuses_what_comes_later() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let (go, wait) = std::sync::mpsc::channel();
    let (appender, handle) =
        start(Box::new(Slow { inner: journal(folder.path(), &disk), go: wait }), |_, _| {});
    let waiting: Vec<_> = (0..2000u64)
        .map(|number| {
            let appender = appender.clone();
            tokio::spawn(async move { appender.append(number.to_le_bytes().to_vec()).await })
        })
        .collect();
    while appender.waiting_bytes() < 2000 * 16 {
        tokio::task::yield_now().await;
    }
    assert_eq!(appender.waiting_bytes(), 2000 * 16, "each with the head of its frame");
    let closing = tokio::spawn(handle.close());
    tokio::task::yield_now().await;
    // Whatever the writer does not need of these is left when it ends.
    while go.send(()).is_ok() {
        tokio::task::yield_now().await;
    }
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    closing.await.unwrap().unwrap();
    assert_eq!(appender.append(b"late".to_vec()).await, Err(AppendError::Closed));
    assert_eq!(journal(folder.path(), &disk).size(), Position(2000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_callers_wait_and_memory_stays_bounded() {
    const LENGTH: usize = 1000 * 1000;
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let (go, wait) = std::sync::mpsc::channel();
    let (appender, handle) =
        start(Box::new(Slow { inner: journal(folder.path(), &disk), go: wait }), |_, _| {});
    let taken = Arc::new(Mutex::new(0));
    let waiting: Vec<_> = (0..80)
        .map(|_| {
            let (appender, taken) = (appender.clone(), Arc::clone(&taken));
            tokio::spawn(async move {
                let answer = appender.append(vec![0; LENGTH]).await;
                *taken.lock().unwrap() += 1;
                answer
            })
        })
        .collect();
    while QUEUE_BYTES_MAX - appender.waiting_bytes() > LENGTH {
        tokio::task::yield_now().await;
    }
    assert_eq!(*taken.lock().unwrap(), 0);
    (0..80).for_each(|_| go.send(()).unwrap());
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(appender.waiting_bytes(), 0);
    handle.close().await.unwrap();
}

#[tokio::test]
async fn the_writer_ends_when_nobody_can_append_any_more() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let (appender, mut handle) = begin(folder.path(), &disk);
    appender.append(b"last".to_vec()).await.unwrap();
    drop(appender);
    assert_eq!(handle.ended().await, AppendError::Closed);
    assert_eq!(journal(folder.path(), &disk).size(), Position(1));
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_waits() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
    let (appender, _handle) = begin(folder.path(), &disk);
    for records in [vec![vec![0; frame::BODY_LENGTH_MAX + 1]], vec![vec![0; 1 << 20]; 16]] {
        assert!(matches!(appender.append_all(records).await, Err(AppendError::TooLarge { .. })));
    }
    assert_eq!(appender.append(vec![0; frame::BODY_LENGTH_MAX]).await, Ok(Position(0)));
}

/// A journal that others append to.
struct Common(Arc<Mutex<Vec<Vec<u8>>>>);

impl Journal for Common {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        let first = self.size();
        self.0.lock().unwrap().extend_from_slice(batch);
        Ok(first)
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        let records = self.0.lock().unwrap();
        Ok((from.0..).map(Position).zip(records[from.0 as usize..].iter().cloned()).take(limit).collect())
    }

    fn size(&self) -> Position {
        Position(self.0.lock().unwrap().len() as u64)
    }
}

#[tokio::test]
async fn what_others_appended_before_is_seen_before_and_once() {
    let common = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let fold = Arc::clone(&seen);
    let (appender, handle) = start(Box::new(Common(Arc::clone(&common))), move |first, batch: &[Vec<u8>]| {
        fold.lock().unwrap().extend((first.0..).zip(batch.to_vec()));
    });
    for (others, own) in [(0_u8, 1_u8), (1, 2), (3, 1), (0, 1), (2, 3)] {
        common.lock().unwrap().extend((0..others).map(|number| vec![number]));
        let expected = common.lock().unwrap().len() as u64;
        let own = (0..own).map(|number| vec![100 + number]).collect();
        assert_eq!(appender.append_all(own).await, Ok(Position(expected)));
    }
    handle.close().await.unwrap();
    let expected: Vec<(u64, Vec<u8>)> = (0..).zip(common.lock().unwrap().clone()).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn a_batch_takes_what_fits_into_it_and_nothing_beside_a_job() {
    let room = Arc::new(Semaphore::new(1000));
    let group = |records: usize, bytes: usize, fence: Option<i64>| Group {
        records: vec![Vec::new(); records],
        bytes,
        answer: oneshot::channel().0,
        fence,
        room: Arc::clone(&room).try_acquire_owned().unwrap(),
    };
    let check = |first: Group, next: Group, expected: bool| {
        let (records, bytes, fence) = (next.records.len(), next.bytes, next.fence);
        assert_eq!(Batch::new(first).fits(&next), expected, "{records} of {bytes} bytes, {fence:?}");
    };
    check(group(1, 10, None), group(BATCH_RECORDS_MAX - 1, GATHER_BYTES_MAX - 10, None), true);
    check(group(1, 10, None), group(BATCH_RECORDS_MAX, 10, None), false);
    check(group(1, 10, None), group(1, GATHER_BYTES_MAX - 9, None), false);
    check(group(1, 10, None), group(1, 10, Some(1)), false);
    check(group(1, 10, Some(1)), group(1, 10, None), false);
    check(group(1, 10, Some(1)), group(1, 10, Some(1)), false);
}
