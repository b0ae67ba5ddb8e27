//! A destination's secrets, from its file or command into the vault. Invariant: what was put there by a connector (a
//! renewed refresh token) stays until the file, or what the command prints, is another than when it was taken.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use seatbeat_ledger::sealed::digest;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::destination::Destination;
use super::secrets::{SecretError, Secrets};
use crate::books::Books;
use crate::vault::VaultRow;

/// How long a secrets command may take: it may ask a server, not a person.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether it is done.
const COMMAND_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Values shorter than this are not looked for in texts: they would be found everywhere.
const SCRUBBED_LENGTH_MIN: usize = 6;

/// What stands in a text in place of a secret.
const SCRUBBED: &str = "[secret]";

/// Secrets in the vault.
pub struct Vaulted {
    books: Books,
    destination: String,
    file: Option<PathBuf>,
    command: Vec<String>,
    kept: Mutex<Option<Kept>>,
}

/// As they lie in the vault.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// Of the text that they were taken from.
    taken: String,
    values: BTreeMap<String, String>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.values.values_mut().for_each(Zeroize::zeroize);
    }
}

impl Vaulted {
    /// The secrets of a destination.
    pub fn new(books: Books, name: &str, destination: &Destination) -> Self {
        Self {
            books,
            destination: name.to_owned(),
            file: destination.secrets_file.clone(),
            command: destination.secrets_command.clone(),
            kept: Mutex::new(None),
        }
    }

    fn kept(&self) -> Result<Kept, SecretError> {
        let mut known = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*known {
            return Ok(kept.clone());
        }
        let row = self.books.vault().get(VaultRow::DestinationSecrets(&self.destination));
        let kept = match row.map_err(|error| SecretError::Failed(error.to_string()))? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| SecretError::Failed("their row in the vault is none".to_owned()))?,
            None => Kept::default(),
        };
        *known = Some(kept);
        Ok(known.clone().unwrap_or_default())
    }

    async fn keep(&self, kept: Kept) -> Result<(), SecretError> {
        let bytes = Zeroizing::new(serde_json::to_vec(&kept).expect("names and texts make JSON"));
        let (books, destination) = (self.books.clone(), self.destination.clone());
        let put = move || books.vault().put(VaultRow::DestinationSecrets(&destination), &bytes);
        match tokio::task::spawn_blocking(put).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(SecretError::Failed(error.to_string())),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(())
    }
}

impl Secrets for Vaulted {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Zeroizing<String>, SecretError>> {
        async move {
            if self.kept()?.values.is_empty() {
                self.renew(true).await?;
            }
            let value = self.kept()?.values.remove(name).map(Zeroizing::new);
            value.ok_or_else(|| SecretError::Missing(name.to_owned()))
        }
        .boxed()
    }

    fn put<'a>(&'a self, name: &'a str, value: Zeroizing<String>) -> BoxFuture<'a, Result<(), SecretError>> {
        async move {
            let mut kept = self.kept()?;
            kept.values.insert(name.to_owned(), value.as_str().to_owned());
            self.keep(kept).await
        }
        .boxed()
    }

    fn renew(&self, asks: bool) -> BoxFuture<'_, Result<bool, SecretError>> {
        async move {
            let text = match (&self.file, self.command.split_first()) {
                (Some(path), _) => read(path)?,
                (None, Some((program, arguments))) if asks => {
                    let (program, arguments) = (program.clone(), arguments.to_vec());
                    let asked = tokio::task::spawn_blocking(move || printed(&program, &arguments)).await;
                    asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?
                }
                _ => return Ok(false),
            };
            let taken = digest(text.as_bytes());
            if self.kept()?.taken == taken {
                return Ok(false);
            }
            let values = parse(&text)?;
            self.keep(Kept { taken, values }).await?;
            Ok(true)
        }
        .boxed()
    }

    fn scrub(&self, text: &str) -> String {
        let known = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let values = known.iter().flat_map(|kept| kept.values.values().map(String::as_str));
        values
            .filter(|value| value.len() >= SCRUBBED_LENGTH_MIN)
            .fold(text.to_owned(), |text, value| text.replace(value, SCRUBBED))
    }
}

/// The file's text; one that others may read is refused.
fn read(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let failed = |why: String| SecretError::Failed(format!("`{}` {why}", path.display()));
    let about = std::fs::metadata(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if about.permissions().mode() & 0o077 != 0 {
            return Err(failed("is open to others: `chmod 600` it".to_owned()));
        }
    }
    if !about.is_file() {
        return Err(failed("is not a file".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    Ok(Zeroizing::new(text))
}

/// What the command prints. Blocks while it runs.
fn printed(program: &str, arguments: &[String]) -> Result<Zeroizing<String>, SecretError> {
    let failed = |why: String| SecretError::Failed(format!("the secrets command `{program}` {why}"));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| failed(format!("does not start: {error}")))?;
    let mut stdout = child.stdout.take().expect("it was asked for");
    let reader = std::thread::spawn(move || {
        let mut text = Zeroizing::new(String::new());
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut waited = Duration::ZERO;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if waited < COMMAND_TIME_MAX => {
                std::thread::sleep(COMMAND_LOOK_EVERY);
                waited += COMMAND_LOOK_EVERY;
            }
            Ok(None) => {
                // Its end is all the same now: nobody waits for what it prints.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("was not done after {} s", COMMAND_TIME_MAX.as_secs())));
            }
            Err(error) => return Err(failed(format!("cannot be waited for: {error}"))),
        }
    };
    if !status.success() {
        return Err(failed(format!("failed: {status}")));
    }
    let text = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    text.map_err(|_| failed("does not print UTF-8".to_owned()))
}

/// Lines of `name = "value"`. What is wrong is told by its line alone: the text is a secret.
fn parse(text: &str) -> Result<BTreeMap<String, String>, SecretError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.lines().count().max(1);
        SecretError::Failed(format!("line {line} is not `name = \"value\"`"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::found::found;

    fn books() -> (TempDir, Books) {
        let folder = tempfile::tempdir().unwrap();
        found(folder.path(), &Config::default(), "zone = \"UTC\"\n", Clock::real()).unwrap();
        let (books, end) = Books::open(folder.path(), Clock::real()).unwrap();
        // The vault stays open as long as the books are held.
        std::mem::forget(end);
        (folder, books)
    }

    fn destination(more: &str) -> Destination {
        let text = "connector = \"folder\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n";
        toml::from_str(&format!("{text}{more}")).unwrap()
    }

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn what_was_renewed_at_the_far_side_stays_until_the_file_is_another() {
        let (folder, books) = books();
        let path = folder.path().join("ion.secrets");
        write(&path, "refresh_token = \"first-token\"\n", 0o600);
        let destination = destination(&format!("secrets_file = \"{}\"", path.display()));
        let vaulted = || Vaulted::new(books.clone(), "ion", &destination);
        let token = async |secrets: &Vaulted| secrets.get("refresh_token").await.unwrap().to_string();
        let secrets = vaulted();
        assert_eq!(token(&secrets).await, "first-token");
        secrets.put("refresh_token", Zeroizing::new("second-token".to_owned())).await.unwrap();
        let again = vaulted();
        again.renew(false).await.unwrap();
        assert_eq!(token(&again).await, "second-token");
        write(&path, "refresh_token = \"third-token\"\n", 0o600);
        again.renew(false).await.unwrap();
        assert_eq!(token(&again).await, "third-token");
        assert_eq!(again.scrub("answer to third-token: no"), "answer to [secret]: no");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(token(&vaulted()).await, "third-token", "the vault has it");
    }

    #[tokio::test]
    async fn a_command_is_asked_and_what_is_wrong_is_said_without_the_secret() {
        let (folder, books) = books();
        let of = |more: &str| Vaulted::new(books.clone(), "far", &destination(more));
        let printing = of(r#"secrets_command = ["printf", "api_key = \"top-secret\""]"#);
        assert_eq!(printing.get("api_key").await.unwrap().as_str(), "top-secret");
        let missing = printing.get("password").await.unwrap_err();
        assert_eq!(missing, SecretError::Missing("password".to_owned()));
        let path = folder.path().join("secrets");
        let file = format!("secrets_file = \"{}\"", path.display());
        for (text, mode, words) in [
            ("api_key = \"k\"\npassword = hush-hush", 0o600, "line 2"),
            ("api_key = 7", 0o600, "line 1"),
            ("api_key = \"k\"", 0o644, "chmod 600"),
        ] {
            write(&path, text, mode);
            let error = of(&file).renew(true).await.unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hush"), "{error}");
        }
        for (command, words) in [(r#"["false"]"#, "failed"), (r#"["/no/such"]"#, "does not start")] {
            let error =
                of(&format!("secrets_command = {command}")).renew(true).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
