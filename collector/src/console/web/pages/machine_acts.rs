//! What is done to a machine by hand: shut out, let in again, given to a customer, merged, split, retired, flagged.
//! Invariant: what changes a count is shown with its effect first, and exactly what was shown is written.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use seatbeat_ledger::operators::Right;
use seatbeat_proto::hex;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::amend_request::Change;
use seatbeat_proto::{instant, wire};
use serde::Deserialize;

use super::shell::Shell;
use super::{Page, Shown, moment};
use crate::console::auth::Caller;
use crate::console::fault::Fault;
use crate::console::rights::{Needs, Whose};
use crate::console::rows::{Effect, MachineDetail};
use crate::console::web::form::{Asked, Fields};
use crate::console::web::{Route, Web};

const SERVES: Needs = Needs::Right(Right::Serve, Whose::Customers);
const BILLS: Needs = Needs::Right(Right::Bill, Whose::House);

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![
        Route { path: "/machines/{machine}/ban", needs: SERVES, service: post(ban) },
        Route { path: "/machines/{machine}/amend", needs: BILLS, service: get(form).post(write) },
        Route { path: "/machines/{machine}/amend/preview", needs: BILLS, service: post(preview) },
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BanForm {
    banned: bool,
    reason: String,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    #[default]
    Assign,
    Merge,
    Split,
    Retire,
    Flag,
}

impl Act {
    const ALL: [Self; 5] = [Self::Assign, Self::Merge, Self::Split, Self::Retire, Self::Flag];

    fn name(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::Merge => "merge",
            Self::Split => "split",
            Self::Retire => "retire",
            Self::Flag => "flag",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Assign => "Give to a customer",
            Self::Merge => "Merge with another machine",
            Self::Split => "Split from another machine",
            Self::Retire => "Retire",
            Self::Flag => "Flag",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Assign => {
                "From then on its days are that customer's. Its first owner counts as its owner before, too."
            }
            Self::Merge => "The two are one machine, for all time: one seat of each product.",
            Self::Split => "The two were taken to be one and are two, for all time.",
            Self::Retire => {
                "It is given up: from then on it is not presumed to use anything while it is silent."
            }
            Self::Flag => {
                "A mark that says what it is, such as `pool`: one of a pool of short-lived virtual machines."
            }
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AmendForm {
    act: Act,
    customer: String,
    other: String,
    flag: String,
    at: String,
    reason: String,
    /// Of the change that was shown with its effect.
    seen: String,
}

impl AmendForm {
    fn change(&self, machine: &MachineId) -> Result<Change, Fault> {
        let at_ms = moment::read("`at`", &self.at)?.map_or(0, instant::to_ms);
        let (machine, other) = (machine.to_string(), self.other.trim().to_owned());
        Ok(match self.act {
            Act::Assign => {
                let customer = self.customer.trim().to_owned();
                Change::MachineAssigned(wire::MachineAssigned { machine, customer, at_ms })
            }
            Act::Merge => {
                Change::MachinesMerged(wire::MachinesMerged { kept: machine, absorbed: other, at_ms })
            }
            Act::Split => {
                Change::MachinesSplit(wire::MachinesSplit { kept: machine, absorbed: other, at_ms })
            }
            Act::Retire => Change::MachineRetired(wire::MachineRetired { machine, at_ms }),
            Act::Flag => {
                let flag = self.flag.trim().to_owned();
                Change::MachineFlagged(wire::MachineFlagged { machine, flag, at_ms })
            }
        })
    }
}

#[derive(Template)]
#[template(path = "machines/amend.html")]
struct AmendPage {
    shell: Shell,
    detail: MachineDetail,
    form: AmendForm,
    acts: [Act; 5],
    /// What it would do; none: nobody has asked yet.
    effects: Option<Vec<Effect>>,
    seen: String,
}

impl AmendPage {
    fn name(&self) -> &str {
        let machine = &self.detail.machine;
        if machine.host_name.is_empty() { machine.machine.as_str() } else { &machine.host_name }
    }

    fn is_form_of(&self, act: &str) -> bool {
        self.form.act.name() == act
    }
}

async fn ban(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    Fields(form): Fields<BanForm>,
) -> Shown {
    let id: MachineId = machine.parse().map_err(Fault::from)?;
    if form.reason.trim().is_empty() {
        return Err(Fault::value("the reason", "is missing: who shuts a machine out says why").into());
    }
    web.console.ban_machine(&caller, id.clone(), form.banned, &form.reason).await?;
    let done = if form.banned { "banned" } else { "let_in" };
    Ok(Redirect::to(&format!("/machines/{id}?done={done}")).into_response())
}

async fn form(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    Asked(form): Asked<AmendForm>,
) -> Shown {
    let id: MachineId = machine.parse().map_err(Fault::from)?;
    let detail = web.console.machine(&caller, id, 0).await?;
    let page = AmendPage { shell, detail, form, acts: Act::ALL, effects: None, seen: String::new() };
    Ok(Page(page).into_response())
}

async fn preview(
    shell: Shell,
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    Fields(form): Fields<AmendForm>,
) -> Shown {
    let id: MachineId = machine.parse().map_err(Fault::from)?;
    let change = form.change(&id)?;
    let seen = digest(&change);
    let amended = web.console.amend(&caller, change, &form.reason, true).await?;
    let detail = web.console.machine(&caller, id, 0).await?;
    let effects = Some(amended.effects);
    Ok(Page(AmendPage { shell, detail, form, acts: Act::ALL, effects, seen }).into_response())
}

async fn write(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(machine): Path<String>,
    Fields(form): Fields<AmendForm>,
) -> Shown {
    let id: MachineId = machine.parse().map_err(Fault::from)?;
    let change = form.change(&id)?;
    if form.seen != digest(&change) {
        let why = "says something else than what was shown: look at what it does to the month first";
        return Err(Fault::value("the form", why).into());
    }
    web.console.amend(&caller, change, &form.reason, false).await?;
    Ok(Redirect::to(&format!("/machines/{id}?done=saved")).into_response())
}

/// Of a change: what is written is what was shown.
fn digest(change: &Change) -> String {
    hex::format(&hash(format!("{change:?}").as_bytes()))
}
