//! `tidemill run --dry-run`: what a run would do, for people or as one JSON document.

use std::path::Path;

use serde::Serialize;

use super::arguments::OutputFormat;
use super::checkpoint::time;
use super::console;
use super::control::Control;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::report::{self, Failed};
use super::run::prepare;
use super::table::{grouped, short_bytes, table};
use super::view::{BOLD, json};
use crate::config::JobPlan;
use crate::job::{DryOperator, DryRun, DryStart, Migrated, RunOptions, StateFate};
use crate::tenants::Tenants;

/// Finds out what a run would do. Nothing else writes to stdout, so that is where the answer goes.
pub(super) fn dry_run(
    file: &Path,
    plan: JobPlan,
    options: RunOptions,
    tenants: &Tenants,
    control: &Control,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let (name, locations) = (plan.name.clone(), plan.locations.clone());
    let tenant = plan.tenant.clone();
    let prepared = prepare(plan, options, tenants, &locations);
    let found = prepared.and_then(|(job, engine)| {
        control.watch_over(job.handle());
        let found = job.dry_run().map_err(|error| Failure::job(error, &locations));
        // It must outlive the job.
        drop(engine);
        found
    });
    match (found, format) {
        (Ok(Some(found)), _) => {
            let view = DryRunView::new(&found);
            console::print(&match format {
                OutputFormat::Text => view.text(),
                OutputFormat::Json => json(&view),
            })?;
            Ok(ExitCode::Done)
        }
        (Ok(None), _) => Ok(control.stopped_by().unwrap_or(ExitCode::Done)),
        (Err(failure), OutputFormat::Json) => {
            let failed = Failed {
                job: &name,
                tenant: Some(&tenant),
                file,
                failure: &failure,
                figures: None,
            };
            console::print(&report::failure(&failed, None))?;
            Err(failure)
        }
        (Err(failure), OutputFormat::Text) => Err(failure),
    }
}

#[derive(Serialize)]
struct DryRunView {
    job: String,
    outcome: &'static str,
    /// `new`, `checkpoint`, `savepoint` or `finished`.
    start: &'static str,
    checkpoint: Option<u64>,
    created: Option<String>,
    savepoint: Option<String>,
    publishes_first: bool,
    removed_checkpoints: usize,
    parallelism: usize,
    parallelism_then: Option<usize>,
    operators: Vec<OperatorView>,
}

#[derive(Serialize)]
struct OperatorView {
    name: String,
    keys: u64,
    state_bytes: u64,
    states: Vec<StateView>,
}

#[derive(Serialize)]
struct StateView {
    name: String,
    /// `kept`, `new`, `dropped` or `migrated`.
    fate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    migration: Option<MigrationView>,
}

#[derive(Serialize)]
struct MigrationView {
    from_schema_version: u32,
    to_schema_version: u32,
    items: u64,
}

impl DryRunView {
    fn new(found: &DryRun) -> Self {
        let DryRun { job, start, parallelism, removed_checkpoints, operators } = found;
        let mut view = Self {
            job: job.clone(),
            outcome: "dry-run",
            start: "new",
            checkpoint: None,
            created: None,
            savepoint: None,
            publishes_first: false,
            removed_checkpoints: *removed_checkpoints,
            parallelism: *parallelism,
            parallelism_then: None,
            operators: operators.iter().map(OperatorView::new).collect(),
        };
        match start {
            DryStart::New => {}
            DryStart::Checkpoint {
                checkpoint,
                created_ms,
                parallelism,
                savepoint,
                is_committed,
            } => {
                view.start = if savepoint.is_some() { "savepoint" } else { "checkpoint" };
                view.checkpoint = Some(checkpoint.0);
                view.created = Some(time(*created_ms));
                view.savepoint = savepoint.as_ref().map(|path| path.display().to_string());
                view.publishes_first = !is_committed;
                view.parallelism_then = Some(*parallelism);
            }
            DryStart::Finished { checkpoint } => {
                (view.start, view.checkpoint) = ("finished", Some(checkpoint.0));
            }
        }
        view
    }

    fn text(&self) -> String {
        let number = self.checkpoint.unwrap_or(0);
        let of = self.created.as_deref().unwrap_or_default();
        let does = match (self.start, &self.savepoint) {
            ("finished", _) => {
                format!("has finished at checkpoint {number}: a run would find nothing left to do")
            }
            ("savepoint", Some(path)) => {
                format!("would begin with the savepoint {path}: checkpoint {number} of {of}")
            }
            ("checkpoint", _) => format!("would go on from checkpoint {number} of {of}"),
            _ => "would begin: it goes on from no checkpoint".to_owned(),
        };
        let mut text = format!("{BOLD}{}{BOLD:#} {does}\n", self.job);
        if self.removed_checkpoints > 0 {
            let count = self.removed_checkpoints;
            text += &format!("  first, {count} checkpoints and all published output are removed\n");
        }
        if self.publishes_first {
            text += "  first, the output of that checkpoint is published\n";
        }
        if self.parallelism_then.is_some_and(|then| then != self.parallelism) {
            let then = self.parallelism_then.unwrap_or(0);
            text += &format!("  on {} lanes, {then} before\n", self.parallelism);
        }
        for operator in &self.operators {
            let (keys, held) = (grouped(operator.keys), short_bytes(operator.state_bytes));
            text += &format!("  operator {}, {keys} keys, {held}\n", operator.name);
            text += &table(&operator.rows(), 4, &[]);
        }
        text + "dry run: nothing was changed\n"
    }
}

impl OperatorView {
    fn new(operator: &DryOperator) -> Self {
        let DryOperator { name, usage, states } = operator;
        let states = states.iter().map(|(name, fate)| StateView::new(name, *fate));
        let (keys, state_bytes) = (usage.keys, usage.bytes);
        Self { name: name.clone(), keys, state_bytes, states: states.collect() }
    }

    /// A row for each of its states.
    fn rows(&self) -> Vec<[String; 3]> {
        let states = self.states.iter().map(|state| {
            let what = match (&state.migration, state.fate) {
                (Some(migration), _) => {
                    let MigrationView { from_schema_version, to_schema_version, items } = migration;
                    let items = grouped(*items);
                    format!(
                        "{items} items migrated from schema version {from_schema_version} to {to_schema_version}"
                    )
                }
                (None, "new") => "new, begins empty".to_owned(),
                (None, "dropped") => "given up".to_owned(),
                (None, _) => "as it is".to_owned(),
            };
            ["state".to_owned(), state.name.clone(), what]
        });
        states.collect()
    }
}

impl StateView {
    fn new(name: &str, fate: StateFate) -> Self {
        let (fate, migration) = match fate {
            StateFate::Kept => ("kept", None),
            StateFate::New => ("new", None),
            StateFate::Dropped => ("dropped", None),
            StateFate::Migrated(Migrated { from, to, items }) => {
                let (from_schema_version, to_schema_version) = (from, to);
                let migration = MigrationView { from_schema_version, to_schema_version, items };
                ("migrated", Some(migration))
            }
        };
        Self { name: name.to_owned(), fate, migration }
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::ids::CheckpointId;
    use tidemill_core::state::StateUsage;

    use super::*;

    fn found(start: DryStart) -> DryRun {
        let migrated = Migrated { from: 1, to: 3, items: 4000 };
        let states = [
            ("seen", StateFate::Migrated(migrated)),
            ("kept", StateFate::Kept),
            ("late", StateFate::New),
            ("old", StateFate::Dropped),
        ];
        let states = states.map(|(name, fate)| (name.to_owned(), fate)).into();
        let usage = StateUsage { keys: 1234, bytes: 2048 };
        let operators = vec![DryOperator { name: "count".to_owned(), usage, states }];
        DryRun { job: "words".into(), start, parallelism: 2, removed_checkpoints: 0, operators }
    }

    fn from_checkpoint(savepoint: Option<&str>) -> DryRun {
        found(DryStart::Checkpoint {
            checkpoint: CheckpointId(12),
            created_ms: 0,
            parallelism: 3,
            savepoint: savepoint.map(Into::into),
            is_committed: savepoint.is_some(),
        })
    }

    fn text(found: &DryRun) -> String {
        anstream::adapter::strip_str(&DryRunView::new(found).text()).to_string()
    }

    #[test]
    fn text_says_what_would_be_done_and_what_becomes_of_each_state() {
        let expected = "\
words would go on from checkpoint 12 of 1970-01-01T00:00:00Z
  first, the output of that checkpoint is published
  on 2 lanes, 3 before
  operator count, 1,234 keys, 2.00 KiB
    state  seen  4,000 items migrated from schema version 1 to 3
    state  kept  as it is
    state  late  new, begins empty
    state  old   given up
dry run: nothing was changed
";
        assert_eq!(text(&from_checkpoint(None)), expected);
        let begun = text(&from_checkpoint(Some("/backup")));
        assert!(
            begun.starts_with("words would begin with the savepoint /backup: checkpoint 12 of")
        );
        let fresh = DryRun { removed_checkpoints: 3, ..found(DryStart::New) };
        assert!(text(&fresh).contains("first, 3 checkpoints and all published output are removed"));
        let finished = text(&found(DryStart::Finished { checkpoint: CheckpointId(9) }));
        assert!(finished.starts_with("words has finished at checkpoint 9"), "{finished}");
    }

    #[test]
    fn json_has_all_of_it() {
        let value = serde_json::to_value(DryRunView::new(&from_checkpoint(None))).unwrap();
        assert_eq!((&value["outcome"], &value["start"]), (&"dry-run".into(), &"checkpoint".into()));
        assert_eq!((&value["checkpoint"], &value["parallelism_then"]), (&12.into(), &3.into()));
        let states = &value["operators"][0]["states"];
        assert_eq!(states[0]["migration"]["items"], 4000);
        assert_eq!(states[3], serde_json::json!({ "name": "old", "fate": "dropped" }));
    }
}
