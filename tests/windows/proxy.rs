//! A proxy that connects further (HTTP CONNECT), as a network has that lets nobody out by himself. Invariant: on loopback;
//! whatever it is asked for, it connects to one place alone, and reads nothing of what it carries.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes of a request that is none of a proxy's.
const HEAD_LENGTH_MAX: usize = 8 * 1024;

/// See the module's text.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that connects to `to`, until the test ends.
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it listens");
        let asked = Arc::default();
        let proxy = Self { address, asked: Arc::clone(&asked) };
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let asked = Arc::clone(&asked);
                thread::spawn(move || serve(near, to, &asked));
            }
        });
        proxy
    }

    /// What it was asked so far: each request's head.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whoever goes away ends it, on either side.
fn serve(mut near: TcpStream, to: SocketAddr, asked: &Mutex<Vec<String>>) {
    let Some(head) = head(&mut near) else { return };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    let Ok(far) = TcpStream::connect(to) else {
        let _ = near.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n");
        return;
    };
    if near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_err() {
        return;
    }
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
    let back = thread::spawn(move || carry(far_too, near_too));
    carry(near, far);
    let _ = back.join();
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// All up to the empty line, and nothing after it.
fn head(near: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if bytes.len() >= HEAD_LENGTH_MAX || near.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.extend(byte);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
