//! The collector's server and the operator's command line. Invariant: leaf of the program: nothing depends on it,
//! and it decides nothing that a count or a bill rests on.

mod alerts;
mod amend;
mod api_tokens;
mod audit;
mod backup;
mod catalogue;
mod cli;
mod config;
mod connect;
mod credentials;
mod customers;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod document;
mod explain;
mod export;
mod files;
mod hints;
mod init;
#[cfg(unix)]
mod installed;
mod join;
mod journal;
mod licences;
mod machines;
mod mapping;
mod meter;
mod moment;
mod months;
mod operators;
mod orders;
mod out;
mod pass;
mod policy;
mod prices;
mod private;
mod profile;
mod proofs;
mod reconcile;
mod review;
mod serve;
mod shown;
mod statement;
mod status;
mod store;
mod tokens;
mod upload;
mod usage;
mod verify;
mod whatif;

pub use cli::main_from;
