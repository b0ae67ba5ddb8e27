//! The operator door as an operator finds it: over gRPC, on a real store, without a network.

use std::future::Future;

use axum::Router;
use ed25519_dalek::SigningKey;
use futures_util::FutureExt as _;
use prost::Message as _;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::meter::{MeterInput, meter};
use seatbeat_ledger::operators::Role;
use seatbeat_proto::signed::{Domain, hash, new_key, sign};
use seatbeat_proto::wire::amend_request::Change;
use seatbeat_proto::wire::console_client::ConsoleClient;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};
use seatbeat_proto::{ids::MachineId, instant, token};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};

use super::fault::{REASON_KEY, Reason};
use super::*;
use crate::books::BooksEnd;
use crate::clock::Clock;
use crate::found::found;

mod amend;
mod archive;
mod audit;
mod documents;
mod door;
mod downloads;
mod erasure;
mod explain;
mod machines;
mod month;
mod openapi;
mod operations;
mod operators;
mod orders;
mod pages;
mod prices;
mod reconcile;
mod registry;
mod sign_in;

const POLICY: &str =
    "zone = \"Europe/Berlin\"\n[default_sku]\ndsa = \"DS\"\n[price.DS]\nreseller = \"4.00\"\n";

type Server = Router;
type Client = ConsoleClient<Bearer>;

/// The server without a network, asked with an operator token.
#[derive(Clone)]
struct Bearer {
    server: Server,
    token: String,
}

impl Service<http::Request<Body>> for Bearer {
    type Response = <Server as Service<http::Request<Body>>>::Response;
    type Error = <Server as Service<http::Request<Body>>>::Error;
    type Future = <Server as Service<http::Request<Body>>>::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.server, context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.headers_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        self.server.call(request)
    }
}

fn server(console: Console) -> Server {
    // Whoever makes many of them in one turn would be told to let others have theirs.
    let router = tokio::task::unconstrained(super::door::router(console));
    router.now_or_never().expect("there is nothing to wait for")
}

/// A collector without its doors.
struct House {
    folder: tempfile::TempDir,
    token: String,
    console: Console,
    end: BooksEnd,
}

impl House {
    fn founded(at: &str) -> Self {
        let config = Config {
            agent_addresses: vec!["collector.example:8443".to_owned()],
            // Machines report once a month here.
            coverage_percent: 0,
            ..Config::default()
        };
        Self::founded_with(at, config)
    }

    fn founded_with(at: &str, config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let founded = found(folder.path(), &config, POLICY, Clock::as_of(at.parse().unwrap())).unwrap();
        let token = founded.operator_token.to_string();
        let (console, end) = open(folder.path(), config, at);
        Self { folder, token, console, end }
    }

    /// The same collector, started again at another time.
    async fn again(self, at: &str) -> Self {
        let config = Config::clone(&self.console.config);
        self.again_with(at, config).await
    }

    /// The same collector, started again at another time, configured otherwise.
    async fn again_with(self, at: &str, config: Config) -> Self {
        let Self { folder, token, console, end } = self;
        drop(console);
        end.close().await.unwrap();
        let (console, end) = open(folder.path(), config, at);
        Self { folder, token, console, end }
    }

    fn server(&self) -> Server {
        server(self.console.clone())
    }

    fn client(&self) -> Client {
        ConsoleClient::new(Bearer { server: self.server(), token: self.token.clone() })
    }

    async fn write(&self, fact: Fact) -> u64 {
        self.console.books.write("opr_test", "", fact).await.unwrap().0
    }

    async fn operator(&self, id: &str, token: &str, role: Role, customers: &[&str]) {
        let added = wire::OperatorAdded {
            operator: id.to_owned(),
            token_hash: hash(token.as_bytes()).to_vec(),
            role: role.to_string(),
            customers: customers.iter().map(|&customer| customer.to_owned()).collect(),
        };
        self.write(Fact::OperatorAdded(added)).await;
    }

    async fn customer(&self, id: &str) {
        let request = wire::AddCustomerRequest { customer: id.to_owned(), name: format!("Name of {id}") };
        self.client().add_customer(request).await.unwrap();
    }

    async fn token(&self, customer: &str) -> wire::CreatedToken {
        let expires_at_ms = self.console.books.clock().now_ms() + 86_400_000;
        let request = wire::CreateTokenRequest {
            customer: customer.to_owned(),
            uses_max: 100,
            expires_at_ms,
            uses_per_hour: 0,
        };
        self.client().create_token(request).await.unwrap().into_inner()
    }

    async fn machine(&self, token: &wire::CreatedToken) -> Machine {
        let key = new_key();
        let claim = wire::EnrolmentClaim {
            public_key: key.verifying_key().to_bytes().to_vec(),
            token: token.token.clone(),
            ..Default::default()
        };
        let claim = Some(sign(&key, Domain::EnrolmentClaim, claim.encode_to_vec()));
        self.write(Fact::EnrolmentRequested(wire::EnrolmentRequested { claim })).await;
        Machine {
            id: MachineId::derived_from(key.verifying_key().as_bytes()),
            key,
            sequence: 0,
            tip: Vec::new(),
        }
    }
}

/// From an instant on nothing is billed for a product.
fn not_billed(product: &str, at: &str) -> Change {
    Change::SkuAssigned(wire::SkuAssigned {
        customer: "cus_acme".to_owned(),
        product: product.to_owned(),
        sku: None,
        at_ms: instant::to_ms(at.parse().unwrap()),
    })
}

/// A change with a reason, to be written.
fn by_hand(change: Change) -> wire::AmendRequest {
    wire::AmendRequest { change: Some(change), reason: "as agreed".to_owned(), preview: false }
}

fn open(folder: &std::path::Path, config: Config, at: &str) -> (Console, BooksEnd) {
    let (books, end) = Books::open(folder, Clock::as_of(at.parse().unwrap())).unwrap();
    let closing = Closing::new(books.clone(), config.clone(), folder.join("statements"));
    let proofs = Proofs::new(books.clone(), &config, folder.join("statements"));
    (Console::new(books, Presence::default(), config, closing, proofs), end)
}

struct Machine {
    id: MachineId,
    key: SigningKey,
    sequence: u64,
    tip: Vec<u8>,
}

impl Machine {
    async fn reports(&mut self, house: &House, product: &str) -> u64 {
        let report = active(product);
        self.says(house, wire::evidence::Body::Report(report)).await
    }

    async fn says(&mut self, house: &House, body: wire::evidence::Body) -> u64 {
        self.sequence += 1;
        let evidence = wire::Evidence {
            machine: self.id.to_string(),
            spool: "spl_1".to_owned(),
            sequence: self.sequence,
            previous: self.tip.clone(),
            observed_at_ms: house.console.books.clock().now_ms(),
            body: Some(body),
            ..Default::default()
        };
        let signed = sign(&self.key, Domain::Evidence, evidence.encode_to_vec());
        self.tip = seatbeat_proto::signed::hash(&signed.payload).to_vec();
        house
            .write(Fact::EvidenceReceived(wire::EvidenceReceived {
                evidence: Some(signed),
                ..Default::default()
            }))
            .await
    }
}

/// A report of one product that runs.
fn active(product: &str) -> wire::Report {
    let found = wire::FoundProduct {
        product: product.to_owned(),
        state: wire::ProductState::Active.into(),
        version: "20.0".to_owned(),
        ..Default::default()
    };
    wire::Report { products: vec![found], agent_version: "0.1.0".to_owned(), ..Default::default() }
}

async fn refused<T: std::fmt::Debug>(
    answer: impl Future<Output = Result<T, Status>>,
    reason: Reason,
    words: &str,
) {
    let status = answer.await.unwrap_err();
    let named =
        status.metadata().get(REASON_KEY).and_then(|reason| reason.to_str().ok()).and_then(Reason::named);
    assert_eq!(named, Some(reason), "{status:?}");
    assert!(status.message().contains(words), "{words:?} in {:?}", status.message());
}
