//! What the fold grants and refuses.

use super::*;
use crate::record::QUANTITY_MAX;
use prost::Message as _;
use seatbeat_proto::ids::{SpoolId, TokenId};
use seatbeat_proto::instant;
use seatbeat_proto::signed::{Domain, hash, new_key, sign};
use seatbeat_proto::wire::JournalRecord;
use seatbeat_proto::wire::{
    CustomerAdded, EnrolmentRequested, EvidenceReceived, MachineBanned, MachineRetired, PolicySet,
    StatementSealed, TokenCreated, TokenRevoked,
};

const DAY_MS: i64 = 86_400_000;

/// A fold with its clock, and the bytes it was fed.
struct House {
    fold: Fold,
    now_ms: i64,
    journal: Vec<Vec<u8>>,
}

impl House {
    fn new() -> Self {
        let mut house = Self { fold: Fold::default(), now_ms: DAY_MS * 20_000, journal: Vec::new() };
        let key = new_key().verifying_key().to_bytes().to_vec();
        house.taken(Fact::Founded(wire::Founded {
            reseller: "rsl_a".into(),
            format: FORMAT,
            service_key: key.clone(),
            statement_key: key,
        }));
        house.taken(Fact::PolicySet(PolicySet {
            toml: "zone = \"Europe/Berlin\"".into(),
            ..Default::default()
        }));
        house.taken(Fact::CustomerAdded(CustomerAdded { customer: "cus_a".into() }));
        house
    }

    fn write(&mut self, fact: Fact) -> Result<Verdict, FoldError> {
        let record = JournalRecord { recorded_at_ms: self.now_ms, fact: Some(fact), ..Default::default() };
        let bytes = record.encode_to_vec();
        self.journal.push(bytes.clone());
        self.fold.apply(&bytes)
    }

    fn taken(&mut self, fact: Fact) {
        assert_eq!(self.write(fact).unwrap(), Verdict::Taken);
    }

    fn taken_of(&mut self, actor: &str, fact: Fact) {
        let recorded_at_ms = self.now_ms;
        let actor = actor.to_owned();
        let record = JournalRecord { recorded_at_ms, actor, fact: Some(fact), ..Default::default() };
        let bytes = record.encode_to_vec();
        self.journal.push(bytes.clone());
        assert_eq!(self.fold.apply(&bytes).unwrap(), Verdict::Taken);
    }

    fn refused(&mut self, fact: Fact, refusal: Refusal) {
        assert_eq!(self.write(fact).unwrap(), Verdict::Refused(refusal));
    }

    fn token(&mut self, uses_max: u32, uses_per_hour: u32) {
        self.taken(Fact::TokenCreated(TokenCreated {
            token: "tok_a".into(),
            customer: "cus_a".into(),
            secret_hash: vec![1; 32],
            uses_max,
            expires_at_ms: self.now_ms + DAY_MS,
            uses_per_hour,
        }));
    }

    fn machine(&self, id: &MachineId) -> &Machine {
        self.fold.registry().machine(id).unwrap()
    }
}

fn claim(key: u8) -> (MachineId, Fact) {
    let public_key = vec![key; 32];
    let id = MachineId::derived_from(&public_key);
    let claim = wire::EnrolmentClaim { public_key, token: "tok_a".into(), ..Default::default() };
    let claim = wire::Signed { payload: claim.encode_to_vec(), signature: vec![0; 64] };
    (id, Fact::EnrolmentRequested(EnrolmentRequested { claim: Some(claim) }))
}

/// A report of one active product; `mark` makes its content differ.
fn report(machine: &MachineId, sequence: u64, previous: &[u8], at_ms: i64, mark: &str) -> wire::Signed {
    let found = wire::FoundProduct {
        product: "wfbs-svc".into(),
        state: wire::ProductState::Active.into(),
        version: mark.into(),
        ..Default::default()
    };
    let report = wire::Report { products: vec![found], agent_version: "0.1.0".into(), ..Default::default() };
    let evidence = wire::Evidence {
        machine: machine.to_string(),
        spool: "spl_a".into(),
        sequence,
        previous: previous.to_vec(),
        observed_at_ms: at_ms,
        body: Some(wire::evidence::Body::Report(report)),
        ..Default::default()
    };
    sign(&new_key(), Domain::Evidence, evidence.encode_to_vec())
}

fn received(evidence: &wire::Signed) -> Fact {
    Fact::EvidenceReceived(EvidenceReceived { evidence: Some(evidence.clone()), ..Default::default() })
}

fn spool() -> SpoolId {
    "spl_a".parse().unwrap()
}

#[test]
fn a_token_lets_in_as_many_as_it_may_and_no_more() {
    let mut house = House::new();
    house.token(2, 0);
    for key in [1, 2] {
        house.taken(claim(key).1);
    }
    house.refused(claim(3).1, Refusal::TokenUsedUp);
    let token: TokenId = "tok_a".parse().unwrap();
    assert_eq!(house.fold.registry().token(&token).unwrap().used, 2);
}

#[test]
fn the_same_key_is_let_in_once_and_costs_one_use() {
    let mut house = House::new();
    house.token(2, 0);
    house.taken(claim(1).1);
    house.refused(claim(1).1, Refusal::Repeated);
    house.taken(claim(2).1);
}

#[test]
fn a_token_has_an_hourly_rate_an_end_and_can_be_taken_back() {
    let mut house = House::new();
    house.token(9, 1);
    house.taken(claim(1).1);
    house.refused(claim(2).1, Refusal::TokenRate);
    house.now_ms += 3_600_000;
    house.taken(claim(2).1);
    house.now_ms += DAY_MS;
    house.refused(claim(3).1, Refusal::TokenExpired);
    house.taken(Fact::TokenRevoked(TokenRevoked { token: "tok_a".into() }));
    house.refused(claim(3).1, Refusal::TokenRevoked);
    house.refused(Fact::TokenRevoked(TokenRevoked { token: "tok_b".into() }), Refusal::UnknownToken);
}

#[test]
fn evidence_is_taken_in_the_order_of_its_chain_once() {
    let mut house = House::new();
    house.token(1, 0);
    let (id, enrol) = claim(1);
    house.taken(enrol);
    let first = report(&id, 1, &[], house.now_ms, "1");
    let second = report(&id, 2, &hash(&first.payload), house.now_ms, "2");
    house.refused(received(&report(&id, 1, &[7; 32], house.now_ms, "1")), Refusal::BrokenChain);
    house.taken(received(&first));
    house.refused(received(&first), Refusal::Repeated);
    house.refused(received(&report(&id, 3, &[0; 32], house.now_ms, "3")), Refusal::BrokenChain);
    house.refused(received(&report(&id, 2, &[0; 32], house.now_ms, "2")), Refusal::BrokenChain);
    house.taken(received(&second));
    house.refused(received(&first), Refusal::Repeated);
    assert_eq!(house.machine(&id).spools[&spool()], Tip { sequence: 2, hash: hash(&second.payload) });
}

#[test]
fn a_collector_that_lost_its_disk_takes_a_chain_up_where_the_agent_kept_it() {
    let mut house = House::new();
    house.token(1, 0);
    let (id, enrol) = claim(1);
    house.taken(enrol);
    house.taken(received(&report(&id, 41, &[5; 32], house.now_ms, "1")));
    assert_eq!(house.machine(&id).spools[&spool()].sequence, 41);
}

#[test]
fn a_fork_is_flagged_and_both_sides_count() {
    let mut house = House::new();
    house.token(1, 0);
    let (id, enrol) = claim(1);
    house.taken(enrol);
    let one = report(&id, 1, &[], house.now_ms, "1");
    let other = report(&id, 1, &[], house.now_ms + DAY_MS / 24 / 10, "2");
    house.taken(received(&one));
    house.refused(received(&other), Refusal::BrokenChain);
    house.taken(Fact::EvidenceReceived(EvidenceReceived {
        evidence: Some(other),
        forked: true,
        fork_of_ms: house.now_ms,
    }));
    assert!(house.machine(&id).flags.contains_key("forked_spool"));
    assert_eq!(house.machine(&id).spools[&spool()].hash, hash(&one.payload));
    let facts = &house.fold.usage().machines()[&id];
    assert_eq!(facts.forked.len(), 1);
}

#[test]
fn a_report_of_a_clock_that_was_ahead_does_not_stand_for_the_machine() {
    let mut house = House::new();
    house.token(1, 0);
    let (id, fact) = claim(7);
    house.taken(fact);
    let mut previous = Vec::new();
    for (sequence, days_ahead) in [(1, 400), (2, 0), (3, -1)] {
        let says = report(&id, sequence, &previous, house.now_ms + days_ahead * DAY_MS, "1");
        previous = hash(&says.payload).to_vec();
        house.taken(received(&says));
    }
    let last = house.machine(&id).last.as_ref().unwrap();
    assert_eq!(instant::to_ms(last.observed_at), house.now_ms);
}

#[test]
fn a_chain_that_has_been_still_for_two_months_is_forgotten_when_another_begins() {
    let mut house = House::new();
    house.token(1, 0);
    let (id, fact) = claim(7);
    house.taken(fact);
    for (spool, days_later, known) in [
        ("spl_a", 0, &["spl_a"][..]),
        ("spl_b", 62, &["spl_a", "spl_b"]),
        ("spl_c", 1, &["spl_b", "spl_c"]),
        ("spl_c", 70, &["spl_b", "spl_c"]),
    ] {
        house.now_ms += days_later * DAY_MS;
        let tip = house.machine(&id).spools.get(&spool.parse::<SpoolId>().unwrap()).copied();
        let (sequence, previous) = tip.map_or((1, Vec::new()), |tip| (tip.sequence + 1, tip.hash.to_vec()));
        let says = report(&id, sequence, &previous, house.now_ms, "1");
        let mut evidence = wire::Evidence::decode(says.payload.as_slice()).unwrap();
        evidence.spool = spool.to_owned();
        house.taken(received(&sign(&new_key(), Domain::Evidence, evidence.encode_to_vec())));
        let spools: Vec<&str> = house.machine(&id).spools.keys().map(SpoolId::as_str).collect();
        assert_eq!(spools, known, "{days_later} days later");
    }
}

#[test]
fn evidence_that_is_malformed_or_of_nobody_changes_nothing() {
    let mut house = House::new();
    house.token(1, 0);
    let (id, enrol) = claim(1);
    house.refused(received(&report(&id, 1, &[], house.now_ms, "1")), Refusal::UnknownMachine);
    house.taken(enrol);
    let usage = house.fold.usage().clone();
    let garbage = wire::Signed { payload: vec![0xff; 9], signature: vec![] };
    house.refused(received(&garbage), Refusal::Malformed);
    assert_eq!(*house.fold.usage(), usage);
}

#[test]
fn what_an_operator_says_of_a_machine_shows() {
    let mut house = House::new();
    house.token(1, 0);
    let (id, enrol) = claim(1);
    house.taken(enrol);
    house.taken(Fact::MachineBanned(MachineBanned { machine: id.to_string(), banned: true }));
    assert!(house.machine(&id).banned);
    let retired = MachineRetired { machine: id.to_string(), at_ms: house.now_ms };
    house.taken(Fact::MachineRetired(retired.clone()));
    assert!(house.machine(&id).retired_at.is_some());
    let unknown = MachineRetired { machine: "mch_nobody".into(), ..retired };
    house.refused(Fact::MachineRetired(unknown), Refusal::UnknownMachine);
}

#[test]
fn a_quantity_is_taken_up_to_the_largest_that_is_billed() {
    let mut house = House::new();
    let declared = |quantity: u64| {
        let (customer, sku, period) = ("cus_a".to_owned(), "A".to_owned(), "2026-10".to_owned());
        Fact::Declared(wire::Declared { customer, sku, period, quantity, ..Default::default() })
    };
    house.taken(declared(QUANTITY_MAX));
    let error = house.write(declared(QUANTITY_MAX + 1)).unwrap_err();
    assert!(matches!(error, FoldError::Invalid { field: "quantity", .. }), "{error}");
}

#[test]
fn the_billing_zone_stays_once_there_is_evidence() {
    let mut house = House::new();
    house.taken(Fact::PolicySet(PolicySet { toml: "zone = \"UTC\"".into(), ..Default::default() }));
    house.token(1, 0);
    house.taken(claim(1).1);
    house.refused(
        Fact::PolicySet(PolicySet { toml: "zone = \"Europe/Berlin\"".into(), ..Default::default() }),
        Refusal::ZoneFixed,
    );
    house.refused(
        Fact::PolicySet(PolicySet { toml: "zone = 7".into(), ..Default::default() }),
        Refusal::Malformed,
    );
    assert_eq!(house.fold.policy(), Some("zone = \"UTC\""));
}

#[test]
fn a_statement_is_sealed_once_for_each_revision() {
    let mut house = House::new();
    let sealed = |revision, body: &[u8]| {
        let statement = Some(wire::Signed { payload: body.to_vec(), signature: vec![0; 64] });
        let (distributor, period) = ("ingram".to_owned(), "2026-10".to_owned());
        Fact::StatementSealed(StatementSealed { distributor, period, revision, statement })
    };
    house.taken(sealed(1, b"one"));
    house.refused(sealed(1, b"other"), Refusal::Sealed);
    let period: Period = "2026-10".parse().unwrap();
    assert_eq!(house.fold.sealed(period).next().unwrap().1.body, b"one");
    house.taken(sealed(2, b"two"));
}

#[test]
fn folding_the_same_journal_again_gives_the_same_state() {
    let mut house = House::new();
    house.token(2, 0);
    for key in [1, 2, 3] {
        let (id, enrol) = claim(key);
        house.write(enrol).unwrap();
        house.write(received(&report(&id, 1, &[], house.now_ms, "1"))).unwrap();
        house.now_ms += DAY_MS / 3;
    }
    let mut again = Fold::default();
    for record in &house.journal {
        again.apply(record).unwrap();
    }
    assert_eq!(again, house.fold);
    assert_eq!(again.root(), house.fold.root());
    assert_eq!(again.position(), house.journal.len() as u64);
}

#[test]
fn a_record_of_a_newer_version_stops_the_fold_and_leaves_it_as_it_was() {
    let mut house = House::new();
    let before = house.fold.clone();
    let unknown = JournalRecord { recorded_at_ms: 1, ..Default::default() }.encode_to_vec();
    assert!(matches!(house.fold.apply(&unknown), Err(FoldError::UnknownFact(3))));
    assert!(matches!(house.fold.apply(&[0xff]), Err(FoldError::Undecodable { position: 3, .. })));
    assert_eq!(house.fold, before);
}

#[test]
fn settings_change_one_revision_at_a_time() {
    let mut house = House::new();
    let changed = |revision, beat_interval_s| {
        let settings = wire::Settings { revision, beat_interval_s, ..Default::default() };
        Fact::SettingsChanged(wire::SettingsChanged { settings: Some(settings) })
    };
    house.taken(changed(1, 60));
    house.refused(changed(1, 30), Refusal::Repeated);
    house.refused(changed(3, 30), Refusal::Repeated);
    house.taken(changed(2, 30));
    assert_eq!(house.fold.settings().unwrap().beat_interval_s, 30);
}

#[test]
fn a_pushed_catalogue_gives_way_to_a_newer_one_only() {
    let mut house = House::new();
    let pushed = |version, file: &str| {
        let catalogue = Some(wire::Signed { payload: file.into(), signature: vec![7; 64] });
        Fact::CataloguePushed(wire::CataloguePushed { version, catalogue })
    };
    assert_eq!(house.fold.catalogue(), None);
    house.refused(pushed(0, "none"), Refusal::NotNewer);
    house.taken(pushed(3, "third"));
    house.refused(pushed(3, "third, again"), Refusal::NotNewer);
    house.refused(pushed(2, "second"), Refusal::NotNewer);
    assert_eq!(house.fold.catalogue().unwrap().file, b"third");
    house.taken(pushed(4, "fourth"));
    let held = house.fold.catalogue().unwrap();
    assert_eq!((held.version, held.file.as_slice()), (4, b"fourth".as_slice()));
    assert_eq!(instant::to_ms(held.pushed_at), house.now_ms);
}

#[test]
fn what_the_collector_joined_is_parted_for_those_two_alone() {
    let mut house = House::new();
    house.token(3, 0);
    let ids = [1, 2, 3].map(|key| {
        let (id, enrol) = claim(key);
        house.taken(enrol);
        id
    });
    let [absorbed, kept, third] = &ids;
    let at_ms = house.now_ms;
    let merged = |kept: &MachineId| {
        let (kept, absorbed) = (kept.to_string(), absorbed.to_string());
        Fact::MachinesMerged(wire::MachinesMerged { kept, absorbed, at_ms })
    };
    let split = |kept: &MachineId| {
        let (kept, absorbed) = (kept.to_string(), absorbed.to_string());
        Fact::MachinesSplit(wire::MachinesSplit { kept, absorbed, at_ms: at_ms + 1 })
    };
    let joined_to = |house: &House| house.machine(absorbed).absorbed_into.clone().map(|(kept, _)| kept);
    house.taken_of(COLLECTOR, merged(kept));
    assert_eq!(joined_to(&house).as_ref(), Some(kept));
    house.taken(merged(third));
    house.taken(split(third));
    assert_eq!(joined_to(&house).as_ref(), Some(kept), "a third was meant");
    house.taken(split(kept));
    assert_eq!(joined_to(&house), None);
}
