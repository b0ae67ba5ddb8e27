//! The version resource of a program, read from its file (PE/COFF, as Microsoft's "PE Format" has it). Invariant: pure but
//! for reading; nothing that stands in the file is believed further than its own bounds.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of headers that are read: sections are named within the first few hundred.
const HEADERS_LENGTH: u64 = 4096;

/// Bytes of resources that are read: icons and dialogs of a vendor's program are some MiB.
const RESOURCES_LENGTH_MAX: u64 = 32 * 1024 * 1024;

/// The type of a version resource.
const VERSION: u32 = 16;

/// What the fixed part of a version resource begins with.
const SIGNATURE: u32 = 0xFEEF_04BD;

/// `FileVersion` of the fixed part, as `1.2.3.4`; `None`: the file has none.
///
/// # Errors
/// When the file cannot be read.
pub fn of(file: &mut (impl Read + Seek)) -> io::Result<Option<String>> {
    let mut headers = Vec::new();
    file.by_ref().take(HEADERS_LENGTH).read_to_end(&mut headers)?;
    let Some(section) = resources(&headers) else { return Ok(None) };
    file.seek(SeekFrom::Start(section.at))?;
    let mut bytes = Vec::new();
    file.take(section.length.min(RESOURCES_LENGTH_MAX)).read_to_end(&mut bytes)?;
    Ok(fixed(&bytes, section.address))
}

struct Section {
    /// In memory: resources name their data so.
    address: u32,
    at: u64,
    length: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn index(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

/// The section that resources are in.
fn resources(headers: &[u8]) -> Option<Section> {
    let pe = headers.starts_with(b"MZ").then(|| u32_at(headers, 0x3C)).flatten().and_then(index)?;
    if headers.get(pe..pe.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let count = usize::from(u16_at(headers, pe + 6)?);
    let first = pe + 24 + usize::from(u16_at(headers, pe + 20)?);
    (0..count).map(|number| first + number * 40).find_map(|at| {
        (headers.get(at..at + 8)? == b".rsrc\0\0\0").then_some(())?;
        Some(Section {
            address: u32_at(headers, at + 12)?,
            length: u32_at(headers, at + 16)?.into(),
            at: u32_at(headers, at + 20)?.into(),
        })
    })
}

/// Type, name and language each have a table of their own; the first name and language are taken.
fn fixed(bytes: &[u8], address: u32) -> Option<String> {
    let names = below(bytes, 0, Some(VERSION))?;
    let languages = below(bytes, names, None)?;
    let entry = below(bytes, languages, None)?;
    let at = index(u32_at(bytes, entry)?.checked_sub(address)?)?;
    let length = index(u32_at(bytes, entry.checked_add(4)?)?)?;
    let resource = bytes.get(at..at.checked_add(length)?)?;
    let fixed = (0..resource.len()).step_by(4).find(|at| u32_at(resource, *at) == Some(SIGNATURE))?;
    let (high, low) = (u32_at(resource, fixed + 8)?, u32_at(resource, fixed + 12)?);
    Some(format!("{}.{}.{}.{}", high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF))
}

/// Where the table or the data behind an entry of a resource table is: the one with this number, or the first one.
fn below(bytes: &[u8], table: usize, wanted: Option<u32>) -> Option<usize> {
    let named = usize::from(u16_at(bytes, table.checked_add(12)?)?);
    let numbered = usize::from(u16_at(bytes, table + 14)?);
    let entries = (0..named + numbered).map(|number| table + 16 + number * 8);
    let mut fitting = entries.filter(|at| wanted.is_none_or(|wanted| u32_at(bytes, *at) == Some(wanted)));
    // The highest bit says that a table follows, and the rest where.
    index(u32_at(bytes, fitting.next()? + 4)? & 0x7FFF_FFFF)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const ADDRESS: u32 = 0x5000;

    /// A file with one section of resources, in which a version is the second type.
    fn program(version: [u16; 4]) -> Vec<u8> {
        let table = |entries: &[(u32, u32)]| {
            let mut bytes = vec![0_u8; 14];
            bytes.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
            for (id, below) in entries {
                bytes.extend([id.to_le_bytes(), below.to_le_bytes()].concat());
            }
            bytes
        };
        const TABLE: u32 = 0x8000_0000;
        let mut rsrc = table(&[(3, TABLE | 32), (VERSION, TABLE | 32)]);
        rsrc.extend(table(&[(1, TABLE | 56)]));
        rsrc.extend(table(&[(1033, 80)]));
        let data: Vec<u8> = [
            &[0_u8; 40][..],
            &SIGNATURE.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &((u32::from(version[0]) << 16) | u32::from(version[1])).to_le_bytes(),
            &((u32::from(version[2]) << 16) | u32::from(version[3])).to_le_bytes(),
            &[0; 36],
        ]
        .concat();
        rsrc.extend((ADDRESS + 96).to_le_bytes());
        rsrc.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        rsrc.extend([0; 8]);
        rsrc.extend(data);
        let mut file = vec![0_u8; 0x400];
        file[..2].copy_from_slice(b"MZ");
        file[0x3C] = 0x80;
        file[0x80..0x84].copy_from_slice(b"PE\0\0");
        file[0x86] = 2;
        file[0x94] = 0xF0;
        let second = 0x80 + 24 + 0xF0 + 40;
        file[second..second + 5].copy_from_slice(b".rsrc");
        file[second + 12..second + 16].copy_from_slice(&ADDRESS.to_le_bytes());
        file[second + 16..second + 20].copy_from_slice(&u32::try_from(rsrc.len()).unwrap().to_le_bytes());
        file[second + 20..second + 24].copy_from_slice(&0x400_u32.to_le_bytes());
        file.extend(rsrc);
        file
    }

    fn version(bytes: &[u8]) -> Option<String> {
        of(&mut Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn the_version_of_a_program_is_found_among_its_resources() {
        assert_eq!(version(&program([20, 0, 1, 65535])).as_deref(), Some("20.0.1.65535"));
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_has_no_version_or_another_one_and_never_stops_the_look() {
        let whole = program([1, 2, 3, 4]);
        for length in 0..whole.len() - 40 {
            assert_eq!(version(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            for byte in [0x00, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = version(&changed);
            }
        }
        assert_eq!(version(b"#!/bin/sh\n"), None);
    }
}
