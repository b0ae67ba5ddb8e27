//! What operators change by hand: which machines are one, what a product is billed as, units that no agent sees, tokens.
//! Invariant: only what the console would let them do; whoever shares a journal has read it to its end before.

use seatbeat_ledger::usage::Bond;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use seatbeat_proto::wire::journal_record::Fact;

use crate::office::{CUSTOMERS, PRODUCTS, token};
use crate::world::{DAY, World};

impl World {
    /// Two machines of one customer are said to be one.
    pub fn join_by_hand(&mut self, host: usize) {
        let other = self.draw(self.hosts.len() as i64) as usize;
        let (kept, absorbed) = (self.hosts[host].machine.clone(), self.hosts[other].machine.clone());
        if kept != absorbed && self.is_one_customers(&kept, &absorbed) {
            let at_ms = self.now;
            let (kept, absorbed) = (kept.to_string(), absorbed.to_string());
            self.write_act(Fact::MachinesMerged(wire::MachinesMerged { kept, absorbed, at_ms }));
        }
    }

    fn is_one_customers(&self, one: &MachineId, other: &MachineId) -> bool {
        let Some(fold) = self.known() else { return false };
        let customer = |id| fold.registry().machine(id).map(|machine| &machine.customer);
        let merged = fold.usage().bond_of(one, other) == Some(Bond::Merged);
        customer(one).is_some() && customer(one) == customer(other) && !merged
    }

    /// Two machines that were joined, by hand or not, are said to be two.
    pub fn part_by_hand(&mut self) {
        let joined = self.witness.book.bonds.iter().filter(|(_, bond)| bond.joined);
        let joined: Vec<(String, String)> = joined.map(|(pair, _)| pair.clone()).collect();
        if joined.is_empty() {
            return;
        }
        let (kept, absorbed) = joined[self.draw(joined.len() as i64) as usize].clone();
        let at_ms = self.now;
        self.write_act(Fact::MachinesSplit(wire::MachinesSplit { kept, absorbed, at_ms }));
    }

    /// What a product is billed as for a customer; now and then deliberately as nothing.
    pub fn map_by_hand(&mut self) {
        let customer = CUSTOMERS[self.draw(3) as usize].to_owned();
        let product = PRODUCTS[self.draw(3) as usize].to_owned();
        let sku = [None, Some("A1"), Some("DS")][self.draw(3) as usize].map(str::to_owned);
        let at_ms = self.some_days_ago();
        self.write_act(Fact::SkuAssigned(wire::SkuAssigned { customer, product, sku, at_ms }));
    }

    /// Units that no agent can see.
    pub fn declare_by_hand(&mut self) {
        let customer = CUSTOMERS[self.draw(3) as usize].to_owned();
        let sku = ["A1", "DS"][self.draw(2) as usize].to_owned();
        let period = ["2026-09", "2026-10"][self.draw(2) as usize].to_owned();
        let quantity = self.draw(6).unsigned_abs();
        let at_ms = self.some_days_ago();
        self.write_act(Fact::Declared(wire::Declared { customer, sku, period, quantity, at_ms }));
    }

    /// A token is taken back; where it was the generous one, there is another soon.
    pub fn revoke_by_hand(&mut self) {
        let customer = self.draw(3) as usize;
        let number = if self.draw(2) == 0 { 0 } else { self.office.generous[customer] };
        let token = token(customer, number);
        if !self.witness.book.revoked.contains(&token) {
            self.write_act(Fact::TokenRevoked(wire::TokenRevoked { token }));
        }
        self.renew_tokens();
    }

    /// Sees to it that each customer has a generous token that lets somebody in.
    pub fn renew_tokens(&mut self) {
        for customer in 0..CUSTOMERS.len() {
            let now = token(customer, self.office.generous[customer]);
            let book = &self.witness.book;
            if book.limits.contains_key(&now) && !book.revoked.contains(&now) {
                continue;
            }
            self.office.tokens += 1;
            let number = self.office.tokens;
            let fact = self.generous(customer, number);
            if self.write_act(Fact::TokenCreated(fact)) {
                self.office.generous[customer] = number;
            }
        }
    }

    /// A token with as many uses as anybody may want.
    pub fn generous(&self, customer: usize, number: usize) -> wire::TokenCreated {
        wire::TokenCreated {
            token: token(customer, number),
            customer: CUSTOMERS[customer].to_owned(),
            secret_hash: hash(&self.office.secret).to_vec(),
            uses_max: 1_000,
            expires_at_ms: self.now + 400 * DAY,
            uses_per_hour: 0,
        }
    }

    /// Now, or dated back.
    pub fn some_days_ago(&mut self) -> i64 {
        self.now - self.draw(2) * self.draw(3 * DAY)
    }
}
