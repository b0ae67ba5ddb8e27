//! A sealed statement as files: the rows as CSV, workbook and JSON, the signed statement as it was sealed, and the
//! digests of them all. Invariant: a function of what was sealed and of what customers are called; the signed statement
//! is byte for byte what was sealed; no price is in the rows; no text is taken for a formula.

use std::sync::Arc;

use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::sealed::digest;
use seatbeat_ledger::statement::{Correction, Line};
use seatbeat_proto::ids::CustomerId;
use serde_json::{Map, Value, json};

use super::projection::{OutFile, OutPart, Outgoing, Projection, ProjectionError, ShownRequest};
use crate::outputs::document::{Cell, Document, Table};
use crate::outputs::sheets;

/// Columns of the rows, as the vendor platform's billing report has them.
pub const COLUMNS: [&str; 10] = [
    "company",
    "report_period",
    "name",
    "sku",
    "units",
    "provisioned",
    "used",
    "over_provisioned_percent",
    "chargeable",
    "comment",
];

/// All of a statement as one part; `shown` says how a file gets there.
///
/// # Errors
/// When there are more rows than a workbook can hold.
pub fn project(
    outgoing: &Outgoing<'_>,
    shown: impl Fn(&str) -> Vec<ShownRequest>,
) -> Result<Projection, ProjectionError> {
    let files = drop_files(outgoing)?;
    let requests = files.iter().flat_map(|file| shown(&file.name)).collect();
    Ok(Projection { parts: vec![OutPart::files(files, requests)] })
}

/// How a file gets to where others see it: written aside, then renamed.
pub fn aside_then_renamed(name: &str, target: String) -> Vec<ShownRequest> {
    let shown = |method: &str, target: String| ShownRequest {
        method: method.to_owned(),
        target,
        body: name.to_owned(),
    };
    vec![shown("write", format!("{target}.part")), shown("rename", target)]
}

/// The files, in the order in which they are handed in: the digests come last, so whoever sees them sees all.
///
/// # Errors
/// When there are more rows than a workbook can hold.
pub fn drop_files(outgoing: &Outgoing<'_>) -> Result<Vec<OutFile>, ProjectionError> {
    let stem = stem(outgoing);
    let table = rows(outgoing);
    let facts = facts(outgoing);
    let json = as_json(&facts, &table);
    let document = Document::new(format!("Statement {}", outgoing.body.statement.period), facts, vec![table]);
    let workbook = sheets::workbook_of(&document, outgoing.sealed_at)
        .map_err(|error| ProjectionError::Other(error.to_string()))?;
    let file = |ending: &str, media_type, bytes: Vec<u8>| OutFile {
        name: format!("{stem}.{ending}"),
        media_type,
        bytes: Arc::from(bytes),
    };
    let xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let mut files = vec![
        file("csv", "text/csv; charset=utf-8", document.tables[0].to_csv()),
        file("xlsx", xlsx, workbook),
        file("json", "application/json", json),
        file("statement.json", "application/json", outgoing.file.to_vec()),
    ];
    let sums = sums(&files);
    files.push(file("sha256", "text/plain; charset=utf-8", sums.into_bytes()));
    Ok(files)
}

/// What the files are called, before their endings.
fn stem(outgoing: &Outgoing<'_>) -> String {
    format!("{}-r{}", outgoing.body.statement.period, outgoing.body.revision)
}

/// As `sha256sum` writes them, and checks them.
fn sums(files: &[OutFile]) -> String {
    let hex = |file: &OutFile| digest(&file.bytes).trim_start_matches("sha256:").to_owned();
    files.iter().map(|file| format!("{}  {}\n", hex(file), file.name)).collect()
}

fn facts(outgoing: &Outgoing<'_>) -> [(&'static str, String); 6] {
    let body = outgoing.body;
    [
        ("period", body.statement.period.to_string()),
        ("zone", body.statement.zone.name().to_owned()),
        ("distributor", body.distributor.clone()),
        ("revision", body.revision.to_string()),
        ("sealed_at", outgoing.sealed_at.to_string()),
        ("statement", digest(outgoing.file)),
    ]
}

fn rows(outgoing: &Outgoing<'_>) -> Table {
    let statement = &outgoing.body.statement;
    let mut table = Table::new("Rows", &COLUMNS);
    table.rows = statement.lines.iter().map(|line| of_line(outgoing, line)).collect();
    table.rows.extend(statement.corrections.iter().map(|one| of_correction(outgoing, one)));
    table
}

/// What is provisioned at the far side a statement does not know, and so not by how much that is too much.
fn of_line(outgoing: &Outgoing<'_>, line: &Line) -> Vec<Cell> {
    vec![
        company(outgoing, &line.customer),
        Cell::text(outgoing.body.statement.period),
        Cell::text(&line.sku),
        Cell::text(&line.sku),
        Cell::number(line.quantity),
        Cell::Empty,
        Cell::number(line.measured),
        Cell::Empty,
        Cell::number(line.quantity),
        Cell::text(comment(line)),
    ]
}

/// How many more, or fewer, an earlier month should have had.
fn of_correction(outgoing: &Outgoing<'_>, one: &Correction) -> Vec<Cell> {
    vec![
        company(outgoing, &one.customer),
        Cell::text(one.for_period),
        Cell::text(&one.sku),
        Cell::text(&one.sku),
        Cell::number(one.delta),
        Cell::Empty,
        Cell::Empty,
        Cell::Empty,
        Cell::number(one.delta),
        Cell::text(correction_comment(outgoing, one)),
    ]
}

fn company(outgoing: &Outgoing<'_>, customer: &CustomerId) -> Cell {
    Cell::text(outgoing.names.get(customer).map_or(customer.as_str(), String::as_str))
}

/// Why what is charged is not what was seen.
pub fn comment(line: &Line) -> String {
    let mut parts = Vec::new();
    let mut say = |quantity: Quantity, what: &str| {
        if !quantity.is_zero() {
            parts.push(format!("{quantity} {what}"));
        }
    };
    say(line.presumed, "of machines that were silent, presumed in use");
    say(line.declared, "declared, which no agent can see");
    say(line.adjusted, "adjusted by hand");
    parts.join("; ")
}

/// What a correction is one of.
pub fn correction_comment(outgoing: &Outgoing<'_>, one: &Correction) -> String {
    format!("correction of {}, stated with {}", one.for_period, outgoing.body.statement.period)
}

/// The rows as data; quantities are decimals as text, as in the signed statement.
fn as_json(facts: &[(&str, String)], table: &Table) -> Vec<u8> {
    let value = |cell: &Cell| match cell {
        Cell::Empty => Value::Null,
        cell => Value::from(cell.shown()),
    };
    let row = |cells: &Vec<Cell>| -> Map<String, Value> {
        COLUMNS.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), value(cell))).collect()
    };
    let mut all: Map<String, Value> =
        facts.iter().map(|(name, fact)| ((*name).to_owned(), json!(fact))).collect();
    all.insert("rows".to_owned(), table.rows.iter().map(row).collect());
    let mut bytes = serde_json::to_vec_pretty(&all).expect("text keys and plain values");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use seatbeat_ledger::cells::unguarded;
    use seatbeat_ledger::sealed::verify;

    use super::super::samples::{Sample, statement};
    use super::*;

    fn text(files: &[OutFile], ending: &str) -> String {
        let file = files.iter().find(|file| file.name.ends_with(ending)).unwrap();
        String::from_utf8(file.bytes.to_vec()).unwrap()
    }

    #[test]
    fn the_rows_have_the_billing_report_s_columns_and_say_only_what_is_known() {
        assert_eq!(
            text(&Sample::default().files(), ".csv"),
            "company,report_period,name,sku,units,provisioned,used,over_provisioned_percent,chargeable,comment\r\n\
             \"'=Acme, \"\"Ltd\"\"\",2026-10,WF-ADV,WF-ADV,3,,3,,3,\r\n\
             \"'=Acme, \"\"Ltd\"\"\",2026-10,WF-SVC,WF-SVC,12,,12,,12,\r\n\
             Müller,2026-10,WF-SVC,WF-SVC,45,,42,,45,\"2 of machines that were silent, presumed in use; 5 declared, \
             which no agent can see; -2 adjusted by hand\"\r\n\
             \"'=Acme, \"\"Ltd\"\"\",2026-09,WF-SVC,WF-SVC,2,,,,2,\"correction of 2026-09, stated with 2026-10\"\r\n"
        );
    }

    #[test]
    fn whoever_has_no_name_there_appears_by_the_id_that_was_sealed() {
        let mut sample = Sample::default();
        sample.names.clear();
        assert!(text(&sample.files(), ".csv").contains("\r\ncus_bolt,2026-10,"));
    }

    #[test]
    fn data_and_rows_say_the_same() {
        let files = Sample::default().files();
        let data: Value = serde_json::from_str(&text(&files, "r1.json")).unwrap();
        let csv = text(&files, ".csv");
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let data_rows = data["rows"].as_array().unwrap();
        assert_eq!((rows.len(), data_rows.len()), (4, 4));
        for (row, data) in rows.iter().zip(data_rows) {
            for (cell, name) in row.iter().zip(COLUMNS) {
                // A number may begin with a minus; only text is guarded.
                assert_eq!(unguarded(cell), data[name].as_str().unwrap_or_default(), "{name}");
            }
        }
        assert_eq!(data["statement"], digest(&Sample::default().file));
    }

    #[test]
    fn the_signed_statement_goes_as_it_was_sealed_and_no_price_goes_beside_it() {
        let sample = Sample::default();
        let files = sample.files();
        assert_eq!(text(&files, ".statement.json").as_bytes(), sample.file);
        verify(text(&files, ".statement.json").as_bytes(), None).unwrap();
        for ending in [".csv", "r1.json"] {
            let text = text(&files, ending);
            assert!(
                ["2.10", "25.20", "4.20", "EUR", "cost"].iter().all(|price| !text.contains(price)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_digests_are_sha256sum_s_over_all_the_files_and_come_last() {
        let files = Sample::default().files();
        let (sums, others) = files.split_last().unwrap();
        assert_eq!(sums.name, "2026-10-r1.sha256");
        let lines: Vec<String> = others
            .iter()
            .map(|file| format!("{}  {}", digest(&file.bytes).replace("sha256:", ""), file.name))
            .collect();
        assert_eq!(String::from_utf8(sums.bytes.to_vec()).unwrap(), format!("{}\n", lines.join("\n")));
        assert_eq!(files, Sample::default().files(), "the same statement gives the same bytes");
    }

    #[test]
    fn a_correction_down_is_a_row_with_a_minus() {
        let mut body = statement();
        body["corrections"][0]["delta"] = json!("-2");
        assert!(text(&Sample::of(body).files(), ".csv").contains(",2026-09,WF-SVC,WF-SVC,-2,,,,-2,"));
    }
}
