//! Where a database is, and how it is reached. Invariant: no password stands in an address, in what is shown
//! of it or in an error; beyond this machine nothing crosses a network without TLS.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::PostgresError;
use super::tls::Tls;

/// How an address begins.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Longest wait for an answer to a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest that sent bytes stay without an acknowledgement: a peer that vanished is noticed.
const UNANSWERED_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time after which the system asks whether the peer is there still.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What is asked for at the database's log and its list of sessions.
const APPLICATION: &str = "seatbeat";

/// Where the database is, with what lets the collector in.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) tls: Tls,
    place: String,
}

impl Address {
    /// Whether a text names a database, not a folder.
    pub fn is_one(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    /// Reads `postgres://user@host/database`. The password comes from elsewhere; `authority` (PEM) is trusted for the
    /// database's certificate instead of the system's authorities.
    ///
    /// # Errors
    /// When it is no such address, has a password in it, or would cross a network without TLS.
    pub fn parse(
        text: &str,
        password: Option<&str>,
        authority: Option<&Path>,
    ) -> Result<Self, PostgresError> {
        let unusable = |why: &str| PostgresError::Address { why: why.to_owned() };
        if !Self::is_one(text) {
            return Err(unusable("it has to begin with `postgres://`"));
        }
        // The parser's own words are not passed on: they may quote a password.
        let mut config: Config = text.parse().map_err(|_| {
            unusable("it has to be `postgres://USER@HOST[:PORT]/DATABASE`, with the options of libpq that are known here")
        })?;
        if config.get_password().is_some() {
            return Err(unusable("a password does not belong into it"));
        }
        if config.get_hosts().is_empty() || config.get_dbname().is_none() || config.get_user().is_none() {
            return Err(unusable("it has to name a user, a host and a database"));
        }
        // Where addresses are given beside the hosts, they are what is connected to.
        let is_near =
            config.get_hosts().iter().all(is_near) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        match (is_near, config.get_ssl_mode()) {
            (false, SslMode::Disable) => {
                return Err(unusable("`sslmode=disable` is for databases on this machine alone"));
            }
            // Not `prefer`: who is in between could say that the other side has no TLS.
            (false, _) => config.ssl_mode(SslMode::Require),
            (true, SslMode::Require) => &mut config,
            (true, _) => config.ssl_mode(SslMode::Disable),
        };
        if let Some(password) = password {
            config.password(password);
        }
        config
            .application_name(APPLICATION)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(UNANSWERED_TIMEOUT)
            .keepalives_idle(KEEPALIVE)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let is_secured = config.get_ssl_mode() == SslMode::Require;
        let tls = if is_secured { Tls::trusting(authority)? } else { Tls::none() };
        Ok(Self { place: place(&config), config, tls })
    }
}

/// Without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.place).finish()
    }
}

fn is_near(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
    }
}

fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let host = |(index, host): (usize, &Host)| {
        let name = match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        match ports.get(index).or(ports.first()) {
            Some(port) => format!("{name}:{port}"),
            None => name,
        }
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, PostgresError> {
        Address::parse(text, Some("s3cret-word"), None)
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let address = parse("postgres://sb@127.0.0.1:5433/books").unwrap();
        assert_eq!(address.to_string(), "postgres://127.0.0.1:5433/books");
        assert_eq!(address.config.get_password(), Some(b"s3cret-word".as_slice()));
        assert!(!format!("{address:?}").contains("s3cret-word"));
        for text in ["postgres://sb:hidden-word@h/books", "postgres://sb@h/books?password=hidden-word&x=y"] {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hidden-word"), "{error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("journal_password_file")));
        }
    }

    #[test]
    fn beyond_this_machine_there_is_tls_or_nothing() {
        let mode = |text: &str| parse(text).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://sb@db.example/books"), SslMode::Require);
        assert_eq!(mode("postgres://sb@db.example/books?sslmode=prefer"), SslMode::Require);
        assert_eq!(mode("postgres://sb@localhost/books"), SslMode::Disable);
        assert_eq!(mode("postgres://sb@%2Frun%2Fpostgresql/books"), SslMode::Disable);
        assert_eq!(mode("postgres://sb@[::1]/books?sslmode=require"), SslMode::Require);
        assert!(parse("postgres://sb@db.example/books?sslmode=disable").is_err());
        assert_eq!(mode("postgres://sb@localhost/books?hostaddr=203.0.113.5"), SslMode::Require);
        assert_eq!(mode("postgres://sb@localhost/books?hostaddr=127.0.0.1"), SslMode::Disable);
    }

    #[test]
    fn what_is_no_address_says_what_one_is() {
        for text in
            ["mysql://h/b", "postgres://", "postgres://sb@h", "postgres://h/b", "postgres://sb@h/b?x=y"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains("has to"), "{error}");
        }
    }
}
