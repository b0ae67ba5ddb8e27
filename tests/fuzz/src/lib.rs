//! What the targets share: how an input is cut into parts, keys that are the same in each run, and a bound on memory.
//! Invariant: an input says all that a run depends on; neither clock nor dice are asked.

use std::alloc::System;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::LazyLock;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that may be asked for whatever the input is: buffers of readers, tables of the catalogue's words.
const ALWAYS_MAX: usize = 1 << 20;

/// A key of a number: the same one in each run, so that seeds that it signed stay good.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// The instant at which all that is read has come.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_793_512_800).expect("1 November 2026 is an instant")
}

/// An input as text.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The parts of an input, which zero bytes end; a part that is not there is empty, and the last one has the rest.
pub fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut parts = bytes.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Does it, and sees that it asks for no more memory than so many bytes for each of the input's.
#[track_caller]
pub fn bounded<T>(length: usize, bytes_each: usize, act: impl FnOnce() -> T) -> T {
    let region = Region::new(MEMORY);
    let done = act();
    let asked = region.change().bytes_allocated;
    assert!(asked <= ALWAYS_MAX + length * bytes_each, "{asked} bytes of memory for {length} of input");
    done
}

/// Sees that what was read, written down and read again is the same.
#[track_caller]
pub fn same<T: PartialEq + Debug>(read: &T, again: &T) {
    assert!(read == again, "read: {read:?}\nagain: {again:?}");
}

/// The folder that a run gives a target for its files, or one of this process's own.
pub fn folder() -> &'static PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = || std::env::temp_dir().join(format!("seatbeat-fuzz-{}", std::process::id()));
        let folder = std::env::var_os("SEATBEAT_FUZZ_FOLDER").map_or_else(own, PathBuf::from);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    });
    &FOLDER
}

/// A file of these bytes in [`folder`].
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a file in memory can be written");
    path
}
