//! The proxies that a system itself knows of: in its environment, and in Windows' settings for services (WinHTTP) and for
//! the machine. Invariant: pure; what is cut or of another version says nothing.

use std::net::IpAddr;

use super::{host, split};

/// A proxy of the system's, and whom it is not for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As it stands there.
    pub(super) proxy: String,
    by: Vec<String>,
}

impl Found {
    /// Whether an address (`host:port`) is reached without it.
    pub(super) fn passes_by(&self, address: &str) -> bool {
        let port = split(address).and_then(|(_, port)| port);
        self.by.iter().any(|pattern| is_meant(pattern, host(address), port))
    }
}

/// From the usual variables: `HTTPS_PROXY` or `ALL_PROXY`, and `NO_PROXY`, in either case.
pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Found> {
    let value = |name: &str| {
        let lower = variable(&name.to_ascii_lowercase()).filter(|value| !value.trim().is_empty());
        lower.or_else(|| variable(name).filter(|value| !value.trim().is_empty()))
    };
    let proxy = value("HTTPS_PROXY").or_else(|| value("ALL_PROXY"))?;
    let by = value("NO_PROXY").unwrap_or_default();
    Some(Found { proxy, by: patterns(&by, &[',', ' ']) })
}

/// From a list as Windows keeps it: `proxy:80`, or `http=one:80;https=two:80`; `<local>` among those it is not for means
/// names without a dot.
pub fn of_list(proxies: &str, by: &str) -> Option<Found> {
    let entries = || proxies.split([';', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    let of_scheme = |wanted: &str| {
        entries().find_map(|entry| {
            let (scheme, proxy) = entry.split_once('=')?;
            scheme.trim().eq_ignore_ascii_case(wanted).then(|| proxy.trim().to_owned())
        })
    };
    let of_all = || entries().find(|entry| !entry.contains('=')).map(str::to_owned);
    // What is spoken within is TLS, whatever its port.
    let proxy = of_scheme("https").or_else(of_all)?;
    Some(Found { proxy, by: patterns(by, &[';', ',', ' ']) })
}

/// The bit of [`of_winhttp`] that says that there is a proxy.
const BY_PROXY: u32 = 2;

/// From what `netsh winhttp set proxy` keeps (`Connections!WinHttpSettings`): a head of two words, kinds of access, then
/// the list of proxies and of those they are not for, each led by its length. All little-endian.
pub fn of_winhttp(bytes: &[u8]) -> Option<Found> {
    let (_, rest) = bytes.split_at_checked(8)?;
    let (kinds, rest) = word(rest)?;
    if kinds & BY_PROXY == 0 {
        return None;
    }
    let (proxies, rest) = text(rest)?;
    let by = text(rest).map_or("", |(by, _)| by);
    of_list(proxies, by)
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*word), rest))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = word(bytes)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((std::str::from_utf8(text).ok()?.trim_end_matches('\0'), rest))
}

fn patterns(text: &str, between: &[char]) -> Vec<String> {
    let words = text.split(between).map(|word| word.trim().to_ascii_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

/// `*`, `<local>`, `host`, `.domain`, `domain` (and all below it), `10.*`, an address block, each with a port or without.
fn is_meant(pattern: &str, host: &str, port: Option<u16>) -> bool {
    let host = host.to_ascii_lowercase();
    if pattern == "*" {
        return true;
    }
    if pattern == "<local>" {
        return !host.contains(['.', ':']);
    }
    let pattern = pattern.split_once("://").map_or(pattern, |(_, rest)| rest);
    if let Some(block) = block(pattern) {
        return host.parse().is_ok_and(|ip| block.holds(ip));
    }
    let Some((pattern, wanted)) = split(pattern) else { return false };
    if wanted.is_some() && wanted != port {
        return false;
    }
    if pattern.contains('*') {
        return seatbeat_proto::catalogue::glob(pattern, &host);
    }
    let domain = pattern.trim_start_matches('.');
    let below = host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'));
    host == domain || below && host.parse::<IpAddr>().is_err()
}

/// Addresses that begin alike.
struct Block {
    first: IpAddr,
    length: u32,
}

fn block(pattern: &str) -> Option<Block> {
    let (first, length) = pattern.split_once('/')?;
    Some(Block { first: first.parse().ok()?, length: length.parse().ok()? })
}

impl Block {
    fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let rest = 32_u32.saturating_sub(self.length);
                (first.to_bits() ^ address.to_bits()).checked_shr(rest).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let rest = 128_u32.saturating_sub(self.length);
                (first.to_bits() ^ address.to_bits()).checked_shr(rest).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: &[(&str, &str)]) -> Option<Found> {
        let set: Vec<(String, String)> =
            set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        of_environment(|name| set.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn the_usual_variables_are_read_in_either_case() {
        let proxy = |set: &[(&str, &str)]| environment(set).map(|found| found.proxy);
        assert_eq!(proxy(&[]), None);
        assert_eq!(proxy(&[("HTTPS_PROXY", " ")]), None);
        assert_eq!(proxy(&[("HTTP_PROXY", "a:1")]), None, "what is spoken is not HTTP");
        assert_eq!(proxy(&[("HTTPS_PROXY", "a:1"), ("https_proxy", "b:1")]).as_deref(), Some("b:1"));
        assert_eq!(proxy(&[("ALL_PROXY", "c:1")]).as_deref(), Some("c:1"));
    }

    #[test]
    fn whom_a_proxy_is_not_for_is_told_as_people_write_it() {
        let by = "localhost, .corp.example,other.example:8443 10.0.0.0/8,192.168.1.7,2001:db8::/32";
        let found = environment(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", by)]).unwrap();
        for (address, expected) in [
            ("localhost:8443", true),
            ("collector.corp.example:8443", true),
            ("corp.example:8443", true),
            ("mycorp.example:8443", false),
            ("other.example:8443", true),
            ("a.other.example:8443", true),
            ("other.example:443", false),
            ("10.200.0.1:8443", true),
            ("11.0.0.1:8443", false),
            ("192.168.1.7:8443", true),
            ("[2001:db8::7]:8443", true),
            ("[2001:db9::7]:8443", false),
        ] {
            assert_eq!(found.passes_by(address), expected, "{address}");
        }
        let all = environment(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")]).unwrap();
        assert!(all.passes_by("x.example:1"));
    }

    #[test]
    fn lists_as_windows_keeps_them_are_read() {
        for (list, expected) in [
            ("proxy.example:8080", Some("proxy.example:8080")),
            ("http=a:1;https=b:2", Some("b:2")),
            ("http=a:1 c:3", Some("c:3")),
            ("http=a:1", None),
            (" ; ", None),
        ] {
            let proxy = of_list(list, "").map(|found| found.proxy);
            assert_eq!(proxy.as_deref(), expected, "{list}");
        }
        let found = of_list("p:1", "*.corp.example;10.*;<local>").unwrap();
        for (address, expected) in [
            ("a.corp.example:8443", true),
            ("a.example:8443", false),
            ("10.1.2.3:8443", true),
            ("collector:8443", true),
        ] {
            assert_eq!(found.passes_by(address), expected, "{address}");
        }
    }

    #[test]
    fn what_winhttp_keeps_is_read_and_one_that_is_cut_says_nothing_wrong() {
        let kept = |kinds: u32, proxies: &str, by: &str| {
            let mut bytes = vec![0x18, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend(kinds.to_le_bytes());
            for text in [proxies, by] {
                bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes
        };
        let whole = kept(3, "proxy.example:8080", "*.corp.example");
        let found = of_winhttp(&whole).unwrap();
        assert_eq!((found.proxy.as_str(), found.by.len()), ("proxy.example:8080", 1));
        assert_eq!(of_winhttp(&kept(1, "proxy.example:8080", "")), None, "straight");
        for length in 0..whole.len() {
            if let Some(cut) = of_winhttp(&whole[..length]) {
                assert_eq!(cut.proxy, found.proxy, "{length}");
            }
        }
        assert_eq!(of_winhttp(&[0xFF; 40]), None);
    }
}
