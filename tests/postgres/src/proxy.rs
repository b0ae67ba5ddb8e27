//! A proxy that cuts connections around a commit, and before a transaction is left. Invariant: what it lets through it does
//! not change.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// It goes through.
    None,
    /// It never gets there.
    Request,
    /// It gets there; its answer does not come back.
    Answer,
}

/// A running proxy. It ends with the tests.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    /// Commits that it has seen.
    pub commits: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of a port: of three commits one is lost on its way there, one on its way back; of two rollbacks one.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listens = listener.local_addr().unwrap().port();
        let commits = Arc::new(AtomicU64::new(0));
        let (seen, leaves) = (Arc::clone(&commits), Arc::new(AtomicU64::new(0)));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, seen, leaves) = (client.unwrap(), Arc::clone(&seen), Arc::clone(&leaves));
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                thread::spawn(move || carry(&client, &server, &seen, &leaves));
            }
        });
        Self { port: listens, commits }
    }
}

fn carry(client: &TcpStream, server: &TcpStream, commits: &AtomicU64, leaves: &AtomicU64) {
    let cut = std::sync::Mutex::new(Cut::None);
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(bytes) = next(client) {
                if has(&bytes, b"COMMIT\0") {
                    *cut.lock().unwrap() = match commits.fetch_add(1, Ordering::SeqCst) % 3 {
                        0 => Cut::Answer,
                        1 => Cut::Request,
                        _ => Cut::None,
                    };
                }
                if has(&bytes, b"ROLLBACK\0") && leaves.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    *cut.lock().unwrap() = Cut::Request;
                }
                if *cut.lock().unwrap() == Cut::Request || { server }.write_all(&bytes).is_err() {
                    break;
                }
            }
            close(client, server);
        });
        while let Some(bytes) = next(server) {
            let is_cut = *cut.lock().unwrap() == Cut::Answer && has(&bytes, b"COMMIT\0");
            if is_cut || { client }.write_all(&bytes).is_err() {
                break;
            }
        }
        close(client, server);
    });
}

fn next(mut from: &TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64 * 1024];
    let count = from.read(&mut bytes).ok().filter(|count| *count > 0)?;
    bytes.truncate(count);
    Some(bytes)
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn close(client: &TcpStream, server: &TcpStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
