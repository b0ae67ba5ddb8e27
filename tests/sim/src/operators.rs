//! The reseller: customers, tokens, what operators do, and the collectors' jobs. Invariant: an act that a collector
//! took is noted, and has to stand.

use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use jiff::SignedDuration;
use prost::Message as _;
use seatbeat_collector::config::Config;
use seatbeat_collector::jobs::{close, identity as job};
use seatbeat_fleet::seed::Seed;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::COLLECTOR;
use seatbeat_ledger::identity::{Decision, decisions};
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::token::SECRET_LENGTH;
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, EnrolRequest, Signed};

use crate::collector::{Collector, Down, Place, SharedLog, instant};
use crate::disk::MachineDisk;
use crate::faults::found;
use crate::host::{Hardware, Host, Power};
use crate::invariant::Invariant;
use crate::keys::Key;
use crate::run::Question;
use crate::store::StoreDisk;
use crate::witness::fact_hash;
use crate::world::{DAY, Event, HOUR, MINUTE, SECOND, World};
use crate::wrong::Wrong;

/// The customers.
pub const CUSTOMERS: [&str; 3] = ["cus_acme", "cus_beta", "cus_gamma"];

/// The products; the last two are one SKU.
pub const PRODUCTS: [&str; 3] = ["apexone", "dsa-cloud", "v1es"];

/// Days a silent machine is presumed.
pub const PRESUME_DAYS: i64 = 7;

/// How the reseller bills.
pub const POLICY: &str = r#"
zone = "UTC"
presume_days = 7
[default_sku]
apexone = "A1"
dsa-cloud = "DS"
v1es = "DS"
[sku.A1]
price_group = "g"
[sku.DS]
count = "average"
price_group = "g"
[price_group.g]
distributor = "ingram"
currency = "EUR"
tiers = [{ from = 1, cost = "2.10" }, { from = 10, cost = "1.80" }]
[price.A1]
reseller = "4.00"
"#;

const OPERATOR: &str = "opr_one";

/// Uses of the tokens that are scarce.
const SCARCE: u32 = 6;

/// The reseller's house.
pub struct Office {
    seed: Seed,
    /// Signs settings and orders for reports.
    pub service: SigningKey,
    statement: SigningKey,
    /// How agents are to behave.
    pub settings: Signed,
    secret: [u8; SECRET_LENGTH],
    config: Config,
    cheap: bool,
    /// A copy of the store, of an earlier day.
    pub backup: Option<Vec<(PathBuf, Vec<u8>)>>,
    /// Copies of keys, and when each is noticed and taken away.
    pub removals: Vec<(i64, usize)>,
    /// Machines that were set up anew on the same case: the older one, and the computer.
    pub succeeded: Vec<(String, usize)>,
    /// Computers and their copies that were let in by themselves.
    pub copies: Vec<(usize, usize)>,
    /// Orders for reports that are not answered yet: id, computer, signed.
    pub orders: Vec<(String, usize, Signed)>,
    placed: u64,
}

impl Office {
    /// A house of a seed.
    pub fn new(seed: &Seed) -> Self {
        let mut chance = seed.branch("office");
        let service = SigningKey::from_bytes(&chance.bytes());
        let settings = wire::Settings {
            revision: 1,
            beat_interval_s: 3600,
            report_interval_s: 21_600,
            scan_interval_s: 21_600,
        };
        Self {
            settings: sign(&service, Domain::Settings, settings.encode_to_vec()),
            service,
            statement: SigningKey::from_bytes(&chance.bytes()),
            secret: chance.bytes(),
            config: Config::default(),
            cheap: chance.below(16) != 0,
            backup: None,
            removals: Vec::new(),
            succeeded: Vec::new(),
            copies: Vec::new(),
            orders: Vec::new(),
            placed: 0,
            seed: seed.clone(),
        }
    }
}

/// A token's id: each customer has a scarce one and a generous one.
fn token(customer: usize, number: usize) -> String {
    format!("tok_{}{}", CUSTOMERS[customer].trim_start_matches("cus_"), number)
}

impl World {
    /// Sets everything up.
    pub fn found(&mut self, seed: &Seed) {
        let mut chance = seed.branch("found");
        let collectors = if self.question.wrong == Some(Wrong::TokenCountedLocally) {
            2
        } else {
            [1, 1, 1, 1, 1, 2, 2, 3][chance.below(8) as usize]
        };
        let shared: Option<SharedLog> = (collectors > 1).then(SharedLog::default);
        for number in 0..collectors {
            let place = match &shared {
                Some(log) => Place::Shared(log.clone()),
                None => {
                    let lies = self.is_wrong(Wrong::StoreLiesAboutSync);
                    let disk = StoreDisk::new(seed.branch(&format!("store {number}")), lies);
                    Place::Own { folder: folder(), disk }
                }
            };
            let (skew_ms, wrong) = (chance.below(4_000) as i64 - 2_000, self.question.wrong);
            let mut collector = Collector { place, running: None, skew_ms, wrong };
            if let Err(error) = collector.start(self.now) {
                self.breaks(Invariant::StartsAgain, error);
            }
            self.collectors.push(collector);
            self.witness.lives.push(0);
            self.witness.shadows.push(None);
            let at = self.now + HOUR + chance.below(HOUR as u64) as i64;
            self.plan(at, Event::Jobs { collector: number });
        }
        self.first_records();
        for number in 0..self.question.machines {
            let mut chance = seed.branch(&format!("computer {number}"));
            let hardware = Hardware(std::array::from_fn(|_| chance.bytes()));
            let os_id = chance.bytes();
            let computer = self.computer(number % CUSTOMERS.len(), hardware, os_id, chance);
            let host = self.place(computer);
            self.new_key(host);
            let at = self.now + self.draw(20 * SECOND);
            self.plan(at, Event::Ask { host, token: 0 });
            let at = self.now + self.draw(3 * DAY);
            self.plan(at, Event::Change { host });
        }
        self.plan(self.now + HOUR, Event::Fault);
        self.plan(self.now + 2 * HOUR, Event::Act);
    }

    fn first_records(&mut self) {
        let mut facts = vec![
            Fact::Founded(wire::Founded {
                reseller: "rsl_house".to_owned(),
                format: 1,
                service_key: self.office.service.verifying_key().to_bytes().to_vec(),
                statement_key: self.office.statement.verifying_key().to_bytes().to_vec(),
            }),
            Fact::PolicySet(wire::PolicySet { toml: POLICY.to_owned(), ..Default::default() }),
        ];
        for (number, customer) in CUSTOMERS.iter().enumerate() {
            facts.push(Fact::CustomerAdded(wire::CustomerAdded { customer: (*customer).to_owned() }));
            for (kind, uses_max) in [(0, SCARCE), (1, 1_000)] {
                facts.push(Fact::TokenCreated(wire::TokenCreated {
                    token: token(number, kind),
                    customer: (*customer).to_owned(),
                    secret_hash: hash(&self.office.secret).to_vec(),
                    uses_max,
                    expires_at_ms: self.now + 400 * DAY,
                    uses_per_hour: 0,
                }));
            }
        }
        let now = self.now;
        let _ = self.collectors[0].write(OPERATOR, "", facts, now);
        self.read_news(0);
        (1..self.collectors.len()).for_each(|collector| self.follow(collector));
    }

    /// A computer that nobody has turned off yet.
    pub fn computer(&self, customer: usize, hardware: Hardware, os_id: [u8; 16], mut chance: Seed) -> Host {
        let lies = self.is_wrong(Wrong::SpoolLiesAboutSync);
        let key = Key::new(chance.bytes(), self.office.cheap);
        let skew_ms = if chance.below(8) == 0 { chance.below(8 * MINUTE as u64) as i64 } else { 0 };
        Host {
            customer,
            hardware,
            os_id,
            host_name: chance.bytes(),
            disk: MachineDisk::new(chance.branch("disk"), lies),
            machine: MachineId::derived_from(key.real.verifying_key().as_bytes()),
            key,
            enrolled: false,
            skew_ms,
            power: Power::On,
            reporter: None,
            process: 0,
            started_ms: self.now,
            asleep_ms: 0,
            connection: None,
            cut_off_until: 0,
            products: vec![found(PRODUCTS[chance.below(3) as usize], wire::ProductState::Active)],
            lineage: 0,
            shut_out: false,
            connects: 0,
            image: None,
            is_key_copy: false,
            noted: (String::new(), 0),
            chance,
        }
    }

    /// Gives a computer a key that it is not let in with yet.
    pub fn new_key(&mut self, host: usize) {
        let cheap = self.office.cheap;
        let computer = &mut self.hosts[host];
        computer.key = Key::new(computer.chance.bytes(), cheap);
        computer.machine = MachineId::derived_from(computer.key.real.verifying_key().as_bytes());
        computer.enrolled = false;
        computer.noted = (String::new(), 0);
    }

    /// A technician asks for a computer to be let in.
    pub fn ask(&mut self, host: usize, token_number: usize) {
        let computer = &self.hosts[host];
        if computer.enrolled || computer.power != Power::On {
            return;
        }
        let name = token(computer.customer, token_number);
        let request = Box::new(computer.claim(&name, self.office.secret, self.now));
        let collector = self.draw(self.collectors.len() as i64) as usize;
        let at = self.now + 5 + self.draw(500);
        if self.hosts[host].cut_off_until > self.now || (!self.healing && self.draw(30) == 0) {
            return self.plan(at + MINUTE, Event::Answered { host, answer: None, token: token_number });
        }
        self.plan(at, Event::Asked { host, collector, token: token_number, request });
    }

    /// The question arrives.
    pub fn asked(&mut self, host: usize, collector: usize, token: usize, request: EnrolRequest) {
        let was_running = self.collectors[collector].running.is_some();
        let told = self.collectors[collector].enrol(request, self.now);
        self.read_news(collector);
        let answer = match told {
            Ok(_) => Some(Ok(())),
            Err(Some(_)) => Some(Err(true)),
            Err(None) => {
                if was_running {
                    self.crash(collector);
                }
                None
            }
        };
        let lost = !self.healing && self.draw(12) == 0;
        let answer = answer.filter(|_| !lost);
        let at = self.now + 5 + self.draw(500);
        self.plan(at, Event::Answered { host, answer, token });
        self.plan_following(collector);
    }

    /// The answer arrives.
    pub fn answered(&mut self, host: usize, answer: Option<Result<(), bool>>, token: usize) {
        match answer {
            Some(Ok(())) => {
                let machine = self.hosts[host].machine.to_string();
                self.tell(format!("computer {host} is {machine}"));
                self.witness.told_in.insert(machine);
                self.hosts[host].enrolled = true;
                self.plan(self.now + SECOND, Event::Boot { host });
            }
            // The scarce token is used up, or the collector is busy: the generous one, later.
            Some(Err(_)) => self.plan(self.now + 10 * MINUTE, Event::Ask { host, token: 1 }),
            None => self.plan(self.now + MINUTE, Event::Ask { host, token }),
        }
    }

    /// After the journal was set back: who is not known any more is let in again.
    pub fn enrol_strangers(&mut self, collector: usize) {
        let Some(running) = &self.collectors[collector].running else { return };
        let registry = running.fold.registry();
        let strangers: Vec<usize> = (0..self.hosts.len())
            .filter(|host| {
                self.hosts[*host].enrolled && registry.machine(&self.hosts[*host].machine).is_none()
            })
            .collect();
        for host in strangers {
            // The agent goes on; only the collector has to hear of its key again.
            let name = token(self.hosts[host].customer, 1);
            let request = self.hosts[host].claim(&name, self.office.secret, self.now);
            let _ = self.collectors[collector].enrol(request, self.now);
        }
        self.read_news(collector);
    }

    /// A collector's jobs: the house's copy, identity, the month.
    pub fn jobs(&mut self, collector: usize) {
        let at = self.now + 3 * HOUR;
        self.plan(at, Event::Jobs { collector });
        if self.collectors[collector].running.is_none() {
            return;
        }
        self.follow(collector);
        self.remove_copies();
        if collector == 0 {
            self.run_identity();
            self.close_what_is_due();
        }
        if self.draw(8) == 0 {
            self.save_snapshot(collector);
            self.check_replay(collector);
            self.back_up(collector);
        }
    }

    /// As the identity job does.
    pub fn run_identity(&mut self) {
        let now = self.now;
        let clock = self.collectors[0].clock(now);
        let Some(running) = &self.collectors[0].running else { return };
        let (registry, usage) = (running.fold.registry(), running.fold.usage());
        let found = decisions(registry, usage, &running.identified);
        let found = crate::checks::misjudged(self.question.wrong, registry, found);
        let looked_at = registry.clone();
        for decision in found {
            let left_out = match &decision {
                Decision::Merge { .. } => self.is_wrong(Wrong::MergesLeftOut),
                Decision::Split { .. } => self.is_wrong(Wrong::SplitsLeftOut),
                Decision::Flag { .. } | Decision::TwoPlaces { .. } => self.is_wrong(Wrong::FlagsLeftOut),
            };
            if left_out {
                continue;
            }
            let (reason, fact) = job::record(&decision, clock);
            self.tell(reason.clone());
            let written = self.collectors[0].write(COLLECTOR, &reason, vec![fact], now);
            self.read_news(0);
            if written.is_err() {
                return self.after_failed_write(0, written);
            }
        }
        if let Some(running) = &mut self.collectors[0].running {
            running.identified = looked_at;
        }
        (1..self.collectors.len()).for_each(|collector| self.follow(collector));
    }

    fn close_what_is_due(&mut self) {
        let now = self.now;
        let clock = instant(self.collectors[0].clock(now));
        let Some(running) = &self.collectors[0].running else { return };
        let due = close::due(&running.fold, &self.office.config, clock);
        let again = self.is_wrong(Wrong::SealedAgain).then(|| running.fold.sealed_periods().next()).flatten();
        let period = due.filter(|(_, is_due)| *is_due).map(|(period, _)| period).or(again);
        if let Some(period) = period {
            self.close(period, clock);
        }
    }

    /// As the close job does.
    pub fn close(&mut self, period: Period, clock: jiff::Timestamp) {
        let now = self.now;
        let grace = SignedDuration::from_hours(i64::from(self.office.config.grace_hours));
        let Some(running) = &self.collectors[0].running else { return };
        let draft = match close::draft(&running.fold, period, clock, grace) {
            Ok(draft) => draft,
            Err(error) => return self.tell(format!("{period} is not drafted: {error}")),
        };
        let may = draft.may_be_sealed(&running.fold);
        let revision = running.fold.sealed(period).count() as u32 + 1;
        self.check_statement(&draft.output.statement, period);
        let again = self.is_wrong(Wrong::SealedAgain);
        if let Err(error) = may
            && !again
        {
            return self.tell(format!("{period} is not sealed: {error}"));
        }
        let statements = draft.sealed_with(&self.office.statement);
        let mut facts = close::facts(period, &statements);
        if again {
            for fact in &mut facts {
                if let Fact::StatementSealed(sealed) = fact {
                    sealed.revision = revision;
                }
            }
        }
        let written = self.collectors[0].write(COLLECTOR, "", facts, now);
        self.read_news(0);
        if written.is_err() {
            return self.after_failed_write(0, written);
        }
        let Some(running) = &self.collectors[0].running else { return };
        if close::is_sealed_as(&running.fold, period, &statements) {
            self.tell(format!("{period} is sealed"));
            for (distributor, signed) in statements {
                self.witness.went_out.entry((period.to_string(), distributor)).or_insert(signed.payload);
            }
        }
    }

    fn after_failed_write(&mut self, collector: usize, written: Result<(), crate::collector::NotWritten>) {
        if written == Err(crate::collector::NotWritten::Over) {
            self.crash(collector);
        }
    }

    /// An operator does something.
    pub fn act(&mut self) {
        if self.healing {
            return;
        }
        let at = self.now + 4 * HOUR + self.draw(20 * HOUR);
        self.plan(at, Event::Act);
        let host = self.draw(self.hosts.len() as i64) as usize;
        let machine = self.hosts[host].machine.to_string();
        if !self.hosts[host].enrolled {
            return;
        }
        let at_ms = self.now - self.draw(2) * self.draw(3 * DAY);
        match self.draw(10) {
            0 | 1 => {
                let customer = CUSTOMERS[self.draw(3) as usize].to_owned();
                self.write_act(Fact::MachineAssigned(wire::MachineAssigned { machine, customer, at_ms }));
            }
            2 | 3 => {
                if self.write_act(Fact::MachineRetired(wire::MachineRetired { machine, at_ms: self.now })) {
                    self.retire(host);
                }
            }
            4 => {
                self.write_act(Fact::MachineBanned(wire::MachineBanned { machine, banned: true }));
            }
            5 => self.unban_all(),
            6 => {
                let customer = CUSTOMERS[self.draw(3) as usize].to_owned();
                let delta = self.draw(5) - 2;
                let period = "2026-09".to_owned();
                let sku = "A1".to_owned();
                self.write_act(Fact::Adjusted(wire::Adjusted { customer, sku, period, delta, at_ms }));
            }
            _ => self.order_report(host),
        }
    }

    /// A retired machine is most often turned off.
    fn retire(&mut self, host: usize) {
        if self.draw(4) != 0 {
            self.drop_connection(host);
            self.hosts[host].reporter = None;
            self.hosts[host].process += 1;
            self.hosts[host].power = Power::Gone;
            self.tell(format!("computer {host} is retired and gone"));
        }
    }

    /// Lets everybody in again who was shut out.
    pub fn unban_all(&mut self) {
        let Some(running) = &self.collectors[0].running else { return };
        let banned: Vec<String> = running
            .fold
            .registry()
            .machines_after(None)
            .filter(|(_, machine)| machine.banned)
            .map(|(id, _)| id.to_string())
            .collect();
        for machine in banned {
            self.write_act(Fact::MachineBanned(wire::MachineBanned { machine, banned: false }));
        }
    }

    /// Writes an act; whether it was taken.
    fn write_act(&mut self, fact: Fact) -> bool {
        let now = self.now;
        let collector = self.draw(self.collectors.len() as i64) as usize;
        if self.collectors[collector].running.is_none() {
            return false;
        }
        self.tell(format!("an operator: {fact:?}"));
        let noted = fact_hash(OPERATOR, &fact);
        let left_out = self.is_wrong(Wrong::ActNotWritten) && now % 3 == 0;
        let written =
            if left_out { Ok(()) } else { self.collectors[collector].write(OPERATOR, "", vec![fact], now) };
        self.read_news(collector);
        match written {
            Ok(()) => {
                self.witness.acts.insert(noted);
                let down = self.collectors[collector].end_banned();
                self.send_down(down);
                self.plan_following(collector);
                true
            }
            failed => {
                self.after_failed_write(collector, failed);
                false
            }
        }
    }

    /// Copies of keys are taken away when somebody has noticed.
    pub fn remove_copies(&mut self) {
        let due: Vec<usize> = self
            .office
            .removals
            .iter()
            .filter(|(until, _)| *until <= self.now)
            .map(|(_, host)| *host)
            .collect();
        self.office.removals.retain(|(until, _)| *until > self.now);
        for host in due {
            self.drop_connection(host);
            self.hosts[host].reporter = None;
            self.hosts[host].process += 1;
            self.hosts[host].power = Power::Gone;
            self.tell(format!("computer {host}, a copy, is taken away"));
        }
    }

    /// Orders a report of a machine; the order goes out with each connection until it is answered.
    fn order_report(&mut self, host: usize) {
        self.office.placed += 1;
        let id = format!("ord_{}", self.office.placed);
        let order = wire::Order {
            order: id.clone(),
            machine: self.hosts[host].machine.to_string(),
            action: wire::Action::ReportNow.into(),
            product: String::new(),
            sequence: self.office.placed,
            epoch: 0,
            issued_at_ms: self.now,
            expires_at_ms: self.now + 14 * DAY,
        };
        let signed = sign(&self.office.service, Domain::Order, order.encode_to_vec());
        self.office.orders.push((id, host, signed));
        if let Some(connection) = self.hosts[host].connection {
            self.send_orders(connection, host);
        }
    }

    /// Sends a machine the orders that it has not answered.
    pub fn send_orders(&mut self, connection: u64, host: usize) {
        let machine = self.hosts[host].machine.to_string();
        let answers = self.witness.answered_orders(&machine);
        let open: Vec<Signed> = self
            .office
            .orders
            .iter()
            .filter(|(id, to, _)| *to == host && !answers.contains(id))
            .map(|(_, _, signed)| signed.clone())
            .collect();
        self.send_down(open.into_iter().map(|signed| Down::Say(connection, Body::Order(signed))).collect());
    }

    /// A collector folds what others wrote.
    pub fn follow(&mut self, collector: usize) {
        self.collectors[collector].catch_up();
        self.read_news(collector);
        let down = self.collectors[collector].end_banned();
        self.send_down(down);
    }

    /// The others hear of it within seconds.
    pub fn plan_following(&mut self, collector: usize) {
        for other in (0..self.collectors.len()).filter(|other| *other != collector) {
            let at = self.now + 10 + self.draw(5 * SECOND);
            self.plan(at, Event::Follow { collector: other });
        }
    }

    /// A start may have found whole records that were never answered.
    pub fn collector_position_moved(&mut self, collector: usize) {
        if self.collectors.len() > 1 {
            return self.follow(collector);
        }
        let records = self.collectors[collector].records();
        let known = self.witness.book.position as usize;
        if records.len() == known {
            return;
        }
        self.witness.rereading = true;
        let mut fold = seatbeat_ledger::fold::Fold::default();
        for (at, bytes) in records.iter().enumerate() {
            let (verdict, counted) = fold.replay(bytes).expect("it was folded at the start");
            if at >= known {
                self.witness.book.position += 1;
                self.read(bytes, &verdict, counted, false);
            }
        }
        self.witness.rereading = false;
    }

    fn back_up(&mut self, collector: usize) {
        if let Some(folder) = self.collectors[collector].folder() {
            let segments = fs::read_dir(folder.join("journal")).into_iter().flatten().flatten();
            let mut copy: Vec<(PathBuf, Vec<u8>)> = segments
                .filter_map(|entry| Some((entry.file_name().into(), fs::read(entry.path()).ok()?)))
                .collect();
            copy.sort();
            self.office.backup = Some(copy);
        }
    }

    /// The house's chance, for what has none of its own.
    pub fn seed(&self) -> &Seed {
        &self.office.seed
    }
}

/// Puts a copy of the journal in the place of what was lost.
pub fn put_back(folder: &Path, copy: &[(PathBuf, Vec<u8>)]) {
    let journal = folder.join("journal");
    let _ = fs::remove_dir_all(&journal);
    for snapshot in ["snapshot", "snapshot.previous"] {
        let _ = fs::remove_file(folder.join(snapshot));
    }
    let _ = fs::create_dir_all(&journal);
    for (name, bytes) in copy {
        let _ = fs::write(journal.join(name), bytes);
    }
}

/// A folder in memory where there is one: nothing in a simulation needs a real disk's time.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for the journal can be made")
}

impl Question {
    /// Last instant of the faults.
    pub fn heals_at(&self) -> i64 {
        crate::world::BEGINS_MS + self.days * DAY
    }
}
