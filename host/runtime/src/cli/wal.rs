//! `tidemill wal`: what the input log of a job holds, and whether it is whole.
//!
//! Reads with the decoders that a recovery uses, takes no lock and changes nothing. Beside a running job it sees
//! the log as it happens to be: its end may look torn, and what is trimmed meanwhile is missing.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::disk::Disk;
use tidemill_core::input_log::Body;
use tidemill_core::wal::{KnownDurable, Logged, Seqs, WalError, WalReader, recover};
use tidemill_storage::RealDisk;

use super::arguments::{
    JobArguments, OutputFormat, WalCommand, WalDumpArguments, WalVerifyArguments,
};
use super::console;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::run;
use super::state::bytes;
use super::table::{grouped, short_bytes};
use super::view::json;
use crate::config::{JobPlan, WalMode};
use crate::connectors::settings::SourceSettings;
use crate::job::{INPUT_LOG_DIRECTORY, checkpoint_directory};

/// Runs one of the subcommands.
pub(super) fn wal(command: &WalCommand) -> Result<ExitCode, Failure> {
    match command {
        WalCommand::Dump(arguments) => dump(arguments),
        WalCommand::Verify(arguments) => verify(arguments),
    }
}

/// The log of a job, and what its newest checkpoint knows of it.
struct Log {
    disk: Arc<dyn Disk>,
    known: KnownDurable,
}

impl Log {
    fn open(arguments: &JobArguments) -> Result<Self, Failure> {
        let (plan, options) = run::plan(arguments, false, false)?;
        let open = |path: std::path::PathBuf| {
            let opened = RealDisk::open(&path);
            let unreadable = |error: tidemill_core::disk::DiskError| Failure::Unreadable {
                path: path.clone(),
                error: io::Error::other(error.to_string()),
            };
            opened.map(Arc::new).map_err(unreadable)
        };
        let disk = open(options.data_dir.join(plan.directory_name()))?;
        let store = CheckpointStore::new(open(checkpoint_directory(&plan, &options.data_dir))?);
        Ok(Self { disk, known: known(&plan, &store)? })
    }

    /// Every whole batch from `from_lsn` on; answers what was cut, for people.
    fn read(
        &self,
        from_lsn: u64,
        mut each: impl FnMut(&Logged<'_>, Body) -> Result<(), Failure>,
    ) -> Result<Option<String>, Failure> {
        let damaged = |error: WalError| Failure::Damaged(error.to_string());
        let recovered = recover(&*self.disk, INPUT_LOG_DIRECTORY, &self.known).map_err(damaged)?;
        let cut = recovered.cut.as_ref().map(|cut| {
            let (file, offset) = (&cut.file, cut.offset);
            let held = short_bytes(cut.bytes);
            format!("{file} ends at byte {offset}; {held} behind were never acknowledged")
        });
        let view = recovered.view();
        let mut reader = WalReader::new(self.disk.clone(), view, from_lsn, Seqs::default());
        while let Some(logged) = reader.next_batch().map_err(damaged)? {
            let Some(body) = Body::decode(logged.body) else {
                let (lsn, source, seq) = (logged.lsn, logged.source, logged.seq);
                let what =
                    format!("LSN {lsn}, batch {seq} of {source}, holds no batch of this version");
                return Err(Failure::Damaged(what));
            };
            each(&logged, body)?;
        }
        Ok(cut)
    }
}

/// What the newest checkpoint needs of the log.
fn known(plan: &JobPlan, store: &CheckpointStore) -> Result<KnownDurable, Failure> {
    let damaged = |error: &dyn std::fmt::Display| Failure::Damaged(error.to_string());
    let Some(newest) = store.manifests().map_err(|error| damaged(&error))?.pop() else {
        return Ok(KnownDurable::default());
    };
    let manifest = store.load(&newest).map_err(|error| damaged(&error))?;
    let mut positions = Seqs::default();
    for source in &plan.sources {
        let is_stream =
            matches!(source.settings, SourceSettings::Stdin(_) | SourceSettings::Tcp(_));
        if is_stream || plan.wal.mode == WalMode::Inputs {
            let found = manifest.sources.iter().find(|found| found.name == source.name);
            for at in found.iter().flat_map(|found| &found.partitions) {
                positions.set(&source.name, &at.partition, at.position.offset);
            }
        }
    }
    Ok(KnownDurable { wal_start: manifest.wal_start, positions })
}

fn dump(arguments: &WalDumpArguments) -> Result<ExitCode, Failure> {
    let log = Log::open(&arguments.job)?;
    let mut stdout = BufWriter::new(io::stdout().lock());
    let read = log.read(arguments.from, |logged, body| {
        let lines = match arguments.records {
            true => record_lines(logged, &body),
            false => vec![batch_line(logged, &body)],
        };
        lines.iter().try_for_each(|line| writeln!(stdout, "{line}")).map_err(Failure::Output)
    });
    let outcome = read.and_then(|_| stdout.flush().map_err(Failure::Output));
    match outcome {
        // Whoever reads has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(ExitCode::Done)
}

fn place(logged: &Logged<'_>) -> Map<String, Value> {
    let Logged { lsn, source, partition, seq, .. } = logged;
    let fields = [
        ("lsn", json!(lsn)),
        ("source", json!(source)),
        ("partition", json!(partition)),
        ("batch", json!(seq)),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

fn batch_line(logged: &Logged<'_>, body: &Body) -> Value {
    let mut line = place(logged);
    line.insert("records".to_owned(), json!(body.batch.len()));
    line.insert("bytes".to_owned(), json!(logged.body.len()));
    if !body.head.marks.is_empty() {
        let lines = body.head.marks.iter().map(|(id, line)| (id.to_string(), json!(line)));
        line.insert("client-lines".to_owned(), Value::Object(lines.collect()));
    }
    Value::Object(line)
}

fn record_lines(logged: &Logged<'_>, body: &Body) -> Vec<Value> {
    let record = |index: usize| {
        let mut line = place(logged);
        if let Some(key) = body.batch.key(index) {
            line.insert("key".to_owned(), bytes(key));
        }
        line.insert("value".to_owned(), bytes(body.batch.values.get(index)));
        if let Some(time_ms) = body.batch.timestamps.get(index) {
            line.insert("time-ms".to_owned(), json!(time_ms));
        }
        Value::Object(line)
    };
    (0..body.batch.len()).map(record).collect()
}

#[derive(Default, Serialize)]
struct Verified {
    batches: u64,
    records: u64,
    bytes: u64,
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    cut: Option<String>,
    problem: Option<String>,
}

fn verify(arguments: &WalVerifyArguments) -> Result<ExitCode, Failure> {
    let log = Log::open(&arguments.job)?;
    let mut verified = Verified::default();
    let read = log.read(0, |logged, body| {
        verified.batches += 1;
        verified.records += body.batch.len() as u64;
        verified.bytes += logged.body.len() as u64;
        verified.first_lsn.get_or_insert(logged.lsn);
        verified.last_lsn = Some(logged.lsn);
        Ok(())
    });
    match read {
        Ok(cut) => verified.cut = cut,
        Err(Failure::Damaged(problem)) => verified.problem = Some(problem),
        Err(other) => return Err(other),
    }
    console::print(&match arguments.format {
        OutputFormat::Json => json(&verified),
        OutputFormat::Text => text_of(&verified),
    })?;
    Ok(if verified.problem.is_none() { ExitCode::Done } else { ExitCode::BadData })
}

fn text_of(verified: &Verified) -> String {
    let Verified { batches, records, bytes, cut, problem, .. } = verified;
    let (batches, records) = (grouped(*batches), grouped(*records));
    let mut text = format!("{batches} batches, {records} records, {}\n", short_bytes(*bytes));
    if let (Some(first), Some(last)) = (verified.first_lsn, verified.last_lsn) {
        text += &format!("LSN {first} to {last}\n");
    }
    if let Some(cut) = cut {
        text += &format!("torn: {cut}\n");
    }
    match problem {
        Some(problem) => text + &format!("{problem}\n"),
        None => text + "all of it is as it was written\n",
    }
}
