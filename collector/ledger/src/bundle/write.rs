//! Writes bundles, line after line. Invariant: memory holds the month's evidence and the text of one section; what is
//! written has the roots that the body names.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{MachineId, ResellerId};
use serde_json::Value;

use super::gather::{Agents, MonthEvidence, Seat};
use super::marks::{HashText, Pseudonym};
use super::pseudonym::{PseudonymKey, SectionSecret};
use super::rows::{Excluded, ExcludedRow, SeatRow, text};
use super::{Commitment, End, KIND, LineRows, LogPart, LogProofs, Opened, Opening, Rows, Section};
use crate::calendar::Period;
use crate::jcs::{JcsError, to_canonical};
use crate::merkle::Frontier;

/// A month's evidence for one distributor.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// All of the month's.
    pub evidence: &'a MonthEvidence,
    /// Under which its machines have their pseudonyms.
    pub key: &'a PseudonymKey,
    /// Which month.
    pub period: Period,
    /// For whom.
    pub distributor: &'a str,
}

/// Rows of a section in the order of their pseudonyms.
type SectionRows<'a> = BTreeMap<Pseudonym, (&'a MachineId, String)>;

impl<'a> Part<'a> {
    /// What the body commits to.
    pub fn commitment(&self, reseller: &ResellerId, service_key: [u8; 32]) -> Commitment {
        let lines = self.evidence.lines_of(self.distributor);
        let lines = lines.map(|(customer, sku)| {
            let Rows { machines, root } = root(&self.rows(&Section::line(customer, sku)));
            LineRows { customer: customer.clone(), machines, root, sku: sku.clone() }
        });
        Commitment {
            excluded: root(&self.rows(&Section::Excluded {})),
            lines: lines.collect(),
            reseller: reseller.clone(),
            service_key: HashText(service_key),
        }
    }

    /// Gives each line of the bundle, without its line end, to `write`. With `hosts`, machines are opened: it gives
    /// the name that the reseller knows one by.
    ///
    /// # Errors
    /// What `write` returns; or when the statement has no canonical form.
    pub fn write<E: From<JcsError>>(
        &self,
        statement: Value,
        log: &LogProofs,
        hosts: Option<&dyn Fn(&MachineId) -> String>,
        mut write: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut count = 0u64;
        let mut line = |text: &str| {
            count += 1;
            write(text)
        };
        line(&to_canonical(&Opening { seatbeat: KIND.to_owned(), statement })?)?;
        line(&to_canonical(&LogPart { log: log.clone() })?)?;
        let lines = self.evidence.lines_of(self.distributor);
        let lines = lines.map(|(customer, sku)| Section::line(customer, sku));
        for section in lines.chain([Section::Excluded {}]) {
            line(&to_canonical(&section)?)?;
            let secret = self.secret(&section);
            for (machine, row) in self.rows(&section).values() {
                line(row)?;
                if let Some(hosts) = hosts {
                    let opened = secret.open(&section, machine, &hosts(machine));
                    line(&to_canonical(&Opened { opened })?)?;
                }
            }
        }
        write(&to_canonical(&End { end: count })?)
    }

    /// What opens the pseudonyms of a section.
    pub fn secret(&self, section: &Section) -> SectionSecret {
        self.key.section(self.period, self.distributor, section)
    }

    /// Machines in the section of the excluded ones.
    pub fn excluded(&self) -> BTreeSet<&'a MachineId> {
        self.evidence.excluded_for(self.distributor).into_keys().collect()
    }

    /// Opens a machine in every section in which it is; `excluded` is [`Part::excluded`].
    pub fn openings_of(
        &self,
        machine: &MachineId,
        excluded: &BTreeSet<&MachineId>,
    ) -> Vec<super::pseudonym::Opening> {
        let lines = self.evidence.lines_of(self.distributor);
        let lines = lines.filter(|line| self.evidence.seats[*line].contains_key(machine));
        let mut sections: Vec<Section> = lines.map(|(customer, sku)| Section::line(customer, sku)).collect();
        if excluded.contains(machine) {
            sections.push(Section::Excluded {});
        }
        sections.iter().map(|section| self.secret(section).open(section, machine, "")).collect()
    }

    fn rows(&self, section: &Section) -> SectionRows<'_> {
        let secret = self.secret(section);
        match section {
            Section::Line { customer, sku } => {
                let machines = self.evidence.seats.get(&(customer.clone(), sku.clone()));
                let row = |(machine, seat)| {
                    let row = seat_row(secret, machine, seat, &self.evidence.agents(machine));
                    (row.machine, (machine, text(&row)))
                };
                machines.into_iter().flatten().map(row).collect()
            }
            Section::Excluded {} => {
                let excluded = self.evidence.excluded_for(self.distributor).into_iter();
                let row = |(machine, reasons)| {
                    let row = excluded_row(secret, machine, reasons, &self.evidence.agents(machine));
                    (row.machine, (machine, text(&row)))
                };
                excluded.map(row).collect()
            }
        }
    }
}

fn seat_row(secret: SectionSecret, machine: &MachineId, seat: &Seat, agents: &Agents) -> SeatRow {
    SeatRow {
        agents: joined(secret, agents),
        confirmed: seat.confirmed,
        first: seat.first,
        last: agents.last,
        machine: secret.pseudonym(machine),
        presumed: seat.presumed,
    }
}

fn excluded_row(
    secret: SectionSecret,
    machine: &MachineId,
    reasons: Vec<Excluded>,
    agents: &Agents,
) -> ExcludedRow {
    ExcludedRow {
        agents: joined(secret, agents),
        last: agents.last,
        machine: secret.pseudonym(machine),
        reasons,
    }
}

fn joined(secret: SectionSecret, agents: &Agents) -> Vec<Pseudonym> {
    let mut names: Vec<Pseudonym> = agents.joined.iter().map(|agent| secret.pseudonym(agent)).collect();
    names.sort();
    names
}

fn root(rows: &SectionRows<'_>) -> Rows {
    let mut tree = Frontier::default();
    rows.values().for_each(|(_, row)| tree.append(row.as_bytes()));
    Rows { machines: tree.size(), root: HashText(tree.root()) }
}
