//! The archive around a flat package: a table of contents in XML, compressed, and a heap of what it names. Invariant: each
//! file lies there as it is, with its SHA-1; the heap begins with the table's own.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest as _, Sha1};

use crate::deb::hex;
use crate::edition::Edition;

/// Bytes of the head: magic word, its own length, version, two lengths of the table, and the kind of sums.
const HEAD_LENGTH: u16 = 28;
const VERSION: u16 = 1;
const SHA1: u32 = 1;

/// Bytes of one of its sums.
const SUM_LENGTH: usize = 20;

/// The archive's bytes, of named files.
///
/// # Errors
/// When memory cannot be written, which does not happen.
pub fn archive(files: &[(&str, Vec<u8>)], edition: &Edition) -> Result<Vec<u8>> {
    let table = table(files, edition);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(table.as_bytes())?;
    let packed = packed.finish()?;
    let mut made = b"xar!".to_vec();
    made.extend(HEAD_LENGTH.to_be_bytes());
    made.extend(VERSION.to_be_bytes());
    made.extend((packed.len() as u64).to_be_bytes());
    made.extend((table.len() as u64).to_be_bytes());
    made.extend(SHA1.to_be_bytes());
    made.extend(&packed);
    made.extend(Sha1::digest(&packed));
    files.iter().for_each(|(_, bytes)| made.extend(bytes));
    Ok(made)
}

fn table(files: &[(&str, Vec<u8>)], edition: &Edition) -> String {
    let at = edition.at.strftime("%Y-%m-%dT%H:%M:%SZ");
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xar>\n <toc>\n  <checksum style=\"sha1\">\n   <offset>0</offset>\n   \
         <size>{SUM_LENGTH}</size>\n  </checksum>\n  <creation-time>{at}</creation-time>\n"
    );
    let mut offset = SUM_LENGTH;
    for (number, (name, bytes)) in (1..).zip(files) {
        let (length, sum) = (bytes.len(), hex(&Sha1::digest(bytes)));
        let _ = write!(
            text,
            "  <file id=\"{number}\">\n   <name>{name}</name>\n   <type>file</type>\n   <mode>0644</mode>\n   <uid>0</uid>\n   \
             <gid>0</gid>\n   <mtime>{at}</mtime>\n   <data>\n    <offset>{offset}</offset>\n    <size>{length}</size>\n    \
             <length>{length}</length>\n    <encoding style=\"application/octet-stream\"/>\n    \
             <archived-checksum style=\"sha1\">{sum}</archived-checksum>\n    \
             <extracted-checksum style=\"sha1\">{sum}</extracted-checksum>\n   </data>\n  </file>\n"
        );
        offset += length;
    }
    text.push_str(" </toc>\n</xar>\n");
    text
}
