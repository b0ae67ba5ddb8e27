//! Against a stand-in of the platform: whatever goes wrong, one usage file of a statement is handed in.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::uploads::PartId;
use seatbeat_proto::ids::CustomerId;
use seatbeat_standin::connect::Connect;
use seatbeat_standin::wrong::Wrong;
use seatbeat_standin::{Standin, Verdict};

use super::super::arm::{ArmError, Licence, Receipt, Step};
use super::super::chance::Chance;
use super::super::samples::{Sample, statement};
use super::super::standin::{Loop, Memory, Mortal, tools};
use super::*;

const KEY: &str = "SU-000-000-001:secret";
const NOW: &str = "2026-11-05T09:00:00Z";

fn platform() -> Connect {
    Connect::new(KEY, "PRD-1", "CRD-1")
        .with_asset("AS-1", "Acme", "WF-ADV", 3, ("account", "acme 1"))
        .with_asset("AS-1", "Acme", "WF-SVC", 15, ("account", "acme 1"))
        .with_asset("AS-2", "Bolt", "WF-SVC", 50, ("account", "bolt/2"))
}

fn destination(options: &str) -> Destination {
    let text = format!(
        "connector = \"cloudblue-connect\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n\
         url = \"https://connect.example/public/v1\"\n[options]\nproduct = \"PRD-1\"\ncontract = \"CRD-1\"\n{options}"
    );
    toml::from_str(&text).unwrap()
}

fn connected(options: &str) -> (CloudblueConnect, Loop, Mortal) {
    let (tools, far, mortal) = tools(Standin::new(platform()), &Memory::of(&[("api_key", KEY)]), NOW);
    let connector = CloudblueConnect::new(&destination(&format!("currency = \"EUR\"\n{options}")), tools);
    (connector.unwrap(), far, mortal)
}

fn mapped(sample: Sample) -> Sample {
    sample
        .mapped("cus_acme", "WF-ADV", &[("item", "WF-ADV"), ("asset", "AS-1")])
        .mapped("cus_acme", "WF-SVC", &[("item", "WF-SVC"), ("asset", "AS-1")])
        .mapped(
            "cus_bolt",
            "WF-SVC",
            &[("item", "17"), ("asset", "AS-2"), ("item_criteria", "item.local_id")],
        )
}

fn sample() -> Sample {
    mapped(Sample::default())
}

/// What is sent of the sample, and its key.
fn part(connector: &CloudblueConnect) -> (OutPart, String) {
    let sample = sample();
    let part = sample.project(connector).parts.remove(0);
    (part, sample.outgoing().key(1))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits")
}

fn count(far: &Loop, act: &str) -> usize {
    far.with(|standin| standin.effects()).iter().filter(|line| line.ends_with(act)).count()
}

/// Follows until the answer is one of the wanted ones, at most so often.
fn followed(connector: &CloudblueConnect, part: &OutPart, key: &str, far_id: &str, wanted: Status) -> Answer {
    for _ in 0..12 {
        let answer = now(connector.follow(part, key, far_id)).unwrap();
        if answer.status == wanted {
            return answer;
        }
    }
    panic!("never {wanted:?}");
}

#[test]
fn a_statement_is_handed_in_submitted_and_followed_until_it_is_closed() {
    let (connector, far, _) = connected("");
    let (part, key) = part(&connector);
    let answer = now(connector.send(&part, &key)).unwrap();
    assert_eq!((answer.status, answer.far_id.as_str()), (Status::Acknowledged, "UF-2026-11-0001-0001"));
    let accepted = followed(&connector, &part, &key, &answer.far_id, Status::Accepted);
    assert_eq!(accepted.said, "Agreed.");
    followed(&connector, &part, &key, &answer.far_id, Status::Settled);
    let named = format!("usage file {key}");
    let effects = far.with(|standin| standin.effects());
    assert_eq!(effects[..3], [" made", " uploaded", " submitted"].map(|act| format!("{named}{act}")));
    let sent = now(connector.send(&part, &key)).unwrap();
    assert_eq!(sent.status, Status::Settled, "sent again it is what it is");
    assert_eq!(far.with(|standin| standin.effects()), effects);
}

#[test]
fn a_refusal_is_told_in_the_distributor_s_words_and_a_change_of_mind_is_followed() {
    for (verdict, statuses) in [
        (Verdict::Reject, vec![Status::Rejected]),
        (Verdict::AcceptThenReject, vec![Status::Accepted, Status::Rejected]),
        (Verdict::RejectThenAccept, vec![Status::Rejected, Status::Accepted, Status::Settled]),
    ] {
        let (connector, far, _) = connected("");
        far.with(|standin| standin.decide(verdict));
        let (part, key) = part(&connector);
        let far_id = now(connector.send(&part, &key)).unwrap().far_id;
        for status in statuses {
            let answer = followed(&connector, &part, &key, &far_id, status);
            if status == Status::Rejected {
                assert_eq!(answer.said, "The quantities are not ours.");
            }
        }
        assert_eq!(count(&far, " submitted"), 1, "{verdict:?}");
    }
}

#[test]
fn a_retry_goes_on_with_the_same_usage_file() {
    let (connector, far, _) = connected("");
    far.with(|standin| standin.decide(Verdict::Reject));
    let (part, key) = part(&connector);
    let far_id = now(connector.send(&part, &key)).unwrap().far_id;
    followed(&connector, &part, &key, &far_id, Status::Rejected);
    assert_eq!(
        now(connector.send(&part, &key)).unwrap().status,
        Status::Rejected,
        "nobody asked for a retry"
    );
    let second = format!("{key}-s2");
    let answer = now(connector.send(&part, &second)).unwrap();
    assert_eq!((answer.status, &answer.far_id), (Status::Acknowledged, &far_id));
    followed(&connector, &part, &second, &far_id, Status::Settled);
    assert_eq!((count(&far, " made"), count(&far, " submitted")), (1, 2));
}

#[test]
fn what_another_process_uploaded_is_uploaded_again_before_it_is_submitted() {
    let (tools, far, _) = tools(Standin::new(platform()), &Memory::of(&[("api_key", KEY)]), NOW);
    let made = || CloudblueConnect::new(&destination("currency = \"EUR\""), tools.clone()).unwrap();
    let (before, after) = (made(), made());
    let (part, key) = part(&before);
    let far_id = now(before.send(&part, &key)).unwrap().far_id;
    let mut changed = sample().mapped("cus_acme", "WF-ADV", &[("item", "WF-ADV"), ("asset", "AS-9")]);
    changed.names.clear();
    let changed = changed.project(&after).parts.remove(0);
    assert_ne!(changed.digest, part.digest);
    followed(&after, &changed, &key, &far_id, Status::Accepted);
    let effects = far.with(|standin| standin.effects());
    let acts: Vec<&str> = effects.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(acts[..4], ["made", "uploaded", "uploaded", "submitted"]);
    assert_eq!(count(&far, " submitted"), 1);
}

#[test]
fn a_torn_workbook_is_uploaded_again_and_one_that_is_no_usage_stops_it() {
    let (connector, far, _) = connected("");
    let (part, key) = part(&connector);
    far.with(|standin| standin.tell([None, None, None, Some(Wrong::Torn)]));
    assert!(matches!(now(connector.send(&part, &key)), Err(SendError::Again { .. })));
    let far_id = now(connector.send(&part, &key)).unwrap().far_id;
    followed(&connector, &part, &key, &far_id, Status::Accepted);
    assert_eq!((count(&far, " uploaded"), count(&far, " submitted")), (2, 1));

    let (connector, far, _) = connected("");
    let mut empty = part.clone();
    let Load::Files(files) = &mut empty.load else { panic!("files") };
    files[1].bytes = Arc::from(&b"no workbook"[..]);
    let far_id = now(connector.send(&empty, &key)).unwrap().far_id;
    let stopped = (0..6).find_map(|_| now(connector.follow(&empty, &key, &far_id)).err()).unwrap();
    assert!(
        matches!(&stopped, SendError::Stop { why, .. } if why.contains("The spreadsheet cannot be read.")),
        "{stopped:?}"
    );
    assert_eq!((count(&far, " uploaded"), count(&far, " submitted")), (1, 0));
}

#[test]
fn whatever_goes_wrong_wherever_it_dies_one_usage_file_is_submitted() {
    let (part, key) = part(&connected("").0);
    for seed in 0..500 {
        let mut chance = Chance::of(seed);
        let (tools, far, mortal) = tools(Standin::new(platform()), &Memory::of(&[("api_key", KEY)]), NOW);
        let started = || CloudblueConnect::new(&destination("currency = \"EUR\""), tools.clone()).unwrap();
        let mut alive = started();
        // Who died starts anew, and has forgotten what it uploaded.
        let sent = chance.until_done(&far, &mortal, &mut || {
            let answer = alive.send(&part, &key).now_or_never();
            if answer.is_none() {
                alive = started();
            }
            answer
        });
        chance.until_done(&far, &mortal, &mut || {
            let answer = alive.follow(&part, &key, &sent.far_id).now_or_never();
            if answer.is_none() {
                alive = started();
            }
            answer
        });
        followed(&alive, &part, &key, &sent.far_id, Status::Settled);
        let effects = far.with(|standin| standin.effects());
        assert_eq!(count(&far, " submitted"), 1, "seed {seed}: {effects:?}");
        assert_eq!(count(&far, " closed"), 1, "seed {seed}: {effects:?}");
    }
}

#[test]
fn the_records_are_the_statement_s_in_the_platform_s_columns() {
    let (connector, ..) = connected("");
    let projection = sample().project(&connector);
    let Load::Files(files) = &projection.parts[0].load else { panic!("files") };
    let made: Value = serde_json::from_slice(&files[0].bytes).unwrap();
    assert_eq!(
        (made["name"].as_str(), &made["period"], &made["product"], &made["currency"]),
        (
            Some("2026-10-r1 ingram"),
            &json!({ "from": "2026-10-01", "to": "2026-10-31" }),
            &json!({ "id": "PRD-1" }),
            &json!("EUR")
        )
    );
    assert_eq!(projection, sample().project(&connector), "the same gives the same bytes");
    let shown = &projection.parts[0].requests;
    assert!(shown.iter().all(|one| one.target.starts_with("https://connect.example/public/v1/")));
    assert!(!format!("{shown:?}").contains("secret"));
}

#[test]
fn a_correction_down_is_settled_by_hand_and_one_up_is_a_record() {
    let (connector, ..) = connected("");
    assert_eq!(sample().project(&connector).parts.len(), 1);
    let mut body = statement();
    body["corrections"][0]["delta"] = json!("-2");
    let parts = mapped(Sample::of(body)).project(&connector).parts;
    let id = PartId::Correction(
        "cus_acme".parse().unwrap(),
        "WF-SVC".parse().unwrap(),
        "2026-09".parse().unwrap(),
    );
    assert_eq!((parts.len(), &parts[1].id, parts[1].quantity.as_str()), (2, &id, "-2"));
}

#[test]
fn what_cannot_be_said_there_is_said_here() {
    let (connector, ..) = connected("");
    let refused = |sample: &Sample| connector.project(&sample.outgoing()).unwrap_err();
    let unmapped = Sample::default().mapped("cus_acme", "WF-ADV", &[("item", "WF-ADV")]);
    assert!(refused(&unmapped).to_string().contains("not mapped: asset missing"));
    let odd = sample().mapped(
        "cus_acme",
        "WF-ADV",
        &[("item", "WF-ADV"), ("asset", "AS-1"), ("item_criteria", "item.colour")],
    );
    assert!(refused(&odd).to_string().contains("item.local_id"));
    let mut body = statement();
    body["lines"][1]["currency"] = json!("USD");
    let other = ProjectionError::Currency { found: "USD".to_owned(), expected: "EUR".to_owned() };
    assert_eq!(refused(&mapped(Sample::of(body))), other);
    let (tools, ..) = tools(Standin::new(platform()), &Memory::of(&[]), NOW);
    let missing = CloudblueConnect::new(&destination(""), tools).map(|_| ()).unwrap_err();
    assert!(missing.to_string().contains("`currency` is missing"));
}

fn licence(asset: &str) -> Licence {
    Licence {
        customer: "cus_acme".parse().unwrap(),
        sku: "WF-SVC".parse().unwrap(),
        mapped: [("asset".to_owned(), asset.to_owned())].into(),
    }
}

/// Asks until there is a receipt.
fn acted(connector: &CloudblueConnect, step: Step, licence: &Licence) -> Receipt {
    let mut asked = (0..4).map(|_| now(connector.act(step, licence, "key")));
    asked.find_map(Result::ok).expect("a receipt")
}

#[test]
fn a_licence_is_suspended_by_one_request_and_the_receipt_is_of_its_approval() {
    let (connector, far, _) = connected("");
    let first = now(connector.act(Step::Suspend, &licence("AS-1"), "key"));
    assert!(
        matches!(&first, Err(ArmError::NoAnswer { why, .. }) if why.contains("not approved yet")),
        "{first:?}"
    );
    let receipt = acted(&connector, Step::Suspend, &licence("AS-1"));
    assert_eq!(receipt.id, "PR-0000-0000-0001-001");
    assert_eq!(acted(&connector, Step::Suspend, &licence("AS-1")), receipt);
    let resumed = acted(&connector, Step::Resume, &licence("AS-1"));
    assert_ne!(resumed.id, receipt.id);
    assert_eq!(acted(&connector, Step::Resume, &licence("AS-1")), resumed);
    assert_eq!(far.with(|standin| standin.effects().len()), 4);
}

#[test]
fn a_request_that_is_refused_there_has_no_receipt() {
    let (connector, far, _) = connected("");
    far.with(|standin| standin.decide(Verdict::Reject));
    let asked: Vec<_> = (0..2).map(|_| now(connector.act(Step::Suspend, &licence("AS-1"), "key"))).collect();
    assert!(asked.iter().all(Result::is_err), "{asked:?}");
    let unknown = now(connector.act(Step::Suspend, &licence("AS-9"), "key"));
    assert!(matches!(unknown, Err(ArmError::Refused { .. })), "{unknown:?}");
}

#[test]
fn whatever_goes_wrong_an_asset_is_suspended_by_one_request() {
    for seed in 0..200 {
        let mut chance = Chance::of(seed);
        let (connector, far, mortal) = connected("");
        let licence = licence("AS-2");
        chance.until_done(&far, &mortal, &mut || {
            let acted = connector.act(Step::Suspend, &licence, "key").now_or_never()?;
            // A request that arrived twice was refused the second time: asked again, the first is found.
            Some(
                acted
                    .map(|receipt| Answer::new(Status::Settled, receipt.id))
                    .map_err(|error| SendError::again(error.to_string())),
            )
        });
        let effects = far.with(|standin| standin.effects());
        assert_eq!(effects.len(), 2, "seed {seed}: {effects:?}");
    }
}

#[test]
fn what_the_platform_lists_is_told_by_the_mapping_or_for_one() {
    for (options, acme, bolt) in [("", "AS-1", "AS-2"), ("asset_parameter = \"account\"", "acme 1", "bolt/2")]
    {
        let (connector, ..) = connected(options);
        let line = |sku: &str| -> (CustomerId, Sku) { ("cus_acme".parse().unwrap(), sku.parse().unwrap()) };
        let fields = |item: &str| {
            BTreeMap::from([(ITEM.to_owned(), item.to_owned()), (ASSET.to_owned(), acme.to_owned())])
        };
        let mapping = Mapping::from([(line("WF-SVC"), fields("WF-SVC"))]);
        let seats = now(connector.provisioned("2026-10".parse().unwrap(), &mapping)).unwrap().unwrap();
        let told: Vec<(Option<String>, Option<u64>)> = seats
            .iter()
            .map(|one| (one.line.as_ref().map(|line| line.1.to_string()), one.provisioned))
            .collect();
        assert_eq!(told, [(None, Some(3)), (Some("WF-SVC".to_owned()), Some(15)), (None, Some(50))]);
        let all = now(connector.subscriptions()).unwrap().unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!((all[2].customer.as_str(), &all[2].mapped[ASSET]), ("Bolt", &bolt.to_owned()));
        assert_eq!(acted(&connector, Step::Suspend, &licence(acme)).id, "PR-0000-0000-0001-001");
    }
}

#[test]
fn a_key_without_its_submission_is_the_statement_s() {
    assert_eq!(statement_of("2026-10-ingram-r1-0123456789abcdef"), "2026-10-ingram-r1-0123456789abcdef");
    assert_eq!(statement_of("2026-10-a-s2-r1-0123456789abcdef-s12"), "2026-10-a-s2-r1-0123456789abcdef");
}
