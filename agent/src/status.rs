//! What the running agent says about itself (`status.json`). Invariant: it is only for people and their tools;
//! nothing is decided by it, and losing it loses nothing.

use jiff::Timestamp;
use seatbeat_proto::{instant, wire};
use serde::{Deserialize, Serialize};

use crate::act::arm::OrderLine;
use crate::identity::Identity;
use crate::meter::Memory;
use crate::state::StateFolder;

/// The file's name.
pub const FILE: &str = "status.json";

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the agent that wrote it.
    pub agent_version: String,
    /// Process id of the agent that wrote it.
    pub pid: u32,
    /// This machine.
    pub machine: String,
    /// Whose it is.
    pub customer: String,
    /// The conversation with the collector.
    pub link: LinkStatus,
    /// When the collector last said welcome.
    pub last_connected_at: Option<Timestamp>,
    /// Why the last connection failed or ended.
    pub last_error: Option<Trouble>,
    /// What keeps reports from being made.
    pub reporting_stopped: Option<Trouble>,
    /// The current chain.
    pub spool: String,
    /// Evidence in it that the collector has not acknowledged.
    pub waiting: u64,
    /// The newest report.
    pub last_report: Option<Report>,
    /// Added to the machine's clock, in milliseconds.
    pub clock_offset_ms: i64,
    /// What tells products apart.
    #[serde(default)]
    pub catalogue: CatalogueStatus,
    /// What was ordered here.
    #[serde(default)]
    pub orders: OrdersStatus,
}

/// What was ordered here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OrdersStatus {
    /// Whose orders are taken; 0: nobody's.
    pub keys_revision: u64,
    /// The newest, newest first.
    pub orders: Vec<OrderLine>,
    /// What came to nothing: forged, unreadable, meant for another machine.
    pub noticed: Vec<Trouble>,
    /// Why none are taken.
    pub stopped: Option<Trouble>,
}

/// The catalogue in use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CatalogueStatus {
    /// Its version.
    pub version: u32,
    /// It was pushed; otherwise the agent was built with it.
    pub pushed: bool,
    /// Why one that was pushed is not used.
    pub refused: Option<Trouble>,
}

/// How the conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkStatus {
    /// The collector said welcome.
    Connected,
    /// There is none; it is tried again.
    Disconnected,
}

/// Something that went wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When it was first seen.
    pub at: Timestamp,
    /// What it is.
    pub what: String,
    /// What can be done.
    pub hint: Option<String>,
}

/// What a report said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was observed, corrected.
    pub observed_at: Timestamp,
    /// Why it was made.
    pub reason: String,
    /// What was found.
    pub products: Vec<Product>,
}

/// A product in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its id.
    pub product: String,
    /// `active`, `inactive`, `switched_off`, `unknown`.
    pub state: String,
    /// Empty: not known.
    pub version: String,
    /// Why it is not active.
    pub why: String,
}

impl Status {
    /// Of an agent that has just started.
    pub fn starting(identity: &Identity) -> Self {
        Self {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            machine: identity.machine.to_string(),
            customer: identity.customer.to_string(),
            link: LinkStatus::Disconnected,
            last_connected_at: None,
            last_error: None,
            reporting_stopped: None,
            spool: String::new(),
            waiting: 0,
            last_report: None,
            clock_offset_ms: 0,
            catalogue: CatalogueStatus::default(),
            orders: OrdersStatus::default(),
        }
    }

    /// The one that was written last, when it can be read.
    pub fn load(state: &StateFolder) -> Option<Self> {
        serde_json::from_slice(&state.read(FILE).ok()??).ok()
    }

    /// Writes it.
    pub fn store(&self, state: &StateFolder) {
        let stored = serde_json::to_vec_pretty(self).map(|text| state.write_unsynced(FILE, &text));
        if let Ok(Err(error)) = stored {
            tracing::debug!(error = crate::plain::chain(&error), "the status file was not written");
        }
    }
}

impl Report {
    /// The newest report that is remembered.
    pub fn newest(memory: &Memory) -> Option<Self> {
        let last = memory.last.as_ref()?;
        let reason = last.reason.as_str_name().trim_start_matches("REPORT_REASON_").to_ascii_lowercase();
        Some(Self {
            observed_at: instant::from_ms(last.observed_at.as_millisecond()).ok()?,
            reason,
            products: last.products.iter().map(product).collect(),
        })
    }
}

fn product(found: &wire::FoundProduct) -> Product {
    Product {
        product: found.product.clone(),
        state: found.state().as_str_name().trim_start_matches("PRODUCT_STATE_").to_ascii_lowercase(),
        version: found.version.clone(),
        why: found.why.clone(),
    }
}
