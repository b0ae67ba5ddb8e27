//! Each form in which files and programs of a machine say something, read from its bytes alone, as the sensors read it.
//! Invariant: nothing of this machine is looked at, and what is kept of any bytes is bounded.

use std::io::Cursor;

use seatbeat_proto::catalogue::{OUTPUT_LENGTH_MAX, Observations, Wanted};

use super::windows::{ini, smbios, version};
use super::{collected, dpkg, files, notify, plist, ports, processes, rpm, units, vendor};

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// dpkg's status file.
    DpkgStatus,
    /// What rpm answers to the agent.
    RpmAnswer,
    /// `rpm -qa`, as somebody collected it.
    RpmListing,
    /// `systemctl show`.
    Units,
    /// `/proc/net/tcp`.
    Sockets,
    /// `/etc/group`.
    Groups,
    /// `/proc/modules`.
    KernelModules,
    /// `/proc/PID/cmdline`.
    Arguments,
    /// What the kernel says of watched files.
    FileEvents,
    /// What a program of the vendor's answers.
    VendorOutput,
    /// `reg export`.
    RegistryExport,
    /// `sc query`.
    WindowsServices,
    /// `pkgutil --pkgs`.
    Receipts,
    /// `launchctl list`.
    LaunchdJobs,
    /// `systemextensionsctl list`.
    SystemExtensions,
    /// A property list, XML or binary.
    PropertyList,
    /// The firmware's table, as Windows keeps it.
    Firmware,
    /// A program for Windows, for its version.
    Program,
    /// An ini file; its first `Version` of any section is told.
    Ini,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::DpkgStatus,
        Self::RpmAnswer,
        Self::RpmListing,
        Self::Units,
        Self::Sockets,
        Self::Groups,
        Self::KernelModules,
        Self::Arguments,
        Self::FileEvents,
        Self::VendorOutput,
        Self::RegistryExport,
        Self::WindowsServices,
        Self::Receipts,
        Self::LaunchdJobs,
        Self::SystemExtensions,
        Self::PropertyList,
        Self::Firmware,
        Self::Program,
        Self::Ini,
    ];
}

/// What is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What goes among the observations of a machine.
    pub seen: Observations,
    /// Texts that are told beside: of units, programs, firmware and property lists.
    pub texts: Vec<String>,
}

/// Reads bytes in a form, for a catalogue that wants this.
pub fn read(form: Form, bytes: &[u8], wanted: &Wanted<'_>) -> Told {
    let mut told = Told::default();
    let seen = &mut told.seen;
    let output = || vendor::text(&bytes[..bytes.len().min(OUTPUT_LENGTH_MAX)]);
    match form {
        // Bytes in memory can be read.
        Form::DpkgStatus => drop(dpkg::read(bytes, wanted, "", &mut seen.packages)),
        Form::RpmAnswer => seen.packages = rpm::packages(&output()),
        Form::RpmListing => collected::packages(&vendor::text(bytes), wanted, seen),
        Form::Units => told.texts = units::shown(&output()).into_iter().map(|unit| unit.id).collect(),
        Form::Sockets => ports::read(bytes, wanted, seen, "/proc/net/tcp"),
        Form::Groups => seen.groups = files::read(bytes, b':', &wanted.groups).unwrap_or_default(),
        Form::KernelModules => {
            seen.kernel_modules = files::read(bytes, b' ', &wanted.kernel_modules).unwrap_or_default();
        }
        Form::Arguments => told.texts.extend(processes::first_path(bytes)),
        Form::FileEvents => told.texts.extend(notify::is_nudge(bytes).then(String::new)),
        Form::VendorOutput => {
            let output = output();
            seen.vendor_output = wanted.commands.iter().map(|command| (*command, output.clone())).collect();
        }
        Form::RegistryExport => collected::registry(&vendor::text(bytes), wanted, seen),
        Form::WindowsServices => collected::services(&vendor::text(bytes), wanted, seen),
        Form::Receipts => collected::receipts(&vendor::text(bytes), wanted, seen),
        Form::LaunchdJobs => collected::launchd(&vendor::text(bytes), wanted, seen),
        Form::SystemExtensions => collected::extensions(&vendor::text(bytes), wanted, seen),
        Form::PropertyList => {
            let values = plist::read(bytes).unwrap_or_default();
            told.texts = values.into_iter().flat_map(|(keys, value)| [keys, value]).collect();
        }
        Form::Firmware => {
            let smbios::Smbios { uuid, system_serial, board_serial } = smbios::read(bytes);
            told.texts = [uuid, system_serial, board_serial].into_iter().flatten().collect();
        }
        Form::Program => told.texts.extend(version::of(&mut Cursor::new(bytes)).ok().flatten()),
        Form::Ini => {
            let text = vendor::text(bytes);
            let value = ini::value(&text, "*", "Version");
            told.texts =
                value.into_iter().flat_map(|(section, value)| [section.into(), value.into()]).collect();
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use seatbeat_proto::catalogue::{Catalogue, Os};

    use super::*;

    #[test]
    fn a_form_is_read_as_its_sensor_reads_it_and_others_say_nothing_of_it() {
        let status = b"Package: ds-agent\nStatus: install ok installed\nVersion: 20.0.0.7303\n";
        let wanted = Catalogue::embedded().wanted(Os::Linux);
        assert_eq!(read(Form::DpkgStatus, status, &wanted).seen.packages[0].version, "20.0.0.7303");
        let others = Form::ALL
            .into_iter()
            .filter(|form| !matches!(form, Form::DpkgStatus | Form::VendorOutput | Form::FileEvents));
        for form in others {
            assert_eq!(read(form, status, &wanted), Told::default(), "{form:?}");
        }
    }
}
