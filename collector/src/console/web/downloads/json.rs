//! Rows as JSON. Invariant: pure; an array of objects, one a row, each with all columns in their order; a quantity is a
//! number as it was computed, an amount of money a text that no program rounds.

use crate::console::downloads::{Column, Kind};
use crate::outputs::document::Cell;

/// What of an answer has gone out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// The head alone: a page may be empty where there is more to look at.
    Head,
    /// Rows as well.
    Rows,
}

/// Rows of an array behind the first `sent` of it: with its beginning in the first piece, and its end in the last.
pub fn json_rows(columns: &[Column], rows: &[Vec<Cell>], sent: Sent, is_last: bool) -> Vec<u8> {
    let mut json = Vec::new();
    if sent == Sent::Nothing {
        json.push(b'[');
    }
    for (index, row) in rows.iter().enumerate() {
        json.extend_from_slice(if sent != Sent::Rows && index == 0 { b"\n{" } else { b",\n{" });
        for (place, (column, cell)) in columns.iter().zip(row).enumerate() {
            if place > 0 {
                json.push(b',');
            }
            text(column.name, &mut json);
            json.push(b':');
            value(column.kind, cell, &mut json);
        }
        json.push(b'}');
    }
    if is_last {
        json.extend_from_slice(b"\n]\n");
    }
    json
}

fn value(kind: Kind, cell: &Cell, json: &mut Vec<u8>) {
    match (kind, cell) {
        (_, Cell::Empty) => json.extend_from_slice(b"null"),
        // Decimals are written as JSON writes numbers; what is a flag is `true` or `false`.
        (Kind::Number | Kind::Flag, Cell::Number(plain) | Cell::Text(plain)) => {
            json.extend_from_slice(plain.as_bytes());
        }
        (_, Cell::Number(shown) | Cell::Text(shown)) => text(shown, json),
    }
}

fn text(text: &str, json: &mut Vec<u8>) {
    serde_json::to_writer(json, text).expect("memory can be written");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { name: "name", kind: Kind::Text, may_be_empty: true, about: "" },
        Column { name: "seats", kind: Kind::Number, may_be_empty: false, about: "" },
        Column { name: "cost", kind: Kind::Money, may_be_empty: true, about: "" },
        Column { name: "banned", kind: Kind::Flag, may_be_empty: false, about: "" },
    ];

    #[test]
    fn pieces_make_one_array_with_a_value_of_its_kind_in_each_column() {
        let row = |name: &str| {
            vec![
                Cell::text(name),
                Cell::number("-2.50"),
                Cell::number("12345678901234567.89"),
                Cell::text(false),
            ]
        };
        let markup = "</script>\"\n=1+1";
        let pieces = [
            json_rows(&COLUMNS, &[], Sent::Nothing, false),
            json_rows(&COLUMNS, &[row(markup)], Sent::Head, false),
            json_rows(&COLUMNS, &[row("")], Sent::Rows, false),
            json_rows(&COLUMNS, &[], Sent::Rows, true),
        ];
        let read: Value = serde_json::from_slice(&pieces.concat()).unwrap();
        let expected = |name: Value| json!({ "name": name, "seats": -2.5, "cost": "12345678901234567.89", "banned": false });
        assert_eq!(read, json!([expected(json!(markup)), expected(Value::Null)]));
    }

    #[test]
    fn no_row_is_an_empty_array() {
        let read: Value = serde_json::from_slice(&json_rows(&COLUMNS, &[], Sent::Nothing, true)).unwrap();
        assert_eq!(read, json!([]));
    }
}
