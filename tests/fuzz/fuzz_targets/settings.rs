//! Files that administrators write: the collector's and the agent's configuration, proxies. Invariant: what is not
//! understood is refused in words, and what is read is shown as it is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_agent::config::Config as AgentConfig;
use seatbeat_agent::proxy::{Proxy, Wanted, of_environment, of_list, ways};
use seatbeat_collector::config::Config;
use seatbeat_fuzz::{bounded, file, text};

fuzz_target!(|bytes: &[u8]| {
    let path = file("settings.toml", bytes);
    if let Err(error) = bounded(bytes.len(), 4096, || Config::read(&path)) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(config) = bounded(bytes.len(), 4096, || AgentConfig::load(&path, true)) {
        let _ = config.release_key();
        let _ = config.road();
    }
    let Some(text) = text(bytes) else { return };
    if let Ok(proxy) = Proxy::parse(text) {
        let again = Proxy::parse(&format!("http://{}", proxy.address()));
        assert!(again.is_ok_and(|again| again.address() == proxy.address()));
        // Without the login, which may be a part of the address by chance.
        assert_eq!(format!("{proxy:?}"), format!("Proxy({})", proxy.address()));
    }
    let (list, by) = text.split_once('\n').unwrap_or((text, ""));
    for found in [of_list(list, by), of_environment(|name| (name != "NO_PROXY").then(|| text.to_owned()))] {
        for wanted in [Wanted::parse(list), Wanted::parse("")].into_iter().flatten() {
            let _ = ways(&wanted, found.as_ref(), "collector.example:8443");
        }
    }
});
