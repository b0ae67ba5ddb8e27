//! gRPC over questions and actions. Invariant: a method reads its request, asks once and answers; it decides nothing.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::money::UnitPrice;
use seatbeat_ledger::operators::Role;
use seatbeat_ledger::orders::Scope;
use seatbeat_ledger::whatif::Question;
use seatbeat_proto::ids::{CustomerId, IdError};
use seatbeat_proto::instant::to_ms;
use seatbeat_proto::wire::console_server::Console as Service;
use seatbeat_proto::wire::erase_request::Who;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Done};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

use super::Console;
use super::api_tokens::ApiTokenAsked;
use super::audit::AuditQuery;
use super::auth::caller;
use super::command::TokenTerms;
use super::documents::{CustomerBilling, DocumentQuery};
use super::explain::ExplainQuery;
use super::export::Chunk;
use super::fault::{Fault, HINT_KEY, REASON_KEY, Reason, instant, period};
use super::kit::KitAsked;
use super::machines::MachineQuery;
use super::operators::grant;
use super::orders::{OrderQuery, Wish};
use super::prices::NamedFile;
use super::proofs::{Piece, Pieces};
use super::reconcile::{DifferenceAsked, ReconcileQuery, Reconciled};
use super::sign_in::change::PasswordAsked;
use super::uploads::UploadQuery;
use super::wire_rows::json;
use crate::config::Names;
use crate::jobs::proofs::BundleAsked;
use crate::journal::Position;

type Answer<T> = Result<Response<T>, Status>;

/// A fault as gRPC says it: its words, and its reason beside them.
pub(super) fn status(fault: &Fault) -> Status {
    let reason = fault.reason();
    let code = match reason {
        Reason::NotLetIn => Code::Unauthenticated,
        Reason::Forbidden | Reason::SignInRefused => Code::PermissionDenied,
        Reason::TooOften => Code::ResourceExhausted,
        Reason::Invalid | Reason::Policy | Reason::Catalogue | Reason::BodyTooLong => Code::InvalidArgument,
        Reason::NoSuchPage
        | Reason::UnknownCustomer
        | Reason::UnknownMachine
        | Reason::UnknownToken
        | Reason::UnknownLicence
        | Reason::UnknownBatch
        | Reason::UnknownOperator
        | Reason::NotSealed => Code::NotFound,
        Reason::Exists => Code::AlreadyExists,
        Reason::NoAddress
        | Reason::ZoneFixed
        | Reason::NotOver
        | Reason::NobodyYet
        | Reason::InGrace
        | Reason::AlreadySealed
        | Reason::Blocked
        | Reason::SeatsTaken
        | Reason::OrderRefused
        | Reason::NotSuperseded
        | Reason::DraftChanged
        | Reason::LastAdmin
        | Reason::Overtaken => Code::FailedPrecondition,
        Reason::NotReached | Reason::NotWritten | Reason::Provider => Code::Unavailable,
        Reason::Failed => Code::Internal,
    };
    if reason == Reason::Failed {
        tracing::error!(error = %fault.words(), "an operator's request failed");
    }
    let mut status = Status::new(code, fault.words());
    status.metadata_mut().insert(REASON_KEY, MetadataValue::from_static(reason.as_str()));
    if let Some(hint) = fault.hint() {
        status.metadata_mut().insert_bin(HINT_KEY, MetadataValue::from_bytes(hint.as_bytes()));
    }
    status
}

fn answer<R, W: From<R>>(row: Result<R, Fault>) -> Answer<W> {
    row.map(|row| Response::new(row.into())).map_err(|fault| status(&fault))
}

fn done(position: Result<Position, Fault>) -> Answer<Done> {
    position.map(|position| Response::new(Done { position: position.0 })).map_err(|fault| status(&fault))
}

/// The id in a field; the fault says what is wrong with it.
fn id<T: std::str::FromStr<Err = IdError>>(text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: IdError| status(&error.into()))
}

fn optional<T: std::str::FromStr<Err = IdError>>(text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() { Ok(None) } else { id(text).map(Some) }
}

fn optional_period(text: &str) -> Result<Option<Period>, Status> {
    if text.is_empty() { Ok(None) } else { period(text).map(Some).map_err(|fault| status(&fault)) }
}

#[tonic::async_trait]
impl Service for Console {
    async fn status(&self, request: Request<wire::StatusRequest>) -> Answer<wire::StatusReply> {
        caller(&request)?;
        answer(Console::status(self, request.into_inner().after_position).await)
    }

    async fn add_customer(&self, request: Request<wire::AddCustomerRequest>) -> Answer<wire::Customer> {
        let caller = caller(&request)?;
        let wire::AddCustomerRequest { customer, name } = request.into_inner();
        let customer: Option<CustomerId> = optional(&customer)?;
        let added = Console::add_customer(self, &caller, customer, &name).await;
        added
            .map(|(customer, position)| {
                Response::new(wire::Customer { position: position.0, ..customer.into() })
            })
            .map_err(|fault| status(&fault))
    }

    async fn list_customers(&self, request: Request<wire::ListRequest>) -> Answer<wire::CustomerList> {
        let caller = caller(&request)?;
        answer(self.customers(&caller, request.into_inner().after_position).await)
    }

    async fn create_token(&self, request: Request<wire::CreateTokenRequest>) -> Answer<wire::CreatedToken> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let terms = TokenTerms {
            customer: id(&request.customer)?,
            uses_max: request.uses_max,
            expires_at: instant("`expires_at_ms`", request.expires_at_ms).map_err(|fault| status(&fault))?,
            uses_per_hour: request.uses_per_hour,
        };
        answer(Console::create_token(self, &caller, terms).await)
    }

    async fn list_tokens(&self, request: Request<wire::ListRequest>) -> Answer<wire::TokenList> {
        let caller = caller(&request)?;
        answer(self.tokens(&caller, request.into_inner().after_position).await)
    }

    async fn revoke_token(&self, request: Request<wire::RevokeTokenRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::RevokeTokenRequest { token, reason } = request.into_inner();
        done(Console::revoke_token(self, &caller, id(&token)?, &reason).await)
    }

    async fn list_machines(&self, request: Request<wire::ListMachinesRequest>) -> Answer<wire::MachineList> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let after = request.after_position;
        let query = MachineQuery::try_from(request).map_err(|fault| status(&fault))?;
        answer(self.machines(&caller, query, after).await)
    }

    async fn show_machine(&self, request: Request<wire::ShowMachineRequest>) -> Answer<wire::MachineDetail> {
        let caller = caller(&request)?;
        let wire::ShowMachineRequest { machine, after_position } = request.into_inner();
        answer(self.machine(&caller, id(&machine)?, after_position).await)
    }

    async fn amend(&self, request: Request<wire::AmendRequest>) -> Answer<wire::Amended> {
        let caller = caller(&request)?;
        let wire::AmendRequest { change, reason, preview } = request.into_inner();
        let change = change.ok_or_else(|| status(&Fault::value("`change`", "is missing")))?;
        answer(Console::amend(self, &caller, change, &reason, preview).await)
    }

    async fn ban_machine(&self, request: Request<wire::BanMachineRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::BanMachineRequest { machine, banned, reason } = request.into_inner();
        done(Console::ban_machine(self, &caller, id(&machine)?, banned, &reason).await)
    }

    async fn usage(&self, request: Request<wire::UsageRequest>) -> Answer<wire::UsageReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let period = optional_period(&request.period)?;
        answer(
            Console::usage(self, &caller, period, optional(&request.customer)?, request.after_position).await,
        )
    }

    async fn get_policy(&self, request: Request<wire::PolicyRequest>) -> Answer<wire::Policy> {
        caller(&request)?;
        let request = request.into_inner();
        let toml = self.policy(optional_period(&request.period)?, request.after_position).await;
        toml.map(|toml| Response::new(wire::Policy { toml })).map_err(|fault| status(&fault))
    }

    async fn set_policy(&self, request: Request<wire::SetPolicyRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::SetPolicyRequest { toml, reason, valid_from } = request.into_inner();
        let valid_from = optional_period(&valid_from)?;
        done(Console::set_policy(self, &caller, &toml, valid_from, &reason).await)
    }

    async fn get_catalogue(&self, request: Request<wire::ListRequest>) -> Answer<wire::CatalogueReply> {
        caller(&request)?;
        answer(self.catalogue(request.into_inner().after_position).await)
    }

    async fn push_catalogue(
        &self,
        request: Request<wire::PushCatalogueRequest>,
    ) -> Answer<wire::PushedCatalogue> {
        let caller = caller(&request)?;
        let wire::PushCatalogueRequest { catalogue, reason } = request.into_inner();
        answer(Console::push_catalogue(self, &caller, catalogue.unwrap_or_default(), &reason).await)
    }

    async fn import_licences(
        &self,
        request: Request<wire::LicenceImport>,
    ) -> Answer<wire::LicenceImportReply> {
        let caller = caller(&request)?;
        let wire::LicenceImport { csv, dry_run, reason } = request.into_inner();
        answer(Console::import_licences(self, &caller, &csv, dry_run, &reason).await)
    }

    async fn list_licences(&self, request: Request<wire::LicenceRequest>) -> Answer<wire::LicenceList> {
        caller(&request)?;
        let wire::LicenceRequest { customer, sku, after_position } = request.into_inner();
        answer(self.licences(optional(&customer)?, &sku, after_position).await)
    }

    async fn allot_licence(&self, request: Request<wire::AllotRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::AllotRequest { change, reason } = request.into_inner();
        done(Console::allot_licence(self, &caller, change.unwrap_or_default(), &reason).await)
    }

    async fn withdraw_licence(&self, request: Request<wire::LicenceActRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::LicenceActRequest { licence, reason } = request.into_inner();
        done(Console::withdraw_licence(self, &caller, id(&licence)?, &reason).await)
    }

    async fn reveal_licence(&self, request: Request<wire::LicenceActRequest>) -> Answer<wire::LicenceCode> {
        let caller = caller(&request)?;
        let wire::LicenceActRequest { licence, reason } = request.into_inner();
        answer(Console::reveal_licence(self, &caller, id(&licence)?, &reason).await)
    }

    async fn draft_statement(&self, request: Request<wire::PeriodRequest>) -> Answer<wire::Draft> {
        caller(&request)?;
        let request = request.into_inner();
        let period = period(&request.period).map_err(|fault| status(&fault))?;
        answer(self.draft(period, request.after_position).await)
    }

    async fn seal_statement(&self, request: Request<wire::SealRequest>) -> Answer<wire::SealedStatements> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let period = period(&request.period).map_err(|fault| status(&fault))?;
        answer(self.seal(&caller, period, &request.digest, &request.reason, request.supersede).await)
    }

    async fn show_statement(&self, request: Request<wire::PeriodRequest>) -> Answer<wire::SealedStatements> {
        caller(&request)?;
        let request = request.into_inner();
        let period = period(&request.period).map_err(|fault| status(&fault))?;
        answer(self.sealed(period, request.after_position).await)
    }

    async fn list_statements(&self, request: Request<wire::ListRequest>) -> Answer<wire::StatementList> {
        caller(&request)?;
        answer(self.statements(request.into_inner().after_position).await)
    }

    async fn explain_statement(&self, request: Request<wire::ExplainRequest>) -> Answer<wire::ExplainReply> {
        caller(&request)?;
        let request = request.into_inner();
        let after = request.after_position;
        let query = ExplainQuery::try_from(request).map_err(|fault| status(&fault))?;
        let explained = self.explain(query, after).await.map_err(|fault| status(&fault))?;
        let json = serde_json::to_string(&explained).expect("rows have text keys and plain values");
        Ok(Response::new(wire::ExplainReply { json }))
    }

    type ExportRecordsStream = Pin<Box<dyn Stream<Item = Result<wire::ExportChunk, Status>> + Send>>;

    async fn export_records(
        &self,
        request: Request<wire::PeriodRequest>,
    ) -> Answer<Self::ExportRecordsStream> {
        caller(&request)?;
        let request = request.into_inner();
        let period = period(&request.period).map_err(|fault| status(&fault))?;
        let chunks = self.export(period, request.after_position).await.map_err(|fault| status(&fault))?;
        let stream = ReceiverStream::new(chunks).map(|chunk| match chunk {
            Ok(Chunk::Records(records_jsonl)) => {
                Ok(wire::ExportChunk { records_jsonl, policy_toml: String::new() })
            }
            Ok(Chunk::Policy(policy_toml)) => {
                Ok(wire::ExportChunk { records_jsonl: String::new(), policy_toml })
            }
            Err(fault) => Err(status(&fault)),
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn import_prices(
        &self,
        request: Request<tonic::Streaming<wire::PriceImport>>,
    ) -> Answer<wire::PriceImportReply> {
        let caller = caller(&request)?;
        answer(Console::import_prices(self, &caller, request.into_inner()).await)
    }

    type ExportPricesStream = FileStream;

    async fn export_prices(&self, request: Request<wire::PeriodRequest>) -> Answer<Self::ExportPricesStream> {
        caller(&request)?;
        let request = request.into_inner();
        let period = period(&request.period).map_err(|fault| status(&fault))?;
        file_stream(Console::export_prices(self, period, request.after_position).await)
    }

    type ExportBundleStream = FileStream;

    async fn export_bundle(&self, request: Request<wire::BundleRequest>) -> Answer<Self::ExportBundleStream> {
        caller(&request)?;
        let request = request.into_inner();
        let asked = BundleAsked {
            period: period(&request.period).map_err(|fault| status(&fault))?,
            distributor: named(request.distributor),
            checkpoints: request.checkpoints,
            names: if request.names { Names::Real } else { Names::Pseudonyms },
        };
        files(self.export_bundle(asked, request.after_position).await)
    }

    type AnswerSampleStream = FileStream;

    async fn answer_sample(&self, request: Request<wire::SampleRequest>) -> Answer<Self::AnswerSampleStream> {
        caller(&request)?;
        let request = request.into_inner();
        let period = period(&request.period).map_err(|fault| status(&fault))?;
        let distributor = named(request.distributor);
        files(self.answer_sample(period, distributor, request.nonce, request.after_position).await)
    }

    type ListUploadsStream = FileStream;

    async fn list_uploads(&self, request: Request<wire::UploadsRequest>) -> Answer<Self::ListUploadsStream> {
        caller(&request)?;
        let (query, _, after) = upload_query(request.into_inner())?;
        let rows = self.uploads(query, after).await;
        file_stream(rows.map(|rows| {
            let bytes = serde_json::to_vec(&rows).expect("rows have text keys and plain values");
            vec![NamedFile { name: "uploads.json".to_owned(), bytes }]
        }))
    }

    type PlanUploadStream = FileStream;

    async fn plan_upload(&self, request: Request<wire::UploadsRequest>) -> Answer<Self::PlanUploadStream> {
        caller(&request)?;
        let (query, look, after) = upload_query(request.into_inner())?;
        file_stream(self.upload_plan(query, look, after).await)
    }

    async fn retry_upload(&self, request: Request<wire::UploadActRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::UploadActRequest { destination, period: month, reason } = request.into_inner();
        let month = period(&month).map_err(|fault| status(&fault))?;
        done(Console::retry_upload(self, &caller, &destination, month, &reason).await)
    }

    async fn settle_upload(&self, request: Request<wire::UploadActRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::UploadActRequest { destination, period: month, reason } = request.into_inner();
        let month = period(&month).map_err(|fault| status(&fault))?;
        done(Console::settle_upload(self, &caller, &destination, month, &reason).await)
    }

    async fn import_mapping(
        &self,
        request: Request<tonic::Streaming<wire::MappingImport>>,
    ) -> Answer<wire::MappingImportReply> {
        let caller = caller(&request)?;
        answer(Console::import_mapping(self, &caller, request.into_inner()).await)
    }

    type ExportMappingStream = FileStream;

    async fn export_mapping(
        &self,
        request: Request<wire::MappingRequest>,
    ) -> Answer<Self::ExportMappingStream> {
        caller(&request)?;
        let wire::MappingRequest { destination, after_position } = request.into_inner();
        file_stream(Console::export_mapping(self, &destination, after_position).await)
    }

    type SuggestMappingStream = FileStream;

    async fn suggest_mapping(
        &self,
        request: Request<wire::MappingRequest>,
    ) -> Answer<Self::SuggestMappingStream> {
        caller(&request)?;
        let wire::MappingRequest { destination, after_position } = request.into_inner();
        file_stream(Console::suggest_mapping(self, &destination, after_position).await)
    }

    type DocumentStream = FileStream;

    async fn document(&self, request: Request<wire::DocumentRequest>) -> Answer<Self::DocumentStream> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let after = request.after_position;
        let query = DocumentQuery::try_from(request).map_err(|fault| status(&fault))?;
        file_stream(Console::document(self, &caller, query, after).await.map(|file| vec![file]))
    }

    async fn what_if(&self, request: Request<wire::WhatIfRequest>) -> Answer<wire::WhatIfReply> {
        caller(&request)?;
        let request = request.into_inner();
        let (period, after) = (optional_period(&request.period)?, request.after_position);
        let question = question(request).map_err(|fault| status(&fault))?;
        let answered =
            Console::what_if(self, period, question, after).await.map_err(|fault| status(&fault))?;
        let json = serde_json::to_string(&answered).expect("an answer has text keys and plain values");
        Ok(Response::new(wire::WhatIfReply { json }))
    }

    async fn set_customer(
        &self,
        request: Request<wire::SetCustomerRequest>,
    ) -> Answer<wire::CustomerSettings> {
        caller(&request)?;
        let wire::SetCustomerRequest { customer, name, customer_ref, tax_code } = request.into_inner();
        let set = Console::set_customer(self, id(&customer)?, name, customer_ref, tax_code).await;
        let (name, CustomerBilling { customer_ref, tax_code }) = set.map_err(|fault| status(&fault))?;
        Ok(Response::new(wire::CustomerSettings { customer, name, customer_ref, tax_code }))
    }

    async fn add_operator(&self, request: Request<wire::AddOperatorRequest>) -> Answer<wire::AddedOperator> {
        let caller = caller(&request)?;
        let wire::AddOperatorRequest { name, reason, role, customers } = request.into_inner();
        let role = if role.is_empty() { Role::Admin.as_str().to_owned() } else { role };
        let grant = grant(&role, &customers).map_err(|fault| status(&fault))?;
        let added = Console::add_operator(self, &caller, &name, grant, &reason).await;
        answer(added.map(|(operator, token, position)| wire::AddedOperator {
            operator: operator.to_string(),
            token: token.as_str().to_owned(),
            position: position.0,
        }))
    }

    async fn list_operators(&self, request: Request<wire::ListRequest>) -> Answer<wire::OperatorList> {
        let caller = caller(&request)?;
        let operators = self.operators(&caller, request.into_inner().after_position).await;
        answer(operators.map(|operators| wire::OperatorList { operators }))
    }

    async fn revoke_operator(&self, request: Request<wire::RevokeOperatorRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::RevokeOperatorRequest { operator, reason } = request.into_inner();
        done(Console::revoke_operator(self, &caller, id(&operator)?, &reason).await)
    }

    async fn plan_orders(&self, request: Request<wire::PlanOrdersRequest>) -> Answer<wire::OrderPlan> {
        caller(&request)?;
        let request = request.into_inner();
        let wish = Wish::try_from(request.wish()).map_err(|fault| status(&fault))?;
        let scope = scope(&request.scope.unwrap_or_default()).map_err(|fault| status(&fault))?;
        let plan = Console::plan_orders(self, wish, &scope, request.after_position).await;
        answer(plan.map(|plan| wire::OrderPlan { json: json(&plan) }))
    }

    async fn place_orders(
        &self,
        request: Request<tonic::Streaming<wire::PlaceOrdersPiece>>,
    ) -> Answer<wire::PlacedOrders> {
        let caller = caller(&request)?;
        answer(Console::place_orders(self, &caller, request.into_inner()).await)
    }

    async fn unsigned_orders(
        &self,
        request: Request<wire::OrdersRequest>,
    ) -> Answer<wire::UnsignedOrderList> {
        caller(&request)?;
        let request = request.into_inner();
        let orders = Console::unsigned_orders(self, optional(&request.batch)?, request.after_position).await;
        answer(orders.map(|orders| wire::UnsignedOrderList { orders }))
    }

    async fn sign_orders(&self, request: Request<tonic::Streaming<wire::SignedOrders>>) -> Answer<Done> {
        let caller = caller(&request)?;
        done(Console::sign_orders(self, &caller, request.into_inner()).await)
    }

    async fn confirm_orders(&self, request: Request<wire::OrdersActRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::OrdersActRequest { batch, reason, .. } = request.into_inner();
        let fact = Fact::OrdersConfirmed(wire::OrdersConfirmed { batch });
        done(self.act_on_orders(&caller, fact, &reason).await)
    }

    async fn cancel_orders(&self, request: Request<wire::OrdersActRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::OrdersActRequest { batch, order, reason } = request.into_inner();
        let fact = Fact::OrderCancelled(wire::OrderCancelled { batch, order });
        done(self.act_on_orders(&caller, fact, &reason).await)
    }

    async fn list_orders(&self, request: Request<wire::OrdersRequest>) -> Answer<wire::OrderList> {
        caller(&request)?;
        let request = request.into_inner();
        let query = OrderQuery {
            batch: optional(&request.batch)?,
            customer: optional(&request.customer)?,
            machine: optional(&request.machine)?,
        };
        let list = self.orders(query, request.after_position).await;
        answer(list.map(|list| wire::OrderList { json: json(&list) }))
    }

    async fn get_order_keys(&self, request: Request<wire::ListRequest>) -> Answer<wire::OrderKeysReply> {
        caller(&request)?;
        answer(self.order_keys(request.into_inner().after_position).await)
    }

    async fn set_order_keys(&self, request: Request<wire::SetOrderKeysRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::SetOrderKeysRequest { keys, locked_key, reason } = request.into_inner();
        let keys = keys.unwrap_or_default();
        done(Console::set_order_keys(self, &caller, keys, &locked_key, &reason).await)
    }

    async fn limit_orders(&self, request: Request<wire::LimitOrdersRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::LimitOrdersRequest { machines_a_day, reason } = request.into_inner();
        let fact = Fact::OrderLimitSet(wire::OrderLimitSet { machines_a_day });
        done(self.act_on_orders(&caller, fact, &reason).await)
    }

    async fn depart_customer(&self, request: Request<wire::DepartCustomerRequest>) -> Answer<wire::Departed> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let (customer, departure) = (id(&request.customer)?, request.departure());
        let departed = Console::depart_customer(self, &caller, customer, departure, &request.reason).await;
        answer(departed.map(|(tokens, position)| wire::Departed {
            position: position.0,
            tokens_revoked: tokens.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn switch_sku(&self, request: Request<wire::SwitchSkuRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        done(Console::switch_sku(self, &caller, request.into_inner()).await)
    }

    async fn install_kit(&self, request: Request<wire::InstallKitRequest>) -> Answer<wire::InstallKitReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = kit(request).map_err(|fault| status(&fault))?;
        let made = Console::install_kit(self, &caller, asked).await;
        answer(made.map(|(text, position)| wire::InstallKitReply { text, position: position.0 }))
    }

    async fn reconcile(&self, request: Request<wire::ReconcileRequest>) -> Answer<wire::ReconcileReply> {
        caller(&request)?;
        let request = request.into_inner();
        let (after, fetches) = (request.after_position, request.fetch);
        let query = ReconcileQuery::try_from(request).map_err(|fault| status(&fault))?;
        let unnamed = match fetches {
            true => self.fetch_provisioned(&query).await.map_err(|fault| status(&fault))?,
            false => Vec::new(),
        };
        let reconciled = Console::reconcile(self, query, after).await;
        let reconciled = reconciled.map(|reconciled| Reconciled { unnamed, ..reconciled });
        answer(reconciled.map(|reconciled| wire::ReconcileReply { json: json(&reconciled) }))
    }

    async fn import_invoice(
        &self,
        request: Request<tonic::Streaming<wire::InvoiceImport>>,
    ) -> Answer<wire::InvoiceImportReply> {
        let caller = caller(&request)?;
        let taken = Console::import_invoice(self, &caller, request.into_inner()).await;
        answer(taken.map(|taken| wire::InvoiceImportReply { json: json(&taken), position: taken.position }))
    }

    async fn back_up(&self, request: Request<wire::BackUpRequest>) -> Answer<wire::BackUpReply> {
        let caller = caller(&request)?;
        let made = Console::back_up(self, &caller, request.into_inner().folder.into()).await;
        answer(made.map(|made| wire::BackUpReply { json: json(&made) }))
    }

    async fn doctor(&self, request: Request<wire::DoctorRequest>) -> Answer<wire::DoctorReply> {
        caller(&request)?;
        let findings = Console::doctor(self, request.into_inner().connectors).await;
        Ok(Response::new(wire::DoctorReply { json: json(&findings) }))
    }

    async fn explain_difference(
        &self,
        request: Request<wire::ExplainDifferenceRequest>,
    ) -> Answer<wire::ExplainDifferenceReply> {
        let caller = caller(&request)?;
        let asked = DifferenceAsked::try_from(request.into_inner()).map_err(|fault| status(&fault))?;
        let said = Console::explain_difference(self, &caller, asked).await;
        answer(said.map(|said| wire::ExplainDifferenceReply { json: json(&said), position: said.position }))
    }

    async fn list_audit(&self, request: Request<wire::AuditRequest>) -> Answer<wire::AuditList> {
        caller(&request)?;
        let request = request.into_inner();
        let after = request.after_position;
        let query = AuditQuery::try_from(request).map_err(|fault| status(&fault))?;
        answer(self.audit(query, after).await)
    }

    async fn allow_operator(&self, request: Request<wire::AllowOperatorRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::AllowOperatorRequest { operator, role, customers, reason } = request.into_inner();
        let grant = grant(&role, &customers).map_err(|fault| status(&fault))?;
        done(Console::allow_operator(self, &caller, id(&operator)?, grant, &reason).await)
    }

    async fn create_api_token(
        &self,
        request: Request<wire::CreateApiTokenRequest>,
    ) -> Answer<wire::CreatedApiToken> {
        let caller = caller(&request)?;
        let asked = ApiTokenAsked::try_from(request.into_inner()).map_err(|fault| status(&fault))?;
        let made = Console::create_api_token(self, &caller, asked).await;
        answer(made.map(|made| wire::CreatedApiToken {
            api_token: made.id.to_string(),
            token: made.token.as_str().to_owned(),
            position: made.position.0,
            expires_at_ms: to_ms(made.expires_at),
        }))
    }

    async fn list_api_tokens(&self, request: Request<wire::ListRequest>) -> Answer<wire::ApiTokenList> {
        let caller = caller(&request)?;
        let tokens = self.api_tokens(&caller, request.into_inner().after_position).await;
        answer(tokens.map(|api_tokens| wire::ApiTokenList { api_tokens }))
    }

    async fn revoke_api_token(&self, request: Request<wire::RevokeApiTokenRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::RevokeApiTokenRequest { api_token, reason } = request.into_inner();
        done(Console::revoke_api_token(self, &caller, id(&api_token)?, &reason).await)
    }

    async fn set_password(&self, request: Request<wire::SetPasswordRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::SetPasswordRequest { operator, login, password, reason } = request.into_inner();
        let asked = PasswordAsked { operator: id(&operator)?, login, password: Zeroizing::new(password) };
        done(Console::set_password(self, &caller, asked, &reason).await)
    }

    async fn remove_credential(&self, request: Request<wire::RemoveCredentialRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::RemoveCredentialRequest { operator, means, reason } = request.into_inner();
        let means = means.parse().map_err(|fault| status(&fault))?;
        done(Console::remove_credential(self, &caller, &id(&operator)?, means, &reason).await)
    }

    async fn create_sign_in_link(
        &self,
        request: Request<wire::CreateSignInLinkRequest>,
    ) -> Answer<wire::SignInLink> {
        let caller = caller(&request)?;
        let wire::CreateSignInLinkRequest { operator, reason } = request.into_inner();
        let made = self.sign_in_link(&caller, &id(&operator)?, &reason).await;
        answer(made.map(|made| wire::SignInLink {
            code: made.code.as_str().to_owned(),
            expires_at_ms: to_ms(made.expires_at),
            position: made.position.0,
        }))
    }

    async fn link_oidc(&self, request: Request<wire::LinkOidcRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::LinkOidcRequest { operator, subject, reason } = request.into_inner();
        done(self.link_identity(&caller, &id(&operator)?, &subject, &reason).await)
    }

    async fn list_alerts(&self, request: Request<wire::ListRequest>) -> Answer<wire::AlertList> {
        let caller = caller(&request)?;
        answer(self.alerts(&caller, request.into_inner().after_position).await)
    }

    async fn mute_alert(&self, request: Request<wire::MuteAlertRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::MuteAlertRequest { alert, until_ms, reason } = request.into_inner();
        let until = instant("`until_ms`", until_ms).map_err(|fault| status(&fault))?;
        done(Console::mute_alert(self, &caller, &alert, until, &reason).await)
    }

    async fn test_alerts(&self, request: Request<wire::ListRequest>) -> Answer<wire::TestedAlerts> {
        caller(&request)?;
        answer(Console::test_alerts(self).map(|ways| wire::TestedAlerts { ways: ways as u32 }))
    }

    async fn erase(&self, request: Request<wire::EraseRequest>) -> Answer<Done> {
        let caller = caller(&request)?;
        let wire::EraseRequest { who, reason } = request.into_inner();
        done(match who {
            Some(Who::Customer(customer)) => self.erase_customer(&caller, id(&customer)?, &reason).await,
            Some(Who::Operator(operator)) => self.erase_operator(&caller, id(&operator)?, &reason).await,
            None => Err(Fault::value("`who`", "is missing: a customer or an operator")),
        })
    }
}

fn kit(asked: wire::InstallKitRequest) -> Result<KitAsked, Fault> {
    let terms = TokenTerms {
        customer: asked.customer.parse()?,
        uses_max: asked.uses_max,
        expires_at: instant("`expires_at`", asked.expires_at_ms)?,
        uses_per_hour: 0,
    };
    let format = asked.format.parse().map_err(|error| Fault::value("`format`", error))?;
    Ok(KitAsked { terms, codes: asked.codes, format, reason: asked.reason })
}

/// What orders are about; what is empty is not named.
fn scope(asked: &wire::OrderScope) -> Result<Scope, Fault> {
    fn named<T: std::str::FromStr>(text: &str) -> Result<Option<T>, T::Err> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
    }
    Ok(Scope {
        customer: named(&asked.customer)?,
        machine: named(&asked.machine)?,
        licence: named(&asked.licence)?,
        product: named(&asked.product).map_err(|error| Fault::value("`product`", error))?,
    })
}

fn question(asked: wire::WhatIfRequest) -> Result<Question, Fault> {
    let price = |text: &str| text.parse::<UnitPrice>().map_err(|error| Fault::value("the price", error));
    let tiers = asked.tiers.iter().map(|tier| Ok((tier.from, price(&tier.cost)?)));
    Ok(Question {
        sku: asked.sku.parse().map_err(|error| Fault::value("`sku`", error))?,
        customer: if asked.customer.is_empty() { None } else { Some(asked.customer.parse()?) },
        seats: asked.seats,
        price: if asked.price.is_empty() { None } else { Some(price(&asked.price)?) },
        tiers: tiers.collect::<Result<_, Fault>>()?,
    })
}

/// Files in pieces.
type FileStream = Pin<Box<dyn Stream<Item = Result<wire::FileChunk, Status>> + Send>>;

fn file_stream(files: Result<Vec<NamedFile>, Fault>) -> Answer<FileStream> {
    let files = files.map_err(|fault| status(&fault))?;
    Ok(Response::new(Box::pin(tokio_stream::iter(
        files.into_iter().flat_map(NamedFile::into_pieces).map(Ok),
    ))))
}

fn named(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

fn upload_query(request: wire::UploadsRequest) -> Result<(UploadQuery, bool, u64), Status> {
    let wire::UploadsRequest { destination, period, look, after_position } = request;
    let query = UploadQuery { destination: named(destination), period: optional_period(&period)? };
    Ok((query, look, after_position))
}

fn files(pieces: Result<Pieces, Fault>) -> Answer<FileStream> {
    let pieces = ReceiverStream::new(pieces.map_err(|fault| status(&fault))?);
    let stream = pieces.map(|piece| match piece {
        Ok(Piece { name, bytes }) => Ok(wire::FileChunk { name, piece: bytes }),
        Err(fault) => Err(status(&fault)),
    });
    Ok(Response::new(Box::pin(stream)))
}
