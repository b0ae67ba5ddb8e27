//! Which way out of a network leads to a collector: straight, or through a proxy that connects further (HTTP CONNECT).
//! Invariant: pure; a proxy's password is shown nowhere; what stands in a setting and is no proxy is told, not guessed at.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use zeroize::Zeroizing;

mod found;

pub use found::{Found, of_environment, of_list, of_winhttp};

/// What an administrator writes for "straight, whatever the system says".
pub const NONE: &str = "none";

/// The port of a proxy that names none.
const PORT: u16 = 3128;

/// Letters of a proxy's address: a host's name, a login, and what is around them.
const LENGTH_MAX: usize = 1024;

/// Somebody who connects further.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    login: Option<Zeroizing<String>>,
}

/// A text that names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// A kind of proxy that is not spoken to.
    #[error("a proxy is spoken to by `http://`, not by `{0}://`")]
    Kind(String),
    /// No host, or no port where one is begun.
    #[error("`{0}` is no proxy's address")]
    Address(String),
}

impl ProxyError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        "write it as `http://proxy.example:3128`, or `none`"
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Without the login.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address())
    }
}

impl Proxy {
    /// Reads `http://name:password@host:port`; of it only the host is needed.
    ///
    /// # Errors
    /// When it is none that is spoken to.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        let (kind, rest) = text.split_once("://").unwrap_or(("http", text));
        if !kind.eq_ignore_ascii_case("http") {
            return Err(ProxyError::Kind(crate::plain::plain(kind)));
        }
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(Zeroizing::new(decoded(login))), address),
            None => (None, rest),
        };
        let wrong = || ProxyError::Address(crate::plain::plain(address));
        let (host, port) = split(address).ok_or_else(wrong)?;
        let is_safe = |text: &str| text.len() <= LENGTH_MAX && !text.contains(|c: char| c.is_control());
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '"');
        if !is_host || !is_safe(rest) || !login.as_ref().is_none_or(|login| is_safe(login)) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port: port.unwrap_or(PORT), login })
    }

    /// Where it listens, `host:port`.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `name:password`, where it wants one.
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref().map(String::as_str)
    }
}

/// Host and port of `host:port`, `[address]:port` or either without a port; `None`: it is none of them.
fn split(address: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':')?.parse().ok()?),
        };
        return is_version_6(host).then_some((host, port));
    }
    match address.split_once(':') {
        // More than one: an address of version 6 without brackets.
        Some((_, rest)) if rest.contains(':') => is_version_6(address).then_some((address, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((address, None)),
    }
}

/// Whether a host is an address of version 6; behind a `%` it may say on which card.
fn is_version_6(host: &str) -> bool {
    host.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// `%41` as `A`: a login may hold what an address may not.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let coded = behind.get(..2).filter(|_| *first == b'%');
        let byte = coded.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What an administrator set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wanted {
    /// What the system says.
    #[default]
    AsFound,
    /// Straight.
    Straight,
    /// Through this one and no other.
    Through(Proxy),
}

impl Wanted {
    /// Reads the setting: empty, `none` or a proxy.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        match text.trim() {
            "" => Ok(Self::AsFound),
            none if none.eq_ignore_ascii_case(NONE) => Ok(Self::Straight),
            proxy => Proxy::parse(proxy).map(Self::Through),
        }
    }
}

/// A way that can be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A connection to the collector itself.
    Straight,
    /// To a proxy, which connects further.
    Through(Proxy),
}

/// The ways to `address` (`host:port`), in the order they are to be tried. One that an administrator set is the only one;
/// where the system's proxy does not get further, a collector in the own network is reached straight.
///
/// # Errors
/// When what the system says is no proxy, and nothing was set.
pub fn ways(wanted: &Wanted, found: Option<&Found>, address: &str) -> Result<Vec<Way>, ProxyError> {
    match wanted {
        Wanted::Straight => Ok(vec![Way::Straight]),
        Wanted::Through(proxy) => Ok(vec![Way::Through(proxy.clone())]),
        Wanted::AsFound => {
            let proxy = found.filter(|found| !is_own(address) && !found.passes_by(address));
            let proxy = proxy.map(|found| Proxy::parse(&found.proxy)).transpose()?;
            Ok(proxy.map(Way::Through).into_iter().chain([Way::Straight]).collect())
        }
    }
}

/// Whether an address is this machine's own.
fn is_own(address: &str) -> bool {
    let host = host(address);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn host(address: &str) -> &str {
    split(address).map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        Proxy::parse(text).unwrap()
    }

    #[test]
    fn a_proxy_is_read_as_people_write_it_and_its_password_is_not_shown() {
        for (text, address, login) in [
            ("http://proxy.example:8080", "proxy.example:8080", None),
            ("proxy.example:8080/", "proxy.example:8080", None),
            (" HTTP://proxy.example ", "proxy.example:3128", None),
            ("10.0.0.1:80", "10.0.0.1:80", None),
            ("http://[2001:db8::1]:80", "[2001:db8::1]:80", None),
            ("2001:db8::1", "[2001:db8::1]:3128", None),
            ("[fe80::1%eth0]", "[fe80::1%eth0]:3128", None),
            ("http://me:p%40ss:w%2Frd@proxy.example:80", "proxy.example:80", Some("me:p@ss:w/rd")),
            ("http://me:100%@proxy.example:80", "proxy.example:80", Some("me:100%")),
        ] {
            let proxy = proxy(text);
            assert_eq!((proxy.address().as_str(), proxy.login()), (address, login), "{text}");
            let shown = format!("{proxy} {proxy:?}");
            assert!(!shown.contains("p@ss") && !shown.contains("me:"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told() {
        for (text, expected) in [
            ("socks5://proxy.example:1080", "a proxy is spoken to by `http://`, not by `socks5://`"),
            ("https://proxy.example", "a proxy is spoken to by `http://`, not by `https://`"),
            ("http://", "`` is no proxy's address"),
            ("proxy.example:port", "`proxy.example:port` is no proxy's address"),
            ("me:word@proxy.example:99999", "`proxy.example:99999` is no proxy's address"),
            ("a b", "`a b` is no proxy's address"),
            ("proxy.example:80:80", "`proxy.example:80:80` is no proxy's address"),
            ("http=a:80;https=b:80", "`http=a:80;https=b:80` is no proxy's address"),
            ("[::1]80", "`[::1]80` is no proxy's address"),
            ("[proxy.example]:80", "`[proxy.example]:80` is no proxy's address"),
            ("http://me:%0d%0aX@proxy.example", "`proxy.example` is no proxy's address"),
        ] {
            let error = Proxy::parse(text).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
            assert!(error.hint().contains("http://"));
        }
    }

    #[test]
    fn what_an_administrator_set_goes_before_what_the_system_says() {
        let found = of_list("system.example:80", "*.here.example;<local>").unwrap();
        let set = |text: &str| Wanted::parse(text).unwrap();
        let through = |text: &str| Way::Through(proxy(text));
        let collector = "collector.example:8443";
        for (wanted, address, expected) in [
            ("", collector, vec![through("system.example:80"), Way::Straight]),
            ("none", collector, vec![Way::Straight]),
            ("mine.example:1", collector, vec![through("mine.example:1")]),
            ("mine.example:1", "127.0.0.1:8443", vec![through("mine.example:1")]),
            ("", "127.0.0.1:8443", vec![Way::Straight]),
            ("", "[::1]:8443", vec![Way::Straight]),
            ("", "localhost:8443", vec![Way::Straight]),
            ("", "collector.here.example:8443", vec![Way::Straight]),
            ("", "collector:8443", vec![Way::Straight]),
        ] {
            assert_eq!(ways(&set(wanted), Some(&found), address).unwrap(), expected, "{wanted} {address}");
        }
        assert_eq!(ways(&set(""), None, collector).unwrap(), [Way::Straight]);
        let odd = of_list("socks5://s.example:1", "").unwrap();
        assert!(ways(&set(""), Some(&odd), collector).is_err());
        assert!(Wanted::parse("ftp://x").is_err());
    }
}
