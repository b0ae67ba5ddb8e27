//! `[alerts]` of the configuration. Invariant: no secret is in it; each way names where its secret lies.

use std::collections::BTreeMap;
use std::path::PathBuf;

use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

/// Who is told of what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Days after which a machine that was not heard from is silent. Default 7.
    pub silent_days: u16,
    /// Day of the following month by which the distributor has to have a month's statement. Default 10.
    pub deadline_day: i8,
    /// Days before that day on which it is told. Default 3.
    pub deadline_notice_days: u8,
    /// Of a hundred parts of the disk so many are to be free. Default 10.
    pub disk_free_percent: u8,
    /// Seats that were agreed: customer, then SKU. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub quota: BTreeMap<CustomerId, BTreeMap<String, u64>>,
    /// A program's address that events are posted to. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Mail to people. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
}

/// Where events are posted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `https`, or `http` on this machine.
    pub url: String,
    /// File with the secret that events are signed with: `whsec_` and base64 of 24 to 64 bytes.
    pub secret_file: PathBuf,
    /// Certificates (PEM) that are trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How mail leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// `HOST:PORT` of the mail server.
    pub server: String,
    /// How the connection is kept private. Default `starttls`.
    #[serde(default)]
    pub tls: MailTls,
    /// Whom it is from.
    pub from: String,
    /// Whom it is for.
    pub to: Vec<String>,
    /// The user that the server knows us by. Default: none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File with that user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How a connection to a mail server is kept private.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// It begins in the clear and does not go on like that.
    #[default]
    Starttls,
    /// From its first byte on.
    Implicit,
    /// Not at all: a mail server on this machine.
    None,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            silent_days: 7,
            deadline_day: 10,
            deadline_notice_days: 3,
            disk_free_percent: 10,
            quota: BTreeMap::new(),
            webhook: None,
            mail: None,
        }
    }
}

impl Alerts {
    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.silent_days == 0 {
            return Some(("alerts.silent_days", "has to be at least 1"));
        }
        if !(1..=28).contains(&self.deadline_day) {
            return Some(("alerts.deadline_day", "has to be a day from 1 to 28"));
        }
        if self.disk_free_percent > 90 {
            return Some(("alerts.disk_free_percent", "is more than 90"));
        }
        if self.webhook.as_ref().is_some_and(|webhook| !is_private(&webhook.url)) {
            return Some(("alerts.webhook.url", "has to begin with https:// (or name this machine)"));
        }
        let mail = self.mail.as_ref()?;
        if mail.to.is_empty() {
            return Some(("alerts.mail.to", "names nobody"));
        }
        if mail.tls == MailTls::None && !is_this_machine(&mail.server) {
            return Some(("alerts.mail.tls", "may be `none` for a mail server on this machine alone"));
        }
        if mail.user.is_some() != mail.password_file.is_some() {
            return Some(("alerts.mail.user", "needs `password_file`, and that one a user"));
        }
        None
    }
}

fn is_private(url: &str) -> bool {
    url.starts_with("https://") || url.strip_prefix("http://").is_some_and(is_this_machine)
}

fn is_this_machine(place: &str) -> bool {
    let host = place.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    matches!(host, "localhost" | "[::1]")
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str, key: Option<&str>) {
        let settings: Alerts = toml::from_str(toml).unwrap();
        assert_eq!(settings.fault().map(|(key, _)| key), key, "{toml}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let webhook = |url: &str| format!("[webhook]\nurl = \"{url}\"\nsecret_file = \"s\"\n");
        let mail = |more: &str| format!("[mail]\nserver = \"mx.example:587\"\nfrom = \"a@b\"\n{more}");
        check("", None);
        check("silent_days = 0", Some("alerts.silent_days"));
        check("deadline_day = 31", Some("alerts.deadline_day"));
        check("disk_free_percent = 100", Some("alerts.disk_free_percent"));
        check(&webhook("https://hooks.example/x"), None);
        check(&webhook("http://127.0.0.1:9/x"), None);
        check(&webhook("http://localhost.example/x"), Some("alerts.webhook.url"));
        check(&webhook("http://hooks.example/x"), Some("alerts.webhook.url"));
        check(&webhook("ftp://127.0.0.1/x"), Some("alerts.webhook.url"));
        check(&mail("to = [\"c@d\"]"), None);
        check(&mail("to = []"), Some("alerts.mail.to"));
        check(&mail("to = [\"c@d\"]\ntls = \"none\""), Some("alerts.mail.tls"));
        check(&mail("to = [\"c@d\"]\nuser = \"u\""), Some("alerts.mail.user"));
    }
}
