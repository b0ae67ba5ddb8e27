//! Mapping files: CSV bytes into rows by a connector's columns, and rows as such a file. Invariant: pure; every fault is
//! told with its line; what is written here reads back as the same rows.

use std::collections::{BTreeMap, BTreeSet};

use csv::{ReaderBuilder, StringRecord, Trim, WriterBuilder};
use seatbeat_ledger::cells::{guarded, unguarded};
use seatbeat_ledger::mapping::{Fields, Mapping, is_field};
use seatbeat_ledger::prices::read::{Lines, Problems};
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::CustomerId;

use super::destination::Column;

/// What the file is called in what is said of it.
const FILE: &str = "the file";

/// Rows of a file: a thousand customers with a hundred SKUs each.
pub const ROWS_MAX: usize = 100_000;

/// Columns that every mapping has.
const KEY: [&str; 2] = ["customer", "sku"];

/// A column for whoever reads the file: nothing of it is kept.
const NOTE: &str = "note";

/// A row of a file; one without fields takes the mapping back.
pub type Row = (CustomerId, Sku, Fields);

/// The rows of a file, or what is wrong with it. `is_known` says whether somebody, or some SKU, is there at all.
///
/// # Errors
/// All that is wrong, by line.
pub fn read(
    csv: &[u8],
    known: &[Column],
    is_known: impl Fn(&CustomerId, &Sku) -> Result<(), String>,
) -> Result<Vec<Row>, Problems> {
    let mut problems = Problems::default();
    if std::str::from_utf8(csv).is_err() {
        problems.note_with(FILE, 0, "the file is not UTF-8", Some("save it as CSV in UTF-8"));
        return Err(problems);
    }
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv);
    let head = csv.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = if head.contains(&b';') { b';' } else { b',' };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).trim(Trim::All).from_reader(csv);
    let Some(columns) = columns(&mut reader, known, &mut problems) else { return Err(problems) };
    let mut lines = Lines::of_text(csv);
    let (mut rows, mut seen) = (Vec::new(), BTreeSet::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = lines.of(error.position().map_or(0, csv::Position::byte));
                problems.note(FILE, line, "it has not as many cells as the first line");
                continue;
            }
        };
        let line = lines.of(record.position().map_or(0, csv::Position::byte));
        match row(&record, &columns, known).and_then(|row| is_known(&row.0, &row.1).map(|()| row)) {
            Ok(row) if !seen.insert((row.0.clone(), row.1.clone())) => {
                problems.note(FILE, line, format!("customer `{}`, SKU `{}` is there twice", row.0, row.1));
            }
            Ok(row) => rows.push(row),
            Err(what) => problems.note(FILE, line, what),
        }
    }
    if rows.len() > ROWS_MAX {
        let words = format!("there are more than {ROWS_MAX} rows in it");
        problems.note_with(FILE, 0, words, Some("cut it into several files: rows that are not named stay"));
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

fn columns(
    reader: &mut csv::Reader<&[u8]>,
    known: &[Column],
    problems: &mut Problems,
) -> Option<BTreeMap<String, usize>> {
    let head = reader.headers().ok()?.clone();
    let names: Vec<&str> = KEY.into_iter().chain(known.iter().map(|column| column.name)).collect();
    let mut columns = BTreeMap::new();
    for (index, name) in head.iter().map(str::to_lowercase).enumerate() {
        if name == NOTE {
            continue;
        }
        if !names.contains(&name.as_str()) {
            let hint = format!("the columns of this destination are {}", names.join(", "));
            problems.note_with(FILE, 1, format!("column `{name}` means nothing here"), Some(&hint));
        } else if columns.insert(name.clone(), index).is_some() {
            problems.note(FILE, 1, format!("column `{name}` is there twice"));
        }
    }
    let needed = known.iter().filter(|column| column.is_needed).map(|column| column.name);
    for name in KEY.into_iter().chain(needed) {
        if !columns.contains_key(name) {
            problems.note(FILE, 1, format!("column `{name}` is missing"));
        }
    }
    problems.is_empty().then_some(columns)
}

fn row(record: &StringRecord, columns: &BTreeMap<String, usize>, known: &[Column]) -> Result<Row, String> {
    let cell = |name: &str| {
        let cell = columns.get(name).and_then(|index| record.get(*index)).unwrap_or_default();
        unguarded(cell)
    };
    let (customer, sku) = (cell("customer"), cell("sku"));
    let customer = customer.parse().map_err(|_| format!("`{customer}` is no customer id (cus_…)"))?;
    let sku = sku.parse().map_err(|_| format!("`{sku}` is no SKU"))?;
    let mut fields = Fields::new();
    for column in known {
        let value = cell(column.name);
        if value.is_empty() {
            continue;
        }
        if !is_field(column.name, value) {
            return Err(format!("`{}` is too long, or not printable", column.name));
        }
        fields.insert(column.name.to_owned(), value.to_owned());
    }
    let missing = known.iter().find(|column| column.is_needed && !fields.contains_key(column.name));
    match missing {
        Some(column) if !fields.is_empty() => Err(format!("`{}` is empty", column.name)),
        _ => Ok((customer, sku, fields)),
    }
}

/// Rows as a file.
pub fn write(mapping: &Mapping, known: &[Column]) -> Vec<u8> {
    let rows =
        mapping.iter().map(|((customer, sku), fields)| (customer.clone(), sku.clone(), fields.clone()));
    write_rows(rows, known, &[])
}

/// As [`write`], with notes behind each row that nobody has to read in again.
pub fn write_rows(rows: impl Iterator<Item = Row>, known: &[Column], notes: &[String]) -> Vec<u8> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    let head = KEY.into_iter().chain(known.iter().map(|column| column.name));
    let head: Vec<&str> = head.chain((!notes.is_empty()).then_some(NOTE)).collect();
    let mut written = writer.write_record(&head);
    for (index, (customer, sku, fields)) in rows.enumerate() {
        let of = |column: &Column| fields.get(column.name).map_or("", String::as_str);
        let note = (!notes.is_empty()).then(|| notes.get(index).map_or("", String::as_str));
        let cells = [customer.as_str(), sku.as_str()].into_iter().chain(known.iter().map(of)).chain(note);
        let cells: Vec<_> = cells.map(guarded).collect();
        written = written.and_then(|()| writer.write_record(cells.iter().map(|cell| cell.as_bytes())));
    }
    written.expect("a vector takes every row");
    writer.into_inner().expect("a vector takes every row")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] =
        [Column { name: "subscription", is_needed: true }, Column { name: "plan", is_needed: false }];

    fn read_all(csv: &str) -> Result<Vec<Row>, Problems> {
        read(csv.as_bytes(), &COLUMNS, |customer, _| match customer.as_str() {
            "cus_gone" => Err("customer `cus_gone` is not known here".to_owned()),
            _ => Ok(()),
        })
    }

    #[test]
    fn what_is_written_reads_back() {
        let rows = read_all("customer,sku,subscription,plan\ncus_a,A,1,\ncus_a,\"B,C\",2,p\n").unwrap();
        let mapping: Mapping =
            rows.iter().cloned().map(|(customer, sku, fields)| ((customer, sku), fields)).collect();
        let text = String::from_utf8(write(&mapping, &COLUMNS)).unwrap();
        assert_eq!(read_all(&text).unwrap(), rows);
        assert_eq!(read_all("sku;customer;subscription\r\nA;cus_a;1\r\n").unwrap(), rows[..1]);
    }

    #[test]
    fn a_row_with_nothing_in_it_takes_the_mapping_back() {
        let rows = read_all("customer,sku,subscription\ncus_a,A,\n").unwrap();
        assert!(rows[0].2.is_empty());
    }

    #[test]
    fn each_fault_is_told_with_its_line() {
        let faults = read_all(
            "customer,sku,subscription,plan\nacme,A,1,\ncus_a,A,1,\ncus_a,A,2,\ncus_a,B,,p\ncus_gone,A,1,\ncus_a,C\n",
        )
        .unwrap_err();
        let told: Vec<(u64, &str)> =
            faults.first.iter().map(|fault| (fault.line, fault.what.as_str())).collect();
        assert_eq!(
            told,
            [
                (2, "`acme` is no customer id (cus_…)"),
                (4, "customer `cus_a`, SKU `A` is there twice"),
                (5, "`subscription` is empty"),
                (6, "customer `cus_gone` is not known here"),
                (7, "it has not as many cells as the first line"),
            ]
        );
        for (head, words) in [
            ("customer,sku", "`subscription` is missing"),
            ("customer,sku,subscription,x", "`x` means nothing"),
        ] {
            let faults = read_all(&format!("{head}\n")).unwrap_err();
            assert!(faults.first[0].what.contains(words), "{faults:?}");
        }
    }
}
