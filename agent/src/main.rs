//! The agent as a program of its own.

fn main() -> std::process::ExitCode {
    seatbeat_agent::cli::main_from(std::env::args_os())
}
