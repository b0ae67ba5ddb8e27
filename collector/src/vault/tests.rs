//! What may be relied upon of the vault, whatever happens to its files.

use seatbeat_proto::ids::CustomerId;

use super::*;
use crate::rows::RowsError;
use crate::rows::damage::{files, fill, places, restore};

const SECRET: VaultRow<'static> = VaultRow::Secret("service-key");

fn customer(number: usize) -> CustomerId {
    format!("cus_{number:04}").parse().unwrap()
}

/// A closed vault with some rows, and a folder around it.
fn closed() -> (tempfile::TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("vault");
    let vault = Vault::create(&folder).unwrap();
    vault.put(SECRET, b"the service key").unwrap();
    for number in 0..5 {
        vault
            .put(VaultRow::CustomerName(&customer(number)), format!("Customer {number}").as_bytes())
            .unwrap();
    }
    (around, folder)
}

fn check_whole(vault: &Vault, why: &str) {
    assert_eq!(vault.get(SECRET).unwrap().unwrap().as_slice(), b"the service key", "{why}");
    let names = vault.scan(VaultKind::CustomerName).unwrap();
    assert_eq!(names.len(), 5, "{why}");
    for (number, (id, name)) in names.iter().enumerate() {
        assert_eq!(id, customer(number).as_str(), "{why}");
        assert_eq!(name.as_slice(), format!("Customer {number}").as_bytes(), "{why}");
    }
}

#[test]
fn what_was_put_is_there_after_a_restart_and_what_was_erased_is_not() {
    let (_around, folder) = closed();
    check_whole(&Vault::open(&folder).unwrap(), "reopened");
    let vault = Vault::open(&folder).unwrap();
    vault.put(SECRET, b"a later key").unwrap();
    vault.delete(VaultRow::CustomerName(&customer(3))).unwrap();
    vault.delete(VaultRow::CustomerName(&customer(77))).unwrap();
    drop(vault);
    let vault = Vault::open(&folder).unwrap();
    assert_eq!(vault.get(SECRET).unwrap().unwrap().as_slice(), b"a later key");
    assert_eq!(vault.get(VaultRow::CustomerName(&customer(3))).unwrap(), None);
    assert_eq!(vault.scan(VaultKind::CustomerName).unwrap().len(), 4);
}

#[test]
fn more_rows_than_a_batch_are_put_and_values_over_the_limit_are_not() {
    let (_around, folder) = closed();
    let vault = Vault::open(&folder).unwrap();
    let ids: Vec<_> = (0..1200).map(customer).collect();
    let rows: Vec<_> = ids.iter().map(|id| (VaultRow::CustomerName(id), b"name".as_slice())).collect();
    vault.put_all(&rows).unwrap();
    vault.put(VaultRow::TokenNote(&"tok_1".parse().unwrap()), &[7; VALUE_BYTES_MAX]).unwrap();
    let error = vault.put(SECRET, &[7; VALUE_BYTES_MAX + 1]).unwrap_err();
    assert!(error.to_string().contains("secret/service-key"), "{error}");
    drop(vault);
    assert_eq!(Vault::open(&folder).unwrap().scan(VaultKind::CustomerName).unwrap().len(), 1200);
    let blobs = folder.join("rows/sled/blobs");
    assert_eq!(fs::read_dir(blobs).map(Iterator::count).unwrap_or(0), 0, "no file that sled does not sync");
}

#[test]
fn a_full_disk_refuses_a_row_and_takes_it_once_there_is_room() {
    let (_around, folder) = closed();
    let vault = Vault::open(&folder).unwrap();
    fill(&vault.rows, true);
    for _ in 0..2 {
        let error = vault.put(SECRET, b"another").unwrap_err();
        assert!(
            matches!(error, VaultError::Rows(RowsError::Full { .. })) && error.hint().is_some(),
            "{error}"
        );
        check_whole(&vault, "reading goes on");
    }
    fill(&vault.rows, false);
    vault.put(SECRET, b"the service key").unwrap();
    drop(vault);
    check_whole(&Vault::open(&folder).unwrap(), "reopened");
}

#[test]
fn nothing_that_was_put_is_on_the_disk_in_the_clear() {
    let (_around, folder) = closed();
    for (path, bytes) in files(&folder) {
        let found = bytes.windows(8).any(|window| window == b"Customer" || window == b"service ");
        assert!(!found, "{}", path.display());
    }
}

#[test]
fn a_row_moved_to_another_key_is_not_given_out() {
    let (_around, folder) = closed();
    let vault = Vault::open(&folder).unwrap();
    let sealed = vault.rows.get(&SECRET.key()).unwrap().unwrap();
    let elsewhere = VaultRow::Secret("another");
    vault.rows.write(&[(elsewhere.key(), Some(sealed))], &vault.rows.stamp()).unwrap();
    assert!(matches!(vault.get(elsewhere), Err(VaultError::Damaged { .. })));
}

#[test]
fn another_key_or_none_opens_nothing_and_changes_nothing() {
    let (_around, folder) = closed();
    let path = folder.join(KEY_FILE);
    let key = fs::read(&path).unwrap();
    fs::write(&path, [9; KEY_LENGTH]).unwrap();
    assert!(matches!(Vault::open(&folder), Err(VaultError::WrongKey { .. })));
    for bad in [b"".as_slice(), &[9; KEY_LENGTH - 1]] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(Vault::open(&folder), Err(VaultError::Key { .. })));
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(Vault::open(&folder), Err(VaultError::Key { .. })));
    fs::write(&path, key).unwrap();
    check_whole(&Vault::open(&folder).unwrap(), "with its key again");
}

#[test]
fn making_a_vault_is_gone_on_with_but_never_done_twice() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("vault");
    assert!(matches!(Vault::open(&folder), Err(VaultError::NotInitialised { .. })));
    let first = Vault::create(&folder).unwrap();
    first.put(SECRET, b"kept").unwrap();
    drop(first);
    assert!(matches!(Vault::create(&folder), Err(VaultError::Exists { .. })));
    fs::remove_file(folder.join(WRITES_FILE)).unwrap();
    assert!(matches!(Vault::open(&folder), Err(VaultError::NotInitialised { .. })));
    let again = Vault::create(&folder).unwrap();
    assert_eq!(again.get(SECRET).unwrap().unwrap().as_slice(), b"kept");
}

#[test]
fn deleted_files_are_an_emptied_or_damaged_vault_never_an_empty_one() {
    let (_around, folder) = closed();
    let whole = files(&folder);
    for (path, _) in &whole {
        if path.ends_with(KEY_FILE) || path.ends_with(WRITES_FILE) {
            continue;
        }
        restore(&folder, &whole);
        fs::remove_file(path).unwrap();
        match Vault::open(&folder) {
            Ok(vault) => check_whole(&vault, "a file that was not needed"),
            Err(VaultError::Emptied { .. } | VaultError::Damaged { .. }) => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    restore(&folder, &whole);
    fs::remove_dir_all(folder.join("rows")).unwrap();
    let error = Vault::open(&folder).err().unwrap();
    assert!(matches!(error, VaultError::Emptied { .. }) && error.hint().is_some(), "{error}");
}

#[test]
fn a_flipped_byte_gives_every_row_as_it_was_or_a_damaged_vault() {
    let (_around, folder) = closed();
    let whole = files(&folder);
    let mut refused = 0;
    for (path, bytes) in &whole {
        for at in places(bytes, 60) {
            restore(&folder, &whole);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            fs::write(path, damaged).unwrap();
            let why = format!("byte {at} of {}", path.display());
            match Vault::open(&folder) {
                Ok(vault) => check_whole(&vault, &why),
                Err(error) => {
                    assert!(error.to_string().contains(folder.to_str().unwrap()), "{why}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
}
