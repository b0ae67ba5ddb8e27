//! Hands that use the vendor's tools. Invariant: nothing is run before the product was seen and everything it takes is
//! in place; what came of it is what detection sees afterwards, and what was done in part is told as that.

use std::time::Duration;

use seatbeat_proto::catalogue::{Catalogue, Observations, Os, Source, State};
use seatbeat_proto::ids::ProductId;
use seatbeat_proto::procedures::{Procedure, Switch, procedures};
use seatbeat_proto::wire::OrderSecrets;

use super::installers::{self, Installed};
use super::tool::{MachineTools, Tools};
use super::{Hands, Stand, Task, deep_security, pccntmon, secrets, services};
use crate::catalogue::InUse;
use crate::clock::Clock;
use crate::detect::{self, Scope};
use crate::plain::chain;

/// How long is looked whether it shows, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For something to be off or gone: services have stopped when their tool ends, processes follow.
    pub off: Duration,
    /// For something to be on: the manager sends a policy, the agent loads patterns.
    pub on: Duration,
    /// From one look to the next.
    pub pause: Duration,
}

impl Patience {
    const USUAL: Self =
        Self { off: Duration::from_secs(60), on: Duration::from_secs(300), pause: Duration::from_secs(2) };
}

/// Looks at the machine.
type Eye = Box<dyn Fn(&Catalogue) -> Result<Observations, String> + Send>;

/// See the module's text.
pub struct VendorHands {
    tools: Box<dyn Tools>,
    eye: Eye,
    defender: fn() -> Option<String>,
    os: Os,
    clock: Clock,
    catalogue: InUse,
    patience: Patience,
}

impl std::fmt::Debug for VendorHands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VendorHands")
    }
}

/// What is done, once it is known to be possible.
#[derive(Debug)]
struct Plan {
    procedure: Procedure,
    /// The product's own id, where the task names an edition of it.
    product: String,
    installed: Option<Installed>,
}

impl VendorHands {
    /// On this machine, with the catalogue that reports are made by.
    pub fn new(clock: Clock, catalogue: InUse) -> Self {
        let scope = Scope::default();
        Self {
            tools: Box::new(MachineTools),
            eye: Box::new(move |catalogue| detect::observe(&scope, catalogue).map_err(|error| chain(&error))),
            defender: kept_off,
            os: Os::from_name(std::env::consts::OS).unwrap_or_default(),
            clock,
            catalogue,
            patience: Patience::USUAL,
        }
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Another system's tools, and what is seen of it.
    #[cfg(test)]
    pub(super) fn of(tools: Box<dyn Tools>, eye: Eye, os: Os, clock: Clock) -> Self {
        let patience = Patience { off: Duration::ZERO, on: Duration::ZERO, pause: Duration::ZERO };
        Self { tools, eye, defender: || None, os, clock, catalogue: InUse::BuiltIn, patience }
    }

    fn stand(&self, product: &ProductId) -> Result<(Stand, Observations), String> {
        let seen = (self.eye)(&self.catalogue)?;
        stand(&self.catalogue, &seen, self.clock, product).map(|stand| (stand, seen))
    }

    fn plan(&self, task: &Task, given: Option<&OrderSecrets>) -> Result<Plan, String> {
        let known = procedures(&self.catalogue, &task.product, self.os, task.switch);
        let Some(base) = base(&self.catalogue, &task.product) else {
            return Err(format!("`{}` is not known here", task.product));
        };
        let Some(first) = known.first().copied() else {
            return Err(format!(
                "there is no way to {} `{}` on this system",
                verb(task.switch),
                task.product
            ));
        };
        let (stand, seen) = self.stand(&task.product)?;
        if stand == Stand::Absent {
            return Err(format!("`{}` is not on this machine", task.product));
        }
        let installed = match task.switch {
            Switch::Uninstall => Some(installers::installed(base, &known, &seen).ok_or_else(|| {
                format!("`{}` was not installed by a package manager that is known here", task.product)
            })?),
            Switch::Off | Switch::On => None,
        };
        let procedure = installed.as_ref().map_or(first, |installed| installed.procedure);
        secrets::check(procedure, given)?;
        let plan = Plan { procedure, product: base.to_owned(), installed };
        self.check_tools(&plan, given)?;
        Ok(plan)
    }

    fn check_tools(&self, plan: &Plan, given: Option<&OrderSecrets>) -> Result<(), String> {
        let tools = self.tools.as_ref();
        let first = |places| services::first(tools, places).map(|_| ());
        match plan.procedure {
            Procedure::DsaReset | Procedure::DsaActivate => tools.check(&deep_security::program(self.os)),
            Procedure::SensorStop | Procedure::SensorStart => first(services::SYSTEMCTL),
            Procedure::SplxStop | Procedure::SplxStart => {
                first(services::SERVICE).and_then(|()| first(services::CHKCONFIG))
            }
            Procedure::PccntmonUnload | Procedure::PccntmonStart => pccntmon::program(tools).map(|_| ()),
            Procedure::DebRemove | Procedure::RpmRemove | Procedure::MsiRemove => {
                if plan.product == "dsa" && given.is_some_and(|given| !given.password.is_empty()) {
                    tools.check(&deep_security::program(self.os))?;
                }
                installers::program(tools, plan.procedure).map(|_| ())
            }
        }
    }

    fn act(&self, plan: &Plan, given: Option<&OrderSecrets>) -> Result<String, String> {
        let tools = self.tools.as_ref();
        match (plan.procedure, &plan.installed) {
            (Procedure::DsaReset, _) => deep_security::reset(tools, self.os, given),
            (Procedure::DsaActivate, _) => deep_security::activate(tools, self.os, given),
            (Procedure::SensorStop, _) => services::sensor(tools, false),
            (Procedure::SensorStart, _) => services::sensor(tools, true),
            (Procedure::SplxStop, _) => services::splx(tools, false),
            (Procedure::SplxStart, _) => services::splx(tools, true),
            (Procedure::PccntmonUnload, _) => pccntmon::unload(tools, given),
            (Procedure::PccntmonStart, _) => pccntmon::start(tools),
            (Procedure::DebRemove | Procedure::RpmRemove | Procedure::MsiRemove, Some(installed)) => {
                installers::remove(tools, self.os, &plan.product, installed, given)
            }
            (Procedure::DebRemove | Procedure::RpmRemove | Procedure::MsiRemove, None) => {
                Err("no installer's database knows it".into())
            }
        }
    }

    /// What somebody has to know of a machine whose protection was taken away.
    fn left_without(&self, switch: Switch) -> String {
        match (switch, (self.defender)()) {
            (Switch::Off | Switch::Uninstall, Some(value)) => {
                format!("; a policy ({value}) keeps Windows Defender off, so nothing may protect the machine")
            }
            _ => String::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_defender(mut self, defender: fn() -> Option<String>) -> Self {
        self.defender = defender;
        self
    }

    /// Looks until it stands as it should, or its time is over.
    fn watch(&self, task: &Task) -> (Result<Stand, String>, Duration) {
        let time = if task.switch == Switch::On { self.patience.on } else { self.patience.off };
        let mut waited = Duration::ZERO;
        loop {
            let stand = self.stand(&task.product).map(|(stand, _)| stand);
            if stand.as_ref().is_ok_and(|stand| fits(*stand, task.switch)) || waited >= time {
                return (stand, time);
            }
            std::thread::sleep(self.patience.pause);
            waited += self.patience.pause.max(Duration::from_millis(1));
        }
    }
}

impl Hands for VendorHands {
    fn ready(&mut self, task: &Task, secrets: Option<&OrderSecrets>) -> Result<(), String> {
        self.plan(task, secrets).map(|_| ())
    }

    fn carry_out(&mut self, task: &Task, secrets: Option<&OrderSecrets>) -> Result<String, String> {
        let plan = self.plan(task, secrets)?;
        let did = match self.act(&plan, secrets) {
            Ok(did) => did,
            Err(why) => {
                let now = self.stand(&task.product).map(|(stand, _)| stand);
                return Err(format!("{why}; {}", shown(&now)));
            }
        };
        match self.watch(task) {
            (Ok(stand), _) if fits(stand, task.switch) => {
                Ok(format!("{did}; {}{}", shown(&Ok(stand)), self.left_without(task.switch)))
            }
            (other, time) => {
                Err(format!("done in part: {did}, but {} s later {}", time.as_secs(), shown(&other)))
            }
        }
    }

    fn look(&mut self, product: &ProductId) -> Result<Stand, String> {
        self.stand(product).map(|(stand, _)| stand)
    }
}

#[cfg(windows)]
fn kept_off() -> Option<String> {
    crate::windows::defender::kept_off()
}

#[cfg(not(windows))]
fn kept_off() -> Option<String> {
    None
}

fn fits(stand: Stand, switch: Switch) -> bool {
    match switch {
        Switch::Off => stand != Stand::Active,
        Switch::On => stand == Stand::Active,
        Switch::Uninstall => stand == Stand::Absent,
    }
}

fn verb(switch: Switch) -> &'static str {
    match switch {
        Switch::Off => "switch off",
        Switch::On => "switch on",
        Switch::Uninstall => "remove",
    }
}

fn shown(stand: &Result<Stand, String>) -> String {
    match stand {
        Ok(Stand::Active) => "the machine shows it active".into(),
        Ok(Stand::Inactive) => "the machine shows it not active".into(),
        Ok(Stand::Absent) => "the machine shows it no longer".into(),
        Err(why) => format!("how it stands cannot be told ({why})"),
    }
}

/// The product that an id is, or is an edition of.
fn base<'a>(catalogue: &'a Catalogue, product: &ProductId) -> Option<&'a str> {
    catalogue.product_of(product).map(|known| known.id.as_str())
}

/// The product that an id is, or is an edition of, and its editions: once it is off, which one it was may not show.
fn editions<'a>(catalogue: &'a Catalogue, product: &ProductId) -> Vec<&'a ProductId> {
    catalogue.product_of(product).map_or_else(Vec::new, |known| {
        std::iter::once(&known.id).chain(known.variants.iter().map(|variant| &variant.id)).collect()
    })
}

/// How a product stands by what was seen.
fn stand(
    catalogue: &Catalogue,
    seen: &Observations,
    clock: Clock,
    product: &ProductId,
) -> Result<Stand, String> {
    let editions = editions(catalogue, product);
    let found = catalogue.find(seen, clock.now().wall);
    let mut of_it = found.iter().filter(|finding| editions.contains(&&finding.product)).peekable();
    if of_it.peek().is_none() {
        // A source of running state says nothing of what is not there.
        let blind = seen.unreadable.iter().find(|(source, _)| {
            !matches!(
                source,
                Source::VendorOutput
                    | Source::UnitState
                    | Source::KernelModules
                    | Source::SecurityCenter
                    | Source::Pipes
            )
        });
        return match blind {
            None => Ok(Stand::Absent),
            Some((_, why)) => Err(why.clone()),
        };
    }
    for finding in of_it {
        match finding.state {
            State::Active => return Ok(Stand::Active),
            State::Inactive | State::SwitchedOff => {}
            State::Unknown => {
                return Err(finding.why.clone().unwrap_or_else(|| "its state could not be read".into()));
            }
        }
    }
    Ok(Stand::Inactive)
}

#[cfg(test)]
mod elsewhere_tests;
#[cfg(all(test, target_os = "linux"))]
mod tests;
