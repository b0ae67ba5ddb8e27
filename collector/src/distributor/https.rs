//! Files by HTTPS PUT, where the distributor picks them up. Invariant: a file that is there with other bytes is never
//! written over; where the server lets a file be read, it was read back before it counts as handed in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use zeroize::Zeroizing;

use super::call::SendError;
use super::connector::{Answer, Connector, Tools};
use super::destination::{Destination, DestinationError};
use super::drop_files;
use super::folder::{files_of, handed_in, handed_in_before, taken};
use super::projection::{OutFile, OutPart, Outgoing, Projection, ProjectionError, ShownRequest};
use super::secrets::SecretError;

/// A folder on a server.
pub struct Https {
    base: String,
    tools: Tools,
}

/// What a server says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum There {
    /// It is there with these bytes.
    Bytes(Bytes),
    /// It is not.
    Not,
    /// Whoever hands in may not look.
    Hidden,
}

impl Https {
    /// As it is configured.
    ///
    /// # Errors
    /// When the address is missing or none, or there are options.
    pub fn new(destination: &Destination, tools: Tools) -> Result<Self, DestinationError> {
        destination.only_options(&[])?;
        Ok(Self { base: destination.base_url(None)?, tools })
    }

    fn target(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// `bearer`, or `user` and `password`.
    async fn authorization(&self) -> Result<HeaderValue, SendError> {
        let text = match self.tools.secrets.get("bearer").await {
            Ok(bearer) => Zeroizing::new(format!("Bearer {}", bearer.as_str())),
            Err(SecretError::Missing(_)) => {
                let user = self.tools.secrets.get("user").await?;
                let password = self.tools.secrets.get("password").await?;
                let pair = Zeroizing::new(format!("{}:{}", user.as_str(), password.as_str()));
                Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
            }
            Err(error) => return Err(error.into()),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            SendError::stop("the secret `bearer` cannot be sent", "it has to be plain text in one line")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn call(&self, method: Method, file: &OutFile) -> Result<Response<Bytes>, SendError> {
        let mut request = Request::builder()
            .method(&method)
            .uri(self.target(&file.name))
            .header(AUTHORIZATION, self.authorization().await?);
        let mut body = Bytes::new();
        if method == Method::PUT {
            body = Bytes::copy_from_slice(&file.bytes);
            request = request
                .header(CONTENT_TYPE, file.media_type)
                .header(CONTENT_LENGTH, body.len())
                .header(IF_NONE_MATCH, "*");
        }
        let request = request.body(body).map_err(|error| {
            SendError::stop(error.to_string(), "see that the destination's `url` is an address")
        })?;
        Ok(self.tools.transport.call(request).await?)
    }

    async fn look(&self, file: &OutFile) -> Result<There, SendError> {
        let answer = self.call(Method::GET, file).await?;
        match answer.status() {
            StatusCode::OK => Ok(There::Bytes(answer.into_body())),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(There::Not),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED | StatusCode::FORBIDDEN => {
                Ok(There::Hidden)
            }
            _ => Err(SendError::of(&format!("reading `{}`", self.target(&file.name)), &answer)),
        }
    }

    /// Puts a file where it is not yet. Whether it was seen there.
    async fn hand_in(&self, file: &OutFile) -> Result<bool, SendError> {
        let is_ours = |bytes: &Bytes| {
            if bytes[..] == file.bytes[..] { Ok(true) } else { Err(taken(&self.target(&file.name))) }
        };
        if let There::Bytes(bytes) = self.look(file).await? {
            return is_ours(&bytes);
        }
        let answer = self.call(Method::PUT, file).await?;
        // It was put there since, or a request whose answer was lost did that.
        let is_there = answer.status() == StatusCode::PRECONDITION_FAILED;
        if !answer.status().is_success() && !is_there {
            return Err(SendError::of(&format!("writing `{}`", self.target(&file.name)), &answer));
        }
        match self.look(file).await? {
            There::Bytes(bytes) => is_ours(&bytes),
            There::Hidden => Ok(false),
            There::Not => {
                Err(SendError::again(format!("`{}` was taken and is not there", self.target(&file.name))))
            }
        }
    }
}

impl Connector for Https {
    fn project(&self, outgoing: &Outgoing<'_>) -> Result<Projection, ProjectionError> {
        drop_files::project(outgoing, |name| {
            vec![ShownRequest { method: "PUT".to_owned(), target: self.target(name), body: name.to_owned() }]
        })
    }

    fn send<'a>(&'a self, part: &'a OutPart, _: &'a str) -> BoxFuture<'a, Result<Answer, SendError>> {
        async move {
            let files = files_of(part)?;
            let mut is_seen = true;
            for file in files {
                is_seen &= self.hand_in(file).await?;
            }
            let answer = handed_in(part, files);
            let unseen = format!("{}; the server lets nothing be read back", answer.said);
            Ok(if is_seen { answer } else { answer.saying(unseen) })
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
mod tests {
    use std::sync::Arc;

    use seatbeat_ledger::uploads::Status;
    use seatbeat_standin::Standin;
    use seatbeat_standin::drop::Drop;

    use super::super::samples::Sample;
    use super::super::standin::{Loop, Memory, Mortal, tools};
    use super::*;

    const NOW: &str = "2026-11-05T09:00:00Z";

    fn https(server: Drop, secrets: &[(&str, &str)]) -> (Https, Loop, Mortal) {
        let secrets: Arc<Memory> = Memory::of(secrets);
        let (tools, far, mortal) = tools(Standin::new(server), &secrets, NOW);
        let text = "connector = \"https\"\ndistributor = \"ingram\"\nfrom = \"2026-10\"\n\
                    url = \"https://far.example/in/\"";
        (Https::new(&toml::from_str(text).unwrap(), tools).unwrap(), far, mortal)
    }

    fn sent(connector: &Https) -> Option<Result<Answer, SendError>> {
        let projection = Sample::default().project(connector);
        connector.send(&projection.parts[0], "key").now_or_never()
    }

    #[test]
    fn each_file_is_put_once_and_read_back() {
        let (connector, far, _) = https(Drop::new("Bearer t0ken"), &[("bearer", "t0ken")]);
        let answer = sent(&connector).unwrap().unwrap();
        assert_eq!((answer.status, answer.far_id.as_str()), (Status::Settled, "2026-10-r1.statement.json"));
        let effects = far.with(|standin| standin.effects());
        assert_eq!(effects.len(), 5, "{effects:?}");
        assert_eq!(effects[4], "file /in/2026-10-r1.sha256 made");
        assert_eq!(sent(&connector).unwrap().unwrap(), answer);
        assert_eq!(far.with(|standin| standin.effects()), effects);
    }

    #[test]
    fn a_user_and_a_password_do_as_well_and_neither_is_shown() {
        let (connector, _, _) = https(Drop::new("Basic dTpw"), &[("user", "u"), ("password", "p")]);
        assert!(sent(&connector).unwrap().is_ok());
        let authorization = connector.authorization().now_or_never().unwrap().unwrap();
        assert!(authorization.is_sensitive());
        let (connector, _, _) = https(Drop::new("Basic dTpw"), &[]);
        let error = sent(&connector).unwrap().unwrap_err();
        assert!(
            matches!(&error, SendError::Stop { why, .. } if why.contains("`user` is missing")),
            "{error:?}"
        );
    }

    #[test]
    fn what_is_there_with_other_bytes_is_named_and_stays() {
        for server in [Drop::new("Bearer t"), Drop::new("Bearer t").without_conditions()] {
            let server = server.with_file("/in/2026-10-r1.xlsx", b"theirs");
            let (connector, far, _) = https(server, &[("bearer", "t")]);
            let error = sent(&connector).unwrap().unwrap_err();
            assert!(
                matches!(&error, SendError::Stop { why, .. } if why.contains("2026-10-r1.xlsx")),
                "{error:?}"
            );
            assert_eq!(far.with(|standin| standin.effects()), ["file /in/2026-10-r1.csv made"]);
        }
    }

    #[test]
    fn a_server_that_lets_nothing_be_read_is_said_to_be_one() {
        let (connector, far, mortal) = https(Drop::new("Bearer t").write_only(), &[("bearer", "t")]);
        mortal.dies_after(Some(4));
        assert!(sent(&connector).is_none());
        mortal.dies_after(None);
        let answer = sent(&connector).unwrap().unwrap();
        assert!(answer.said.contains("lets nothing be read back"), "{answer:?}");
        assert_eq!(far.with(|standin| standin.effects().len()), 5);
    }

    #[test]
    fn whatever_goes_wrong_wherever_it_dies_each_file_is_made_once() {
        let (any, ..) = https(Drop::new(""), &[]);
        let part = Sample::default().project(&any).parts.remove(0);
        for seed in 0..300 {
            let mut chance = super::super::chance::Chance::of(seed);
            let server = Drop::new("Bearer t");
            let server = if chance.one_in(4) { server.write_only() } else { server };
            let (connector, far, mortal) = https(server, &[("bearer", "t")]);
            chance.until_done(&far, &mortal, &mut || connector.send(&part, "key").now_or_never());
            let effects = far.with(|standin| standin.effects());
            assert_eq!(effects.len(), 5, "seed {seed}: {effects:?}");
            assert!(effects.iter().all(|line| line.ends_with(" made")), "seed {seed}: {effects:?}");
        }
    }
}
