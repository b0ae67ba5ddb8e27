//! What is asked of the pages that switch off and on. Invariant: a wish, a number or a departure that is none is refused
//! by name; a secret that was typed in goes on in what forgets it.

use seatbeat_ledger::orders::Scope;
use seatbeat_proto::ids::ProductId;
use seatbeat_proto::wire;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::console::fault::Fault;
use crate::console::orders::Wish;
use crate::console::orders::make::Secrets;
use crate::console::orders::placing::Agreed;
use crate::console::web::Web;
use crate::console::web::pages::moment;

/// Days after which what was not begun is given up, unless something else is asked for.
pub const EXPIRES_DAYS: u32 = 14;

/// Most days: for longer it is asked anew.
const EXPIRES_DAYS_MAX: u32 = 90;

/// What stands in the address of a plan.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WishAsked {
    /// What is wanted.
    pub wish: String,
    /// Of which product alone.
    pub product: String,
}

/// What stands in the address of a departure.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DepartAsked {
    /// How a customer departs.
    #[serde(rename = "as")]
    pub departure: String,
}

/// What is agreed to.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgreedForm {
    /// What is wanted.
    pub wish: String,
    /// Of which product alone.
    pub product: String,
    /// How a customer departs.
    #[serde(rename = "as")]
    pub departure: String,
    digest: String,
    /// The number of machines, typed in.
    machines: String,
    days: String,
    at_once: Option<String>,
    password: String,
    manager: String,
    tenant: String,
    token: String,
    policy: String,
    passphrase: String,
    reason: String,
}

impl AgreedForm {
    /// What was agreed to, as the console takes it.
    pub fn agreed(self, web: &Web, wish: Wish, scope: Scope) -> Result<Agreed, Fault> {
        let days =
            match self.days.trim() {
                "" => EXPIRES_DAYS,
                text => text.parse().ok().filter(|days| (1..=EXPIRES_DAYS_MAX).contains(days)).ok_or_else(
                    || Fault::value("the days", format!("are not a number from 1 to {EXPIRES_DAYS_MAX}")),
                )?,
            };
        let typed = self.machines.trim().parse();
        let machines = match (&scope.machine, typed) {
            (Some(_), _) => None,
            (None, Ok(machines)) => Some(machines),
            (None, Err(_)) => return Err(Fault::value("the number of machines", "is missing: type it in")),
        };
        let secrets = Secrets(wire::OrderSecrets {
            password: self.password,
            manager: self.manager.trim().to_owned(),
            tenant: self.tenant.trim().to_owned(),
            token: self.token,
            policy: self.policy.trim().to_owned(),
        });
        Ok(Agreed {
            wish,
            scope,
            digest: self.digest,
            machines,
            expires_at: moment::days_after(web.console.now(), days),
            at_once: self.at_once.is_some(),
            secrets,
            passphrase: Zeroizing::new(self.passphrase),
            reason: self.reason,
        })
    }
}

/// A customer that leaves, is suspended or comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departing {
    Suspend,
    Offboard,
    Resume,
}

impl Departing {
    /// The one of this name.
    pub fn named(text: &str) -> Result<Self, Fault> {
        Ok(match text {
            "suspend" => Self::Suspend,
            "offboard" => Self::Offboard,
            "resume" => Self::Resume,
            _ => return Err(Fault::value("`as`", "is none of suspend, offboard, resume")),
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Offboard => "offboard",
            Self::Resume => "resume",
        }
    }

    /// What it does.
    pub fn about(self) -> &'static str {
        match self {
            Self::Suspend => "It does not pay: all is switched off until it is resumed.",
            Self::Offboard => {
                "It leaves for good: all is switched off, its tokens are revoked, its agents are let go."
            }
            Self::Resume => "It pays again: what was switched off is switched on.",
        }
    }

    /// What goes with it on the machines.
    pub fn wish(self) -> Wish {
        match self {
            Self::Suspend => Wish::SwitchOff,
            Self::Offboard => Wish::Unenrol,
            Self::Resume => Wish::SwitchOn,
        }
    }

    /// On the wire.
    pub fn wire(self) -> wire::Departure {
        match self {
            Self::Suspend => wire::Departure::Suspended,
            Self::Offboard => wire::Departure::Offboarded,
            Self::Resume => wire::Departure::Returned,
        }
    }
}

/// The wish of this name; without one, to switch off.
pub fn wish_named(text: &str) -> Result<Wish, Fault> {
    Ok(match text {
        "" | "switch_off" => Wish::SwitchOff,
        "switch_on" => Wish::SwitchOn,
        "uninstall" => Wish::Uninstall,
        "unenrol" => Wish::Unenrol,
        _ => return Err(Fault::value("`wish`", "is none of switch_off, switch_on, uninstall, unenrol")),
    })
}

/// Its name in addresses and forms.
pub fn wish_name(wish: Wish) -> &'static str {
    match wish {
        Wish::SwitchOff => "switch_off",
        Wish::SwitchOn => "switch_on",
        Wish::Uninstall => "uninstall",
        Wish::Unenrol => "unenrol",
    }
}

/// Its name on buttons.
pub fn wish_title(wish: Wish) -> &'static str {
    match wish {
        Wish::SwitchOff => "Switch off",
        Wish::SwitchOn => "Switch on",
        Wish::Uninstall => "Uninstall",
        Wish::Unenrol => "Let agents go",
    }
}

/// The product of this text; an empty one asks for all that can be switched.
pub fn product_asked(text: &str) -> Result<Option<ProductId>, Fault> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| Fault::value("`product`", error)),
    }
}
