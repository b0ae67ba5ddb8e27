//! What each fact of the journal is called as an action, and what it is about. Invariant: pure; a name is the fact's own
//! in the journal and never changes; of what it is about, ids and numbers alone are told.

use prost::Message as _;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{LicenceHolder, Order, OrderScope, Signed};

/// Numbers of facts that are nobody's doing: what machines say, a part of a price list or of a set of rows from
/// elsewhere, and steps on the way to destinations.
pub const NO_ACTIONS: [u32; 6] = [0, 15, 16, 40, 70, 74];

macro_rules! actions {
    ($($name:literal = $fact:pat => [$($about:expr),*],)*) => {
        /// The names of all actions.
        pub const ACTIONS: &[&str] = &[$($name),*];

        /// The name of an action.
        pub fn name(fact: &Fact) -> &'static str {
            #[expect(unused_variables, reason = "the same patterns tell what it is about")]
            match fact { $($fact => $name,)* other => none(other) }
        }

        fn told(fact: &Fact) -> Vec<String> {
            match fact { $($fact => vec![$(text($about)),*],)* _ => Vec::new() }
        }
    };
}

actions! {
    "founded" = Fact::Founded(one) => [&one.reseller],
    "policy_set" = Fact::PolicySet(one) => [&one.valid_from],
    "customer_added" = Fact::CustomerAdded(one) => [&one.customer],
    "token_created" = Fact::TokenCreated(one) => [&one.token, &one.customer],
    "token_revoked" = Fact::TokenRevoked(one) => [&one.token],
    "machine_assigned" = Fact::MachineAssigned(one) => [&one.machine, &one.customer],
    "sku_assigned" = Fact::SkuAssigned(one) => [&one.customer, &one.product, one.sku.as_deref().unwrap_or_default()],
    "machine_retired" = Fact::MachineRetired(one) => [&one.machine],
    "machine_banned" = Fact::MachineBanned(one) => [&one.machine, if one.banned { "banned" } else { "let in again" }],
    "machines_merged" = Fact::MachinesMerged(one) => [&one.kept, &one.absorbed],
    "machines_split" = Fact::MachinesSplit(one) => [&one.kept, &one.absorbed],
    "machine_flagged" = Fact::MachineFlagged(one) => [&one.machine, &one.flag],
    "licence_suspended" = Fact::LicenceSuspended(one) => [&one.customer, &one.sku],
    "licence_resumed" = Fact::LicenceResumed(one) => [&one.customer, &one.sku],
    "declared" = Fact::Declared(one) => [&one.customer, &one.sku, &one.period, one.quantity],
    "adjusted" = Fact::Adjusted(one) => [&one.customer, &one.sku, &one.period, one.delta],
    "statement_sealed" = Fact::StatementSealed(one) => [&one.period, &one.distributor, one.revision],
    "operator_added" = Fact::OperatorAdded(one) => [&one.operator, &one.role],
    "operator_revoked" = Fact::OperatorRevoked(one) => [&one.operator],
    "order_placed" = Fact::OrderPlaced(one) => [&one.batch],
    "settings_changed" = Fact::SettingsChanged(one) => [one.settings.map_or(0, |settings| settings.revision)],
    "catalogue_pushed" = Fact::CataloguePushed(one) => [one.version],
    "prices_applied" = Fact::PricesApplied(one) => [&one.list, &one.valid_from],
    "statement_approved" = Fact::StatementApproved(one) => [&one.period, &one.digest],
    "licence_added" = Fact::LicenceAdded(one) => [&one.licence, &one.product, &one.sku, one.seats],
    "licence_allotted" = Fact::LicenceAllotted(one) =>
        [&one.licence, holder(one.from.as_ref()), holder(one.to.as_ref()), one.seats],
    "licence_withdrawn" = Fact::LicenceWithdrawn(one) => [&one.licence],
    "licence_revealed" = Fact::LicenceRevealed(one) => [&one.licence],
    "orders_requested" = Fact::OrdersRequested(one) => [&one.batch, one.machines],
    "orders_confirmed" = Fact::OrdersConfirmed(one) => [&one.batch],
    "order_signed" = Fact::OrderSigned(_one) => [""],
    "order_cancelled" = Fact::OrderCancelled(one) => [&one.batch, &one.order],
    "order_keys_set" = Fact::OrderKeysSet(_one) => [""],
    "order_limit_set" = Fact::OrderLimitSet(one) => [one.machines_a_day],
    "epoch_began" = Fact::EpochBegan(one) => [one.epoch],
    "customer_left" = Fact::CustomerLeft(one) => [&one.customer],
    "customer_returned" = Fact::CustomerReturned(one) => [&one.customer],
    "upload_retried" = Fact::UploadRetried(one) => [&one.destination, &one.period, &one.distributor],
    "mapping_set" = Fact::MappingSet(one) => [&one.destination, one.rows.len()],
    "invoice_imported" = Fact::InvoiceImported(one) => [&one.period, &one.distributor],
    "difference_explained" = Fact::DifferenceExplained(one) => [&one.period, &one.source, &one.customer, &one.sku],
    "operator_allowed" = Fact::OperatorAllowed(one) => [&one.operator, &one.role],
    "api_token_created" = Fact::ApiTokenCreated(one) => [&one.api_token, &one.operator, &one.role],
    "api_token_revoked" = Fact::ApiTokenRevoked(one) => [&one.api_token],
    "signed_in" = Fact::SignedIn(one) =>
        [&one.operator, &one.means, if one.refused { "refused" } else { "" }],
    "credential_set" = Fact::CredentialSet(one) =>
        [&one.operator, &one.means, if one.removed { "removed" } else { "" }],
    "alert_muted" = Fact::AlertMuted(one) => [&one.alert],
    "customer_erased" = Fact::CustomerErased(one) => [&one.customer],
    "operator_erased" = Fact::OperatorErased(one) => [&one.operator],
}

/// Facts that are no action. A fact that is new is to be named above, or here and in [`NO_ACTIONS`].
fn none(fact: &Fact) -> &'static str {
    match fact {
        Fact::EnrolmentRequested(_) => "enrolment_requested",
        Fact::EvidenceReceived(_) => "evidence_received",
        Fact::PricesStaged(_) => "prices_staged",
        Fact::UploadNoted(_) => "upload_noted",
        Fact::ProvisionedNoted(_) => "provisioned_noted",
        _ => "unknown",
    }
}

/// What an action is about: ids, months and SKUs, the most telling first.
pub fn about(fact: &Fact) -> Vec<String> {
    let mut about = told(fact);
    let (roles, scope) = match fact {
        Fact::OperatorAdded(one) => (one.customers.as_slice(), None),
        Fact::OperatorAllowed(one) => (one.customers.as_slice(), None),
        Fact::ApiTokenCreated(one) => (one.customers.as_slice(), None),
        Fact::OrdersRequested(one) => (&[][..], one.scope.as_ref()),
        _ => (&[][..], None),
    };
    about.extend(roles.iter().cloned());
    about.extend(scope.into_iter().flat_map(scoped));
    match fact {
        Fact::OrderPlaced(one) => match &one.request {
            Some(order) => about.extend(ordered(order)),
            None => about.extend(one.order.iter().filter_map(signed).flat_map(|order| ordered(&order))),
        },
        Fact::OrderSigned(one) => {
            about.extend(one.order.iter().filter_map(signed).flat_map(|order| ordered(&order)));
        }
        _ => {}
    }
    about.retain(|id| !id.is_empty());
    about
}

fn text(id: impl ToString) -> String {
    id.to_string()
}

fn holder(holder: Option<&LicenceHolder>) -> &str {
    match holder {
        Some(LicenceHolder { customer, machine }) if machine.is_empty() => customer,
        Some(LicenceHolder { machine, .. }) => machine,
        None => "",
    }
}

fn scoped(scope: &OrderScope) -> [String; 4] {
    [scope.customer.clone(), scope.machine.clone(), scope.licence.clone(), scope.product.clone()]
}

fn signed(signed: &Signed) -> Option<Order> {
    Order::decode(signed.payload.as_slice()).ok()
}

fn ordered(order: &Order) -> [String; 3] {
    [order.order.clone(), order.machine.clone(), order.product.clone()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost_types::FileDescriptorSet;
    use seatbeat_proto::wire::{CustomerAdded, FILE_DESCRIPTORS, OrderSigned};

    use super::*;

    #[test]
    fn each_fact_of_the_journal_is_an_action_by_its_own_name_or_none() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTORS).unwrap();
        let mut messages = files.file.iter().flat_map(|file| &file.message_type);
        let record = messages.find(|message| message.name() == "JournalRecord").unwrap();
        let facts: BTreeMap<i32, &str> = record
            .field
            .iter()
            .filter(|field| field.number() >= 10)
            .map(|field| (field.number(), field.name()))
            .collect();
        let is_none = |number: i32| NO_ACTIONS.contains(&number.cast_unsigned());
        let actions: Vec<&str> =
            facts.iter().filter(|(number, _)| !is_none(**number)).map(|(_, name)| *name).collect();
        assert_eq!(ACTIONS, actions);
    }

    #[test]
    fn an_action_is_about_ids() {
        let added = Fact::CustomerAdded(CustomerAdded { customer: "cus_a".to_owned() });
        assert_eq!((name(&added), about(&added)), ("customer_added", vec!["cus_a".to_owned()]));
        let order = Order { order: "ord_1".to_owned(), machine: "mch_a".to_owned(), ..Default::default() };
        let payload = order.encode_to_vec();
        let signed = Fact::OrderSigned(OrderSigned { order: Some(Signed { payload, ..Default::default() }) });
        assert_eq!(about(&signed), ["ord_1", "mch_a"]);
    }
}
