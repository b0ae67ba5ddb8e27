//! Invoice lines in the columns of another program's import. Invariant: a mapping is data; a column is a field or a
//! fixed text, nothing else, and a mapping with anything that is not known is refused.

use jiff::civil::Date;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::invoice::InvoiceLine;
use serde::Deserialize;

use super::document::{Cell, Table};

/// Longest mapping in bytes: a hundred columns are a tenth of it.
pub const LENGTH_MAX: usize = 64 * 1024;

/// Furthest due date in days.
const DUE_DAYS_MAX: u32 = 366;

/// The mappings that come along, by name.
pub const SHIPPED: [(&str, &str); 4] = [
    ("plain", include_str!("mappings/plain.toml")),
    ("connectwise", include_str!("mappings/connectwise.toml")),
    ("autotask", include_str!("mappings/autotask.toml")),
    ("xero", include_str!("mappings/xero.toml")),
];

/// A mapping that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// Not the text of one.
    #[error("the mapping does not parse: {0}")]
    Parse(String),
    /// Not what a column can be.
    #[error("the mapping's column `{column}` {what}")]
    Column {
        /// Which column.
        column: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A value of the whole.
    #[error("the mapping's {0}")]
    Value(&'static str),
}

/// How invoice lines become the rows of an import.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// How dates are written (`strftime`).
    #[serde(default = "iso")]
    dates: String,
    /// Days between the invoice's date, the last of its month, and the day it is due.
    #[serde(default)]
    due_days: u32,
    /// The columns, in order.
    column: Vec<Column>,
}

fn iso() -> String {
    "%Y-%m-%d".to_owned()
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    #[serde(default)]
    field: Option<Field>,
    #[serde(default)]
    text: Option<String>,
}

/// What a column can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Field {
    Customer,
    CustomerName,
    CustomerRef,
    Period,
    PeriodStart,
    PeriodEnd,
    InvoiceNumber,
    InvoiceDate,
    DueDate,
    Sku,
    Description,
    Quantity,
    UnitPrice,
    Amount,
    Currency,
    TaxCode,
}

impl Mapping {
    /// The mapping of a shipped name, or of a TOML text; without either, the plain one.
    ///
    /// # Errors
    /// When it is none.
    pub fn named_or(text: &str) -> Result<Self, MappingError> {
        let name = if text.is_empty() { "plain" } else { text };
        let shipped = SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        Self::parse(shipped.unwrap_or(text))
    }

    fn parse(text: &str) -> Result<Self, MappingError> {
        if text.len() > LENGTH_MAX {
            return Err(MappingError::Value("text is too long"));
        }
        let mapping: Self = toml::from_str(text).map_err(|error| MappingError::Parse(error.to_string()))?;
        if mapping.column.is_empty() {
            return Err(MappingError::Value("list of columns is empty"));
        }
        if mapping.due_days > DUE_DAYS_MAX {
            return Err(MappingError::Value("`due_days` is more than a year"));
        }
        if jiff::fmt::strtime::format(&mapping.dates, Date::ZERO).is_err() {
            return Err(MappingError::Value("`dates` is not a date format such as `%Y-%m-%d`"));
        }
        for column in &mapping.column {
            let what = match (&column.field, &column.text) {
                (Some(_), Some(_)) => "has a field and a text",
                (None, None) => "has neither a field nor a text",
                _ if column.name.is_empty() => "has no name",
                _ => continue,
            };
            return Err(MappingError::Column { column: column.name.clone(), what });
        }
        Ok(mapping)
    }

    /// The rows of an import of these lines, invoiced together for a month.
    pub fn table(
        &self,
        period: Period,
        lines: &[InvoiceLine],
        name_of: &dyn Fn(&InvoiceLine) -> String,
    ) -> Table {
        let row = |line: &InvoiceLine| {
            self.column.iter().map(|column| self.cell(column, period, line, name_of)).collect()
        };
        Table {
            name: "Invoice lines".to_owned(),
            columns: self.column.iter().map(|column| column.name.clone()).collect(),
            rows: lines.iter().map(row).collect(),
        }
    }

    fn cell(
        &self,
        column: &Column,
        period: Period,
        line: &InvoiceLine,
        name_of: &dyn Fn(&InvoiceLine) -> String,
    ) -> Cell {
        let Some(field) = column.field else { return Cell::text(column.text.as_deref().unwrap_or_default()) };
        let date = |date: Date| Cell::text(jiff::fmt::strtime::format(&self.dates, date).unwrap_or_default());
        let last = |period: Period| period.next().first_day().plus(-1);
        match field {
            Field::Customer => Cell::text(&line.customer),
            Field::CustomerName => Cell::text(name_of(line)),
            Field::CustomerRef => Cell::text(&line.customer_ref),
            Field::Period => Cell::text(line.period),
            Field::PeriodStart => date(line.period.first_day().date()),
            Field::PeriodEnd => date(last(line.period).date()),
            Field::InvoiceNumber => Cell::text(invoice_number(period, line)),
            Field::InvoiceDate => date(last(period).date()),
            Field::DueDate => date(last(period).plus(i32::try_from(self.due_days).unwrap_or(0)).date()),
            Field::Sku => Cell::text(&line.sku),
            Field::Description => Cell::text(&line.description),
            Field::Quantity => Cell::number(line.quantity),
            Field::UnitPrice => Cell::number(&line.unit_price),
            Field::Amount => Cell::number(line.amount),
            Field::Currency => Cell::text(&line.currency),
            Field::TaxCode => Cell::text(&line.tax_code),
        }
    }
}

/// One invoice a customer, month and currency: no program adds currencies on one.
fn invoice_number(period: Period, line: &InvoiceLine) -> String {
    let customer = if line.customer_ref.is_empty() { line.customer.as_str() } else { &line.customer_ref };
    match line.currency.as_str() {
        "" => format!("{period}-{customer}"),
        currency => format!("{period}-{customer}-{currency}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> InvoiceLine {
        InvoiceLine {
            customer: "cus_acme".parse().unwrap(),
            customer_ref: "K-17".to_owned(),
            period: "2026-09".parse().unwrap(),
            sku: "WF-SVC".parse().unwrap(),
            description: "=Worry-Free".to_owned(),
            quantity: "-1".parse().unwrap(),
            unit_price: "3.75".parse().unwrap(),
            amount: "-3.75".parse().unwrap(),
            currency: "EUR".to_owned(),
            tax_code: "20% (VAT on Income)".to_owned(),
        }
    }

    fn csv(mapping: &str) -> String {
        let table = Mapping::named_or(mapping)
            .unwrap()
            .table("2026-10".parse().unwrap(), &[line()], &|_| "Acme".to_owned());
        String::from_utf8(table.to_csv()).unwrap()
    }

    #[test]
    fn the_plain_columns_are_the_agreed_ones() {
        let expected = "customer,customer_ref,period,sku,description,quantity,unit_price,amount,currency,tax_code\r\n\
            cus_acme,K-17,2026-09,WF-SVC,'=Worry-Free,-1,3.75,-3.75,EUR,20% (VAT on Income)\r\n";
        assert_eq!((csv(""), csv("plain")), (expected.to_owned(), expected.to_owned()));
    }

    #[test]
    fn xero_gets_the_columns_of_its_template() {
        let csv = csv("xero");
        let mut lines = csv.lines();
        assert_eq!(
            lines.next().unwrap(),
            "*ContactName,EmailAddress,POAddressLine1,POAddressLine2,POAddressLine3,POAddressLine4,POCity,PORegion,\
             POPostalCode,POCountry,*InvoiceNumber,Reference,*InvoiceDate,*DueDate,Total,InventoryItemCode,\
             *Description,*Quantity,*UnitAmount,Discount,*AccountCode,*TaxType,TaxAmount,TrackingName1,\
             TrackingOption1,TrackingName2,TrackingOption2,Currency,BrandingTheme"
        );
        assert_eq!(
            lines.next().unwrap(),
            "Acme,,,,,,,,,,2026-10-K-17-EUR,2026-09,31/10/2026,30/11/2026,,WF-SVC,'=Worry-Free,-1,3.75,,200,\
             20% (VAT on Income),,,,,,EUR,"
        );
    }

    #[test]
    fn connectwise_and_autotask_get_what_an_addition_and_a_charge_need() {
        let csv_of = |mapping: &str| csv(mapping).lines().map(str::to_owned).collect::<Vec<_>>();
        let connectwise = csv_of("connectwise");
        assert_eq!(
            connectwise[0],
            "Company ID,Company Name,Agreement Name,Product ID,Invoice Description,Quantity,Unit Price,Extended Price,\
             Bill Customer,Effective Date,Cancelled Date,Tax Code,Currency"
        );
        assert_eq!(
            connectwise[1],
            "K-17,Acme,,WF-SVC,'=Worry-Free,-1,3.75,-3.75,Billable,2026-09-01,2026-09-30,20% (VAT on Income),EUR"
        );
        let autotask = csv_of("autotask");
        assert_eq!(
            autotask[0],
            "Organization Name,Contract Name,Charge Name,Description,Date Purchased,Charge Type,Unit Quantity,\
             Unit Price,Billable Amount,Billable to Organization,Purchase Order Number,Currency,Tax Category"
        );
        assert!(
            autotask[1].starts_with("Acme,,WF-SVC,'=Worry-Free,09/30/2026,Operational,-1,3.75,-3.75,Yes,")
        );
    }

    #[test]
    fn a_mapping_of_one_s_own_is_checked() {
        assert_eq!(csv("[[column]]\nname = \"Net\"\nfield = \"amount\"\n"), "Net\r\n-3.75\r\n");
        for (text, words) in [
            ("nonsense", "does not parse"),
            ("[[column]]\nname = \"A\"\nfield = \"colour\"", "does not parse"),
            ("[[column]]\nname = \"A\"\nfield = \"sku\"\nshape = 1", "does not parse"),
            ("[[column]]\nname = \"A\"", "column `A` has neither a field nor a text"),
            ("[[column]]\nname = \"A\"\nfield = \"sku\"\ntext = \"x\"", "column `A` has a field and a text"),
            ("[[column]]\nname = \"\"\nfield = \"sku\"", "has no name"),
            ("column = []", "list of columns is empty"),
            ("due_days = 400\n[[column]]\nname = \"A\"\nfield = \"sku\"", "more than a year"),
            ("dates = \"%Q\"\n[[column]]\nname = \"A\"\nfield = \"sku\"", "not a date format"),
        ] {
            let told = Mapping::named_or(text).unwrap_err().to_string();
            assert!(told.contains(words), "{words:?} in {told}");
        }
    }
}
