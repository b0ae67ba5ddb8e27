//! What the vendor's own programs answer: asked on the running machine, or read from a folder where somebody kept it.
//! Invariant: the command lines stand here and nowhere else; an answer is bounded; no answer is not an empty answer.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
#[cfg(any(target_os = "linux", windows))]
use std::time::Duration;

#[cfg(any(target_os = "linux", windows))]
use seatbeat_proto::catalogue::VendorCommand;
use seatbeat_proto::catalogue::{OUTPUT_LENGTH_MAX, Observations, Source, Wanted};

use super::Sensor;
#[cfg(any(target_os = "linux", windows))]
use super::exec::{self, ExecError};
#[cfg(target_os = "linux")]
use super::root::Root;

/// Program and arguments of a command on Linux.
#[cfg(target_os = "linux")]
fn command_line(command: VendorCommand) -> (&'static str, &'static [&'static str]) {
    match command {
        VendorCommand::DsaAgentStatus => ("/opt/ds_agent/dsa_query", &["-c", "GetAgentStatus"]),
        VendorCommand::DsaComponentInfo => ("/opt/ds_agent/dsa_query", &["-c", "GetComponentInfo"]),
        VendorCommand::TmxbcVersion => ("/opt/TrendMicro/EndpointBasecamp/bin/tmxbc", &["-v"]),
    }
}

/// The running machine's vendor programs.
#[cfg(target_os = "linux")]
pub struct Commands(pub Root);

#[cfg(target_os = "linux")]
impl Sensor for Commands {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        if !self.0.is_live() {
            let why = "nothing is run under a foreign root, and no collected output was given";
            seen.unreadable.insert(Source::VendorOutput, why.into());
            return;
        }
        for command in &wanted.commands {
            let (program, arguments) = command_line(*command);
            ask(*command, program, arguments, seen);
        }
    }
}

/// The running machine's vendor programs.
#[cfg(windows)]
pub struct Commands;

#[cfg(windows)]
impl Sensor for Commands {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        for command in &wanted.commands {
            if let Some((program, arguments)) = super::windows::command_line(*command) {
                ask(*command, &program, arguments, seen);
            }
        }
    }
}

#[cfg(any(target_os = "linux", windows))]
fn ask(command: VendorCommand, program: &str, arguments: &[&str], seen: &mut Observations) {
    let time = Duration::from_secs(exec::TIME_S_MAX);
    let why = match exec::run(program, arguments, time, OUTPUT_LENGTH_MAX) {
        Ok(answer) if answer.status.success() && !answer.text.trim().is_empty() => {
            seen.vendor_output.insert(command, answer.text);
            return;
        }
        Ok(answer) => format!("`{program}` gave no answer ({})", answer.status),
        Err(ExecError::Absent(_)) => return,
        Err(error) => error.to_string(),
    };
    seen.unreadable.entry(Source::VendorOutput).or_insert(why);
}

/// A folder of `<command>.txt` files.
pub struct Collected(pub PathBuf);

impl Sensor for Collected {
    fn look(&self, wanted: &Wanted<'_>, seen: &mut Observations) {
        seen.unreadable.remove(&Source::VendorOutput);
        for command in &wanted.commands {
            let path = self.0.join(format!("{}.txt", command.id()));
            let mut bytes = Vec::new();
            let read = File::open(&path)
                .and_then(|file| file.take(OUTPUT_LENGTH_MAX as u64).read_to_end(&mut bytes));
            match read {
                Ok(_) => {
                    seen.vendor_output.insert(*command, text(&bytes));
                }
                Err(error) => {
                    // A command whose file is missing gave no answer; one that failed to read is worth a word.
                    seen.vendor_output.remove(command);
                    if error.kind() != std::io::ErrorKind::NotFound {
                        let why = format!("failed to read `{}`: {error}", path.display());
                        seen.unreadable.insert(Source::VendorOutput, why);
                    }
                }
            }
        }
    }
}

/// Text as a console saved it: UTF-8, or the UTF-16 that Windows redirections write.
pub(super) fn text(bytes: &[u8]) -> String {
    let (unit, rest): (fn([u8; 2]) -> u16, _) = match bytes {
        [0xFF, 0xFE, rest @ ..] => (u16::from_le_bytes, rest),
        [0xFE, 0xFF, rest @ ..] => (u16::from_be_bytes, rest),
        [0xEF, 0xBB, 0xBF, rest @ ..] => return String::from_utf8_lossy(rest).into_owned(),
        _ => return String::from_utf8_lossy(bytes).into_owned(),
    };
    let units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_however_a_console_saved_it() {
        let utf16: Vec<u8> =
            [0xFF, 0xFE].into_iter().chain("green\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for bytes in [b"green\n".to_vec(), b"\xEF\xBB\xBFgreen\n".to_vec(), utf16] {
            assert_eq!(text(&bytes), "green\n");
        }
    }
}
