//! A running collector: both doors and the jobs over one set of books. Invariant: the first part that fails ends
//! all; what was accepted before is on disk.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rustix::process::{Resource, Rlimit};
use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Settings, SettingsChanged, Signed};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::books::{Books, BooksEnd, BooksError};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::console::sign_in::oidc::{Provider, ProviderError};
use crate::console::tls::{Certificate, CertificateError, Files};
use crate::console::{Console, door, erasure};
use crate::gateway::presence::Presence;
use crate::gateway::{self, GatewayError};
use crate::jobs::alerts::{AlertsJob, UnusableAlerts};
use crate::jobs::archive::ArchiveJob;
use crate::jobs::close::Closing;
use crate::jobs::identity::Identity;
use crate::jobs::leading::{self, Term, while_leading};
use crate::jobs::orders::OrdersJob;
use crate::jobs::proofs::Proofs;
use crate::jobs::upload::{UnusableDestination, Uploads};
use crate::journal::{AppendError, Lease, Pruner, SEGMENT_BYTES_MAX};
use crate::journal_place;
use crate::service_manager;
use crate::vault::VaultError;

/// How often the jobs look whether something is due.
const JOBS_EVERY: Duration = Duration::from_secs(60);

/// How often months of a large house are counted ahead of whoever asks.
pub const COUNT_EVERY: Duration = Duration::from_secs(5);

/// How often what others wrote to a shared vault is looked for: a name is there about when its machine is.
const VAULT_EVERY: Duration = Duration::from_millis(100);

/// Name of the alarm about a copy of the vault that does not follow.
const VAULT_COPY: &str = "vault-copy";

/// Why a collector did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The books.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// A door's address.
    #[error("failed to listen on {address} for {door}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// `agents` or `operators`.
        door: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The agent door.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The operator door's certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The identity provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A destination.
    #[error(transparent)]
    Destination(#[from] UnusableDestination),
    /// Who is told of alerts.
    #[error(transparent)]
    Alerts(#[from] UnusableAlerts),
    /// The journal.
    #[error("the collector stops: what it is told can no longer be kept")]
    Journal(#[from] AppendError),
    /// A part ended with a panic.
    #[error("a part of the collector ended unexpectedly")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A collector that has opened its doors.
pub struct Running {
    /// Where agents connect.
    pub agent_address: SocketAddr,
    /// Where operators connect.
    pub operator_address: SocketAddr,
    /// What it keeps, for who runs it in their own process.
    pub books: Books,
    parts: JoinSet<Result<(), ServeError>>,
    stop: watch::Sender<bool>,
    end: BooksEnd,
}

/// Opens the books and both doors.
///
/// # Errors
/// When the configuration, the books or an address cannot be used.
pub async fn start(folder: &Path, clock: Clock) -> Result<Running, ServeError> {
    start_with(folder, || Books::open(folder, clock)).await
}

/// As [`start`], with books that are opened in another way.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    folder: &Path,
    open: impl FnOnce() -> Result<(Books, BooksEnd), BooksError>,
) -> Result<Running, ServeError> {
    raise_descriptor_limit();
    let config = Config::read(&folder.join(Config::FILE))?;
    let agents = listen(config.agent_listen, "agents").await?;
    let operators = listen(config.operator_listen, "operators").await?;
    let (agent_address, operator_address) = (address(&agents, &config), address(&operators, &config));
    let (books, end) = open()?;
    let lease = journal_place::of_config(&config).map_err(BooksError::from)?.map(Lease::new);
    // Who is alone always leads.
    let (term, leads) = watch::channel(lease.is_none().then_some(0));
    let books = if lease.is_some() { books.led_by(leads.clone()) } else { books };
    let files = Files::configured(&config, folder);
    let certificate = files.map(|files| Certificate::open(files, books.clock())).transpose()?;
    let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
    let config = Config { agent_listen: agent_address, operator_listen: operator_address, ..config };

    let (stop, stopped) = watch::channel(false);
    // One that was cut short.
    if let Err(error) = erasure::sweep(&books) {
        tracing::warn!(%error, "names that were to be erased are still in the vault");
    }
    let presence = Presence::default();
    let settings = watch::Sender::new(settings(&books, &config).await).subscribe();
    let statements = config.statements.clone().unwrap_or_else(|| folder.join("statements"));
    let proofs = Proofs::new(books.clone(), &config, statements.clone());
    let closing = Closing::new(books.clone(), config.clone(), statements);
    let archiving = archiving(&books, &config)?;
    let uploads = Uploads::new(&books, &config, &closing)?;
    let provider = config.sign_in.oidc.as_ref().map(Provider::new).transpose()?;
    let (alerts_config, alerts_folder) = (Arc::new(config.clone()), folder.to_owned());
    let alerts = AlertsJob::new(books.clone(), closing.clone(), alerts_config, alerts_folder)?;
    let console = Console::new(books.clone(), presence.clone(), config, closing.clone(), proofs.clone())
        .with_uploads(uploads.clone())
        .with_provider(provider)
        .with_alerts(alerts.clone());
    let mut parts = JoinSet::new();
    let (watched, seen) = (books.clone(), presence.clone());
    // Dropped with each job that has ended: the lease is kept until then.
    let (working, mut all_rest) = mpsc::channel(1);
    let job = Job { leads, stopped: stopped.clone(), _working: working };
    if let Some(lease) = lease {
        let led = books.clone();
        parts.spawn(async move {
            leading::follow(lease, led, term, async move {
                // Nothing is ever sent.
                let _ = all_rest.recv().await;
            })
            .await;
            Ok(())
        });
    }
    let ended = || ended(stopped.clone());
    if books.vault().is_shared() {
        let (following, stopped) = (books.clone(), ended());
        parts.spawn(async move { follow_vault(following, stopped).await });
    }
    let (comparing, compared) = (console.clone(), job.clone());
    parts.spawn(async move {
        compared.run(|stopped| comparing.clone().compare_daily(stopped)).await;
        Ok(())
    });
    let (listing, stopped_listing) = (console.clone(), ended());
    parts.spawn(async move {
        listing.keep_listed(stopped_listing).await;
        Ok(())
    });
    // Months are counted and drafted ahead of whoever asks, on each collector.
    let (counting, adding, stopped) = (closing.clone(), console.clone(), ended());
    parts.spawn(async move {
        let count = || {
            counting.keep_counted();
            adding.keep_added();
        };
        keep_up(COUNT_EVERY, count, stopped).await;
        Ok(())
    });
    let gateway = gateway::serve(agents, books.clone(), presence, settings, ended());
    parts.spawn(async move { Ok(gateway.await?) });
    let console = door::serve(operators, tls, console, ended());
    parts.spawn(async move {
        console.await;
        Ok(())
    });
    if let Some(certificate) = certificate {
        let (followed, stopped) = (books.clone(), ended());
        parts.spawn(async move {
            tokio::select! {
                () = stopped => Ok(()),
                () = certificate.follow(followed) => Ok(()),
            }
        });
    }
    let (ordering, ordered) = (books.clone(), job.clone());
    parts.spawn(async move {
        ordered.run(|stopped| OrdersJob::new(ordering.clone()).follow(stopped)).await;
        Ok(())
    });
    let (sending, sent) = (books.clone(), job.clone());
    parts.spawn(async move {
        sent.run(|stopped| uploads.clone().follow(sending.clone(), stopped)).await;
        Ok(())
    });
    let stopped = ended();
    parts.spawn(async move {
        tokio::select! {
            () = stopped => Ok(()),
            () = service_manager::follow(watched, seen) => Ok(()),
        }
    });
    let told = job.clone();
    parts.spawn(async move {
        told.run(|stopped| alerts.clone().follow(stopped)).await;
        Ok(())
    });
    if let Some(archiving) = archiving {
        let stopped = ended();
        parts.spawn(async move {
            archiving.follow(stopped).await;
            Ok(())
        });
    }
    let (drafting, stopped) = (closing.clone(), ended());
    parts.spawn(async move {
        keep_up(JOBS_EVERY, || drafting.keep_drafted(), stopped).await;
        Ok(())
    });
    let deciding = books.clone();
    parts.spawn(async move {
        let jobs = |stopped| jobs(closing.clone(), Identity::new(deciding.clone()), proofs.clone(), stopped);
        job.run(jobs).await.unwrap_or(Ok(()))
    });
    service_manager::ready(agent_address, operator_address);
    Ok(Running { agent_address, operator_address, books, parts, stop, end })
}

impl Running {
    /// Runs until `shutdown` is ready or a part fails; then ends everything in order.
    ///
    /// # Errors
    /// The first part's failure.
    pub async fn until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut outcome = Ok(());
        let mut snapshot_at = 0;
        let mut tick = tokio::time::interval(JOBS_EVERY);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                ended = self.parts.join_next() => {
                    outcome = match ended {
                        Some(Ok(result)) => result,
                        Some(Err(panic)) => Err(panic.into()),
                        None => Ok(()),
                    };
                    break;
                }
                failed = self.end.failed() => {
                    outcome = Err(failed.into());
                    break;
                }
                _ = tick.tick() => tokio::task::block_in_place(|| self.end.snapshot_if_due(&mut snapshot_at)),
            }
        }
        service_manager::stopping();
        self.stop.send_replace(true);
        while let Some(ended) = self.parts.join_next().await {
            let ended = ended.map_err(ServeError::from).and_then(|result| result);
            outcome = outcome.and(ended);
        }
        let closed = self.end.close().await.map_err(ServeError::from);
        outcome.and(closed)
    }
}

/// What moves old evidence, where the configuration says where to.
fn archiving(books: &Books, config: &Config) -> Result<Option<ArchiveJob>, BooksError> {
    let Some(archive) = config.archive.clone() else { return Ok(None) };
    let job = ArchiveJob::new(books.clone(), archive);
    let address = journal_place::of_config(config)?;
    let table = address.map(|address| Pruner::new(address, SEGMENT_BYTES_MAX)).transpose()?;
    Ok(Some(match table {
        Some(table) => job.of_table(table),
        None => job,
    }))
}

/// Each agent is a descriptor, and the usual soft limit is 1024: as many as the system lets the process have.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

async fn listen(address: SocketAddr, door: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, door, source })
}

fn address(listener: &TcpListener, config: &Config) -> SocketAddr {
    listener.local_addr().unwrap_or(config.agent_listen)
}

async fn ended(mut stopped: watch::Receiver<bool>) {
    // An error means that the collector is gone: that is an end, too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn jobs(
    closing: Closing,
    mut identity: Identity,
    proofs: Proofs,
    stopped: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut tick = tokio::time::interval(JOBS_EVERY);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return Ok(()),
            _ = tick.tick() => {
                identity.run().await;
                closing.run().await;
                let proofs = proofs.clone();
                tokio::task::spawn_blocking(move || proofs.run()).await?;
            }
        }
    }
}

/// Does work that blocks, again and again.
async fn keep_up(every: Duration, work: impl Fn(), stopped: impl Future<Output = ()>) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            _ = tick.tick() => tokio::task::block_in_place(&work),
        }
    }
}

/// Takes in what other collectors write to the vault; one that lost what was read from it ends this collector.
async fn follow_vault(following: Books, stopped: impl Future<Output = ()>) -> Result<(), ServeError> {
    let mut tick = tokio::time::interval(VAULT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return Ok(()),
            _ = tick.tick() => {
                let books = following.clone();
                match tokio::task::spawn_blocking(move || books.vault().catch_up()).await? {
                    Ok(()) => following.alarms().clear(VAULT_COPY),
                    Err(error @ VaultError::Lost { .. }) => return Err(BooksError::from(error).into()),
                    // The journal's alarm tells of that.
                    Err(VaultError::Postgres(error)) => {
                        tracing::debug!(%error, "what others wrote to the vault is not seen");
                    }
                    Err(error) => {
                        let words = format!("what other collectors write to the vault is not taken in: {error}");
                        following.alarms().raise(VAULT_COPY, words);
                    }
                }
            }
        }
    }
}

/// What a job needs to run only while this collector leads.
#[derive(Clone)]
struct Job {
    leads: watch::Receiver<Term>,
    stopped: watch::Receiver<bool>,
    _working: mpsc::Sender<()>,
}

impl Job {
    /// Runs it, from its beginning whenever this collector leads again.
    async fn run<J: Future>(self, mut job: impl FnMut(Stopped) -> J) -> Option<J::Output> {
        let stopped = || -> Stopped { Box::pin(ended(self.stopped.clone())) };
        while_leading(self.leads.clone(), stopped(), || job(stopped())).await
    }
}

/// Ready when the collector is told to end.
type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the configuration says, as the settings in force: a change is put on record, so that its revision grows
/// whatever the clock shows. A journal that takes no records now leaves agents with what they follow.
async fn settings(books: &Books, config: &Config) -> Signed {
    let known = books.read(|fold| fold.settings().cloned());
    let wanted = |revision| Settings {
        revision,
        beat_interval_s: config.beat_interval_s,
        report_interval_s: config.report_interval_s,
        scan_interval_s: config.scan_interval_s,
    };
    let in_force = known.map_or(Settings::default(), |known| Settings {
        revision: known.revision,
        beat_interval_s: known.beat_interval_s,
        report_interval_s: known.report_interval_s,
        scan_interval_s: known.scan_interval_s,
    });
    let mut settings = wanted(in_force.revision);
    if settings != in_force {
        settings = wanted(in_force.revision + 1);
        let fact = Fact::SettingsChanged(SettingsChanged { settings: Some(settings) });
        if let Err(error) = books.write(COLLECTOR, "the configuration changed", fact).await {
            tracing::warn!(%error, "the agents' settings are not changed");
            settings = in_force;
        }
    }
    sign(books.keys().service(), Domain::Settings, settings.encode_to_vec())
}
