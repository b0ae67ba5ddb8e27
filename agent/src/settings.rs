//! How the collector wants its agents to behave. Invariant: settings that exist were signed by the service key and
//! lie within the limits here; a revision never goes back.

use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use prost::Message as _;
use seatbeat_proto::signed::{Domain, verify};
use seatbeat_proto::wire;

/// Between two signs of life: often enough to see a machine go, seldom enough for a fleet on one collector.
const BEAT: Interval = Interval {
    default: Duration::from_secs(60),
    least: Duration::from_secs(5),
    most: Duration::from_secs(3600),
};

/// Between two reports without a change: 6 h at most, so that every billing zone sees every day.
const REPORT: Interval = Interval {
    default: Duration::from_secs(6 * 3600),
    least: Duration::from_secs(15 * 60),
    most: Duration::from_secs(6 * 3600),
};

/// Between two scans: at least a minute apart, a scan reads package lists and the process table.
const SCAN: Interval = Interval {
    default: Duration::from_secs(15 * 60),
    least: Duration::from_secs(60),
    most: Duration::from_secs(6 * 3600),
};

struct Interval {
    default: Duration,
    least: Duration,
    most: Duration,
}

impl Interval {
    /// What was asked for, within the limits; 0 asks for nothing.
    fn of_seconds(&self, seconds: u32) -> Option<Duration> {
        (seconds != 0).then(|| Duration::from_secs(seconds.into()).clamp(self.least, self.most))
    }
}

/// Settings as they are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Grows with each change; 0: the collector has sent none.
    pub revision: u64,
    /// Longest silence on an open link.
    pub beat_interval: Duration,
    /// Longest time between two reports.
    pub report_interval: Duration,
    /// Time between two scans.
    pub scan_interval: Duration,
}

/// Settings that are not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Somebody else signed them, or they were changed.
    #[error("the settings are not signed by the collector's service key")]
    Forged,
    /// Signed bytes that are no settings.
    #[error("the settings cannot be read")]
    Unreadable,
    /// An older or the same revision.
    #[error("the settings have revision {offered}, not newer than {held}")]
    Replayed {
        /// Revision that came.
        offered: u64,
        /// Revision that is followed.
        held: u64,
    },
}

impl Settings {
    /// What holds while the collector has said nothing; `scan_interval_s` comes from the machine's own
    /// configuration, 0: the default.
    pub fn initial(scan_interval_s: u32) -> Self {
        Self {
            revision: 0,
            beat_interval: BEAT.default,
            report_interval: REPORT.default,
            scan_interval: SCAN.of_seconds(scan_interval_s).unwrap_or(SCAN.default),
        }
    }

    /// The settings that follow these, when what came is signed and newer.
    ///
    /// # Errors
    /// When it is forged, unreadable or not newer.
    pub fn followed_by(&self, signed: &wire::Signed, key: &VerifyingKey) -> Result<Self, SettingsError> {
        verify(key, Domain::Settings, signed).map_err(|_| SettingsError::Forged)?;
        let offered =
            wire::Settings::decode(signed.payload.as_slice()).map_err(|_| SettingsError::Unreadable)?;
        if offered.revision <= self.revision {
            return Err(SettingsError::Replayed { offered: offered.revision, held: self.revision });
        }
        Ok(Self {
            revision: offered.revision,
            beat_interval: BEAT.of_seconds(offered.beat_interval_s).unwrap_or(BEAT.default),
            report_interval: REPORT.of_seconds(offered.report_interval_s).unwrap_or(REPORT.default),
            scan_interval: SCAN.of_seconds(offered.scan_interval_s).unwrap_or(self.scan_interval),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatbeat_proto::signed::{new_key, sign};

    #[test]
    fn settings_are_followed_when_signed_and_newer_and_never_beyond_the_limits() {
        let key = new_key();
        let held = Settings::initial(120);
        let offer = |revision, seconds| {
            let settings = wire::Settings {
                revision,
                beat_interval_s: seconds,
                report_interval_s: seconds,
                scan_interval_s: seconds,
            };
            sign(&key, Domain::Settings, settings.encode_to_vec())
        };
        let followed = |held: &Settings, signed| held.followed_by(&signed, &key.verifying_key());
        let first = followed(&held, offer(3, 0)).unwrap();
        assert_eq!(first, Settings { revision: 3, ..held.clone() });
        assert_eq!(first.scan_interval, Duration::from_secs(120));
        assert_eq!(followed(&first, offer(3, 10)), Err(SettingsError::Replayed { offered: 3, held: 3 }));
        assert_eq!(followed(&first, offer(2, 10)), Err(SettingsError::Replayed { offered: 2, held: 3 }));
        let quick = followed(&first, offer(4, 1)).unwrap();
        assert_eq!((quick.beat_interval, quick.scan_interval), (BEAT.least, SCAN.least));
        let slow = followed(&quick, offer(5, u32::MAX)).unwrap();
        assert_eq!((slow.report_interval, slow.beat_interval), (REPORT.most, BEAT.most));
        let other = sign(&new_key(), Domain::Settings, wire::Settings::default().encode_to_vec());
        assert_eq!(followed(&slow, other), Err(SettingsError::Forged));
        let order = sign(&key, Domain::Order, offer(9, 9).payload);
        assert_eq!(followed(&slow, order), Err(SettingsError::Forged));
        let garbage = sign(&key, Domain::Settings, vec![0xFF; 9]);
        assert_eq!(followed(&slow, garbage), Err(SettingsError::Unreadable));
    }
}
