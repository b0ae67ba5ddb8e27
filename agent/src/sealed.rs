//! Secrets as they lie on a disk. Invariant: on Windows only this machine opens them again (DPAPI), wherever the file is
//! taken; elsewhere the file's mode alone keeps them, and they lie there as they are.

use std::io;

use zeroize::Zeroizing;

/// As it is to lie on the disk.
///
/// # Errors
/// When the system cannot.
pub fn seal(bytes: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    #[cfg(windows)]
    let sealed = crate::windows::raw::protect(bytes)?;
    #[cfg(not(windows))]
    let sealed = bytes.to_vec();
    Ok(Zeroizing::new(sealed))
}

/// What was sealed on this machine; `None`: on another one, or it is damaged.
pub fn open(sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    #[cfg(windows)]
    let opened = crate::windows::raw::unprotect(sealed).ok()?;
    #[cfg(not(windows))]
    let opened = sealed.to_vec();
    Some(Zeroizing::new(opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_here_is_opened_here() {
        let sealed = seal(b"secret").unwrap();
        assert_eq!(open(&sealed).unwrap().as_slice(), b"secret");
        if cfg!(windows) {
            assert!(!sealed.windows(6).any(|part| part == b"secret"), "it does not lie there as it is");
            assert_eq!(open(&sealed[..sealed.len() / 2]), None);
            assert_eq!(open(b"secret"), None);
        }
    }
}
