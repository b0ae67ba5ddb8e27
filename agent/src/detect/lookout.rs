//! Looking again and again at one machine. Invariant: what is told was seen just now, or nothing that it depends on
//! has moved since; a source that could not be read is read again at the next look, moved or not.

use std::sync::{Mutex, PoisonError};

use seatbeat_proto::catalogue::{Catalogue, Observations, Source};

#[cfg(target_os = "linux")]
use super::changes::{Changes, Stamps};
#[cfg(not(any(target_os = "linux", windows)))]
use super::elsewhere::{Changes, Stamps};
use super::watch::Look;
#[cfg(windows)]
use super::windows::{Changes, Stamps};
use super::{DetectError, Nudges, Scope, observe};

/// Eyes with a memory.
#[derive(Debug)]
pub struct Lookout {
    scope: Scope,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    /// Only of the running machine; anything else is looked at whole each time.
    changes: Option<Changes>,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    catalogue_version: u32,
    stamps: Option<Stamps>,
    seen: Observations,
}

/// What a look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// How the machine stands.
    pub seen: Observations,
    /// Whether every source was looked at.
    pub everything: bool,
}

impl Lookout {
    /// Inside of an event loop. Nothing is looked at yet; and who tells that something moved, where anybody can.
    pub fn new(scope: Scope) -> (Self, Option<Nudges>) {
        let (changes, nudges) = if scope == Scope::default() { Changes::open() } else { (None, None) };
        (Self { scope, memory: Mutex::new(Memory { changes, last: None }) }, nudges)
    }

    /// Looks as closely as is asked, or closer. Blocks, as [`observe`] does.
    ///
    /// # Errors
    /// As [`observe`]; the next look is at everything then.
    pub fn look(&self, look: Look, catalogue: &Catalogue) -> Result<Looked, DetectError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { changes, last } = &mut *memory;
        // Before anything is looked at: what moves during the look moves these, or nudges.
        let stamps = changes.as_mut().map(|changes| changes.take(catalogue));
        let same = |last: &Last| {
            last.catalogue_version == catalogue.version
                && last.stamps == stamps
                // Servers have no Security Center, and never will.
                && last.seen.unreadable.keys().all(|source| *source == Source::SecurityCenter)
        };
        if let Some(last) = last.as_mut().filter(|last| stamps.is_some() && same(last))
            && look != Look::Everything
        {
            if look == Look::ChangesAndVoices {
                super::ask_vendor(catalogue, &mut last.seen);
            }
            return Ok(Looked { seen: last.seen.clone(), everything: false });
        }
        *last = None;
        let seen = observe(&self.scope, catalogue)?;
        *last = Some(Last { catalogue_version: catalogue.version, stamps, seen: seen.clone() });
        Ok(Looked { seen, everything: true })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const EMPTY: &str = r#"schema = "seatbeat-catalogue/1"
version = 1
product = []
family = []
"#;

    fn catalogue(signal: &str) -> Catalogue {
        let product = format!(
            "[[product]]\nid = \"x\"\nname = \"X\"\ncount = \"device\"\nsku = \"X\"\nsignals = [{signal}]\n\
             [product.active.linux]\nprocess_running = \"x-of-nobody\"\n"
        );
        Catalogue::parse(&format!("{}{product}", EMPTY.replace("product = []\nfamily = []\n", ""))).unwrap()
    }

    fn everything(lookout: &Lookout, look: Look, catalogue: &Catalogue) -> bool {
        lookout.look(look, catalogue).unwrap().everything
    }

    #[tokio::test]
    async fn a_machine_on_which_nothing_moves_is_looked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        std::fs::write(&path, "1").unwrap();
        let catalogue = catalogue(&format!(
            r#"{{ os = "linux", kind = "path", match = "{}", role = "identify", source = "S1" }}"#,
            path.display()
        ));
        let (lookout, _) = Lookout::new(Scope::default());
        assert!(everything(&lookout, Look::Changes, &catalogue), "nothing is known yet");
        assert!(!everything(&lookout, Look::Changes, &catalogue));
        assert!(!everything(&lookout, Look::ChangesAndVoices, &catalogue));
        assert!(everything(&lookout, Look::Everything, &catalogue));
        std::fs::write(&path, "12").unwrap();
        let looked = lookout.look(Look::Changes, &catalogue).unwrap();
        assert!(looked.everything && looked.seen.paths.contains(path.to_str().unwrap()));
        std::fs::remove_file(&path).unwrap();
        let looked = lookout.look(Look::Changes, &catalogue).unwrap();
        assert!(looked.everything && looked.seen.paths.is_empty());
        let newer = Catalogue { version: 2, ..catalogue };
        assert!(everything(&lookout, Look::Changes, &newer), "another catalogue asks other things");
    }

    #[tokio::test]
    async fn what_is_not_the_running_machine_is_looked_at_whole_each_time() {
        let root = tempfile::tempdir().unwrap();
        let scope = Scope { root: Some(root.path().to_owned()), ..Scope::default() };
        let (lookout, nudges) = Lookout::new(scope);
        assert!(nudges.is_none());
        for _ in 0..2 {
            assert!(everything(&lookout, Look::Changes, Catalogue::embedded()));
        }
    }
}
