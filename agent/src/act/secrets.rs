//! The values that an order brings for a vendor's tool. Invariant: one that could be read as anything but a value is
//! refused before anything is begun, and none of them is ever told, logged or kept.

use seatbeat_proto::procedures::{Need, Procedure};
use seatbeat_proto::wire::OrderSecrets;

/// Letters of a password: several times what the vendor's consoles take.
const PASSWORD_LENGTH_MAX: usize = 128;

/// Letters of a tenant or token: theirs are 36, spelt as a UUID.
const ID_LENGTH_MAX: usize = 64;

/// Digits of a policy's number.
const POLICY_LENGTH_MAX: usize = 10;

/// Letters of a host's name, as in DNS.
const HOST_LENGTH_MAX: usize = 253;

/// A line of a tool's output that is told.
const LINE_LENGTH_MAX: usize = 160;

/// Checks what a procedure needs.
///
/// # Errors
/// Which value is missing or is none, without the value.
pub fn check(procedure: Procedure, secrets: Option<&OrderSecrets>) -> Result<(), String> {
    let none = OrderSecrets::default();
    let given = secrets.unwrap_or(&none);
    if procedure.password() == Need::Must && given.password.is_empty() {
        return Err("the order brings no password, and nothing can be done without".into());
    }
    if procedure.password() != Need::No {
        password(&given.password)?;
    }
    if procedure.activation() == Need::Must {
        manager(&given.manager)?;
        id("tenant", &given.tenant)?;
        id("token", &given.token)?;
        policy(&given.policy)?;
    }
    Ok(())
}

/// Empty: there is none. Not blank at either end, and no switch: a tool would read `-r` as one.
fn password(text: &str) -> Result<(), String> {
    let printable = text.chars().all(|letter| letter.is_ascii_graphic() || letter == ' ');
    let blank = text.starts_with(' ') || text.ends_with(' ');
    match text.len() > PASSWORD_LENGTH_MAX || !printable || blank || text.starts_with('-') {
        true => Err(format!(
            "the password is none that the vendor's tool can be given (at most {PASSWORD_LENGTH_MAX} printable \
             ASCII letters, neither blank at an end nor beginning with `-`)"
        )),
        false => Ok(()),
    }
}

/// `dsm://host:port/`
fn manager(text: &str) -> Result<(), String> {
    let place = text.strip_prefix("dsm://").and_then(|rest| rest.strip_suffix('/'));
    let parts = place.and_then(|place| place.rsplit_once(':'));
    let fits = parts.is_some_and(|(host, port)| {
        let letters =
            host.bytes().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'-'));
        let edges = host.starts_with(|first: char| first.is_ascii_alphanumeric());
        let digits = port.bytes().all(|digit| digit.is_ascii_digit());
        letters
            && edges
            && host.len() <= HOST_LENGTH_MAX
            && digits
            && port.parse().is_ok_and(|port: u16| port > 0)
    });
    fits.then_some(()).ok_or_else(|| "the manager is not of the form dsm://host:port/".into())
}

fn id(name: &str, text: &str) -> Result<(), String> {
    let fits = text.bytes().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_'));
    match fits && !text.is_empty() && text.len() <= ID_LENGTH_MAX && !text.starts_with('-') {
        true => Ok(()),
        false => Err(format!("the {name} is none: 1 to {ID_LENGTH_MAX} letters, digits, `-` and `_`")),
    }
}

/// Empty: the manager decides.
fn policy(text: &str) -> Result<(), String> {
    match text.bytes().all(|digit| digit.is_ascii_digit()) && text.len() <= POLICY_LENGTH_MAX {
        true => Ok(()),
        false => Err(format!("the policy is none: its number of at most {POLICY_LENGTH_MAX} digits")),
    }
}

/// The last line of a tool's output that can be told: printable, and without anything that came with the order.
/// Nothing of an output that was cut: the end of a secret may be what is missing.
pub fn last_word(output: &str, cut: bool, secrets: Option<&OrderSecrets>) -> Option<String> {
    if cut {
        return None;
    }
    let kept: Vec<String> = secrets
        .iter()
        .flat_map(|given| [&given.password, &given.manager, &given.tenant, &given.token, &given.policy])
        .filter(|value| !value.is_empty())
        .map(|value| value.to_lowercase())
        .collect();
    let line = output.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let lower = line.to_lowercase();
    if kept.iter().any(|value| lower.contains(value)) {
        return None;
    }
    let plain = |letter: char| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' };
    Some(line.chars().take(LINE_LENGTH_MAX).map(plain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation() -> OrderSecrets {
        OrderSecrets {
            manager: "dsm://agents.workload.us-1.cloudone.trendmicro.com:443/".into(),
            tenant: "AB8B1757-94B3".into(),
            token: "F6B8E19D-779B".into(),
            policy: "14".into(),
            ..OrderSecrets::default()
        }
    }

    #[test]
    fn what_a_procedure_cannot_do_without_has_to_be_there() {
        assert!(check(Procedure::PccntmonUnload, None).unwrap_err().contains("no password"));
        assert_eq!(check(Procedure::DsaReset, None), Ok(()));
        assert_eq!(check(Procedure::SensorStop, None), Ok(()));
        assert!(check(Procedure::DsaActivate, None).unwrap_err().contains("manager"));
        assert_eq!(check(Procedure::DsaActivate, Some(&activation())), Ok(()));
        let bare = OrderSecrets { policy: String::new(), ..activation() };
        assert_eq!(check(Procedure::DsaActivate, Some(&bare)), Ok(()));
    }

    #[test]
    fn a_value_that_could_be_read_as_something_else_is_refused_and_not_repeated() {
        let with = |change: fn(&mut OrderSecrets)| {
            let mut secrets = activation();
            change(&mut secrets);
            secrets
        };
        for (procedure, secrets, name, value) in [
            (Procedure::DsaReset, with(|s| s.password = "two\nlines".into()), "password", "lines"),
            (Procedure::DsaReset, with(|s| s.password = "tab\there".into()), "password", "here"),
            (Procedure::DsaReset, with(|s| s.password = "-r".into()), "password", "-r"),
            (Procedure::DsaReset, with(|s| s.password = " qzx".into()), "password", "qzx"),
            (Procedure::DsaReset, with(|s| s.password = "Ωmega".into()), "password", "mega"),
            (Procedure::DsaReset, with(|s| s.password = "q".repeat(129)), "password", "qq"),
            (Procedure::DsaActivate, with(|s| s.manager = "https://x:1/".into()), "manager", "https"),
            (Procedure::DsaActivate, with(|s| s.manager = "dsm://-x:1/".into()), "manager", "-x"),
            (Procedure::DsaActivate, with(|s| s.manager = "dsm://x:0/".into()), "manager", "x:0"),
            (Procedure::DsaActivate, with(|s| s.manager = "dsm://x y:1/".into()), "manager", "x y"),
            (Procedure::DsaActivate, with(|s| s.manager = "dsm://x:+1/".into()), "manager", "+1"),
            (Procedure::DsaActivate, with(|s| s.manager = "dsm://x:70000/".into()), "manager", "70000"),
            (Procedure::DsaActivate, with(|s| s.manager = "dsm://x:443".into()), "manager", "443"),
            (Procedure::DsaActivate, with(|s| s.tenant = "a b".into()), "tenant", "a b"),
            (Procedure::DsaActivate, with(|s| s.tenant = String::new()), "tenant", "\u{1}"),
            (Procedure::DsaActivate, with(|s| s.token = "a;b".into()), "token", "a;b"),
            (Procedure::DsaActivate, with(|s| s.token = "x".repeat(65)), "token", "xxx"),
            (Procedure::DsaActivate, with(|s| s.policy = "all".into()), "policy", "all "),
        ] {
            let refused = check(procedure, Some(&secrets)).unwrap_err();
            assert!(refused.starts_with(&format!("the {name} is")), "{refused}");
            assert!(!refused.contains(value), "{refused}");
        }
    }

    #[test]
    fn a_line_with_a_secret_in_it_is_not_told_however_it_is_cased() {
        let secrets = OrderSecrets { password: "Hunter2".into(), ..activation() };
        let told = |text, cut| last_word(text, cut, Some(&secrets));
        assert_eq!(told("one\nHTTP Status: 403\n\n", false).as_deref(), Some("HTTP Status: 403"));
        assert_eq!(told("one\nyou said HUNTER2, no", false), None);
        assert_eq!(told("token f6b8e19d-779b is bad", false), None);
        assert_eq!(told("cut off: Hun", true), None);
        assert_eq!(told("", false), None);
        assert_eq!(told("a\u{7}b\u{fffd}", false).as_deref(), Some("a?b?"));
        assert_eq!(told(&"y".repeat(500), false).map(|line| line.len()), Some(LINE_LENGTH_MAX));
    }
}
