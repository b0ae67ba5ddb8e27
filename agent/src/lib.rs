//! The agent: finds the vendor's products on this machine and reports them, signed, to its reseller's collector.
//! Pure rooms (`meter`, `session`, `orders`, `settings`, `chain`) take time as a parameter and touch nothing
//! outside; `reporter` is what they amount to, `daemon` feeds it.

pub mod act;
pub mod catalogue;
pub mod chain;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod enrol;
#[cfg(test)]
mod fake;
pub mod generalise;
#[cfg(target_os = "linux")]
pub mod helper;
pub mod identity;
pub mod jitter;
pub mod leave;
pub mod link;
pub mod marks;
pub mod meter;
pub mod moment;
pub mod orders;
pub mod plain;
pub mod proxy;
pub mod reporter;
pub mod road;
pub mod scan;
pub mod sealed;
pub mod session;
pub mod settings;
pub mod spool;
pub mod state;
pub mod status;
pub mod waiting;
pub mod windows;
