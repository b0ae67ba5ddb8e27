//! Looks at the books now and then for what needs somebody, and tells of it. Invariant: what is to be told is on disk
//! before it is; one way that fails holds the others up no longer than a request may take.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use seatbeat_ledger::alerts::{Alert, Bounds, Rule, of_books};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::alerts::Teller;
use crate::alerts::board::{Board, Event, Open, What};
use crate::alerts::mail::{Mail, MailError, Naming};
use crate::alerts::settings::Alerts as Settings;
use crate::alerts::webhook::{SecretError, Webhook};
use crate::books::Books;
use crate::config::Config;
use crate::distributor::call::SendError;
use crate::distributor::http::{Http, HttpError};
use crate::jobs::close::{Closing, nobody_enrolled_in, running_period};
use crate::jobs::upload::pace::Pace;
use crate::store;
use crate::vault::VaultRow;

/// How often it is looked: an alert is minutes old when it is told.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Where the board is kept, in the store.
const FILE: &str = "alerts.json";

/// Bytes that are to be free whatever the disk's size.
const DISK_FREE_MIN: u64 = 1 << 30;

/// Names of alarms, and the rules that they stand for.
const RULES: [(&str, Rule); 4] = [
    ("upload-", Rule::UploadRejected),
    ("orders-contradicted", Rule::SwitchOffContradicted),
    ("clock", Rule::Clock),
    ("disk", Rule::Disk),
];

/// A way of telling that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableAlerts {
    /// A secret's file.
    #[error("failed to read `{path}`, a secret of `[alerts]`")]
    Secret {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The webhook's secret.
    #[error(transparent)]
    Signing(#[from] SecretError),
    /// There is no way to speak HTTPS.
    #[error("the webhook of `[alerts]` cannot be reached from here")]
    Http(#[from] HttpError),
    /// Mail.
    #[error("mail of `[alerts]` cannot be sent as it is configured")]
    Mail(#[from] MailError),
}

/// See the module's text.
#[derive(Clone)]
pub struct AlertsJob {
    books: Books,
    closing: Closing,
    config: Arc<Config>,
    folder: PathBuf,
    tellers: Arc<Vec<Box<dyn Teller>>>,
    board: Arc<Mutex<Board>>,
    /// Somebody wants to see something arrive.
    wake: Arc<Notify>,
}

impl AlertsJob {
    /// Over books, with the ways that are configured; goes on with what the folder has.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn new(
        books: Books,
        closing: Closing,
        config: Arc<Config>,
        folder: PathBuf,
    ) -> Result<Self, UnusableAlerts> {
        let tellers = tellers(&books, &config.alerts)?;
        Ok(Self::with_tellers(books, closing, config, folder, tellers))
    }

    fn with_tellers(
        books: Books,
        closing: Closing,
        config: Arc<Config>,
        folder: PathBuf,
        tellers: Vec<Box<dyn Teller>>,
    ) -> Self {
        let kept = std::fs::read(folder.join(FILE)).unwrap_or_default();
        // A board that is lost is found again by looking; what was open is told once more.
        let board = serde_json::from_slice::<Board>(&kept).unwrap_or_default();
        Self {
            books,
            closing,
            config,
            folder,
            tellers: Arc::new(tellers),
            board: Arc::new(Mutex::new(board)),
            wake: Arc::default(),
        }
    }

    /// All that are open, by name.
    pub fn open(&self) -> Vec<Open> {
        self.board().open().cloned().collect()
    }

    /// How many events wait on each way, and how many were left out of it.
    pub fn waiting(&self) -> Vec<(&'static str, usize, u64)> {
        let board = self.board();
        let of = |name| (name, board.waiting(name).count(), board.left_out(name));
        self.ways().into_iter().map(of).collect()
    }

    /// Tells of nothing, on every way there is, so that somebody sees it arrive. Answers on how many.
    pub fn test(&self) -> usize {
        let now = self.books.clock().now();
        let alert = Alert {
            alert: "test".to_owned(),
            rule: Rule::Collector,
            customer: None,
            machines: Vec::new(),
            what: "nothing is wrong: somebody wanted to see that this arrives".to_owned(),
            remedy: "nothing is to be done".to_owned(),
        };
        let ways = self.ways();
        let mut board = self.board();
        board.tell(What::Test, alert, now, &ways, now);
        self.keep(&board);
        self.wake.notify_one();
        ways.len()
    }

    /// Runs until `stopped` is ready.
    pub async fn follow(self, stopped: impl Future<Output = ()>) {
        let mut paces: Vec<Pace> = self.tellers.iter().map(|_| Pace::default()).collect();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                _ = tick.tick() => {}
                () = self.wake.notified() => {}
            }
            let looking = self.clone();
            if let Err(panic) = tokio::task::spawn_blocking(move || looking.look()).await {
                std::panic::resume_unwind(panic.into_panic());
            }
            for (teller, pace) in self.tellers.iter().zip(&mut paces) {
                tokio::select! {
                    () = &mut stopped => return,
                    () = self.tell(teller.as_ref(), pace) => {}
                }
            }
        }
    }

    /// Looks once. Blocks while the month is counted.
    fn look(&self) {
        self.look_at_disk();
        let now = self.books.clock().now();
        let mut found = self.of_alarms();
        match self.closing.to_date(running_period(&self.books)) {
            Ok(month) => {
                let bounds = self.bounds();
                // On a copy that shares what does not change: agents do not wait for it.
                let fold = self.books.read(Fold::clone);
                found.extend(of_books(&fold, &month.statement, &bounds, now));
            }
            Err(error) => tracing::warn!(%error, "the month so far is not looked through for alerts"),
        }
        let muted: Vec<String> =
            self.books.read(|fold| fold.mutes().in_force(now).map(|(alert, _)| alert.to_owned()).collect());
        let mut board = self.board();
        if board.turn(found, |alert| muted.iter().any(|muted| muted == alert), &self.ways(), now) {
            self.keep(&board);
        }
    }

    fn of_alarms(&self) -> Vec<Alert> {
        let of = |(name, words): (String, String)| {
            let rule = RULES.iter().find(|(start, _)| name.starts_with(start)).map(|(_, rule)| *rule);
            Alert {
                alert: format!("collector/{name}"),
                rule: rule.unwrap_or(Rule::Collector),
                customer: None,
                machines: Vec::new(),
                what: words,
                remedy: "`seatbeat status` and the collector's log tell more".to_owned(),
            }
        };
        self.books.alarms().named().into_iter().map(of).collect()
    }

    fn look_at_disk(&self) {
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else { return };
        let (free, all) =
            (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        let share = all / 100 * u64::from(self.config.alerts.disk_free_percent);
        let alarms = self.books.alarms();
        if free < share.max(DISK_FREE_MIN.min(all / 2)) {
            let (free, all) = (free >> 20, all >> 20);
            alarms.raise(
                "disk",
                format!("only {free} of {all} MiB are free where the collector keeps its books"),
            );
        } else {
            alarms.clear("disk");
        }
    }

    fn bounds(&self) -> Bounds {
        let settings = &self.config.alerts;
        let sku = |text: &String| text.parse().ok();
        let quota = settings.quota.iter().flat_map(|(customer, skus)| {
            skus.iter().filter_map(move |(name, seats)| Some(((customer.clone(), sku(name)?), *seats)))
        });
        let due = self.books.read(|fold| self.due(fold));
        Bounds {
            silent_days: settings.silent_days,
            coverage: self.config.coverage(),
            quota: quota.collect(),
            due,
            due_notice: SignedDuration::from_hours(24 * i64::from(settings.deadline_notice_days)),
        }
    }

    /// The month before this one, while it is not sealed, and when its statement has to be there.
    fn due(&self, fold: &Fold) -> Option<(Period, jiff::Timestamp)> {
        let zone = fold.usage().zone();
        let period = Period::of_day(zone.usage_day(self.books.clock().now())).previous();
        let is_open = fold.sealed(period).next().is_none() && !nobody_enrolled_in(fold, period);
        let day = period.next().first_day().plus(i32::from(self.config.alerts.deadline_day) - 1);
        is_open.then(|| (period, zone.first_instant(day)))
    }

    async fn tell(&self, teller: &dyn Teller, pace: &mut Pace) {
        let name = teller.name();
        loop {
            let now = self.books.clock().now();
            let events: Vec<Event> = self.board().waiting(name).take(teller.at_once()).cloned().collect();
            if events.is_empty() || !pace.is_due(now) {
                return;
            }
            let alarm = format!("alerts-{name}");
            match teller.tell(&events).await {
                Ok(()) => {
                    *pace = Pace::default();
                    self.books.alarms().clear(&alarm);
                    let mut board = self.board();
                    board.told(name, events.len());
                    self.keep(&board);
                }
                Err(error) => {
                    let (after, hint) = match &error {
                        SendError::Again { after, .. } => (*after, String::new()),
                        SendError::Stop { hint, .. } => (None, format!(": {hint}")),
                    };
                    pace.failed(now, after, events.len() as u64);
                    self.books.alarms().raise(alarm, format!("alerts do not leave by {name}: {error}{hint}"));
                    return;
                }
            }
        }
    }

    fn ways(&self) -> Vec<&'static str> {
        self.tellers.iter().map(|teller| teller.name()).collect()
    }

    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, board: &Board) {
        let bytes = serde_json::to_vec(board).expect("ids, words and instants are JSON");
        if let Err(error) = store::write_file(&self.folder.join(FILE), &bytes) {
            tracing::warn!(%error, "what is to be told is not kept: after a restart it is told again");
        }
    }
}

fn tellers(books: &Books, settings: &Settings) -> Result<Vec<Box<dyn Teller>>, UnusableAlerts> {
    let mut tellers: Vec<Box<dyn Teller>> = Vec::new();
    if let Some(webhook) = &settings.webhook {
        let secret = secret(&webhook.secret_file)?;
        let http = Http::new(webhook.ca_file.as_deref())?;
        let reseller = books.read(|fold| fold.founded().map(|founded| founded.reseller.clone()));
        let reseller = reseller.expect("books that are open are founded");
        tellers.push(Box::new(Webhook::new(Box::new(http), &webhook.url, &secret, reseller, books.clock())?));
    }
    if let Some(mail) = &settings.mail {
        let password = mail.password_file.as_ref().map(secret).transpose()?;
        let books = books.clone();
        let naming: Naming = Box::new(move |customer| {
            let name = books.vault().get(VaultRow::CustomerName(customer)).ok().flatten();
            name.map(|name| String::from_utf8_lossy(&name).into_owned()).unwrap_or_default()
        });
        tellers.push(Box::new(Mail::new(mail, password, naming)?));
    }
    Ok(tellers)
}

fn secret(path: &PathBuf) -> Result<Zeroizing<String>, UnusableAlerts> {
    let read = std::fs::read_to_string(path).map(Zeroizing::new);
    read.map_err(|source| UnusableAlerts::Secret { path: path.clone(), source })
}

#[cfg(test)]
mod tests;
