//! Stores with something wrong on purpose. Invariant: each wrong thing is an error that names it and says what to do, and
//! looking leaves every file as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_proto::wire::CustomerAdded;
use seatbeat_proto::wire::journal_record::Fact;
use tempfile::TempDir;

use super::*;
use crate::books::{Books, BooksEnd};
use crate::clock::Clock;
use crate::found::found;

async fn opened() -> (TempDir, Books, BooksEnd) {
    let folder = tempfile::tempdir().unwrap();
    found(folder.path(), &Config::default(), "zone = \"UTC\"", Clock::real()).unwrap();
    let (books, end) = Books::open(folder.path(), Clock::real()).unwrap();
    for number in 0..5 {
        let fact = Fact::CustomerAdded(CustomerAdded { customer: format!("cus_{number}") });
        books.write(COLLECTOR, "", fact).await.unwrap();
    }
    (folder, books, end)
}

/// A store that was used and stopped in order.
async fn stopped() -> TempDir {
    let (folder, books, end) = opened().await;
    drop(books);
    end.close().await.unwrap();
    folder
}

fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>, u32)> {
    let mut all = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        if path.is_dir() {
            all.push((path.clone(), Vec::new(), mode));
            all.extend(bytes(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap(), mode));
        }
    }
    all.sort();
    all
}

/// Looks, and changes nothing by it; the worst of each check that is not well.
fn bad(folder: &Path) -> Vec<Finding> {
    let before = bytes(folder);
    let findings = look(folder, Clock::real().now());
    assert!(bytes(folder) == before, "looking has changed the store");
    // How much is free on the machine of the test is not the store's affair.
    findings.into_iter().filter(|finding| finding.level > Level::Ok && finding.check != "disk").collect()
}

fn one_error(folder: &Path, check: &str, words: &[&str], todo: &str) {
    let found = bad(folder);
    let error = found.iter().find(|one| one.level == Level::Error && one.check == check);
    let error = error.unwrap_or_else(|| panic!("no error of {check} in {found:#?}"));
    assert!(words.iter().all(|word| error.what.contains(word)), "{words:?} in {error:?}");
    assert!(error.todo.contains(todo), "{todo:?} in {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_well_is_well_running_and_stopped() {
    let (folder, books, end) = opened().await;
    assert_eq!(is_running(folder.path()), Some(std::process::id()));
    let findings = look(folder.path(), Clock::real().now());
    let bad: Vec<_> = findings.iter().filter(|one| one.level > Level::Ok && one.check != "disk").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    books
        .write(COLLECTOR, "", Fact::CustomerAdded(CustomerAdded { customer: "cus_b".into() }))
        .await
        .unwrap();
    drop(books);
    end.close().await.unwrap();
    assert_eq!(is_running(folder.path()), None);
    assert_eq!(self::bad(folder.path()), []);
    let checks: Vec<String> =
        look(folder.path(), Clock::real().now()).into_iter().map(|one| one.check).collect();
    for check in ["access", "configuration", "disk", "journal", "clock", "snapshot", "keys"] {
        assert!(checks.iter().any(|one| one == check), "{check} in {checks:?}");
    }
    Books::open(folder.path(), Clock::real()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_a_wrong_one_and_a_short_one_are_told() {
    let folder = stopped().await;
    let key = folder.path().join("vault/vault.key");
    let right = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    one_error(folder.path(), "keys", &["vault.key", "is missing"], "restore it from a backup");
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let path = key.display().to_string();
    one_error(folder.path(), "keys", &["is not the key", &path], "restore");
    fs::write(&key, b"short").unwrap();
    one_error(folder.path(), "keys", &["has 5 bytes"], "restore it from a backup");
    fs::write(&key, &right).unwrap();
    assert_eq!(bad(folder.path()), []);
    let other = stopped().await;
    fs::remove_dir_all(folder.path().join("vault")).unwrap();
    fs::rename(other.path().join("vault"), folder.path().join("vault")).unwrap();
    one_error(folder.path(), "keys", &["are not those that the journal names"], "same backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_a_lost_one_and_lost_records_are_told() {
    let folder = stopped().await;
    let segment = folder.path().join("journal/00000000000000000000.seg");
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[200] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    one_error(folder.path(), "journal", &["is damaged at byte", "00000.seg"], "restore");
    fs::write(&segment, &whole[..whole.len() - 20]).unwrap();
    one_error(folder.path(), "snapshot", &["was taken of 8 records, the journal has 7"], "seatbeat restore");
    fs::remove_file(&segment).unwrap();
    one_error(folder.path(), "journal", &["there is no journal"], "seatbeat restore");
    fs::write(&segment, &whole).unwrap();
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(bad(folder.path()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_user_and_files_open_to_others_are_told() {
    let folder = stopped().await;
    let key = folder.path().join("vault/vault.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    one_error(folder.path(), "access", &["vault.key", "mode 644"], "chmod 600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let journal = folder.path().join("journal");
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o755)).unwrap();
    let found = bad(folder.path());
    assert!(
        found.iter().any(|one| one.todo.contains("chmod 700") && one.level == Level::Warning),
        "{found:#?}"
    );
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o700)).unwrap();
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&key, Some(4711), None).unwrap();
        one_error(folder.path(), "access", &["vault.key", "belongs to user 4711"], "chown 0 ");
        std::os::unix::fs::chown(&key, Some(0), None).unwrap();
    }
    assert_eq!(bad(folder.path()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_a_clock_and_a_certificate_that_are_wrong_are_told() {
    let folder = stopped().await;
    let config = folder.path().join(Config::FILE);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("colour = \"red\"\n{text}")).unwrap();
    one_error(folder.path(), "configuration", &["seatbeat.toml", "colour"], "mend it");
    fs::write(&config, format!("operator_certificate = \"c.pem\"\noperator_key = \"k.pem\"\n{text}"))
        .unwrap();
    one_error(folder.path(), "certificate", &["c.pem"], "PEM");
    let secrets = "[destination.far]\nconnector = \"folder\"\ndistributor = \"i\"\nfrom = \"2026-10\"\n\
                   secrets_file = \"/nowhere/far.secrets\"\n";
    fs::write(&config, format!("{text}\n{secrets}")).unwrap();
    one_error(folder.path(), "destination far", &["/nowhere/far.secrets"], "vault");
    fs::write(&config, &text).unwrap();
    assert_eq!(bad(folder.path()), []);
    let findings = look(folder.path(), "2020-01-01T00:00:00Z".parse().unwrap());
    let clock = findings.iter().find(|one| one.check == "clock").unwrap();
    assert!(clock.level == Level::Error && clock.todo.contains("NTP"), "{clock:?}");
    let nowhere = look(&folder.path().join("nowhere"), Clock::real().now());
    assert_eq!((nowhere.len(), nowhere[0].level), (1, Level::Error), "a store that is not there");
}
