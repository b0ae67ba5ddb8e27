//! What the reseller is billed on: records in, counts and statements out.
//! Invariant: the same set of records gives the same bytes, whatever their order, on any machine, at any later
//! time. No floats, no clock, no I/O; collections are ordered; arithmetic is exact or refused.

pub mod alerts;
pub mod attendance;
pub mod body;
pub mod bundle;
pub mod calendar;
pub mod cells;
pub mod checkpoint;
pub mod close;
pub mod corrections;
pub mod cosignature;
pub mod counts;
pub mod coverage;
pub mod currency;
pub mod day_bits;
pub mod entitlements;
pub mod explain;
pub mod few;
pub mod findings;
pub mod fold;
pub mod forecast;
pub mod identity;
pub mod invoice;
pub mod jcs;
pub mod licence;
pub mod life;
pub mod machine_day;
pub mod machines;
pub mod mapping;
pub mod merkle;
pub mod meter;
pub mod money;
pub mod month_to_date;
pub mod mutes;
pub mod names;
pub mod operators;
pub mod orders;
pub mod owner;
pub mod policy;
pub mod presence;
pub mod prices;
pub mod pricing;
pub mod profit;
pub mod proof;
pub mod quantity;
pub mod reconciliation;
pub mod record;
pub mod record_line;
pub mod record_set;
pub mod registry;
pub mod review;
pub mod sample;
#[cfg(test)]
mod scenario;
pub mod sealed;
pub mod seats;
pub mod shelf;
pub mod sku;
pub mod standing;
pub mod statement;
mod strict;
pub mod suites;
pub mod tally;
pub mod terms;
pub mod tlog_proof;
pub mod unbilled;
pub mod uploads;
pub mod usage;
pub mod variance;
pub mod verify;
pub mod whatif;

/// Version of the rules that this crate computes by; a sealed body names it, so a later reader knows what it redoes.
pub const RULES_VERSION: u32 = 1;

pub use calendar::zone_data_version;
