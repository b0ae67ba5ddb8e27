//! The catalogue that agents are sent: pushing a newer one, and which one is in use where. Invariant: what is pushed
//! is kept as the bytes that the release key signed; agents verify them, whatever was verified here.

use std::collections::BTreeMap;

use seatbeat_proto::catalogue::{Catalogue, PushedError, RELEASE_KEY};
use seatbeat_proto::hex;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{hash, key_from_text};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, CataloguePushed, Signed};

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::rows::{CatalogueState, CatalogueUse, PushedCatalogue};
use super::wire_rows::{RowError, all, into_all, time};
use seatbeat_ledger::fold::{self, Fold};
use seatbeat_ledger::registry::Machine;
use seatbeat_proto::instant;

impl Console {
    /// Sends agents a newer catalogue from now on. The one that is there already, byte for byte, is no change.
    ///
    /// # Errors
    /// When it cannot be read, is not newer than what is there, is not signed by the release key that this collector
    /// was built with (if any), or cannot be written.
    pub async fn push_catalogue(
        &self,
        caller: &Caller,
        signed: Signed,
        reason: &str,
    ) -> Result<PushedCatalogue, Fault> {
        if let Some(held) = self.books.read(|fold| same(fold, &signed)) {
            return Ok(held);
        }
        let held = self.books.read(|fold| fold.catalogue().map_or(0, |held| held.version));
        let current = held.max(Catalogue::EMBEDDED_VERSION);
        let (signed, version) = tokio::task::spawn_blocking(move || {
            let read = read(&signed, current).map(|catalogue| catalogue.version);
            read.map(|version| (signed, version))
        })
        .await??;
        let fact = CataloguePushed { version, catalogue: Some(signed.clone()) };
        let position = self.write(caller, reason, Fact::CataloguePushed(fact)).await?;
        // Another one may have been pushed in between: the fold has decided.
        match self.books.read(|fold| same(fold, &signed)) {
            Some(pushed) => Ok(PushedCatalogue { position: position.0, ..pushed }),
            None => {
                let current = self.books.read(|fold| fold.catalogue().map_or(0, |held| held.version));
                Err(PushedError::NotNewer { sent: version, current }.into())
            }
        }
    }

    /// The catalogue that agents are sent, and how many machines reported with which.
    ///
    /// # Errors
    /// When the position is not known here in time.
    pub async fn catalogue(&self, after: u64) -> Result<CatalogueState, Fault> {
        self.books.reached(after).await?;
        let (pushed, in_use) = self.books.read(|fold| {
            let mut in_use: BTreeMap<u32, u64> = BTreeMap::new();
            let counted = |(_, machine): &(&MachineId, &Machine)| {
                machine.catalogue_version > 0 && !machine.banned && machine.retired_at.is_none()
            };
            for (_, machine) in fold.registry().machines_after(None).filter(counted) {
                *in_use.entry(machine.catalogue_version).or_default() += 1;
            }
            (fold.catalogue().map(row), in_use)
        });
        let uses = in_use.into_iter().map(|(version, machines)| CatalogueUse { version, machines });
        Ok(CatalogueState { built_in_version: Catalogue::EMBEDDED_VERSION, pushed, in_use: uses.collect() })
    }
}

fn read(signed: &Signed, current: u32) -> Result<Catalogue, PushedError> {
    match RELEASE_KEY.and_then(|text| key_from_text(text).ok()) {
        Some(key) => Catalogue::from_signed(signed, &key, current),
        None => Catalogue::from_unverified(signed, current),
    }
}

fn same(fold: &Fold, signed: &Signed) -> Option<PushedCatalogue> {
    let is_same =
        |held: &&fold::PushedCatalogue| held.file == signed.payload && held.signature == signed.signature;
    fold.catalogue().filter(is_same).map(row)
}

fn row(held: &fold::PushedCatalogue) -> PushedCatalogue {
    PushedCatalogue {
        version: held.version,
        length: held.file.len() as u64,
        sha256: hex::format(&hash(&held.file)),
        pushed_at: held.pushed_at,
        operator: held.operator.clone(),
        reason: held.reason.clone(),
        position: 0,
    }
}

impl From<PushedCatalogue> for wire::PushedCatalogue {
    fn from(row: PushedCatalogue) -> Self {
        Self {
            version: row.version,
            length: row.length,
            sha256: hex::parse_all(&row.sha256).unwrap_or_default(),
            pushed_at_ms: instant::to_ms(row.pushed_at),
            operator: row.operator,
            reason: row.reason,
            position: row.position,
        }
    }
}

impl TryFrom<wire::PushedCatalogue> for PushedCatalogue {
    type Error = RowError;

    fn try_from(wire: wire::PushedCatalogue) -> Result<Self, RowError> {
        Ok(Self {
            version: wire.version,
            length: wire.length,
            sha256: hex::format(&wire.sha256),
            pushed_at: time("pushed_at_ms", wire.pushed_at_ms)?,
            operator: wire.operator,
            reason: wire.reason,
            position: wire.position,
        })
    }
}

impl From<CatalogueUse> for wire::CatalogueUse {
    fn from(row: CatalogueUse) -> Self {
        Self { version: row.version, machines: row.machines }
    }
}

impl TryFrom<wire::CatalogueUse> for CatalogueUse {
    type Error = RowError;

    fn try_from(wire: wire::CatalogueUse) -> Result<Self, RowError> {
        Ok(Self { version: wire.version, machines: wire.machines })
    }
}

impl From<CatalogueState> for wire::CatalogueReply {
    fn from(row: CatalogueState) -> Self {
        Self {
            built_in_version: row.built_in_version,
            pushed: row.pushed.map(Into::into),
            in_use: into_all(row.in_use),
        }
    }
}

impl TryFrom<wire::CatalogueReply> for CatalogueState {
    type Error = RowError;

    fn try_from(wire: wire::CatalogueReply) -> Result<Self, RowError> {
        Ok(Self {
            built_in_version: wire.built_in_version,
            pushed: wire.pushed.map(TryInto::try_into).transpose()?,
            in_use: all(wire.in_use)?,
        })
    }
}
