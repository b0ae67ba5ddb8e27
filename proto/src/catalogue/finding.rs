//! What was found: a product, its state, and what spoke for and against it.
//! Invariant: only `Active` is usage; `Unknown` says nothing, and is never turned into absence.

use std::fmt;

use crate::ids::ProductId;
use crate::wire::ProductState;

/// The state of a product on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Running, protecting.
    Active,
    /// Installed, not protecting.
    Inactive,
    /// This machine carried out an order to switch it off. Matching never says so; the agent does.
    SwitchedOff,
    /// It could not be told.
    Unknown,
}

/// A product state that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no product state")]
pub struct StateError(i32);

impl State {
    /// Its word in records and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::SwitchedOff => "switched_off",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<ProductState> for State {
    type Error = StateError;

    fn try_from(state: ProductState) -> Result<Self, StateError> {
        match state {
            ProductState::Unspecified => Err(StateError(state.into())),
            ProductState::Active => Ok(Self::Active),
            ProductState::Inactive => Ok(Self::Inactive),
            ProductState::SwitchedOff => Ok(Self::SwitchedOff),
            ProductState::Unknown => Ok(Self::Unknown),
        }
    }
}

impl TryFrom<i32> for State {
    type Error = StateError;

    fn try_from(number: i32) -> Result<Self, StateError> {
        ProductState::try_from(number).map_err(|_| StateError(number))?.try_into()
    }
}

impl From<State> for ProductState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Inactive => Self::Inactive,
            State::SwitchedOff => Self::SwitchedOff,
            State::Unknown => Self::Unknown,
        }
    }
}

/// A product that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one, or `family/…` when it could not be told apart.
    pub product: ProductId,
    /// Its state.
    pub state: State,
    /// Its version, where one could be read.
    pub version: Option<String>,
    /// What spoke for it, `kind:match`.
    pub signals: Vec<String>,
    /// What spoke against it or was missing.
    pub against: Vec<String>,
    /// Why it is not active, or which product it is cannot be told.
    pub why: Option<String>,
}
