//! What machines show, from snapshot files: they go through the real matching. Invariant: pure; no product or state is
//! written by hand, each comes out of the catalogue.

use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::catalogue::{Catalogue, Finding, Observations};
use seatbeat_proto::wire;

use crate::machine::Condition;

/// A snapshot file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read snapshot `{name}`")]
pub struct SnapshotError {
    name: &'static str,
    source: serde_json::Error,
}

macro_rules! snapshots {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// The snapshot files.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Snapshot {
            $($(#[$doc])* $variant,)+
        }

        impl Snapshot {
            /// Every one there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../snapshots/", $name, ".json")),)+
                }
            }
        }
    };
}

snapshots! {
    /// Worry-Free Business Security Services, running.
    WfbsSvc => "wfbs-svc",
    /// The same with its services stopped and disabled.
    WfbsSvcStopped => "wfbs-svc-stopped",
    /// Apex One.
    ApexOne => "apexone",
    /// Deep Security with the customer's own manager.
    DsaOnprem => "dsa-onprem",
    /// Deep Security with the vendor's manager.
    DsaCloud => "dsa-cloud",
    /// The same, and the Vision One sensor beside it.
    V1Server => "v1-server",
    /// The Vision One sensor alone.
    V1es => "v1es",
    /// ServerProtect for Linux.
    Splx => "splx",
    /// ServerProtect for Windows.
    Spnt => "spnt",
    /// One of the Worry-Free agents, and nothing that tells which.
    WorryFreeFamily => "worry-free-family",
}

/// The catalogue that reports are made with.
pub fn catalogue() -> &'static Catalogue {
    Catalogue::embedded()
}

impl Snapshot {
    /// What was seen, with its time stamps as fresh as `now`.
    ///
    /// # Errors
    /// When the file is not a snapshot.
    pub fn observations(self, now: Timestamp) -> Result<Observations, SnapshotError> {
        let text = self
            .text()
            .replace("$NOW", &now.as_second().to_string())
            .replace("$TODAY", &now.strftime("%Y%m%d").to_string());
        serde_json::from_str(&text).map_err(|source| SnapshotError { name: self.name(), source })
    }

    /// The products that matching finds in it.
    ///
    /// # Errors
    /// When the file is not a snapshot.
    pub fn products(self, now: Timestamp) -> Result<Arc<[wire::FoundProduct]>, SnapshotError> {
        let findings = catalogue().find(&self.observations(now)?, now);
        Ok(findings.into_iter().map(found).collect())
    }

    /// A machine that shows this.
    ///
    /// # Errors
    /// When the file is not a snapshot.
    pub fn condition(self, now: Timestamp) -> Result<Condition, SnapshotError> {
        self.products(now).map(Condition::Shows)
    }

    /// The system it was taken on.
    ///
    /// # Errors
    /// When the file is not a snapshot.
    pub fn os(self) -> Result<&'static str, SnapshotError> {
        Ok(self.observations(Timestamp::UNIX_EPOCH)?.os.as_str())
    }
}

fn found(finding: Finding) -> wire::FoundProduct {
    wire::FoundProduct {
        product: finding.product.into(),
        state: wire::ProductState::from(finding.state).into(),
        version: finding.version.unwrap_or_default(),
        signals: finding.signals,
        why: finding.why.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(snapshot: Snapshot, expected: &[(&str, wire::ProductState)]) {
        let products = snapshot.products("2026-10-31T12:00:00Z".parse().unwrap()).unwrap();
        let seen: Vec<_> = products.iter().map(|found| (found.product.as_str(), found.state())).collect();
        assert_eq!(seen, expected, "{}: {products:#?}", snapshot.name());
    }

    #[test]
    fn each_snapshot_shows_what_its_name_says() {
        use wire::ProductState::{Active, Inactive};
        for snapshot in Snapshot::ALL {
            match snapshot {
                Snapshot::WfbsSvcStopped => check(*snapshot, &[("wfbs-svc", Inactive)]),
                Snapshot::V1Server => check(*snapshot, &[("dsa-cloud", Active), ("v1es", Active)]),
                Snapshot::WorryFreeFamily => check(*snapshot, &[("family/worry-free", Active)]),
                other => check(*other, &[(other.name(), Active)]),
            }
        }
    }
}
