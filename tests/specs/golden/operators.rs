//! The golden journal of who may what. Invariant: as of the others, its bytes stay as they were written once.

use std::fmt::Write as _;

use seatbeat_ledger::fold::Fold;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;

use super::{DAY_MS, Scribe};

/// Operators of each role, programs' tokens, an alert that nobody is told of, names that are gone.
pub fn write(scribe: &mut Scribe) {
    let added = |operator: &str, hash: Vec<u8>, role: &str, customers: &[&str]| {
        Fact::OperatorAdded(wire::OperatorAdded {
            operator: operator.into(),
            token_hash: hash,
            role: role.into(),
            customers: customers.iter().map(|&customer| customer.into()).collect(),
        })
    };
    scribe.write("opr_golden", "", added("opr_desk", vec![8; 32], "technician", &["cus_a"]));
    scribe.write("opr_golden", "", added("opr_books", Vec::new(), "billing", &[]));
    let allowed = |operator: &str, role: &str| {
        let (operator, role) = (operator.to_owned(), role.to_owned());
        Fact::OperatorAllowed(wire::OperatorAllowed { operator, role, customers: Vec::new() })
    };
    scribe.write("opr_golden", "new work", allowed("opr_books", "viewer"));
    scribe.write("opr_golden", "a mistake", allowed("opr_golden", "viewer"));
    for number in [1, 2] {
        let created = wire::ApiTokenCreated {
            api_token: format!("apt_{number}"),
            operator: "opr_desk".into(),
            token_hash: vec![number; 32],
            role: "viewer".into(),
            customers: vec!["cus_a".into(), "cus_b".into()],
            expires_at_ms: scribe.now_ms + DAY_MS,
        };
        scribe.write("opr_desk", "", Fact::ApiTokenCreated(created));
    }
    let revoked = wire::ApiTokenRevoked { api_token: "apt_1".into() };
    scribe.write("opr_desk", "", Fact::ApiTokenRevoked(revoked));
    let signed_in = wire::SignedIn { operator: "opr_books".into(), means: "password".into(), refused: true };
    scribe.write("opr_books", "", Fact::SignedIn(signed_in));
    let set = wire::CredentialSet { operator: "opr_books".into(), means: "totp".into(), removed: false };
    scribe.write("opr_books", "", Fact::CredentialSet(set));
    let muted = wire::AlertMuted { alert: "disk".into(), until_ms: scribe.now_ms + DAY_MS };
    scribe.write("opr_golden", "known", Fact::AlertMuted(muted));
    scribe.write(
        "opr_golden",
        "",
        Fact::OperatorRevoked(wire::OperatorRevoked { operator: "opr_books".into() }),
    );
    for operator in ["opr_desk", "opr_books"] {
        let erased = wire::OperatorErased { operator: operator.into() };
        scribe.write("opr_golden", "left us", Fact::OperatorErased(erased));
    }
    let customer = || "cus_b".to_owned();
    let erased = Fact::CustomerErased(wire::CustomerErased { customer: customer() });
    scribe.write("opr_golden", "asked for", erased.clone());
    let left = wire::CustomerLeft { customer: customer(), for_good: true };
    scribe.write("opr_golden", "left", Fact::CustomerLeft(left));
    scribe.write("opr_golden", "asked for", erased);
}

/// Operators and what they said of the house, where there are tokens of programs; nothing where there are none.
pub fn show(text: &mut String, fold: &Fold) {
    let (operators, registry) = (fold.operators(), fold.registry());
    if operators.api_tokens().next().is_none() {
        return;
    }
    operators.all().for_each(|one| writeln!(text, "{one:?}").expect("text grows"));
    operators.api_tokens().for_each(|one| writeln!(text, "{one:?}").expect("text grows"));
    writeln!(text, "{:?}", fold.mutes()).expect("text grows");
    for customer in registry.customers() {
        writeln!(text, "{customer}: erased {}", registry.is_erased(customer)).expect("text grows");
    }
}
