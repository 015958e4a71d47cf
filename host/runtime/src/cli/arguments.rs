//! The command line: subcommands, options, and their help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use super::exit_code::ExitCode;
use super::new::CrateName;

/// Runs stream operators that nobody has to trust.
///
/// Operators are WebAssembly components. A job file names them and says where records come from and
/// where they go; Tidemill gives them keyed state and keeps each in its sandbox.
#[derive(Debug, Parser)]
#[command(
    name = "tidemill",
    version,
    max_term_width = 100,
    after_help = main_help(),
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: GlobalOptions,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every subcommand.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalOptions {
    /// How log lines and errors are written to stderr
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,
    /// Say more (-vv: even more); TIDEMILL_LOG=FILTER says exactly what
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Say less: no progress, no summary (-qq: errors only)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub(super) quiet: u8,
    /// When to use colour; `auto` heeds NO_COLOR and whether a terminal listens
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(super) color: ColorChoice,
}

/// How log lines are written: for people, or one JSON object a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// How a result is written: for people, or as one JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a job until its input ends; one that was interrupted goes on from its newest checkpoint
    Run(RunArguments),
    /// Show what a job would do, without doing it
    Explain(ExplainArguments),
    /// Show what a component is and whether it would be admitted
    Inspect(InspectArguments),
    /// Start a new operator
    New(NewArguments),
    /// Look at the checkpoints of a job
    #[command(after_help = examples(
        "tidemill checkpoint list job.toml\n\
         tidemill checkpoint inspect job.toml --checkpoint 12 --format json\n\
         tidemill checkpoint verify job.toml"
    ))]
    Checkpoint {
        #[command(subcommand)]
        command: CheckpointCommand,
    },
    /// Make and look at savepoints: checkpoints that you own
    #[command(after_help = examples(
        "tidemill savepoint create job.toml                # of a running job or a stopped one\n\
         tidemill savepoint create job.toml --to /backup/monday\n\
         tidemill savepoint create job.toml --to /backup/last --stop\n\
         tidemill savepoint list job.toml\n\
         tidemill run job.toml --from /backup/monday --data-dir elsewhere"
    ))]
    Savepoint {
        #[command(subcommand)]
        command: SavepointCommand,
    },
    /// Look at the keyed state of a job
    #[command(after_help = examples(
        "tidemill state dump job.toml --operator count | head\n\
         tidemill state dump job.toml --operator count --task 0 --checkpoint 12"
    ))]
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
    /// Look at the input log of a job
    #[command(after_help = examples(
        "tidemill wal verify job.toml\n\
         tidemill wal dump job.toml --records | head"
    ))]
    Wal {
        #[command(subcommand)]
        command: WalCommand,
    },
    /// Print the JSON schema of job files or tenants' files
    #[command(after_help = examples(
        "tidemill schema > job.schema.json\n\
         tidemill schema tenants > tenants.schema.json"
    ))]
    Schema {
        /// Of which files
        #[arg(value_enum, default_value_t = SchemaOf::Job)]
        of: SchemaOf,
    },
    /// Compile the component on stdin for the host that started this process
    #[command(name = crate::compiler::SUBCOMMAND, hide = true)]
    CompileComponent,
    /// Print a completion script for a shell
    #[command(after_help = examples(
        "tidemill completions bash > ~/.local/share/bash-completion/completions/tidemill\n\
         tidemill completions zsh  > ~/.zfunc/_tidemill"
    ))]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Files that have a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaOf {
    /// Job files
    Job,
    /// The tenants' file of a host
    Tenants,
}

/// The job file and what is laid over it.
#[derive(Clone, Debug, Args)]
pub(super) struct JobArguments {
    /// The job file
    #[arg(value_name = "JOB.toml", value_hint = ValueHint::FilePath)]
    pub(super) job: PathBuf,
    /// Override a setting of the job file; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) sets: Vec<String>,
    /// Where the job keeps its data [default: .tidemill beside the job file]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = examples(
    "tidemill run job.toml\n\
     tidemill run job.toml --set parallelism=4 --set sources.in.path='logs/*.ndjson'\n\
     cat words.txt | tidemill run job.toml --report json\n\
     tidemill run job.toml --dry-run                  # where would it go on from, and can it?\n\
     tidemill run job.toml --dry-run --from /backup/monday --set parallelism=4 --report json\n\
     tidemill run job.toml --metrics 127.0.0.1:9464   # then: curl http://127.0.0.1:9464/metrics\n\
     tidemill run a.toml b.toml --report json         # side by side: one that fails stops no other\n\
     tidemill run */jobs/*.toml --tenants tenants.toml\n\
     perf record -g tidemill run job.toml --perf-map  # then: perf report"
))]
pub(super) struct RunArguments {
    /// The job files; several jobs run side by side in one process, each by itself
    #[arg(value_name = "JOB.toml", required = true, value_hint = ValueHint::FilePath)]
    pub(super) jobs: Vec<PathBuf>,
    /// Override a setting of the job file; may be repeated, and goes for every job
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) sets: Vec<String>,
    /// Where jobs keep their data [default: .tidemill beside each job file]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) data_dir: Option<PathBuf>,
    /// Who may run jobs here, and how much each may use [default: anybody, without quotas]
    #[arg(long, value_name = "TENANTS.toml", value_hint = ValueHint::FilePath)]
    pub(super) tenants: Option<PathBuf>,
    /// Begin anew whatever earlier runs did: their checkpoints, and the output files that they
    /// published, are removed first
    #[arg(long)]
    pub(super) fresh: bool,
    /// Begin a new job with a savepoint; the job must not have run, or --fresh be given; for one job only
    #[arg(long, value_name = "SAVEPOINT", value_hint = ValueHint::DirPath)]
    pub(super) from: Option<PathBuf>,
    /// Give up state that the job has no place for any more
    #[arg(long)]
    pub(super) allow_drop_state: bool,
    /// Say what the run would do, and do nothing: check the job against the checkpoint or savepoint that
    /// it would start from, restore its state, and have operators migrate state of older schema
    /// versions, as a run does before its first effect. Ends as that run would; the report goes to stdout
    #[arg(long, conflicts_with = "metrics")]
    pub(super) dry_run: bool,
    /// When the newest checkpoint is damaged, go back to the newest that is whole: output files published
    /// since then are set aside, and their records are processed and published again
    #[arg(long, conflicts_with_all = ["fresh", "from", "dry_run"])]
    pub(super) accept_rollback: bool,
    /// How the report at the end is written: text to stderr; JSON to stdout, or to stderr when a
    /// sink writes to stdout
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(super) report: OutputFormat,
    /// Serve Prometheus metrics on this address, such as 127.0.0.1:9464; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<SocketAddr>,
    /// List the functions of operators in /tmp/perf-PID.map, so that Linux `perf` names them; without its
    /// names (`strip`) a component has numbers only
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) perf_map: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    /// List the checkpoints that are kept
    #[command(after_help = examples("tidemill checkpoint list job.toml"))]
    List(CheckpointSelection),
    /// Show what a checkpoint holds: positions, state files, output files
    #[command(after_help = examples("tidemill checkpoint inspect job.toml --checkpoint 12"))]
    Inspect(CheckpointSelection),
    /// Read all of a checkpoint and compare it with its digests
    #[command(after_help = examples("tidemill checkpoint verify job.toml"))]
    Verify(CheckpointSelection),
}

/// A job, and one of its checkpoints.
#[derive(Debug, Args)]
pub(super) struct CheckpointSelection {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// Number of the checkpoint [default: the newest]
    #[arg(long, value_name = "NUMBER")]
    pub(super) checkpoint: Option<u64>,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(super) format: OutputFormat,
}

#[derive(Debug, Subcommand)]
pub(super) enum SavepointCommand {
    /// Copy a checkpoint of a job, taken now if it runs, the newest if it does not
    #[command(after_help = examples("tidemill savepoint create job.toml --to /backup/monday"))]
    Create(SavepointCreateArguments),
    /// List the savepoints in the job's own directory
    #[command(after_help = examples("tidemill savepoint list job.toml"))]
    List(SavepointListArguments),
    /// Show what a savepoint holds
    #[command(after_help = examples("tidemill savepoint inspect /backup/monday --format json"))]
    Inspect(SavepointInspectArguments),
}

#[derive(Debug, Args)]
pub(super) struct SavepointCreateArguments {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// Stop the running job with it: nothing more is received, the input log is processed to its end, and
    /// all of that is in the savepoint. Waits until the job has ended, with exit code 3
    #[arg(long)]
    pub(super) stop: bool,
    /// Where to put it [default: a new directory in the job's own]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SavepointListArguments {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(super) format: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct SavepointInspectArguments {
    /// The savepoint's directory
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) directory: PathBuf,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(super) format: OutputFormat,
}

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Write the keyed state of an operator as NDJSON
    #[command(after_help = examples("tidemill state dump job.toml --operator count | head"))]
    Dump(StateDumpArguments),
}

#[derive(Debug, Args)]
pub(super) struct StateDumpArguments {
    #[command(flatten)]
    pub(super) selection: CheckpointSelection,
    /// The operator
    #[arg(long, value_name = "NAME")]
    pub(super) operator: String,
    /// Only the state of this task (its lane)
    #[arg(long, value_name = "LANE")]
    pub(super) task: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum WalCommand {
    /// Write the batches of the log as NDJSON, oldest first
    #[command(after_help = examples("tidemill wal dump job.toml --records | head"))]
    Dump(WalDumpArguments),
    /// Read all of the log and tell whether it is whole, and all of it that the newest checkpoint needs
    #[command(after_help = examples("tidemill wal verify job.toml --format json"))]
    Verify(WalVerifyArguments),
}

#[derive(Debug, Args)]
pub(super) struct WalDumpArguments {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// A line for each record instead of each batch
    #[arg(long)]
    pub(super) records: bool,
    /// From this place in the log on [default: the oldest]
    #[arg(long, value_name = "LSN", default_value_t = 0, hide_default_value = true)]
    pub(super) from: u64,
}

#[derive(Debug, Args)]
pub(super) struct WalVerifyArguments {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(super) format: OutputFormat,
}

#[derive(Debug, Args)]
#[command(after_help = examples(
    "tidemill explain job.toml\n\
     tidemill explain job.toml --format json | jq '.edges'"
))]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    pub(super) job: JobArguments,
    /// Who may run jobs here, and what they may be granted [default: anybody, and nothing]
    #[arg(long, value_name = "TENANTS.toml", value_hint = ValueHint::FilePath)]
    pub(super) tenants: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(super) format: OutputFormat,
}

#[derive(Debug, Args)]
#[command(after_help = examples(
    "tidemill inspect target/wasm32-wasip2/release/visits.wasm\n\
     tidemill inspect visits.wasm --format json | jq '.description.inputs'"
))]
pub(super) struct InspectArguments {
    /// The component, or a core module that carries its component type
    #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub(super) file: PathBuf,
    /// Say for each tenant of this file whether the component would be admitted
    #[arg(long, value_name = "TENANTS.toml", value_hint = ValueHint::FilePath)]
    pub(super) policy: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(super) format: OutputFormat,
}

#[derive(Debug, Args)]
#[command(after_help = examples(
    "tidemill new --lang rust visits\n\
     cd visits && cargo test && cargo build --release --target wasm32-wasip2\n\
     tidemill run job.toml"
))]
pub(super) struct NewArguments {
    /// Language of the operator
    #[arg(long, value_enum, value_name = "LANGUAGE", default_value_t = Language::Rust)]
    pub(super) lang: Language,
    /// Name of the operator; its directory is created here
    #[arg(value_name = "NAME")]
    pub(super) name: CrateName,
}

/// A language that operators can be started in, each with its own SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    Rust,
}

fn examples(lines: &str) -> String {
    let lines = lines.lines().map(|line| format!("  {line}\n"));
    format!("{HEADER}Examples:{HEADER:#}\n{}", lines.collect::<String>())
}

/// The style of clap's own headings.
const HEADER: anstyle::Style = anstyle::Style::new().bold().underline();

fn main_help() -> String {
    let examples = examples(
        "tidemill new --lang rust visits        # start an operator of your own\n\
         tidemill inspect visits.wasm           # what is this component?\n\
         tidemill explain job.toml              # what would this job do?\n\
         tidemill run job.toml                  # run it to the end of its input",
    );
    format!("{examples}\n{HEADER}Exit codes:{HEADER:#}\n{}", ExitCode::table())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        let help = Arguments::command().render_help().to_string();
        for code in ExitCode::ALL {
            assert!(help.contains(&format!("{:>3}  {}", code.number(), code.meaning())), "{help}");
        }
    }

    #[test]
    fn every_subcommand_shows_examples() {
        let mut arguments = Arguments::command();
        for command in arguments.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let name = command.get_name().to_owned();
            assert!(command.render_help().to_string().contains("Examples:"), "{name}");
        }
    }
}
