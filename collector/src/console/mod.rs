//! The operator door: every question once (`query`), every action once (`command`), and gRPC, downloads and pages as
//! thin skins over both. Invariant: nobody is answered who may not ask that (`rights`); an action is in the journal
//! before it is answered.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::books::Books;
use crate::config::Config;
use crate::gateway::presence::Presence;
use crate::jobs::alerts::AlertsJob;
use crate::jobs::close::Closing;
use crate::jobs::proofs::Proofs;
use crate::jobs::upload::Uploads;
use machines::Listed;
use sealed_months::SealedMonths;
use sign_in::SignIn;
use sign_in::oidc::Provider;

pub mod alerts;
mod amend;
pub mod api_tokens;
pub mod audit;
pub mod auth;
mod backup;
mod catalogue;
pub mod command;
pub mod customer_sums;
pub mod departures;
pub mod dial;
mod doctor;
pub mod documents;
pub mod door;
pub mod downloads;
pub mod erasure;
pub mod explain;
pub mod export;
pub mod fault;
pub mod kit;
pub mod licences;
pub mod machine_days;
pub mod machines;
pub mod mapping;
mod metrics;
pub mod months;
mod named;
pub mod operators;
pub mod orders;
pub mod overview;
pub mod prices;
pub mod proofs;
pub mod query;
pub mod reconcile;
pub mod rights;
pub mod rows;
pub mod sealed_months;
pub mod seat_history;
mod service;
pub mod settings;
pub mod sign_in;
pub mod tls;
pub mod uploads;
pub mod usage;
pub mod web;
pub mod what_if;
mod wire_amend;
mod wire_audit;
pub mod wire_machines;
pub mod wire_rows;
pub mod words;

/// All that questions and actions need.
#[derive(Clone)]
pub struct Console {
    books: Books,
    presence: Presence,
    config: Arc<Config>,
    closing: Closing,
    proofs: Proofs,
    uploads: Uploads,
    listed: Listed,
    sealed_months_kept: SealedMonths,
    sealed_sums: months::SealedSums,
    overviews: overview::Overviews,
    counted_lines: explain::CountedLines,
    /// None where nobody looks for any.
    alerts: Option<AlertsJob>,
    /// One at a time: a name goes to the vault before its customer is in the journal.
    adding: Arc<Mutex<()>>,
    /// One at a time: each holds all its files in memory.
    importing: Arc<Mutex<()>>,
    sign_in: Arc<SignIn>,
    provider: Option<Arc<Provider>>,
}

impl Console {
    /// A console over these parts of a collector.
    pub fn new(books: Books, presence: Presence, config: Config, closing: Closing, proofs: Proofs) -> Self {
        Self {
            books,
            presence,
            config: Arc::new(config),
            closing,
            proofs,
            uploads: Uploads::default(),
            listed: Listed::default(),
            sealed_months_kept: SealedMonths::default(),
            sealed_sums: months::SealedSums::default(),
            overviews: overview::Overviews::default(),
            counted_lines: explain::CountedLines::default(),
            alerts: None,
            adding: Arc::default(),
            importing: Arc::default(),
            sign_in: Arc::default(),
            provider: None,
        }
    }
}

impl Console {
    /// With somebody who looks for alerts.
    #[must_use]
    pub fn with_alerts(self, alerts: AlertsJob) -> Self {
        Self { alerts: Some(alerts), ..self }
    }

    /// With statements on their way.
    #[must_use]
    pub fn with_uploads(self, uploads: Uploads) -> Self {
        Self { uploads, ..self }
    }

    /// With an identity provider that operators may sign in with.
    #[must_use]
    pub fn with_provider(self, provider: Option<Provider>) -> Self {
        Self { provider: provider.map(Arc::new), ..self }
    }

    /// How far the books are, as it changes.
    pub fn positions(&self) -> tokio::sync::watch::Receiver<crate::journal::Position> {
        self.books.positions()
    }

    /// The collector's clock.
    pub fn now(&self) -> jiff::Timestamp {
        self.books.clock().now()
    }

    /// Whether there is an identity provider.
    pub fn has_provider(&self) -> bool {
        self.provider.is_some()
    }
}

#[cfg(test)]
mod tests;
