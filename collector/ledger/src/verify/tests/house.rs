//! A reseller with a real journal: keys, signed chains of evidence, sealed months, bundles, samples and exports.
//! Invariant: everything follows from the calls made, so that the same calls give the same bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};

use crate::body::{JournalCut, SealedBody, StatementBody, bodies_by_distributor};
use crate::bundle::gather::{GatherInput, MonthEvidence};
use crate::bundle::place::Place;
use crate::bundle::pseudonym::PseudonymKey;
use crate::bundle::write::Part;
use crate::calendar::Period;
use crate::checkpoint::{Checkpoint, origin};
use crate::close::{CloseInput, close, seats};
use crate::fold::Fold;
use crate::jcs::JcsError;
use crate::merkle::{Frontier, leaf};
use crate::policy::Policy;
use crate::proof::Harvest;
use crate::sample::{Sample, SampleError, Sampler};
use crate::sealed::{body_bytes, file, seal};
use crate::statement::Statement;
use crate::verify::{Level, Question, Replay};

pub(crate) struct House {
    pub reseller: String,
    pub statement_key: SigningKey,
    pub service_key: SigningKey,
    pub pseudonyms: PseudonymKey,
    pub fold: Fold,
    pub journal: Vec<Vec<u8>>,
    pub now_ms: i64,
    chains: BTreeMap<u8, Chain>,
    /// What agents have seen last.
    pub checkpoint: String,
}

#[derive(Default)]
struct Chain {
    spool: u32,
    sequence: u64,
    previous: Vec<u8>,
}

pub(crate) fn ms(text: &str) -> i64 {
    format!("2026-{}:00Z", text.replace(' ', "T")).parse::<Timestamp>().unwrap().as_millisecond()
}

fn machine_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(crate) fn machine_id(number: u8) -> MachineId {
    MachineId::derived_from(machine_key(number).verifying_key().as_bytes())
}

impl House {
    pub fn new(reseller: &str, policy: &str, customers: &[&str]) -> Self {
        let seed = u8::try_from(reseller.len()).unwrap();
        let key = |more: u8| SigningKey::from_bytes(&[100 + seed + more; 32]);
        let mut house = Self {
            reseller: reseller.to_owned(),
            statement_key: key(0),
            service_key: key(20),
            pseudonyms: PseudonymKey::derived_from(&[seed; 32]),
            fold: Fold::default(),
            journal: Vec::new(),
            now_ms: ms("08-01 00:00"),
            chains: BTreeMap::new(),
            checkpoint: String::new(),
        };
        house.write(Fact::Founded(wire::Founded {
            reseller: reseller.to_owned(),
            format: 1,
            service_key: house.service_key.verifying_key().to_bytes().to_vec(),
            statement_key: house.statement_key.verifying_key().to_bytes().to_vec(),
        }));
        house.write(Fact::PolicySet(wire::PolicySet { toml: policy.to_owned(), ..Default::default() }));
        for customer in customers {
            house.write(Fact::CustomerAdded(wire::CustomerAdded { customer: (*customer).to_owned() }));
            house.write(Fact::TokenCreated(wire::TokenCreated {
                token: customer.replace("cus_", "tok_"),
                customer: (*customer).to_owned(),
                secret_hash: vec![1; 32],
                uses_max: 1000,
                expires_at_ms: ms("12-31 00:00"),
                uses_per_hour: 0,
            }));
        }
        house
    }

    pub fn at(&mut self, at: &str) -> &mut Self {
        self.now_ms = ms(at);
        self
    }

    pub fn write(&mut self, fact: Fact) {
        let record = JournalRecord {
            recorded_at_ms: self.now_ms,
            actor: "collector".into(),
            fact: Some(fact),
            ..Default::default()
        };
        let bytes = record.encode_to_vec();
        self.fold.apply(&bytes).unwrap();
        self.journal.push(bytes);
    }

    pub fn enrol(&mut self, number: u8, customer: &str) {
        let claim = wire::EnrolmentClaim {
            public_key: machine_key(number).verifying_key().to_bytes().to_vec(),
            token: customer.replace("cus_", "tok_"),
            ..Default::default()
        };
        let claim = sign(&machine_key(number), Domain::EnrolmentClaim, claim.encode_to_vec());
        self.write(Fact::EnrolmentRequested(wire::EnrolmentRequested { claim: Some(claim) }));
    }

    /// A report received now, observed at its instant: `a` is active, `a-` inactive, `a?` unknown.
    pub fn report(&mut self, number: u8, observed_at_ms: i64, products: &str) {
        let found = |word: &str| {
            let (name, state) = match word.split_at(word.len() - 1) {
                (name, "-") => (name, wire::ProductState::Inactive),
                (name, "?") => (name, wire::ProductState::Unknown),
                _ => (word, wire::ProductState::Active),
            };
            wire::FoundProduct { product: name.to_owned(), state: state.into(), ..Default::default() }
        };
        let report =
            wire::Report { products: products.split_whitespace().map(found).collect(), ..Default::default() };
        let chain = self.chains.entry(number).or_default();
        chain.sequence += 1;
        let evidence = wire::Evidence {
            machine: machine_id(number).to_string(),
            spool: format!("spl_{number}_{}", chain.spool),
            sequence: chain.sequence,
            previous: std::mem::take(&mut chain.previous),
            observed_at_ms,
            checkpoint: self.checkpoint.clone(),
            body: Some(wire::evidence::Body::Report(report)),
            ..Default::default()
        };
        let signed = sign(&machine_key(number), Domain::Evidence, evidence.encode_to_vec());
        chain.previous = hash(&signed.payload).to_vec();
        self.write(Fact::EvidenceReceived(wire::EvidenceReceived {
            evidence: Some(signed),
            ..Default::default()
        }));
    }

    pub fn reports(&mut self, number: u8, days: impl IntoIterator<Item = u8>, products: &str) {
        for day in days {
            let at = ms(&format!("10-{day:02} 06:00"));
            self.now_ms = at + 500;
            self.report(number, at, products);
        }
    }

    /// A new chain for the machine's next report.
    pub fn new_spool(&mut self, number: u8) {
        let chain = self.chains.entry(number).or_default();
        (chain.spool, chain.sequence, chain.previous) = (chain.spool + 1, 0, Vec::new());
    }

    pub fn checkpoint_of(&self, size: usize) -> String {
        let mut log = Frontier::default();
        self.journal[..size].iter().for_each(|record| log.append(record));
        let origin = origin(&self.reseller.parse().unwrap());
        Checkpoint { origin, size: size as u64, root: log.root() }.sign(&self.service_key)
    }

    fn policy(&self) -> Policy {
        Policy::parse(self.fold.policy().unwrap()).unwrap()
    }

    fn gather(&self, fold: &Fold, period: Period) -> MonthEvidence {
        let policy = self.policy();
        let seats = seats(fold.usage(), &policy, period, None);
        MonthEvidence::gather(GatherInput {
            usage: fold.usage(),
            registry: Some(fold.registry()),
            policy: &policy,
            period,
            seats: &seats,
        })
    }

    fn sealed_bodies(&self, period: Period) -> Vec<Vec<u8>> {
        let earlier = [period.previous().previous(), period.previous()];
        let all = earlier.into_iter().flat_map(|period| self.fold.sealed(period));
        all.map(|(_, sealed)| sealed.body.clone()).collect()
    }

    /// Closes and seals a month for all its distributors.
    pub fn seal(&mut self, period: &str) {
        let journal = JournalCut { size: self.fold.position(), root: STANDARD.encode(self.fold.root()) };
        for body in self.bodies(period, &journal) {
            self.seal_body(&body);
        }
    }

    /// Closes from the fold at hand, but names the cut of another, and goes on with that.
    pub fn seal_as_of(&mut self, period: &str, whole: &Fold) {
        let journal = JournalCut { size: whole.position(), root: STANDARD.encode(whole.root()) };
        let bodies = self.bodies(period, &journal);
        self.fold = whole.clone();
        bodies.iter().for_each(|body| self.seal_body(body));
    }

    fn bodies(&self, period: &str, journal: &JournalCut) -> Vec<StatementBody> {
        let period: Period = period.parse().unwrap();
        let policy = self.policy();
        let bodies = self.sealed_bodies(period);
        let sealed: Vec<SealedBody> =
            bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
        let output = close(CloseInput {
            usage: self.fold.usage(),
            usage_elsewhere: &[],
            policy: &policy,
            period,
            as_of: None,
            sealed: &sealed,
        })
        .unwrap();
        let evidence = self.gather(&self.fold, period);
        let reseller = self.reseller.parse().unwrap();
        let service_key = self.service_key.verifying_key().to_bytes();
        let body = |(distributor, statement): (String, Statement)| {
            let part = Part { evidence: &evidence, key: &self.pseudonyms, period, distributor: &distributor };
            let evidence = Some(part.commitment(&reseller, service_key));
            StatementBody {
                statement,
                distributor: distributor.clone(),
                revision: 1,
                policy: policy.public_toml_or_json(),
                rules_version: crate::RULES_VERSION,
                zone_data: crate::zone_data_version(),
                journal: journal.clone(),
                evidence,
            }
        };
        bodies_by_distributor(&output.statement).into_iter().map(body).collect()
    }

    pub fn seal_body(&mut self, body: &StatementBody) {
        let statement = seal(body_bytes(body).unwrap(), &self.statement_key);
        self.write(Fact::StatementSealed(wire::StatementSealed {
            distributor: body.distributor.clone(),
            period: body.statement.period.to_string(),
            revision: u32::try_from(body.revision).unwrap(),
            statement: Some(statement),
        }));
    }

    pub fn distributors(&self, period: &str) -> Vec<String> {
        self.fold.sealed(period.parse().unwrap()).map(|(name, _)| name.to_owned()).collect()
    }

    fn sealed(&self, period: Period, distributor: &str) -> (wire::Signed, StatementBody, u64) {
        let (_, sealed) = self.fold.sealed(period).find(|(name, _)| *name == distributor).unwrap();
        let statement = wire::Signed { payload: sealed.body.clone(), signature: sealed.signature.clone() };
        let is_it = |record: &Vec<u8>| {
            let fact = JournalRecord::decode(record.as_slice()).unwrap().fact;
            matches!(fact, Some(Fact::StatementSealed(one)) if one.statement.as_ref() == Some(&statement))
        };
        let sealed_at = self.journal.iter().position(is_it).unwrap() as u64;
        let body = serde_json::from_slice(&statement.payload).unwrap();
        (statement, body, sealed_at)
    }

    /// What the first records of the journal amount to.
    pub fn fold_of(&self, size: usize) -> Fold {
        let mut fold = Fold::default();
        self.journal[..size].iter().for_each(|record| _ = fold.apply(record).unwrap());
        fold
    }

    fn fold_at_cut(&self, period: &str, distributor: &str) -> Fold {
        let (_, body, _) = self.sealed(period.parse().unwrap(), distributor);
        self.fold_of(usize::try_from(body.journal.size).unwrap())
    }

    /// The bundle of a month, with proofs from these sizes; `names`: with real names.
    pub fn bundle(&self, period: &str, distributor: &str, earlier: &[u64], names: bool) -> String {
        self.bundle_with(period, distributor, &self.fold_at_cut(period, distributor), earlier, names)
    }

    /// A bundle with the evidence of this fold.
    pub fn bundle_of(&self, period: &str, distributor: &str, fold: &Fold) -> String {
        self.bundle_with(period, distributor, fold, &[], false)
    }

    fn bundle_with(
        &self,
        period: &str,
        distributor: &str,
        fold: &Fold,
        earlier: &[u64],
        names: bool,
    ) -> String {
        let period: Period = period.parse().unwrap();
        let (statement, body, sealed_at) = self.sealed(period, distributor);
        let head = self.journal.len();
        let place = Place { cut: body.journal.size, sealed_at, head: head as u64, earlier: earlier.to_vec() };
        let mut harvest = Harvest::default();
        place.want(&mut harvest).unwrap();
        self.journal.iter().for_each(|record| harvest.append_leaf(leaf(record)));
        let record = &self.journal[usize::try_from(sealed_at).unwrap()];
        let checkpoint = self.checkpoint_of(head);
        let log = place.proofs(&harvest, record, &statement, &body.journal.root, checkpoint).unwrap();
        let evidence = self.gather(fold, period);
        let part = Part { evidence: &evidence, key: &self.pseudonyms, period, distributor };
        let file = file(&statement, self.statement_key.verifying_key().as_bytes()).unwrap();
        let mut text = String::new();
        let host = |machine: &MachineId| format!("host of {machine}");
        let write = |line: &str| -> Result<(), JcsError> {
            text.push_str(line);
            text.push('\n');
            Ok(())
        };
        let hosts: Option<&dyn Fn(&MachineId) -> String> = if names { Some(&host) } else { None };
        part.write(serde_json::from_slice(&file).unwrap(), &log, hosts, write).unwrap();
        text
    }

    pub fn sample(&self, period: &str, distributor: &str, nonce: &str) -> Result<Sample, SampleError> {
        let (_, body, _) = self.sealed(period.parse().unwrap(), distributor);
        let fold = self.fold_of(usize::try_from(body.journal.size).unwrap());
        self.sampled(period, distributor, nonce, &fold, &fold)
    }

    /// A sample that opens the machines of this fold only.
    pub fn sample_of(&self, period: &str, distributor: &str, nonce: &str, fold: &Fold) -> Sample {
        self.sampled(period, distributor, nonce, fold, &self.fold).unwrap()
    }

    fn sampled(
        &self,
        period: &str,
        distributor: &str,
        nonce: &str,
        fold: &Fold,
        known: &Fold,
    ) -> Result<Sample, SampleError> {
        let period: Period = period.parse().unwrap();
        let (statement, body, _) = self.sealed(period, distributor);
        let read = |index: u64| Ok(self.journal[usize::try_from(index).unwrap()].clone());
        let mut sampler =
            Sampler::new::<SampleError>(nonce, hash(&statement.payload), body.journal.size, read)?;
        let records = || self.journal.iter().zip(0..body.journal.size);
        records().for_each(|(record, index)| sampler.look(index, record));
        records().for_each(|(record, _)| sampler.append_leaf(leaf(record)));
        let evidence = self.gather(fold, period);
        let part = Part { evidence: &evidence, key: &self.pseudonyms, period, distributor };
        sampler.answer(&part, known.registry())
    }

    pub fn replay(&self, period: &str, distributor: &str) -> Replay {
        let period: Period = period.parse().unwrap();
        let (_, body, _) = self.sealed(period, distributor);
        let mut fold = Fold::default();
        let mut records = String::new();
        for record in &self.journal[..usize::try_from(body.journal.size).unwrap()] {
            if let (_, Some(counted)) = fold.replay(record).unwrap() {
                records.push_str(&counted.to_json_line());
                records.push('\n');
            }
        }
        let bodies: Vec<String> =
            self.sealed_bodies(period).into_iter().map(|body| String::from_utf8(body).unwrap()).collect();
        let sealed = (!bodies.is_empty()).then(|| format!("[{}]", bodies.join(",")));
        Replay { records, policy: fold.policy().unwrap_or_default().to_owned(), sealed }
    }

    /// Asks everything there is to ask of a bundle.
    pub fn question(&self, level: Level) -> Question {
        Question {
            key: Some(self.statement_key.verifying_key()),
            level,
            checkpoint: None,
            witnesses: Vec::new(),
            sample: None,
            replay: None,
        }
    }
}
