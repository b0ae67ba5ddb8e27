//! Whether anything moved on the running machine: watches for what comes, stamps for what was. Invariant: the watches
//! are set before the stamps are taken, so nothing falls between the two.

use seatbeat_proto::catalogue::{Catalogue, Os};

use super::notify::{self, Nudges, Watches};
use super::places::Places;
use super::processes::may_be_wanted;
use super::stamps::Stamper;

pub use super::stamps::Stamps;

/// See the module's text.
#[derive(Debug)]
pub struct Changes {
    stamper: Stamper,
    watches: Option<Watches>,
}

impl Changes {
    /// Without the kernel's help the stamps alone tell, at the next look.
    pub fn open() -> (Option<Self>, Option<Nudges>) {
        let (watches, nudges) = match notify::open() {
            Ok((watches, nudges)) => (Some(watches), Some(nudges)),
            Err(error) => {
                tracing::info!(error = error.to_string(), "changes are not told, only looked for");
                (None, None)
            }
        };
        (Some(Self { stamper: Stamper::default(), watches }), nudges)
    }

    /// How the machine stands now; what moves from now on is told once.
    pub fn take(&mut self, catalogue: &Catalogue) -> Stamps {
        let wanted = catalogue.wanted(Os::Linux);
        let places = Places::of(&wanted);
        if let Some(watches) = &self.watches {
            watches.arm(&places);
        }
        self.stamper.take(&places, |name| may_be_wanted(name, &wanted))
    }
}
