//! The order key that the collector keeps, in the vault. Invariant: the next one is beside the one in force before the
//! keys that name it are on record, and neither goes before; given out is whichever the record names.

use seatbeat_proto::wire;

use super::LockedKey;
use crate::vault::{Vault, VaultError, VaultRow};

const KEPT: VaultRow<'static> = VaultRow::Secret("order-key");
const NEXT: VaultRow<'static> = VaultRow::Secret("order-key-next");

/// The kept key that is among those in force; none: it is kept elsewhere.
///
/// # Errors
/// When the vault cannot be read.
pub fn in_force(vault: &Vault, trusted: &wire::OrderKeys) -> Result<Option<LockedKey>, VaultError> {
    for row in [NEXT, KEPT] {
        let text = vault.get(row)?;
        let text = text.as_ref().and_then(|text| std::str::from_utf8(text).ok());
        let locked = text.and_then(|text| LockedKey::from_text(text).ok());
        if let Some(locked) = locked.filter(|locked| is_among(locked, trusted)) {
            return Ok(Some(locked));
        }
    }
    Ok(None)
}

/// Keeps the next key beside the one in force, until the keys that name it are on record or others are to be.
///
/// # Errors
/// When the vault cannot be written.
pub fn add_next(vault: &Vault, trusted: &wire::OrderKeys, next: &LockedKey) -> Result<(), VaultError> {
    let (held, next) = (in_force(vault, trusted)?.map(|held| held.to_text()), next.to_text());
    let mut rows = vec![(NEXT, next.as_bytes())];
    // It may lie where the next one goes.
    rows.extend(held.as_ref().map(|held| (KEPT, held.as_bytes())));
    vault.put_all(&rows)
}

/// Forgets what is not among the keys in force any more, once these are on record.
///
/// # Errors
/// When the vault cannot be written.
pub fn settle(vault: &Vault, trusted: &wire::OrderKeys) -> Result<(), VaultError> {
    let Some(held) = in_force(vault, trusted)? else { return vault.delete_all(&[KEPT, NEXT]) };
    vault.put(KEPT, held.to_text().as_bytes())?;
    vault.delete(NEXT)
}

fn is_among(locked: &LockedKey, trusted: &wire::OrderKeys) -> bool {
    locked.public().is_ok_and(|public| trusted.keys.iter().any(|key| key == public.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "correct horse battery staple";

    fn trusted(locked: &LockedKey) -> wire::OrderKeys {
        let keys = vec![locked.public().unwrap().to_bytes().to_vec()];
        wire::OrderKeys { revision: 1, keys, ..wire::OrderKeys::default() }
    }

    #[test]
    fn whichever_key_is_on_record_is_given_out_wherever_a_rotation_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::create(&folder.path().join("vault")).unwrap();
        let [first, second, third] = [(); 3].map(|()| LockedKey::make(WORDS).unwrap().0);
        let held = |of: &LockedKey| in_force(&vault, &trusted(of)).unwrap();
        add_next(&vault, &wire::OrderKeys::default(), &first).unwrap();
        assert_eq!(held(&first), Some(first.clone()), "on record, and nothing more");
        add_next(&vault, &trusted(&first), &second).unwrap();
        assert_eq!((held(&first), held(&second)), (Some(first.clone()), Some(second.clone())));
        add_next(&vault, &trusted(&first), &third).unwrap();
        assert_eq!((held(&first), held(&second)), (Some(first.clone()), None), "the second never was");
        add_next(&vault, &trusted(&third), &second).unwrap();
        settle(&vault, &trusted(&second)).unwrap();
        assert_eq!((held(&third), held(&second)), (None, Some(second.clone())));
        assert!(vault.get(NEXT).unwrap().is_none());
        // Kept by an operator from here on.
        settle(&vault, &trusted(&first)).unwrap();
        assert_eq!(held(&second), None);
        assert!(vault.get(KEPT).unwrap().is_none());
    }
}
