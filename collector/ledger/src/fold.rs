//! The fold: the journal's records, one after the other, into all that is known. Invariant: the state is a function
//! of the records in their order and of nothing else; what a record asks for is granted or refused here, at its
//! position, so that everyone who folds the same journal agrees.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId, ResellerId};
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;
use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::entitlements::Licences;
use crate::mapping::Mappings;
use crate::merkle::{Frontier, Hash};
use crate::mutes::Mutes;
use crate::operators::Operators;
use crate::orders::{Answer, Orders};
use crate::prices::staging::Staging;
use crate::reconciliation::Reconciliation;
use crate::record::{Entry as LedgerEntry, Event, Record};
use crate::registry::{Machine, NewMachine, Refusal, Registry, Standing, Tip, Token};
use crate::standing::Departure;
use crate::terms::Terms;
use crate::uploads::Uploads;
use crate::usage::{Usage, judge};

mod back_dated;
mod convert;
mod entitled;
mod entry;
pub mod evidence;
mod let_in;
mod ordered;
mod priced;
mod reading;
mod reconciled;
mod statements;
mod uploaded;

pub use back_dated::BackDated;
use entry::{Entry, Stop, refuse_unless};
use evidence::{Body, Evidence};
pub use reading::{ForMachines, Reading};
use statements::Statements;
pub use statements::{Approval, Earlier, Sealed};

/// The actor of what a collector records by itself.
pub const COLLECTOR: &str = "collector";

/// Flag of a machine whose chain came in two versions.
pub(crate) const FORKED_SPOOL: &str = "forked_spool";

/// Version of the records' meaning. A journal of a newer one is not read.
pub const FORMAT: u32 = 1;

/// All that the journal says, up to a position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    log: Frontier,
    founded: Option<Founded>,
    terms: Arc<Terms>,
    staging: Staging,
    settings: Option<Settings>,
    catalogue: Option<PushedCatalogue>,
    registry: Registry,
    operators: Operators,
    mutes: Mutes,
    licences: Arc<Licences>,
    /// Copies share what has not changed.
    statements: Arc<Statements>,
    orders: Orders,
    uploads: Arc<Uploads>,
    mappings: Arc<Mappings>,
    reconciliation: Arc<Reconciliation>,
    back_dated: Arc<VecDeque<BackDated>>,
    usage: Usage,
}

/// Whose journal this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founded {
    /// The reseller.
    pub reseller: ResellerId,
    /// Signs settings and checkpoints.
    pub service_key: [u8; 32],
    /// Signs statements.
    pub statement_key: [u8; 32],
}

/// How agents behave ([`wire::Settings`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// From 1; agents follow the highest they have seen.
    pub revision: u64,
    /// Seconds between beats.
    pub beat_interval_s: u32,
    /// Seconds between reports when nothing changes.
    pub report_interval_s: u32,
    /// Seconds between looks at the machine.
    pub scan_interval_s: u32,
}

/// The catalogue that agents are sent ([`wire::CataloguePushed`]): the newest that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedCatalogue {
    /// As its file says.
    pub version: u32,
    /// The file's bytes, as they were signed.
    pub file: Vec<u8>,
    /// The release key's signature; agents verify it, the collector does not know the key.
    pub signature: Vec<u8>,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// Who pushed it.
    pub operator: String,
    /// Why, in their words.
    pub reason: String,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the state.
    Taken,
    /// It changed nothing.
    Refused(Refusal),
}

/// A record that cannot be folded: written by a newer version, or not by this program at all.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// Its bytes are no record.
    #[error("record {position} of the journal cannot be decoded")]
    Undecodable {
        /// Its place.
        position: u64,
        /// What is wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// It holds no fact that this version knows.
    #[error(
        "record {0} of the journal holds a fact that this version does not know: it was written by a newer one"
    )]
    UnknownFact(u64),
    /// A field is not what it has to be.
    #[error("record {position} of the journal: {field} is not valid: {why}")]
    Invalid {
        /// Its place.
        position: u64,
        /// Which field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The journal's format is newer.
    #[error("the journal has format {0}, this version reads up to {FORMAT}")]
    NewerFormat(u32),
}

impl Fold {
    /// How many records it has seen: the position it stands at.
    pub fn position(&self) -> u64 {
        self.log.size()
    }

    /// Root of the log over all records so far.
    pub fn root(&self) -> Hash {
        self.log.root()
    }

    /// Whose journal this is; none before the first record.
    pub fn founded(&self) -> Option<&Founded> {
        self.founded.as_ref()
    }

    /// The policy of the latest month, as TOML, as it was set.
    pub fn policy(&self) -> Option<&str> {
        self.terms.newest_policy_text()
    }

    /// By which terms months are counted and billed.
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// How agents behave; none before a collector has said so.
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    /// The catalogue that agents are sent; none before one was pushed.
    pub fn catalogue(&self) -> Option<&PushedCatalogue> {
        self.catalogue.as_ref()
    }

    /// Who is known.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Licences of the reseller's, and who holds seats of them.
    pub fn licences(&self) -> &Arc<Licences> {
        &self.licences
    }

    /// Sealed statements on their way to those they are for.
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// What destinations call customers and SKUs.
    pub fn mappings(&self) -> &Arc<Mappings> {
        &self.mappings
    }

    /// What others say of sealed months.
    pub fn reconciliation(&self) -> &Arc<Reconciliation> {
        &self.reconciliation
    }

    /// What was used.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Sealed statements of a period, by distributor.
    pub fn sealed(&self, period: Period) -> impl Iterator<Item = (&str, &Sealed)> {
        self.statements.sealed(period)
    }

    /// The approved draft of a period that is not, or not wholly, sealed yet.
    pub fn approved(&self, period: Period) -> Option<&Approval> {
        self.statements.approved(period)
    }

    /// Periods with an approved draft that is not wholly sealed yet.
    pub fn approved_periods(&self) -> impl Iterator<Item = Period> {
        self.statements.approved_periods()
    }

    /// Who may use the operator door.
    pub fn operators(&self) -> &Operators {
        &self.operators
    }

    /// Alerts that are not told.
    pub fn mutes(&self) -> &Mutes {
        &self.mutes
    }

    /// Periods that have a sealed statement.
    pub fn sealed_periods(&self) -> impl Iterator<Item = Period> {
        self.statements.sealed_periods()
    }

    /// Takes the record at the fold's position in.
    ///
    /// # Errors
    /// When the bytes are no record that this version understands; the state is as before then.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<Verdict, FoldError> {
        Ok(self.replay(bytes)?.0)
    }

    /// As [`Fold::apply`]; also gives what the record added to the count, if anything.
    ///
    /// # Errors
    /// As [`Fold::apply`].
    pub fn replay(&mut self, bytes: &[u8]) -> Result<(Verdict, Option<Record>), FoldError> {
        self.take_in(Reading::of(bytes))
    }

    /// As [`Fold::replay`], of a record that was read already.
    ///
    /// # Errors
    /// As [`Fold::apply`].
    pub fn take_in(&mut self, reading: Reading) -> Result<(Verdict, Option<Record>), FoldError> {
        let position = self.position();
        let Reading { record, evidence, leaf } = reading;
        let record = record.map_err(|source| FoldError::Undecodable { position, source })?;
        let (verdict, counted) = match self.take(&Entry { position, record }, evidence) {
            Ok(counted) => (Verdict::Taken, counted),
            Err(Stop::Refused(refusal)) => (Verdict::Refused(refusal), None),
            Err(Stop::Error(error)) => return Err(error),
        };
        if let Some(record) = &counted {
            self.usage.apply(record);
        }
        self.log.append_leaf(leaf);
        Ok((verdict, counted))
    }

    /// What the record adds to the count.
    fn take(&mut self, entry: &Entry, evidence: Option<Evidence>) -> Result<Option<Record>, Stop> {
        let at = entry.recorded_at()?;
        let fact = entry.record.fact.as_ref().ok_or(FoldError::UnknownFact(entry.position))?;
        match fact {
            Fact::Founded(fact) => self.found(entry, fact)?,
            Fact::PolicySet(fact) => self.set_policy(entry, fact)?,
            Fact::PricesStaged(fact) => self.stage_prices(entry, fact)?,
            Fact::PricesApplied(fact) => self.apply_prices(entry, fact, at)?,
            Fact::SettingsChanged(fact) => self.change_settings(entry, fact)?,
            Fact::CataloguePushed(fact) => self.push_catalogue(entry, fact, at)?,
            Fact::CustomerAdded(fact) => {
                let added =
                    Arc::make_mut(&mut self.registry.customers).insert(entry.id("customer", &fact.customer)?);
                refuse_unless(added, Refusal::Repeated)?;
            }
            Fact::TokenCreated(fact) => self.create_token(entry, fact)?,
            Fact::TokenRevoked(fact) => {
                let token =
                    Arc::make_mut(&mut self.registry.tokens).get_mut(&entry.id("token", &fact.token)?);
                token.ok_or(Refusal::UnknownToken)?.revoked = true;
            }
            Fact::EnrolmentRequested(fact) => return self.enrol(entry, fact, at).map(Some),
            Fact::EvidenceReceived(fact) => {
                return self.receive(entry, fact, evidence.ok_or(Refusal::Malformed)?, at);
            }
            Fact::OperatorAdded(fact) => self.add_operator(entry, fact)?,
            Fact::OperatorAllowed(fact) => self.allow_operator(entry, fact)?,
            Fact::OperatorRevoked(fact) => self.operators.revoke(&entry.id("operator", &fact.operator)?)?,
            Fact::OperatorErased(fact) => self.operators.erase(&entry.id("operator", &fact.operator)?)?,
            Fact::ApiTokenCreated(fact) => self.add_api_token(entry, fact, at)?,
            Fact::ApiTokenRevoked(fact) => {
                self.operators.revoke_api_token(&entry.id("api_token", &fact.api_token)?)?;
            }
            // Who did what; nothing depends on it.
            Fact::SignedIn(_) | Fact::CredentialSet(_) => {}
            Fact::AlertMuted(fact) => self.mute_alert(entry, fact, at)?,
            Fact::CustomerErased(fact) => self.erase_customer(entry, fact)?,
            Fact::MachineBanned(fact) => {
                let machine = self.registry.machines.get_mut(&entry.id("machine", &fact.machine)?);
                machine.ok_or(Refusal::UnknownMachine)?.banned = fact.banned;
            }
            Fact::StatementApproved(fact) => self.approve(entry, fact, at)?,
            Fact::StatementSealed(fact) => self.seal(entry, fact, at)?,
            Fact::LicenceAdded(fact) => self.add_licence(entry, fact, at)?,
            Fact::LicenceAllotted(fact) => self.allot_licence(entry, fact, at)?,
            Fact::LicenceWithdrawn(fact) => self.withdraw_licence(entry, fact, at)?,
            Fact::LicenceRevealed(fact) => self.note_revealed(entry, fact)?,
            Fact::OrdersRequested(fact) => self.request_orders(entry, fact, at)?,
            Fact::OrdersConfirmed(fact) => self.confirm_orders(entry, fact, at)?,
            Fact::OrderPlaced(fact) => self.place_order(entry, fact, at)?,
            Fact::OrderSigned(fact) => self.sign_order(fact, at)?,
            Fact::OrderCancelled(fact) => self.cancel_orders(entry, fact, at)?,
            Fact::OrderKeysSet(fact) => self.set_order_keys(entry, fact, at)?,
            Fact::OrderLimitSet(fact) => self.set_order_limit(fact),
            Fact::EpochBegan(fact) => self.begin_epoch(fact)?,
            Fact::CustomerLeft(fact) => {
                let departure = Departure {
                    for_good: fact.for_good,
                    at,
                    by: entry.record.actor.clone(),
                    reason: entry.record.reason.clone(),
                };
                self.registry.leave(entry.id("customer", &fact.customer)?, departure)?;
            }
            Fact::CustomerReturned(fact) => {
                self.registry.come_back(&entry.id("customer", &fact.customer)?)?;
            }
            Fact::UploadNoted(fact) => self.note_upload(entry, fact, at)?,
            Fact::UploadRetried(fact) => self.retry_upload(entry, fact)?,
            Fact::MappingSet(fact) => self.set_mapping(entry, fact)?,
            Fact::ProvisionedNoted(fact) => self.note_provisioned(entry, fact, at)?,
            Fact::InvoiceImported(fact) => self.import_invoice(entry, fact, at)?,
            Fact::DifferenceExplained(fact) => self.explain_difference(entry, fact, at)?,
            metering => {
                let record = convert::metering(entry, metering, at)?;
                self.note(&record)?;
                self.note_back_dated(entry.position, &record);
                return Ok(Some(Record::Entry(record)));
            }
        }
        Ok(None)
    }

    fn found(&mut self, entry: &Entry, fact: &wire::Founded) -> Result<(), Stop> {
        if fact.format > FORMAT {
            return Err(FoldError::NewerFormat(fact.format).into());
        }
        refuse_unless(self.founded.is_none(), Refusal::Repeated)?;
        self.founded = Some(Founded {
            reseller: entry.id("reseller", &fact.reseller)?,
            service_key: entry.bytes32("service_key", &fact.service_key)?,
            statement_key: entry.bytes32("statement_key", &fact.statement_key)?,
        });
        Ok(())
    }

    /// Several collectors may find the same change: the journal's order decides which of them made it.
    fn change_settings(&mut self, entry: &Entry, fact: &wire::SettingsChanged) -> Result<(), Stop> {
        let new = fact.settings.as_ref().ok_or_else(|| entry.invalid("settings", "they are missing"))?;
        let revision = self.settings.as_ref().map_or(0, |settings| settings.revision);
        refuse_unless(revision.checked_add(1) == Some(new.revision), Refusal::Repeated)?;
        self.settings = Some(Settings {
            revision: new.revision,
            beat_interval_s: new.beat_interval_s,
            report_interval_s: new.report_interval_s,
            scan_interval_s: new.scan_interval_s,
        });
        Ok(())
    }

    fn push_catalogue(
        &mut self,
        entry: &Entry,
        fact: &wire::CataloguePushed,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let signed = fact.catalogue.as_ref().ok_or_else(|| entry.invalid("catalogue", "it is missing"))?;
        let version = self.catalogue.as_ref().map_or(0, |catalogue| catalogue.version);
        refuse_unless(fact.version > version, Refusal::NotNewer)?;
        self.catalogue = Some(PushedCatalogue {
            version: fact.version,
            file: signed.payload.clone(),
            signature: signed.signature.clone(),
            pushed_at: at,
            operator: entry.record.actor.clone(),
            reason: entry.record.reason.clone(),
        });
        Ok(())
    }

    fn create_token(&mut self, entry: &Entry, fact: &wire::TokenCreated) -> Result<(), Stop> {
        let customer: CustomerId = entry.id("customer", &fact.customer)?;
        refuse_unless(self.registry.customers.contains(&customer), Refusal::UnknownCustomer)?;
        let token = Token::new(
            customer,
            entry.bytes32("secret_hash", &fact.secret_hash)?,
            fact.uses_max,
            entry.instant("expires_at_ms", fact.expires_at_ms)?,
            fact.uses_per_hour,
        );
        let id = entry.id("token", &fact.token)?;
        refuse_unless(!self.registry.tokens.contains_key(&id), Refusal::Repeated)?;
        Arc::make_mut(&mut self.registry.tokens).insert(id, token);
        Ok(())
    }

    fn enrol(
        &mut self,
        entry: &Entry,
        fact: &wire::EnrolmentRequested,
        at: Timestamp,
    ) -> Result<Record, Stop> {
        let signed = fact.claim.as_ref().ok_or_else(|| entry.invalid("claim", "it is missing"))?;
        let claim: wire::EnrolmentClaim = entry.decode(&signed.payload)?;
        let key = entry.bytes32("public_key", &claim.public_key)?;
        let id = MachineId::derived_from(&key);
        let new = NewMachine {
            key,
            token: entry.id("token", &claim.token)?,
            agent_version: claim.agent_version.into(),
            facts: claim.facts.map(evidence::bounded).transpose().map_err(|_| Refusal::Malformed)?,
        };
        self.registry.enrol(&id, new, at)?;
        let customer = self.registry.machines[&id].customer.clone();
        Ok(Record::Entry(LedgerEntry::new(at, Event::MachineAssigned { machine: id, customer })))
    }

    fn receive(
        &mut self,
        entry: &Entry,
        fact: &wire::EvidenceReceived,
        mut evidence: Evidence,
        at: Timestamp,
    ) -> Result<Option<Record>, Stop> {
        if let Body::Report(report) = &mut evidence.body {
            self.registry.share(&mut report.seen);
        }
        let mut machine = self.registry.machines.get_mut(&evidence.machine).ok_or(Refusal::UnknownMachine)?;
        let standing =
            machine.standing(&evidence.spool, evidence.sequence, &evidence.previous, &evidence.hash);
        match standing {
            Standing::Next => {
                let tip = Tip { sequence: evidence.sequence, hash: evidence.hash };
                machine.continue_chain(&evidence.spool, tip, at);
            }
            Standing::Fork | Standing::Earlier if fact.forked => {
                machine.flags.insert(FORKED_SPOOL.to_owned(), at);
                self.note_fork(entry, &evidence, fact.fork_of_ms)?;
                machine = self.registry.machines.get_mut(&evidence.machine).ok_or(Refusal::UnknownMachine)?;
            }
            Standing::Tip | Standing::Earlier => return Err(Refusal::Repeated.into()),
            Standing::Fork | Standing::Broken => return Err(Refusal::BrokenChain.into()),
        }
        Ok(match evidence.body {
            Body::Report(report) => {
                self.orders.compare(&evidence.machine, &report.seen.last.products, evidence.observed_at);
                machine.remember(*report.seen);
                Some(Record::Report(report.record))
            }
            Body::OrderResult { told: None, .. } => None,
            Body::OrderResult { order, told: Some(told), detail } => {
                let (machine, order, detail) = (&evidence.machine, &order, detail.as_str());
                let (at, received_at) = (evidence.observed_at, evidence.received_at);
                let event = self.switched(&Answer { machine, order, told, detail, at, received_at });
                let switched = event.map(|event| LedgerEntry::new(evidence.observed_at, event));
                if let Some(switched) = &switched {
                    self.note(switched)?;
                }
                switched.map(Record::Entry)
            }
        })
    }

    /// Both sides of a fork are flagged, as far as they were accepted.
    fn note_fork(&mut self, entry: &Entry, evidence: &Evidence, original_ms: i64) -> Result<(), FoldError> {
        let Body::Report(report) = &evidence.body else { return Ok(()) };
        if judge(&report.record).is_err() || original_ms == 0 {
            return Ok(());
        }
        let original = entry.instant("fork_of_ms", original_ms)?;
        self.usage.note_fork(&evidence.machine, evidence.observed_at);
        self.usage.note_fork(&evidence.machine, original);
        Ok(())
    }

    /// What the registry shows of a metering record.
    fn note(&mut self, entry: &LedgerEntry) -> Result<(), Refusal> {
        match &entry.event {
            Event::MachineAssigned { machine, customer } => self.registry.assign(machine, customer)?,
            Event::MachineRetired { machine } => {
                self.known(machine)?.retired_at = Some(entry.at);
            }
            Event::MachineFlagged { machine, flag } => {
                self.known(machine)?.flags.insert(flag.clone(), entry.at);
            }
            // What an operator joined, only an operator parts.
            Event::MachinesMerged { kept, absorbed } if entry.operator.as_deref() == Some(COLLECTOR) => {
                self.known(absorbed)?.absorbed_into = Some((kept.clone(), entry.recorded_at));
            }
            Event::MachinesMerged { kept, absorbed } | Event::MachinesSplit { kept, absorbed } => {
                let into = &mut self.known(absorbed)?.absorbed_into;
                // What is said of a third changes nothing between these two.
                if into.as_ref().is_some_and(|(joined, _)| joined == kept) {
                    *into = None;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn known(&mut self, machine: &MachineId) -> Result<&mut Machine, Refusal> {
        self.registry.machines.get_mut(machine).ok_or(Refusal::UnknownMachine)
    }
}

#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod tests;
