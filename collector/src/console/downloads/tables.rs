//! The tables that can be downloaded. Invariant: columns are only ever added, at the end: sheets and scripts of others
//! rest on their names and places.

use seatbeat_proto::ids::{BatchId, OrderId};

use super::Kind::{Day, Flag, Id, Instant, Money, Month, Number, Text};
use super::{
    ADMINISTERS, BILLS, CUSTOMER, Column, Download, MACHINE, Parameter, Place, SEES, SEES_THE_HOUSE, Source,
    Takes, always, maybe,
};
use crate::console::audit::ACTIONS;
use crate::console::machines::{MachineSort, MachineState};
use crate::console::rights::Needs;
use crate::outputs::Format;

macro_rules! paths {
    ($path:literal) => {
        Place::Paths([
            (concat!($path, ".csv"), Format::Csv),
            (concat!($path, ".json"), Format::Json),
            (concat!($path, ".xlsx"), Format::Xlsx),
        ])
    };
}

macro_rules! parameter {
    ($name:literal, $takes:expr, $about:literal) => {
        Parameter { name: $name, quoted: concat!("`", $name, "`"), takes: $takes, about: $about }
    };
}

const OF_CUSTOMER: Parameter = parameter!("customer", Takes::Customer, "of this customer only");
const LIMIT: Parameter =
    parameter!("limit", Takes::Limit, "a page of at most so many rows; without it all of them come");
const AFTER: Parameter =
    parameter!("after", Takes::Cursor, "where the page begins, as the link to it in the page before says");

/// Names of what becomes of an order.
pub const ORDER_STATES: &[&str] = &[
    "ordered",
    "delivered",
    "doing",
    "done",
    "confirmed",
    "contradicted",
    "refused",
    "failed",
    "expired",
    "cancelled",
    "superseded",
];

/// All of them.
pub const TABLES: &[Download] = &[
    Download {
        name: "customers",
        about: "End customers, by id.",
        place: paths!("/v1/customers"),
        needs: SEES,
        source: Source::Customers,
        parameters: &[],
        columns: &[
            always("customer", CUSTOMER, "The customer's id."),
            maybe("name", Text, "Its name; empty: none, or erased."),
            always("machines", Number, "Machines that are its own now."),
        ],
    },
    Download {
        name: "machines",
        about: "Machines with an agent, and what their newest report found.",
        place: paths!("/v1/machines"),
        needs: SEES,
        source: Source::Machines,
        parameters: &[
            OF_CUSTOMER,
            parameter!(
                "state",
                Takes::OneOf(MachineState::NAMES),
                "in this state only; `silent`: not heard from for `alerts.silent_days`"
            ),
            parameter!("product", Takes::Product, "with this product, in whatever state"),
            parameter!("agent_version", Takes::Name, "with an agent of this version"),
            parameter!("search", Takes::Text, "whose name has this in it, or whose id begins so"),
            parameter!("sort", Takes::OneOf(MachineSort::NAMES), "in this order; without it by id"),
            LIMIT,
            AFTER,
        ],
        columns: &[
            always("machine", MACHINE, "The machine's id."),
            always("customer", CUSTOMER, "Whose it is now."),
            maybe("host_name", Text, "Its name; empty: none, or erased."),
            maybe("agent_version", Text, "Version of its agent."),
            maybe("catalogue_version", Number, "Version of its catalogue; empty: none yet."),
            maybe("last_report", Instant, "Its newest report, by its own clock; empty: none yet."),
            always("connected", Flag, "Whether its stream is open."),
            always("banned", Flag, "Shut out by an operator."),
            always("retired", Flag, "Given up by an operator."),
            maybe(
                "products",
                Text,
                "What its newest report found, with the state of each that is not active.",
            ),
        ],
    },
    Download {
        name: "usage",
        about: "What was used in a month, so far or as it closed, by customer and SKU. Amounts are empty for whoever \
                may not see them.",
        place: Place::Months("/v1/usage/{file}"),
        needs: SEES,
        source: Source::Usage,
        parameters: &[OF_CUSTOMER],
        columns: &[
            always("customer", CUSTOMER, "The customer's id."),
            maybe("customer_name", Text, "Its name; empty: none, or erased."),
            always("sku", Text, "The SKU."),
            always("quantity", Number, "What would be billed."),
            always("confirmed", Number, "Seats seen on the day that counts."),
            always("presumed", Number, "Seats presumed on it."),
            maybe("unit_cost", Money, "Cost of one, where each costs the same."),
            maybe("cost", Money, "Cost, where the SKU has a price group."),
            maybe("revenue", Money, "What the customer pays, where a price is known."),
            maybe("profit", Money, "Revenue less cost."),
            maybe("currency", Text, "Currency of the amounts (ISO 4217)."),
        ],
    },
    Download {
        name: "statements",
        about: "Statements of sealed months and of the newest ones, and where each stands.",
        place: paths!("/v1/statements"),
        needs: BILLS,
        source: Source::Statements,
        parameters: &[],
        columns: &[
            always("period", Month, "The month."),
            maybe("distributor", Text, "For whom; empty while that is not known."),
            always("state", Text, "open, grace, draft, approved, sealed or superseded."),
            maybe("revision", Number, "Of what was sealed, from 1."),
            maybe(
                "digest",
                Text,
                "Of a draft over all bodies of the month, of what was sealed over its own.",
            ),
            maybe("at", Instant, "Since when; of a month that is open or in grace, until when."),
            maybe("by", Text, "Who approved or sealed it."),
            maybe("blockers", Number, "How much is in a draft's way."),
        ],
    },
    Download {
        name: "statement-lines",
        about: "The lines of a month's statements, to all distributors: as they were sealed, or of the draft.",
        place: Place::Months("/v1/statements/{file}"),
        needs: BILLS,
        source: Source::StatementLines,
        parameters: &[
            OF_CUSTOMER,
            parameter!("draft", Takes::Flag, "what would be sealed, where nothing is sealed yet"),
        ],
        columns: STATEMENT_LINES,
    },
    Download {
        name: "orders",
        about: "Orders to machines, and what became of them.",
        place: paths!("/v1/orders"),
        needs: ORDERS_NEED,
        source: Source::Orders,
        parameters: &[OF_CUSTOMER, parameter!("state", Takes::OneOf(ORDER_STATES), "of this status only")],
        columns: &[
            always("order", Id(OrderId::PREFIX), "The order's id."),
            maybe("batch", Id(BatchId::PREFIX), "Which orders it was given with."),
            always("machine", MACHINE, "The machine."),
            maybe("host_name", Text, "Its name; empty: none, or erased."),
            always("action", Text, "What is to be done."),
            maybe("product", Text, "To which product."),
            always("status", Text, "What became of it."),
            maybe("detail", Text, "What it waits for, or what came of it."),
            maybe("since", Instant, "Since when."),
            always("expires_at", Instant, "It is not begun from then on."),
        ],
    },
    Download {
        name: "audit",
        about: "Who did what, the newest first: the journal's records that are no machine's. Records lie in the order \
                of the collector's clock as long as nobody set it back: around such a step the edge of a time span may \
                be off by as much.",
        place: paths!("/v1/audit"),
        needs: ADMINISTERS,
        source: Source::Audit,
        parameters: &[
            parameter!("from", Takes::Day, "from this day on, in the billing zone"),
            parameter!("to", Takes::Day, "up to the end of this day"),
            parameter!("who", Takes::Name, "by this operator, or by `collector`"),
            parameter!("what", Takes::OneOf(ACTIONS), "this action only"),
            parameter!("customer", Takes::Customer, "about this customer, or a machine that is its own now"),
            LIMIT,
            parameter!("before", Takes::Position, "what lies before this position of the journal"),
        ],
        columns: &[
            always("position", Number, "Where it stands in the journal."),
            always("at", Instant, "When, by the collector's clock."),
            always("who", Text, "By whom: an operator's id, or `collector`."),
            maybe("name", Text, "What that operator is called; empty: nobody, or erased."),
            maybe("from", Text, "The address that they asked from."),
            always("what", Text, "What was done."),
            maybe("about", Text, "To what: ids, months, SKUs."),
            maybe("reason", Text, "Why, in their words."),
        ],
    },
];

const ORDERS_NEED: Needs = SEES_THE_HOUSE;

const STATEMENT_LINES: &[Column] = &[
    always("for_period", Month, "The month that is counted: of a correction, the one that is corrected."),
    always("customer", CUSTOMER, "The customer's id."),
    maybe("customer_name", Text, "Its name; empty: none, or erased."),
    always("sku", Text, "The SKU."),
    always("count", Text, "How it was counted, or `correction`."),
    maybe("day", Day, "The day of the high water, where something was measured by it."),
    maybe("confirmed", Number, "Seats that were seen."),
    maybe("presumed", Number, "Seats of silent machines."),
    maybe("measured", Number, "Both."),
    maybe("declared", Number, "Units that no agent can see."),
    maybe("adjusted", Number, "Corrections by hand."),
    always("quantity", Number, "What is billed; of a correction, how many more or fewer."),
    maybe("distributor", Text, "Who bills it."),
    maybe("unit_cost", Money, "Cost of one, where each costs the same."),
    maybe("cost", Money, "Cost of the line."),
    maybe("currency", Text, "Currency of the amounts (ISO 4217)."),
];
