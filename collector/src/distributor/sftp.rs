//! Files over SFTP, where the distributor picks them up. Invariant: nothing is sent to a server whose key is not the one
//! that is configured, not even who asks; a name that is there has all of its bytes; a file that is there with other
//! bytes is never written over.
//!
//! A file is renamed as SFTP itself does it, which fails where the new name is taken; `posix-rename` would write over it.

mod session;

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::call::SendError;
use super::connector::{Answer, Connector, Tools};
use super::destination::{Destination, DestinationError};
use super::drop_files;
use super::folder::{files_of, handed_in, handed_in_before, taken};
use super::projection::{OutFile, OutPart, Outgoing, Projection, ProjectionError};
use session::{Login, Session};

/// Longest that all of a statement may take: a few files of some kilobytes, over an ocean.
const SEND_MAX: Duration = Duration::from_secs(120);

/// Where it listens by default.
const PORT: u16 = 22;

/// A folder on a server.
pub struct Sftp {
    login: Login,
    path: String,
    tools: Tools,
}

/// What is asked of a server.
trait Remote: Send {
    /// How long a file is; none where there is none.
    fn length<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>, SendError>>;
    /// All of a file.
    fn read<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, SendError>>;
    /// A file with these bytes, durable where the server knows how. What was there is gone.
    fn write<'a>(&'a mut self, path: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), SendError>>;
    /// Fails where the new name is taken.
    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<(), SendError>>;
    /// A file is gone, if it was there.
    fn remove<'a>(&'a mut self, path: &'a str) -> BoxFuture<'a, Result<(), SendError>>;
}

impl Sftp {
    /// As it is configured.
    ///
    /// # Errors
    /// When an option is missing, unknown or no value.
    pub fn new(destination: &Destination, tools: Tools) -> Result<Self, DestinationError> {
        destination.only_options(&["host", "port", "user", "path", "host_key"])?;
        let wrong = |option, why: &str| DestinationError::Value { option, why: why.to_owned() };
        let port = destination.option("port").map_or(Ok(PORT), str::parse);
        let port = port.ok().filter(|port| *port > 0).ok_or_else(|| wrong("port", "is no port"))?;
        let host_key = destination.needed("host_key")?;
        if host_key.strip_prefix("SHA256:").is_none_or(|digest| digest.len() != 43) {
            let why = "has to be a fingerprint as `ssh-keygen -l` shows it: SHA256: and 43 characters";
            return Err(wrong("host_key", why));
        }
        let login = Login {
            host: destination.needed("host")?.to_owned(),
            port,
            user: destination.needed("user")?.to_owned(),
            host_key: host_key.to_owned(),
        };
        let path = destination.needed("path")?.trim_end_matches('/').to_owned();
        Ok(Self { login, path, tools })
    }

    async fn handed_in(&self, files: &[OutFile]) -> Result<(), SendError> {
        let mut session = Session::open(&self.login, self.tools.secrets.as_ref()).await?;
        let done = hand_in(&mut session, &self.path, files).await;
        session.close().await;
        done
    }
}

/// What is there under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Ours,
    Other,
}

/// Writes what is not there yet.
async fn hand_in(remote: &mut dyn Remote, folder: &str, files: &[OutFile]) -> Result<(), SendError> {
    for file in files {
        let at = format!("{folder}/{}", file.name);
        let part = format!("{at}.part");
        match look(remote, &at, file).await? {
            There::Ours => remote.remove(&part).await?,
            There::Other => return Err(taken(&at)),
            There::Nothing => {
                remote.write(&part, &file.bytes).await?;
                let torn = || SendError::again(format!("`{part}` is there otherwise than it was written"));
                if look(remote, &part, file).await? != There::Ours {
                    return Err(torn());
                }
                remote.rename(&part, &at).await?;
            }
        }
    }
    Ok(())
}

async fn look(remote: &mut dyn Remote, path: &str, file: &OutFile) -> Result<There, SendError> {
    Ok(match remote.length(path).await? {
        None => There::Nothing,
        Some(length) if length != file.bytes.len() as u64 => There::Other,
        Some(_) if remote.read(path).await? == *file.bytes => There::Ours,
        Some(_) => There::Other,
    })
}

impl Connector for Sftp {
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        drop_files::project(outgoing, |name| {
            let Login { host, port, user, .. } = &self.login;
            let target = format!("sftp://{user}@{host}:{port}/{}/{name}", self.path.trim_start_matches('/'));
            drop_files::aside_then_renamed(name, target)
        })
    }

    fn send<'a>(&'a self, part: &'a OutPart, _: &'a str) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let files = files_of(part)?;
            let late = |_| SendError::again(format!("not done after {} s", SEND_MAX.as_secs()));
            tokio::time::timeout(SEND_MAX, self.handed_in(files)).await.map_err(late)??;
            Ok(handed_in(part, files))
        }
        .boxed()
    }

    fn follow<'a>(
        &'a self,
        part: &'a OutPart,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Answer, SendError>> {
        ready(handed_in_before(part)).boxed()
    }
}

#[cfg(test)]
mod tests;
