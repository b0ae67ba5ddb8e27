//! What every journal has to keep to, whatever it keeps its records in. Invariant: a check knows its journal by the
//! trait alone.

use seatbeat_proto::frame::BODY_LENGTH_MAX;

use super::{BATCH_BYTES_MAX, Journal, JournalError, Position, READ_BYTES_MAX};

/// Opens the same journal again, once nobody has it open.
pub type Open<'a> = &'a dyn Fn() -> Box<dyn Journal>;

/// One promise, checked on a journal that is empty.
pub type Check = fn(Open<'_>);

/// All of them.
pub const CHECKS: [Check; 5] = [in_order, empty_batch, too_large, reads, any_bytes];

fn records(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn all(journal: &dyn Journal) -> Vec<Vec<u8>> {
    journal.read_from(Position(0), usize::MAX).unwrap().into_iter().map(|(_, record)| record).collect()
}

fn in_order(open: Open<'_>) {
    let mut journal = open();
    assert_eq!(journal.append(&records(&["a", "", "c"])).unwrap(), Position(0));
    assert_eq!(journal.append(&records(&["d"])).unwrap(), Position(3));
    assert_eq!((all(journal.as_ref()), journal.size()), (records(&["a", "", "c", "d"]), Position(4)));
    drop(journal);
    let mut journal = open();
    assert_eq!((all(journal.as_ref()), journal.size()), (records(&["a", "", "c", "d"]), Position(4)));
    assert_eq!(journal.append(&records(&["e"])).unwrap(), Position(4));
}

fn empty_batch(open: Open<'_>) {
    let mut journal = open();
    assert_eq!(journal.append(&[]).unwrap(), Position(0));
    assert!(journal.read_from(Position(0), 1).unwrap().is_empty());
    journal.append(&records(&["a", "b"])).unwrap();
    assert_eq!(journal.append(&[]).unwrap(), Position(2));
}

fn too_large(open: Open<'_>) {
    let mut journal = open();
    let record = vec![vec![1; BODY_LENGTH_MAX + 1]];
    let batch = vec![vec![1; BODY_LENGTH_MAX]; BATCH_BYTES_MAX / BODY_LENGTH_MAX];
    for batch in [record, batch] {
        let error = journal.append(&batch).unwrap_err();
        assert!(matches!(error, JournalError::TooLarge { .. }), "{error}");
    }
    assert_eq!(journal.append(&records(&["small"])).unwrap(), Position(0), "it goes on");
}

fn reads(open: Open<'_>) {
    const COUNT: u64 = 700;
    let mut journal = open();
    let written: Vec<Vec<u8>> = (0..COUNT).map(|number| number.to_le_bytes().to_vec()).collect();
    for batch in written.chunks(300) {
        journal.append(batch).unwrap();
    }
    for from in [0, 1, 63, 64, 255, 299, 300, COUNT - 1] {
        let read = journal.read_from(Position(from), 10).unwrap();
        let expected: Vec<(Position, Vec<u8>)> =
            (from..COUNT).take(10).map(|at| (Position(at), at.to_le_bytes().to_vec())).collect();
        assert_eq!(read, expected, "from {from}");
    }
    assert!(journal.read_from(Position(COUNT), 10).unwrap().is_empty());
    assert!(journal.read_from(Position(COUNT + 5), 10).unwrap().is_empty());
    assert_eq!(journal.read_from(Position(1), usize::MAX).unwrap().len() as u64, COUNT - 1);
    for _ in 0..3 {
        journal.append(&vec![vec![7; BODY_LENGTH_MAX]; 4]).unwrap();
    }
    let large = journal.read_from(Position(COUNT), usize::MAX).unwrap();
    assert_eq!(large.len(), READ_BYTES_MAX / BODY_LENGTH_MAX);
    assert_eq!(journal.read_from(Position(COUNT + large.len() as u64), usize::MAX).unwrap().len(), 4);
}

fn any_bytes(open: Open<'_>) {
    let mut journal = open();
    let bytes: Vec<Vec<u8>> = vec![(0..=255).collect(), vec![0; 3], vec![255; 1], Vec::new()];
    journal.append(&bytes).unwrap();
    assert_eq!(all(journal.as_ref()), bytes);
}
