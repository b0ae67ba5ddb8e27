//! Who may use the operator door, and what for. Invariant: a program's token may at most what its operator may;
//! nobody makes the last one who may let others in less than that; who was let go stays known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use seatbeat_proto::ids::{ApiTokenId, CustomerId, OperatorId};
use serde::{Deserialize, Serialize};

use crate::registry::Refusal;

/// Tokens of programs that an operator has at once.
pub const API_TOKENS_MAX: usize = 100;

/// What an operator is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees what runs where, and no money.
    Viewer,
    /// Sees the money as well, and closes months.
    Billing,
    /// Rolls agents out and gives orders; sees no money.
    Technician,
    /// All of it, and who else may.
    Admin,
}

/// What a question or an action asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To see what runs where.
    See,
    /// To see costs, prices and margins, and to close months.
    Bill,
    /// To change what machines do.
    Serve,
    /// To change who may what, and what everything is counted by.
    Administer,
}

impl Role {
    /// All of them, the smallest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Billing, Self::Technician, Self::Admin];

    /// Whether who has it has the right.
    pub fn has(self, right: Right) -> bool {
        match right {
            Right::See => true,
            Right::Bill => matches!(self, Self::Billing | Self::Admin),
            Right::Serve => matches!(self, Self::Technician | Self::Admin),
            Right::Administer => self == Self::Admin,
        }
    }

    /// Whether it has no right that the other one has not.
    pub fn is_within(self, other: Self) -> bool {
        use Right::{Administer, Bill, See, Serve};
        [See, Bill, Serve, Administer].into_iter().all(|right| other.has(right) || !self.has(right))
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Billing => "billing",
            Self::Technician => "technician",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No role of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: there are viewer, billing, technician and admin")]
pub struct RoleError(String);

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| RoleError(text.to_owned()))
    }
}

/// Whose machines and seats somebody may see and touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Everybody's, and what belongs to no customer.
    House,
    /// These customers' alone; empty: nobody's.
    Customers(BTreeSet<CustomerId>),
}

impl Reach {
    /// Of these customers; without any it is the whole house.
    pub fn of(customers: BTreeSet<CustomerId>) -> Self {
        if customers.is_empty() { Self::House } else { Self::Customers(customers) }
    }

    /// Whether it takes in a customer.
    pub fn has(&self, customer: &CustomerId) -> bool {
        match self {
            Self::House => true,
            Self::Customers(customers) => customers.contains(customer),
        }
    }

    /// What both take in.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::House, reach) | (reach, Self::House) => reach.clone(),
            (Self::Customers(one), Self::Customers(other)) => Self::Customers(one & other),
        }
    }
}

/// What somebody may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What for.
    pub role: Role,
    /// Whose.
    pub reach: Reach,
}

impl Grant {
    /// All of it.
    pub const FULL: Self = Self { role: Role::Admin, reach: Reach::House };
}

/// One of those who may use the operator door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// SHA-256 of the token; none: comes in by signing in alone.
    pub token_hash: Option<[u8; 32]>,
    /// What they may.
    pub grant: Grant,
    /// No longer let in.
    pub revoked: bool,
    /// Their name was taken out of the vault.
    pub erased: bool,
}

/// A program's way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// For whom it asks.
    pub operator: OperatorId,
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// What it may, of what its operator may.
    pub grant: Grant,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
    /// Taken back.
    pub revoked: bool,
}

/// Who is let in by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetIn {
    /// Who.
    pub operator: OperatorId,
    /// The program's token, if it was one.
    pub api_token: Option<ApiTokenId>,
    /// What for: each of them has to allow what is asked.
    pub grants: Vec<Grant>,
}

impl LetIn {
    /// Whether all grants have the right.
    pub fn has(&self, right: Right) -> bool {
        self.grants.iter().all(|grant| grant.role.has(right))
    }

    /// Whose machines and seats it is about.
    pub fn reach(&self) -> Reach {
        self.grants.iter().fold(Reach::House, |reach, grant| reach.within(&grant.reach))
    }
}

/// All who may, or might, use the operator door.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operators {
    known: BTreeMap<OperatorId, Operator>,
    api_tokens: BTreeMap<ApiTokenId, ApiToken>,
}

impl Operators {
    /// The operator of this id, let in or not.
    pub fn operator(&self, id: &OperatorId) -> Option<&Operator> {
        self.known.get(id)
    }

    /// All of them by id, those who were let go included.
    pub fn all(&self) -> impl Iterator<Item = (&OperatorId, &Operator)> {
        self.known.iter()
    }

    /// Tokens of programs by id, those that are over included.
    pub fn api_tokens(&self) -> impl Iterator<Item = (&ApiTokenId, &ApiToken)> {
        self.api_tokens.iter()
    }

    /// Who is let in by the token that has this hash.
    pub fn by_token(&self, token_hash: &[u8; 32], now: Timestamp) -> Option<LetIn> {
        let own = self.known.iter().find(|(_, one)| one.token_hash.as_ref() == Some(token_hash));
        if let Some((operator, _)) = own {
            return self.let_in(operator);
        }
        let (id, token) = self.api_tokens.iter().find(|(_, token)| token.token_hash == *token_hash)?;
        let is_over = token.revoked || token.expires_at <= now;
        let mut let_in = self.let_in(&token.operator).filter(|_| !is_over)?;
        let_in.api_token = Some(id.clone());
        let_in.grants.push(token.grant.clone());
        Some(let_in)
    }

    /// Who is let in as this operator.
    pub fn let_in(&self, operator: &OperatorId) -> Option<LetIn> {
        let one = self.known.get(operator).filter(|one| !one.revoked)?;
        Some(LetIn { operator: operator.clone(), api_token: None, grants: vec![one.grant.clone()] })
    }

    /// Whether nobody else may let others in, so that this operator has to stay one who may.
    pub fn is_last_admin(&self, operator: &OperatorId) -> bool {
        let is_admin = |one: &Operator| !one.revoked && one.grant == Grant::FULL;
        self.known.get(operator).is_some_and(is_admin) && !self.keeps_an_admin_without(operator)
    }

    /// Whether the house has anybody left who may let others in, without this one.
    pub fn keeps_an_admin_without(&self, operator: &OperatorId) -> bool {
        self.known.iter().any(|(id, one)| id != operator && !one.revoked && one.grant == Grant::FULL)
    }

    pub(crate) fn add(&mut self, id: OperatorId, token_hash: Option<[u8; 32]>, grant: Grant) {
        self.known.insert(id, Operator { token_hash, grant, revoked: false, erased: false });
    }

    /// Changes what an operator may.
    pub(crate) fn allow(&mut self, id: &OperatorId, grant: Grant) -> Result<(), Refusal> {
        let stays = grant == Grant::FULL || self.keeps_an_admin_without(id);
        let one = self.known.get_mut(id).filter(|one| !one.revoked).ok_or(Refusal::UnknownOperator)?;
        if one.grant == Grant::FULL && !stays {
            return Err(Refusal::LastAdmin);
        }
        one.grant = grant;
        Ok(())
    }

    /// Lets an operator go, with the tokens of their programs. Journals have the last one let go: who asks for it now
    /// is refused before it is written.
    pub(crate) fn revoke(&mut self, id: &OperatorId) -> Result<(), Refusal> {
        self.known.get_mut(id).ok_or(Refusal::UnknownOperator)?.revoked = true;
        self.api_tokens
            .values_mut()
            .filter(|token| token.operator == *id)
            .for_each(|token| token.revoked = true);
        Ok(())
    }

    pub(crate) fn erase(&mut self, id: &OperatorId) -> Result<(), Refusal> {
        let one = self.known.get_mut(id).filter(|one| one.revoked).ok_or(Refusal::UnknownOperator)?;
        one.erased = true;
        Ok(())
    }

    pub(crate) fn add_api_token(
        &mut self,
        id: ApiTokenId,
        token: ApiToken,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.let_in(&token.operator).is_none() {
            return Err(Refusal::UnknownOperator);
        }
        let of_operator = self.api_tokens.values().filter(|one| one.operator == token.operator);
        let in_force = of_operator.filter(|one| !one.revoked && one.expires_at > now).count();
        if in_force >= API_TOKENS_MAX {
            return Err(Refusal::Malformed);
        }
        if self.api_tokens.contains_key(&id) {
            return Err(Refusal::Repeated);
        }
        self.api_tokens.insert(id, token);
        Ok(())
    }

    pub(crate) fn revoke_api_token(&mut self, id: &ApiTokenId) -> Result<(), Refusal> {
        self.api_tokens.get_mut(id).ok_or(Refusal::UnknownToken)?.revoked = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn operator(text: &str) -> OperatorId {
        text.parse().unwrap()
    }

    fn reach(customers: &[&str]) -> Reach {
        Reach::of(customers.iter().map(|id| id.parse().unwrap()).collect())
    }

    fn house() -> Operators {
        let mut operators = Operators::default();
        operators.add(operator("opr_a"), Some([1; 32]), Grant::FULL);
        operators.add(
            operator("opr_b"),
            None,
            Grant { role: Role::Technician, reach: reach(&["cus_a", "cus_b"]) },
        );
        operators
    }

    fn token(of: &str, role: Role, customers: &[&str]) -> ApiToken {
        let expires_at = NOW + jiff::SignedDuration::from_hours(1);
        let grant = Grant { role, reach: reach(customers) };
        ApiToken { operator: operator(of), token_hash: [7; 32], grant, expires_at, revoked: false }
    }

    #[test]
    fn each_role_may_what_it_is_there_for() {
        let rights = [Right::See, Right::Bill, Right::Serve, Right::Administer];
        let of = |role: Role| rights.map(|right| role.has(right));
        assert_eq!(of(Role::Viewer), [true, false, false, false]);
        assert_eq!(of(Role::Billing), [true, true, false, false]);
        assert_eq!(of(Role::Technician), [true, false, true, false]);
        assert_eq!(of(Role::Admin), [true; 4]);
        assert!(Role::ALL.iter().all(|role| role.is_within(*role) && Role::Viewer.is_within(*role)));
        assert!(!Role::Billing.is_within(Role::Technician) && !Role::Admin.is_within(Role::Billing));
        assert!(Role::ALL.iter().all(|role| role.as_str().parse() == Ok(*role)));
        assert!("owner".parse::<Role>().unwrap_err().to_string().contains("technician"));
    }

    #[test]
    fn a_token_may_at_most_what_its_operator_may() {
        let mut operators = house();
        let id = |text: &str| text.parse::<ApiTokenId>().unwrap();
        operators.add_api_token(id("apt_1"), token("opr_b", Role::Admin, &[]), NOW).unwrap();
        let let_in = operators.by_token(&[7; 32], NOW).unwrap();
        assert!(let_in.has(Right::Serve) && !let_in.has(Right::Bill) && !let_in.has(Right::Administer));
        assert_eq!(let_in.reach(), reach(&["cus_a", "cus_b"]));

        let elsewhere = token("opr_b", Role::Viewer, &["cus_c"]);
        operators.add_api_token(id("apt_2"), ApiToken { token_hash: [8; 32], ..elsewhere }, NOW).unwrap();
        let nobody = operators.by_token(&[8; 32], NOW).unwrap();
        assert_eq!(nobody.reach(), Reach::Customers(BTreeSet::new()), "no customer is not all customers");
        assert!(!nobody.reach().has(&"cus_a".parse().unwrap()));
    }

    #[test]
    fn a_token_ends_with_its_time_its_withdrawal_and_its_operator() {
        let id: ApiTokenId = "apt_1".parse().unwrap();
        let with = || {
            let mut operators = house();
            operators.add_api_token(id.clone(), token("opr_b", Role::Viewer, &[]), NOW).unwrap();
            operators
        };
        let opens = |operators: &Operators, at| operators.by_token(&[7; 32], at).is_some();
        assert!(opens(&with(), NOW));
        assert!(!opens(&with(), NOW + jiff::SignedDuration::from_hours(1)));
        let mut withdrawn = with();
        withdrawn.revoke_api_token(&id).unwrap();
        assert!(!opens(&withdrawn, NOW));
        let mut let_go = with();
        let_go.revoke(&operator("opr_b")).unwrap();
        assert!(!opens(&let_go, NOW));
        assert_eq!(
            let_go.add_api_token(id.clone(), token("opr_b", Role::Viewer, &[]), NOW),
            Err(Refusal::UnknownOperator)
        );
    }

    #[test]
    fn an_operator_has_so_many_tokens_in_force_and_no_more() {
        let mut operators = house();
        let id = |number: usize| format!("apt_{number}").parse::<ApiTokenId>().unwrap();
        let of = |operator: &str| token(operator, Role::Viewer, &[]);
        for number in 0..API_TOKENS_MAX {
            operators.add_api_token(id(number), of("opr_b"), NOW).unwrap();
        }
        let next = id(API_TOKENS_MAX);
        let over = of("opr_b").expires_at;
        for at in [NOW, over - jiff::SignedDuration::from_nanos(1)] {
            let added = operators.clone().add_api_token(next.clone(), of("opr_b"), at);
            assert_eq!(added, Err(Refusal::Malformed), "{at}");
        }
        operators.clone().add_api_token(next.clone(), of("opr_b"), over).expect("the others are over");
        operators.clone().add_api_token(next.clone(), of("opr_a"), NOW).expect("they are not all operators'");
        operators.revoke_api_token(&id(0)).unwrap();
        operators.add_api_token(next, of("opr_b"), NOW).expect("one was withdrawn");
    }

    #[test]
    fn somebody_who_may_let_others_in_stays() {
        let mut operators = house();
        let viewer = Grant { role: Role::Viewer, reach: Reach::House };
        assert!(!operators.keeps_an_admin_without(&operator("opr_a")));
        assert_eq!(operators.allow(&operator("opr_a"), viewer.clone()), Err(Refusal::LastAdmin));
        let of_one = Grant { role: Role::Admin, reach: reach(&["cus_a"]) };
        operators.allow(&operator("opr_b"), of_one).unwrap();
        assert!(!operators.keeps_an_admin_without(&operator("opr_a")), "an admin of one customer is none");
        operators.allow(&operator("opr_b"), Grant::FULL).unwrap();
        operators.revoke(&operator("opr_a")).unwrap();
        assert!(operators.by_token(&[1; 32], NOW).is_none());
        assert_eq!(operators.allow(&operator("opr_a"), viewer), Err(Refusal::UnknownOperator));
        operators.erase(&operator("opr_a")).unwrap();
        assert_eq!(
            operators.erase(&operator("opr_b")),
            Err(Refusal::UnknownOperator),
            "who is let in has a name"
        );
    }
}
