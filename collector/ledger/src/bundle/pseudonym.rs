//! What machines are called in a bundle. Invariant: a pseudonym is a commitment to one machine in one section of one
//! month's statement; opening a section, or one machine of it, opens nothing of another.

use std::fmt;

use hmac::{Hmac, Mac as _};
use seatbeat_proto::ids::MachineId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Section;
use super::marks::{HashText, PSEUDONYM_LENGTH, Pseudonym};
use crate::calendar::Period;
use crate::merkle::Hash;

/// The key under which a collector keeps its machines' pseudonyms; who has it opens all.
#[derive(Clone)]
pub struct PseudonymKey(Hash);

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey")
    }
}

/// What opens the pseudonyms of one section.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SectionSecret(pub HashText);

impl fmt::Debug for SectionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SectionSecret")
    }
}

/// Shows which machine a pseudonym of a section stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The name that the reseller knows it by, as the reseller says; empty: not told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Which machine.
    pub machine: MachineId,
    /// What the commitment was made with.
    pub nonce: HashText,
    /// In which section.
    pub section: Section,
}

impl PseudonymKey {
    /// The key that belongs to a secret of the vault.
    pub fn derived_from(secret: &[u8; 32]) -> Self {
        Self(mac(secret, &[b"seatbeat/v1/pseudonyms"]))
    }

    /// What opens a section of a month's statement to a distributor.
    pub fn section(&self, period: Period, distributor: &str, section: &Section) -> SectionSecret {
        let place = match section {
            Section::Line { customer, sku } => vec!["line", customer.as_str(), sku.as_str()],
            Section::Excluded {} => vec!["excluded"],
        };
        let period = period.to_string();
        let parts: Vec<&[u8]> =
            [period.as_str(), distributor].into_iter().chain(place).map(str::as_bytes).collect();
        SectionSecret(HashText(mac(&self.0, &parts)))
    }
}

impl SectionSecret {
    /// What the machine is called here.
    pub fn pseudonym(&self, machine: &MachineId) -> Pseudonym {
        commitment(&self.nonce(machine), machine)
    }

    /// Opens one machine.
    pub fn open(&self, section: &Section, machine: &MachineId, host: &str) -> Opening {
        Opening {
            host: host.to_owned(),
            machine: machine.clone(),
            nonce: self.nonce(machine),
            section: section.clone(),
        }
    }

    fn nonce(&self, machine: &MachineId) -> HashText {
        HashText(mac(&self.0.0, &[machine.as_str().as_bytes()]))
    }
}

impl Opening {
    /// The pseudonym that this opens.
    pub fn pseudonym(&self) -> Pseudonym {
        commitment(&self.nonce, &self.machine)
    }
}

fn commitment(nonce: &HashText, machine: &MachineId) -> Pseudonym {
    let digest = Sha256::new().chain_update(nonce.0).chain_update(machine.as_str()).finalize();
    let mut pseudonym = [0; PSEUDONYM_LENGTH];
    pseudonym.copy_from_slice(&digest[..PSEUDONYM_LENGTH]);
    Pseudonym(pseudonym)
}

/// Each part with its length before it, so that no two lists of parts are the same bytes.
fn mac(key: &[u8], parts: &[&[u8]]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_another_pseudonym_in_each_section_and_an_opening_fits_one_only() {
        let key = PseudonymKey::derived_from(&[1; 32]);
        let (october, november) = ("2026-10".parse().unwrap(), "2026-11".parse().unwrap());
        let line = |sku: &str| Section::line(&"cus_a".parse().unwrap(), &sku.parse().unwrap());
        let machine: MachineId = "mch_a".parse().unwrap();
        let secrets = [
            key.section(october, "d", &line("A")),
            key.section(october, "d", &line("B")),
            key.section(october, "e", &line("A")),
            key.section(november, "d", &line("A")),
            key.section(october, "d", &Section::Excluded {}),
            PseudonymKey::derived_from(&[2; 32]).section(october, "d", &line("A")),
        ];
        let names: std::collections::BTreeSet<Pseudonym> =
            secrets.iter().map(|secret| secret.pseudonym(&machine)).collect();
        assert_eq!(names.len(), secrets.len());
        let opening = secrets[0].open(&line("A"), &machine, "");
        assert_eq!(opening.pseudonym(), secrets[0].pseudonym(&machine));
        let other = Opening { machine: "mch_b".parse().unwrap(), ..opening };
        assert!(!names.contains(&other.pseudonym()));
    }
}
