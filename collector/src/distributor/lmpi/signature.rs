//! How a request to the platform is signed. Invariant: the key is the secret's text as it was given out, not what it
//! decodes to; what is signed is what goes out, byte by byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::Method;
use md5::{Digest as _, Md5};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What is signed of a request.
pub struct Signed<'a> {
    /// Seconds since 1970.
    pub posix_s: &'a str,
    /// In capitals.
    pub method: &'a Method,
    /// Path and query as they go out.
    pub target: &'a str,
    /// As it goes out; empty: none.
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// The signature, in base64.
    pub fn by(&self, key: &str) -> Zeroizing<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(self.posix_s.as_bytes());
        mac.update(self.method.as_str().as_bytes());
        mac.update(self.target.as_bytes());
        if !self.body.is_empty() {
            mac.update(STANDARD.encode(Md5::digest(self.body)).as_bytes());
        }
        Zeroizing::new(STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A number that no other request has; one of all zeros where the system gives no random bytes.
pub fn trace() -> String {
    let mut bytes = [0; 16];
    let _ = getrandom::fill(&mut bytes);
    uuid(bytes)
}

/// Sixteen bytes as a random UUID is written.
pub fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = seatbeat_proto::hex::format(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::super::independent::skip;
    use super::*;

    const KEY: &str = "IyNDBEnKBeZc0tduDlwhUgkZKBvqSUm7fO9ijOYL0yU=";
    const TARGET: &str = "/LMPI/v3/customers/bd369fc5-61ad-4d40-8d68-11a757369a8f/subscriptions/\
                          f81d2435-ec82-4a69-8d47-357bb0bd52c1";

    /// By other code than ours.
    const PYTHON: &str = "import base64, hashlib, hmac, sys\n\
        key, message, body = (text.encode() for text in sys.argv[1:])\n\
        message += base64.b64encode(hashlib.md5(body).digest()) if body else b''\n\
        print(base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode())";

    fn signed<'a>(method: &'a Method, target: &'a str, body: &'a [u8]) -> Signed<'a> {
        Signed { posix_s: "1363797148", method, target, body }
    }

    #[test]
    fn a_request_is_signed_as_the_check_vector_says() {
        let signature = signed(&Method::GET, TARGET, b"").by(KEY);
        assert_eq!(signature.as_str(), "i3IP5FIVfXpKWK+Xv6Z1MvNMpYkBTqIGA4zkw5KrjAk=");
    }

    #[test]
    fn other_code_signs_the_same_with_and_without_body_and_query() {
        let cases = [
            (Method::GET, TARGET.to_owned(), ""),
            (Method::PUT, TARGET.to_owned(), r#"{"units_per_license":80}"#),
            (Method::GET, "/LMPI/v3/customers?created_start=2000-01-01T00:00:00Z&page=2".to_owned(), ""),
        ];
        for (method, target, body) in cases {
            let message = format!("1363797148{method}{target}");
            let run = Command::new("python3").args(["-c", PYTHON, KEY, &message, body]).output();
            let Ok(output) = run else {
                return skip("python3", "apt-get install python3");
            };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let theirs = String::from_utf8(output.stdout).unwrap();
            assert_eq!(signed(&method, &target, body.as_bytes()).by(KEY).as_str(), theirs.trim());
        }
    }

    #[test]
    fn a_trace_is_a_random_uuid() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(trace(), trace());
    }
}
