//! Tables of the catalogue file, key by key. Invariant: each key is taken or is an error, and an error names the
//! line, the place (`product \`dsa\`, signals 3`) and what is wrong.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("catalogue line {line}, {place}: {what}")]
pub struct CatalogueError {
    /// Line of the file, from 1.
    pub line: usize,
    /// Which product, family or rule.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

type Result<T> = std::result::Result<T, CatalogueError>;

/// One table that is being read.
pub(super) struct Table<'a> {
    file: &'a str,
    table: &'a DeTable<'a>,
    start: usize,
    place: String,
    taken: RefCell<Vec<&'a str>>,
}

/// Parses the file and hands its top table to `read`.
pub(super) fn read_file<T>(file: &str, read: impl FnOnce(&Table<'_>) -> Result<T>) -> Result<T> {
    let error = |at: usize, what: &str| CatalogueError {
        line: line_of(file, at),
        place: "file".into(),
        what: what.into(),
    };
    let table =
        DeTable::parse(file).map_err(|e| error(e.span().map_or(0, |span| span.start), e.message()))?;
    let top =
        Table { file, table: table.get_ref(), start: 0, place: "file".into(), taken: RefCell::default() };
    let value = read(&top)?;
    top.done()?;
    Ok(value)
}

fn line_of(file: &str, at: usize) -> usize {
    1 + file.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

impl<'a> Table<'a> {
    /// An error at this table.
    pub fn error(&self, what: impl Into<String>) -> CatalogueError {
        self.error_at(self.start, what)
    }

    /// Names the place in what follows (`product \`dsa\``).
    pub fn set_place(&mut self, place: String) {
        self.place = place;
    }

    /// Whether the table has the key; does not take it.
    pub fn has(&self, key: &str) -> bool {
        self.table.keys().any(|name| name.get_ref() == key)
    }

    pub fn text(&self, key: &str) -> Result<Option<String>> {
        let Some((value, at)) = self.take(key) else { return Ok(None) };
        match value.as_str() {
            Some("") => Err(self.error_at(at, format!("`{key}` is empty"))),
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.error_at(at, format!("`{key}` is not a text"))),
        }
    }

    pub fn required_text(&self, key: &str) -> Result<String> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// A text, or a list of one or more.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        let Some((value, at)) = self.take(key) else { return Ok(None) };
        let texts = match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        match texts {
            Some(texts) if !texts.is_empty() && texts.iter().all(|text| !text.is_empty()) => Ok(Some(texts)),
            Some(_) => Err(self.error_at(at, format!("`{key}` is empty, or has an empty text"))),
            None => Err(self.error_at(at, format!("`{key}` is not a text or a list of texts"))),
        }
    }

    pub fn required_texts(&self, key: &str) -> Result<Vec<String>> {
        self.texts(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn number(&self, key: &str) -> Result<Option<i64>> {
        let Some((value, at)) = self.take(key) else { return Ok(None) };
        match value.as_integer().and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok())
        {
            Some(number) => Ok(Some(number)),
            None => Err(self.error_at(at, format!("`{key}` is not a whole number"))),
        }
    }

    /// A switch that is there as `true` or not at all.
    pub fn switch(&self, key: &str) -> Result<bool> {
        match self.take(key) {
            None => Ok(false),
            Some((value, _)) if value.as_bool() == Some(true) => Ok(true),
            Some((_, at)) => Err(self.error_at(at, format!("`{key}` can only be `true`, or left out"))),
        }
    }

    pub fn table(&self, key: &str) -> Result<Option<Table<'a>>> {
        let Some((value, at)) = self.take(key) else { return Ok(None) };
        match value.as_table() {
            Some(table) => Ok(Some(self.inner(table, at, format!("{}, {key}", self.place)))),
            None => Err(self.error_at(at, format!("`{key}` is not a table"))),
        }
    }

    /// A list of tables; none when the key is left out.
    pub fn tables(&self, key: &str) -> Result<Vec<Table<'a>>> {
        let Some((value, at)) = self.take(key) else { return Ok(Vec::new()) };
        let items: Option<Vec<(&'a DeTable<'a>, usize)>> = value.as_array().and_then(|items| {
            items.iter().map(|item| Some((item.get_ref().as_table()?, item.span().start))).collect()
        });
        let Some(items) = items else {
            return Err(self.error_at(at, format!("`{key}` is not a list of tables")));
        };
        let named = |(n, (table, at))| self.inner(table, at, format!("{}, {key} {}", self.place, n + 1));
        Ok(items.into_iter().enumerate().map(named).collect())
    }

    /// Refuses keys that nobody took.
    pub fn done(&self) -> Result<()> {
        let taken = self.taken.borrow();
        match self.table.keys().find(|key| !taken.contains(&key.get_ref().as_ref())) {
            Some(key) => Err(self.error_at(key.span().start, format!("unknown key `{}`", key.get_ref()))),
            None => Ok(()),
        }
    }

    fn missing(&self, key: &str) -> CatalogueError {
        self.error(format!("`{key}` is missing"))
    }

    fn error_at(&self, at: usize, what: impl Into<String>) -> CatalogueError {
        CatalogueError { line: line_of(self.file, at), place: self.place.clone(), what: what.into() }
    }

    fn inner(&self, table: &'a DeTable<'a>, start: usize, place: String) -> Table<'a> {
        Table { file: self.file, table, start, place, taken: RefCell::default() }
    }

    fn take(&self, wanted: &str) -> Option<(&'a DeValue<'a>, usize)> {
        let (key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>) =
            self.table.iter().find(|(key, _)| key.get_ref() == wanted)?;
        self.taken.borrow_mut().push(key.get_ref().as_ref());
        Some((value.get_ref(), key.span().start))
    }
}
