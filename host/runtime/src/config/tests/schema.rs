//! The published schema agrees with what the host reads.

use std::fs;
use std::path::Path;

use super::load;
use crate::config::{job_schema, tenants_schema};

#[test]
fn the_committed_schemas_are_those_that_are_printed() {
    for (of, schema) in [("job", job_schema()), ("tenants", tenants_schema())] {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let committed = fs::read(docs.join(format!("{of}.schema.json"))).ok();
        let committed: Option<serde_json::Value> =
            committed.and_then(|committed| serde_json::from_slice(&committed).ok());
        let is_same = committed == Some(schema);
        assert!(is_same, "refresh it: tidemill schema {of} > docs/{of}.schema.json");
    }
}

#[test]
fn every_setting_is_explained() {
    fn explained(schema: &serde_json::Value, path: &str) {
        for (name, setting) in schema["properties"].as_object().into_iter().flatten() {
            let is_tag = setting.get("const").is_some();
            assert!(is_tag || setting["description"].is_string(), "{path}.{name}");
        }
    }
    for (of, schema) in [("job", job_schema()), ("tenants", tenants_schema())] {
        explained(&schema, of);
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            explained(definition, name);
            for variant in definition["oneOf"].as_array().into_iter().flatten() {
                explained(variant, name);
            }
        }
    }
}

#[test]
fn the_page_about_tenants_explains_every_setting_of_a_tenant() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tenants.md");
    let (page, schema) = (fs::read_to_string(path).unwrap(), tenants_schema());
    for name in schema["$defs"]["Tenant"]["properties"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("\n| `{name}` |")), "{name} is not in the table");
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
    assert_eq!(schema["properties"]["wal-quota"]["minimum"], 16 << 20);
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

fn job_file_page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/job-file.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_about_job_files_explains_every_setting_of_a_job_and_an_operator() {
    let (page, schema) = (job_file_page(), job_schema());
    let mut names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    names.extend(schema["$defs"]["Operator"]["properties"].as_object().unwrap().keys());
    let strategies = &schema["$defs"]["RestartStrategy"]["anyOf"][1]["oneOf"];
    for strategy in strategies.as_array().unwrap() {
        names.extend(strategy["properties"].as_object().unwrap().keys());
    }
    for name in names {
        let ways = [format!("`{name}`"), format!("`[{name}.NAME]`"), format!("`{name}.INPUT`")];
        assert!(ways.iter().any(|way| page.contains(way)), "{name}");
    }
}

#[test]
fn the_example_on_the_page_about_job_files_is_accepted() {
    let page = job_file_page();
    // Between fences stands what commands print.
    let outside = page.split("```").step_by(2).flat_map(str::lines);
    let example: Vec<&str> = outside.filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(example.len() > 10);
    let text = format!("name = \"a\"\n{}\n", example.join("\n"));
    let loaded = load(&text, &[]);
    assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
}
