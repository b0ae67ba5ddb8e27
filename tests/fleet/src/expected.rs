//! What the plan's last month has to come to, worked out by hand from the plan and `policy.toml`, not by the ledger.
//! Invariant: it holds for every month and zone, since no machine of the plan hangs on the month's length.

/// One line of the statement, and what it earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Whose.
    pub customer: &'static str,
    /// What is billed.
    pub sku: &'static str,
    /// How many.
    pub quantity: &'static str,
    /// How many of them on a machine that reported that day.
    pub confirmed: &'static str,
    /// What the distributor asks.
    pub cost: &'static str,
    /// What the customer pays.
    pub revenue: &'static str,
}

const fn line(
    customer: &'static str,
    sku: &'static str,
    quantity: &'static str,
    confirmed: &'static str,
    cost: &'static str,
    revenue: &'static str,
) -> Expected {
    Expected { customer, sku, quantity, confirmed, cost, revenue }
}

/// The month, sorted as a statement is.
pub const MONTH: [Expected; 11] = [
    // 8 all month, one retired on the 12th, one that changed its product on the 15th. 5 x 3.00 + 5 x 2.60.
    line("cus_brandt", "A1-EP", "10", "10", "28.00", "55.00"),
    // The one that changed. 16 units of all customers: the second tier.
    line("cus_brandt", "WF-SVC", "1", "1", "1.80", "4.00"),
    // 3 servers, 1 and 1 at another customer: 5 units, the second tier.
    line("cus_elbe", "DS-ONPREM", "1", "0", "8.00", "14.00"),
    line("cus_elbe", "V1-EP", "4", "4", "12.80", "24.00"),
    line("cus_elbe", "WF-SVC", "2", "2", "3.60", "8.00"),
    // 10 tills, two laptops, one machine with a bad clock; the one whose services are stopped is no seat.
    line("cus_lindner", "WF-SVC", "13", "13", "23.40", "46.80"),
    // Without the three that are sold together with the sensor.
    line("cus_ostermann", "DS-CLOUD", "1", "1", "8.00", "14.00"),
    line("cus_ostermann", "DS-ONPREM", "3", "3", "24.00", "42.00"),
    // Two on Linux, two on Windows.
    line("cus_ostermann", "SERVERPROTECT", "4", "4", "7.00", "12.00"),
    // The notebook that moved to cus_elbe on the 20th: here for most of the month.
    line("cus_ostermann", "V1-EP", "1", "1", "3.20", "6.00"),
    line("cus_ostermann", "V1-SERVER", "3", "3", "34.50", "54.00"),
];

/// Machines of the plan that the statement flags, by name.
pub const FLAGGED: [(&str, &str); 1] = [("went_silent", "lindner-laptop-1")];
