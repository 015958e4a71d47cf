//! `tidemill checkpoint`: what checkpoints a job has, what one holds, and whether it is whole.
//!
//! Reads with the decoders that a recovery uses, takes no lock and changes nothing, so it may be used beside
//! a running job.

use std::path::Path;

use serde::Serialize;
use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::store::{CheckpointStore, StoreError, StoredManifest};
use tidemill_core::snapshot::verify;

use super::arguments::{CheckpointCommand, CheckpointSelection, OutputFormat};
use super::console;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::run;
use super::table::{grouped, short_bytes, table};
use super::view::json;
use crate::job::checkpoint_directory;

/// Runs one of the subcommands.
pub(super) fn checkpoint(command: &CheckpointCommand) -> Result<ExitCode, Failure> {
    match command {
        CheckpointCommand::List(selection) => list(selection),
        CheckpointCommand::Inspect(selection) => inspect(selection),
        CheckpointCommand::Verify(selection) => check(selection),
    }
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) checkpoint: u64,
    incarnation: u64,
    committed: bool,
    #[serde(flatten)]
    pub(super) content: Option<Content>,
    /// Why the checkpoint cannot be used; there is no content then.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Content {
    pub(super) created_ms: i64,
    finished: bool,
    parallelism: u32,
    files: usize,
    state_bytes: u64,
    entries: u64,
}

impl Content {
    fn new(manifest: &Manifest) -> Self {
        Self {
            created_ms: manifest.created_ms,
            finished: manifest.finished,
            parallelism: manifest.parallelism,
            files: manifest.files().count(),
            state_bytes: manifest.files().map(|file| file.bytes).sum(),
            entries: manifest.files().map(|file| file.entries).sum(),
        }
    }
}

fn list(selection: &CheckpointSelection) -> Result<ExitCode, Failure> {
    let rows = rows(&open(selection)?)?;
    console::print(&match selection.format {
        OutputFormat::Json => json(&rows),
        OutputFormat::Text => text_of(&rows),
    })?;
    Ok(ExitCode::Done)
}

/// The checkpoints of a directory, those that cannot be used as well.
pub(super) fn rows(store: &CheckpointStore) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for stored in store.manifests().map_err(unreadable)? {
        let (content, problem) = match store.load(&stored) {
            Ok(manifest) => (Some(Content::new(&manifest)), None),
            Err(StoreError::Disk(error)) => return Err(unreadable(error)),
            Err(error) => (None, Some(error.to_string())),
        };
        rows.push(Row {
            checkpoint: stored.checkpoint.0,
            incarnation: stored.incarnation.0,
            committed: store.is_committed(&stored).map_err(unreadable)?,
            content,
            problem,
        });
    }
    Ok(rows)
}

fn text_of(rows: &[Row]) -> String {
    let head = ["checkpoint", "incarnation", "created", "lanes", "files", "state", "entries", ""];
    let mut lines = vec![head.map(str::to_owned)];
    for row in rows {
        let (checkpoint, incarnation) = (row.checkpoint.to_string(), row.incarnation.to_string());
        let Some(content) = &row.content else {
            let none = || "-".to_owned();
            let problem = row.problem.clone().unwrap_or_default();
            lines.push([checkpoint, incarnation, none(), none(), none(), none(), none(), problem]);
            continue;
        };
        let what = match (content.finished, row.committed) {
            (true, _) => "finished",
            // Only the newest carries the mark; it stands for all before it.
            (false, true) => "newest, committed",
            (false, false) => "",
        };
        lines.push([
            checkpoint,
            incarnation,
            time(content.created_ms),
            content.parallelism.to_string(),
            content.files.to_string(),
            short_bytes(content.state_bytes),
            grouped(content.entries),
            what.to_owned(),
        ]);
    }
    table(&lines, 0, &[0, 1, 3, 4, 5, 6])
}

/// A time of day, for people.
pub(super) fn time(ms: i64) -> String {
    let since = std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

fn inspect(selection: &CheckpointSelection) -> Result<ExitCode, Failure> {
    let (_, manifest) = chosen(selection)?;
    console::print(&match selection.format {
        OutputFormat::Json => json(&manifest),
        OutputFormat::Text => manifest_text(&manifest),
    })?;
    Ok(ExitCode::Done)
}

pub(super) fn manifest_text(manifest: &Manifest) -> String {
    let mut text = format!(
        "job {} ({}), checkpoint {} of incarnation {}, written {} by tidemill {}{}\n",
        manifest.job,
        manifest.identity,
        manifest.checkpoint,
        manifest.incarnation,
        time(manifest.created_ms),
        manifest.written_by,
        if manifest.finished { ", finished" } else { "" }
    );
    text += &format!("{} lanes, {} key groups\n", manifest.parallelism, manifest.owners.len());
    for source in &manifest.sources {
        let ended = source.partitions.iter().filter(|p| p.position.ended).count();
        let count = source.partitions.len();
        text += &format!("source {}: {count} partitions, {ended} ended\n", source.name);
    }
    for operator in &manifest.operators {
        text += &format!("operator {} ({})\n", operator.name, &operator.component);
        let mut rows = Vec::new();
        for task in &operator.tasks {
            for file in &task.files {
                rows.push([
                    format!("lane {}", task.lane),
                    file.name.clone(),
                    short_bytes(file.bytes),
                    format!("{} entries", grouped(file.entries)),
                ]);
            }
        }
        text += &table(&rows, 2, &[2, 3]);
    }
    for sink in &manifest.sinks {
        let files: Vec<_> = sink
            .tasks
            .iter()
            .flat_map(|task| &task.prepared)
            .flat_map(|prepared| &prepared.files)
            .map(|file| [file.published.clone(), short_bytes(file.bytes)])
            .collect();
        text += &format!("sink {}: {} files in this checkpoint\n", sink.name, files.len());
        text += &table(&files, 2, &[1]);
    }
    text
}

#[derive(Serialize)]
struct Verified {
    checkpoint: u64,
    files: usize,
    bytes: u64,
    problems: Vec<String>,
}

fn check(selection: &CheckpointSelection) -> Result<ExitCode, Failure> {
    let (store, manifest) = chosen(selection)?;
    let mut verified =
        Verified { checkpoint: manifest.checkpoint.0, files: 0, bytes: 0, problems: Vec::new() };
    for file in manifest.files() {
        verified.files += 1;
        verified.bytes += file.bytes;
        let opened = store.disk().open(&file.name).map_err(|error| error.to_string());
        let outcome = opened.and_then(|opened| {
            verify(&*opened, &file.name, file.bytes, &file.digest).map_err(|e| e.to_string())
        });
        verified.problems.extend(outcome.err());
    }
    console::print(&match selection.format {
        OutputFormat::Json => json(&verified),
        OutputFormat::Text => {
            let Verified { checkpoint, files, bytes, problems } = &verified;
            let mut text =
                format!("checkpoint {checkpoint}: {files} files, {}\n", short_bytes(*bytes));
            match problems.as_slice() {
                [] => text += "all of it is as it was written\n",
                problems => problems.iter().for_each(|problem| text += &format!("{problem}\n")),
            }
            text
        }
    })?;
    Ok(if verified.problems.is_empty() { ExitCode::Done } else { ExitCode::BadData })
}

/// The checkpoints of the job that is named.
pub(super) fn open(selection: &CheckpointSelection) -> Result<CheckpointStore, Failure> {
    let (plan, options) = run::plan(&selection.job, false, false)?;
    open_directory(&checkpoint_directory(&plan, &options.data_dir))
}

/// The checkpoints in a directory.
pub(super) fn open_directory(path: &Path) -> Result<CheckpointStore, Failure> {
    let disk =
        tidemill_storage::disk::RealDisk::open(path).map_err(|error| Failure::Unreadable {
            path: path.to_owned(),
            error: std::io::Error::other(error.to_string()),
        })?;
    Ok(CheckpointStore::new(std::sync::Arc::new(disk)))
}

/// The checkpoint that is named, or the newest.
pub(super) fn chosen(
    selection: &CheckpointSelection,
) -> Result<(CheckpointStore, Manifest), Failure> {
    let store = open(selection)?;
    let manifests = store.manifests().map_err(unreadable)?;
    let wanted = |stored: &&StoredManifest| {
        selection.checkpoint.is_none_or(|number| stored.checkpoint.0 == number)
    };
    let Some(stored) = manifests.iter().rev().find(wanted) else {
        let numbers: Vec<_> = manifests.iter().map(|m| m.checkpoint.to_string()).collect();
        return Err(Failure::NoCheckpoint {
            wanted: selection.checkpoint,
            there: numbers.join(", "),
        });
    };
    let manifest = store.load(stored).map_err(unreadable)?;
    Ok((store, manifest))
}

pub(super) fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::Damaged(error.to_string())
}
