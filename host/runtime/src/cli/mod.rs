//! The `tidemill` command.
//!
//! Owns the command line, what is printed where, and exit codes. It must not know how a job runs:
//! it prepares one, watches it and tells how it ended. Invariants: standard output carries data and
//! results only, everything else goes to standard error; every failure says what to do where that
//! is known, and ends the process with its own code.

mod arguments;
mod checkpoint;
mod console;
mod control;
mod dry_run;
mod durability_view;
mod exit_code;
mod explain;
mod failure;
mod failure_help;
mod inspect;
mod new;
mod progress;
mod report;
mod rollback;
mod run;
mod savepoint;
mod state;
mod table;
mod tenant_view;
mod view;
mod wal;

pub use exit_code::ExitCode;

use clap::{CommandFactory, Parser};
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::config::{job_schema, tenants_schema};
use crate::telemetry::{LogOptions, LogStyle, init_logs};
use arguments::{Arguments, Command, GlobalOptions, LogFormat, SchemaOf, StateCommand};
use console::Console;
use failure::Failure;

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` come this way too.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::Usage } else { ExitCode::Done };
        }
    };
    if matches!(arguments.command, Command::CompileComponent) {
        return compile_component();
    }
    let console = Console::new(&arguments.global);
    let lines = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    init_logs(log_options(&arguments.global, &lines));
    match execute(&arguments.command, console, &lines) {
        Ok(code) => code,
        Err(failure) => {
            console.report(&failure);
            failure.exit_code()
        }
    }
}

/// The life of a compiler's process: no console and no log, its host alone listens.
fn compile_component() -> ExitCode {
    match crate::compiler::serve() {
        Ok(()) => ExitCode::Done,
        Err(_) => ExitCode::Io,
    }
}

fn log_options(options: &GlobalOptions, lines: &MultiProgress) -> LogOptions {
    let level = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
    LogOptions {
        style: match options.log_format {
            LogFormat::Text => LogStyle::Text { colour: Console::stderr_has_colour() },
            LogFormat::Json => LogStyle::Json,
        },
        verbosity: level(options.verbose) - level(options.quiet),
        lines: lines.clone(),
    }
}

fn execute(
    command: &Command,
    console: Console,
    lines: &MultiProgress,
) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments, console, lines),
        Command::Explain(arguments) => explain::explain(arguments),
        Command::Inspect(arguments) => inspect::inspect(arguments),
        Command::New(arguments) => new::new(arguments),
        Command::Checkpoint { command } => checkpoint::checkpoint(command),
        Command::Savepoint { command } => savepoint::savepoint(command),
        Command::State { command: StateCommand::Dump(arguments) } => state::dump(arguments),
        Command::Wal { command } => wal::wal(command),
        Command::CompileComponent => Ok(compile_component()),
        Command::Schema { of } => {
            let schema = match of {
                SchemaOf::Job => job_schema(),
                SchemaOf::Tenants => tenants_schema(),
            };
            console::print(&format!("{schema:#}\n"))?;
            Ok(ExitCode::Done)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "tidemill", &mut script);
            console::print(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::Done)
        }
    }
}
