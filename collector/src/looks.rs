//! Looks for what others wrote, seen from who needs to know it. Invariant: whoever waits hears of a look that began after
//! they asked, or that there was none in time.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Longest that a look is waited for.
const WAIT: Duration = Duration::from_secs(2);

/// How many looks there were, from when one began and to its end.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    begun: u64,
    done: u64,
}

/// The side of whoever looks.
#[derive(Debug)]
pub struct Looks(watch::Sender<Count>);

/// The side of whoever waits.
#[derive(Debug, Clone)]
pub struct Looked(watch::Receiver<Count>);

/// A look that goes on.
#[derive(Debug)]
#[must_use]
pub struct Look(u64);

impl Default for Looks {
    fn default() -> Self {
        Self(watch::Sender::new(Count::default()))
    }
}

impl Looks {
    /// A look begins.
    pub fn begin(&self) -> Look {
        self.0.send_modify(|count| count.begun += 1);
        Look(self.0.borrow().begun)
    }

    /// It saw all that there was when it began.
    pub fn end(&self, look: &Look) {
        self.0.send_modify(|count| count.done = count.done.max(look.0));
    }

    /// For whoever waits.
    pub fn watched(&self) -> Looked {
        Looked(self.0.subscribe())
    }
}

impl Looked {
    /// Returns behind a look that began after this was asked; false where there was none in time.
    pub async fn caught_up(&self) -> bool {
        let mut count = self.0.clone();
        let begun = count.borrow().begun;
        let waited = timeout(WAIT, count.wait_for(|count| count.done > begun)).await;
        waited.is_ok_and(|seen| seen.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_was_under_way_is_not_enough() {
        let looks = Looks::default();
        let looked = looks.watched();
        let before = looks.begin();
        let waits = tokio::spawn({
            let looked = looked.clone();
            async move { looked.caught_up().await }
        });
        tokio::task::yield_now().await;
        looks.end(&before);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        looks.end(&looks.begin());
        assert!(waits.await.unwrap());
        assert!(!looked.caught_up().await, "nobody looks any more");
    }
}
