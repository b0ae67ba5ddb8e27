//! Mail at a small server of its own on this machine, with STARTTLS as mail servers speak it (RFC 5321, RFC 3207).

use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use seatbeat_ledger::alerts::{Alert, Rule};
use seatbeat_proto::tls::provider;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a mail server saw of one connection.
#[derive(Debug, Default)]
struct Seen {
    was_private: bool,
    user: Option<String>,
    to: Vec<String>,
    data: String,
}

struct Server {
    address: String,
    ca: tempfile::NamedTempFile,
    seen: tokio::task::JoinHandle<Seen>,
}

/// Takes one connection; `offers_tls`: whether it knows STARTTLS.
async fn server(offers_tls: bool) -> Server {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let seen = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufStream::new(stream);
        let mut seen = Seen::default();
        say(&mut stream, "220 it").await;
        if converse(&mut stream, offers_tls, &mut seen).await {
            let stream = acceptor.accept(stream.into_inner()).await.unwrap();
            seen.was_private = true;
            converse(&mut BufStream::new(stream), false, &mut seen).await;
        }
        seen
    });
    Server { address, ca, seen }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), line: &str) {
    // Who has heard enough is gone.
    let _ = stream.write_all(format!("{line}\r\n").as_bytes()).await;
    let _ = stream.flush().await;
}

/// Speaks until the end, or until TLS is to begin: true then.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufStream<S>,
    offers_tls: bool,
    seen: &mut Seen,
) -> bool {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return false;
        }
        let line = line.trim_end();
        let verb = line.split(' ').next().unwrap_or_default().to_uppercase();
        match verb.as_str() {
            "EHLO" if offers_tls => say(stream, "250-it\r\n250 STARTTLS").await,
            "EHLO" => say(stream, "250-it\r\n250 AUTH PLAIN").await,
            "STARTTLS" if offers_tls => {
                say(stream, "220 go").await;
                return true;
            }
            "AUTH" => {
                seen.user = Some(line.to_owned());
                say(stream, "235 welcome").await;
            }
            "RCPT" => {
                seen.to.push(line.to_owned());
                say(stream, "250 ok").await;
            }
            "DATA" => {
                say(stream, "354 go on").await;
                loop {
                    let mut data = String::new();
                    stream.read_line(&mut data).await.unwrap();
                    if data == ".\r\n" {
                        break;
                    }
                    seen.data.push_str(&data);
                }
                say(stream, "250 taken").await;
            }
            "QUIT" => {
                say(stream, "221 bye").await;
                return false;
            }
            _ => say(stream, "250 ok").await,
        }
    }
}

fn settings(server: &Server) -> settings::Mail {
    settings::Mail {
        server: server.address.clone(),
        tls: MailTls::Starttls,
        from: "Seatbeat <seatbeat@reseller.example>".into(),
        to: vec!["owner@reseller.example".into(), "desk@reseller.example".into()],
        user: Some("seatbeat".into()),
        password_file: None,
        ca_file: Some(server.ca.path().to_owned()),
    }
}

fn of_this_machine() -> settings::Mail {
    settings::Mail {
        server: "localhost:25".into(),
        tls: MailTls::None,
        from: "a@b.example".into(),
        to: vec!["c@d.example".into()],
        user: None,
        password_file: None,
        ca_file: None,
    }
}

fn mail(settings: &settings::Mail) -> Result<Mail, MailError> {
    let naming: Naming = Box::new(|_| "Acme\r\nBcc: everybody@example".to_owned());
    Mail::new(settings, Some(Zeroizing::new("open sesame\n".to_owned())), naming)
}

fn event(what: What, name: &str) -> Event {
    let at: Timestamp = "2026-10-15T11:59:00Z".parse().unwrap();
    let alert = Alert {
        alert: name.to_owned(),
        rule: Rule::MachineSilent,
        customer: Some("cus_a".parse().unwrap()),
        machines: vec!["mch_a".parse().unwrap()],
        what: "1 machine(s) have not been heard from".into(),
        remedy: "see whether they still run".into(),
    };
    Event { id: name.to_owned(), what, at, since: at, alert }
}

#[tokio::test]
async fn all_that_wait_go_in_one_mail_over_tls() {
    let server = server(true).await;
    let events = [event(What::Opened, "a"), event(What::Closed, "b")];
    mail(&settings(&server)).unwrap().tell(&events).await.unwrap();
    let seen = server.seen.await.unwrap();
    assert!(seen.was_private && seen.user.is_some(), "{seen:?}");
    assert_eq!(seen.to.len(), 2);
    assert!(seen.data.contains("Subject: Seatbeat: 1 alert(s), 1 over"), "{}", seen.data);
    assert!(seen.data.contains("see whether they still run") && seen.data.contains("mch_a"), "{}", seen.data);
    let (head, body) = seen.data.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("Bcc") && body.contains("Acme"), "a name stays text: {}", seen.data);
}

#[tokio::test]
async fn nothing_leaves_in_the_clear() {
    let server = server(false).await;
    let refused = mail(&settings(&server)).unwrap().tell(&[event(What::Opened, "a")]).await;
    assert!(refused.is_err());
    let seen = server.seen.await.unwrap();
    assert!(seen.data.is_empty() && seen.user.is_none() && seen.to.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_server_that_is_not_trusted_hears_nothing() {
    let server = server(true).await;
    let untrusted = settings::Mail { ca_file: None, ..settings(&server) };
    assert!(mail(&untrusted).unwrap().tell(&[event(What::Opened, "a")]).await.is_err());
    drop(server.seen);
}

#[test]
fn the_same_events_are_the_same_mail() {
    let mail = mail(&of_this_machine()).unwrap();
    let id = |events: &[Event]| {
        let message = mail.message(events).unwrap();
        message.headers().get_raw("Message-ID").unwrap().to_owned()
    };
    let (a, b) = (event(What::Opened, "a"), event(What::Opened, "b"));
    assert_eq!(id(&[a.clone(), b.clone()]), id(&[a.clone(), b.clone()]));
    assert_ne!(id(std::slice::from_ref(&a)), id(&[a.clone(), b]));
}

#[test]
fn what_cannot_be_used_is_named() {
    let right = of_this_machine();
    assert!(mail(&right).is_ok());
    let server = settings::Mail { server: "localhost".into(), ..right.clone() };
    assert!(matches!(mail(&server), Err(MailError::Server(_))));
    let address = settings::Mail { to: vec!["nobody".into()], ..right.clone() };
    assert!(matches!(mail(&address), Err(MailError::Address(_))));
    let ca = settings::Mail { ca_file: Some("/nowhere".into()), tls: MailTls::Starttls, ..right };
    assert!(matches!(mail(&ca), Err(MailError::Authorities { .. })));
}
