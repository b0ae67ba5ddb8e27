//! The job against far sides that fail in every way, with crashes of this side between any two steps. Invariant: the
//! far side is a stand-in in this process; time is a parameter.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::{self, StreamExt as _};
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::body::StatementBody;
use seatbeat_ledger::sealed::{body_bytes, seal};
use seatbeat_ledger::uploads::{PartId, Status, Upload, UploadId};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{StatementSealed, UploadRetried};
use seatbeat_standin::Standin;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::desk::Desk;
use super::sealed::due;
use crate::books::Books;
use crate::clock::Clock;
use crate::config::Config;
use crate::distributor::call::{CallError, Transport};
use crate::distributor::connector::Tools;
use crate::distributor::destination::Destination;
use crate::distributor::samples::Sample;
use crate::distributor::secrets::Secrets;
use crate::distributor::standin::{Loop, Memory};
use crate::found::found;
use crate::jobs::close::Closing;
use crate::journal::Position;

mod plain;
mod sequences;

/// When the month was sealed; everything happens later.
const SEALED_AT: &str = "2026-11-05T08:00:00Z";

/// Books with sealed statements, one a distributor.
struct House {
    _folder: TempDir,
    books: Books,
    closing: Closing,
}

impl House {
    fn founded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::default();
        found(folder.path(), &config, "zone = \"UTC\"\n", Clock::real()).unwrap();
        let (books, end) = Books::open(folder.path(), Clock::real()).unwrap();
        // The journal goes on as long as the books are held.
        std::mem::forget(end);
        let closing = Closing::new(books.clone(), config, folder.path().join("statements"));
        Self { _folder: folder, books, closing }
    }

    /// Seals the sample statement for a distributor.
    async fn seals(&self, distributor: &str) {
        let mut body = Sample::default().body;
        distributor.clone_into(&mut body.distributor);
        self.seals_body(&body).await;
    }

    async fn seals_body(&self, body: &StatementBody) {
        let key: &SigningKey = self.books.keys().statement();
        let (period, revision) = (body.statement.period.to_string(), u32::try_from(body.revision).unwrap());
        let statement = Some(seal(body_bytes(body).unwrap(), key));
        let fact = StatementSealed { distributor: body.distributor.clone(), period, revision, statement };
        self.books.write("opr_test", "", Fact::StatementSealed(fact)).await.unwrap();
    }

    fn only(&self, name: &str, destination: &Destination) -> UploadId {
        self.books.read(|fold| due(fold, name, destination)).into_iter().next().unwrap()
    }

    fn upload(&self, id: &UploadId) -> Upload {
        self.books.read(|fold| fold.uploads().get(id).cloned()).expect("it was built")
    }

    fn status(&self, id: &UploadId) -> Option<Status> {
        self.books.read(|fold| fold.uploads().get(id).map(Upload::status))
    }

    /// An operator sends what was rejected once more.
    async fn retries(&self, id: &UploadId) {
        let fact = UploadRetried {
            destination: id.destination.clone(),
            distributor: id.distributor.clone(),
            period: id.period.to_string(),
            revision: id.revision,
            submission: self.upload(id).submission + 1,
        };
        self.books.write("opr_test", "once more", Fact::UploadRetried(fact)).await.unwrap();
    }

    /// All that is on record, as one text.
    fn journal(&self) -> String {
        let records = self.books.records(Position(0), usize::MAX).unwrap();
        records.iter().map(|(_, record)| String::from_utf8_lossy(record).into_owned()).collect()
    }
}

/// To a far side, until this process dies.
#[derive(Clone)]
struct Mortal {
    far: Loop,
    /// Requests until then.
    left: Arc<AtomicI64>,
    /// Whether the far side has the request in which it dies.
    arrives: bool,
    died: Arc<Notify>,
}

impl Mortal {
    fn new(far: Loop) -> Self {
        Self { far, left: Arc::new(AtomicI64::new(i64::MAX)), arrives: true, died: Arc::default() }
    }
}

impl Transport for Mortal {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, CallError>> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            if self.arrives {
                drop(self.far.call(request));
            }
            self.died.notify_one();
            return pending().boxed();
        }
        self.far.call(request)
    }
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}
