//! Events to people, by mail: all that wait in one. Invariant: a mail leaves over TLS or to this machine; what stands
//! in it is plain text.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use seatbeat_proto::ids::CustomerId;
use zeroize::Zeroizing;

use super::Teller;
use super::board::{Event, What};
use super::settings::{self, MailTls};
use crate::distributor::call::SendError;

/// Events in one mail: more than anybody reads at once.
const EVENTS_MAX: usize = 100;

/// How long a mail server may take for a step.
const TIME_MAX: Duration = Duration::from_secs(30);

/// What customers are called, for those who read it.
pub type Naming = Box<dyn Fn(&CustomerId) -> String + Send + Sync>;

/// Mail that cannot be sent as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// An address is none.
    #[error("`{0}` is no mail address")]
    Address(String),
    /// The server is not named with its port.
    #[error("`{0}` is no mail server: HOST:PORT")]
    Server(String),
    /// The authorities cannot be read.
    #[error("failed to read the certificates in `{path}`")]
    Authorities {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("failed to set up TLS for mail")]
    Tls(#[from] lettre::transport::smtp::Error),
}

/// Sends mail.
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    naming: Naming,
}

impl Mail {
    /// As it is configured; `password` is the user's, where there is one.
    ///
    /// # Errors
    /// When an address, the server or its authorities cannot be used.
    pub fn new(
        settings: &settings::Mail,
        password: Option<Zeroizing<String>>,
        naming: Naming,
    ) -> Result<Self, MailError> {
        let wrong = || MailError::Server(settings.server.clone());
        let (host, port) = settings.server.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = match settings.tls {
            MailTls::Starttls => Tls::Required(parameters(settings, host)?),
            MailTls::Implicit => Tls::Wrapper(parameters(settings, host)?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .timeout(Some(TIME_MAX))
            .tls(tls);
        if let (Some(user), Some(password)) = (&settings.user, password) {
            builder = builder.credentials(Credentials::new(user.clone(), password.trim_end().to_owned()));
        }
        let mailbox = |text: &String| text.parse::<Mailbox>().map_err(|_| MailError::Address(text.clone()));
        Ok(Self {
            transport: builder.build(),
            from: mailbox(&settings.from)?,
            to: settings.to.iter().map(mailbox).collect::<Result<_, _>>()?,
            naming,
        })
    }

    fn message(&self, events: &[Event]) -> Result<Message, SendError> {
        let mut builder = Message::builder().from(self.from.clone()).subject(subject(events));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        // The same events make the same mail: a server that took it and did not say so has it twice under one name.
        let id = seatbeat_ledger::sealed::digest(ids.join(" ").as_bytes());
        let id = format!("<{}@seatbeat>", id.trim_start_matches("sha256:"));
        builder
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(text(events, &self.naming))
            .map_err(|error| SendError::stop(error.to_string(), "mend `[alerts.mail]` in seatbeat.toml"))
    }
}

impl Teller for Mail {
    fn name(&self) -> &'static str {
        "mail"
    }

    fn at_once(&self) -> usize {
        EVENTS_MAX
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let message = self.message(events)?;
            match self.transport.send(message).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_permanent() => Err(SendError::stop(
                    format!("the mail server refused: {error}"),
                    "mend `[alerts.mail]` in seatbeat.toml, and start again",
                )),
                Err(error) => Err(SendError::again(format!("the mail was not sent: {error}"))),
            }
        }
        .boxed()
    }
}

fn parameters(settings: &settings::Mail, host: &str) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &settings.ca_file {
        let pem =
            std::fs::read(path).map_err(|source| MailError::Authorities { path: path.clone(), source })?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(builder.build_rustls()?)
}

fn subject(events: &[Event]) -> String {
    let count = |what: What| events.iter().filter(|event| event.what == what).count();
    match (count(What::Opened), count(What::Closed)) {
        (0, 0) => "Seatbeat: this is a test".to_owned(),
        (opened, 0) => format!("Seatbeat: {opened} alert(s)"),
        (0, closed) => format!("Seatbeat: {closed} alert(s) over"),
        (opened, closed) => format!("Seatbeat: {opened} alert(s), {closed} over"),
    }
}

fn text(events: &[Event], naming: &Naming) -> String {
    let mut text = String::new();
    for event in events {
        let alert = &event.alert;
        let about = alert.customer.as_ref().map_or_else(String::new, |customer| {
            let name = naming(customer);
            if name.is_empty() { format!("{customer}: ") } else { format!("{name} ({customer}): ") }
        });
        let line = match event.what {
            What::Opened => format!("{about}{}\n  since {}\n  {}\n", alert.what, event.since, alert.remedy),
            What::Closed => format!("over: {about}{}\n  from {} to {}\n", alert.what, event.since, event.at),
            What::Test => format!("{}\n", alert.what),
        };
        text.push_str(&line);
        for machine in &alert.machines {
            text.push_str(&format!("  {machine}\n"));
        }
        text.push('\n');
    }
    // A name is somebody else's text.
    text.chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect()
}

#[cfg(test)]
mod tests;
