//! Licences of the demonstration's reseller, with and without a code, some of them given to customers. Invariant: added
//! once, after the month is sealed: they decide nothing about its count.

use seatbeat_collector::console::licences::{LicenceList, LicencesImported};
use seatbeat_proto::wire;

use super::fault::Fault;
use super::house::House;
use super::steps::Steps;
use crate::prices;

const FILE: &str = "product,sku,seats,code\n\
    wfbs-svc,WF-SVC,20,\n\
    apexone,A1-EP,12,DM-AAAA-BBBBB-CCCCC-DDDDD-EEEEE-FFFFF\n\
    dsa-cloud,DS-CLOUD,5,\n";

/// By their place in the file: to whom how many seats go.
const GIVEN: [(usize, &str, u32); 3] =
    [(0, "cus_lindner", 14), (1, "cus_brandt", 8), (2, "cus_ostermann", 3)];

const REASON: &str = "bought for the demonstration";

/// Adds them, unless there are some.
///
/// # Errors
/// When the collector refuses.
pub async fn add(house: &mut House, steps: &mut Steps) -> Result<(), Fault> {
    let asked = wire::LicenceRequest::default();
    let known = house.collector.call(async |console| console.list_licences(asked).await).await?;
    let known: LicenceList = serde_json::from_str(&known.json).map_err(answer)?;
    if !known.licences.is_empty() {
        return Ok(());
    }
    let step = steps.begin("add licences, and give some to customers");
    let request = wire::LicenceImport { csv: FILE.into(), dry_run: false, reason: REASON.to_owned() };
    let added = house.collector.call(async |console| console.import_licences(request).await).await?;
    let added: LicencesImported = serde_json::from_str(&added.json).map_err(answer)?;
    if !added.problems.is_empty() {
        return Err(Fault::Answer(prices::refused(&added.problems, "added").into()));
    }
    for (at, customer, seats) in GIVEN {
        let licence = added.licences.get(at).map(ToString::to_string).unwrap_or_default();
        let to = wire::LicenceHolder { customer: customer.to_owned(), machine: String::new() };
        let change = wire::LicenceAllotted { licence, from: None, to: Some(to), seats };
        let request = wire::AllotRequest { change: Some(change), reason: REASON.to_owned() };
        house.collector.call(async |console| console.allot_licence(request).await).await?;
    }
    step.done(&format!("{} licences", added.rows));
    Ok(())
}

fn answer(error: serde_json::Error) -> Fault {
    Fault::Answer(error.into())
}
