//! Debian's format: an `ar` of a version, a tar of what the package manager reads, and a tar of files. Invariant: order,
//! times, owners and permissions are said here, none is the file system's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use liblzma::write::XzEncoder;
use md5::{Digest as _, Md5};

use crate::content::{Content, Entry, Part, entry};
use crate::edition::Edition;

/// xz's own default: more takes memory from whoever unpacks.
const XZ_LEVEL: u32 = 6;

/// The package's bytes.
///
/// # Errors
/// When a library of the program is in no known package.
pub fn package(part: Part, content: Content, edition: &Edition) -> Result<Vec<u8>> {
    let Content { name, entries, scripts, .. } = &content;
    let mut files = entries.clone();
    files.extend(documents(part, name, edition)?);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let mut about = vec![
        entry("control", control(&content, &files, edition)?.into_bytes(), 0o644),
        entry("md5sums", sums(&files).into_bytes(), 0o644),
    ];
    let kept: Vec<String> =
        files.iter().filter(|file| file.is_configuration).map(|file| format!("/{}\n", file.path)).collect();
    if !kept.is_empty() {
        about.push(entry("conffiles", kept.concat().into_bytes(), 0o644));
    }
    about.extend(scripts.debian.iter().map(|(script, text)| {
        entry(script, text.as_bytes().to_vec(), if *script == "templates" { 0o644 } else { 0o755 })
    }));
    about.sort_by(|one, other| one.path.cmp(&other.path));
    let mut made = ar::Builder::new(Vec::new());
    for (member, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.xz", xz(&tar(&about, edition)?)?),
        ("data.tar.xz", xz(&tar(&files, edition)?)?),
    ] {
        let mut header = ar::Header::new(member.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mtime(edition.seconds());
        header.set_mode(0o100_644);
        made.append(&header, bytes.as_slice())?;
    }
    Ok(made.into_inner()?)
}

/// The file's name, as Debian has them.
pub fn file_name(content: &Content, edition: &Edition) -> String {
    format!("{}_{}_{}.deb", content.name, edition.text(), content.wants.processor.debian())
}

fn control(content: &Content, files: &[Entry], edition: &Edition) -> Result<String> {
    let Content { name, summary, description, debian_depends, wants, .. } = content;
    let mut depends: Vec<String> = debian_depends.iter().map(|package| (*package).to_owned()).collect();
    depends.extend(wants.debian()?);
    depends.sort();
    // In KiB, each file and folder rounded up, as dpkg-gencontrol counts.
    let size = files.iter().map(|file| file.bytes.len().div_ceil(1024)).sum::<usize>() + folders(files).len();
    let mut text =
        format!("Package: {name}\nVersion: {}\nArchitecture: {}\n", edition.text(), wants.processor.debian());
    write!(
        text,
        "Maintainer: {}\nInstalled-Size: {size}\nDepends: {}\n",
        edition.maintainer,
        depends.join(", ")
    )?;
    write!(text, "Section: admin\nPriority: optional\nDescription: {summary}\n")?;
    for line in description.lines() {
        writeln!(text, " {line}")?;
    }
    Ok(text)
}

/// What Debian wants of every package: whose it is, what changed, how it is used.
fn documents(part: Part, name: &str, edition: &Edition) -> Result<Vec<Entry>> {
    let changes = format!(
        "{name} ({}) stable; urgency=medium\n\n  * Seatbeat {}.\n\n -- {}  {}\n",
        edition.text(),
        edition.version,
        edition.maintainer,
        edition.mail_date()
    );
    let whose = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n\
                 Copyright: 2026 the authors of Seatbeat\nLicense: Apache-2.0\n On Debian systems the text is in \
                 /usr/share/common-licenses/Apache-2.0.\n";
    let (manual, text) = part.manual();
    Ok(vec![
        entry(&format!("usr/share/doc/{name}/changelog.Debian.gz"), gz(changes.as_bytes())?, 0o644),
        entry(&format!("usr/share/doc/{name}/copyright"), whose.as_bytes().to_vec(), 0o644),
        entry(&format!("usr/share/lintian/overrides/{name}"), overrides(name).into_bytes(), 0o644),
        entry(&format!("{manual}.gz"), gz(text.as_bytes())?, 0o644),
    ])
}

/// What lintian warns of and is meant, each with why.
fn overrides(name: &str) -> String {
    format!(
        "# It looks for products in the package manager's own list, of other systems' roots, too.\n\
         {name}: uses-dpkg-database-directly [usr/bin/{name}]\n\
         # It is in no distribution's archive, so nobody asked for it there.\n\
         {name}: initial-upload-closes-no-bugs *\n"
    )
}

fn sums(files: &[Entry]) -> String {
    let plain = files.iter().filter(|file| !file.is_configuration);
    plain.map(|file| format!("{}  {}\n", hex(&Md5::digest(&file.bytes)), file.path)).collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Each folder above a file, once, those above before those below.
pub fn folders(files: &[Entry]) -> BTreeSet<&str> {
    let above = |file: &'_ Entry| -> Vec<usize> { file.path.match_indices('/').map(|(at, _)| at).collect() };
    files.iter().flat_map(|file| above(file).into_iter().map(|at| &file.path[..at])).collect()
}

/// A tar of the files and the folders above them, all of them root's.
pub fn tar(files: &[Entry], edition: &Edition) -> Result<Vec<u8>> {
    let mut made = tar::Builder::new(Vec::new());
    let mut append = |path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]| -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(edition.seconds());
        header.set_username("root")?;
        header.set_groupname("root")?;
        // `append_data` would leave the leading `./` out, by which dpkg knows its root.
        let name = header.as_gnu_mut().map(|gnu| &mut gnu.name);
        let path = path.as_bytes();
        match name {
            Some(name) if path.len() <= name.len() => name[..path.len()].copy_from_slice(path),
            _ => anyhow::bail!("the path `{}` is too long for a package", String::from_utf8_lossy(path)),
        }
        header.set_cksum();
        Ok(made.append(&header, bytes)?)
    };
    append("./", tar::EntryType::Directory, 0o755, &[])?;
    for folder in folders(files) {
        append(&format!("./{folder}/"), tar::EntryType::Directory, 0o755, &[])?;
    }
    for file in files {
        append(&format!("./{}", file.path), tar::EntryType::Regular, file.mode, &file.bytes)?;
    }
    Ok(made.into_inner()?)
}

fn xz(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = XzEncoder::new(Vec::new(), XZ_LEVEL);
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Without a name and a time in it.
pub fn gz(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_before_what_is_in_them_and_once() {
        let files = [entry("usr/bin/a", vec![], 0o755), entry("usr/bin/b", vec![], 0o755)];
        assert_eq!(folders(&files).into_iter().collect::<Vec<_>>(), ["usr", "usr/bin"]);
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let edition = Edition {
            version: "1.0.0",
            revision: 1,
            maintainer: "A <a@b.example>".to_owned(),
            at: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
        };
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // The test's own program is large, and takes seconds to compress.
        let made = || {
            let mut content = Part::Agent.content(own.clone()).unwrap();
            content.entries.retain(|entry| !entry.path.starts_with("usr/bin/"));
            package(Part::Agent, content, &edition).unwrap()
        };
        let (one, other) = (made(), made());
        assert_eq!(one, other);
        assert!(
            one.starts_with(b"!<arch>\ndebian-binary   1700000000  0     0     100644  4         `\n2.0\n")
        );
    }
}
