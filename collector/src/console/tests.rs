//! The operator door as an operator finds it: over gRPC, on a real store, without a network.

use std::future::Future;

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::meter::{MeterInput, meter};
use seatbeat_proto::signed::{Domain, new_key, sign};
use seatbeat_proto::wire::console_client::ConsoleClient;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};
use seatbeat_proto::{ids::MachineId, instant, token};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};

use super::auth::Door;
use super::fault::{REASON_KEY, Reason};
use super::*;
use crate::books::BooksEnd;
use crate::clock::Clock;
use crate::found::found;

const POLICY: &str =
    "zone = \"Europe/Berlin\"\n[default_sku]\ndsa = \"DS\"\n[price.DS]\nreseller = \"4.00\"\n";

type Server = InterceptedService<ConsoleServer<Console>, Door>;
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

/// A collector without its doors.
struct House {
    folder: tempfile::TempDir,
    token: String,
    console: Console,
    end: BooksEnd,
}

impl House {
    fn founded(at: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config =
            Config { agent_addresses: vec!["collector.example:8443".to_owned()], ..Config::default() };
        let founded = found(folder.path(), &config, POLICY, Clock::as_of(at.parse().unwrap())).unwrap();
        let token = founded.operator_token.to_string();
        let (console, end) = open(folder.path(), config, at);
        Self { folder, token, console, end }
    }

    /// The same collector, started again at another time.
    async fn again(self, at: &str) -> Self {
        let Self { folder, token, console, end } = self;
        let config = Config::clone(&console.config);
        drop(console);
        end.close().await.unwrap();
        let (console, end) = open(folder.path(), config, at);
        Self { folder, token, console, end }
    }

    fn server(&self) -> Server {
        InterceptedService::new(
            ConsoleServer::new(self.console.clone()),
            Door::new(self.console.books.clone()),
        )
    }

    fn client(&self) -> Client {
        ConsoleClient::new(Bearer { server: self.server(), token: self.token.clone() })
    }

    async fn write(&self, fact: Fact) -> u64 {
        self.console.books.write("opr_test", "", fact).await.unwrap().0
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

fn open(folder: &std::path::Path, config: Config, at: &str) -> (Console, BooksEnd) {
    let (books, end) = Books::open(folder, Clock::as_of(at.parse().unwrap())).unwrap();
    let closing = Closing::new(books.clone(), config.clone(), folder.join("statements"));
    (Console::new(books, Presence::default(), config, closing), end)
}

struct Machine {
    id: MachineId,
    key: SigningKey,
    sequence: u64,
    tip: Vec<u8>,
}

impl Machine {
    async fn reports(&mut self, house: &House, product: &str) -> u64 {
        self.sequence += 1;
        let found = wire::FoundProduct {
            product: product.to_owned(),
            state: wire::ProductState::Active.into(),
            version: "20.0".to_owned(),
            ..Default::default()
        };
        let evidence = wire::Evidence {
            machine: self.id.to_string(),
            spool: "spl_1".to_owned(),
            sequence: self.sequence,
            previous: self.tip.clone(),
            observed_at_ms: house.console.books.clock().now_ms(),
            body: Some(wire::evidence::Body::Report(wire::Report {
                products: vec![found],
                agent_version: "0.1.0".to_owned(),
                ..Default::default()
            })),
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

/// Every method there is, from the definition itself: a new one is tested without being named here.
fn methods() -> Vec<&'static str> {
    let definition = include_str!("../../../proto/seatbeat/v1/console.proto");
    let methods: Vec<_> =
        definition.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
    assert!(methods.len() >= 17, "{methods:?}");
    methods
}

async fn grpc_status(server: &Server, method: &str, authorization: Option<&str>) -> String {
    let mut request = http::Request::post(format!("/seatbeat.v1.Console/{method}"))
        .header("content-type", "application/grpc");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = server.clone().call(request).await.unwrap();
    response.headers().get("grpc-status").map_or_else(String::new, |code| code.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_whoever_has_no_operator_token() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let server = house.server();
    let unauthenticated = (Code::Unauthenticated as i32).to_string();
    let basic = format!("Basic {}", house.token);
    let cut = format!("Bearer {}", &house.token[..house.token.len() - 1]);
    for method in methods() {
        for wrong in
            [None, Some("Bearer sbo1.wrong"), Some("Bearer "), Some(basic.as_str()), Some(cut.as_str())]
        {
            assert_eq!(grpc_status(&server, method, wrong).await, unauthenticated, "{method} with {wrong:?}");
        }
        let right = format!("Bearer {}", house.token);
        assert_ne!(grpc_status(&server, method, Some(&right)).await, unauthenticated, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_operator_is_shut_out_at_once() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    client.status(wire::StatusRequest::default()).await.unwrap();
    let records = house.console.books.records(crate::journal::Position(0), 10).unwrap();
    let operator =
        records.iter().find_map(|(_, record)| match JournalRecord::decode(record.as_slice()).unwrap().fact {
            Some(Fact::OperatorAdded(added)) => Some(added.operator),
            _ => None,
        });
    house.write(Fact::OperatorRevoked(wire::OperatorRevoked { operator: operator.unwrap() })).await;
    refused(client.status(wire::StatusRequest::default()), Reason::NotLetIn, "no operator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_added_once_and_its_name_is_in_no_record() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    let request = wire::AddCustomerRequest { customer: String::new(), name: " Acme GmbH ".to_owned() };
    let made = client.add_customer(request).await.unwrap().into_inner();
    assert!(made.customer.starts_with("cus_"));
    let again = wire::AddCustomerRequest { customer: made.customer.clone(), name: "Other".to_owned() };
    refused(client.add_customer(again), Reason::Exists, "is there already").await;
    let nameless = wire::AddCustomerRequest::default();
    refused(client.add_customer(nameless), Reason::Invalid, "the customer's name is empty").await;
    let odd = wire::AddCustomerRequest { customer: "acme".to_owned(), name: "Acme".to_owned() };
    refused(client.add_customer(odd), Reason::Invalid, "`acme` is not a customer id").await;

    let list = client.list_customers(wire::ListRequest { after_position: made.position }).await.unwrap();
    let expected = wire::Customer { name: "Acme GmbH".to_owned(), position: 0, ..made };
    assert_eq!(list.into_inner().customers, [expected]);
    let records = house.console.books.records(crate::journal::Position(0), 100).unwrap();
    assert!(!records.iter().any(|(_, record)| record.windows(4).any(|bytes| bytes == b"Acme")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_holds_all_an_installer_needs_and_its_secret_is_kept_nowhere() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let made = house.token("cus_acme").await;
    let text = token::parse(&made.text).unwrap();
    let keys = house.console.books.keys();
    assert_eq!(text.token, made.token);
    assert_eq!(text.addresses, ["collector.example:8443"]);
    assert_eq!(text.pin, seatbeat_proto::tls::pin(keys.tls_certificate()).unwrap());
    assert_eq!(text.salt, keys.salt());
    assert_eq!(text.service_key, keys.service().verifying_key().to_bytes());
    let records = house.console.books.records(crate::journal::Position(0), 100).unwrap();
    assert!(!records.iter().any(|(_, record)| record.windows(16).any(|bytes| bytes == text.secret)));

    let mut client = house.client();
    let revoke = wire::RevokeTokenRequest { token: made.token.clone(), reason: "leaked".to_owned() };
    let position = client.revoke_token(revoke.clone()).await.unwrap().into_inner().position;
    assert_eq!(
        client.revoke_token(revoke).await.unwrap().into_inner().position,
        position,
        "nothing new is written"
    );
    let tokens =
        client.list_tokens(wire::ListRequest { after_position: position }).await.unwrap().into_inner().tokens;
    assert!(tokens.len() == 1 && tokens[0].revoked && tokens[0].uses_max == 100);
    let unknown = wire::RevokeTokenRequest { token: "tok_x".to_owned(), reason: String::new() };
    refused(client.revoke_token(unknown), Reason::UnknownToken, "token `tok_x` is not known here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_would_let_nobody_in_is_not_made() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let now_ms = house.console.books.clock().now_ms();
    let right = wire::CreateTokenRequest {
        customer: "cus_acme".to_owned(),
        uses_max: 1,
        expires_at_ms: now_ms + 60_000,
        uses_per_hour: 0,
    };
    let mut client = house.client();
    for (request, reason, words) in [
        (
            wire::CreateTokenRequest { customer: "cus_x".to_owned(), ..right.clone() },
            Reason::UnknownCustomer,
            "`cus_x`",
        ),
        (wire::CreateTokenRequest { uses_max: 0, ..right.clone() }, Reason::Invalid, "at least 1"),
        (wire::CreateTokenRequest { expires_at_ms: now_ms, ..right.clone() }, Reason::Invalid, "is over"),
        (
            wire::CreateTokenRequest { expires_at_ms: i64::MAX, ..right.clone() },
            Reason::Invalid,
            "is not an instant",
        ),
    ] {
        refused(client.create_token(request), reason, words).await;
    }
    let mut console = house.console.clone();
    console.config = Arc::new(Config::default());
    let door = Door::new(console.books.clone());
    let server = InterceptedService::new(ConsoleServer::new(console), door);
    let mut client = ConsoleClient::new(Bearer { server, token: house.token.clone() });
    refused(client.create_token(right), Reason::NoAddress, "names no address").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_come_page_by_page_without_gap_or_repeat() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    house.customer("cus_other").await;
    let (acme, other) = (house.token("cus_acme").await, house.token("cus_other").await);
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(house.machine(&acme).await.id.to_string());
        house.machine(&other).await;
    }
    expected.sort();
    let mut client = house.client();
    let (mut found, mut page_after) = (Vec::new(), String::new());
    loop {
        let customer = "cus_acme".to_owned();
        let request = wire::ListMachinesRequest { customer, page_after, page_size: 2, after_position: 0 };
        let page = client.list_machines(request).await.unwrap().into_inner();
        assert!((1..=2).contains(&page.machines.len()));
        found.extend(page.machines.into_iter().map(|machine| machine.machine));
        if page.next_page_after.is_empty() {
            break;
        }
        page_after = page.next_page_after;
    }
    assert_eq!(found, expected);
    let all = client.list_machines(wire::ListMachinesRequest::default()).await.unwrap().into_inner();
    assert_eq!((all.machines.len(), all.next_page_after.as_str()), (10, ""));
    let request = wire::ListMachinesRequest { customer: "cus_x".to_owned(), ..Default::default() };
    refused(client.list_machines(request), Reason::UnknownCustomer, "`cus_x`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_shown_with_what_it_reported_and_what_was_done_to_it() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    let after_position = machine.reports(&house, "dsa").await;
    let mut client = house.client();
    let id = machine.id.to_string();
    let show = wire::ShowMachineRequest { machine: id.clone(), after_position };
    let detail = client.show_machine(show.clone()).await.unwrap().into_inner();
    let shown = detail.machine.unwrap();
    assert_eq!((shown.customer.as_str(), shown.products[0].state.as_str()), ("cus_acme", "active"));
    assert_eq!((detail.spools[0].sequence, &detail.spools[0].hash), (1, &machine.tip));

    let ban = wire::BanMachineRequest { machine: id.clone(), banned: true, reason: "stolen".to_owned() };
    client.ban_machine(ban).await.unwrap();
    let retire = wire::RetireMachineRequest { machine: id.clone(), reason: "scrapped".to_owned(), at_ms: 0 };
    client.retire_machine(retire.clone()).await.unwrap();
    let shown = client.show_machine(show).await.unwrap().into_inner().machine.unwrap();
    assert!(shown.banned && shown.retired);

    let later = instant::to_ms("2026-10-16T12:00:00Z".parse().unwrap());
    let tomorrow = wire::RetireMachineRequest { at_ms: later, ..retire.clone() };
    refused(client.retire_machine(tomorrow), Reason::Invalid, "`at` is yet to come").await;
    let long = wire::RetireMachineRequest { reason: "x".repeat(1001), ..retire.clone() };
    refused(client.retire_machine(long), Reason::Invalid, "the reason is longer than").await;
    let unknown = wire::RetireMachineRequest { machine: "mch_x".to_owned(), ..retire };
    refused(client.retire_machine(unknown), Reason::UnknownMachine, "machine `mch_x`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_checked_before_it_is_written_and_the_zone_stays_with_the_evidence() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let mut client = house.client();
    let before = house.console.books.read(|fold| fold.position());
    let set = |toml: &str| wire::SetPolicyRequest { toml: toml.to_owned(), reason: String::new() };
    refused(client.set_policy(set("colour = 1")), Reason::Policy, "colour").await;
    assert_eq!(house.console.books.read(|fold| fold.position()), before, "nothing was written");
    client.set_policy(set("zone = \"Asia/Tokyo\"")).await.unwrap();
    client.set_policy(set(POLICY)).await.unwrap();
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    refused(client.set_policy(set("zone = \"UTC\"")), Reason::ZoneFixed, "by the days of `Europe/Berlin`")
        .await;
    assert_eq!(client.get_policy(wire::ListRequest::default()).await.unwrap().into_inner().toml, POLICY);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_the_month_to_date_of_one_customer_or_all() {
    let house = House::founded("2026-10-15T12:00:00Z");
    for customer in ["cus_acme", "cus_other"] {
        house.customer(customer).await;
        let mut machine = house.machine(&house.token(customer).await).await;
        machine.reports(&house, "dsa").await;
        machine.reports(&house, "spnt").await;
    }
    let mut client = house.client();
    let all = client.usage(wire::UsageRequest::default()).await.unwrap().into_inner();
    assert_eq!((all.period.as_str(), all.rows.len(), all.blockers.len()), ("2026-10", 2, 2));
    let request = wire::UsageRequest { customer: "cus_acme".to_owned(), ..Default::default() };
    let one = client.usage(request).await.unwrap().into_inner();
    let row = &one.rows[0];
    assert_eq!((one.rows.len(), one.blockers.len()), (1, 1));
    assert_eq!(
        (row.customer_name.as_str(), row.sku.as_str(), row.quantity.as_str()),
        ("Name of cus_acme", "DS", "1")
    );
    assert_eq!((row.revenue.as_str(), row.cost.as_str()), ("4.00", ""));
    let request = wire::UsageRequest { period: "2026-13".to_owned(), ..Default::default() };
    refused(client.usage(request), Reason::Invalid, "`2026-13` is not a period").await;
    let request = wire::UsageRequest { customer: "cus_x".to_owned(), ..Default::default() };
    refused(client.usage(request), Reason::UnknownCustomer, "`cus_x`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_sealed_once_from_exactly_the_draft_that_was_approved() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    let period = || wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let seal = |digest: &str| wire::SealRequest {
        period: "2026-10".to_owned(),
        digest: digest.to_owned(),
        reason: "checked".to_owned(),
    };
    let mut client = house.client();
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    assert_eq!(draft.state, "open");
    refused(client.seal_statement(seal(&draft.digest)), Reason::NotOver, "is not over").await;
    refused(client.show_statement(period()), Reason::NotSealed, "is not sealed").await;

    drop(client);
    let house = house.again("2026-11-02T12:00:00Z").await;
    let mut client = house.client();
    refused(client.seal_statement(seal(&draft.digest)), Reason::DraftChanged, "has the digest").await;
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    assert_eq!(draft.state, "grace");
    refused(client.seal_statement(seal(&draft.digest)), Reason::InGrace, "may still arrive until").await;

    drop(client);
    let house = house.again("2026-11-05T12:00:00Z").await;
    let mut client = house.client();
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    assert_eq!(draft.state, "draft");
    let sealed = client.seal_statement(seal(&draft.digest)).await.unwrap().into_inner();
    assert_eq!(sealed.statements[0].revision, 1);
    assert!(sealed.earnings_json.contains("\"4.00\""), "{}", sealed.earnings_json);
    let key = house.console.books.keys().statement().verifying_key();
    let verified = seatbeat_ledger::sealed::verify(&sealed.statements[0].file, Some(&key)).unwrap();
    assert_eq!(verified.body["lines"][0]["customer"], "cus_acme");
    let shown = client.show_statement(period()).await.unwrap().into_inner();
    assert_eq!(shown.statements, sealed.statements);
    refused(client.seal_statement(seal(&draft.digest)), Reason::AlreadySealed, "is sealed already").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blocks_a_month_is_named() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "spnt").await;
    let house = house.again("2026-11-05T12:00:00Z").await;
    let mut client = house.client();
    let period = wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let digest = client.draft_statement(period).await.unwrap().into_inner().digest;
    let seal = wire::SealRequest { period: "2026-10".to_owned(), digest, reason: String::new() };
    refused(client.seal_statement(seal), Reason::Blocked, "unmapped_product").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_meters_the_export_comes_to_the_sealed_statement() {
    let house = House::founded("2026-10-15T12:00:00Z");
    house.customer("cus_acme").await;
    let mut machine = house.machine(&house.token("cus_acme").await).await;
    machine.reports(&house, "dsa").await;
    let house = house.again("2026-11-05T12:00:00Z").await;
    let mut client = house.client();
    let period = || wire::PeriodRequest { period: "2026-10".to_owned(), after_position: 0 };
    let draft = client.draft_statement(period()).await.unwrap().into_inner();
    let seal =
        wire::SealRequest { period: "2026-10".to_owned(), digest: draft.digest, reason: String::new() };
    client.seal_statement(seal).await.unwrap();
    // What comes after the cut is not part of it.
    machine.reports(&house, "dsa").await;

    let mut chunks = client.export_records(period()).await.unwrap().into_inner();
    let (mut records, mut policy) = (String::new(), String::new());
    while let Some(chunk) = chunks.message().await.unwrap() {
        records.push_str(&chunk.records_jsonl);
        policy.push_str(&chunk.policy_toml);
    }
    assert_eq!((records.lines().count(), policy.as_str()), (2, POLICY));
    let period: Period = "2026-10".parse().unwrap();
    let input = MeterInput { records: &records, policy: &policy, period, as_of: None, sealed: None };
    assert_eq!(meter(input).unwrap().to_json(), draft.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_a_write_that_is_not_known_yet_is_not_answered_from_before_it() {
    let house = House::founded("2026-10-15T12:00:00Z");
    let ahead = house.console.books.read(|fold| fold.position()) + 1;
    let mut client = house.client();
    let request = wire::StatusRequest { after_position: ahead };
    refused(client.status(request), Reason::NotReached, "ask again").await;
}
