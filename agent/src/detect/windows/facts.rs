//! What tells this Windows machine from another, as its firmware and its system say. Invariant: only read; what of it is
//! junk is decided where facts of all systems are.

use super::registry;
use super::smbios::{self, Smbios};
use super::wmi_query::{self, Answer};

/// What could be read.
#[derive(Debug, Default)]
pub struct Told {
    /// Of the firmware.
    pub smbios: Smbios,
    /// `MachineGuid`, which Windows' setup makes anew (and Sysprep does).
    pub machine_guid: Option<String>,
    /// The computer's name.
    pub host_name: Option<String>,
    /// Serial number of the disk that the system starts from.
    pub disk_serial: Option<String>,
    /// Addresses of cards that are on a bus of the machine's own.
    pub macs: Vec<String>,
}

/// Reads it.
pub fn read() -> Told {
    let table = registry::bytes(r"SYSTEM\CurrentControlSet\Services\mssmbios\Data", "SMBiosData");
    let name = r"SYSTEM\CurrentControlSet\Control\ComputerName\ActiveComputerName";
    Told {
        smbios: smbios::read(&table.unwrap_or_default()),
        machine_guid: registry::text(r"SOFTWARE\Microsoft\Cryptography", "MachineGuid"),
        host_name: registry::text(name, "ComputerName"),
        disk_serial: disk_serial(),
        macs: macs(),
    }
}

fn disk_serial() -> Option<String> {
    let rows =
        rows(r"ROOT\Microsoft\Windows\Storage", "SELECT SerialNumber FROM MSFT_Disk WHERE IsBoot = TRUE");
    rows.iter().find_map(|row| wmi_query::text(row, "SerialNumber"))
}

/// Cards on PCI: those of docks and sticks hang on USB, virtual ones on nothing.
fn macs() -> Vec<String> {
    let rows = rows(
        r"ROOT\CIMV2",
        r"SELECT MACAddress, PNPDeviceID FROM Win32_NetworkAdapter WHERE PhysicalAdapter = TRUE",
    );
    let onboard = rows.iter().filter(|row| {
        wmi_query::text(row, "PNPDeviceID").is_some_and(|id| id.to_ascii_uppercase().starts_with(r"PCI\"))
    });
    onboard.filter_map(|row| wmi_query::text(row, "MACAddress")).collect()
}

fn rows(namespace: &'static str, query: &'static str) -> Vec<wmi_query::Row> {
    match wmi_query::ask(namespace, query) {
        Answer::Rows(rows) => rows,
        Answer::Absent | Answer::Failed(_) => Vec::new(),
    }
}
