//! Files with a secret in them that a verb makes. Invariant: for their owner alone, on the disk with their names before
//! anything rests on them; what is there is never overwritten.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use seatbeat_collector::store::sync_folder_of;

use crate::hints::Hinted;

/// Makes a file of `what`.
///
/// # Errors
/// When one is there already, or it cannot be written.
pub fn make(path: &Path, what: &str, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    match written {
        Ok(()) => Ok(sync_folder_of(path)?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Hinted {
            message: format!("`{}` is there already: {what} is not written over it", path.display()),
            hint: "name another file; where a try was cut off, look what is in this one before it is removed"
                .to_owned(),
        }
        .into()),
        Err(error) => {
            Err(anyhow::Error::new(error).context(format!("failed to write {what} `{}`", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order.key");
        make(&path, "the key", "first").unwrap();
        let error = make(&path, "the key", "second").unwrap_err();
        assert!(error.to_string().contains("order.key` is there already"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777,
            0o600
        );
        let nowhere = make(&folder.path().join("none/order.key"), "the key", "first").unwrap_err();
        assert!(nowhere.to_string().contains("failed to write the key"), "{nowhere}");
    }
}
