//! A database that fails, and the way there. Invariant: what fails is over before the healing, which mends the rest.

use crate::database::Road;
use crate::world::{Event, HOUR, SECOND, World};

impl World {
    /// Whether there is nothing to start on: no database, or no room for the copy of it.
    pub fn cannot_copy(&self, collector: usize) -> bool {
        let is_full = self.collectors[collector].disk.is_full();
        self.database.as_ref().is_some_and(|database| is_full || !database.is_reached_by(collector))
    }

    /// The database fails, or the way there.
    pub fn fail_database(&mut self, collector: usize) {
        let Some(database) = self.database.clone() else { return };
        let (kind, long) = match self.draw(5) {
            0 => ("database lossy", 2 * HOUR),
            1 | 2 => ("database goes away in a commit", HOUR),
            3 => ("database away", HOUR),
            _ => ("collector cut off from the database", 6 * HOUR),
        };
        match kind {
            "database lossy" => database.set_road(Road::Lossy),
            "database goes away in a commit" => database.set_road(Road::Breaking),
            "database away" => database.set_road(Road::Gone),
            _ => database.cut_off(collector, true),
        }
        self.tell(format!("{kind} ({collector})"));
        self.count(kind);
        let at = self.now + SECOND + self.draw(long);
        self.plan(at, Event::Database);
    }

    /// The database is well again.
    pub fn mend_database(&mut self) {
        let Some(database) = self.database.clone() else { return };
        database.set_road(Road::Clear);
        (0..self.collectors.len()).for_each(|collector| database.cut_off(collector, false));
    }
}
