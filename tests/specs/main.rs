//! One test binary: what Seatbeat promises.

mod catalogue;
mod closing;
mod descriptors;
mod desk;
mod explaining;
mod full_disk;
mod golden;
mod helper;
mod kill;
mod licences;
mod metering;
mod months;
mod operations;
mod package;
mod prices;
mod proof;
mod reconciling;
mod refusals;
mod reporters;
mod sending;
mod signing_in;
mod standin;
mod switching;
mod tidy;
