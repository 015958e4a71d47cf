//! The project's chores, each one command on a fresh machine.

mod bench;
mod crash;
mod demo;
mod hostile;
mod steps;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
The project's chores.

Usage: cargo xtask COMMAND

Commands:
  demo       Build everything in release mode and count the words of the sources of all dependencies;
             the job is killed in the middle and goes on
  bench      Measure jobs, sandboxes and durability [jobs|peer|sandbox|micro|instructions|latency|idle|pause|
             cost|recovery|call-recovery|wal]... [--workload NAME] [--runs N] [--barriers N]
             [--compare OLD.json]
  crash      Kill jobs at random times, again and again, and compare their output [--kills N]
  hostile    Operators that attack, each beside a well-behaved job whose output and latency are checked; who
             fails by latency alone is tried twice; then a crowd with ten attackers, and 10,000 sandboxes that
             die [--seconds N] [--attack NAME]... [--crowd] [--soak [N]] [--short] [--table]
             [--format json], which leaves the crowd and what dies out
  test       Everything that must pass: formatting, lints, documentation, all tests
  operators  Build the sample operators to target/wasm32-wasip2/operator

Each adds the target wasm32-wasip2 with rustup if it is missing.
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let outcome = match command.as_str() {
        "demo" => demo::run(),
        "bench" => bench::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        "crash" => crash::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        "hostile" => hostile::hostile(&std::env::args().skip(2).collect::<Vec<_>>()),
        "test" => test::run(),
        "operators" => steps::build_operators(),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("there is no command {other:?}; see `cargo xtask --help`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
