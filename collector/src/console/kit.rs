//! What a technician needs to roll a customer out: a token, the lines to run, where files are fetched, and activation
//! codes. Invariant: a code in it was asked for, and that it was shown is on record before it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatbeat_ledger::entitlements::Licence;
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::{CustomerId, LicenceId, ProductId, TokenId};
use serde::Serialize;

use super::Console;
use super::auth::Caller;
use super::command::TokenTerms;
use super::fault::Fault;
use crate::journal::Position;
use crate::outputs::document::{Cell, Document, Table};
use crate::outputs::{Format, rendered};
use crate::vault::VaultRow;

/// The line that lets a machine in, by system, with its token in place of [`TOKEN`]. It is run once, as the administrator,
/// where one version of the package lies, installs it and asks nothing; whether the collector answers by then does not matter.
/// On macOS the agent is there. On Linux no other user sees the token of a root shell: it is in the environment.
const ENROL: [(&str, &str, &str); 4] = [
    ("windows", "Windows", "msiexec /i seatbeat-agent-x64.msi /qn /norestart TOKEN=sb1.…"),
    (
        "linux",
        "Debian, Ubuntu",
        "SEATBEAT_TOKEN=sb1.… apt-get install -y ./seatbeat-agent_*_$(dpkg --print-architecture).deb",
    ),
    (
        "linux-rpm",
        "Red Hat, Fedora",
        "SEATBEAT_TOKEN=sb1.… dnf install -y ./seatbeat-agent-*.$(uname -m).rpm",
    ),
    ("macos", "macOS", "sudo seatbeat-agent enrol --token sb1.…"),
];

/// What stands in [`ENROL`] for the token.
const TOKEN: &str = "sb1.…";

/// What a kit is to have in it.
#[derive(Debug, Clone)]
pub struct KitAsked {
    /// For whom, and what the new token lets in.
    pub terms: TokenTerms,
    /// With activation codes.
    pub codes: bool,
    /// As a page or as data.
    pub format: Format,
    /// Why: it goes with what is on record.
    pub reason: String,
}

/// An install kit: the only time that its token is seen.
#[derive(Debug, Clone, Serialize)]
pub struct Kit {
    /// For whom.
    pub customer: CustomerId,
    /// What they are called.
    pub customer_name: String,
    /// The new token.
    pub token: TokenId,
    /// Its text.
    pub token_text: String,
    /// How many machines it lets in.
    pub machines: u32,
    /// Until when.
    pub expires_at: Timestamp,
    /// The lines to run.
    pub install: Vec<InstallRow>,
    /// Where files are fetched, by what they are.
    pub downloads: BTreeMap<String, String>,
    /// The licences that the customer holds.
    pub licences: Vec<LicenceRow>,
}

/// The line to run on a system.
#[derive(Debug, Clone, Serialize)]
pub struct InstallRow {
    /// `windows`, `linux` (with Debian's packages), `linux-rpm` or `macos`.
    pub os: &'static str,
    /// The systems that it is for, as people call them.
    pub on: &'static str,
    /// Run once, as the administrator.
    pub line: String,
}

/// A licence of a kit.
#[derive(Debug, Clone, Serialize)]
pub struct LicenceRow {
    /// Which one.
    pub licence: LicenceId,
    /// What it is for.
    pub product: ProductId,
    /// What it is billed as.
    pub sku: Sku,
    /// Seats that the customer holds.
    pub seats: u32,
    /// Its activation code; empty: it has none, or none was asked for.
    pub code: String,
}

impl Console {
    /// Makes a kit with a new token.
    ///
    /// # Errors
    /// When the customer is not known, the terms let nobody in, codes are asked for without a reason, or it cannot be
    /// written.
    pub async fn install_kit(&self, caller: &Caller, asked: KitAsked) -> Result<(String, Position), Fault> {
        let KitAsked { terms, codes, format, reason } = asked;
        if !matches!(format, Format::Json | Format::Html) {
            return Err(Fault::value("`format`", "has to be json or html"));
        }
        let (kit, position) = self.new_kit(caller, terms, codes, &reason).await?;
        let bytes =
            rendered(format, &kit, &kit.document()).map_err(|error| Fault::value("the kit", error))?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), position))
    }

    /// Makes a kit with a new token, with activation codes where they are asked for.
    ///
    /// # Errors
    /// As [`Self::install_kit`].
    pub async fn new_kit(
        &self,
        caller: &Caller,
        terms: TokenTerms,
        codes: bool,
        reason: &str,
    ) -> Result<(Kit, Position), Fault> {
        let customer = terms.customer.clone();
        caller.reaches(&customer)?;
        let customer_name = self.name(VaultRow::CustomerName(&customer))?;
        let held: Vec<(LicenceId, Licence, u32)> = self.books.read(|fold| {
            let held =
                fold.licences().in_force().map(|(id, licence)| (id, licence, licence.allotted_to(&customer)));
            held.filter(|(.., seats)| *seats > 0)
                .map(|(id, one, seats)| (id.clone(), one.clone(), seats))
                .collect()
        });
        let mut licences = Vec::new();
        for (licence, about, seats) in held {
            let code = match codes && about.code_mac.is_some() {
                true => self.reveal_licence(caller, licence.clone(), reason).await?.code.as_str().to_owned(),
                false => String::new(),
            };
            licences.push(LicenceRow { licence, product: about.product, sku: about.sku, seats, code });
        }
        let (machines, expires_at) = (terms.uses_max, terms.expires_at);
        let token = self.create_token(caller, terms).await?;
        let line = |(os, on, line): (&'static str, &'static str, &str)| InstallRow {
            os,
            on,
            line: line.replace(TOKEN, &token.text),
        };
        let kit = Kit {
            install: ENROL.into_iter().map(line).collect(),
            customer,
            customer_name,
            token: token.token,
            token_text: token.text,
            machines,
            expires_at,
            downloads: self.config.downloads.clone(),
            licences,
        };
        Ok((kit, Position(token.position)))
    }
}

impl Kit {
    fn document(&self) -> Document {
        let mut install = Table::new("Run once on each machine, as the administrator", &["on", "line"]);
        install.rows.extend(self.install.iter().map(|row| vec![Cell::text(row.on), Cell::text(&row.line)]));
        let mut downloads = Table::new("Fetch", &["what", "address"]);
        let fetched =
            self.downloads.iter().map(|(what, address)| vec![Cell::text(what), Cell::text(address)]);
        downloads.rows.extend(fetched);
        let mut licences = Table::new("Licences", &["product", "sku", "seats", "activation_code", "licence"]);
        licences.rows.extend(self.licences.iter().map(|row| {
            let code = Cell::text(&row.code);
            vec![
                Cell::text(&row.product),
                Cell::text(&row.sku),
                Cell::number(row.seats),
                code,
                Cell::text(&row.licence),
            ]
        }));
        let facts = [
            ("Customer", format!("{} {}", self.customer, self.customer_name)),
            ("Token", self.token.to_string()),
            ("Lets in", format!("{} machines", self.machines)),
            ("Until", self.expires_at.to_string()),
        ];
        Document::new("Install kit".to_owned(), facts, vec![install, downloads, licences])
    }
}
