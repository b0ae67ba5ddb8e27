//! Of every route there is: nobody is answered without a way in, nor with too small a role or too short a reach.

use seatbeat_ledger::operators::Right;

use super::super::super::rights::{Needs, Whose};
use super::super::super::web;
use super::*;

/// A path that a route answers.
fn path(pattern: &str) -> String {
    let part = |part: &str| if part.contains('{') { "2026-10".to_owned() } else { part.to_owned() };
    pattern.split('/').map(part).collect::<Vec<_>>().join("/")
}

async fn asked(house: &House, path: &str, token: Option<&str>) -> StatusCode {
    let mut request = http::Request::get(path).header("host", "seats.example");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    Browser::at(house, "192.0.2.1").send(request.body(HttpBody::empty()).unwrap()).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_strangers_too_small_a_role_and_too_short_a_reach() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    for role in Role::ALL {
        house.operator(&format!("opr_{role}"), &format!("sbo1.{role}"), role, &[]).await;
        house.operator(&format!("opr_{role}one"), &format!("sbo1.{role}-of-one"), role, &["cus_a"]).await;
    }
    let routes = web::routes();
    assert!(routes.iter().any(|route| route.needs == Needs::SignedIn), "there is something to look at");
    for route in routes {
        let path = path(route.path);
        let (right, whose) = match route.needs {
            Needs::Nobody => continue,
            Needs::SignedIn => (Right::See, Whose::Customers),
            Needs::Right(right, whose) => (right, whose),
        };
        assert_eq!(asked(&house, &path, None).await, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(asked(&house, &path, Some("sbo1.wrong")).await, StatusCode::UNAUTHORIZED, "{path}");
        for role in Role::ALL {
            let whole = asked(&house, &path, Some(&format!("sbo1.{role}"))).await;
            assert_eq!(whole == StatusCode::FORBIDDEN, !role.has(right), "{path} asked by {role}: {whole}");
            let part = asked(&house, &path, Some(&format!("sbo1.{role}-of-one"))).await;
            let is_denied = !role.has(right) || whose == Whose::House;
            assert_eq!(part == StatusCode::FORBIDDEN, is_denied, "{path} asked by {role} of one: {part}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_no_address_says_so_to_everybody() {
    let house = House::founded("2026-10-15T12:00:00Z");
    assert_eq!(asked(&house, "/../etc/passwd", None).await, StatusCode::NOT_FOUND);
    assert_eq!(asked(&house, "/session/other", Some(&house.token)).await, StatusCode::NOT_FOUND);
}
