//! Where sealed statements go, as it is configured: `[destination.NAME]` in `seatbeat.toml`. Invariant: no secret is in
//! it; an option that its connector does not know is an error, as is one that it needs and that is missing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Uri;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::mapping::Mapping;
use seatbeat_ledger::review::Undeliverable;
use seatbeat_ledger::statement::Line;
use serde::{Deserialize, Serialize};

use super::cloudblue_connect::{self, CloudblueConnect};
use super::connector::{Connector, Tools};
use super::folder::Folder;
use super::https::Https;
use super::ingram_simpleapi::{self, IngramSimpleApi};
use super::lmpi::{self, Lmpi};
use super::sftp::Sftp;
use super::tdsynnex_ion::{self, TdSynnexIon};
use crate::config::Names;

/// A place that sealed statements of one distributor go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// In which way.
    pub connector: Kind,
    /// Whose statements.
    pub distributor: String,
    /// The first month that goes there: what was sealed before was sent otherwise.
    pub from: Period,
    /// Whether customers appear by their names or by the ids that stand in the statement. Default `pseudonyms`.
    #[serde(default)]
    pub names: Names,
    /// Whether fewer seats may be set than are in force there. Default false: such a line is left as it is, and says so.
    #[serde(default)]
    pub allow_decrease: bool,
    /// Where the far side is, by default where its maker says. `https`, or `http` on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File with its secrets, lines of `name = "value"`. Taken into the vault; taken again when it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_file: Option<PathBuf>,
    /// Program with arguments that prints such lines; asked when the collector starts and by
    /// `upload retry`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets_command: Vec<String>,
    /// Certificates (PEM) that are trusted beside the system's, for a far side with a CA of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What else its connector asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// The ways there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The vendor's Licensing Management Platform: quantities of subscriptions.
    Lmpi,
    /// Ingram Micro's platform: usage files.
    CloudblueConnect,
    /// Ingram Micro's cloud marketplace: orders that change quantities.
    IngramSimpleapi,
    /// TD SYNNEX StreamOne Ion: orders that change quantities. Experimental.
    TdsynnexIon,
    /// Files over SFTP.
    Sftp,
    /// Files by HTTPS PUT.
    Https,
    /// Files in a folder.
    Folder,
}

/// A destination that cannot be used as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Its connector does not know it.
    #[error("`{option}` is no option of a `{connector}` destination; there are: {known}")]
    UnknownOption {
        /// Which.
        option: String,
        /// Of what.
        connector: &'static str,
        /// What there is.
        known: String,
    },
    /// Its connector cannot do without.
    #[error("option `{option}` is missing, which a `{connector}` destination needs")]
    MissingOption {
        /// Which.
        option: &'static str,
        /// Of what.
        connector: &'static str,
    },
    /// A value that is none.
    #[error("`{option}` {why}")]
    Value {
        /// Which.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// A column of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// In the file's first row.
    pub name: &'static str,
    /// Whether each row has to fill it.
    pub is_needed: bool,
}

impl Kind {
    /// As it is configured.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lmpi => "lmpi",
            Self::CloudblueConnect => "cloudblue-connect",
            Self::IngramSimpleapi => "ingram-simpleapi",
            Self::TdsynnexIon => "tdsynnex-ion",
            Self::Sftp => "sftp",
            Self::Https => "https",
            Self::Folder => "folder",
        }
    }

    /// Columns of its mapping, beside customer and SKU; none where it takes the statement as it is.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Lmpi => &lmpi::COLUMNS,
            Self::CloudblueConnect => cloudblue_connect::COLUMNS,
            Self::IngramSimpleapi => &ingram_simpleapi::COLUMNS,
            Self::TdsynnexIon => &tdsynnex_ion::COLUMNS,
            Self::Sftp | Self::Https | Self::Folder => &[],
        }
    }
}

impl Kind {
    /// Whether it sets quantities that are in force from then on, which are whole numbers.
    pub fn sets_quantities(self) -> bool {
        matches!(self, Self::Lmpi | Self::IngramSimpleapi | Self::TdsynnexIon)
    }
}

impl Destination {
    /// Which lines of a statement cannot go there: what nobody has mapped, and what the far side cannot be told.
    pub fn in_the_way(&self, name: &str, lines: &[Line], mapping: Option<&Mapping>) -> Vec<Undeliverable> {
        let needed: Vec<&str> = self
            .connector
            .columns()
            .iter()
            .filter(|column| column.is_needed)
            .map(|column| column.name)
            .collect();
        let why = |line: &Line| {
            let fields = mapping.and_then(|rows| rows.get(&(line.customer.clone(), line.sku.clone())));
            let is_missing = |column: &&&str| fields.is_none_or(|fields| !fields.contains_key(**column));
            let missing: Vec<&str> = needed.iter().filter(is_missing).copied().collect();
            if !missing.is_empty() {
                return Some(format!("it is not mapped: {} missing", missing.join(", ")));
            }
            let is_whole = line.quantity.hundredths() % 100 == 0;
            (self.connector.sets_quantities() && !is_whole)
                .then(|| format!("{} is not a whole number, which is all that it takes", line.quantity))
        };
        let told = |line: &Line| {
            Some(Undeliverable {
                blocker: "undeliverable".to_owned(),
                destination: name.to_owned(),
                customer: line.customer.clone(),
                sku: line.sku.clone(),
                why: why(line)?,
            })
        };
        lines.iter().filter_map(told).collect()
    }

    /// An option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// An option that the connector cannot do without.
    ///
    /// # Errors
    /// When it is missing.
    pub fn needed(&self, option: &'static str) -> Result<&str, DestinationError> {
        let missing = || DestinationError::MissingOption { option, connector: self.connector.name() };
        self.option(option).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// Refuses options that a connector does not know.
    ///
    /// # Errors
    /// Names the first of them.
    pub fn only_options(&self, known: &[&str]) -> Result<(), DestinationError> {
        let Some(option) = self.options.keys().find(|option| !known.contains(&option.as_str())) else {
            return Ok(());
        };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(DestinationError::UnknownOption {
            option: option.clone(),
            connector: self.connector.name(),
            known,
        })
    }

    /// Where the far side is, without a slash at its end: as configured, or where its maker says.
    ///
    /// # Errors
    /// When it is no address, or one that is not protected.
    pub fn base_url(&self, usual: Option<&str>) -> Result<String, DestinationError> {
        let wrong = |why: &str| DestinationError::Value { option: "url", why: why.to_owned() };
        let url = self.url.as_deref().or(usual).ok_or_else(|| wrong("is missing"))?;
        let uri: Uri = url.parse().map_err(|_| wrong("is no address"))?;
        let host = uri.host().ok_or_else(|| wrong("names no host"))?;
        let is_here = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_here => {}
            _ => return Err(wrong("has to begin with https://")),
        }
        if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(wrong("has neither a user nor a query"));
        }
        Ok(url.trim_end_matches('/').to_owned())
    }

    /// The way there.
    ///
    /// # Errors
    /// When an option is missing, unknown or none.
    pub fn connector(&self, tools: Tools) -> Result<Box<dyn Connector>, DestinationError> {
        Ok(match self.connector {
            Kind::Lmpi => Box::new(Lmpi::new(self, tools)?),
            Kind::CloudblueConnect => Box::new(CloudblueConnect::new(self, tools)?),
            Kind::IngramSimpleapi => Box::new(IngramSimpleApi::new(self, tools)?),
            Kind::TdsynnexIon => Box::new(TdSynnexIon::new(self, tools)?),
            Kind::Sftp => Box::new(Sftp::new(self, tools)?),
            Kind::Https => Box::new(Https::new(self, tools)?),
            Kind::Folder => Box::new(Folder::new(self)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(text: &str) -> Result<Destination, toml::de::Error> {
        toml::from_str(&format!(
            "connector = \"folder\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n{text}"
        ))
    }

    #[test]
    fn what_is_left_out_has_its_default_and_unknown_keys_are_refused() {
        let read = destination("").unwrap();
        assert_eq!((read.names, read.allow_decrease, read.url), (Names::Pseudonyms, false, None));
        assert!(destination("pasword = \"x\"").is_err());
        assert!(toml::from_str::<Destination>("connector = \"folder\"\ndistributor = \"i\"").is_err());
        let all: Vec<Kind> =
            ["lmpi", "cloudblue-connect", "ingram-simpleapi", "tdsynnex-ion", "sftp", "https", "folder"]
                .map(|name| serde_json::from_value(name.into()).unwrap())
                .to_vec();
        assert!(all.iter().all(|kind| serde_json::to_value(kind).unwrap() == kind.name()));
    }

    #[test]
    fn only_an_address_that_is_protected_is_one() {
        let url = |url: &str| destination(&format!("url = \"{url}\"")).unwrap().base_url(None);
        assert_eq!(url("https://far.example/public/v1/").unwrap(), "https://far.example/public/v1");
        assert_eq!(url("http://127.0.0.1:4010").unwrap(), "http://127.0.0.1:4010");
        for wrong in [
            "http://far.example",
            "ftp://far.example",
            "far",
            "https://a:b@far.example",
            "https://far.example/?k=1",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            destination("").unwrap().base_url(Some("https://usual.example")).unwrap(),
            "https://usual.example"
        );
    }

    #[test]
    fn options_that_are_unknown_or_missing_are_named() {
        let read = destination("[options]\naccount = \"1\"").unwrap();
        assert!(read.only_options(&["account"]).is_ok() && read.needed("account").is_ok());
        assert!(read.only_options(&["product"]).unwrap_err().to_string().contains("there are: product"));
        assert!(read.needed("product").unwrap_err().to_string().contains("`product` is missing"));
    }
}
