//! The close of the last month, and the checks: the sealed files and what was worked out by hand. Invariant: what is
//! compared is what went out, read back from the folder and verified with the reseller's key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use seatbeat_collector::console::rows::{Draft, PeriodState, SealedStatements};
use seatbeat_fleet::Plan;
use seatbeat_fleet::expected::{FLAGGED, MONTH};
use seatbeat_ledger::sealed;
use seatbeat_ledger::statement::{EarningsRow, Flag, Line, Statement};
use seatbeat_proto::signed::public_key;
use seatbeat_proto::wire;

use super::fault::Fault;
use super::house::House;
use super::steps::Steps;
use crate::{out, shown};

/// Seals the last month where it is not, shows it, and compares it with the plan; gives the sealed files.
///
/// # Errors
/// When something blocks it, a file does not verify, or a line is not what was worked out by hand.
pub async fn close_month(house: &mut House, plan: &Plan, steps: &mut Steps) -> Result<Vec<PathBuf>, Fault> {
    let step = steps.begin("close the last month");
    let request = wire::PeriodRequest { period: plan.period.clone(), after_position: 0 };
    let asked = request.clone();
    let draft: Draft = house.collector.ask(async |console| console.draft_statement(asked).await).await?;
    let sealed: SealedStatements = if draft.state == PeriodState::Sealed {
        house.collector.ask(async |console| console.show_statement(request).await).await?
    } else {
        let seal = wire::SealRequest {
            period: plan.period.clone(),
            digest: draft.digest.clone(),
            reason: "approved by the demonstration's operator".to_owned(),
            supersede: false,
        };
        house.collector.ask(async |console| console.seal_statement(seal).await).await?
    };
    step.done(&format!("{} sealed, without the grace that evidence usually has (72 h)", plan.period));

    let step = steps.begin("verify the sealed files with the reseller's key");
    let (files, lines) = verified(house, plan)?;
    step.done(&format!("{} files in {}", sealed.statements.len(), house.place.statements().display()));

    out::data(&format!(
        "\n{}\n\n{}\n",
        shown::statement(&draft.output.statement),
        shown::earnings(&sealed.earnings)
    ))?;
    let step = steps.begin("compare with what was worked out by hand");
    let differences = differences(plan, &lines, &sealed.earnings, &draft.output.statement.flags);
    if !differences.is_empty() {
        return Err(Fault::Differs(differences));
    }
    step.done(&format!("all {} lines, their costs and revenues, and the flags are equal", MONTH.len()));
    Ok(files)
}

/// All files that were dropped for the month, and their lines.
fn verified(house: &House, plan: &Plan) -> Result<(Vec<PathBuf>, Vec<Line>), Fault> {
    let folder = house.place.statements();
    let unreadable = |source| Fault::Folder { act: "read", path: folder.clone(), source };
    let key = public_key(&house.statement_key())
        .map_err(|error| Fault::Unverified { path: folder.clone(), why: error.to_string() })?;
    let (mut files, mut lines) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(&plan.period) || !name.ends_with(".json") {
            continue;
        }
        let file = std::fs::read(&path).map_err(|source| Fault::Folder {
            act: "read",
            path: path.clone(),
            source,
        })?;
        let unverified = |why: String| Fault::Unverified { path: path.clone(), why };
        let verified = sealed::verify(&file, Some(&key)).map_err(|error| unverified(error.to_string()))?;
        let statement: Statement =
            serde_json::from_value(verified.body).map_err(|error| unverified(error.to_string()))?;
        lines.extend(statement.lines);
        files.push(path);
    }
    files.sort();
    Ok((files, lines))
}

/// What is not as the plan says, in sentences.
fn differences(plan: &Plan, lines: &[Line], earnings: &[EarningsRow], flags: &[Flag]) -> Vec<String> {
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for line in MONTH {
        let key = format!("{} {}", line.customer, line.sku);
        expected.insert(key, figures([line.quantity, line.confirmed, line.cost, line.revenue]));
    }
    for (flag, name) in FLAGGED {
        let machine = plan.machines.iter().find(|planned| planned.machine.name() == name);
        let machine = machine.map(|planned| planned.machine.id().to_string()).unwrap_or_default();
        expected.insert(format!("{flag} {machine}"), "flagged".to_owned());
    }
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let cost = line.price.as_ref().map(|price| price.cost.to_string()).unwrap_or_default();
        let row = earnings.iter().find(|row| row.customer == line.customer && row.sku == line.sku);
        let revenue = row.map(|row| row.revenue.to_string()).unwrap_or_default();
        let (quantity, confirmed) = (line.quantity.to_string(), line.confirmed.to_string());
        seen.insert(
            format!("{} {}", line.customer, line.sku),
            figures([&quantity, &confirmed, &cost, &revenue]),
        );
    }
    for flag in flags {
        let machine = flag.machine.as_ref().map(ToString::to_string).unwrap_or_default();
        seen.insert(format!("{} {machine}", flag.flag), "flagged".to_owned());
    }
    let keys = expected.keys().chain(seen.keys().filter(|key| !expected.contains_key(*key)));
    keys.filter(|key| expected.get(*key) != seen.get(*key))
        .map(|key| {
            let said =
                |side: &BTreeMap<String, String>| side.get(key).map_or("nothing", String::as_str).to_owned();
            format!("{key}: expected {}, sealed {}", said(&expected), said(&seen))
        })
        .collect()
}

fn figures([quantity, confirmed, cost, revenue]: [&str; 4]) -> String {
    format!("{quantity} ({confirmed} confirmed) for {cost}, sold for {revenue}")
}
