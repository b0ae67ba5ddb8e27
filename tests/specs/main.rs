//! One test binary: what Seatbeat promises.

mod desk;
mod golden;
mod kill;
mod metering;
mod package;
mod refusals;
mod tidy;
