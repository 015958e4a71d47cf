//! The job's own settings, its operators, and the whole plan as the text of a job file.

use tidemill_core::graph::EdgeSpec;
use tidemill_core::restart::RestartStrategy;
use toml::{Table, Value};

use super::{
    Setting, all_limits, duration_ms, duration_us, in_words, path, size, text, value_in_words,
    whole,
};
use crate::config::plan::{CheckpointingMode, JobPlan, OnPoison, OperatorPlan, WalMode};

/// The key of the restart strategy's table.
const RESTART: &str = "restart-strategy";

/// A setting of the job: its value, or what its absence means.
type JobSetting = (&'static str, Result<Value, &'static str>);

impl JobPlan {
    /// The job's own settings by their dotted names, each with its value, or in words what its absence means.
    pub fn show(&self) -> Vec<(String, String)> {
        let shown = |value: Result<Value, &str>| value.map_or_else(str::to_owned, value_in_words);
        let own = self.settings().into_iter();
        let restart = restart_settings(&self.restart).into_iter();
        let tenant = ("tenant".to_owned(), self.tenant.clone());
        let own = own.map(|(name, value)| (name.to_owned(), shown(value)));
        let restart = restart.map(|(name, value)| (format!("{RESTART}.{name}"), shown(value)));
        std::iter::once(tenant).chain(own).chain(restart).collect()
    }

    /// The whole plan as the text of a job file that gives the same plan again: every default written out,
    /// every path absolute, always in the same order. It depends on nothing but the plan, so that two texts
    /// can be compared.
    pub fn normalised(&self) -> String {
        let mut job = Table::new();
        job.insert("name".to_owned(), text(&self.name));
        job.insert("tenant".to_owned(), text(&self.tenant));
        job.extend(present(self.settings()));
        job.insert(RESTART.to_owned(), table(present(restart_settings(&self.restart))));
        let sources = self.sources.iter().map(|source| {
            let (connector, settings) = source.settings.settings();
            (source.name.clone(), node(Some(connector), &[], settings))
        });
        let operators = self.operators.iter().map(|operator| {
            (operator.name.clone(), node(None, &operator.inputs, operator.settings()))
        });
        let sinks = self.sinks.iter().map(|sink| {
            let (connector, settings) = sink.settings.settings();
            (sink.name.clone(), node(Some(connector), &sink.inputs, settings))
        });
        let nodes = [
            ("sources".to_owned(), table(sources)),
            ("operators".to_owned(), table(operators)),
            ("sinks".to_owned(), table(sinks)),
        ];
        job.extend(nodes.into_iter().filter(is_needed));
        job.to_string()
    }

    fn settings(&self) -> Vec<JobSetting> {
        let checkpoints = &self.checkpoints;
        let directory = checkpoints.directory.as_deref().map(path);
        let mut settings = vec![
            ("parallelism", Ok(whole(self.parallelism as u64))),
            ("key-groups", Ok(whole(self.key_groups.into()))),
            ("state-backend", Ok(text("memory"))),
            ("state-timeout", self.state_timeout_ms.map(duration_ms).ok_or("none")),
            ("batch-records", Ok(whole(self.batch.records as u64))),
            ("batch-bytes", Ok(size(self.batch.bytes as u64))),
            ("linger", Ok(duration_us(self.linger_us))),
            ("queue-bytes", Ok(size(self.queue_bytes as u64))),
            ("checkpointing-mode", Ok(text(mode_word(checkpoints.mode)))),
            ("checkpoint-interval", Ok(duration_ms(checkpoints.interval_ms))),
            ("min-pause-between-checkpoints", Ok(duration_ms(checkpoints.min_pause_ms))),
            ("checkpoint-timeout", Ok(duration_ms(checkpoints.timeout_ms))),
            ("tolerable-failed-checkpoints", Ok(whole(checkpoints.tolerable_failures.into()))),
            ("checkpoints-retained", Ok(whole(checkpoints.retained as u64))),
            ("checkpoint-dir", directory.ok_or("in the job's data directory")),
            ("heartbeat-interval", Ok(duration_ms(self.heartbeat.interval_ms))),
            ("heartbeat-timeout", Ok(duration_ms(self.heartbeat.timeout_ms))),
            ("stop-timeout", Ok(duration_ms(self.timeouts.stop_ms))),
            ("storage-timeout", Ok(duration_ms(self.timeouts.storage_ms))),
            ("wal", Ok(text(wal_word(self.wal.mode)))),
            ("wal-quota", Ok(size(self.wal.quota_bytes))),
        ];
        // Without dead letters it would be refused as pointless.
        if let Some(directory) = &self.dead_letter_dir {
            settings.push(("dead-letter-dir", Ok(path(directory))));
        }
        settings
    }
}

impl OperatorPlan {
    /// What happens to its poison records, in the words of a job file.
    pub fn show_poison(&self) -> Vec<(&'static str, String)> {
        in_words(self.poison_settings())
    }

    /// What it asks for of the host, by the names of the job file.
    pub fn show_grants(&self) -> Vec<(String, String)> {
        let directories = self.grants.directories.iter().map(|directory| {
            let path = directory.path.display().to_string();
            (format!("directories.{}", directory.guest_path), path)
        });
        let environment = self.grants.environment.iter();
        let environment =
            environment.map(|name| (format!("environment.{name}"), "the host's".to_owned()));
        directories.chain(environment).collect()
    }

    fn grant_settings(&self) -> Value {
        let directories = self.grants.directories.iter().map(|directory| {
            let (at, seen_at) = (path(&directory.path), text(&directory.guest_path));
            table([("path".to_owned(), at), ("as".to_owned(), seen_at)].into_iter())
        });
        let environment = self.grants.environment.iter().map(text);
        let lists = [
            ("directories".to_owned(), Value::Array(directories.collect())),
            ("environment".to_owned(), Value::Array(environment.collect())),
        ];
        table(lists.into_iter().filter(|(_, list)| list.as_array().is_some_and(|l| !l.is_empty())))
    }

    fn poison_settings(&self) -> Vec<Setting> {
        let limit = ("poison-limit", whole(self.poison.limit_per_minute.into()));
        match self.poison.on_poison {
            // There is no second one to limit.
            OnPoison::Fail => vec![("on-poison", text("fail"))],
            OnPoison::Skip => vec![("on-poison", text("skip")), limit],
            OnPoison::DeadLetter => vec![("on-poison", text("dead-letter")), limit],
        }
    }

    fn settings(&self) -> Vec<Setting> {
        let mut settings = vec![("component", path(&self.component))];
        settings.extend(self.poison_settings());
        let config = self.config.iter().map(|(key, value)| (key.clone(), text(value)));
        settings.push(("config", table(config)));
        settings.push(("grants", self.grant_settings()));
        let limits = all_limits(&self.limits).into_iter();
        settings.push(("limits", table(limits.map(|(name, value)| (name.to_owned(), value)))));
        settings
    }
}

fn restart_settings(strategy: &RestartStrategy) -> Vec<JobSetting> {
    let mut settings = vec![("type", Ok(text(strategy.name())))];
    match strategy {
        RestartStrategy::ExponentialDelay(parameters) => {
            let attempts = parameters.attempts_before_reset_backoff;
            settings.extend([
                ("initial-backoff", Ok(duration_ms(parameters.initial_backoff_ms))),
                ("max-backoff", Ok(duration_ms(parameters.max_backoff_ms))),
                ("backoff-multiplier", Ok(Value::Float(parameters.backoff_multiplier))),
                ("reset-backoff-threshold", Ok(duration_ms(parameters.reset_backoff_threshold_ms))),
                ("jitter-factor", Ok(Value::Float(parameters.jitter_factor))),
                (
                    "attempts-before-reset-backoff",
                    attempts.map(|attempts| whole(attempts.into())).ok_or("unlimited"),
                ),
            ]);
        }
        RestartStrategy::FixedDelay(parameters) => settings.extend([
            ("attempts", Ok(whole(parameters.attempts.into()))),
            ("delay", Ok(duration_ms(parameters.delay_ms))),
        ]),
        RestartStrategy::FailureRate(parameters) => settings.extend([
            ("max-failures-per-interval", Ok(whole(parameters.max_failures_per_interval.into()))),
            ("failure-rate-interval", Ok(duration_ms(parameters.failure_rate_interval_ms))),
            ("delay", Ok(duration_ms(parameters.delay_ms))),
        ]),
        RestartStrategy::None => {}
    }
    settings
}

fn present(settings: Vec<JobSetting>) -> impl Iterator<Item = (String, Value)> {
    settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.ok()?)))
}

fn table(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Table(entries.collect())
}

/// The table of a node.
fn node(connector: Option<&str>, inputs: &[EdgeSpec], settings: Vec<Setting>) -> Value {
    let connector = connector.map(|word| ("connector".to_owned(), text(word)));
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
    table(connector.into_iter().chain(edges(inputs)).chain(settings).filter(is_needed))
}

/// An empty table says nothing.
fn is_needed((_, value): &(String, Value)) -> bool {
    value.as_table().is_none_or(|table| !table.is_empty())
}

/// `from` for a node with one input, `inputs` for one that names them.
fn edges(edges: &[EdgeSpec]) -> Option<(String, Value)> {
    let values = |input: Option<&str>| {
        let of_input = edges.iter().filter(|edge| edge.input.as_deref() == input);
        let mut values: Vec<Value> = of_input.map(edge).collect();
        if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
    };
    let first = edges.first()?;
    if first.input.is_none() {
        return Some(("from".to_owned(), values(None)));
    }
    let names = edges.iter().filter_map(|edge| edge.input.as_deref());
    let inputs = names.map(|name| (name.to_owned(), values(Some(name))));
    Some(("inputs".to_owned(), table(inputs)))
}

fn edge(edge: &EdgeSpec) -> Value {
    let from = text(&edge.from);
    match edge.kind {
        None => from,
        Some(kind) => {
            let kind = ("edge".to_owned(), text(kind.name()));
            table([("from".to_owned(), from), kind].into_iter())
        }
    }
}

fn mode_word(mode: CheckpointingMode) -> &'static str {
    match mode {
        CheckpointingMode::ExactlyOnce => "exactly-once",
        CheckpointingMode::AtLeastOnce => "at-least-once",
    }
}

fn wal_word(mode: WalMode) -> &'static str {
    match mode {
        WalMode::Auto => "auto",
        WalMode::Inputs => "inputs",
    }
}
