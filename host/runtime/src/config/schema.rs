//! The published JSON schema of job files, made from the structs that read them.
//!
//! The structs give names, types and words; defaults and bounds are added from where the resolver
//! takes them, so that the schema cannot say something else than the host does.

use std::ops::RangeInclusive;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::defaults;
use super::raw::RawJob;
use super::scalar::{format_duration_us, format_size};
use tidemill_core::limits::{self, Limits};

const JOB_NAME_PATTERN: &str = "^[a-z0-9][a-z0-9-]{0,62}$";
const NODE_NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]*$";

/// The JSON schema (2020-12) of job files.
pub fn job_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<RawJob>().to_value();
    remove_null(&mut schema);
    let job = &mut schema["properties"];
    job["name"]["pattern"] = json!(JOB_NAME_PATTERN);
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
    let definitions = &mut schema["$defs"];
    connectors(definitions);
    limit_defaults(&mut definitions["Limits"]["properties"]);
    schema
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
                let partitions = &mut settings["partitions"];
                number(partitions, defaults::PARTITIONS, defaults::PARTITIONS_BOUNDS);
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
