//! The published JSON schemas of job files and tenants' files, made from the structs that read them.
//!
//! The structs give names, types and words; defaults and bounds are added from where the resolver
//! takes them, so that the schema cannot say something else than the host does.

use std::ops::RangeInclusive;

use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::defaults;
use super::raw::{RawJob, RawTenants};
use super::scalar::{format_duration_us, format_size};
use super::tenants::{self, TenantPlan};
use tidemill_core::limits::{self, Limits};
use tidemill_core::restart::{ExponentialDelay, FailureRate, FixedDelay, RestartStrategy};

const JOB_NAME_PATTERN: &str = "^[a-z0-9][a-z0-9-]{0,62}$";
const NODE_NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]*$";

/// The JSON schema (2020-12) of job files.
pub fn job_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<RawJob>().to_value();
    remove_null(&mut schema);
    let job = &mut schema["properties"];
    job["name"]["pattern"] = json!(JOB_NAME_PATTERN);
    job["tenant"]["pattern"] = json!(JOB_NAME_PATTERN);
    job["tenant"]["default"] = json!(defaults::TENANT);
    for table in ["sources", "operators", "sinks"] {
        job[table]["propertyNames"] =
            json!({ "pattern": NODE_NAME_PATTERN, "maxLength": limits::NAME_BYTES_MAX });
    }
    number(&mut job["parallelism"], defaults::PARALLELISM, defaults::PARALLELISM_BOUNDS);
    number(&mut job["key-groups"], defaults::KEY_GROUPS, defaults::KEY_GROUPS_BOUNDS);
    number(&mut job["batch-records"], defaults::BATCH_RECORDS, defaults::BATCH_RECORDS_BOUNDS);
    size(&mut job["batch-bytes"], defaults::BATCH_BYTES, defaults::BATCH_BYTES_BOUNDS);
    size(&mut job["queue-bytes"], defaults::QUEUE_BYTES, defaults::QUEUE_BYTES_BOUNDS);
    time(&mut job["linger"], defaults::LINGER_US);
    job["state-backend"]["default"] = json!("memory");
    durability(job);
    let definitions = &mut schema["$defs"];
    connectors(definitions);
    restart_strategies(&mut definitions["RestartStrategy"]);
    let operator = &mut definitions["Operator"]["properties"];
    // No default: what an operator leaves out, it takes from the job.
    range(&mut operator["poison-limit"], defaults::POISON_LIMIT_BOUNDS);
    limit_defaults(&mut definitions["Limits"]["properties"]);
    grants(definitions);
    schema
}

/// The JSON schema (2020-12) of tenants' files.
pub fn tenants_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<RawTenants>().to_value();
    remove_null(&mut schema);
    schema["properties"]["tenants"]["propertyNames"] = json!({ "pattern": JOB_NAME_PATTERN });
    let definitions = &mut schema["$defs"];
    let room = &mut definitions["Host"]["properties"]["sandboxes"];
    number(room, tenants::HOST_SANDBOXES, tenants::HOST_SANDBOXES_BOUNDS);
    let default = TenantPlan::with_defaults("");
    let quotas = &mut definitions["Tenant"]["properties"];
    for (name, amount) in [
        ("sandboxes", default.sandboxes),
        ("components", default.components),
        ("open-files", default.open_files),
        ("connectors", default.connectors),
        ("partitions", default.partitions),
    ] {
        quotas[name]["default"] = json!(amount);
        quotas[name]["minimum"] = json!(1);
    }
    for (name, bytes) in [
        ("memory", default.memory_bytes),
        ("state", default.state_bytes),
        ("buffers", default.buffer_bytes),
        ("input-log", default.input_log_bytes),
        ("checkpoints", default.checkpoint_bytes),
    ] {
        quotas[name]["default"] = json!(format_size(bytes));
        quotas[name]["minimum"] = json!(1);
    }
    let memory = default.admission.compile_memory_bytes;
    size(&mut quotas["compile-memory"], memory, tenants::COMPILE_MEMORY_MIN..=memory);
    let cpu_us = default.admission.compile_cpu_s * 1_000_000;
    time_within(&mut quotas["compile-cpu"], cpu_us, &(tenants::COMPILE_CPU_MIN_US..=cpu_us));
    number(&mut quotas["cpu-share"], default.cpu_share, tenants::CPU_SHARE_BOUNDS);
    range(&mut quotas["cpu"], tenants::CPU_BOUNDS);
    quotas["output-rate"]["minimum"] = json!(1);
    quotas["log-lines-per-second"]["default"] = json!(default.log_lines_per_second);
    limit_defaults(&mut definitions["Limits"]["properties"]);
    schema
}

fn grants(definitions: &mut Value) {
    for list in ["directories", "environment"] {
        definitions["Grants"]["properties"][list]["maxItems"] = json!(defaults::GRANTS_MAX);
    }
    let guest_path = &mut definitions["Directory"]["properties"]["as"];
    guest_path["pattern"] = json!("^/");
    guest_path["maxLength"] = json!(defaults::GUEST_PATH_BYTES_MAX);
}

fn durability(job: &mut Value) {
    job["checkpointing-mode"]["default"] = json!(defaults::CHECKPOINTING_MODE);
    job["wal"]["default"] = json!(defaults::WAL);
    job["on-poison"]["default"] = json!(defaults::ON_POISON);
    job["dead-letter-dir"]["default"] = json!(defaults::DEAD_LETTER_DIR);
    job["restart-strategy"]["default"] = json!(RestartStrategy::default().name());
    let times = [
        (
            "checkpoint-interval",
            defaults::CHECKPOINT_INTERVAL_US,
            defaults::CHECKPOINT_INTERVAL_BOUNDS_US,
        ),
        ("min-pause-between-checkpoints", defaults::MIN_PAUSE_US, defaults::MIN_PAUSE_BOUNDS_US),
        (
            "checkpoint-timeout",
            defaults::CHECKPOINT_TIMEOUT_US,
            defaults::CHECKPOINT_TIMEOUT_BOUNDS_US,
        ),
        (
            "heartbeat-interval",
            defaults::HEARTBEAT_INTERVAL_US,
            defaults::HEARTBEAT_INTERVAL_BOUNDS_US,
        ),
        (
            "heartbeat-timeout",
            defaults::HEARTBEAT_TIMEOUT_US,
            defaults::HEARTBEAT_TIMEOUT_BOUNDS_US,
        ),
        ("stop-timeout", defaults::STOP_TIMEOUT_US, defaults::STOP_TIMEOUT_BOUNDS_US),
        ("storage-timeout", defaults::STORAGE_TIMEOUT_US, defaults::STORAGE_TIMEOUT_BOUNDS_US),
    ];
    for (name, default_us, bounds_us) in times {
        time_within(&mut job[name], default_us, &bounds_us);
    }
    let numbers = [
        (
            "tolerable-failed-checkpoints",
            defaults::TOLERABLE_FAILED_CHECKPOINTS,
            defaults::TOLERABLE_FAILED_CHECKPOINTS_BOUNDS,
        ),
        (
            "checkpoints-retained",
            defaults::CHECKPOINTS_RETAINED,
            defaults::CHECKPOINTS_RETAINED_BOUNDS,
        ),
        ("poison-limit", defaults::POISON_LIMIT, defaults::POISON_LIMIT_BOUNDS),
    ];
    for (name, default, bounds) in numbers {
        number(&mut job[name], default, bounds);
    }
    size(&mut job["wal-quota"], defaults::WAL_QUOTA_BYTES, defaults::WAL_QUOTA_BOUNDS);
}

/// Defaults and bounds of the parameters of each strategy.
fn restart_strategies(schema: &mut Value) {
    let exponential = ExponentialDelay::default();
    let (fixed, rate) = (FixedDelay::default(), FailureRate::default());
    for table in schema["anyOf"][1]["oneOf"].as_array_mut().into_iter().flatten() {
        let parameters = &mut table["properties"];
        let strategy = parameters["type"]["const"].as_str().unwrap_or_default().to_owned();
        let mut time = |name: &str, default_ms: u64, bounds_us: RangeInclusive<u64>| {
            time_within(&mut parameters[name], default_ms * 1_000, &bounds_us);
        };
        match strategy.as_str() {
            "exponential-delay" => {
                let backoff = defaults::BACKOFF_BOUNDS_US;
                time("initial-backoff", exponential.initial_backoff_ms, backoff.clone());
                time("max-backoff", exponential.max_backoff_ms, backoff);
                let threshold_ms = exponential.reset_backoff_threshold_ms;
                time("reset-backoff-threshold", threshold_ms, defaults::RESTART_WINDOW_BOUNDS_US);
                ratio(
                    &mut parameters["backoff-multiplier"],
                    exponential.backoff_multiplier,
                    defaults::BACKOFF_MULTIPLIER_BOUNDS,
                );
                ratio(
                    &mut parameters["jitter-factor"],
                    exponential.jitter_factor,
                    defaults::JITTER_FACTOR_BOUNDS,
                );
                let attempts = &mut parameters["attempts-before-reset-backoff"];
                range(attempts, defaults::RESTART_ATTEMPTS_BOUNDS);
            }
            "fixed-delay" => {
                time("delay", fixed.delay_ms, defaults::RESTART_DELAY_BOUNDS_US);
                let attempts = &mut parameters["attempts"];
                number(attempts, fixed.attempts.into(), defaults::RESTART_ATTEMPTS_BOUNDS);
            }
            "failure-rate" => {
                time("delay", rate.delay_ms, defaults::RESTART_DELAY_BOUNDS_US);
                let interval_ms = rate.failure_rate_interval_ms;
                time("failure-rate-interval", interval_ms, defaults::RESTART_WINDOW_BOUNDS_US);
                let failures = &mut parameters["max-failures-per-interval"];
                let default = rate.max_failures_per_interval.into();
                number(failures, default, defaults::RESTART_ATTEMPTS_BOUNDS);
            }
            _ => {}
        }
    }
}

fn connectors(definitions: &mut Value) {
    each_variant(&mut definitions["Source"], |connector, settings| {
        match connector {
            "file" => {
                size(
                    &mut settings["split-size"],
                    defaults::SPLIT_BYTES,
                    defaults::SPLIT_BYTES_BOUNDS,
                );
            }
            "nexmark" => {
                settings["stream"]["default"] = json!(defaults::STREAM);
                settings["encoding"]["default"] = json!(defaults::ENCODING);
                settings["seed"]["default"] = json!(defaults::SEED);
                settings["events"]["minimum"] = json!(defaults::EVENTS_BOUNDS.start());
                let rate = &mut settings["events-per-second"];
                rate["minimum"] = json!(defaults::EVENTS_BOUNDS.start());
                let partitions = &mut settings["partitions"];
                number(partitions, defaults::PARTITIONS, defaults::PARTITIONS_BOUNDS);
                number(&mut settings["keys"], defaults::KEYS, defaults::KEYS_BOUNDS);
            }
            _ => {}
        }
        if let Some(format) = settings.get_mut("format") {
            format["default"] = json!(defaults::INPUT_FORMAT);
        }
    });
    each_variant(&mut definitions["Sink"], |connector, settings| {
        if let Some(format) = settings.get_mut("format") {
            format["default"] = json!(defaults::OUTPUT_FORMAT);
            settings["value-type"]["default"] = json!(defaults::VALUE_TYPE);
        }
        if connector == "file" {
            settings["compression"]["default"] = json!(defaults::COMPRESSION);
        }
    });
}

fn each_variant(schema: &mut Value, change: impl Fn(&str, &mut Value)) {
    for variant in schema["oneOf"].as_array_mut().into_iter().flatten() {
        let settings = &mut variant["properties"];
        let connector = settings["connector"]["const"].as_str().unwrap_or_default().to_owned();
        change(&connector, settings);
    }
}

fn limit_defaults(settings: &mut Value) {
    let host = Limits::default();
    let mut most_bytes = |name: &str, bytes: u64| size(&mut settings[name], bytes, 1..=bytes);
    most_bytes("component-size", host.component_bytes);
    most_bytes("memory", host.memory_bytes);
    most_bytes("key", host.key_bytes as u64);
    most_bytes("value", host.value_bytes as u64);
    most_bytes("emit-bytes", host.emit_bytes as u64);
    most_bytes("overlay", host.overlay_bytes as u64);
    most_bytes("host-call", host.host_call_bytes as u64);
    most_bytes("state", host.state_bytes);
    most_bytes("log-line", host.log_line_bytes as u64);
    let log_lines = u64::from(host.log_lines_per_second);
    number(&mut settings["log-lines-per-second"], log_lines, 0..=log_lines);
    number(&mut settings["table-elements"], host.table_elements, 1..=host.table_elements);
    let emit_records = host.emit_records as u64;
    number(&mut settings["emit-records"], emit_records, 1..=emit_records);
    time(&mut settings["process-cpu"], host.process_cpu_us);
    time(&mut settings["process-cpu-per-record"], host.process_cpu_us_per_record);
    time(&mut settings["process-cpu-max"], host.process_cpu_us_max);
    time(&mut settings["hook-cpu"], host.hook_cpu_us);
}

fn number(schema: &mut Value, default: u64, bounds: RangeInclusive<u64>) {
    schema["default"] = json!(default);
    range(schema, bounds);
}

fn ratio(schema: &mut Value, default: f64, bounds: RangeInclusive<f64>) {
    schema["default"] = json!(default);
    range(schema, bounds);
}

fn range<N: Serialize>(schema: &mut Value, bounds: RangeInclusive<N>) {
    schema["minimum"] = json!(bounds.start());
    schema["maximum"] = json!(bounds.end());
}

/// `maximum` binds bare numbers only; the description gives it for both forms.
fn size(schema: &mut Value, default: u64, bounds: RangeInclusive<u64>) {
    number(schema, default, bounds.clone());
    schema["default"] = json!(format_size(default));
    let description = schema["description"].as_str().unwrap_or_default();
    schema["description"] = json!(format!("{description} At most {}.", format_size(*bounds.end())));
}

/// Bounds in words, for no keyword of a schema compares durations.
fn time_within(schema: &mut Value, default_us: u64, bounds_us: &RangeInclusive<u64>) {
    time(schema, default_us);
    let description = schema["description"].as_str().unwrap_or_default();
    let [min, max] = [bounds_us.start(), bounds_us.end()].map(|bound| format_duration_us(*bound));
    schema["description"] = json!(format!("{description} From {min} to {max}."));
}

fn time(schema: &mut Value, default_us: u64) {
    schema["default"] = json!(format_duration_us(default_us));
}

/// TOML has no null: a setting that may be absent is simply not required.
fn remove_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(remove_null),
        Value::Object(object) => {
            object.values_mut().for_each(remove_null);
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    object["type"] = only.clone();
                }
            }
            for words in ["anyOf", "oneOf"] {
                if let Some(Value::Array(forms)) = object.get_mut(words) {
                    forms.retain(|form| form["type"] != "null" && form["enum"] != json!([]));
                }
            }
            unwrap_single(object);
        }
        _ => {}
    }
}

/// `anyOf` with one form left says no more than the form itself.
fn unwrap_single(object: &mut Map<String, Value>) {
    let form = match object.get("anyOf") {
        Some(Value::Array(forms)) => match forms.as_slice() {
            [Value::Object(form)] => form.clone(),
            _ => return,
        },
        _ => return,
    };
    object.remove("anyOf");
    for (key, value) in form {
        object.entry(key).or_insert(value);
    }
}
