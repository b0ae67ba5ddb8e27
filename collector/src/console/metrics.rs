//! What there is to measure of a collector, as OpenMetrics text. Invariant: values are read when they are asked for and
//! change nothing; labels are of closed sets or of the configuration, so that no fleet makes the page long.

use std::collections::BTreeMap;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use seatbeat_ledger::fold::Fold;

use super::Console;
use crate::gateway::door::CLOCK;
use crate::health;

/// What each name starts with.
const PREFIX: &str = "seatbeat";

/// Labels of one series.
type Labels = Vec<(&'static str, String)>;

impl Console {
    /// The page that is scraped. Blocks for as long as it takes to look at each order and upload once.
    pub fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        registry.register("build", "Which Seatbeat this is", Info::new(version));
        self.measure_agents(&mut registry);
        self.measure_books(&mut registry);
        self.measure_work(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a text takes all that is written to it");
        text
    }

    fn measure_agents(&self, registry: &mut Registry) {
        let (presence, clocks) = (&self.presence, self.presence.clocks());
        let (machines, customers) =
            self.books.read(|fold| (fold.registry().machine_count(), fold.registry().customers().count()));
        gauge(
            registry,
            "agents_connected",
            "Machines with an open stream, or on standby",
            presence.connected_count(),
        );
        gauge(registry, "agents_standing_by", "Quiet ones of them", presence.standing_by_count());
        gauge(registry, "agents_known", "Machines that were ever let in", machines);
        gauge(registry, "customers", "Customers", customers);
        counter(registry, "agent_beats", "Messages of agents since the start", presence.beats());
        counter(registry, "reports", "Evidence made durable since the start", presence.evidence());
        let refused = Family::<Labels, Counter>::default();
        for (reason, count) in presence.meters().refused() {
            refused.get_or_create(&vec![("reason", reason.to_owned())]).inc_by(count);
        }
        registry.register("reports_refused", "Evidence refused since the start", refused);
        let help = "From the arrival of evidence to its acknowledgement, when it is durable";
        registry.register_with_unit("ack", help, Unit::Seconds, presence.meters().acks());
        let off = [("ahead", clocks.ahead), ("behind", clocks.behind)];
        let help = "Connected agents whose clock is more than ten minutes off the collector's";
        registry.register("agents_clock_off", help, family("direction", off));
        if let Some(median_ms) = clocks.median_ms() {
            let help =
                "By how many milliseconds half of the connected agents are ahead of the collector's clock";
            registry.register("agents_clock_offset_milliseconds", help, ConstGauge::new(median_ms));
        }
        let suspect = usize::from(self.books.alarms().stands(CLOCK));
        gauge(registry, "clock_suspect", "1: agents contradict the clock, nothing is acknowledged", suspect);
    }

    fn measure_books(&self, registry: &mut Registry) {
        let books = &self.books;
        let (durable, searchable) = (books.durable().0, books.searchable().0);
        let folded = books.read(Fold::position);
        counter(registry, "journal_records", "Durable records of the journal", durable);
        bytes(registry, "journal_size", "Size of the journal's segments", books.journal_bytes());
        bytes(registry, "journal_waiting", "What waits to be written", books.waiting_bytes() as u64);
        let lag = |of: u64| durable.saturating_sub(of) as usize;
        gauge(registry, "fold_lag_records", "Durable records that are not folded yet", lag(folded));
        let help = "Durable records that the search rows do not know yet";
        gauge(registry, "lookup_lag_records", help, lag(searchable));
        if let Some(free) = health::free_bytes(books.folder()) {
            bytes(registry, "disk_free", "Free space on the store's disk", free);
        }
        let standing = books.alarms().standing().len();
        gauge(registry, "alarms", "Conditions that need a person", standing);
    }

    fn measure_work(&self, registry: &mut Registry) {
        // Copies share what has not changed: nobody waits for the counting.
        let (orders, uploads) = self.books.read(|fold| (fold.orders().clone(), fold.uploads().clone()));
        let now = self.books.clock().now();
        let mut by_status: BTreeMap<&str, usize> = BTreeMap::new();
        for order in orders.iter() {
            *by_status.entry(orders.status(order, now).name()).or_default() += 1;
        }
        registry.register("orders", "Orders to machines", family("status", by_status));
        let sent = Family::<Labels, Gauge>::default();
        for (id, upload) in uploads.iter() {
            let labels =
                vec![("destination", id.destination.clone()), ("status", upload.status().name().to_owned())];
            sent.get_or_create(&labels).inc();
        }
        registry.register("uploads", "Statements on their way to destinations", sent);
        let open = self.books.read(|fold| fold.sealed_periods().count());
        gauge(registry, "months_sealed", "Months with a sealed statement", open);
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    registry.register(name, help, ConstGauge::new(value as i64));
}

fn bytes(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(value));
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

fn family<'a>(
    label: &'static str,
    counts: impl IntoIterator<Item = (&'a str, usize)>,
) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    for (value, count) in counts {
        family.get_or_create(&vec![(label, value.to_owned())]).set(count as i64);
    }
    family
}
