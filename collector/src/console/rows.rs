//! The rows that questions are answered with. Invariant: valid values only, no wire types; every skin (gRPC, command
//! line, pages, downloads) shows these and nothing it worked out by itself.

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::life::Standing;
use seatbeat_ledger::record::State;
use seatbeat_ledger::review::{LicenceState, Review};
use seatbeat_ledger::statement::{Blocker, EarningsRow, Flag, MeterOutput};
use seatbeat_ledger::variance::VarianceRow;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId, ResellerId, SpoolId, TokenId};
use serde::Serialize;

pub use super::machines::Cursor;
pub use crate::jobs::close::effect::Effect;

/// How the collector is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whose it is.
    pub reseller: ResellerId,
    /// Its version.
    pub version: String,
    /// Its clock.
    pub now: Timestamp,
    /// The billing zone, an IANA name.
    pub zone: String,
    /// `host:port` where agents connect; several are separated by a comma.
    pub agent_address: String,
    /// Machines that were ever let in.
    pub machines: u64,
    /// Machines with an open stream.
    pub connected: u64,
    /// Customers.
    pub customers: u64,
    /// Beats since the start.
    pub beats: u64,
    /// Evidence received since the start.
    pub evidence_received: u64,
    /// Records in the journal.
    pub journal_size: u64,
    /// Root over them (base64).
    pub journal_root: String,
    /// Records that are folded.
    pub folded: u64,
    /// The public key that statements are signed with (base64).
    pub statement_key: String,
    /// What needs a person, in words.
    pub alarms: Vec<String>,
}

/// An end customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Customer {
    /// Its id.
    pub customer: CustomerId,
    /// Its name, from the vault; empty: none, or erased.
    pub name: String,
    /// Machines that are its own now.
    pub machines: u64,
}

/// All customers, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustomerList {
    /// The customers.
    pub customers: Vec<Customer>,
}

/// A token that was just made: the only time its text is seen.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct NewToken {
    /// Its id.
    pub token: TokenId,
    /// What an installer is given.
    pub text: String,
    /// Where its record stands in the journal.
    pub position: u64,
}

/// An enrolment token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its id.
    pub token: TokenId,
    /// Whose machines it lets in.
    pub customer: CustomerId,
    /// How many it lets in.
    pub uses_max: u32,
    /// How many it has let in.
    pub used: u32,
    /// It lets nobody in from here on.
    pub expires_at: Timestamp,
    /// Taken back.
    pub revoked: bool,
}

/// All enrolment tokens, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenList {
    /// The tokens.
    pub tokens: Vec<Token>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its id.
    pub machine: MachineId,
    /// Whose it is now.
    pub customer: CustomerId,
    /// Its name, from the vault; empty: none, or erased.
    pub host_name: String,
    /// Version of its agent.
    pub agent_version: String,
    /// Version of the catalogue that its newest report was made with; 0: none yet.
    pub catalogue_version: u32,
    /// Its newest report, by its own clock.
    pub last_report: Option<Timestamp>,
    /// Whether its stream is open.
    pub connected: bool,
    /// Shut out.
    pub banned: bool,
    /// Given up.
    pub retired: bool,
    /// What its newest report found.
    pub products: Vec<Product>,
}

/// What a record by hand did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amended {
    /// Where it stands in the journal; none: it was only a preview.
    pub position: Option<u64>,
    /// The quantities that change in statements that are not sealed.
    pub effects: Vec<Effect>,
}

/// A product on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Its id.
    pub product: ProductId,
    /// What it was doing.
    pub state: State,
    /// Empty: not known.
    pub version: String,
    /// What spoke for it.
    pub signals: Vec<String>,
    /// Why it is not active; empty when it is.
    pub why: String,
}

/// The catalogue that agents are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CatalogueState {
    /// Version that the collector itself was built with; agents of its version have it, too.
    pub built_in_version: u32,
    /// The newest that was pushed.
    pub pushed: Option<PushedCatalogue>,
    /// By version, what machines used for their newest report; banned and retired ones are left out.
    pub in_use: Vec<CatalogueUse>,
}

/// A catalogue that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushedCatalogue {
    /// As its file says.
    pub version: u32,
    /// Length of its file in bytes.
    pub length: u64,
    /// SHA-256 of its file (hexadecimal).
    pub sha256: String,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// Who pushed it.
    pub operator: String,
    /// Why, in their words.
    pub reason: String,
    /// Where the journal stands behind its record; 0: not said.
    pub position: u64,
}

/// How many machines use a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CatalogueUse {
    /// Its version.
    pub version: u32,
    /// How many.
    pub machines: u64,
}

/// A page of machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachinePage {
    /// The machines.
    pub machines: Vec<Machine>,
    /// What the next page starts behind; none: this is the last.
    pub next: Option<Cursor>,
}

/// All that is known of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineDetail {
    /// The machine.
    #[serde(flatten)]
    pub machine: Machine,
    /// When it was let in.
    pub enrolled_at: Timestamp,
    /// What was noticed about it.
    pub flags: Vec<String>,
    /// Its chains.
    pub spools: Vec<Spool>,
    /// Its newest evidence, newest first.
    pub recent: Vec<Evidence>,
}

/// A chain of evidence and its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spool {
    /// Its id.
    pub spool: SpoolId,
    /// Sequence of its newest evidence.
    pub sequence: u64,
    /// That evidence's hash (hexadecimal).
    pub hash: String,
}

/// One link of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Its place in the journal.
    pub position: u64,
    /// Its chain.
    pub spool: SpoolId,
    /// Its place there.
    pub sequence: u64,
    /// The machine's clock.
    pub observed_at: Timestamp,
    /// The collector's clock.
    pub received_at: Timestamp,
    /// What it found; empty for an order's result.
    pub products: Vec<Product>,
}

/// What was used in a period, so far or as it closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The period.
    pub period: Period,
    /// The billing zone.
    pub zone: String,
    /// By customer and SKU.
    pub rows: Vec<UsageRow>,
    /// What has to be settled before the period can be sealed, as in a statement.
    pub blockers: Vec<Blocker>,
    /// What is worth a look, as in a statement.
    pub flags: Vec<Flag>,
}

/// Usage of one SKU by one customer. Quantities and amounts are decimals as a statement writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// Whose.
    pub customer: CustomerId,
    /// Its name; empty: none, or erased.
    pub customer_name: String,
    /// The SKU.
    pub sku: String,
    /// What would be billed.
    pub quantity: String,
    /// Seats seen on the day that counts.
    pub confirmed: String,
    /// Seats presumed on it.
    pub presumed: String,
    /// Cost of one, where it has one.
    pub unit_cost: Option<String>,
    /// Cost, where the SKU has a price group.
    pub cost: Option<String>,
    /// What the customer pays, where a price is known.
    pub revenue: Option<String>,
    /// Revenue less cost.
    pub profit: Option<String>,
    /// Currency of the amounts.
    pub currency: Option<String>,
}

/// How far a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeriodState {
    /// Still running.
    Open,
    /// Over; evidence of it may still arrive.
    Grace,
    /// Ready to be sealed.
    Draft,
    /// About to be sealed.
    Approved,
    /// Sealed.
    Sealed,
}

/// What a period's statement would be now, or is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Draft {
    /// The period.
    pub period: Period,
    /// How far it is.
    pub state: PeriodState,
    /// Where its statements stand.
    pub standings: Vec<Standing>,
    /// Of exactly what would be sealed.
    pub digest: String,
    /// The end of its grace.
    pub closes_at: Timestamp,
    /// Statement and earnings, as `seatbeat meter` prints them.
    #[serde(flatten)]
    pub output: MeterOutput,
    /// Why its lines differ from the month before; `None`: that one was never sealed.
    pub variance: Option<Vec<VarianceRow>>,
    /// What there is to look at beside it; `None`: the collector is an older one.
    pub review: Option<Review>,
}

/// Where statements stand, by period, distributor and revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementList {
    /// The statements.
    pub statements: Vec<Standing>,
}

/// A period's sealed statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedStatements {
    /// The period.
    pub period: Period,
    /// One for each distributor.
    pub statements: Vec<SealedStatement>,
    /// What the reseller earns by them, as in `seatbeat meter`.
    pub earnings: Vec<EarningsRow>,
    /// Licences of the lines, by what was said before the period's end.
    pub licences: Vec<LicenceState>,
    /// Where the newest seal stands in the journal; 0: not said.
    pub position: u64,
}

/// A sealed statement as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedStatement {
    /// To whom.
    pub distributor: String,
    /// From 1.
    pub revision: u32,
    /// The file's bytes.
    pub file: Vec<u8>,
}
