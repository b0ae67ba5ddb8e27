//! A vault that collectors share: what each reads of the others' writes, and what is refused. Invariant: the database is a
//! real one; what is compared was read through another collector's copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;

use seatbeat_postgres::{Proxy, Server};
use seatbeat_proto::ids::CustomerId;
use tempfile::TempDir;

use super::*;
use crate::postgres::testing::{address_at, migrated, own, shared};
use crate::vault::{VaultKind, VaultRow};

const SECRET: VaultRow<'static> = VaultRow::Secret("service-key");

/// A database, and folders of collectors with one key.
struct House {
    database: String,
    address: Address,
    around: TempDir,
}

impl House {
    fn on(server: &Server) -> Self {
        let (database, address) = migrated(server);
        Self { database, address, around: tempfile::tempdir().unwrap() }
    }

    fn folder(&self, number: usize) -> PathBuf {
        self.around.path().join(format!("vault-{number}"))
    }

    fn first(&self) -> Vault {
        Vault::create_shared(&self.folder(0), &self.address).unwrap()
    }

    fn key(&self) -> Vec<u8> {
        fs::read(self.folder(0).join(KEY_FILE)).unwrap()
    }

    fn join(&self, number: usize) -> Vault {
        Vault::join(&self.folder(number), &self.key(), &self.address).unwrap()
    }

    fn reopen(&self, number: usize) -> Result<Vault, VaultError> {
        Vault::open_shared(&self.folder(number), &self.address)
    }
}

fn customer(number: usize) -> CustomerId {
    format!("cus_{number:04}").parse().unwrap()
}

fn name(vault: &Vault, number: usize) -> Option<String> {
    let name = vault.get(VaultRow::CustomerName(&customer(number))).unwrap();
    name.map(|name| String::from_utf8(name.to_vec()).unwrap())
}

fn put(vault: &Vault, number: usize, name: &str) {
    vault.put(VaultRow::CustomerName(&customer(number)), name.as_bytes()).unwrap();
}

fn all(vault: &Vault) -> BTreeMap<String, Vec<u8>> {
    let rows = vault.scan(VaultKind::CustomerName).unwrap().into_iter();
    rows.map(|(id, name)| (id, name.to_vec())).collect()
}

#[test]
fn what_one_collector_puts_or_erases_the_others_read() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let first = house.first();
    first.put(SECRET, b"the service key").unwrap();
    (0..3).for_each(|number| put(&first, number, "first"));
    let second = house.join(1);
    assert_eq!(second.get(SECRET).unwrap().unwrap().as_slice(), b"the service key");
    put(&second, 1, "second");
    second.delete(VaultRow::CustomerName(&customer(2))).unwrap();
    put(&second, 3, "second");
    assert_eq!(name(&first, 1).as_deref(), Some("first"), "it is not looked for at each reading");
    first.catch_up().unwrap();
    let expected = [Some("first"), Some("second"), None, Some("second")];
    for (number, expected) in expected.iter().enumerate() {
        assert_eq!(name(&first, number).as_deref(), *expected, "{number}");
        assert_eq!(name(&second, number).as_deref(), *expected, "{number}");
    }
    put(&second, 4, "just now");
    drop(first);
    put(&second, 5, "while the first is away");
    let first = house.reopen(0).unwrap();
    assert_eq!(all(&first), all(&second));
}

#[test]
fn more_rows_than_are_read_at_once_come_whole() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let first = house.first();
    let ids: Vec<CustomerId> = (0..10_000).map(customer).collect();
    let rows: Vec<(VaultRow<'_>, &[u8])> =
        ids.iter().map(|id| (VaultRow::CustomerName(id), b"name".as_slice())).collect();
    first.put_all(&rows).unwrap();
    assert_eq!(all(&first).len(), 10_000);
    assert_eq!(all(&house.join(1)), all(&first));
}

#[test]
fn a_row_that_was_erased_elsewhere_is_not_replaced() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let first = house.first();
    let session = VaultRow::Session("one");
    first.put(session, b"begun").unwrap();
    let second = house.join(1);
    let there = |value: Option<&[u8]>| value.is_some();
    assert!(second.put_if(session, there, b"used").unwrap());
    // The first has not heard of that: it is still there, whatever its value.
    assert!(first.put_if(session, there, b"used here").unwrap());
    let as_it_was = |value: Option<&[u8]>| value == Some(b"used".as_slice());
    assert!(!second.put_if(session, as_it_was, b"used again").unwrap(), "another has changed it");
    assert_eq!(second.get(session).unwrap().unwrap().as_slice(), b"used here");
    first.delete(session).unwrap();
    assert!(!second.put_if(session, there, b"used again").unwrap(), "the second had not heard of it");
    second.catch_up().unwrap();
    for vault in [&first, &second] {
        assert_eq!(vault.get(session).unwrap(), None);
    }
    assert!(!second.put_if(session, there, b"used again").unwrap());
    assert!(second.put_if(session, |value| value.is_none(), b"begun anew").unwrap());
}

#[test]
fn who_signed_in_elsewhere_is_told() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let first = house.first();
    let second = house.join(1);
    let (seen, _) = second.signed_since(0);
    first.put(VaultRow::Session("one"), b"begun").unwrap();
    put(&first, 1, "is no matter of signing in");
    assert_eq!(second.signed_since(seen), (seen, Some(Vec::new())));
    second.catch_up().unwrap();
    assert_eq!(second.signed_since(seen), (seen + 1, Some(vec!["session/one".to_owned()])));
}

#[test]
fn writers_at_once_and_lost_answers_leave_every_copy_alike() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    drop(house.first());
    // One for each: of three commits in a row each then loses two, and not by chance ever more.
    let proxies = [(); 2].map(|()| Proxy::before(server.port));
    let [one, other] = proxies.each_ref().map(|proxy| address_at(proxy.port, &house.database));
    house.join(1);
    house.join(2);
    let addresses = [one, house.address.clone(), other];
    let vaults: Vec<Vault> = addresses
        .iter()
        .enumerate()
        .map(|(number, address)| Vault::open_shared(&house.folder(number), address).unwrap())
        .collect();
    thread::scope(|scope| {
        for (writer, vault) in vaults.iter().enumerate() {
            scope.spawn(move || {
                for step in 0..25 {
                    put(vault, 1000 * (writer + 1) + step, &format!("of {writer}"));
                    put(vault, step, &format!("of whoever is last, {writer}"));
                    if step % 5 == 4 {
                        vault.delete(VaultRow::CustomerName(&customer(step - 2))).unwrap();
                    }
                }
            });
        }
    });
    vaults.iter().for_each(|vault| vault.catch_up().unwrap());
    let expected = all(&vaults[0]);
    assert!(expected.len() >= 75, "{}", expected.len());
    for vault in &vaults[1..] {
        assert_eq!(all(vault), expected);
    }
    drop(vaults);
    assert_eq!(all(&house.join(3)), expected, "and so is one that comes later");
}

#[test]
fn a_store_moves_to_a_database_once_and_goes_on_there() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let own = Vault::create(&house.folder(0)).unwrap();
    (0..700).for_each(|number| put(&own, number, "own"));
    let before = all(&own);
    drop(own);
    assert!(matches!(house.reopen(0), Err(VaultError::NotShared { .. })));
    for _ in 0..2 {
        drop(Vault::open(&house.folder(0)).unwrap().share(&house.address).unwrap());
    }
    let moved = house.reopen(0).unwrap();
    assert_eq!(all(&moved), before);
    put(&moved, 1, "moved");
    let second = house.join(1);
    assert_eq!((all(&second), name(&second, 1).as_deref()), (all(&moved), Some("moved")));
    drop(moved);
    // And back: the copy is a vault of its own.
    put(&second, 2, "of the second");
    drop(house.reopen(0).unwrap());
    let back = Vault::open(&house.folder(0)).unwrap();
    assert_eq!(name(&back, 2).as_deref(), Some("of the second"));
    // Written to since: nobody knows which of the two is right.
    put(&back, 3, "only here");
    assert!(matches!(back.share(&house.address), Err(VaultError::Differs { .. })));
    assert_eq!(name(&second, 3).as_deref(), Some("own"));
    let another = Vault::create(&house.folder(5)).unwrap();
    assert!(matches!(another.share(&house.address), Err(VaultError::Foreign { .. })));
}

#[test]
fn another_key_another_vault_and_lost_writes_are_refused_with_what_to_do() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let first = house.first();
    put(&first, 1, "kept");
    put(&first, 2, "kept");
    let refused = |refused: Result<Vault, VaultError>, words: &str| {
        let error = refused.err().expect("it is refused");
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{error}");
    };
    refused(Vault::join(&house.folder(1), &[7; super::super::KEY_LENGTH], &house.address), "another key");
    refused(Vault::create_shared(&house.folder(2), &house.address), "holds a vault already");
    refused(Vault::join(&house.folder(0), &house.key(), &house.address), "already");
    drop(first);
    server.sql(&house.database, "UPDATE seatbeat.vault_head SET number = 1");
    refused(house.reopen(0), "this collector has read");
    // Others wrote on behind a failover: its numbers are given out again.
    let written_on = "ALTER TABLE seatbeat.vault_writes ADD COLUMN kept bytea; \
                      UPDATE seatbeat.vault_writes SET kept = mark, mark = '0123456789abcdef'; \
                      UPDATE seatbeat.vault_head SET number = 5";
    server.sql(&house.database, written_on);
    refused(house.reopen(0), "this collector has read");
    let as_before = "UPDATE seatbeat.vault_writes SET mark = kept; UPDATE seatbeat.vault_head SET number = 3";
    server.sql(&house.database, as_before);
    house.reopen(0).unwrap();
    server.sql(
        &house.database,
        "UPDATE seatbeat.vault SET sealed = 'x', number = 4; UPDATE seatbeat.vault_head SET number = 4; \
         INSERT INTO seatbeat.vault_writes (number, mark) VALUES (4, '0123456789abcdef')",
    );
    let changed = house.reopen(0).unwrap();
    let row = VaultRow::CustomerName(&customer(1)).to_string();
    assert!(
        matches!(changed.get(VaultRow::CustomerName(&customer(1))), Err(VaultError::Damaged { what, .. }) if what.contains(&row))
    );
}

#[test]
fn who_was_away_for_long_reads_all_anew() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let first = house.first();
    (0..5).for_each(|number| put(&first, number, "kept"));
    drop(house.join(1));
    put(&first, 1, "meanwhile");
    first.delete(VaultRow::CustomerName(&customer(2))).unwrap();
    // As behind ten thousand writes: what the second read last is no longer told.
    server.sql(&house.database, "DELETE FROM seatbeat.vault_writes WHERE number < 8");
    let second = house.reopen(1).unwrap();
    assert_eq!(all(&second), all(&first));
    put(&second, 6, "goes on");
    first.catch_up().unwrap();
    assert_eq!(all(&second), all(&first));
}

#[test]
fn a_damaged_or_lost_copy_is_made_anew() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    let first = house.first();
    (0..20).for_each(|number| put(&first, number, "kept"));
    let expected = all(&first);
    drop(first);
    let rows = house.folder(0).join("rows");
    let data = rows.join("sled/db");
    let mut bytes = fs::read(&data).unwrap();
    bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
    fs::write(&data, bytes).unwrap();
    assert_eq!(all(&house.reopen(0).unwrap()), expected);
    fs::remove_dir_all(&rows).unwrap();
    assert_eq!(all(&house.reopen(0).unwrap()), expected);
}

#[test]
fn a_database_that_is_away_takes_nothing_and_what_is_known_is_read() {
    let Some(server) = own() else { return };
    let house = House::on(&server);
    let vault = house.first();
    put(&vault, 1, "before");
    server.kill();
    let error = vault.put(VaultRow::CustomerName(&customer(2)), b"lost").unwrap_err();
    assert!(error.to_string().contains("cannot be reached") && error.hint().is_some(), "{error}");
    assert!(vault.catch_up().is_err());
    assert_eq!(name(&vault, 1).as_deref(), Some("before"));
    server.run(&[]);
    put(&vault, 2, "after");
    assert_eq!(name(&vault, 2).as_deref(), Some("after"));
    drop(vault);
    assert_eq!(all(&house.reopen(0).unwrap()).len(), 2);
}

#[test]
fn a_founding_that_was_cut_short_takes_its_vault_back_and_no_other() {
    let Some(server) = shared() else { return };
    let house = House::on(&server);
    drop(house.first());
    fs::create_dir(house.folder(1)).unwrap();
    Vault::take_back(&house.folder(1), &house.address).unwrap();
    fs::write(house.folder(1).join(KEY_FILE), [7; super::super::KEY_LENGTH]).unwrap();
    Vault::take_back(&house.folder(1), &house.address).unwrap();
    house.reopen(0).unwrap();
    Vault::take_back(&house.folder(0), &house.address).unwrap();
    assert!(matches!(house.reopen(0), Err(VaultError::NotShared { .. })));
    Vault::create_shared(&house.folder(3), &house.address).unwrap();
}
