//! A session with an SFTP server. Invariant: it is open only after the server has shown the key that is configured; what
//! it says is told with the path that it is about.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use russh::Disconnect;
use russh::client::{Config, Handle, Handler, connect};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{OpenFlags, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::super::call::SendError;
use super::super::secrets::{SecretError, Secrets};
use super::Remote;

/// Longest that a server may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Whom to connect to as whom.
#[derive(Debug, Clone)]
pub struct Login {
    /// Name or address.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// As whom.
    pub user: String,
    /// The server's key, `SHA256:…`.
    pub host_key: String,
}

/// An open session.
pub struct Session {
    handle: Handle<KeyCheck>,
    files: SftpSession,
}

/// Lets one key pass.
struct KeyCheck {
    expected: String,
    /// The key that was shown, when it was another one.
    other: Arc<Mutex<Option<String>>>,
}

impl Handler for KeyCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let shown = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                format!("{}", key.fingerprint(HashAlg::Sha256))
            }
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        let is_expected = shown == self.expected;
        if !is_expected {
            *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        }
        Ok(is_expected)
    }
}

impl Session {
    /// Connects, looks at the server's key, and logs in with `private_key` or, where there is none, `password`.
    pub async fn open(login: &Login, secrets: &dyn Secrets) -> Result<Self, SendError> {
        let at = format!("{}:{}", login.host, login.port);
        let other = Arc::new(Mutex::new(None));
        let check = KeyCheck { expected: login.host_key.clone(), other: Arc::clone(&other) };
        let config = Config { inactivity_timeout: Some(SILENCE_MAX), nodelay: true, ..Config::default() };
        let connected = connect(Arc::new(config), (login.host.as_str(), login.port), check).await;
        if let Some(shown) = other.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(SendError::stop(
                format!("the server at {at} shows {shown}, not {}", login.host_key),
                "ask whoever runs it, by another way than this one, whether its key has changed; if so set `host_key`",
            ));
        }
        let mut handle =
            connected.map_err(|error| SendError::again(format!("no session with {at}: {error}")))?;
        authenticate(&mut handle, login, secrets).await?;
        let failed = |error: String| SendError::again(format!("no SFTP at {at}: {error}"));
        let channel = handle.channel_open_session().await.map_err(|error| failed(error.to_string()))?;
        channel.request_subsystem(true, "sftp").await.map_err(|error| failed(error.to_string()))?;
        let files =
            SftpSession::new(channel.into_stream()).await.map_err(|error| failed(error.to_string()))?;
        Ok(Self { handle, files })
    }

    /// Says goodbye; what was handed in stands without it.
    pub async fn close(self) {
        let _ = self.files.close().await;
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
    }
}

async fn authenticate(
    handle: &mut Handle<KeyCheck>,
    login: &Login,
    secrets: &dyn Secrets,
) -> Result<(), SendError> {
    let answer = match secrets.get("private_key").await {
        Ok(text) => {
            let key = decode_secret_key(&text, None).map_err(|_| {
                SendError::stop(
                    "the secret `private_key` is no private key that can be used",
                    "give an Ed25519 or ECDSA key in OpenSSH's form, without a passphrase",
                )
            })?;
            handle.authenticate_publickey(&login.user, PrivateKeyWithHashAlg::new(Arc::new(key), None)).await
        }
        Err(SecretError::Missing(_)) => {
            let password = secrets.get("password").await?;
            handle.authenticate_password(&login.user, password.as_str()).await
        }
        Err(error) => return Err(error.into()),
    };
    match answer {
        Ok(answer) if answer.success() => Ok(()),
        Ok(_) => Err(SendError::stop(
            format!("{} does not let `{}` in", login.host, login.user),
            "renew the destination's secrets file, or what its secrets command gives",
        )),
        Err(error) => Err(SendError::again(format!("logging in at {} broke off: {error}", login.host))),
    }
}

impl Remote for Session {
    fn length<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, SendError>> {
        async move {
            match self.files.metadata(path).await {
                Ok(metadata) => Ok(Some(metadata.size.unwrap_or(0))),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(failed("look at", path, &error)),
            }
        }
        .boxed()
    }

    fn read<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, SendError>> {
        async move { self.files.read(path).await.map_err(|error| failed("read", path, &error)) }.boxed()
    }

    fn write<'a>(&'a mut self, path: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            self.remove(path).await?;
            let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
            let wrong = |error: SftpError| failed("write", path, &error);
            let mut file = self.files.open_with_flags(path, flags).await.map_err(wrong)?;
            file.write_all(bytes).await.map_err(|error| wrong(error.into()))?;
            file.flush().await.map_err(|error| wrong(error.into()))?;
            file.sync_all().await.map_err(wrong)?;
            file.close().await.map_err(|error| wrong(error.into()))
        }
        .boxed()
    }

    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        async move { self.files.rename(from, to).await.map_err(|error| failed("rename to", to, &error)) }
            .boxed()
    }

    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            match self.files.remove_file(path).await {
                Err(error) if !is_missing(&error) => Err(failed("remove", path, &error)),
                _ => Ok(()),
            }
        }
        .boxed()
    }
}

fn is_missing(error: &SftpError) -> bool {
    matches!(error, SftpError::Status(status) if status.status_code == StatusCode::NoSuchFile)
}

fn failed(act: &str, path: &str, error: &SftpError) -> SendError {
    let why = format!("failed to {act} `{path}`: {error}");
    match error {
        SftpError::Status(status) if status.status_code == StatusCode::PermissionDenied => {
            SendError::stop(why, "have whoever runs the server let this user write there")
        }
        _ if is_missing(error) => {
            SendError::stop(why, "see that the destination's `path` is a folder there; it is not made here")
        }
        _ => SendError::again(why),
    }
}
