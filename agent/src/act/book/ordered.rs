//! An order as it was signed, read once. Invariant: it belongs to this machine and has an id; whatever else is wrong with
//! it is an answer, not an error.

use seatbeat_proto::hex;
use seatbeat_proto::ids::{OrderId, ProductId};
use seatbeat_proto::procedures::Switch;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use super::Place;

/// Longest product that is kept of an order, in bytes: an id is shorter.
const PRODUCT_LENGTH_MAX: usize = 80;

/// What an order wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A product is to run no longer.
    SwitchOff,
    /// It is to be removed.
    Uninstall,
    /// It is to run again.
    SwitchOn,
    /// This machine is to forget who it is.
    Unenrol,
    /// Nothing that waits for the product is to be begun.
    Cancel,
    /// Something that a later version knows, or nothing that an operator may order.
    Other,
}

/// Whose signature an order carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// The collector's.
    Service,
    /// An operator's.
    Operator,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Its id.
    pub id: OrderId,
    /// What it wants.
    pub kind: Kind,
    /// Of which product; empty: of none.
    pub product: String,
    /// Where it stands among all.
    pub place: Place,
    /// Unix milliseconds.
    pub issued_at_ms: i64,
    /// Unix milliseconds.
    pub expires_at_ms: i64,
    /// Not held back by the hour between two starts.
    pub at_once: bool,
    /// SHA-256 of what was signed, hexadecimal.
    pub digest: String,
    /// Who signed it.
    pub signer: Signer,
    /// The key that did, hexadecimal.
    pub by: String,
    /// Secrets that came with it, still sealed, hexadecimal; empty once it has an end.
    pub sealed: String,
    /// Its secrets did not come with it as they were signed.
    pub incomplete: bool,
}

impl Kind {
    /// Whether protection ends by it.
    pub fn is_destructive(self) -> bool {
        matches!(self, Self::SwitchOff | Self::Uninstall)
    }

    /// What it is to a product.
    pub fn switch(self) -> Option<Switch> {
        match self {
            Self::SwitchOff => Some(Switch::Off),
            Self::Uninstall => Some(Switch::Uninstall),
            Self::SwitchOn => Some(Switch::On),
            Self::Unenrol | Self::Cancel | Self::Other => None,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::SwitchOff => "switch off",
            Self::Uninstall => "uninstall",
            Self::SwitchOn => "switch on",
            Self::Unenrol => "unenrol",
            Self::Cancel => "cancel",
            Self::Other => "unknown",
        }
    }

    fn of(order: &wire::Order) -> Self {
        match order.action() {
            wire::Action::SwitchOff if order.uninstall => Self::Uninstall,
            wire::Action::SwitchOff => Self::SwitchOff,
            wire::Action::SwitchOn => Self::SwitchOn,
            wire::Action::Unenrol => Self::Unenrol,
            wire::Action::Cancel => Self::Cancel,
            wire::Action::ReportNow | wire::Action::RenewKeys | wire::Action::Unspecified => Self::Other,
        }
    }
}

impl Ordered {
    /// Reads what a key signed, with the bytes that came beside it.
    pub fn read(
        order: &wire::Order,
        id: OrderId,
        payload: &[u8],
        sealed: &[u8],
        signer: Signer,
        by: &[u8],
    ) -> Self {
        let mut product = order.product.clone();
        product.truncate(product.floor_char_boundary(PRODUCT_LENGTH_MAX));
        let has_secrets = !order.secrets_hash.is_empty();
        let complete = !has_secrets || order.secrets_hash == hash(sealed);
        Self {
            id,
            kind: Kind::of(order),
            product,
            place: Place { epoch: order.epoch, sequence: order.sequence },
            issued_at_ms: order.issued_at_ms,
            expires_at_ms: order.expires_at_ms,
            at_once: order.at_once,
            digest: hex::format(&hash(payload)),
            signer,
            by: hex::format(by),
            sealed: if has_secrets && complete { hex::format(sealed) } else { String::new() },
            incomplete: !complete,
        }
    }

    /// Why it cannot be accepted, whatever was ordered before.
    pub fn unfit(&self) -> Option<&'static str> {
        let has_product = self.product.parse::<ProductId>().is_ok();
        match (self.kind, self.signer) {
            (Kind::Other, _) => {
                Some("this agent does not know the action, or the key that signed it may not order it")
            }
            (Kind::SwitchOff | Kind::Uninstall | Kind::SwitchOn | Kind::Unenrol, Signer::Service) => {
                Some("the key that signed the order may not give it")
            }
            (Kind::SwitchOff | Kind::Uninstall | Kind::SwitchOn, _) if !has_product => {
                Some("the order names no product")
            }
            (Kind::Unenrol, _) if !self.product.is_empty() => Some("an order to unenrol names no product"),
            _ if self.incomplete => Some("the secrets of the order did not come with it as they were signed"),
            _ => None,
        }
    }
}
