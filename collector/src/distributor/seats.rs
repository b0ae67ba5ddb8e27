//! Setting the quantity of a subscription, whoever has it. Invariant: what is in force there is not lowered unless the
//! destination says so, and never to none; an order has a number of its own for each part of each submission.

use seatbeat_ledger::mapping::Fields;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::sealed::digest;
use seatbeat_ledger::uploads::Status;

use super::call::SendError;
use super::connector::Answer;
use super::projection::{Load, OutPart};

/// What a far side takes of quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// The most that it takes.
    pub most: u64,
    /// What a person does where there is to be none.
    pub instead_of_none: &'static str,
    /// Whether the destination lets what is in force be lowered.
    pub allow_decrease: bool,
}

/// The quantity that a part sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// What the far side calls it.
    pub mapped: &'a Fields,
    /// How many.
    pub seats: u64,
    /// How many were sealed.
    pub sealed: Quantity,
}

impl<'a> Wanted<'a> {
    /// Of a part.
    ///
    /// # Errors
    /// When it sets none: the answer to give instead.
    pub fn of(part: &'a OutPart) -> Result<Self, Answer> {
        match &part.load {
            Load::Seats { mapped, seats, sealed } => Ok(Self { mapped, seats: *seats, sealed: *sealed }),
            Load::ByHand(correction) => Err(Answer::new(Status::Settled, "").saying(format!(
                "settle by hand: a quantity that is in force now cannot say what was in {}",
                correction.for_period
            ))),
            Load::Files(_) => {
                Err(Answer::new(Status::Settled, "").saying("left out: no files are taken there"))
            }
        }
    }

    /// What it is called there in one of the mapping's columns.
    ///
    /// # Errors
    /// When the mapping does not say.
    pub fn called(&self, column: &str) -> Result<&'a str, SendError> {
        called(self.mapped, column)
    }

    /// The answer where nothing is to be set; `far_id` is what the subscription is called there.
    ///
    /// # Errors
    /// When it is more than the far side takes.
    pub fn without_setting(
        &self,
        in_force: u64,
        takes: Takes,
        far_id: &str,
    ) -> Result<Option<Answer>, SendError> {
        let settled = |said: String| Ok(Some(Answer::new(Status::Settled, far_id).saying(said)));
        let Self { seats, sealed, .. } = *self;
        if in_force == seats {
            return settled(format!("{in_force} in force"));
        }
        if seats == 0 {
            let Takes { instead_of_none, .. } = takes;
            return settled(format!("left at {in_force}: it cannot be set to none; {instead_of_none}"));
        }
        if seats > takes.most {
            return Err(SendError::stop(
                format!("{seats} seats are more than the {} that the far side takes", takes.most),
                "see what was sealed for this customer; several subscriptions are several SKUs here",
            ));
        }
        if in_force > seats && !takes.allow_decrease {
            return settled(format!(
                "left at {in_force}: {sealed} were sealed; fewer needs `allow_decrease`"
            ));
        }
        Ok(None)
    }
}

/// What a mapping's row says in a column.
///
/// # Errors
/// When it does not.
pub fn called<'a>(mapped: &'a Fields, column: &str) -> Result<&'a str, SendError> {
    let missing = || SendError::stop(format!("not mapped: {column} missing"), "set it in the mapping");
    mapped.get(column).map(String::as_str).ok_or_else(missing)
}

/// The number of the order that sends a part under a key: the same for the same, 23 characters.
pub fn order_number(part: &OutPart, key: &str) -> String {
    let digest = digest(format!("{key}\n{}", part.id).as_bytes());
    let short = digest.trim_start_matches("sha256:").get(..20).unwrap_or_default();
    format!("SB-{short}")
}

#[cfg(test)]
mod tests {
    use seatbeat_ledger::uploads::PartId;

    use super::*;

    fn part(sku: &str, seats: u64) -> OutPart {
        let id = PartId::Line("cus_a".parse().unwrap(), sku.parse().unwrap());
        OutPart::seats(id, Fields::new(), seats, Quantity::units(40), Vec::new())
    }

    fn said(seats: u64, in_force: u64, allow_decrease: bool) -> Option<String> {
        let part = part("A", seats);
        let takes = Takes { most: 100, instead_of_none: "suspend it", allow_decrease };
        let answer = Wanted::of(&part).unwrap().without_setting(in_force, takes, "sub").unwrap();
        answer.map(|answer| {
            assert_eq!((answer.status, answer.far_id.as_str()), (Status::Settled, "sub"));
            answer.said
        })
    }

    #[test]
    fn more_is_set_and_fewer_only_where_that_is_allowed() {
        assert_eq!(said(40, 30, false), None);
        assert_eq!(said(40, 55, true), None);
        assert_eq!(said(40, 40, false).unwrap(), "40 in force");
        assert_eq!(said(40, 55, false).unwrap(), "left at 55: 40 were sealed; fewer needs `allow_decrease`");
    }

    #[test]
    fn none_is_never_set_and_more_than_is_taken_stops() {
        for allowed in [false, true] {
            assert_eq!(said(0, 5, allowed).unwrap(), "left at 5: it cannot be set to none; suspend it");
        }
        let part = part("A", 101);
        let takes = Takes { most: 100, instead_of_none: "", allow_decrease: true };
        assert!(Wanted::of(&part).unwrap().without_setting(1, takes, "").is_err());
    }

    #[test]
    fn each_part_of_each_submission_has_its_own_order() {
        let numbers = [
            order_number(&part("A", 40), "2026-10-ingram-r1-0123456789abcdef"),
            order_number(&part("B", 40), "2026-10-ingram-r1-0123456789abcdef"),
            order_number(&part("A", 40), "2026-10-ingram-r1-0123456789abcdef-s2"),
        ];
        assert!(numbers.iter().all(|number| number.len() == 23 && number.is_ascii()));
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[0] != numbers[2]);
        assert_eq!(numbers[0], order_number(&part("A", 40), "2026-10-ingram-r1-0123456789abcdef"));
    }
}
