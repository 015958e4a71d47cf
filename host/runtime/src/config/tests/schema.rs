//! The published schema agrees with what the host reads.

use std::fs;
use std::path::Path;

use crate::config::job_schema;

#[test]
fn the_committed_schema_is_the_one_that_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/job.schema.json");
    let committed: Option<serde_json::Value> =
        fs::read(path).ok().and_then(|committed| serde_json::from_slice(&committed).ok());
    let is_same = committed == Some(job_schema());
    assert!(is_same, "refresh it: tidemill schema > docs/job.schema.json");
}

#[test]
fn every_setting_is_explained() {
    fn explained(schema: &serde_json::Value, path: &str) {
        for (name, setting) in schema["properties"].as_object().into_iter().flatten() {
            let is_tag = setting.get("const").is_some();
            assert!(is_tag || setting["description"].is_string(), "{path}.{name}");
        }
    }
    let schema = job_schema();
    explained(&schema, "job");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        explained(definition, name);
        for variant in definition["oneOf"].as_array().into_iter().flatten() {
            explained(variant, name);
        }
    }
}

#[test]
fn the_schema_speaks_neither_of_null_nor_of_what_does_not_exist() {
    let schema = job_schema().to_string();
    assert!(!schema.contains("null") && !schema.contains("\"disk\""));
}

#[test]
fn the_schema_shows_defaults_and_bounds() {
    let schema = job_schema();
    let groups = &schema["properties"]["key-groups"];
    assert_eq!((&groups["default"], &groups["maximum"]), (&128.into(), &32_768.into()));
    assert_eq!(schema["properties"]["linger"]["default"], "1ms");
    let timeout = &schema["properties"]["heartbeat-timeout"];
    assert_eq!(timeout["default"], "5s");
    assert!(timeout["description"].as_str().unwrap().ends_with("From 100ms to 1day."));
    assert_eq!(schema["properties"]["wal-quota"]["minimum"], 1 << 20);
    assert_eq!(schema["$defs"]["Limits"]["properties"]["memory"]["default"], "128MiB");
    assert_eq!(schema["$defs"]["Source"]["oneOf"][0]["properties"]["format"]["default"], "lines");
}

#[test]
fn each_restart_strategy_has_its_own_parameters() {
    let schema = job_schema();
    let tables = schema["$defs"]["RestartStrategy"]["anyOf"][1]["oneOf"].as_array().unwrap();
    let names = |table: &serde_json::Value| -> Vec<String> {
        let parameters = table["properties"].as_object().unwrap();
        assert!(parameters.values().all(|parameter| !parameter.is_null()), "{table}");
        parameters.keys().cloned().collect()
    };
    assert_eq!(names(&tables[1]), ["attempts", "delay", "type"]);
    assert_eq!(names(&tables[3]), ["type"]);
    assert_eq!(tables[0]["properties"]["backoff-multiplier"]["default"], 1.5);
    assert_eq!(tables[2]["properties"]["failure-rate-interval"]["default"], "1m");
}
