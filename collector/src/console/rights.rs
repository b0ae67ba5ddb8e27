//! What each question and action asks for. Invariant: an RPC or a route that stands in no table is answered to nobody;
//! who may see some customers only is refused whatever does not say that it looks at whose it is.

use seatbeat_ledger::operators::{LetIn, Reach, Right};

use super::fault::Fault;

/// Whose things are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The house's, or several customers' at once.
    House,
    /// One customer's, or what of all is within the reach of who asks: the answer itself looks at that.
    Customers,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anybody may.
    Nobody,
    /// Whoever is signed in: it is about themselves.
    SignedIn,
    /// A right, and the reach.
    Right(Right, Whose),
}

use Needs::Right as Asks;
use Right::{Administer, Bill, See, Serve};
use Whose::{Customers, House};

impl Needs {
    /// Whether somebody may.
    ///
    /// # Errors
    /// [`Fault::NotLetIn`] without a way in, [`Fault::Forbidden`] with too small a one.
    pub fn check(self, who: Option<&LetIn>) -> Result<(), Fault> {
        match (self, who) {
            (Self::Nobody, _) | (Self::SignedIn, Some(_)) => Ok(()),
            (_, None) => Err(Fault::NotLetIn),
            (Self::Right(right, _), Some(who)) if !who.has(right) => Err(Fault::Forbidden(match right {
                See => "nobody's role is too small for it",
                Bill => "it needs the role billing or admin",
                Serve => "it needs the role technician or admin",
                Administer => "it needs the role admin",
            })),
            (Self::Right(_, House), Some(who)) if who.reach() != Reach::House => {
                Err(Fault::Forbidden("it is about more than your customers"))
            }
            (Self::Right(..), Some(_)) => Ok(()),
        }
    }
}

/// The RPCs of Console by name.
pub const RPCS: &[(&str, Needs)] = &[
    ("Status", Asks(See, House)),
    ("AddCustomer", Asks(Serve, House)),
    ("ListCustomers", Asks(See, Customers)),
    ("CreateToken", Asks(Serve, Customers)),
    ("ListTokens", Asks(Serve, Customers)),
    ("RevokeToken", Asks(Serve, Customers)),
    ("ListMachines", Asks(See, Customers)),
    ("ShowMachine", Asks(See, Customers)),
    ("BanMachine", Asks(Serve, Customers)),
    ("Amend", Asks(Bill, House)),
    ("Usage", Asks(See, Customers)),
    ("GetPolicy", Asks(See, House)),
    ("SetPolicy", Asks(Administer, House)),
    ("GetCatalogue", Asks(See, House)),
    ("PushCatalogue", Asks(Administer, House)),
    ("DraftStatement", Asks(Bill, House)),
    ("SealStatement", Asks(Bill, House)),
    ("ShowStatement", Asks(Bill, House)),
    ("ListStatements", Asks(Bill, House)),
    ("ExplainStatement", Asks(Bill, House)),
    ("ImportLicences", Asks(Serve, House)),
    ("ListLicences", Asks(See, House)),
    ("AllotLicence", Asks(Serve, House)),
    ("WithdrawLicence", Asks(Serve, House)),
    ("RevealLicence", Asks(Serve, House)),
    ("ExportRecords", Asks(Bill, House)),
    ("ImportPrices", Asks(Bill, House)),
    ("ExportPrices", Asks(Bill, House)),
    ("ExportBundle", Asks(Bill, House)),
    ("AnswerSample", Asks(Bill, House)),
    ("Document", Asks(Bill, House)),
    ("WhatIf", Asks(Bill, House)),
    ("SetCustomer", Asks(Bill, House)),
    ("AddOperator", Asks(Administer, House)),
    ("ListOperators", Asks(Administer, House)),
    ("RevokeOperator", Asks(Administer, House)),
    ("PlanOrders", Asks(Serve, House)),
    ("PlaceOrders", Asks(Serve, House)),
    ("UnsignedOrders", Asks(Serve, House)),
    ("SignOrders", Asks(Serve, House)),
    ("ConfirmOrders", Asks(Serve, House)),
    ("CancelOrders", Asks(Serve, House)),
    ("ListOrders", Asks(See, House)),
    ("GetOrderKeys", Asks(Serve, House)),
    ("SetOrderKeys", Asks(Administer, House)),
    ("LimitOrders", Asks(Administer, House)),
    ("DepartCustomer", Asks(Administer, House)),
    ("SwitchSku", Asks(Bill, House)),
    ("ListUploads", Asks(Bill, House)),
    ("PlanUpload", Asks(Bill, House)),
    ("RetryUpload", Asks(Bill, House)),
    ("SettleUpload", Asks(Bill, House)),
    ("ImportMapping", Asks(Bill, House)),
    ("ExportMapping", Asks(Bill, House)),
    ("SuggestMapping", Asks(Bill, House)),
    ("InstallKit", Asks(Serve, Customers)),
    ("Reconcile", Asks(Bill, House)),
    ("ImportInvoice", Asks(Bill, House)),
    ("ExplainDifference", Asks(Bill, House)),
    ("ListAudit", Asks(Administer, House)),
    ("AllowOperator", Asks(Administer, House)),
    ("CreateApiToken", Needs::SignedIn),
    ("ListApiTokens", Needs::SignedIn),
    ("RevokeApiToken", Needs::SignedIn),
    ("SetPassword", Needs::SignedIn),
    ("RemoveCredential", Needs::SignedIn),
    ("CreateSignInLink", Needs::SignedIn),
    ("LinkOidc", Asks(Administer, House)),
    ("ListAlerts", Asks(See, Customers)),
    ("MuteAlert", Asks(Serve, House)),
    ("TestAlerts", Asks(Administer, House)),
    ("Erase", Asks(Administer, House)),
    ("BackUp", Asks(Administer, House)),
    ("Doctor", Asks(Administer, House)),
];

const CONSOLE: &str = "/seatbeat.v1.Console/";

/// What an RPC asks for, by the path it comes under; none: it is answered to nobody.
pub fn of_rpc(path: &str) -> Option<Needs> {
    if let Some(name) = path.strip_prefix(CONSOLE) {
        return RPCS.iter().find(|(rpc, _)| *rpc == name).map(|(_, needs)| *needs);
    }
    // Of this collector's own services nothing else is there: these are gRPC's.
    let is_of = |service: &str| path.strip_prefix('/').is_some_and(|path| path.starts_with(service));
    if is_of("grpc.health.v1.") {
        return Some(Needs::Nobody);
    }
    is_of("grpc.reflection.").then_some(Needs::SignedIn)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use seatbeat_ledger::operators::{Grant, Role};
    use seatbeat_proto::wire::FILE_DESCRIPTORS;

    use super::*;

    #[test]
    fn each_rpc_of_console_stands_in_the_table_and_nothing_else_does() {
        let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTORS).unwrap();
        let services = files.file.iter().flat_map(|file| &file.service);
        let console = services.filter(|service| service.name() == "Console");
        let rpcs: BTreeSet<String> =
            console.flat_map(|service| &service.method).map(|method| method.name().to_owned()).collect();
        let named: BTreeSet<String> = RPCS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(named.len(), RPCS.len(), "each once");
        assert_eq!(named, rpcs);
    }

    #[test]
    fn what_stands_in_no_table_is_answered_to_nobody() {
        assert_eq!(of_rpc("/seatbeat.v1.Console/Status"), Some(Asks(See, House)));
        assert_eq!(of_rpc("/grpc.health.v1.Health/Check"), Some(Needs::Nobody));
        for path in
            ["/seatbeat.v1.Console/Another", "/seatbeat.v1.Link/Open", "seatbeat.v1.Console/Status", "/"]
        {
            assert_eq!(of_rpc(path), None, "{path}");
        }
    }

    #[test]
    fn too_small_a_role_and_too_short_a_reach_are_refused() {
        let who = |role, reach| LetIn {
            operator: "opr_a".parse().unwrap(),
            api_token: None,
            grants: vec![Grant { role, reach }],
        };
        let some = || Reach::of(["cus_a".parse().unwrap()].into());
        let may = |needs: Needs, role, reach| needs.check(Some(&who(role, reach))).is_ok();
        assert!(matches!(Asks(See, Customers).check(None), Err(Fault::NotLetIn)));
        assert!(matches!(Needs::SignedIn.check(None), Err(Fault::NotLetIn)));
        assert!(Needs::Nobody.check(None).is_ok());
        assert!(may(Asks(Bill, House), Role::Billing, Reach::House));
        assert!(!may(Asks(Bill, House), Role::Technician, Reach::House));
        assert!(!may(Asks(See, House), Role::Admin, some()));
        assert!(may(Asks(See, Customers), Role::Viewer, some()));
    }
}
