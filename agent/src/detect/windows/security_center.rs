//! Windows Security Center, which client systems have. Invariant: a row counts by whether its program is still there; a
//! system without it says so, and takes nothing from what the other sources say.

use std::path::Path;

use seatbeat_proto::catalogue::{Observations, SecurityCenterRow, Source, Wanted, glob};

use super::super::Sensor;
use super::wmi_query::{self, Answer};

/// The running machine's.
pub struct SecurityCenter;

impl Sensor for SecurityCenter {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if wanted.security_center.is_empty() {
            return;
        }
        let query = "SELECT displayName, productState, pathToSignedProductExe FROM AntiVirusProduct";
        let rows = match wmi_query::ask(r"ROOT\SecurityCenter2", query) {
            Answer::Rows(rows) => rows,
            Answer::Absent => {
                let why = "this system has no Windows Security Center (servers have none)";
                seen.unreadable.insert(Source::SecurityCenter, why.into());
                return;
            }
            Answer::Failed(why) => {
                seen.unreadable.insert(Source::SecurityCenter, why);
                return;
            }
        };
        for row in rows {
            let (Some(name), Some(state)) =
                (wmi_query::text(&row, "displayName"), wmi_query::number(&row, "productState"))
            else {
                continue;
            };
            if wanted.security_center.iter().any(|one| glob(one, &name)) {
                let program = wmi_query::text(&row, "pathToSignedProductExe").unwrap_or_default();
                let program_exists = Path::new(program.trim().trim_matches('"')).is_file();
                seen.security_center.push(SecurityCenterRow { name, state, program_exists });
            }
        }
    }
}
