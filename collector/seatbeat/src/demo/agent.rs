//! A real agent on this very machine: this program started again, as a process of its own. Invariant: it is stopped
//! by its own id when the demonstration ends, and by nothing broader.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use seatbeat_collector::console::rows::MachineDetail;
use seatbeat_fleet::CUSTOMERS;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire;
use serde::Deserialize;

use super::fault::Fault;
use super::house::{House, Tokens};
use super::steps::Steps;

/// How long its first report may take: it looks at the whole machine first.
const FIRST_REPORT_WAIT_S: u64 = 60;

/// How long it may take to end after it was asked to, in tenths of a second.
const END_WAIT_TENTHS: u32 = 30;

/// The running agent.
pub struct Agent(Child);

impl Agent {
    /// Enrols this machine, starts its agent, and waits for its first report.
    ///
    /// # Errors
    /// When the process cannot be started, is not let in, or nothing is heard of it.
    pub async fn start(house: &mut House, tokens: &Tokens, steps: &mut Steps) -> Result<Self, Fault> {
        let step = steps.begin("enrol a real agent on this machine");
        let program = Program::of(house)?;
        let token = tokens.get(CUSTOMERS[0].id).map_or("", String::as_str);
        let mut enrol = program.command(house, &["enrol", "--again", "--json"]);
        // Not as an argument: those show in the process list.
        enrol.env("SEATBEAT_TOKEN", token);
        let enrolled = tokio::task::spawn_blocking(move || run(enrol)).await?;
        let said = enrolled.map_err(|source| program.fault("enrol", source))?;
        let mut agent =
            Self(program.command(house, &["run"]).spawn().map_err(|source| program.fault("start", source))?);
        let said: Enrolled = serde_json::from_str(&said)
            .map_err(|error| program.fault("understand", io::Error::other(error)))?;
        let machine = said.machine.to_string();
        for _ in 0..FIRST_REPORT_WAIT_S * 5 {
            if let Some(status) = agent.0.try_wait().map_err(|source| program.fault("watch", source))? {
                return Err(program.fault("run", io::Error::other(format!("it ended with {status}"))));
            }
            let request = wire::ShowMachineRequest { machine: machine.clone(), after_position: 0 };
            let shown: MachineDetail =
                house.collector.ask(async |console| console.show_machine(request).await).await?;
            if shown.machine.last_report.is_some() && shown.machine.connected {
                let products: Vec<&str> =
                    shown.machine.products.iter().map(|product| product.product.as_str()).collect();
                let found =
                    if products.is_empty() { "no product found".to_owned() } else { products.join(", ") };
                step.done(&format!("process {}, {machine}, {found}", agent.0.id()));
                return Ok(agent);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(Fault::AgentSilent { wait_s: FIRST_REPORT_WAIT_S, log: program.log })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Once it is known to have ended its id may be another's.
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        #[cfg(unix)]
        {
            let pid = rustix::process::Pid::from_child(&self.0);
            // It has ended already when it cannot be asked to.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            for _ in 0..END_WAIT_TENTHS {
                if !matches!(self.0.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program, as the agent.
struct Program {
    exe: PathBuf,
    log: PathBuf,
}

impl Program {
    fn of(house: &House) -> Result<Self, Fault> {
        let log = house.place.agent_log();
        let exe = std::env::current_exe().map_err(|source| Fault::Agent {
            act: "find",
            log: log.clone(),
            source,
        })?;
        // A fresh log for each start.
        File::create(&log).map_err(|source| Fault::Agent { act: "log", log: log.clone(), source })?;
        Ok(Self { exe, log })
    }

    fn command(&self, house: &House, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.exe);
        command.arg("__agent").args(verb).arg("--state").arg(house.place.agent());
        command.arg("--clock").arg(house.clock.now().to_string());
        let log = File::options().append(true).open(&self.log).map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        if verb == ["run"] {
            command.stdout(Stdio::null());
        }
        command
    }

    fn fault(&self, act: &'static str, source: io::Error) -> Fault {
        Fault::Agent { act, log: self.log.clone(), source }
    }
}

fn run(mut command: Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(io::Error::other(format!("it ended with {}", output.status)))
    }
}

/// What the agent says when it is let in.
#[derive(Deserialize)]
struct Enrolled {
    machine: MachineId,
}
