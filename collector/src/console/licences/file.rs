//! A file of licences: CSV bytes into rows, and activation codes as they may be told. Invariant: pure; every fault is told
//! with its line, and no code is repeated in one.

use std::collections::BTreeMap;

use csv::{ReaderBuilder, StringRecord, Trim};
use hmac::{Hmac, Mac as _};
use seatbeat_ledger::prices::read::{Lines, Problems};
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::ProductId;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Licences of one file: they are written as one group.
pub const LICENCES_MAX: usize = 400;

/// What the file is called in what is said of it.
pub const FILE: &str = "the file";

/// Most seats of a licence: more is a typing error.
const SEATS_MAX: u32 = 1_000_000;

/// Letters of an activation code in each of its parts.
const CODE_PARTS: [usize; 7] = [2, 4, 5, 5, 5, 5, 5];

/// Where products are found.
pub const PRODUCTS: &str =
    "products are those of `proto/catalogue/trend-micro.toml` and of the policy's `default_sku`";

/// Columns of a file; all but the last have to be there.
const COLUMNS: [&str; 4] = ["product", "sku", "seats", "code"];

/// A row of a file.
pub struct Row {
    /// What it is for.
    pub product: ProductId,
    /// What it is billed as.
    pub sku: Sku,
    /// Seats of the block.
    pub seats: u32,
    /// Its activation code; none: a subscription without one.
    pub code: Option<Zeroizing<String>>,
}

/// Tells a code without being one.
pub fn code_mac(salt: &[u8; 32], code: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(b"seatbeat licence code\0");
    mac.update(code.as_bytes());
    mac.finalize().into_bytes().into()
}

/// First and last letters of a code.
pub fn masked(code: &str) -> String {
    let letters: Vec<char> = code.chars().collect();
    let end = letters.len().saturating_sub(4);
    letters.iter().take(2).chain("-…-".chars().collect::<Vec<_>>().iter()).chain(&letters[end..]).collect()
}

/// The rows of a file that can be read, each with its line, and what is wrong with the others.
pub fn read_rows(csv: &[u8]) -> (Vec<(u64, Row)>, Problems) {
    let mut problems = Problems::default();
    let mut rows = Vec::new();
    if std::str::from_utf8(csv).is_err() {
        problems.note_with(FILE, 0, "the file is not UTF-8", Some("save it as CSV in UTF-8"));
        return (rows, problems);
    }
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv);
    let head = csv.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = if head.contains(&b';') { b';' } else { b',' };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).trim(Trim::All).from_reader(csv);
    let Some(columns) = columns(&mut reader, &mut problems) else { return (rows, problems) };
    let mut lines = Lines::of_text(csv);
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = lines.of(record.position().map_or(0, csv::Position::byte));
                match row(&record, &columns) {
                    Ok(row) => rows.push((line, row)),
                    Err(what) => problems.note(FILE, line, what),
                }
            }
            Err(error) => {
                let line = lines.of(error.position().map_or(0, csv::Position::byte));
                problems.note(FILE, line, "it has not as many cells as the first line");
            }
        }
    }
    if rows.len() > LICENCES_MAX {
        let words = format!("there are more than {LICENCES_MAX} licences in it");
        problems.note_with(FILE, 0, words, Some("cut it into several files"));
    }
    (rows, problems)
}

fn columns(reader: &mut csv::Reader<&[u8]>, problems: &mut Problems) -> Option<BTreeMap<String, usize>> {
    let head = reader.headers().ok()?.clone();
    let mut columns = BTreeMap::new();
    for (index, name) in head.iter().map(str::to_lowercase).enumerate() {
        if !COLUMNS.contains(&name.as_str()) {
            let known = format!("the columns are {}", COLUMNS.join(", "));
            problems.note_with(FILE, 1, format!("column `{name}` means nothing here"), Some(&known));
        } else if columns.insert(name.clone(), index).is_some() {
            problems.note(FILE, 1, format!("column `{name}` is there twice"));
        }
    }
    for name in &COLUMNS[..3] {
        if !columns.contains_key(*name) {
            problems.note(FILE, 1, format!("column `{name}` is missing"));
        }
    }
    problems.is_empty().then_some(columns)
}

fn row(record: &StringRecord, columns: &BTreeMap<String, usize>) -> Result<Row, String> {
    let cell = |name: &str| {
        let cell = columns.get(name).and_then(|index| record.get(*index)).unwrap_or_default();
        seatbeat_ledger::cells::unguarded(cell)
    };
    let product = cell("product");
    let parsed: ProductId = product.parse().map_err(|_| format!("`{product}` is no product"))?;
    if parsed.is_family() {
        return Err(format!("`{product}` is a family that could not be told apart, no product"));
    }
    let seats = cell("seats");
    let seats = seats.parse().ok().filter(|seats| (1..=SEATS_MAX).contains(seats)).ok_or_else(|| {
        format!("`{seats}` is no number of seats: a whole number from 1 to {SEATS_MAX} was expected")
    })?;
    let sku = cell("sku");
    let sku = sku.parse().map_err(|_| format!("`{sku}` is no SKU"))?;
    let code = cell("code").to_uppercase();
    if !code.is_empty() && !is_code(&code) {
        // A code that is nearly one is a secret all the same: it is not repeated.
        return Err("the code is none: two, four and five times five letters or digits were expected, \
                    with hyphens between"
            .to_owned());
    }
    Ok(Row { product: parsed, sku, seats, code: (!code.is_empty()).then(|| Zeroizing::new(code)) })
}

fn is_code(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == CODE_PARTS.len()
        && parts.iter().zip(CODE_PARTS).all(|(part, length)| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "WF-YEZ5-N2A97-CF68K-NE9QT-28NQ3-UEU5M";

    fn problems(csv: &str) -> Vec<(u64, String)> {
        read_rows(csv.as_bytes()).1.first.into_iter().map(|problem| (problem.line, problem.what)).collect()
    }

    #[test]
    fn a_file_is_read_with_either_separator_and_in_either_case() {
        for csv in [
            format!("product,sku,seats,code\ndsa,DS,25,{CODE}\nwfbs-svc,WF,5,\n"),
            format!(
                "\u{feff}SKU;Seats;Product;Code\r\nDS;25;dsa;{}\r\nWF;5;wfbs-svc;\r\n",
                CODE.to_lowercase()
            ),
        ] {
            let (rows, problems) = read_rows(csv.as_bytes());
            assert!(problems.is_empty(), "{problems:?}");
            let seen: Vec<_> = rows
                .iter()
                .map(|(line, row)| (*line, row.seats, row.code.as_ref().map(|code| code.as_str())))
                .collect();
            assert_eq!(seen, [(2, 25, Some(CODE)), (3, 5, None)]);
        }
    }

    #[test]
    fn each_fault_of_a_file_is_told_with_its_line() {
        let check = |csv: &str, line: u64, words: &str| {
            let found = problems(csv);
            assert!(found.iter().any(|(at, what)| *at == line && what.contains(words)), "{found:?}");
        };
        check("product,sku\ndsa,DS\n", 1, "column `seats` is missing");
        check("product,sku,seats,colour\ndsa,DS,1,red\n", 1, "column `colour` means nothing here");
        check("product,sku,seats,sku\ndsa,DS,1,DS\n", 1, "column `sku` is there twice");
        check("product,sku,seats\ndsa,DS,0\n", 2, "`0` is no number of seats");
        check("product,sku,seats\ndsa,DS,2.5\n", 2, "`2.5` is no number of seats");
        check("product,sku,seats\nfamily/x,DS,2\n", 2, "is a family");
        check("product,sku,seats\ndsa,,2\n", 2, "is no SKU");
        check("product,sku,seats\ndsa,DS\n", 2, "not as many cells");
        check("product,sku,seats,code\ndsa,DS,2,WF-YEZ5\n", 2, "the code is none");
        let many = format!("product,sku,seats\n{}", "dsa,DS,1\n".repeat(LICENCES_MAX + 1));
        check(&many, 0, "more than 400 licences");
        let (_, problems) = read_rows(b"product,sku,seats\nds\xe4,DS,1\n");
        assert_eq!(problems.first[0].what, "the file is not UTF-8");
    }

    #[test]
    fn a_code_that_is_wrong_is_not_repeated() {
        let nearly = &CODE[..CODE.len() - 1];
        let found = problems(&format!("product,sku,seats,code\ndsa,DS,2,{nearly}\n"));
        assert!(!found.is_empty() && found.iter().all(|(_, what)| !what.contains("YEZ5")), "{found:?}");
    }

    #[test]
    fn a_masked_code_keeps_six_letters() {
        assert_eq!(masked(CODE), "WF-…-EU5M");
        assert_eq!(masked("x"), "x-…-x");
    }

    #[test]
    fn a_code_is_told_by_its_salt_and_letters() {
        assert_eq!(code_mac(&[1; 32], CODE), code_mac(&[1; 32], CODE));
        assert_ne!(code_mac(&[1; 32], CODE), code_mac(&[2; 32], CODE));
        assert_ne!(code_mac(&[1; 32], CODE), code_mac(&[1; 32], "other"));
    }
}
