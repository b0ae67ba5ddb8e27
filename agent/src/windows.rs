//! What Windows alone has: its accounts and access lists, its service manager, its event log. Invariant: every call
//! that no safe crate has stands in `raw.rs`; what is decided about what it answers is decided elsewhere, and tried on
//! every system.

#[cfg(any(windows, test))]
pub mod access;
#[cfg(windows)]
pub mod defender;
#[cfg(windows)]
pub mod ended;
#[cfg(windows)]
pub mod events;
#[cfg(windows)]
pub mod folder;
#[cfg(windows)]
pub mod places;
#[cfg(windows)]
pub mod proxy;
#[cfg(windows)]
#[allow(
    unsafe_code,
    reason = "calls that no safe crate has, each wrapped in a safe function; nothing else is in there"
)]
pub mod raw;
#[cfg(windows)]
pub mod service;
