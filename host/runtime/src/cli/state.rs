//! `tidemill state dump`: the keyed state of an operator in a checkpoint, as NDJSON.
//!
//! One line for each item: `{"state":..,"key":..,"value":..}` with `map-key` or `index` where there is one and
//! `expires-at-ms` where it expires. Bytes that are UTF-8 are text, others `{"hex":".."}`.

use std::io::Write;

use serde_json::{Map, Value, json};
use tidemill_core::checkpoint::manifest::SnapshotFile;
use tidemill_core::snapshot::{DumpedItem, DumpedPlace, SnapshotReader, StateDump};

use super::arguments::{CheckpointSelection, StateDumpArguments};
use super::checkpoint;
use super::exit_code::ExitCode;
use super::failure::Failure;

/// Writes the items of one operator, of all its tasks or of one.
pub(super) fn dump(arguments: &StateDumpArguments) -> Result<ExitCode, Failure> {
    let selection: &CheckpointSelection = &arguments.selection;
    let (store, manifest) = checkpoint::chosen(selection)?;
    let Some(operator) = manifest.operators.iter().find(|o| o.name == arguments.operator) else {
        let names: Vec<_> = manifest.operators.iter().map(|o| o.name.clone()).collect();
        return Err(Failure::NoOperator {
            wanted: arguments.operator.clone(),
            there: names.join(", "),
        });
    };
    if operator.states.is_empty() {
        tracing::warn!("Operator {} has no keyed state.", operator.name);
        return Ok(ExitCode::Done);
    }
    let is_there = |wanted: &u32| operator.tasks.iter().any(|task| task.lane == *wanted);
    if let Some(wanted) = arguments.task.filter(|wanted| !is_there(wanted)) {
        let (operator, last) = (operator.name.clone(), operator.tasks.len().saturating_sub(1));
        return Err(Failure::NoTask { operator, wanted, last });
    }
    let damaged = |error: &dyn std::fmt::Display| Failure::Damaged(error.to_string());
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    for task in &operator.tasks {
        if task.files.is_empty() || arguments.task.is_some_and(|wanted| wanted != task.lane) {
            continue;
        }
        let open = |file: &SnapshotFile| -> Result<SnapshotReader, Failure> {
            let opened = store.disk().open(&file.name).map_err(|error| damaged(&error))?;
            SnapshotReader::open(opened, &file.name, None).map_err(|error| damaged(&error))
        };
        let chain = task.files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        for item in StateDump::new(chain, None).map_err(|error| damaged(&error))? {
            let line = line(&item.map_err(|error| damaged(&error))?, task.lane);
            match writeln!(stdout, "{line}") {
                Ok(()) => {}
                // Whoever reads has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                    return Ok(ExitCode::Done);
                }
                Err(error) => return Err(Failure::Output(error)),
            }
        }
    }
    stdout.flush().map_err(Failure::Output)?;
    Ok(ExitCode::Done)
}

fn line(item: &DumpedItem, task: u32) -> Value {
    let mut line = Map::new();
    line.insert("state".to_owned(), json!(item.state));
    line.insert("task".to_owned(), json!(task));
    line.insert("key-group".to_owned(), json!(item.group.0));
    line.insert("key".to_owned(), bytes(&item.key));
    match &item.place {
        DumpedPlace::Value => {}
        DumpedPlace::MapKey(key) => drop(line.insert("map-key".to_owned(), bytes(key))),
        DumpedPlace::Index(index) => drop(line.insert("index".to_owned(), json!(index))),
    }
    line.insert("value".to_owned(), bytes(&item.value));
    if let Some(expires_at) = item.expires_at {
        line.insert("expires-at-ms".to_owned(), json!(expires_at));
    }
    Value::Object(line)
}

/// Bytes as text where they are, and in hexadecimal digits where not.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => json!(text),
        _ => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}
