//! Ordering: shown, placed, signed. Invariant: what is signed is what was placed here, order by order; a secret is
//! sealed to its machine before it leaves this process.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use seatbeat_collector::console::orders::make::{Made, NotMade, Secrets, Terms, scope_to_wire, signed};
use seatbeat_collector::console::orders::{OrderPlan, PlanRow, Wish, words};
use seatbeat_ledger::forecast::switched::SwitchLine;
use seatbeat_ledger::money::Decimal;
use seatbeat_ledger::orders::Scope;
use seatbeat_proto::ids::{BatchId, CustomerId, LicenceId, MachineId, ProductId};
use seatbeat_proto::wire;
use serde_json::json;

use super::keys::{self, SignArgs};
use super::secret_of;
use crate::connect::Collector;
use crate::hints::Hinted;
use crate::moment::{self, Moment};
use crate::out::{self, Align, Column, Out};

/// Orders that one message carries: a fraction of what a message may have.
const ORDERS_A_PIECE: usize = 200;

/// What is ordered, where.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// On this machine
    #[arg(long, required_unless_present_any = ["customer", "licence"])]
    machine: Option<MachineId>,
    /// On all machines of this customer
    #[arg(long)]
    customer: Option<CustomerId>,
    /// Where this licence is held
    #[arg(long)]
    licence: Option<LicenceId>,
    /// Only this product [default: all that can be switched]
    #[arg(long)]
    product: Option<ProductId>,
    #[command(flatten)]
    how: How,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// How it is ordered.
#[derive(Debug, Args)]
pub struct How {
    /// Give up what was not begun by then
    #[arg(long, default_value = "14d", value_name = "WHEN")]
    expires: Moment,
    /// Do not wait for the hour that lies between two switches of a product
    #[arg(long)]
    at_once: bool,
    /// Only show what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// File with the password that the product asks for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The vendor's manager, to activate with: dsm://host:port/
    #[arg(long)]
    manager: Option<String>,
    /// Tenant to activate for
    #[arg(long)]
    tenant: Option<String>,
    /// File with the token to activate with
    #[arg(long, value_name = "FILE")]
    activation_token_file: Option<PathBuf>,
    /// Policy to activate with
    #[arg(long)]
    policy: Option<String>,
    #[command(flatten)]
    sign: SignArgs,
}

impl SendArgs {
    /// Everything of a customer's.
    pub fn of_customer(customer: CustomerId, reason: String, how: How) -> Self {
        Self { machine: None, customer: Some(customer), licence: None, product: None, how, reason }
    }

    fn scope(&self) -> Scope {
        Scope {
            customer: self.customer.clone(),
            machine: self.machine.clone(),
            licence: self.licence.clone(),
            product: self.product.clone(),
        }
    }
}

/// Shows what would happen and, when that is wanted, orders it.
///
/// # Errors
/// When there is nothing to do, something is missing, or the collector refuses.
pub async fn run(wish: Wish, args: SendArgs, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let Some(ready) = prepare(wish, args, collector, out).await? else { return Ok(()) };
    if ready.made.orders.is_empty() {
        return Err(hinted("there is nothing that can be done", "--dry-run shows each machine and why not"));
    }
    ready.go(collector, out).await
}

/// Orders that were shown and agreed to.
pub struct Ready {
    args: SendArgs,
    machines: u32,
    made: Made,
    /// Opened before anything is placed: a wrong passphrase leaves no orders behind.
    key: Option<ed25519_dalek::SigningKey>,
}

/// Shows what would happen and asks for it; none when it was only to be shown. Nothing is written.
///
/// # Errors
/// When something is missing, or it is not wanted.
pub async fn prepare(
    wish: Wish,
    args: SendArgs,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<Option<Ready>> {
    let plan = plan(wish, &args, collector).await?;
    if args.how.dry_run {
        out.value(&plan, || shown(&plan))?;
        return Ok(None);
    }
    if !out.is_json() {
        out::note(&shown(&plan));
    }
    let terms = Terms {
        scope: args.scope(),
        expires_at: args.how.expires.from(plan.now),
        at_once: args.how.at_once,
        secrets: secrets(&args)?,
    };
    let made = plan.made(&terms).map_err(|why| not_made(&why))?;
    agree(plan.machines, args.how.yes)?;
    let held = keys::held(collector).await?;
    let is_named = args.how.sign.key_file.is_some() || !held.locked_key.is_empty();
    let key = match plan.needs_second || made.orders.is_empty() || !is_named {
        true => None,
        false => Some(keys::open(&args.how.sign, &held)?),
    };
    Ok(Some(Ready { args, machines: plan.machines, made, key }))
}

impl Ready {
    /// Places the orders and, where it can, signs them.
    ///
    /// # Errors
    /// When the collector refuses.
    pub async fn go(self, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
        let Self { args, machines, made, key } = self;
        if made.orders.is_empty() {
            out::note("nothing is ordered: there is no machine on which anything can be done");
            return Ok(());
        }
        let batch = made.batch.clone();
        let placed = place(&made, args.reason.clone(), collector).await?;
        let count = out::count(made.orders.len() as u64, "order", "orders");
        let (signed, waits) = match (placed.held, key) {
            (true, _) => (false, "a second operator: `seatbeat orders confirm`, then `seatbeat orders sign`"),
            (false, None) => (false, "a signature: `seatbeat orders sign --key-file FILE`"),
            (false, Some(key)) => {
                let unsigned = unsigned(Some(&batch), placed.position, collector).await?;
                anyhow::ensure!(
                    made.holds(&unsigned),
                    "the collector wants signed what was not ordered here: nothing was signed"
                );
                sign_all(unsigned, &key, collector).await?;
                (true, "")
            }
        };
        let words = match signed {
            true => format!(
                "{count} signed and on the way: `seatbeat orders list --batch {batch}` shows what becomes of them"
            ),
            false => format!("{count} placed; {batch} waits for {waits}"),
        };
        let value = json!({
            "batch": batch, "orders": made.orders.len(), "machines": machines, "held": placed.held, "signed": signed,
            "position": placed.position,
        });
        out.value(&value, || batch.to_string())?;
        if !out.is_json() {
            out::note(&words);
        }
        Ok(())
    }
}

/// Signs what waits, after it was shown.
///
/// # Errors
/// When nothing waits, there is no key, or the collector refuses.
pub async fn sign_waiting(
    batch: Option<BatchId>,
    sign: &SignArgs,
    yes: bool,
    collector: &mut Collector,
    out: Out,
) -> anyhow::Result<()> {
    let waiting = unsigned(batch.as_ref(), 0, collector).await?;
    if waiting.is_empty() {
        return Err(hinted("nothing waits for a signature", "`seatbeat orders list` shows what was ordered"));
    }
    let mut machines: Vec<&str> = waiting.iter().map(|order| order.machine.as_str()).collect();
    machines.sort_unstable();
    machines.dedup();
    if !out.is_json() {
        out::note(&to_sign(&waiting));
    }
    agree(machines.len() as u32, yes)?;
    let key = keys::open(sign, &keys::held(collector).await?)?;
    let count = waiting.len();
    let position = sign_all(waiting, &key, collector).await?;
    let words = format!("{} signed and on the way", out::count(count as u64, "order", "orders"));
    Ok(out::done(out, position, &words)?)
}

async fn plan(wish: Wish, args: &SendArgs, collector: &mut Collector) -> anyhow::Result<OrderPlan> {
    let request = wire::PlanOrdersRequest {
        wish: match wish {
            Wish::SwitchOff => wire::OrderWish::SwitchOff,
            Wish::SwitchOn => wire::OrderWish::SwitchOn,
            Wish::Uninstall => wire::OrderWish::Uninstall,
            Wish::Unenrol => wire::OrderWish::Unenrol,
        }
        .into(),
        scope: Some(scope_to_wire(&args.scope())),
        after_position: 0,
    };
    let reply = collector.call(async |console| console.plan_orders(request).await).await?;
    Ok(serde_json::from_str(&reply.json)?)
}

/// What the products are told.
fn secrets(args: &SendArgs) -> anyhow::Result<Secrets> {
    let read = |file: &Option<PathBuf>| file.as_ref().map(secret_of).transpose();
    let (password, token) = (read(&args.how.password_file)?, read(&args.how.activation_token_file)?);
    Ok(Secrets(wire::OrderSecrets {
        password: password.map(|text| text.as_str().to_owned()).unwrap_or_default(),
        manager: args.how.manager.clone().unwrap_or_default(),
        tenant: args.how.tenant.clone().unwrap_or_default(),
        token: token.map(|text| text.as_str().to_owned()).unwrap_or_default(),
        policy: args.how.policy.clone().unwrap_or_default(),
    }))
}

/// Why nothing is made, and what there is to do about it here.
fn not_made(why: &NotMade) -> anyhow::Error {
    let hint = match why {
        NotMade::Password { .. } => {
            "name a file that holds it with --password-file FILE, or leave the product out with --product"
        }
        NotMade::Activation { .. } => {
            "the vendor's console shows them: --manager dsm://host:port/ --tenant ID --activation-token-file FILE"
        }
        NotMade::NoSealKey(_) => "wait for its next report, or leave it out with --machine and --product",
    };
    hinted(&why.to_string(), hint)
}

async fn place(made: &Made, reason: String, collector: &mut Collector) -> anyhow::Result<wire::PlacedOrders> {
    let request = Some(made.request.clone());
    let mut pieces = vec![wire::PlaceOrdersPiece { request, reason, orders: Vec::new() }];
    pieces.extend(
        made.orders
            .chunks(ORDERS_A_PIECE)
            .map(|some| wire::PlaceOrdersPiece { orders: some.to_vec(), ..Default::default() }),
    );
    let stream = tokio_stream::iter(pieces);
    Ok(collector.call(async |console| console.place_orders(stream).await).await?)
}

async fn unsigned(
    batch: Option<&BatchId>,
    after_position: u64,
    collector: &mut Collector,
) -> anyhow::Result<Vec<wire::Order>> {
    let batch = batch.map(ToString::to_string).unwrap_or_default();
    let request = wire::OrdersRequest { batch, after_position, ..Default::default() };
    Ok(collector.call(async |console| console.unsigned_orders(request).await).await?.orders)
}

async fn sign_all(
    orders: Vec<wire::Order>,
    key: &ed25519_dalek::SigningKey,
    collector: &mut Collector,
) -> anyhow::Result<u64> {
    let signed = signed(&orders, key);
    let pieces: Vec<wire::SignedOrders> =
        signed.chunks(ORDERS_A_PIECE).map(|some| wire::SignedOrders { orders: some.to_vec() }).collect();
    let stream = tokio_stream::iter(pieces);
    Ok(collector.call(async |console| console.sign_orders(stream).await).await?.position)
}

/// Asks whoever sits here; somebody who cannot be asked has said so before.
fn agree(machines: u32, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(hinted(
            "nobody sits here to be asked",
            "--dry-run shows what would happen; --yes does it",
        ));
    }
    out::note(&format!("type {machines} (the machines) to go on, anything else to leave it:"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    anyhow::ensure!(line.trim() == machines.to_string(), "left: nothing was ordered");
    Ok(())
}

fn shown(plan: &OrderPlan) -> String {
    let columns = [
        Column("MACHINE", Align::Left),
        Column("NAME", Align::Left),
        Column("CUSTOMER", Align::Left),
        Column("PRODUCT", Align::Left),
        Column("WHAT HAPPENS", Align::Left),
        Column("WHEN", Align::Left),
    ];
    let row = |row: &PlanRow| {
        let what = match (&row.cannot, row.product.is_some()) {
            (Some(cannot), _) => format!("nothing: {cannot}"),
            (None, true) => row.how.join(", or "),
            (None, false) => "the agent forgets who it is, once nothing runs any more".to_owned(),
        };
        let when = match (row.cannot, row.connected) {
            (Some(_), _) => String::new(),
            (None, true) => "now".to_owned(),
            (None, false) => match row.last_seen {
                Some(at) => format!("when it returns (heard {})", moment::shown(at)),
                None => "when it returns".to_owned(),
            },
        };
        vec![
            row.machine.to_string(),
            out::clean(&row.host_name),
            row.customer.to_string(),
            row.what(),
            what,
            when,
        ]
    };
    let mut facts = format!("{} of {}", plan.machines, out::count(machines(plan), "machine", "machines"));
    if plan.needs_second {
        facts.push_str(&format!("; beyond {} a day a second operator has to confirm", plan.limit));
    }
    out::page([
        out::section("What would happen", &out::table(&columns, plan.rows.iter().map(row).collect())),
        out::section("What this month comes to", &effect(&plan.effect)),
        out::section("On", &facts),
    ])
}

fn effect(lines: &[SwitchLine]) -> String {
    if lines.is_empty() {
        return "the same: what was used before counts, and nothing more would have".to_owned();
    }
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("SEATS", Align::Right),
        Column("THEN", Align::Right),
        Column("COST", Align::Right),
        Column("THEN", Align::Right),
        Column("REVENUE", Align::Right),
        Column("THEN", Align::Right),
    ];
    let amount = |amount: Option<Decimal>| amount.map(|amount| amount.to_string()).unwrap_or_default();
    let row = |line: &SwitchLine| {
        let SwitchLine { customer, sku, without, with } = line;
        vec![
            customer.to_string(),
            sku.to_string(),
            without.quantity.to_string(),
            with.quantity.to_string(),
            amount(without.cost),
            amount(with.cost),
            amount(without.revenue),
            amount(with.revenue),
        ]
    };
    out::table(&columns, lines.iter().map(row).collect())
}

fn machines(plan: &OrderPlan) -> u64 {
    let mut all: Vec<&MachineId> = plan.rows.iter().map(|row| &row.machine).collect();
    all.dedup();
    all.len() as u64
}

fn to_sign(orders: &[wire::Order]) -> String {
    let columns = [
        Column("ORDER", Align::Left),
        Column("MACHINE", Align::Left),
        Column("WHAT", Align::Left),
        Column("PRODUCT", Align::Left),
    ];
    let row = |order: &wire::Order| {
        let what = words(order.action(), order.uninstall);
        vec![order.order.clone(), order.machine.clone(), what, order.product.clone()]
    };
    out::table(&columns, orders.iter().map(row).collect())
}

fn hinted(message: &str, hint: &str) -> anyhow::Error {
    Hinted { message: message.to_owned(), hint: hint.to_owned() }.into()
}
