//! The reseller's house: the store, the collector in this process, and the operator who asks it through its door.
//! Invariant: the store is founded once and gone on with later; the collector is closed in order, however it ends.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use seatbeat_collector::alerts::settings::Alerts;
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::console::rows::{Customer, CustomerList, NewToken, Status};
use seatbeat_collector::distributor::destination::Destination;
use seatbeat_collector::found::found;
use seatbeat_collector::serve::{self, ServeError};
use seatbeat_fleet::CUSTOMERS;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::{instant, wire};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Args;
use super::fault::Fault;
use super::folder::Place;
use super::steps::Steps;
use crate::connect::Collector;
use crate::credentials::link_address;
use crate::out;
use crate::profile::{self, Profile};

/// Seconds between two beats of an agent here: often enough to be watched.
pub const BEAT_INTERVAL_S: u32 = 5;

/// Machines that a token of the demonstration lets in: more than ever come.
const TOKEN_USES: u32 = 1000;

/// How long a token of the demonstration lets machines in.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// What was agreed with the first customer, of which it uses more.
const QUOTA_SKU: &str = "WF-SVC";
const QUOTA_SEATS: u64 = 10;

/// Text of an enrolment token, by customer.
pub type Tokens = BTreeMap<&'static str, String>;

/// See the module's text.
pub struct House {
    /// Where it is.
    pub place: Place,
    /// The clock of all that happens.
    pub clock: Clock,
    /// The operator door, as an operator uses it.
    pub collector: Collector,
    /// For what an operator can do through no door yet: moving a machine.
    pub books: Books,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), ServeError>>,
    doors: String,
    is_checked: bool,
}

impl House {
    /// Founds the store where there is none, starts the collector on it, and knocks at its operator door.
    ///
    /// # Errors
    /// When the folder, an address or the store cannot be used.
    pub async fn open(
        mut place: Place,
        policy: &str,
        destinations: impl IntoIterator<Item = (String, Destination)>,
        args: &Args,
        clock: Clock,
        steps: &mut Steps,
    ) -> Result<Self, Fault> {
        let destination = destinations.into_iter().collect();
        let config = Config { destination, ..configuration(args, &place) };
        let token = take_store(&mut place, &config, policy, clock, steps)?;
        let step = steps.begin("start the collector");
        let running = serve::start(&place.store(), clock).await?;
        let doors = format!("agents at {}, operators at {}", running.agent_address, running.operator_address);
        let address = running.operator_address.to_string();
        let books = running.books.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(running.until(async move {
            // The other half is dropped or used: both mean to stop.
            let _ = stopped.await;
        }));
        let profile = Profile { address, token, ca: None };
        write_profile(&place.profile(), &profile)?;
        let collector = Collector::connect(profile, place.profile()).await?;
        step.done(&doors);
        Ok(Self { place, clock, collector, books, stop, running, doors, is_checked: false })
    }

    /// Adds the customers that are not there yet, and makes a token for each.
    ///
    /// # Errors
    /// When the collector refuses.
    pub async fn add_customers(&mut self, steps: &mut Steps) -> Result<Tokens, Fault> {
        let step = steps.begin("add customers and their enrolment tokens");
        let asked = wire::ListRequest::default();
        let known: CustomerList =
            self.collector.ask(async |console| console.list_customers(asked).await).await?;
        let mut tokens = Tokens::new();
        for customer in CUSTOMERS {
            if !known.customers.iter().any(|known| known.customer.as_str() == customer.id) {
                let request = wire::AddCustomerRequest {
                    customer: customer.id.to_owned(),
                    name: customer.name.to_owned(),
                };
                let _: Customer =
                    self.collector.ask(async |console| console.add_customer(request).await).await?;
            }
            let expires_at = self.clock.now().saturating_add(TOKEN_LIFE).unwrap_or(Timestamp::MAX);
            let request = wire::CreateTokenRequest {
                customer: customer.id.to_owned(),
                uses_max: TOKEN_USES,
                expires_at_ms: instant::to_ms(expires_at),
                uses_per_hour: 0,
            };
            let made: NewToken =
                self.collector.ask(async |console| console.create_token(request).await).await?;
            tokens.insert(customer.id, made.text);
        }
        step.done(&CUSTOMERS.map(|customer| customer.name).join(", "));
        Ok(tokens)
    }

    /// How the collector is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&mut self) -> Result<Status, Fault> {
        let asked = wire::StatusRequest::default();
        Ok(self.collector.ask(async |console| console.status(asked).await).await?)
    }

    /// The public key that its statements are signed with.
    pub fn statement_key(&self) -> [u8; 32] {
        self.books.keys().statement().verifying_key().to_bytes()
    }

    /// Whether this month is sealed.
    pub fn is_sealed(&self, period: &str) -> bool {
        period.parse().is_ok_and(|period| self.books.read(|fold| fold.sealed(period).next().is_some()))
    }

    /// The checks are done: from here on a signal ends the demonstration well.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn checked(&mut self) -> Result<(), Fault> {
        self.is_checked = true;
        self.place.remember(self.clock.now())
    }

    /// Whether the checks are done.
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// Whether the collector has ended without being asked to.
    pub fn has_ended(&self) -> bool {
        self.running.is_finished()
    }

    /// Where everything is.
    pub fn whereabouts(&self) -> String {
        out::fields(&[
            ("collector", self.doors.clone()),
            ("store", self.place.store().display().to_string()),
            ("statements", self.place.statements().display().to_string()),
            ("operator profile", self.place.profile().display().to_string()),
        ])
    }

    /// What to open in a browser: it signs the operator of this house in, once.
    ///
    /// # Errors
    /// When the collector refuses.
    pub async fn sign_in_address(&mut self) -> Result<String, Fault> {
        let asked = wire::ListRequest::default();
        let list = self.collector.call(async |console| console.list_operators(asked).await).await?;
        let own = list.operators.into_iter().find(|row| row.you).map(|row| row.operator);
        let request = wire::CreateSignInLinkRequest {
            operator: own.unwrap_or_default(),
            reason: "demonstration".to_owned(),
        };
        let link = self.collector.call(async |console| console.create_sign_in_link(request).await).await?;
        Ok(link_address(&self.collector, &link.code))
    }

    /// What to try while the collector is up.
    pub fn tries(&self) -> String {
        let profile = self.place.profile();
        let ask = |verb: &str| format!("  seatbeat --profile {} {verb}", profile.display());
        let verbs = ["usage", "machines list", "orders list", "upload status", "status"].map(ask);
        format!("Try in another terminal\n{}", verbs.join("\n"))
    }

    /// How anyone checks a sealed file.
    pub fn verify_command(&self, file: &Path) -> String {
        let key = STANDARD.encode(self.statement_key());
        format!("Anyone can check what went out\n  seatbeat verify {} --key {key}", file.display())
    }

    /// Ends the collector.
    ///
    /// # Errors
    /// What went wrong with it meanwhile.
    pub async fn close(mut self) -> Result<(), Fault> {
        let remembered = self.place.remember(self.clock.now());
        drop(self.collector);
        // An error means that it has ended already.
        let _ = self.stop.send(());
        (&mut self.running).await?.map_err(Fault::from)?;
        remembered
    }
}

fn configuration(args: &Args, place: &Place) -> Config {
    Config {
        agent_listen: args.agent_listen,
        operator_listen: args.operator_listen,
        // The last month's evidence arrives all at once, and a person closes the month: see the output.
        grace_hours: 0,
        unattended_approval: false,
        statements: Some(place.statements()),
        beat_interval_s: BEAT_INTERVAL_S,
        alerts: Alerts { quota: quota(), ..Alerts::default() },
        ..Config::default()
    }
}

/// A customer uses more than was agreed: an alert to look at.
fn quota() -> BTreeMap<CustomerId, BTreeMap<String, u64>> {
    let agreed = BTreeMap::from([(QUOTA_SKU.to_owned(), QUOTA_SEATS)]);
    CUSTOMERS[0].id.parse().into_iter().map(|customer| (customer, agreed.clone())).collect()
}

/// Founds the store, or takes the one that is there; gives the operator's token.
fn take_store(
    place: &mut Place,
    config: &Config,
    policy: &str,
    clock: Clock,
    steps: &mut Steps,
) -> Result<String, Fault> {
    if place.is_founded() {
        let step = steps.begin("go on with the store");
        let token = Profile::read(&place.profile())?.token;
        place.write(&place.store().join(Config::FILE), &toml::to_string(config)?)?;
        step.done(&place.path().display().to_string());
        return Ok(token);
    }
    let step = steps.begin("found a store, its keys, prices and first operator");
    place.clear()?;
    let founded = found(&place.store(), config, policy, clock)?;
    let token = founded.operator_token.to_string();
    write_profile(
        &place.profile(),
        &Profile { address: config.operator_listen.to_string(), token: token.clone(), ca: None },
    )?;
    place.founded()?;
    step.done(&place.path().display().to_string());
    Ok(token)
}

/// The address can be another one each time.
fn write_profile(path: &Path, profile: &Profile) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::Folder { act: "replace", path: path.to_owned(), source })
        }
        _ => {
            let mut place = profile::Place::take(path)?;
            place.write(profile)?;
            place.publish()?;
            Ok(())
        }
    }
}
