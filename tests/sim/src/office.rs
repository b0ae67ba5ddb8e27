//! The reseller's house: customers, products, policy, tokens, and everything as it is before the first event.
//! Invariant: it is a function of the seed.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_collector::config::Config;
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::token::SECRET_LENGTH;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Signed};

use crate::collector::Collector;
use crate::database::Database;
use crate::disk::MachineDisk;
use crate::faults::found;
use crate::host::{Hardware, Host, Power};
use crate::invariant::Invariant;
use crate::keys::Key;
use crate::rotation::OrderKeys;
use crate::store::StoreDisk;
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

/// Who operates.
pub const OPERATOR: &str = "opr_one";

/// Uses of the tokens that are scarce.
const SCARCE: u32 = 6;

/// The reseller's house.
pub struct Office {
    seed: Seed,
    /// Signs settings and orders for reports.
    pub service: SigningKey,
    /// Signs statements.
    pub statement: SigningKey,
    /// How agents are to behave.
    pub settings: Signed,
    /// Every token's.
    pub secret: [u8; SECRET_LENGTH],
    /// How the collectors are set up.
    pub config: Config,
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
    /// The number of each customer's generous token.
    pub generous: [usize; CUSTOMERS.len()],
    /// The number of the newest token.
    pub tokens: usize,
    /// How many orders were placed.
    pub placed: u64,
    /// Signs orders that switch something.
    pub signers: OrderKeys,
    /// Orders that switch something, as they were signed, and for which machine.
    pub signed: Vec<(String, Signed)>,
    /// Raised whenever a journal was set back.
    pub epoch: u64,
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
            signers: OrderKeys::new(
                SigningKey::from_bytes(&seed.branch("operator").bytes()),
                SigningKey::from_bytes(&seed.branch("recovery").bytes()),
            ),
            signed: Vec::new(),
            epoch: 0,
            secret: chance.bytes(),
            // Hosts are off for weeks here: whether a month waits for them is not what is looked at.
            config: Config { coverage_percent: 0, ..Config::default() },
            cheap: chance.below(64) != 0,
            backup: None,
            removals: Vec::new(),
            succeeded: Vec::new(),
            copies: Vec::new(),
            orders: Vec::new(),
            generous: [1; CUSTOMERS.len()],
            tokens: 1,
            placed: 0,
            seed: seed.clone(),
        }
    }
}

/// A token's id: each customer has a scarce one and a generous one.
pub fn token(customer: usize, number: usize) -> String {
    format!("tok_{}{}", CUSTOMERS[customer].trim_start_matches("cus_"), number)
}

impl World {
    /// Sets everything up.
    pub fn found(&mut self, seed: &Seed) {
        let mut chance = seed.branch("found");
        let collectors = if self.question.wrong.is_some_and(Wrong::is_of_several) {
            2
        } else {
            [1, 1, 1, 1, 1, 2, 2, 3][chance.below(8) as usize]
        };
        let wrong = self.question.wrong;
        self.database = (collectors > 1).then(|| Database::new(seed.branch("database"), wrong));
        for number in 0..collectors {
            // A copy of a database is not synced.
            let lies = self.is_wrong(Wrong::StoreLiesAboutSync) || self.database.is_some();
            let disk = StoreDisk::new(seed.branch(&format!("store {number}")), lies);
            let skew_ms = chance.below(4_000) as i64 - 2_000;
            let (folder, database) = (folder(), self.database.clone());
            let mut collector = Collector { number, folder, disk, database, running: None, skew_ms, wrong };
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
            Fact::OrderKeysSet(wire::OrderKeysSet { keys: Some(self.office.signers.first_signed()) }),
        ];
        for (number, customer) in CUSTOMERS.iter().enumerate() {
            facts.push(Fact::CustomerAdded(wire::CustomerAdded { customer: (*customer).to_owned() }));
            let scarce = wire::TokenCreated { uses_max: SCARCE, ..self.generous(number, 0) };
            facts.extend([scarce, self.generous(number, 1)].map(Fact::TokenCreated));
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
            oldest: 1,
            made_at: 0,
            actor: None,
            job: None,
            happened: Vec::new(),
            asks: Vec::new(),
            wrong: self.question.wrong,
            believes: None,
            first_keys: wire::OrderKeys::default(),
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

    /// The house's chance, for what has none of its own.
    pub fn seed(&self) -> &Seed {
        &self.office.seed
    }
}

/// A folder in memory where there is one: nothing in a simulation needs a real disk's time.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for the journal can be made")
}
