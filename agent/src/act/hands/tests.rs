//! The vendor's tools, switched as on a machine of a customer: programs that behave as the samples do, in a mount
//! namespace of their own (`tests/standin`).

use std::fs;
use std::path::Path;

use super::*;
use crate::act::standin;

const MANAGER: &str = "dsm://agents.workload.us-1.cloudone.trendmicro.com:443/";

fn inside(name: &str, installed: &str) -> bool {
    standin::inside(&format!("act::hands::tests::{name}"), installed)
}

/// Patience enough for what is there at once.
fn hands() -> VendorHands {
    let patience = Patience {
        off: Duration::from_millis(200),
        on: Duration::from_millis(200),
        pause: Duration::from_millis(50),
    };
    VendorHands::new(Clock::start(None), InUse::BuiltIn).with_patience(patience)
}

fn task(product: &str, switch: Switch) -> Task {
    Task { product: product.parse().unwrap(), switch }
}

fn secret(password: &str) -> OrderSecrets {
    OrderSecrets { password: password.into(), ..OrderSecrets::default() }
}

fn activation() -> OrderSecrets {
    OrderSecrets {
        manager: MANAGER.into(),
        tenant: "AB8B1757-94B3-D41E".into(),
        token: "F6B8E19D-779B-167E".into(),
        policy: "14".into(),
        ..OrderSecrets::default()
    }
}

fn set(name: &str, content: &str) {
    fs::write(Path::new("/run/standin").join(name), content).unwrap();
}

fn calls() -> String {
    fs::read_to_string("/run/standin/dsa.calls").unwrap_or_default()
}

/// Looks, is ready, carries out, and looks.
fn carry(
    product: &str,
    switch: Switch,
    secrets: Option<&OrderSecrets>,
) -> (Result<String, String>, Result<Stand, String>) {
    let (mut hands, task) = (hands(), task(product, switch));
    hands.ready(&task, secrets).unwrap();
    let came = hands.carry_out(&task, secrets);
    let words = came.as_ref().unwrap_or_else(|why| why);
    if let Some(given) = secrets {
        for value in
            [&given.password, &given.tenant, &given.token].into_iter().filter(|value| !value.is_empty())
        {
            assert!(!words.contains(value.as_str()), "{words}");
        }
    }
    (came, hands.look(&task.product))
}

#[test]
fn deep_security_goes_off_and_on_again() {
    if inside("deep_security_goes_off_and_on_again", "dsa") {
        assert_eq!(hands().look(&"dsa-cloud".parse().unwrap()), Ok(Stand::Active));
        let (off, stand) = carry("dsa-cloud", Switch::Off, None);
        assert_eq!(
            off.as_deref(),
            Ok("`dsa_control -r` dropped its activation and policy; the machine shows it not active")
        );
        assert_eq!(stand, Ok(Stand::Inactive));
        let (on, stand) = carry("dsa-cloud", Switch::On, Some(&activation()));
        assert!(on.as_ref().is_ok_and(|words| words.ends_with("the machine shows it active")), "{on:?}");
        assert_eq!(stand, Ok(Stand::Active));
        let told =
            format!("-r\n-a {MANAGER} tenantID:AB8B1757-94B3-D41E token:F6B8E19D-779B-167E policyid:14\n");
        assert_eq!(calls(), told);
    }
}

#[test]
fn a_password_ends_self_protection_first_and_a_wrong_one_ends_there() {
    if inside("a_password_ends_self_protection_first_and_a_wrong_one_ends_there", "dsa") {
        set("dsa.password", "correct horse");
        let (bare, _) = carry("dsa", Switch::Off, None);
        let why = bare.unwrap_err();
        assert!(
            why.contains("the order brings none") && why.ends_with("the machine shows it active"),
            "{why}"
        );
        let (wrong, stand) = carry("dsa", Switch::Off, Some(&secret("battery staple")));
        let why = wrong.unwrap_err();
        assert!(why.starts_with("self-protection stays on: the agent refused the password"), "{why}");
        assert_eq!(stand, Ok(Stand::Active));
        let (right, stand) = carry("dsa", Switch::Off, Some(&secret("correct horse")));
        assert!(right.is_ok(), "{right:?}");
        assert_eq!(stand, Ok(Stand::Inactive));
        assert!(calls().ends_with("--selfprotect=0 -p correct horse\n-r -p correct horse\n"), "{}", calls());
    }
}

#[test]
fn an_agent_that_does_not_know_its_caller_is_told_apart_from_a_wrong_password() {
    if inside("an_agent_that_does_not_know_its_caller_is_told_apart_from_a_wrong_password", "dsa") {
        set("dsa.mode", "forbidden");
        let (off, stand) = carry("dsa", Switch::Off, Some(&secret("hunter2")));
        let why = off.unwrap_err();
        assert!(why.contains("403, process not authenticated") && why.contains("not looked at"), "{why}");
        assert_eq!(stand, Ok(Stand::Active));
    }
}

#[test]
fn where_a_reset_fails_self_protection_is_put_back() {
    if inside("where_a_reset_fails_self_protection_is_put_back", "dsa") {
        set("dsa.mode", "broken");
        let (off, _) = carry("dsa", Switch::Off, Some(&secret("hunter2")));
        let why = off.unwrap_err();
        assert!(why.contains("status 500; self-protection was switched off for it and on again"), "{why}");
        assert_eq!(fs::read_to_string("/run/standin/dsa.selfprotect").unwrap(), "on\n");
    }
}

#[test]
fn what_the_tool_says_and_the_machine_does_not_show_is_told_as_part() {
    if inside("what_the_tool_says_and_the_machine_does_not_show_is_told_as_part", "dsa v1es") {
        set("dsa.mode", "stuck");
        let (off, _) = carry("dsa", Switch::Off, None);
        let why = off.unwrap_err();
        assert!(why.starts_with("done in part: ") && why.ends_with("the machine shows it active"), "{why}");
        set("systemctl.stuck", "");
        let (off, _) = carry("v1es", Switch::Off, None);
        assert!(off.as_ref().is_err_and(|why| why.starts_with("done in part: ")), "{off:?}");
        set("dsa.mode", "halfway");
        fs::remove_file("/run/standin/dsa.manager").unwrap();
        let (on, _) = carry("dsa", Switch::On, Some(&activation()));
        let why = on.unwrap_err();
        assert!(why.contains("did not complete its session"), "{why}");
    }
}

#[test]
fn a_secret_that_a_tool_repeats_is_in_no_word_of_ours() {
    if inside("a_secret_that_a_tool_repeats_is_in_no_word_of_ours", "dsa") {
        set("dsa.mode", "loud");
        // `carry` looks for it.
        let (off, _) = carry("dsa", Switch::Off, Some(&secret("Hunter2Hunter2")));
        assert!(off.as_ref().is_err_and(|why| why.contains("ended with status 3;")), "{off:?}");
    }
}

#[test]
fn a_tool_that_hangs_is_stopped() {
    if inside("a_tool_that_hangs_is_stopped", "dsa") {
        set("dsa.mode", "hang");
        let call =
            super::super::tool::Call::new("/opt/ds_agent/dsa_control", &["-r"], Duration::from_millis(300));
        let said = MachineTools.run(&call).unwrap();
        assert!(said.late, "{}", said.text);
        assert!(calls().contains("-r"));
    }
}

#[test]
fn what_is_not_installed_or_could_be_anybodys_is_not_touched() {
    if inside("what_is_not_installed_or_could_be_anybodys_is_not_touched", "dsa") {
        let ready = |product: &str, switch, given: Option<&OrderSecrets>| {
            hands().ready(&task(product, switch), given).unwrap_err()
        };
        assert_eq!(ready("v1es", Switch::Off, None), "`v1es` is not on this machine");
        assert_eq!(ready("no-such", Switch::Off, None), "`no-such` is not known here");
        assert_eq!(
            ready("wfbs-svc", Switch::Off, None),
            "there is no way to switch off `wfbs-svc` on this system"
        );
        assert!(ready("dsa", Switch::On, None).starts_with("the manager is not of the form"));
        assert!(ready("dsa", Switch::Uninstall, None).contains("package manager"));
        let odd = secret("two\nlines");
        assert!(ready("dsa", Switch::Off, Some(&odd)).starts_with("the password is none"));
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions("/opt/ds_agent/dsa_control", fs::Permissions::from_mode(0o777)).unwrap();
        let refused = ready("dsa", Switch::Off, None);
        assert!(refused.ends_with("others than root may write /opt/ds_agent/dsa_control"), "{refused}");
        fs::remove_file("/opt/ds_agent/dsa_control").unwrap();
        assert_eq!(ready("dsa", Switch::Off, None), "there is no `/opt/ds_agent/dsa_control`");
        assert_eq!(calls(), "", "nothing was begun");
    }
}

#[test]
fn the_sensor_goes_off_and_on_again_and_its_failure_is_told() {
    if inside("the_sensor_goes_off_and_on_again_and_its_failure_is_told", "v1es") {
        let (off, stand) = carry("v1es", Switch::Off, None);
        assert_eq!(
            off.as_deref(),
            Ok("`systemctl disable --now tmxbc` was carried out; the machine shows it not active")
        );
        assert_eq!(stand, Ok(Stand::Inactive));
        let (on, stand) = carry("v1es", Switch::On, None);
        assert!(on.is_ok(), "{on:?}");
        assert_eq!(stand, Ok(Stand::Active));
        set("systemctl.fails", "");
        let (off, _) = carry("v1es", Switch::Off, None);
        let why = off.unwrap_err();
        assert!(why.contains("ended with status 1: Failed to disable unit: Access denied"), "{why}");
    }
}

#[test]
fn serverprotect_goes_off_and_on_again_and_half_of_it_is_told_as_part() {
    if inside("serverprotect_goes_off_and_on_again_and_half_of_it_is_told_as_part", "splx") {
        let (off, stand) = carry("splx", Switch::Off, None);
        assert!(off.as_ref().is_ok_and(|words| words.contains("`chkconfig splx off`")), "{off:?}");
        assert_eq!(stand, Ok(Stand::Inactive));
        assert_eq!(fs::read_to_string("/run/standin/units/splx.service").unwrap(), "inactive disabled\n");
        // What it starts holds its output open, and is not waited for.
        let (on, stand) = carry("splx", Switch::On, None);
        assert!(on.is_ok(), "{on:?}");
        assert_eq!(stand, Ok(Stand::Active));
        set("chkconfig.fails", "");
        let (off, stand) = carry("splx", Switch::Off, None);
        let why = off.unwrap_err();
        assert!(why.starts_with("done in part: `service splx stop` was carried out; "), "{why}");
        assert_eq!(stand, Ok(Stand::Inactive));
    }
}

#[test]
fn a_debian_package_is_removed_with_its_settings() {
    if inside("a_debian_package_is_removed_with_its_settings", "dsa-deb") {
        set("dsa.password", "hunter2");
        let (gone, stand) = carry("dsa-cloud", Switch::Uninstall, Some(&secret("hunter2")));
        assert_eq!(
            gone.as_deref(),
            Ok("`dpkg -r ds-agent` and `dpkg --purge ds-agent` removed it; the machine shows it no longer")
        );
        assert_eq!(stand, Ok(Stand::Absent));
        assert!(!Path::new("/etc/ds_agent.conf").exists());
        assert_eq!(calls(), "--selfprotect=0 -p hunter2\n");
    }
}

#[test]
fn an_rpm_is_removed_and_one_that_refuses_is_protected_again() {
    if inside("an_rpm_is_removed_and_one_that_refuses_is_protected_again", "dsa-rpm") {
        set("rpm.fails", "");
        let (stays, stand) = carry("dsa", Switch::Uninstall, Some(&secret("hunter2")));
        let why = stays.unwrap_err();
        assert!(why.contains("scriptlet failed") && why.contains("off for it and on again"), "{why}");
        assert_eq!(stand, Ok(Stand::Active));
        fs::remove_file("/run/standin/rpm.fails").unwrap();
        let (gone, stand) = carry("dsa", Switch::Uninstall, None);
        assert!(
            gone.as_ref().is_ok_and(|words| words.starts_with("`rpm -ev ds_agent` removed it")),
            "{gone:?}"
        );
        assert_eq!(stand, Ok(Stand::Absent));
    }
}
