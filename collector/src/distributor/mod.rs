//! Those a reseller buys from, and the vendor's platform: a sealed statement goes there by itself, licences are
//! suspended and resumed there, and what is provisioned there is compared with what ran. Invariant: a connector
//! decides no number, it projects what was sealed; what it did already it does not do twice; each is one file here.

pub mod arm;
pub mod call;
#[cfg(test)]
pub mod chance;
pub mod cloudblue_connect;
pub mod connector;
pub mod destination;
pub mod drop_files;
mod far;
#[cfg(test)]
mod faults;
pub mod folder;
pub mod http;
pub mod https;
#[cfg(test)]
pub mod independent;
#[cfg(test)]
mod independent_files;
mod ingram_simpleapi;
mod lmpi;
mod manual;
pub mod mapping_file;
mod marketplace;
pub mod projection;
#[cfg(test)]
pub mod samples;
mod seats;
pub mod secrets;
pub mod sftp;
#[cfg(test)]
pub mod standin;
mod tdsynnex_ion;
pub mod vaulted;

pub use manual::Manual;
