//! One house with two collectors on a database: who signed in at one is signed in at the other, and out with it.

use std::sync::Arc;

use seatbeat_postgres::Server;

use super::*;
use crate::joining::join;
use crate::postgres::testing::shared;

const AT: &str = "2026-10-15T12:00:00Z";

/// The second is set up beside the first; the database lives as long as what comes with them. None where there is no
/// PostgreSQL.
async fn two() -> Option<(House, House, Arc<Server>)> {
    let server = shared()?;
    let journal = Some(server.url(&server.database()));
    let config = Config { journal, agent_addresses: vec!["a.example:8443".to_owned()], ..Config::default() };
    let first = House::founded_with(AT, config.clone());
    first.operator("opr_t", "sbo1.t", Role::Technician, &[]).await;
    set_password(&first, "opr_t", "tess", PASSWORD).await;

    let folder = tempfile::tempdir().unwrap();
    let key = std::fs::read(first.folder.path().join("vault/vault.key")).unwrap();
    join(folder.path(), &config, &key).unwrap();
    let (console, end) = open(folder.path(), config, AT);
    Some((first, House { folder, token: String::new(), console, end }, server))
}

/// What a running collector does ten times a second.
fn follow(house: &House) {
    house.console.books.vault().catch_up().unwrap();
}

/// The same browser, sent to another collector.
fn moved(browser: &Browser, house: &House) -> Browser {
    Browser { server: house.server(), ..browser.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_good_and_over_at_both() {
    let Some((first, second, _server)) = two().await else { return };
    let mut at_first = Browser::at(&first, "192.0.2.1");
    // Before the second has looked for anything.
    assert_eq!(Browser::at(&second, "192.0.2.1").get("/session").await.status, StatusCode::UNAUTHORIZED);
    at_first.sign_in("tess", PASSWORD, "").await;
    let mut at_second = moved(&at_first, &second);
    // A request that comes before the second has heard of it waits until it has.
    let (asked, ()) = tokio::join!(at_second.get("/session"), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        follow(&second);
    });
    assert_eq!(asked.json()["operator"], "opr_t");

    assert_eq!(at_second.act("/sign-out", &[]).await.status, StatusCode::SEE_OTHER);
    follow(&first);
    assert_eq!(at_first.get("/session").await.status, StatusCode::UNAUTHORIZED);

    // A collector that has not heard of it yet does not bring the session back when it notes that it was used.
    at_first = Browser::at(&first, "192.0.2.1");
    at_first.sign_in("tess", PASSWORD, "").await;
    at_second = moved(&at_first, &second);
    follow(&second);
    assert_eq!(at_second.get("/session").await.status, StatusCode::OK);
    let second = later(second, "2026-10-15T12:02:00Z", &mut [&mut at_second]).await;
    at_second.get("/v1/customers").await;
    at_first.act("/sign-out", &[]).await;
    let second = later(second, "2026-10-15T12:04:00Z", &mut [&mut at_second]).await;
    assert_eq!(at_second.get("/session").await.status, StatusCode::UNAUTHORIZED);
    for house in [&first, &second] {
        follow(house);
        assert!(house.console.books.vault().scan(crate::vault::VaultKind::Session).unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_set_at_one_is_the_password_at_both() {
    let Some((first, second, _server)) = two().await else { return };
    let mut at_second = Browser::at(&second, "192.0.2.1");
    at_second.sign_in("tess", PASSWORD, "").await;
    assert_eq!(at_second.get("/session").await.status, StatusCode::OK);
    set_password(&first, "opr_t", "tess", "another horse battery").await;
    follow(&second);
    assert_eq!(at_second.get("/session").await.status, StatusCode::UNAUTHORIZED, "its sessions ended");
    let refused = at_second.sign_in("tess", PASSWORD, "").await;
    assert_ne!(refused.status, StatusCode::SEE_OTHER);
    let let_in = at_second.sign_in("tess", "another horse battery", "").await;
    assert_eq!(let_in.status, StatusCode::SEE_OTHER);
}
