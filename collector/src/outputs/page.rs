//! A document as a page to print. Invariant: one file that asks for nothing else and runs nothing; every text in it is
//! escaped.

use std::fmt::Write as _;

use super::document::{Cell, Document, Table};

/// Forbids whatever the page has not got anyway.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";

const STYLE: &str = "body{font:10pt/1.4 system-ui,sans-serif;color:#111;margin:2rem auto;max-width:84rem;padding:0 1rem}\
h1{font-size:1.5rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:1.5rem 0 .3rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem;margin:0}dt{color:#555}dd{margin:0}\
div{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{padding:.15rem .5rem;text-align:left;border-bottom:1px solid #ccc;vertical-align:top;overflow-wrap:break-word}\
th{border-bottom:2px solid #333;vertical-align:bottom}.n,.s{white-space:nowrap}\
.n{text-align:right;font-variant-numeric:tabular-nums}th.n,th.s{white-space:normal}.l{overflow-wrap:anywhere}\
@page{margin:12mm}@media print{body{margin:0;max-width:none;padding:0;font-size:8pt}thead{display:table-header-group}\
tr{break-inside:avoid}h2{break-after:avoid}div{overflow:visible}}";

/// More columns than this are printed across.
const UPRIGHT_COLUMNS_MAX: usize = 9;

/// A column whose longest text has so many letters at most is not broken into lines: ids, days, SKUs.
const SHORT_LETTERS_MAX: usize = 24;

/// A word of more letters is broken wherever its line ends.
const WORD_LETTERS_MAX: usize = 80;

/// The page.
pub fn page(document: &Document) -> Vec<u8> {
    let title = escaped(&document.title);
    let columns = document.tables.iter().map(|table| table.columns.len()).max();
    let across = if columns > Some(UPRIGHT_COLUMNS_MAX) { "@page{size:landscape}" } else { "" };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}{across}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>\n"
    );
    for (name, fact) in &document.facts {
        add(&mut page, format_args!("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(fact)));
    }
    page.push_str("</dl>\n");
    for table in &document.tables {
        add_table(&mut page, table);
    }
    page.push_str("</body>\n</html>\n");
    page.into_bytes()
}

fn add_table(page: &mut String, table: &Table) {
    add(page, format_args!("<h2>{}</h2>\n", escaped(&table.name)));
    if table.rows.is_empty() {
        page.push_str("<p>none</p>\n");
        return;
    }
    let columns: Vec<(usize, &'static str)> = (0..table.columns.len())
        .filter_map(|index| Some((index, class_of(table.rows.iter().filter_map(|row| row.get(index)))?)))
        .collect();
    page.push_str("<div><table>\n<thead><tr>");
    for (index, class) in &columns {
        let name = escaped(&table.columns[*index].replace('_', " "));
        add(page, format_args!("<th scope=\"col\"{class}>{name}</th>"));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for (index, class) in &columns {
            let shown = row.get(*index).map_or("", Cell::shown);
            add(page, format_args!("<td{class}>{}</td>", escaped(shown)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// How a column is set; none: there is nothing in it, and it is left out.
fn class_of<'a>(cells: impl Iterator<Item = &'a Cell> + Clone) -> Option<&'static str> {
    let longest =
        cells.clone().map(|cell| cell.shown().chars().count()).max().filter(|longest| *longest > 0)?;
    Some(if cells.clone().any(|cell| matches!(cell, Cell::Number(_))) {
        " class=\"n\""
    } else if longest <= SHORT_LETTERS_MAX {
        " class=\"s\""
    } else if cells.clone().any(|cell| cell.shown().split_whitespace().any(is_long)) {
        " class=\"l\""
    } else {
        ""
    })
}

/// Whether a word is wider than a sheet of paper bears: a token, a signature.
fn is_long(word: &str) -> bool {
    word.chars().count() > WORD_LETTERS_MAX
}

fn add(page: &mut String, words: std::fmt::Arguments<'_>) {
    page.write_fmt(words).expect("text grows");
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter if letter.is_control() && letter != '\n' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_tag_and_nothing_is_asked_for() {
        let hostile = "</td><script>alert(1)</script><img src=x onerror='y'>&\u{1b}";
        let mut table = Table::new("Lines", &["<b>"]);
        table.rows = vec![vec![Cell::text(hostile)], vec![Cell::number("1.50")]];
        let document = Document::new(
            hostile.to_owned(),
            [("who", hostile.to_owned())],
            vec![table, Table::new("None", &["x"])],
        );
        let page = String::from_utf8(page(&document)).unwrap();
        for tag in ["<script", "<img", "<link", "http://", "https://", "url(", "<b>", "\u{1b}"] {
            assert!(!page.contains(tag), "{tag} in\n{page}");
        }
        assert!(page.contains("&lt;/td&gt;&lt;script&gt;") && page.contains("<td class=\"n\">1.50</td>"));
        assert!(page.contains("<h2>None</h2>\n<p>none</p>"));
    }

    #[test]
    fn a_word_that_no_line_holds_is_broken_and_no_other_is() {
        let mut table = Table::new("Lines", &["line", "why"]);
        let word = "x".repeat(WORD_LETTERS_MAX + 1);
        table.rows =
            vec![vec![Cell::text(format!("enrol {word}")), Cell::text("said in some more words than few")]];
        let page = String::from_utf8(page(&Document::new("x".to_owned(), [], vec![table]))).unwrap();
        assert!(page.contains("<td class=\"l\">enrol x") && page.contains("<td>said"), "{page}");
    }

    #[test]
    fn a_column_with_nothing_in_it_is_not_printed() {
        let mut table = Table::new("Lines", &["sku", "customer_name", "unit_cost"]);
        let row = |sku: &str| vec![Cell::text(sku), Cell::text(""), Cell::number("1.80")];
        table.rows = vec![row("A"), row("B")];
        let page = String::from_utf8(page(&Document::new("x".to_owned(), [], vec![table]))).unwrap();
        assert!(page.contains("<td class=\"s\">B</td><td class=\"n\">1.80</td>"), "{page}");
        assert!(!page.contains("customer name") && page.contains(">unit cost</th>"), "{page}");
    }
}
