//! The SMBIOS table, as the firmware left it (DMTF DSP0134). Invariant: pure; a structure that is cut ends the reading,
//! and what it would have said is not known.

/// What is told of a machine, as the firmware spells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smbios {
    /// UUID of the system, in the spelling that all systems show.
    pub uuid: Option<String>,
    /// Serial number of the system.
    pub system_serial: Option<String>,
    /// Serial number of the board.
    pub board_serial: Option<String>,
}

/// What stands before the table where Windows keeps it: method, version, revision, length.
const HEAD_LENGTH: usize = 8;

const SYSTEM: u8 = 1;
const BOARD: u8 = 2;
const END: u8 = 127;

/// Reads the table as Windows keeps it (`mssmbios\Data!SMBiosData`).
pub fn read(raw: &[u8]) -> Smbios {
    let mut told = Smbios::default();
    let mut rest = raw.get(HEAD_LENGTH..).unwrap_or_default();
    while let Some((kind, formatted, texts, after)) = structure(rest) {
        let text = |at: usize| {
            let number = usize::from(*formatted.get(at)?).checked_sub(1)?;
            let text = texts.split(|byte| *byte == 0).nth(number)?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        match kind {
            SYSTEM if told.uuid.is_none() => {
                told.uuid = formatted.get(8..24).and_then(uuid);
                told.system_serial = text(7);
            }
            BOARD if told.board_serial.is_none() => told.board_serial = text(7),
            END => break,
            _ => {}
        }
        rest = after;
    }
    told
}

type Structure<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

/// Kind, the part of fixed places, the texts behind it, and what follows.
fn structure(bytes: &[u8]) -> Option<Structure<'_>> {
    let (kind, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    let formatted = bytes.get(..length).filter(|_| length >= 4)?;
    let behind = &bytes[length..];
    let end = behind.windows(2).position(|pair| pair == [0, 0])?;
    Some((kind, formatted, &behind[..end], &behind[end + 2..]))
}

/// The first three groups are little-endian.
fn uuid(bytes: &[u8]) -> Option<String> {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::new();
    for (place, at) in order.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes.get(at)?));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<u8> {
        let mut bytes = vec![0, 3, 2, 0, 0, 0, 0, 0];
        bytes.extend([0, 4, 0, 0, 0, 0]);
        bytes.extend([1, 27, 1, 0, 1, 2, 0, 3]);
        bytes.extend([
            0x44, 0x45, 0x4C, 0x4C, 0x35, 0x00, 0x10, 0x4A, 0x80, 0x4E, 0xB4, 0xC0, 0x4F, 0x4D, 0x32, 0x31,
        ]);
        bytes.extend([6, 0, 0]);
        bytes.extend(b"Maker\0Model\x00ABC1234\0\0");
        bytes.extend([2, 8, 2, 0, 1, 2, 0, 3]);
        bytes.extend(b"Maker\0Board\x00.XYZ.\0\0");
        bytes.extend([127, 4, 3, 0, 0, 0]);
        bytes
    }

    #[test]
    fn what_the_firmware_says_of_system_and_board_is_read() {
        let told = read(&table());
        assert_eq!(told.uuid.as_deref(), Some("4c4c4544-0035-4a10-804e-b4c04f4d3231"));
        assert_eq!(told.system_serial.as_deref(), Some("ABC1234"));
        assert_eq!(told.board_serial.as_deref(), Some(".XYZ."));
    }

    #[test]
    fn a_table_that_is_cut_anywhere_says_less_and_nothing_else() {
        let (whole, told) = (table(), read(&table()));
        for length in 0..whole.len() {
            let cut = read(&whole[..length]);
            assert!(cut.uuid.is_none() || cut.uuid == told.uuid, "{length}");
            assert!(cut.board_serial.is_none() || cut.board_serial == told.board_serial, "{length}");
        }
    }
}
