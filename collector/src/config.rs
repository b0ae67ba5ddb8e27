//! The collector's configuration, `seatbeat.toml` in the store. Invariant: unknown keys are errors; no secret is in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use seatbeat_ledger::coverage::Rule;
use seatbeat_ledger::life::Timetable;
use seatbeat_ledger::profit::{CLASSIC_LICENCE_MARGIN, margin};
use serde::{Deserialize, Serialize};

use crate::alerts::settings::Alerts;
use crate::console::sign_in::oidc_config::SignInConfig;
use crate::distributor::destination::Destination;
use crate::journal::Archive;

/// How a collector runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where agents connect. Default `0.0.0.0:8443`.
    pub agent_listen: SocketAddr,
    /// `host:port` under which agents reach this collector: goes into each new token. Default: none, then
    /// `agent_listen` where that is a single address.
    pub agent_addresses: Vec<String>,
    /// Where operators connect. Default `127.0.0.1:8080`; another address needs `operator_certificate`.
    pub operator_listen: SocketAddr,
    /// The operator door's certificate, with those between it and its authority (PEM). Default: none, no TLS.
    pub operator_certificate: Option<PathBuf>,
    /// Its private key (PEM). Default: none.
    pub operator_key: Option<PathBuf>,
    /// How long after a period's end its evidence may still arrive, in hours. Default 72: a long weekend.
    pub grace_hours: u32,
    /// Whether a statement that nothing blocks is sealed without an operator. Default true.
    pub unattended_approval: bool,
    /// Day of the following month from which that happens, in the billing zone. Default 5.
    pub approve_on_day: i8,
    /// Of a hundred machines that are assigned and not retired so many have to have been heard from at the end of a
    /// month; with fewer its statement waits for a person. Default 80; 0: never mind.
    pub coverage_percent: u8,
    /// On the last so many days of the month, or of its begun ones. Default 14: two weeks off are no reason to wait.
    pub coverage_days: u32,
    /// Folder that sealed statements are dropped in. Default `statements` in the store.
    pub statements: Option<PathBuf>,
    /// Whether the bundles in that folder say which machine is which. Default `pseudonyms`; `real` for a distributor
    /// that has agreed on it with the customers.
    pub bundle_names: Names,
    /// Margin of the yearly licences that earnings are compared with. Default `0.20`, the trade's usual.
    pub licence_margin: String,
    /// Tax code of invoice lines of customers that have none of their own. Default: none.
    pub tax_code: String,
    /// Who keeps the key that signs orders to machines. Default `vault`: here, under an operator's passphrase;
    /// `operator`: on a workstation, and orders wait for `seatbeat orders sign` there.
    pub order_key: OrderKey,
    /// Where installation files are fetched: by product id, or `agent/windows`, `agent/linux`, `agent/macos`. Goes into
    /// install kits. Default: none.
    pub downloads: BTreeMap<String, String>,
    /// Where sealed statements go by themselves. Default: nowhere but the folder `statements`.
    pub destination: BTreeMap<String, Destination>,
    /// How operators sign in, beside passwords.
    pub sign_in: SignInConfig,
    /// What needs somebody, and who is told.
    pub alerts: Alerts,
    /// The database that keeps the journal, `postgres://USER@HOST/DATABASE`, without a password. Default: none, the
    /// store keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// File with the database's password. Default: none, then the variable SEATBEAT_JOURNAL_PASSWORD, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_password_file: Option<PathBuf>,
    /// Authority that signed the database's certificate (PEM). Default: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_certificate: Option<PathBuf>,
    /// Where old evidence is moved. Default: nowhere, it stays in the store, and in the database where one keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveConfig>,
    /// Seconds between an agent's beats. Default 60.
    pub beat_interval_s: u32,
    /// Seconds between an agent's reports when nothing changes. Default 21600 (6 h): every billing zone sees every day.
    pub report_interval_s: u32,
    /// Seconds between an agent's looks at its machine. Default 900.
    pub scan_interval_s: u32,
}

/// Where old evidence is moved, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// A folder by its whole path, or `s3://BUCKET/PREFIX`.
    pub to: String,
    /// Parts of the journal whose newest record is older, in months, and that a sealed statement covers, are moved.
    /// Default 3: the running month and the two before are asked about every day.
    #[serde(default = "archive_after_months")]
    pub after_months: u32,
}

const ARCHIVE_AFTER_MONTHS: u32 = 3;

fn archive_after_months() -> u32 {
    ARCHIVE_AFTER_MONTHS
}

/// Who keeps the key that signs orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKey {
    /// The collector's vault, under an operator's passphrase.
    #[default]
    Vault,
    /// An operator, on a workstation.
    Operator,
}

impl OrderKey {
    /// As it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Operator => "operator",
        }
    }
}

/// What machines are called in a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// By pseudonyms that only the reseller can open.
    #[default]
    Pseudonyms,
    /// With their ids and host names beside.
    Real,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            agent_addresses: Vec::new(),
            operator_listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            operator_certificate: None,
            operator_key: None,
            grace_hours: 72,
            unattended_approval: true,
            approve_on_day: 5,
            coverage_percent: 80,
            coverage_days: 14,
            statements: None,
            bundle_names: Names::Pseudonyms,
            licence_margin: CLASSIC_LICENCE_MARGIN.to_owned(),
            tax_code: String::new(),
            order_key: OrderKey::Vault,
            downloads: BTreeMap::new(),
            destination: BTreeMap::new(),
            sign_in: SignInConfig::default(),
            alerts: Alerts::default(),
            journal: None,
            journal_password_file: None,
            journal_certificate: None,
            archive: None,
            beat_interval_s: 60,
            report_interval_s: 21_600,
            scan_interval_s: 900,
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read configuration `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not as it has to be.
    #[error("configuration `{path}` is not valid")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value cannot be used.
    #[error("configuration `{path}`: `{key}` {why}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Config {
    /// Name of the file in the store.
    pub const FILE: &'static str = "seatbeat.toml";

    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// When the file is missing, has an unknown key or a value that cannot be used.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        match config.fault() {
            None => Ok(config),
            Some((key, why)) => Err(ConfigError::Value { path: path.to_owned(), key, why }),
        }
    }

    /// When months become drafts, and when those are approved.
    pub fn timetable(&self) -> Timetable {
        Timetable {
            grace: SignedDuration::from_hours(i64::from(self.grace_hours)),
            approve_on_day: self.approve_on_day,
            unattended: self.unattended_approval,
        }
    }

    /// When too little was heard for a statement.
    pub fn coverage(&self) -> Rule {
        Rule { percent: self.coverage_percent, days: self.coverage_days }
    }

    fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.operator_certificate.is_some() != self.operator_key.is_some() {
            return Some(("operator_certificate", "and `operator_key` belong together: set both or neither"));
        }
        if !self.operator_listen.ip().is_loopback() && self.operator_certificate.is_none() {
            let why = "has to be a loopback address, or `operator_certificate` and `operator_key` have to be set: \
                       without TLS tokens cross the network for everybody to read";
            return Some(("operator_listen", why));
        }
        if !(1..=28).contains(&self.approve_on_day) {
            return Some(("approve_on_day", "has to be a day from 1 to 28"));
        }
        if self.coverage_percent > 100 {
            return Some(("coverage_percent", "is more than 100"));
        }
        if !(1..=31).contains(&self.coverage_days) {
            return Some(("coverage_days", "has to be from 1 to 31: a month is looked at"));
        }
        if self.grace_hours > 24 * 20 {
            return Some(("grace_hours", "is more than 20 days"));
        }
        if margin(&self.licence_margin).is_err() {
            return Some(("licence_margin", "has to be a part of 1 such as \"0.20\""));
        }
        if self.downloads.values().any(|address| !address.starts_with("https://")) {
            return Some(("downloads", "has to name addresses that start with https://"));
        }
        if self.destination.keys().any(|name| name == "invoice" || name.is_empty()) {
            return Some((
                "destination",
                "needs a name other than `invoice`, which is what distributors send",
            ));
        }
        if let Some(fault) = self.sign_in.fault() {
            return Some(fault);
        }
        if let Some(fault) = self.alerts.fault() {
            return Some(fault);
        }
        if self.journal.is_none()
            && (self.journal_password_file.is_some() || self.journal_certificate.is_some())
        {
            return Some((
                "journal_password_file",
                "and `journal_certificate` belong to a `journal` in a database",
            ));
        }
        if let Some(archive) = &self.archive {
            if !Archive::is_place(&archive.to) {
                return Some(("archive.to", "has to be the whole path of a folder, or s3://BUCKET/PREFIX"));
            }
            if archive.after_months < ARCHIVE_AFTER_MONTHS {
                return Some((
                    "archive.after_months",
                    "has to be 3 at least: those months are still looked into",
                ));
            }
        }
        let intervals = [
            ("beat_interval_s", self.beat_interval_s, 1),
            ("report_interval_s", self.report_interval_s, 60),
            ("scan_interval_s", self.scan_interval_s, 1),
        ];
        intervals.into_iter().find(|(_, value, least)| value < least || *value > 86_400 / 4).map(
            |(key, ..)| (key, "is out of range: at most 21600, so that every billing zone sees every day"),
        )
    }

    /// What goes into tokens as the collector's address.
    pub fn addresses(&self) -> Vec<String> {
        if self.agent_addresses.is_empty() && !self.agent_listen.ip().is_unspecified() {
            return vec![self.agent_listen.to_string()];
        }
        self.agent_addresses.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Config::FILE);
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(read("").unwrap(), Config::default());
        assert_eq!(read("grace_hours = 0").unwrap().grace_hours, 0);
    }

    #[test]
    fn unknown_keys_and_values_out_of_range_are_refused() {
        assert!(matches!(read("grace = 1"), Err(ConfigError::Parse { .. })));
        let coverage =
            [read("coverage_percent = 101"), read("coverage_days = 0"), read("coverage_days = 32")];
        assert!(coverage.iter().all(|one| matches!(one, Err(ConfigError::Value { .. }))), "{coverage:?}");
        assert!(matches!(read("approve_on_day = 31"), Err(ConfigError::Value { key: "approve_on_day", .. })));
        assert!(matches!(
            read("beat_interval_s = 0"),
            Err(ConfigError::Value { key: "beat_interval_s", .. })
        ));
        let margin = read("licence_margin = \"20\"");
        assert!(matches!(margin, Err(ConfigError::Value { key: "licence_margin", .. })));
        let destination =
            "[destination.invoice]\nconnector = \"folder\"\ndistributor = \"i\"\nfrom = \"2026-10\"";
        assert!(matches!(read(destination), Err(ConfigError::Value { key: "destination", .. })));
        let half = read("operator_key = \"/etc/seatbeat/door.key\"");
        assert!(matches!(half, Err(ConfigError::Value { key: "operator_certificate", .. })));
        for place in ["archive", "s3://", "s3:///x"] {
            let archive = read(&format!("[archive]\nto = \"{place}\""));
            assert!(matches!(archive, Err(ConfigError::Value { key: "archive.to", .. })), "{place}");
        }
        let archive = read("[archive]\nto = \"/srv/archive\"\nafter_months = 2");
        assert!(matches!(archive, Err(ConfigError::Value { key: "archive.after_months", .. })));
        assert_eq!(read("[archive]\nto = \"s3://b/p\"").unwrap().archive.unwrap().after_months, 3);
        let both = read("journal = \"postgres://sb@h/b\"\n[archive]\nto = \"/srv/archive\"").unwrap();
        assert!(both.journal.is_some() && both.archive.is_some());
        let alone = read("journal_password_file = \"/etc/seatbeat/pg\"");
        assert!(matches!(alone, Err(ConfigError::Value { key: "journal_password_file", .. })));
        let open = read("operator_listen = \"0.0.0.0:8080\"");
        assert!(matches!(open, Err(ConfigError::Value { key: "operator_listen", .. })));
    }

    #[test]
    fn operators_come_from_elsewhere_once_there_is_a_certificate() {
        let text =
            "operator_listen = \"0.0.0.0:8080\"\noperator_certificate = \"c.pem\"\noperator_key = \"k.pem\"";
        assert!(read(text).is_ok());
    }

    #[test]
    fn the_default_configuration_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(read(&text).unwrap(), Config::default());
    }
}
