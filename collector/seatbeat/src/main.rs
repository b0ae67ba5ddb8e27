//! The program `seatbeat`.
fn main() -> std::process::ExitCode {
    seatbeat::main_from(std::env::args_os())
}
