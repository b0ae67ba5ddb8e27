//! Machines and their evidence to wire messages and back. Invariant: as in `wire_rows`.

use seatbeat_ledger::record::State;
use seatbeat_proto::hex;
use seatbeat_proto::{instant, wire};

use super::rows::{Evidence, Machine, MachineDetail, MachinePage, Product, Spool};
use super::wire_rows::{RowError, all, id, into_all, invalid, time};

impl From<Product> for wire::MachineProduct {
    fn from(row: Product) -> Self {
        Self {
            product: row.product.to_string(),
            state: state_text(row.state).to_owned(),
            version: row.version,
            signals: row.signals,
            why: row.why,
        }
    }
}

impl TryFrom<wire::MachineProduct> for Product {
    type Error = RowError;

    fn try_from(wire: wire::MachineProduct) -> Result<Self, RowError> {
        Ok(Self {
            product: id("product", &wire.product)?,
            state: state_of(&wire.state)?,
            version: wire.version,
            signals: wire.signals,
            why: wire.why,
        })
    }
}

const STATES: [State; 4] = [State::Active, State::Inactive, State::SwitchedOff, State::Unknown];

/// The text of a product's state.
pub fn state_text(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Inactive => "inactive",
        State::SwitchedOff => "switched_off",
        State::Unknown => "unknown",
    }
}

fn state_of(text: &str) -> Result<State, RowError> {
    STATES.into_iter().find(|state| state_text(*state) == text).ok_or_else(|| invalid("state", text))
}

impl From<Machine> for wire::Machine {
    fn from(row: Machine) -> Self {
        Self {
            machine: row.machine.to_string(),
            customer: row.customer.to_string(),
            host_name: row.host_name,
            agent_version: row.agent_version,
            catalogue_version: row.catalogue_version,
            last_report_ms: row.last_report.map_or(0, instant::to_ms),
            connected: row.connected,
            banned: row.banned,
            retired: row.retired,
            products: into_all(row.products),
        }
    }
}

impl TryFrom<wire::Machine> for Machine {
    type Error = RowError;

    fn try_from(wire: wire::Machine) -> Result<Self, RowError> {
        let last_report = match wire.last_report_ms {
            0 => None,
            ms => Some(time("last_report_ms", ms)?),
        };
        Ok(Self {
            machine: id("machine", &wire.machine)?,
            customer: id("customer", &wire.customer)?,
            host_name: wire.host_name,
            agent_version: wire.agent_version,
            catalogue_version: wire.catalogue_version,
            last_report,
            connected: wire.connected,
            banned: wire.banned,
            retired: wire.retired,
            products: all(wire.products)?,
        })
    }
}

impl From<MachinePage> for wire::MachineList {
    fn from(row: MachinePage) -> Self {
        Self {
            machines: into_all(row.machines),
            next_page_after: row.next.map(|next| next.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::MachineList> for MachinePage {
    type Error = RowError;

    fn try_from(wire: wire::MachineList) -> Result<Self, RowError> {
        let next = match wire.next_page_after.as_str() {
            "" => None,
            next => Some(id("next_page_after", next)?),
        };
        Ok(Self { machines: all(wire.machines)?, next })
    }
}

impl From<MachineDetail> for wire::MachineDetail {
    fn from(row: MachineDetail) -> Self {
        Self {
            machine: Some(row.machine.into()),
            spools: into_all(row.spools),
            flags: row.flags,
            enrolled_at_ms: instant::to_ms(row.enrolled_at),
            recent: into_all(row.recent),
        }
    }
}

impl TryFrom<wire::MachineDetail> for MachineDetail {
    type Error = RowError;

    fn try_from(wire: wire::MachineDetail) -> Result<Self, RowError> {
        let machine = wire.machine.ok_or_else(|| invalid("machine", "it is missing"))?;
        Ok(Self {
            machine: machine.try_into()?,
            enrolled_at: time("enrolled_at_ms", wire.enrolled_at_ms)?,
            flags: wire.flags,
            spools: all(wire.spools)?,
            recent: all(wire.recent)?,
        })
    }
}

impl From<Spool> for wire::SpoolTip {
    fn from(row: Spool) -> Self {
        Self {
            spool: row.spool.to_string(),
            sequence: row.sequence,
            hash: hex::parse_all(&row.hash).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::SpoolTip> for Spool {
    type Error = RowError;

    fn try_from(wire: wire::SpoolTip) -> Result<Self, RowError> {
        Ok(Self { spool: id("spool", &wire.spool)?, sequence: wire.sequence, hash: hex::format(&wire.hash) })
    }
}

impl From<Evidence> for wire::EvidenceRow {
    fn from(row: Evidence) -> Self {
        Self {
            position: row.position,
            spool: row.spool.to_string(),
            sequence: row.sequence,
            observed_at_ms: instant::to_ms(row.observed_at),
            received_at_ms: instant::to_ms(row.received_at),
            products: into_all(row.products),
        }
    }
}

impl TryFrom<wire::EvidenceRow> for Evidence {
    type Error = RowError;

    fn try_from(wire: wire::EvidenceRow) -> Result<Self, RowError> {
        Ok(Self {
            position: wire.position,
            spool: id("spool", &wire.spool)?,
            sequence: wire.sequence,
            observed_at: time("observed_at_ms", wire.observed_at_ms)?,
            received_at: time("received_at_ms", wire.received_at_ms)?,
            products: all(wire.products)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            machine: "mch_a".parse().unwrap(),
            customer: "cus_a".parse().unwrap(),
            host_name: "ws-1".to_owned(),
            agent_version: "0.1.0".to_owned(),
            catalogue_version: 2,
            last_report: Some(time("", 7).unwrap()),
            connected: true,
            banned: false,
            retired: true,
            products: vec![Product {
                product: "dsa".parse().unwrap(),
                state: State::SwitchedOff,
                version: "20.0".to_owned(),
                signals: vec!["package:ds-agent".to_owned()],
                why: "switched off by order".to_owned(),
            }],
        }
    }

    #[test]
    fn a_machine_survives_the_wire() {
        let detail = MachineDetail {
            machine: machine(),
            enrolled_at: time("", 5).unwrap(),
            flags: vec!["possible_clone".to_owned()],
            spools: vec![Spool { spool: "spl_1".parse().unwrap(), sequence: 3, hash: "00ff10".to_owned() }],
            recent: vec![Evidence {
                position: 9,
                spool: "spl_1".parse().unwrap(),
                sequence: 3,
                observed_at: time("", 6).unwrap(),
                received_at: time("", 7).unwrap(),
                products: machine().products,
            }],
        };
        assert_eq!(MachineDetail::try_from(wire::MachineDetail::from(detail.clone())).unwrap(), detail);
        let page = MachinePage { machines: vec![machine()], next: Some("ws/1/mch_a".parse().unwrap()) };
        assert_eq!(MachinePage::try_from(wire::MachineList::from(page.clone())).unwrap(), page);
    }

    #[test]
    fn an_answer_with_a_bad_field_is_refused_by_name() {
        let wire = wire::Machine { machine: "x".to_owned(), ..machine().into() };
        let error = Machine::try_from(wire).unwrap_err().to_string();
        assert!(error.starts_with("the collector's answer has a `machine` that is not valid"), "{error}");
    }
}
