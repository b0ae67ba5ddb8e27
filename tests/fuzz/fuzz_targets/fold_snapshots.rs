//! Snapshot files of the collector. Invariant: one that opens is, byte for byte, what a collector saves of it; what stands
//! in one is a fold, or is passed over.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_collector::books::encoded;
use seatbeat_collector::snapshot::{load, save};
use seatbeat_fuzz::{bounded, folder};
use seatbeat_ledger::fold::Fold;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let place = folder().join("fold");
    std::fs::create_dir_all(&place).expect("a folder can be made");
    let mut given = bytes.to_vec();
    if mode & 1 == 1 {
        given.extend_from_slice(&crc32c::crc32c(&given).to_le_bytes());
    }
    let path = place.join("snapshot");
    std::fs::write(&path, &given).expect("a file in memory can be written");
    let _ = std::fs::remove_file(place.join("snapshot.previous"));
    if let Ok(Some((position, root_check, body))) = bounded(given.len(), 16, || load(&place)) {
        save(&place, position, root_check, &body).expect("what was loaded can be saved");
        assert_eq!(std::fs::read(&path).expect("it was saved"), given);
    }
    let Ok(fold) = bounded(bytes.len(), 4096, || postcard::from_bytes::<Fold>(bytes)) else { return };
    let (position, body) = encoded(&fold);
    let again: Fold = postcard::from_bytes(&body.expect("a fold can be written")).expect("it reads back");
    assert_eq!((again.position(), encoded(&again).1.ok()), (position, encoded(&fold).1.ok()));
});
