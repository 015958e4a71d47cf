//! `tidemill savepoint`: copies of checkpoints that people own.

use std::path::PathBuf;

use super::arguments::{
    OutputFormat, SavepointCommand, SavepointCreateArguments, SavepointInspectArguments,
    SavepointListArguments,
};
use super::checkpoint;
use super::console;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::run;
use super::table::table;
use super::view::json;
use crate::config::Locations;
use crate::job::{
    ControlAnswer, ControlRequest, ask_control, savepoint_of_stopped, savepoints_directory,
};
use crate::machine;

/// Runs one of the subcommands.
pub(super) fn savepoint(command: &SavepointCommand) -> Result<ExitCode, Failure> {
    match command {
        SavepointCommand::Create(arguments) => create(arguments),
        SavepointCommand::List(arguments) => list(arguments),
        SavepointCommand::Inspect(arguments) => inspect(arguments),
    }
}

/// Asks the running job; one that does not run has its newest checkpoint copied.
fn create(arguments: &SavepointCreateArguments) -> Result<ExitCode, Failure> {
    let (plan, options) = run::plan(&arguments.job, false, false)?;
    let job_dir = options.data_dir.join(plan.directory_name());
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let directory = match &arguments.to {
        Some(to) => absolute(to),
        None => {
            let name = format!("savepoint-{}", machine::wall_ms());
            absolute(&savepoints_directory(&plan, &options.data_dir)).join(name)
        }
    };
    let request = ControlRequest::Savepoint { directory: directory.clone(), stop: arguments.stop };
    let asked = ask_control(&job_dir, &request);
    let answer =
        asked.map_err(|error| Failure::Host(format!("asking the running job: {error}")))?;
    let checkpoint = match answer {
        Some(ControlAnswer::Savepoint { checkpoint, .. }) => checkpoint,
        Some(ControlAnswer::Failed { reason }) => return Err(Failure::NoSavepoint(reason)),
        None if arguments.stop => {
            let reason = "no running job answers; without --stop the newest checkpoint of a job that does not run \
                          is copied, and what it had only logged stays with it";
            return Err(Failure::NoSavepoint(reason.to_owned()));
        }
        None => {
            let made = savepoint_of_stopped(&plan, &options.data_dir, &directory);
            made.map_err(|error| Failure::job(error, &Locations::default()))?.0
        }
    };
    let stopped = if arguments.stop { "the job has stopped; " } else { "" };
    console::note(&format!("{stopped}savepoint of checkpoint {checkpoint}:\n"));
    console::print(&format!("{}\n", directory.display()))?;
    Ok(ExitCode::Done)
}

fn list(arguments: &SavepointListArguments) -> Result<ExitCode, Failure> {
    let (plan, options) = run::plan(&arguments.job, false, false)?;
    let directory = savepoints_directory(&plan, &options.data_dir);
    let mut found = Vec::new();
    for name in tidemill_storage::data_dir::folders(&directory) {
        let path = directory.join(name);
        let rows = checkpoint::rows(&checkpoint::open_directory(&path)?)?;
        found.extend(rows.into_iter().map(|row| (path.display().to_string(), row)));
    }
    console::print(&match arguments.format {
        OutputFormat::Json => json(&found),
        OutputFormat::Text => {
            let line = |(path, row): &(String, checkpoint::Row)| {
                [
                    path.clone(),
                    row.checkpoint.to_string(),
                    row.content
                        .as_ref()
                        .map_or("-".to_owned(), |content| checkpoint::time(content.created_ms)),
                ]
            };
            table(&found.iter().map(line).collect::<Vec<_>>(), 0, &[1])
        }
    })?;
    Ok(ExitCode::Done)
}

fn inspect(arguments: &SavepointInspectArguments) -> Result<ExitCode, Failure> {
    let store = checkpoint::open_directory(&arguments.directory)?;
    let newest = store.manifests().map_err(checkpoint::unreadable)?.pop();
    let newest = newest.ok_or(Failure::NoCheckpoint { wanted: None, there: "none".to_owned() })?;
    let manifest = store.load(&newest).map_err(checkpoint::unreadable)?;
    console::print(&match arguments.format {
        OutputFormat::Json => json(&manifest),
        OutputFormat::Text => checkpoint::manifest_text(&manifest),
    })?;
    Ok(ExitCode::Done)
}
