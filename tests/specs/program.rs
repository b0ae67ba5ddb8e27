//! Both programs in one: `seatbeat …`, and the agent as `seatbeat __agent …`.

fn main() -> std::process::ExitCode {
    seatbeat::main_from(std::env::args_os())
}
