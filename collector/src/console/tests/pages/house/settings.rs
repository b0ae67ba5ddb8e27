//! The page of settings.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_runs_by_is_shown_to_admins_alone() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let shown = page(&house, "/settings").await;
    assert!(shown.has("coverage_percent = 0") && shown.has("Europe/Berlin"), "{}", shown.body);
    assert!(shown.has("it writes, and") && shown.has("seatbeat backup"), "{}", shown.body);
    assert!(shown.has("collector.example:8443") && !shown.has("sbo1."), "{}", shown.body);
    house.operator("opr_b", "sbo1.b", Role::Billing, &[]).await;
    assert_eq!(get(&house, "/settings", "sbo1.b").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_previewed_and_set_from_a_month_on_with_a_reason() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_a").await;
    house.machine(&house.token("cus_a").await).await.reports(&house, "dsa").await;
    let size = || house.console.books.read(seatbeat_ledger::fold::Fold::position);
    let before = size();
    let dearer = POLICY.replace("4.00", "5.50").replace('\n', "\r\n");
    let preview = post(&house, "/settings/policy/preview", &[("toml", &dearer), ("valid_from", "")]).await;
    assert!(preview.has("It reads well.") && preview.has(">4.00<") && preview.has(">5.50<"), "{preview:?}");
    let later = [("toml", dearer.as_str()), ("valid_from", "2026-12")];
    let preview = post(&house, "/settings/policy/preview", &later).await;
    assert!(preview.has("In 2026-10 so far nothing would be"), "{preview:?}");
    let other = POLICY.replace("\"DS\"", "\"DS2\"");
    let preview = post(&house, "/settings/policy/preview", &[("toml", &other)]).await;
    assert!(preview.has("<td>DS2</td><td class=\"number\">0</td><td class=\"number\">1</td>"), "{preview:?}");
    for (toml, words) in [("colour = 1", "colour"), ("zone = \"UTC\"", "Europe/Berlin"), (MARKUP, "TOML")] {
        let odd = post(&house, "/settings/policy/preview", &[("toml", toml)]).await;
        assert!(odd.status.is_client_error() && !odd.has(MARKUP), "{odd:?}");
        assert!(odd.has(words) || toml == MARKUP, "{odd:?}");
    }
    assert_eq!(size(), before, "asking changes nothing");

    let silent = post(&house, "/settings/policy", &[("toml", &dearer), ("reason", "")]).await;
    assert!(silent.has("the reason is missing"), "{silent:?}");
    let fields = [("toml", dearer.as_str()), ("valid_from", "2026-12"), ("reason", "a new year")];
    led(&post(&house, "/settings/policy", &fields).await, "/settings?done=saved");
    assert!(page(&house, "/settings?period=2026-12").await.has("5.50"));
    assert!(page(&house, "/settings").await.has("4.00"));
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_a_policy_is_text() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let toml = format!("# </textarea>{MARKUP}\n{POLICY}");
    led(&post(&house, "/settings/policy", &[("toml", &toml), ("reason", "x")]).await, "/settings?done=saved");
    let shown = page(&house, "/settings").await;
    assert_eq!(shown.body.matches("</textarea>").count(), 1, "{}", shown.body);
}
