//! Which alerts are open, and what is still to be told of them. Invariant: an alert that comes and goes within
//! [`CLOSES_AFTER`] stays one; one that is muted is told neither way; what waits to be told is bounded, and what was
//! left out of it is counted.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::alerts::Alert;
use serde::{Deserialize, Serialize};

/// How long an alert has to be gone to be closed.
pub const CLOSES_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Events that wait on one way; a far side that is away for long is told the newest.
const WAITING_MAX: usize = 1000;

/// An alert that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// As it is now.
    pub alert: Alert,
    /// Since when.
    pub since: Timestamp,
    /// When it was seen last.
    pub seen_at: Timestamp,
    /// Whether it was told, or is about to be.
    pub told: bool,
}

/// What became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It is there.
    Opened,
    /// It is over.
    Closed,
    /// Nothing is wrong: somebody wants to see that it arrives.
    Test,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Tells it from all others: who hears it twice knows it by this.
    pub id: String,
    /// What became of it.
    pub what: What,
    /// When.
    pub at: Timestamp,
    /// Since when the alert was open.
    pub since: Timestamp,
    /// Of what.
    pub alert: Alert,
}

/// What waits on one way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The oldest first.
    pub events: VecDeque<Event>,
    /// How many were left out because too many waited.
    pub left_out: u64,
}

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    open: BTreeMap<String, Open>,
    waiting: BTreeMap<String, Waiting>,
    /// Numbers events.
    events: u64,
}

impl Board {
    /// All that are open, by name.
    pub fn open(&self) -> impl Iterator<Item = &Open> {
        self.open.values()
    }

    /// What waits on a way.
    pub fn waiting(&self, way: &str) -> impl Iterator<Item = &Event> {
        self.waiting.get(way).into_iter().flat_map(|waiting| &waiting.events)
    }

    /// How many are not told any more on a way, because too many waited.
    pub fn left_out(&self, way: &str) -> u64 {
        self.waiting.get(way).map_or(0, |waiting| waiting.left_out)
    }

    /// Takes in what is there now; `ways` are those that there are now. Whether anything changed that has to be kept.
    pub fn turn(
        &mut self,
        found: Vec<Alert>,
        is_muted: impl Fn(&str) -> bool,
        ways: &[&str],
        now: Timestamp,
    ) -> bool {
        let before = self.clone();
        for alert in found {
            let name = alert.alert.clone();
            let open = self.open.entry(name).or_insert_with(|| Open {
                alert: alert.clone(),
                since: now,
                seen_at: now,
                told: false,
            });
            open.alert = alert;
            open.seen_at = now;
        }
        let closed: Vec<Open> = {
            let is_over = |open: &Open| now.duration_since(open.seen_at) >= CLOSES_AFTER;
            let names: Vec<String> =
                self.open.iter().filter(|(_, open)| is_over(open)).map(|(name, _)| name.clone()).collect();
            names.iter().filter_map(|name| self.open.remove(name)).collect()
        };
        self.waiting.retain(|way, _| ways.contains(&way.as_str()));
        for open in closed.into_iter().filter(|open| open.told && !is_muted(&open.alert.alert)) {
            self.tell(What::Closed, open.alert, open.since, ways, now);
        }
        let untold: Vec<(Alert, Timestamp)> = self
            .open
            .values_mut()
            .filter(|open| !open.told && !is_muted(&open.alert.alert))
            .map(|open| {
                open.told = true;
                (open.alert.clone(), open.since)
            })
            .collect();
        for (alert, since) in untold {
            self.tell(What::Opened, alert, since, ways, now);
        }
        self.differs(&before)
    }

    /// Puts an event on every way.
    pub fn tell(&mut self, what: What, alert: Alert, since: Timestamp, ways: &[&str], now: Timestamp) {
        self.events += 1;
        let id = format!("{}-{}", now.as_millisecond(), self.events);
        let event = Event { id, what, at: now, since, alert };
        for way in ways {
            let waiting = self.waiting.entry((*way).to_owned()).or_default();
            waiting.events.push_back(event.clone());
            if waiting.events.len() > WAITING_MAX {
                waiting.events.pop_front();
                waiting.left_out += 1;
            }
        }
    }

    /// The first so many of a way are told.
    pub fn told(&mut self, way: &str, count: usize) {
        if let Some(waiting) = self.waiting.get_mut(way) {
            waiting.events.drain(..count.min(waiting.events.len()));
            waiting.left_out = 0;
        }
    }

    /// Whether what a restart has to know is another: not when an alert was seen last.
    fn differs(&self, before: &Self) -> bool {
        let known = |board: &Self| -> Vec<(String, Alert, bool)> {
            board.open.iter().map(|(name, open)| (name.clone(), open.alert.clone(), open.told)).collect()
        };
        self.waiting != before.waiting || known(self) != known(before)
    }
}

#[cfg(test)]
mod tests {
    use seatbeat_ledger::alerts::Rule;

    use super::*;

    const WAYS: [&str; 2] = ["webhook", "mail"];

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(minutes * 60).unwrap()
    }

    fn alert(name: &str) -> Alert {
        Alert {
            alert: name.to_owned(),
            rule: Rule::Disk,
            customer: None,
            machines: Vec::new(),
            what: "the disk is full".to_owned(),
            remedy: "make room".to_owned(),
        }
    }

    fn told(board: &Board, way: &str) -> Vec<(What, String)> {
        board.waiting(way).map(|event| (event.what, event.alert.alert.clone())).collect()
    }

    #[test]
    fn an_alert_opens_once_and_closes_by_itself() {
        let mut board = Board::default();
        assert!(board.turn(vec![alert("disk")], |_| false, &WAYS, at(0)));
        assert!(!board.turn(vec![alert("disk")], |_| false, &WAYS, at(1)), "nothing new");
        assert!(!board.turn(vec![], |_| false, &WAYS, at(2)), "it may come back");
        board.turn(vec![alert("disk")], |_| false, &WAYS, at(3));
        assert!(board.turn(vec![], |_| false, &WAYS, at(8)));
        assert_eq!(board.open().count(), 0);
        for way in WAYS {
            assert_eq!(told(&board, way), [(What::Opened, "disk".into()), (What::Closed, "disk".into())]);
        }
        let ids: Vec<&str> = board.waiting("mail").map(|event| event.id.as_str()).collect();
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn what_is_muted_is_told_when_that_ends_and_it_is_still_there() {
        let mut board = Board::default();
        board.turn(vec![alert("disk"), alert("clock")], |name| name == "disk", &WAYS, at(0));
        assert_eq!(told(&board, "mail"), [(What::Opened, "clock".into())]);
        assert_eq!(board.open().count(), 2, "it is on the board all the same");
        board.turn(vec![alert("disk")], |_| false, &WAYS, at(1));
        assert_eq!(told(&board, "mail").len(), 2);
        board.turn(vec![alert("late")], |_| true, &WAYS, at(2));
        board.turn(vec![], |_| true, &WAYS, at(20));
        assert_eq!(told(&board, "mail").len(), 2, "who hears of no beginning hears of no end");
    }

    #[test]
    fn each_way_has_its_own_place_and_a_way_that_is_gone_keeps_nothing() {
        let mut board = Board::default();
        board.turn(vec![alert("a"), alert("b")], |_| false, &WAYS, at(0));
        board.told("mail", 1);
        assert_eq!((board.waiting("mail").count(), board.waiting("webhook").count()), (1, 2));
        board.turn(vec![alert("a"), alert("b")], |_| false, &["mail"], at(1));
        assert_eq!(board.waiting("webhook").count(), 0);
        board.told("mail", 7);
        assert_eq!(board.waiting("mail").count(), 0);
    }

    #[test]
    fn a_far_side_that_is_long_away_is_told_the_newest_and_how_many_were_left_out() {
        let mut board = Board::default();
        for number in 0..WAITING_MAX + 2 {
            board.tell(What::Test, alert(&number.to_string()), at(0), &["mail"], at(0));
        }
        assert_eq!((board.waiting("mail").count(), board.left_out("mail")), (WAITING_MAX, 2));
        assert_eq!(board.waiting("mail").next().unwrap().alert.alert, "2");
    }

    #[test]
    fn it_goes_on_after_a_restart() {
        let mut board = Board::default();
        board.turn(vec![alert("disk")], |_| false, &WAYS, at(0));
        let kept: Board = serde_json::from_slice(&serde_json::to_vec(&board).unwrap()).unwrap();
        assert_eq!(kept, board);
        let mut kept = kept;
        assert!(!kept.turn(vec![alert("disk")], |_| false, &WAYS, at(60)), "not opened once more");
    }
}
