//! The job over real books, with ways of telling that do as they are told.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{AlertMuted, CustomerAdded};

use super::*;
use crate::alerts::board::CLOSES_AFTER;
use crate::books::BooksEnd;
use crate::clock::Clock;
use crate::found::found;

/// Keeps what it is told, while it is reached.
#[derive(Clone, Default)]
struct Way {
    heard: Arc<Mutex<Vec<(What, String)>>>,
    is_away: Arc<AtomicBool>,
}

impl Teller for Way {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn at_once(&self) -> usize {
        1
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(SendError::again("nobody is there"));
            }
            let mut heard = self.heard.lock().unwrap();
            heard.extend(events.iter().map(|event| (event.what, event.alert.alert.clone())));
            Ok(())
        }
        .boxed()
    }
}

struct House {
    folder: tempfile::TempDir,
    way: Way,
    job: AlertsJob,
    end: BooksEnd,
}

const START: &str = "2026-10-15T12:00:00Z";

fn opened(folder: tempfile::TempDir, way: Way, at: &str) -> House {
    let (books, end) = Books::open(folder.path(), Clock::as_of(at.parse().unwrap())).unwrap();
    let config = Arc::new(Config { coverage_percent: 0, ..Config::default() });
    let closing = Closing::new(books.clone(), Config::clone(&config), folder.path().join("statements"));
    let store = folder.path().to_owned();
    let job = AlertsJob::with_tellers(books, closing, config, store, vec![Box::new(way.clone())]);
    House { folder, way, job, end }
}

impl House {
    fn founded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::as_of(START.parse().unwrap());
        found(folder.path(), &Config::default(), "zone = \"UTC\"", clock).unwrap();
        opened(folder, Way::default(), START)
    }

    async fn again(self, at: &str) -> Self {
        let Self { folder, way, job, end } = self;
        drop(job);
        end.close().await.unwrap();
        opened(folder, way, at)
    }

    /// One turn of the job.
    async fn turn(&self, pace: &mut Pace) {
        let job = self.job.clone();
        tokio::task::spawn_blocking(move || job.look()).await.unwrap();
        self.job.tell(self.job.tellers[0].as_ref(), pace).await;
    }

    fn heard(&self) -> Vec<(What, String)> {
        // A disk of the machine that this runs on may be nearly full.
        let heard = self.way.heard.lock().unwrap();
        heard.iter().filter(|(_, alert)| alert != "collector/disk").cloned().collect()
    }
}

fn said(what: What) -> (What, String) {
    (what, "collector/upload-ingram".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_told_once_across_restarts_and_so_is_its_end() {
    let house = House::founded();
    let raise = |house: &House| house.job.books.alarms().raise("upload-ingram", "it was rejected".to_owned());
    raise(&house);
    let mut pace = Pace::default();
    house.turn(&mut pace).await;
    house.turn(&mut pace).await;
    assert_eq!(house.heard(), [said(What::Opened)]);
    let open = house.job.open();
    let of_upload = open.iter().find(|open| open.alert.alert == "collector/upload-ingram").unwrap();
    assert_eq!(of_upload.alert.rule, Rule::UploadRejected);

    let house = house.again("2026-10-15T12:02:00Z").await;
    raise(&house);
    house.turn(&mut pace).await;
    assert_eq!(house.heard().len(), 1, "a restart tells nothing again");
    assert!(CLOSES_AFTER < SignedDuration::from_mins(10));
    let house = house.again("2026-10-15T12:20:00Z").await;
    house.turn(&mut Pace::default()).await;
    assert_eq!(house.heard(), [said(What::Opened), said(What::Closed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_waits_on_disk_and_says_so() {
    let house = House::founded();
    house.job.books.alarms().raise("upload-ingram", "it was rejected".to_owned());
    house.way.is_away.store(true, Ordering::Relaxed);
    let mut pace = Pace::default();
    house.turn(&mut pace).await;
    assert!(house.heard().is_empty() && pace.next().is_some());
    let alarms = house.job.books.alarms().standing();
    assert!(alarms.iter().any(|words| words.contains("do not leave by webhook")), "{alarms:?}");

    house.way.is_away.store(false, Ordering::Relaxed);
    let house = house.again("2026-10-15T12:10:00Z").await;
    assert!(house.job.waiting()[0].1 > 0, "it was on disk");
    house.turn(&mut Pace::default()).await;
    assert!(house.heard().contains(&said(What::Opened)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muted_alert_is_told_to_nobody() {
    let house = House::founded();
    let until_ms = seatbeat_proto::instant::to_ms("2026-10-16T12:00:00Z".parse().unwrap());
    let fact = AlertMuted { alert: "collector/upload-ingram".into(), until_ms };
    house.job.books.write("opr_a", "known", Fact::AlertMuted(fact)).await.unwrap();
    house.job.books.alarms().raise("upload-ingram", "it was rejected".to_owned());
    house.turn(&mut Pace::default()).await;
    assert!(house.heard().is_empty());
    assert!(house.job.open().iter().any(|open| open.alert.alert == "collector/upload-ingram"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_goes_out_on_every_way() {
    let house = House::founded();
    assert_eq!(house.job.test(), 1);
    house.turn(&mut Pace::default()).await;
    assert!(house.heard().contains(&(What::Test, "test".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_over_and_open_is_told_before_its_day() {
    let house = House::founded();
    let added = Fact::CustomerAdded(CustomerAdded { customer: "cus_a".into() });
    house.job.books.write("opr_a", "", added).await.unwrap();
    let is_due = |house: &House| house.job.books.read(|fold| house.job.due(fold));
    assert_eq!(is_due(&house), None, "nobody was enrolled in it");
    let house = house.again("2026-11-08T12:00:00Z").await;
    assert_eq!(is_due(&house), None);
}
