//! The golden journal: records that were written once and are folded to the same state by every later version.
//! `SEATBEAT_BLESS=1 cargo test golden` writes those that are missing: a new file beside the old, never over it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_ledger::close::{CloseInput, close};
use seatbeat_ledger::fold::{Fold, Verdict};
use seatbeat_proto::frame::{self, Frame};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};

mod operators;
mod orders;
mod sent;

const DAY_MS: i64 = 86_400_000;
/// 2026-09-28T12:00:00Z
const START_MS: i64 = 1_790_596_800_000;

const POLICY: &str = r#"
zone = "Europe/Berlin"
[default_sku]
wfbs-svc = "WF-SVC"
dsa-cloud = "DS-CLOUD"
[sku.WF-SVC]
price_group = "worry-free"
[price_group.worry-free]
distributor = "ingram"
currency = "EUR"
tiers = [{ from = 1, cost = "2.10" }, { from = 2, cost = "1.80" }]
[price.WF-SVC]
reseller = "4.00"
"#;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/golden").join(name)
}

/// Writes records with fixed keys and instants.
struct Scribe {
    now_ms: i64,
    file: Vec<u8>,
    records: u64,
}

impl Scribe {
    fn write(&mut self, actor: &str, reason: &str, fact: Fact) {
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        let record = JournalRecord {
            recorded_at_ms: self.now_ms,
            actor,
            reason,
            fact: Some(fact),
            ..Default::default()
        };
        frame::append(&mut self.file, &record.encode_to_vec()).expect("a record fits into a frame");
        self.records += 1;
    }

    /// How many records it has written: the position of the next.
    fn records(&self) -> u64 {
        self.records
    }

    fn days(&mut self, days: i64) {
        self.now_ms += days * DAY_MS;
    }
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn machine(number: u8) -> MachineId {
    MachineId::derived_from(key(number).verifying_key().as_bytes())
}

fn enrol(number: u8) -> Fact {
    let claim = wire::EnrolmentClaim {
        public_key: key(number).verifying_key().to_bytes().to_vec(),
        token: "tok_golden".into(),
        claimed_at_ms: START_MS,
        facts: Some(wire::Facts {
            smbios_uuid: vec![number; 16],
            os: "windows".into(),
            ..Default::default()
        }),
        agent_version: "0.1.0".into(),
    };
    let claim = Some(sign(&key(number), Domain::EnrolmentClaim, claim.encode_to_vec()));
    Fact::EnrolmentRequested(wire::EnrolmentRequested { claim })
}

/// Evidence that begins or continues a chain; answers its hash for the next one.
fn report(
    number: u8,
    sequence: u64,
    previous: &[u8],
    at_ms: i64,
    products: &[(&str, wire::ProductState)],
) -> wire::Signed {
    let products = products
        .iter()
        .map(|(product, state)| wire::FoundProduct {
            product: (*product).into(),
            state: (*state).into(),
            version: "6.7.3".into(),
            signals: vec!["service:svcGenericHost".into()],
            why: String::new(),
        })
        .collect();
    let report =
        wire::Report { products, agent_version: "0.1.0".into(), catalogue_version: 1, ..Default::default() };
    let evidence = wire::Evidence {
        machine: machine(number).to_string(),
        spool: format!("spl_{number}"),
        sequence,
        previous: previous.to_vec(),
        observed_at_ms: at_ms,
        body: Some(wire::evidence::Body::Report(report)),
        ..Default::default()
    };
    sign(&key(number), Domain::Evidence, evidence.encode_to_vec())
}

fn received(evidence: wire::Signed) -> Fact {
    Fact::EvidenceReceived(wire::EvidenceReceived { evidence: Some(evidence), ..Default::default() })
}

fn first_records(scribe: &mut Scribe) {
    let public = |number: u8| key(number).verifying_key().to_bytes().to_vec();
    scribe.write(
        "collector",
        "founded",
        Fact::Founded(wire::Founded {
            reseller: "rsl_golden".into(),
            format: 1,
            service_key: public(201),
            statement_key: public(202),
        }),
    );
    let operator =
        wire::OperatorAdded { operator: "opr_golden".into(), token_hash: vec![7; 32], ..Default::default() };
    scribe.write("collector", "founded", Fact::OperatorAdded(operator));
    scribe.write(
        "opr_golden",
        "",
        Fact::PolicySet(wire::PolicySet { toml: POLICY.into(), ..Default::default() }),
    );
    for customer in ["cus_a", "cus_b"] {
        let added = wire::CustomerAdded { customer: customer.into() };
        scribe.write("opr_golden", "", Fact::CustomerAdded(added));
    }
    scribe.write(
        "opr_golden",
        "",
        Fact::TokenCreated(wire::TokenCreated {
            token: "tok_golden".into(),
            customer: "cus_a".into(),
            secret_hash: vec![9; 32],
            uses_max: 3,
            expires_at_ms: START_MS + 40 * DAY_MS,
            uses_per_hour: 0,
        }),
    );
    for number in 1..=4 {
        scribe.write(machine(number).as_str(), "", enrol(number));
    }
}

fn month(scribe: &mut Scribe) {
    use wire::ProductState::{Active, Inactive, Unknown};
    let mut tips = [vec![], vec![], vec![]];
    for sequence in 1..=6 {
        scribe.days(4);
        for (index, number) in [1, 2, 3].into_iter().enumerate() {
            let state = if number == 3 && sequence > 2 { Inactive } else { Active };
            let second = if sequence == 4 { Unknown } else { Active };
            let products = [("wfbs-svc", state), ("dsa-cloud", second)];
            let at_ms = scribe.now_ms - i64::from(number) * 60_000;
            let evidence = report(number, sequence, &tips[index], at_ms, &products);
            tips[index] = hash(&evidence.payload).to_vec();
            scribe.write(machine(number).as_str(), "", received(evidence.clone()));
            if sequence == 2 {
                scribe.write(machine(number).as_str(), "", received(evidence));
            }
        }
    }
    let fork = report(1, 3, &[1; 32], START_MS + 12 * DAY_MS, &[("wfbs-svc", Active)]);
    let fork_of_ms = START_MS + 12 * DAY_MS - 60_000;
    let forked = wire::EvidenceReceived { evidence: Some(fork), forked: true, fork_of_ms };
    scribe.write(machine(1).as_str(), "", Fact::EvidenceReceived(forked));
    let ahead = report(2, 7, &tips[1], scribe.now_ms + DAY_MS, &[("wfbs-svc", Active)]);
    scribe.write(machine(2).as_str(), "", received(ahead));
}

fn decisions(scribe: &mut Scribe) {
    let at_ms = scribe.now_ms;
    let (customer, sku, period) = ("cus_a".to_owned(), "WF-SVC".to_owned(), "2026-10".to_owned());
    let machine = |number| machine(number).to_string();
    let facts = [
        Fact::MachineAssigned(wire::MachineAssigned { machine: machine(2), customer: "cus_b".into(), at_ms }),
        Fact::SkuAssigned(wire::SkuAssigned {
            customer: "cus_b".into(),
            product: "dsa-cloud".into(),
            sku: None,
            at_ms: START_MS,
        }),
        Fact::MachineFlagged(wire::MachineFlagged {
            machine: machine(3),
            flag: "possible_clone".into(),
            at_ms,
        }),
        Fact::MachinesMerged(wire::MachinesMerged { kept: machine(1), absorbed: machine(3), at_ms }),
        Fact::MachinesSplit(wire::MachinesSplit { kept: machine(1), absorbed: machine(3), at_ms: at_ms + 1 }),
        Fact::MachineRetired(wire::MachineRetired { machine: machine(3), at_ms }),
        Fact::MachineBanned(wire::MachineBanned { machine: machine(3), banned: true }),
        Fact::LicenceSuspended(wire::LicenceSuspended {
            customer: customer.clone(),
            sku: "DS-CLOUD".into(),
            at_ms,
            receipt: "r-1".into(),
        }),
        Fact::LicenceResumed(wire::LicenceResumed {
            customer: customer.clone(),
            sku: "DS-CLOUD".into(),
            at_ms: at_ms + DAY_MS,
            receipt: "r-2".into(),
        }),
        Fact::Declared(wire::Declared {
            customer: customer.clone(),
            sku: sku.clone(),
            period: period.clone(),
            quantity: 4,
            at_ms,
        }),
        Fact::Adjusted(wire::Adjusted { customer, sku, period, delta: -1, at_ms }),
        Fact::TokenRevoked(wire::TokenRevoked { token: "tok_golden".into() }),
        Fact::OperatorRevoked(wire::OperatorRevoked { operator: "opr_golden".into() }),
    ];
    for fact in facts {
        scribe.write("opr_golden", "as agreed", fact);
    }
    let order = wire::Order {
        order: "ord_golden".into(),
        machine: machine(2),
        action: wire::Action::SwitchOff.into(),
        product: "dsa-cloud".into(),
        sequence: 50,
        epoch: 0,
        issued_at_ms: at_ms,
        expires_at_ms: at_ms + DAY_MS,
        ..wire::Order::default()
    };
    let order = Some(sign(&key(203), Domain::Order, order.encode_to_vec()));
    scribe.write("opr_golden", "left", Fact::OrderPlaced(wire::OrderPlaced { order, ..Default::default() }));
    let statement = Some(sign(&key(202), Domain::Statement, b"{\"period\":\"2026-09\"}".to_vec()));
    let sealed = wire::StatementSealed {
        distributor: "ingram".into(),
        period: "2026-09".into(),
        revision: 1,
        statement,
    };
    scribe.write("collector", "", Fact::StatementSealed(sealed));
}

/// What agents are told: facts that came after the first golden journal was written.
fn words_to_agents(scribe: &mut Scribe) {
    for revision in [1, 2] {
        let settings = Some(wire::Settings { revision, beat_interval_s: 30, ..Default::default() });
        scribe.write("collector", "", Fact::SettingsChanged(wire::SettingsChanged { settings }));
    }
    for version in [2, 4, 3] {
        scribe.days(1);
        let file = format!("schema = \"seatbeat-catalogue/1\"\nversion = {version}\n");
        let catalogue = Some(sign(&key(204), Domain::Catalogue, file.into_bytes()));
        let fact = wire::CataloguePushed { version, catalogue };
        scribe.write("opr_golden", "a new product", Fact::CataloguePushed(fact));
    }
}

/// A golden journal: its name, and what writes it.
type Golden = (&'static str, fn(&mut Scribe));

const JOURNALS: [Golden; 7] = [
    ("journal-1", |scribe| {
        first_records(scribe);
        month(scribe);
        decisions(scribe);
    }),
    ("journal-2", |scribe| {
        first_records(scribe);
        words_to_agents(scribe);
        month(scribe);
    }),
    ("journal-3", |scribe| {
        first_records(scribe);
        month(scribe);
        terms(scribe);
    }),
    ("journal-4", |scribe| {
        first_records(scribe);
        month(scribe);
        approvals(scribe);
    }),
    ("journal-5", |scribe| {
        first_records(scribe);
        month(scribe);
        orders::write(scribe);
    }),
    ("journal-6", |scribe| {
        first_records(scribe);
        month(scribe);
        sent::write(scribe);
    }),
    ("journal-7", |scribe| {
        first_records(scribe);
        operators::write(scribe);
    }),
];

/// A statement that was approved, sealed and superseded, and one whose seals never came.
fn approvals(scribe: &mut Scribe) {
    let approved = |period: &str, revision| {
        Fact::StatementApproved(wire::StatementApproved {
            period: period.into(),
            digest: format!("sha256:golden-{revision}"),
            journal_size: 30,
            statements: vec![wire::StatementRevision { distributor: "ingram".into(), revision }],
        })
    };
    for revision in [1, 2] {
        scribe.days(1);
        scribe.write("opr_golden", "checked", approved("2026-09", revision));
        let body = format!("{{\"period\":\"2026-09\",\"revision\":{revision}}}");
        let statement = Some(sign(&key(202), Domain::Statement, body.into_bytes()));
        let (distributor, period) = ("ingram".to_owned(), "2026-09".to_owned());
        let sealed = wire::StatementSealed { distributor, period, revision, statement };
        scribe.write("opr_golden", "checked", Fact::StatementSealed(sealed));
    }
    scribe.write("opr_golden", "again", approved("2026-09", 2));
    scribe.write("opr_golden", "checked", approved("2026-10", 1));
}

/// A policy of a later month, a price list in two parts that is taken, one that was overtaken, one that was cut short.
fn terms(scribe: &mut Scribe) {
    let set = |toml: String, valid_from: &str| {
        Fact::PolicySet(wire::PolicySet { toml, valid_from: valid_from.to_owned() })
    };
    scribe.write("opr_golden", "", set(format!("presume_days = 3\n{POLICY}"), "2026-10"));
    let staged = |list: &str, part: u32| wire::PricesStaged { list: list.into(), part, ..Default::default() };
    let sku = wire::PricedSku {
        sku: "DS-CLOUD".into(),
        dropped: false,
        name: "Deep Security".into(),
        unit: "seat".into(),
        count: "distinct".into(),
        min_days: 1,
        free_first_month: false,
        price_group: "deep".into(),
    };
    let tier = |from, cost: &str| wire::PriceTier { from, cost: cost.into() };
    let group = wire::PriceGroupTiers {
        price_group: "deep".into(),
        distributor: "td".into(),
        currency: "USD".into(),
        mode: "graduated".into(),
        tiers: vec![tier(1, "3.00"), tier(2, "2.50")],
    };
    let price =
        |customer: &str, price: &str| wire::BuyerPrice { customer: customer.into(), price: price.into() };
    let prices = vec![price("", "5.00"), price("cus_b", "4.50")];
    let sell = vec![wire::SellPrices { sku: "DS-CLOUD".into(), prices }];
    let first =
        wire::PricesStaged { skus: vec![sku], groups: vec![group.clone()], ..staged("prl_golden", 0) };
    let other = wire::PricesStaged { groups: vec![group], ..staged("prl_other", 0) };
    let cut = wire::PricesStaged { sell: sell.clone(), ..staged("prl_cut", 1) };
    for part in [first, other, cut, wire::PricesStaged { sell, ..staged("prl_golden", 1) }] {
        scribe.write("opr_golden", "list of autumn", Fact::PricesStaged(part));
    }
    for (list, parts) in [("prl_golden", 2), ("prl_other", 1), ("prl_cut", 2)] {
        let (list, valid_from) = (list.to_owned(), "2026-10".to_owned());
        let applied = wire::PricesApplied { list, parts, valid_from, revision: 1 };
        scribe.write("opr_golden", "list of autumn", Fact::PricesApplied(applied));
    }
}

fn written(write: fn(&mut Scribe)) -> Vec<u8> {
    let mut scribe = Scribe { now_ms: START_MS, file: Vec::new(), records: 0 };
    write(&mut scribe);
    scribe.file
}

/// What a fold of the file shows, record by record and at its end.
fn shown(file: &[u8]) -> String {
    let (mut fold, mut text, mut at) = (Fold::default(), String::new(), 0);
    while let Frame::Whole { body, length } = frame::read(&file[at..]) {
        at += length;
        let verdict = fold.apply(body).expect("every record of the golden journal folds");
        if let Verdict::Refused(refusal) = verdict {
            writeln!(text, "record {}: {refusal}", fold.position() - 1).expect("text grows");
        }
    }
    assert_eq!(at, file.len(), "the golden journal has whole frames only");
    let root: String = fold.root().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(text, "{} records, root {root}", fold.position()).expect("text grows");
    for (id, machine) in fold.registry().machines_after(None) {
        let tips: Vec<String> =
            machine.spools.iter().map(|(spool, tip)| format!("{spool} {}", tip.sequence)).collect();
        let flags: Vec<&String> = machine.flags.keys().collect();
        let customer = &machine.customer;
        writeln!(text, "{id}: {customer}, {tips:?}, {flags:?}, banned {}", machine.banned)
            .expect("text grows");
    }
    if let Some(settings) = fold.settings() {
        writeln!(text, "{settings:?}").expect("text grows");
    }
    if let Some(pushed) = fold.catalogue() {
        let file = String::from_utf8_lossy(&pushed.file);
        writeln!(text, "catalogue {} by {}: {file:?}", pushed.version, pushed.operator).expect("text grows");
    }
    orders::show(&mut text, &fold);
    sent::show(&mut text, &fold);
    operators::show(&mut text, &fold);
    for period in fold.approved_periods() {
        writeln!(text, "{period}: {:?}", fold.approved(period)).expect("text grows");
        for (distributor, sealed) in fold.sealed(period.previous()) {
            let (revision, by, earlier) = (sealed.revision, &sealed.by, &sealed.earlier);
            writeln!(text, "{distributor} {revision} by {by} behind {earlier:?}").expect("text grows");
        }
    }
    for period in ["2026-09", "2026-10"] {
        let period = period.parse().expect("a period");
        let policy = fold.terms().policy(period).expect("a policy was set");
        let input = CloseInput {
            usage: fold.usage(),
            usage_elsewhere: &[],
            policy: &policy,
            period,
            as_of: None,
            sealed: &[],
        };
        writeln!(text, "{}", close(input).expect("the month closes").to_json()).expect("text grows");
    }
    text
}

#[test]
fn the_golden_journals_fold_to_the_same_state() {
    for (name, write) in JOURNALS {
        let (frames, state) = (path(&format!("{name}.frames")), path(&format!("{name}.txt")));
        if std::env::var_os("SEATBEAT_BLESS").is_some() && !frames.exists() {
            let file = written(write);
            std::fs::write(&frames, &file).expect("a golden journal can be written");
            std::fs::write(&state, shown(&file)).expect("its state can be written");
        }
        let file = std::fs::read(&frames).expect("the golden journal is there");
        let expected = std::fs::read_to_string(&state).expect("its state is there");
        assert_eq!(shown(&file), expected, "{name}");
    }
}

#[test]
fn this_version_still_writes_the_golden_bytes() {
    for (name, write) in JOURNALS {
        let file = std::fs::read(path(&format!("{name}.frames"))).expect("the golden journal is there");
        let same = written(write) == file;
        assert!(same, "{name}: records are encoded otherwise than they were: signed history would not fit");
    }
}
