//! A stand-in platform: what is asked for twice is done once, and what it cannot do it says.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures_util::FutureExt as _;
use jiff::SignedDuration;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::usage::LicenceStep;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::distributor::Manual;
use crate::found::found;

/// Suspends anything but SKU `FIXED`; loses its first answer.
#[derive(Default)]
struct Platform {
    done: Mutex<BTreeMap<String, Receipt>>,
    acts: Mutex<usize>,
}

impl Platform {
    fn answer(&self, step: Step, licence: &Licence, key: &str) -> Result<Receipt, ArmError> {
        if licence.sku.as_str() == "FIXED" {
            return Err(ArmError::Unsupported {
                arm: "platform",
                act: step.name(),
                sku: licence.sku.clone(),
            });
        }
        let mut done = self.done.lock().unwrap();
        if let Some(receipt) = done.get(key) {
            return Ok(receipt.clone());
        }
        *self.acts.lock().unwrap() += 1;
        let receipt = Receipt { id: format!("r-{}", done.len()), at: Clock::real().now() };
        done.insert(key.to_owned(), receipt);
        Err(ArmError::NoAnswer { arm: "platform", why: "the connection broke".to_owned() })
    }
}

impl Arm for Platform {
    fn name(&self) -> &'static str {
        "platform"
    }

    fn act<'a>(
        &'a self,
        step: Step,
        licence: &'a Licence,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Receipt, ArmError>> {
        async move { self.answer(step, licence, key) }.boxed()
    }
}

fn books() -> (TempDir, Books) {
    let folder = tempfile::tempdir().unwrap();
    found(folder.path(), &Config::default(), "zone = \"UTC\"\n", Clock::real()).unwrap();
    let (books, end) = Books::open(folder.path(), Clock::real()).unwrap();
    // The journal goes on as long as the books are held.
    std::mem::forget(end);
    (folder, books)
}

fn licence(sku: &str) -> Licence {
    Licence { customer: "cus_a".parse().unwrap(), sku: sku.parse().unwrap(), mapped: Fields::new() }
}

const BY: (Actor<'static>, &str) = (Actor { name: "opr_a", from: None }, "not paid");

#[tokio::test]
async fn an_act_whose_answer_was_lost_is_done_once_and_counts_from_its_receipt() {
    let (_folder, books) = books();
    let (platform, licence) = (Platform::default(), licence("A"));
    let before = books.read(Fold::position);
    let lost = carry_out(&books, &platform, Step::Suspend, &licence, "key", BY).await.unwrap_err();
    assert!(matches!(lost, ArmError::NoAnswer { .. }) && lost.hint().is_some());
    assert_eq!(books.read(Fold::position), before, "nothing counts before there is a receipt");
    let (receipt, position) = carry_out(&books, &platform, Step::Suspend, &licence, "key", BY).await.unwrap();
    assert_eq!((receipt.id.as_str(), position.0, *platform.acts.lock().unwrap()), ("r-0", before + 1, 1));
    let steps = books.read(|fold| fold.usage().licence(&licence.customer, &licence.sku).cloned()).unwrap();
    assert!(steps.iter().any(|(_, step)| *step == LicenceStep::Suspended));
}

#[tokio::test]
async fn what_a_platform_cannot_do_an_operator_does_and_states() {
    let (_folder, books) = books();
    let refused = carry_out(&books, &Platform::default(), Step::Resume, &licence("FIXED"), "key", BY).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.to_string(), "platform cannot resume licences of SKU `FIXED`");
    assert!(refused.hint().unwrap().contains("state the receipt"));
    let at = books.clock().now() - SignedDuration::from_hours(3);
    let manual = Manual::new(Receipt { id: "case 4711".to_owned(), at });
    let (receipt, _) = carry_out(&books, &manual, Step::Resume, &licence("FIXED"), "key", BY).await.unwrap();
    assert_eq!((receipt.id.as_str(), receipt.at), ("case 4711", at));
}

#[tokio::test]
async fn a_receipt_that_is_none_is_not_put_on_record() {
    let (_folder, books) = books();
    let (before, now) = (books.read(Fold::position), books.clock().now());
    for (id, at) in [
        (" ".to_owned(), now),
        ("x".repeat(RECEIPT_LENGTH_MAX + 1), now),
        ("a\nb".to_owned(), now),
        ("r".to_owned(), now + SignedDuration::from_hours(1)),
    ] {
        let manual = Manual::new(Receipt { id, at });
        let refused = carry_out(&books, &manual, Step::Suspend, &licence("A"), "key", BY).await.unwrap_err();
        assert!(matches!(refused, ArmError::Receipt(_)), "{refused}");
    }
    assert_eq!(books.read(Fold::position), before);
}
