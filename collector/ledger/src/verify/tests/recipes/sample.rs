//! The sample is changed, or shows what the statement left out; so does a replay.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::sample::evidence_of;
use prost::Message as _;
use seatbeat_proto::wire::JournalRecord;

fn bytes(pick: &crate::sample::Pick) -> Vec<u8> {
    STANDARD.decode(&pick.record.bytes).unwrap()
}

/// The first pick that is a machine's report of its chain's further course, in October.
fn a_report(sample: &Sample) -> usize {
    pick_of(sample, |pick| {
        let evidence = evidence_of(&bytes(pick)).map(|(_, evidence)| evidence);
        evidence.is_some_and(|evidence| {
            evidence.machine == machine_id(6).as_str() && evidence.sequence > 3 && !pick.openings.is_empty()
        })
    })
}

fn redate(pick: &mut crate::sample::Pick) {
    let mut record = JournalRecord::decode(bytes(pick).as_slice()).unwrap();
    if let Some(Fact::EvidenceReceived(received)) = &mut record.fact {
        let signed = received.evidence.as_mut().unwrap();
        let mut evidence = wire::Evidence::decode(signed.payload.as_slice()).unwrap();
        evidence.observed_at_ms -= 86_400_000;
        signed.payload = evidence.encode_to_vec();
    }
    pick.record.bytes = STANDARD.encode(record.encode_to_vec());
}

pub(super) const RECIPES: &[Recipe] = &[
    ("no sample", |p| p.question.level = Level::Sampled, "the sample: there is none"),
    (
        "re-dated report",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            redate(&mut sample.picks[at]);
        },
        "pick 66: the bytes of record 66 are not those in the log",
    ),
    (
        "re-dated report with its own hash",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            let pick = &mut sample.picks[at];
            redate(pick);
            pick.record.leaf.0 = crate::merkle::leaf(&bytes(pick));
        },
        "pick 66: record 66 is not in the log at the statement's cut",
    ),
    (
        "picks of another nonce",
        |p| p.sample().picks.swap(3, 4),
        "the sample: its records are not those that the nonce picks",
    ),
    (
        "a picked record is left out",
        |p| _ = p.sample().picks.remove(5),
        "the sample: it has 103 records, the nonce picks 104",
    ),
    (
        "a short nonce",
        |p| p.sample().nonce = "x".to_owned(),
        "the sample: its nonce is too short to be believed",
    ),
    (
        "a sample of another statement",
        |p| p.sample().statement.0 = [7; 32],
        "the sample: it is of another statement",
    ),
    (
        "a report without its machine's key",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            sample.picks[at].key = None;
        },
        "pick 66: the machine's key is missing",
    ),
    (
        "a report with another machine's key",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            sample.picks[at].key = sample
                .picks
                .iter()
                .filter_map(|pick| pick.key)
                .find(|key| seatbeat_proto::ids::MachineId::derived_from(&key.0) == machine_id(1));
        },
        "pick 66: its key is not that of mch_6",
    ),
    (
        "a chain with a gap",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            sample.picks[at].before = None;
        },
        "pick 66: the evidence before number 4 of its chain is not there: it was taken out of the log, or the collector had lost its disk",
    ),
    (
        "a chain linked to another report",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            let other =
                sample.picks.iter().position(|pick| pick.record.index > sample.picks[at].record.index);
            sample.picks[at].before = sample.picks[other.unwrap()]
                .before
                .clone()
                .or_else(|| Some(sample.picks[a_report(sample)].record.clone()));
        },
        "pick 66: it does not continue the evidence before it",
    ),
    (
        "a machine is opened as another",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            sample.picks[at].openings[0].machine = machine_id(1);
        },
        "pick 66: mch_1 is opened in line cus_zeta, A, but is not there",
    ),
    (
        "another machine's rows for this one",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            let other = pick_of(sample, |pick| {
                pick.openings.first().is_some_and(|opening| opening.machine == machine_id(1))
            });
            sample.picks[at].openings = sample.picks[other].openings.clone();
        },
        "pick 66: mch_1 is opened, which is not the machine of mch_6",
    ),
    (
        "a machine that is not opened",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            sample.picks[at].openings.clear();
        },
        "pick 66: mch_6 reported active products on 2026-10-03, which is neither counted nor left out for a reason",
    ),
    (
        "the checkpoint that a report carries is not proven",
        |p| {
            let sample = p.sample();
            let at = a_report(sample);
            sample.picks[at].consistency[0].0 = [7; 32];
        },
        "pick 66: the checkpoint over 61 records that it carries is not the beginning of this log: the log was rewritten",
    ),
    (
        "many records are withheld",
        |p| p.sample().picks.iter_mut().take(65).for_each(|pick| pick.record.bytes.clear()),
        "the sample: 65 of its records are withheld, more than 64",
    ),
    (
        "a withheld record that is not of the log",
        |p| {
            let sample = p.sample();
            let at = a_report(sample) + 1;
            sample.picks[at].record.leaf.0 = [7; 32];
            sample.picks[at].record.bytes.clear();
        },
        "pick 67: record 67 is not in the log at the statement's cut",
    ),
    (
        "replay without its records",
        |p| p.replay().records.clear(),
        "the replay: body.corrections is [{\"cost\":\"1.80\",\"customer\":\"cus_zeta\",\"delta\":\"1\",\"for_period\":\"2026-09\",\"sku\":\"A\"}], these records make [{\"cost\":\"-5.40\",\"customer\":\"cus_acme\",\"delta\":\"-3\",\"for_period\":\"2026-09\",\"sku\":\"A\"},{\"cost\":\"-0.23\",\"customer\":\"cus_ac; the replay: line cus_acme, A: its machines have other days by these records; the replay: line cus_acme, B: its machines have other days by these records; the replay: line cus_acme, C: its machines have other days by these records; the replay: line cus_zeta, A: its machines have other days by these records; the replay: line cus_zeta, C: its machines have other days by these records",
    ),
    (
        "replay with a report less",
        |p| {
            let replay = p.replay();
            let report = |line: &&str| line.contains("2026-10-14") && line.contains("\"report\"");
            let gone = replay.records.lines().find(report).unwrap().to_owned() + "\n";
            replay.records = replay.records.replacen(&gone, "", 1);
        },
        "the replay: body.lines[1].confirmed is \"1\", these records make \"0.97\"; the replay: line cus_acme, A: its machines have other days by these records; the replay: line cus_acme, B: its machines have other days by these records",
    ),
    (
        "replay by another policy",
        |p| {
            let replay = p.replay();
            replay.policy = replay.policy.replacen("presume_days = 3", "presume_days = 9", 1);
        },
        "the replay: body.policy.presume_days is 3, these records make 9; the replay: line cus_acme, A: its machines have other days by these records; the replay: line cus_acme, C: its machines have other days by these records; the replay: line cus_zeta, A: its machines have other days by these records",
    ),
    (
        "replay without the month before",
        |p| p.replay().sealed = None,
        "the replay: body.corrections is [{\"cost\":\"1.80\",\"customer\":\"cus_zeta\",\"delta\":\"1\",\"for_period\":\"2026-09\",\"sku\":\"A\"}], these records make []",
    ),
    (
        "replay without anything",
        |p| {
            p.replay();
            p.question.replay = None;
        },
        "the replay: there are no records to replay",
    ),
];

/// The reseller itself leaves a machine out, before it seals and signs: every number fits, but the log has the reports.
#[test]
fn a_machine_that_the_reseller_left_out_is_found_by_a_sample_and_by_a_replay() {
    let mut house = House::new("rsl_acme", POLICY, &["cus_acme", "cus_zeta"]);
    house.enrol(1, "cus_acme");
    house.enrol(2, "cus_acme");
    house.reports(1, 1..=9, "a");
    let (fold, at) = (house.fold.clone(), house.journal.len());
    house.reports(2, 10..=19, "a");
    // Closed from a fold without machine 2's reports, in the name of the whole journal.
    let whole = std::mem::replace(&mut house.fold, fold);
    house.seal_as_of("2026-10", &whole);
    let bundle = house.bundle_of("2026-10", "ingram", &house.fold_of(at));
    assert!(verify(bundle.as_bytes(), house.question(Level::Recomputed)).is_ok());
    let sample = house.sample_of("2026-10", "ingram", NONCE, &house.fold_of(at));
    let question = Question { sample: Some(sample), ..house.question(Level::Sampled) };
    let told = words(&verify(bundle.as_bytes(), question).unwrap_err().to_string());
    let first = "pick 17: mch_2 reported active products on 2026-10-10, which is neither counted nor left out for a reason";
    assert!(told.starts_with(first), "{told}");
    let replay = house.replay("2026-10", "ingram");
    let sample = house.sample_of("2026-10", "ingram", NONCE, &house.fold_of(at));
    let question = Question { sample: Some(sample), replay: Some(replay), ..house.question(Level::Replayed) };
    let told = verify(bundle.as_bytes(), question).unwrap_err().to_string();
    assert!(
        told.contains("the replay: line cus_acme, A: its machines have other days by these records"),
        "{told}"
    );
}

/// A log that was shortened and written anew: machines had seen more of it than there is.
#[test]
fn a_log_that_was_rolled_back_is_found_by_what_its_machines_had_seen() {
    let mut house = House::new("rsl_acme", POLICY, &["cus_acme"]);
    house.enrol(1, "cus_acme");
    house.reports(1, 1..=9, "a");
    house.checkpoint = Checkpoint { origin: "seatbeat/rsl_acme".to_owned(), size: 5000, root: [1; 32] }
        .sign(&house.service_key);
    house.reports(1, 10..=11, "a");
    house.at("11-05 00:00").seal("2026-10");
    let bundle = house.bundle("2026-10", "ingram", &[], false);
    let sample = Some(house.sample("2026-10", "ingram", NONCE).unwrap());
    let told = verify(bundle.as_bytes(), Question { sample, ..house.question(Level::Sampled) }).unwrap_err();
    let expected = "pick 14: the machine had seen a checkpoint over 5000 records, but its evidence is record 14: the log \
                    was rolled back";
    assert!(told.to_string().starts_with(expected), "{told}");
}
