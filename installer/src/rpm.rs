//! rpm's format. Invariant: no host, no clock and no order of a file system is in it; what the program wants is read
//! from the program.

use anyhow::{Context as _, Result};
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder, Scriptlet, Timestamp};

use crate::content::{Content, Part};
use crate::deb::gz;
use crate::edition::Edition;

/// Beside those for its libraries: the user and the units.
const REQUIRES: [&str; 1] = ["systemd"];

/// The package's bytes.
///
/// # Errors
/// When the format has no room for something.
pub fn package(part: Part, content: &Content, edition: &Edition) -> Result<Vec<u8>> {
    let Content { name, summary, description, entries, scripts, wants, .. } = content;
    let at = u32::try_from(edition.seconds()).context("the sources are of after 2106")?;
    let config = BuildConfig::v4().source_date(Timestamp(at)).compression(CompressionType::Xz);
    let mut made =
        PackageBuilder::new(name, edition.version, "Apache-2.0", wants.processor.kernel(), summary);
    made.using_config(config)
        .release(edition.revision.to_string())
        .description(*description)
        .packager(edition.maintainer.clone())
        .build_host("localhost");
    for entry in entries {
        let mode = u16::try_from(entry.mode).context("a mode has sixteen bits")?;
        let mut about = FileOptions::new(format!("/{}", entry.path)).permissions(mode);
        if entry.is_configuration {
            about = about.config().noreplace();
        }
        made.with_file_contents(entry.bytes.clone(), about)?;
    }
    let (manual, text) = part.manual();
    made.with_file_contents(
        gz(text.as_bytes())?,
        FileOptions::new(format!("/{manual}.gz")).permissions(0o644).doc(),
    )?;
    for wanted in REQUIRES.iter().map(|name| (*name).to_owned()).chain(wants.rpm()) {
        made.requires(Dependency::any(wanted));
    }
    made.requires(Dependency::script_post("systemd")).requires(Dependency::script_preun("systemd"));
    let [post, preun, postun] = scripts.rpm.map(Scriptlet::new);
    made.post_install_script(post).pre_uninstall_script(preun).post_uninstall_script(postun);
    let mut bytes = Vec::new();
    made.build().context("failed to make the rpm")?.write(&mut bytes)?;
    Ok(bytes)
}

/// The file's name, as rpm has them.
pub fn file_name(content: &Content, edition: &Edition) -> String {
    format!("{}-{}.{}.rpm", content.name, edition.text(), content.wants.processor.kernel())
}
