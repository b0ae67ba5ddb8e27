//! Price list files: CSV bytes into rows by column, every fault told with its file and line. Invariant: nothing is
//! guessed: text is UTF-8, a column is known, a decimal comma is taken only where it was said that there are some.

use std::collections::BTreeMap;

use csv::{ReaderBuilder, StringRecord, Trim};
use serde::{Deserialize, Serialize};

use crate::cells;

/// Faults that are told one by one: more than anyone reads at once. The others are counted.
pub const PROBLEMS_MAX: usize = 100;

/// Rows of one file: 400 SKUs at a price of their own for 1,000 customers are 400,000.
pub const ROWS_MAX: usize = 1_000_000;

/// Bytes of all files of an import: a million rows of 64 bytes.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

/// One file of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it is called.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// How files are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether numbers have a decimal comma; a point is refused then.
    pub decimal_comma: bool,
    /// Whether columns that mean nothing here are passed over.
    pub ignores_columns: bool,
}

impl Reading {
    /// A number with a decimal point, of a cell that has it as it was said; `what` it is.
    ///
    /// # Errors
    /// What is wrong with it, and what helps.
    pub fn spelt(self, what: &str, text: &str) -> Result<String, (String, Option<&'static str>)> {
        match (self.decimal_comma, text.contains('.'), text.contains(',')) {
            (true, true, _) => {
                Err((format!("{what} `{text}` has a point, but numbers have decimal commas"), None))
            }
            (false, _, true) => Err((
                format!("{what} `{text}` has a comma: for decimals or for thousands?"),
                Some("where all numbers have decimal commas, say --decimal-comma"),
            )),
            (true, false, _) => Ok(text.replace(',', ".")),
            (false, _, false) => Ok(text.to_owned()),
        }
    }
}

/// Something in a file that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which file.
    pub file: String,
    /// Which line, from 1; 0: the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub what: String,
    /// What helps, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The faults of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Problem>,
}

impl Problems {
    /// Notes one.
    pub fn note(&mut self, file: &str, line: u64, what: impl Into<String>) {
        self.note_with(file, line, what, None);
    }

    /// Notes one that something helps against.
    pub fn note_with(&mut self, file: &str, line: u64, what: impl Into<String>, hint: Option<&str>) {
        self.count += 1;
        if self.first.len() < PROBLEMS_MAX {
            let (what, hint) = (what.into(), hint.map(str::to_owned));
            self.first.push(Problem { file: file.to_owned(), line, what, hint });
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What a file is, told by its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row a SKU.
    Skus,
    /// A row a tier of a price group.
    Tiers,
    /// A row a sell price.
    Sell,
}

impl Kind {
    /// Its columns; those that have to be there first, and how many those are.
    pub const fn columns(self) -> (&'static [&'static str], usize) {
        match self {
            Self::Skus => (
                &[
                    "sku",
                    "distributor",
                    "currency",
                    "price_group",
                    "cost",
                    "name",
                    "unit",
                    "count",
                    "min_days",
                    "free_first_month",
                    "mode",
                    "price",
                ],
                3,
            ),
            Self::Tiers => (&["price_group", "from", "cost", "mode"], 3),
            Self::Sell => (&["sku", "price", "customer", "currency"], 2),
        }
    }

    fn of(columns: &BTreeMap<String, usize>) -> Option<Self> {
        let has = |name| columns.contains_key(name);
        match (has("sku"), has("from"), has("distributor")) {
            (false, true, _) => Some(Self::Tiers),
            (true, false, true) => Some(Self::Skus),
            (true, false, false) if has("customer") || (has("price") && !has("cost")) => Some(Self::Sell),
            (true, false, false) => Some(Self::Skus),
            _ => None,
        }
    }
}

/// A file's rows.
#[derive(Debug)]
pub struct Table {
    /// Which file.
    pub file: String,
    /// What it is.
    pub kind: Kind,
    columns: BTreeMap<String, usize>,
    /// Each with the line it begins in.
    pub rows: Vec<(u64, StringRecord)>,
}

impl Table {
    /// The cell of a row in a column; empty where there is none. Text is as it was before it was made safe for
    /// spreadsheets.
    pub fn cell<'a>(&self, row: &'a StringRecord, column: &str) -> &'a str {
        let cell = self.columns.get(column).and_then(|index| row.get(*index)).unwrap_or_default();
        cells::unguarded(cell)
    }
}

/// Reads a file; what is wrong with it is noted.
pub fn table(file: &File, reading: Reading, problems: &mut Problems) -> Option<Table> {
    let Sheet { head: (line, head), rows } = sheet(file, problems)?;
    let table = headed(file, line, &head, reading, problems)?;
    Some(Table { rows, ..table })
}

/// A file's first row, and those below it, each with the line it begins in.
#[derive(Debug)]
pub struct Sheet {
    /// What the columns are called.
    pub head: (u64, StringRecord),
    /// All below it; one at least.
    pub rows: Vec<(u64, StringRecord)>,
}

/// Reads the cells of a file, whatever its columns mean; what is wrong with it is noted. Rows without a word in them
/// are passed over, those of another width than the first are noted.
pub fn sheet(file: &File, problems: &mut Problems) -> Option<Sheet> {
    let text = match text(&file.bytes) {
        Ok(text) => text,
        Err((what, hint)) => {
            problems.note_with(&file.name, 0, what, Some(hint));
            return None;
        }
    };
    let head = text.lines().find(|line| !line.trim().is_empty());
    let Some(head) = head else {
        problems.note(&file.name, 0, "it is empty");
        return None;
    };
    let delimiter = match delimiter(head) {
        Ok(delimiter) => delimiter,
        Err(what) => {
            problems.note_with(&file.name, 1, what, Some("save it as CSV with commas or semicolons"));
            return None;
        }
    };
    rows(file, text, delimiter, problems)
}

/// Counts lines as an editor does: the CSV reader's own count is one short behind a `\r\n`.
#[derive(Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    /// At the beginning of a text.
    pub fn of_text(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of the first byte from an offset on that is no line break; offsets rise.
    pub fn of(&mut self, offset: u64) -> u64 {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.text.len());
        let breaks = self.text[offset..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let end = offset + breaks;
        self.line += self.text[self.at..end].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = end;
        self.line
    }
}

fn rows(file: &File, text: &str, delimiter: u8, problems: &mut Problems) -> Option<Sheet> {
    let reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let mut lines = Lines::of_text(text.as_bytes());
    let mut sheet: Option<Sheet> = None;
    for record in reader.into_records() {
        let row = match record {
            Ok(row) => row,
            Err(error) => {
                problems.note(&file.name, 0, format!("it cannot be read as CSV: {error}"));
                return None;
            }
        };
        if row.iter().all(str::is_empty) {
            continue;
        }
        let line = lines.of(row.position().map_or(0, csv::Position::byte));
        let Some(sheet) = &mut sheet else {
            sheet = Some(Sheet { head: (line, row), rows: Vec::new() });
            continue;
        };
        let (cells, width) = (row.len(), sheet.head.1.len());
        if cells != width {
            problems.note(&file.name, line, format!("it has {cells} cells, the first line has {width}"));
        } else if sheet.rows.len() == ROWS_MAX {
            problems.note(
                &file.name,
                line,
                format!("it is more than the {ROWS_MAX} rows that a file can have"),
            );
            return None;
        } else {
            sheet.rows.push((line, row));
        }
    }
    let Some(sheet) = sheet else {
        problems.note(&file.name, 0, "it is empty");
        return None;
    };
    if sheet.rows.is_empty() {
        problems.note(&file.name, 0, "it has no row below its first line");
        return None;
    }
    Some(sheet)
}

/// A table without rows yet, of the columns in the first line.
fn headed(
    file: &File,
    line: u64,
    row: &StringRecord,
    reading: Reading,
    problems: &mut Problems,
) -> Option<Table> {
    let mut columns = BTreeMap::new();
    for (index, name) in row.iter().enumerate() {
        let name = column_name(name);
        if !name.is_empty() && columns.insert(name.clone(), index).is_some() {
            problems.note(&file.name, line, format!("column `{name}` is there twice"));
            return None;
        }
    }
    let Some(kind) = Kind::of(&columns) else {
        problems.note_with(
            &file.name,
            line,
            format!("its columns are those of no price list: {}", named(columns.keys())),
            Some("SKUs have sku, distributor, currency; tiers have price_group, from, cost; sell prices have sku, price"),
        );
        return None;
    };
    let (known, needed) = kind.columns();
    let missing: Vec<&&str> = known[..needed].iter().filter(|name| !columns.contains_key(**name)).collect();
    if !missing.is_empty() {
        problems.note(&file.name, line, format!("it has no column {}", named(missing)));
        return None;
    }
    let foreign: Vec<&String> = columns.keys().filter(|name| !known.contains(&name.as_str())).collect();
    if !foreign.is_empty() && !reading.ignores_columns {
        problems.note_with(
            &file.name,
            line,
            format!("nothing is known of column {}", named(foreign)),
            Some("take it out, or pass it over with --ignore-columns"),
        );
        return None;
    }
    Some(Table { file: file.name.clone(), kind, columns, rows: Vec::new() })
}

fn column_name(text: &str) -> String {
    let name = text.trim().to_lowercase().replace([' ', '-'], "_");
    match name.as_str() {
        "count_rule" => "count".to_owned(),
        _ => name,
    }
}

fn named(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

type Told = (String, &'static str);

/// The text of a file, without a byte order mark.
fn text(bytes: &[u8]) -> Result<&str, Told> {
    const SAVE: &str = "save it as CSV in UTF-8 (in a spreadsheet: `CSV UTF-8`)";
    let utf16 = |spelt: &str| Err((format!("it is UTF-16 ({spelt}), not UTF-8"), SAVE));
    match bytes {
        [0xff, 0xfe, ..] => return utf16("little-endian"),
        [0xfe, 0xff, ..] => return utf16("big-endian"),
        [b'P', b'K', 3, 4, ..] => return Err(("it is a workbook or an archive, not CSV".to_owned(), SAVE)),
        _ => {}
    }
    let zeros = |odd: usize| bytes.iter().take(64).skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    match (zeros(0), zeros(1)) {
        (0, 1..) => return utf16("little-endian, without a mark"),
        (1.., 0) => return utf16("big-endian, without a mark"),
        _ => {}
    }
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).map_err(|error| {
        let at = error.valid_up_to();
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("it is not UTF-8: a byte in line {line} is of another encoding, such as Latin-1 or Windows-1252"), SAVE)
    })?;
    if text.contains('\0') {
        return Err(("it has zero bytes: it is no text".to_owned(), SAVE));
    }
    Ok(text)
}

/// Comma or semicolon, whichever the first line has outside quotes.
fn delimiter(head: &str) -> Result<u8, String> {
    let (mut commas, mut semicolons, mut tabs, mut quoted) = (0, 0, 0, false);
    for letter in head.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => commas += 1,
            ';' if !quoted => semicolons += 1,
            '\t' if !quoted => tabs += 1,
            _ => {}
        }
    }
    match (commas, semicolons, tabs) {
        (0, 0, 1..) => Err("its cells are parted by tabs".to_owned()),
        (1.., 1.., _) => {
            Err("its first line has commas and semicolons: either may part the cells".to_owned())
        }
        (_, 0, _) => Ok(b','),
        _ => Ok(b';'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], reading: Reading) -> Result<Table, String> {
        let mut problems = Problems::default();
        let file = File { name: "f.csv".to_owned(), bytes: bytes.to_vec() };
        let table = table(&file, reading, &mut problems);
        let told = |problem: &Problem| {
            format!(
                "{}:{} {} ({})",
                problem.file,
                problem.line,
                problem.what,
                problem.hint.as_deref().unwrap_or("-")
            )
        };
        match table {
            Some(table) if problems.is_empty() => Ok(table),
            _ => Err(problems.first.iter().map(told).collect::<Vec<_>>().join("\n")),
        }
    }

    fn refused(bytes: &[u8], words: &str) {
        let told = read(bytes, Reading::default()).unwrap_err();
        assert!(told.contains(words), "{words:?} in {told}");
    }

    #[test]
    fn commas_semicolons_marks_and_spelt_heads_are_read_alike() {
        for text in [
            "sku,distributor,currency,Count Rule\nA,ingram,EUR,distinct\n",
            "\u{feff}SKU;Distributor;Currency;count-rule\r\n A ;\"ingram\";EUR;distinct\r\n;;;\r\n",
        ] {
            let table = read(text.as_bytes(), Reading::default()).unwrap();
            assert_eq!((table.kind, table.rows.len()), (Kind::Skus, 1));
            let (line, row) = &table.rows[0];
            let cells = ["sku", "distributor", "currency", "count"].map(|column| table.cell(row, column));
            assert_eq!((*line, cells), (2, ["A", "ingram", "EUR", "distinct"]));
        }
    }

    #[test]
    fn a_file_is_told_by_its_columns() {
        let kind = |head: &str| {
            read(format!("{head}\nx,x,x\n").as_bytes(), Reading::default()).map(|table| table.kind)
        };
        assert_eq!(kind("price_group,from,cost"), Ok(Kind::Tiers));
        assert_eq!(kind("sku,customer,price"), Ok(Kind::Sell));
        assert_eq!(kind("sku,distributor,currency"), Ok(Kind::Skus));
        assert!(kind("sku,cost,name").unwrap_err().contains("no column `distributor`, `currency`"));
        assert!(kind("a,b,c").unwrap_err().contains("those of no price list"));
    }

    #[test]
    fn other_encodings_are_named_with_what_to_do() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let mut marked = vec![0xff, 0xfe];
        marked.extend(utf16("sku,price\n"));
        refused(&marked, "it is UTF-16 (little-endian), not UTF-8 (save it as CSV in UTF-8");
        refused(&utf16("sku,price\nA,1\n"), "UTF-16 (little-endian, without a mark)");
        refused(b"sku,price\nA,1\nM\xfcller,2\n", "a byte in line 3 is of another encoding, such as Latin-1");
        refused(b"PK\x03\x04rest", "a workbook or an archive");
        refused(b"sku,price\nA\0\0,1\n", "zero bytes");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        refused(b"", "it is empty");
        refused(b"\n\n \n", "it is empty");
        refused(b",\n,,\n", "it is empty");
        refused(b"sku,price\n", "no row below its first line");
        refused(b"sku\tprice\nA\t1\n", "parted by tabs");
        refused(b"sku,price;x\nA,1;\n", "either may part the cells");
        refused(b"sku,price,sku\nA,1,B\n", "f.csv:1 column `sku` is there twice");
        refused(b"sku,price\nA,1\nB\nC,1,2\n", "f.csv:3 it has 1 cells, the first line has 2");
        refused(b"sku,price,colour\nA,1,red\n", "nothing is known of column `colour`");
        let table =
            read(b"sku,price,colour\nA,1,red\n", Reading { ignores_columns: true, ..Reading::default() });
        assert_eq!(table.unwrap().rows.len(), 1);
    }

    #[test]
    fn lines_are_counted_as_an_editor_does_and_the_first_faults_are_told() {
        let mut text = "sku,price\n\"A\n\nB\",1\n".to_owned();
        text.extend(std::iter::repeat_n("short\n", PROBLEMS_MAX + 20));
        let mut problems = Problems::default();
        let file = File { name: "f.csv".to_owned(), bytes: text.into_bytes() };
        table(&file, Reading::default(), &mut problems);
        assert_eq!((problems.count, problems.first.len()), (PROBLEMS_MAX as u64 + 20, PROBLEMS_MAX));
        assert_eq!(problems.first[0].line, 5);
    }
}
