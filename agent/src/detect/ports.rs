//! Listening TCP ports, from `/proc/net`. Invariant: only wanted ports are kept; malformed lines are skipped.

use std::io::Read;

use seatbeat_proto::catalogue::{Observations, Source, Wanted};

use super::root::{Root, is_absent};
use super::{Sensor, lines};

/// The kernel's number for a socket that listens.
const LISTEN: &[u8] = b"0A";

/// Bytes of each table that are read: a hundred thousand sockets fit.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The running machine's sockets.
pub struct Ports(pub Root);

impl Sensor for Ports {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if wanted.ports.is_empty() {
            return;
        }
        if !self.0.is_live() {
            seen.unreadable.insert(Source::ListeningPorts, "a foreign root has no running sockets".into());
            return;
        }
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            match self.0.open(path) {
                Ok(file) => read(file, wanted, seen, path),
                Err(error) if is_absent(&error) => {}
                Err(error) => note(seen, path, &error),
            }
        }
    }
}

pub(super) fn read(file: impl Read, wanted: &Wanted<'_>, seen: &mut Observations, path: &str) {
    let read = lines::for_each(file, BYTES_MAX, |line| {
        seen.listening_ports.extend(listening(line).filter(|port| wanted.ports.contains(port)));
    });
    if let Err(error) = read {
        note(seen, path, &error);
    }
}

fn note(seen: &mut Observations, path: &str, error: &std::io::Error) {
    seen.unreadable.insert(Source::ListeningPorts, format!("failed to read {path}: {error}"));
}

/// Port of a line `sl local_address rem_address st …` that listens.
fn listening(line: &[u8]) -> Option<u16> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let local = words.nth(1)?;
    (words.nth(1)? == LISTEN).then_some(())?;
    let port = local.rsplit(|byte| *byte == b':').next()?;
    u16::from_str_radix(std::str::from_utf8(port).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_count() {
        let line =
            |state: &str| format!("   0: 00000000:3A5E 00000000:0000 {state} 00000000:00000000 00:00000000");
        assert_eq!(listening(line("0A").as_bytes()), Some(14942));
        assert_eq!(listening(line("01").as_bytes()), None);
        assert_eq!(listening(b"  sl  local_address rem_address   st"), None);
        assert_eq!(listening(b""), None);
    }
}
