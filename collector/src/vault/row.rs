//! Where a row lies in the vault. Invariant: a row's name is its kind and an id, and no two rows share one.

use std::fmt;

use seatbeat_proto::ids::{CustomerId, LicenceId, MachineId, OperatorId, OrderId, TokenId};

/// A kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultKind {
    /// What a customer is called.
    CustomerName,
    /// How a customer is billed.
    CustomerBilling,
    /// What a machine is called.
    HostName,
    /// What an operator is called.
    OperatorName,
    /// What an operator noted about an enrolment token.
    TokenNote,
    /// A licence's activation code.
    LicenceCode,
    /// What was sealed to a machine for an order.
    OrderSealed,
    /// What lets the collector in at a destination.
    DestinationSecrets,
    /// What an operator signs in with.
    Account,
    /// A session of an operator's.
    Session,
    /// A secret of the collector.
    Secret,
}

impl VaultKind {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::CustomerName => "customer-name/",
            Self::CustomerBilling => "customer-billing/",
            Self::HostName => "host-name/",
            Self::OperatorName => "operator-name/",
            Self::TokenNote => "token-note/",
            Self::LicenceCode => "licence-code/",
            Self::OrderSealed => "order-sealed/",
            Self::DestinationSecrets => "destination-secrets/",
            Self::Account => "account/",
            Self::Session => "session/",
            Self::Secret => "secret/",
        }
    }
}

/// One row's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultRow<'a> {
    /// What a customer is called.
    CustomerName(&'a CustomerId),
    /// How a customer is billed.
    CustomerBilling(&'a CustomerId),
    /// What a machine is called.
    HostName(&'a MachineId),
    /// What an operator is called.
    OperatorName(&'a OperatorId),
    /// What an operator noted about an enrolment token.
    TokenNote(&'a TokenId),
    /// A licence's activation code.
    LicenceCode(&'a LicenceId),
    /// What was sealed to a machine for an order; removed once the order is over.
    OrderSealed(&'a OrderId),
    /// What lets the collector in at a destination, by the name that is configured.
    DestinationSecrets(&'a str),
    /// What an operator signs in with.
    Account(&'a OperatorId),
    /// A session, by a name of its own.
    Session(&'a str),
    /// A secret of the collector, by the name the code gives it.
    Secret(&'static str),
}

impl VaultRow<'_> {
    pub(super) fn key(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for VaultRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match self {
            Self::CustomerName(id) => (VaultKind::CustomerName, id.as_str()),
            Self::CustomerBilling(id) => (VaultKind::CustomerBilling, id.as_str()),
            Self::HostName(id) => (VaultKind::HostName, id.as_str()),
            Self::OperatorName(id) => (VaultKind::OperatorName, id.as_str()),
            Self::TokenNote(id) => (VaultKind::TokenNote, id.as_str()),
            Self::LicenceCode(id) => (VaultKind::LicenceCode, id.as_str()),
            Self::OrderSealed(id) => (VaultKind::OrderSealed, id.as_str()),
            Self::DestinationSecrets(name) => (VaultKind::DestinationSecrets, *name),
            Self::Account(id) => (VaultKind::Account, id.as_str()),
            Self::Session(name) => (VaultKind::Session, *name),
            Self::Secret(name) => (VaultKind::Secret, *name),
        };
        write!(f, "{}{id}", kind.prefix())
    }
}
