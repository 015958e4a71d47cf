//! What results look like as JSON, and as lines of text: shared by `explain` and `inspect`.
//!
//! These types are public formats; the core's own types never are.

use std::fmt::Display;

use serde::{Serialize, Serializer};
use serde_json::json;
use tidemill_core::describe::{Description, MetricKind, Ttl, TtlUpdate};

use super::table::grouped;

/// Headings of text results.
pub(super) const BOLD: anstyle::Style = anstyle::Style::new().bold();

/// Names and values in order; an object in JSON.
#[derive(Default)]
pub(super) struct Settings(Vec<(String, String)>);

impl Settings {
    pub(super) fn new<K: Into<String>>(pairs: impl IntoIterator<Item = (K, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A row for each, the names behind `prefix`.
    pub(super) fn rows(&self, prefix: &str) -> Vec<[String; 2]> {
        self.0.iter().map(|(name, value)| [format!("{prefix}{name}"), value.clone()]).collect()
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A result as a JSON document.
pub(super) fn json(result: &impl Serialize) -> String {
    // Plain structs with string keys always serialise, but for paths that are not UTF-8.
    let document = serde_json::to_string_pretty(result);
    document.unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string()) + "\n"
}

/// What an operator says it is.
#[derive(Serialize)]
pub(super) struct DescriptionView {
    name: String,
    version: String,
    inputs: Vec<InputView>,
    outputs: Vec<OutputView>,
    states: Vec<StateView>,
    metrics: Vec<MetricView>,
}

#[derive(Serialize)]
struct InputView {
    name: String,
    keyed: bool,
    value_width: Option<u32>,
}

#[derive(Serialize)]
struct OutputView {
    name: String,
    value_width: Option<u32>,
}

#[derive(Serialize)]
struct StateView {
    name: String,
    kind: &'static str,
    width: Option<u32>,
    schema_version: u32,
    ttl_ms: Option<u64>,
    ttl_restarts_on: Option<&'static str>,
}

#[derive(Serialize)]
struct MetricView {
    name: String,
    kind: &'static str,
    unit: String,
    help: String,
}

impl DescriptionView {
    pub(super) fn new(description: &Description) -> Self {
        let Description { name, version, inputs, outputs, states, metrics } = description;
        let inputs = inputs.iter().map(|input| InputView {
            name: input.name.clone(),
            keyed: input.keyed,
            value_width: input.value_width,
        });
        let outputs = outputs.iter().map(|output| OutputView {
            name: output.name.clone(),
            value_width: output.value_width,
        });
        let states = states.iter().map(|state| StateView {
            name: state.name.clone(),
            kind: state.kind.name(),
            width: state.width,
            schema_version: state.schema_version,
            ttl_ms: state.ttl.map(|ttl| ttl.milliseconds),
            ttl_restarts_on: state.ttl.map(restarts_on),
        });
        let metrics = metrics.iter().map(|metric| MetricView {
            name: metric.name.clone(),
            kind: match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            },
            unit: metric.unit.clone(),
            help: metric.help.clone(),
        });
        Self {
            name: name.clone(),
            version: version.clone(),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
            states: states.collect(),
            metrics: metrics.collect(),
        }
    }

    /// A row for each thing described.
    pub(super) fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = vec![row("operator", format!("{} {}", self.name, self.version))];
        for InputView { name, keyed, value_width } in &self.inputs {
            let keyed = if *keyed { "keyed, " } else { "" };
            rows.push(row("input", format!("{name} ({keyed}{})", width("values", *value_width))));
        }
        for OutputView { name, value_width } in &self.outputs {
            rows.push(row("output", format!("{name} ({})", width("values", *value_width))));
        }
        for state in &self.states {
            rows.push(row("state", state.text()));
        }
        for MetricView { name, kind, unit, help } in &self.metrics {
            let unit = if unit.is_empty() { String::new() } else { format!(" in {unit}") };
            let help = if help.is_empty() { String::new() } else { format!(": {help}") };
            rows.push(row("metric", format!("{name} ({kind}{unit}){help}")));
        }
        rows
    }
}

impl StateView {
    fn text(&self) -> String {
        let Self { name, kind, width: item, schema_version, .. } = self;
        let ttl = self.ttl_ms.map_or(String::new(), |ttl| format!(", expires after {ttl} ms"));
        format!("{name} ({kind}, {}, schema {schema_version}{ttl})", width("items", *item))
    }
}

/// A row with a name and a value.
pub(super) fn row(name: &str, value: impl Display) -> [String; 2] {
    [name.to_owned(), value.to_string()]
}

fn width(what: &str, width: Option<u32>) -> String {
    width.map_or_else(
        || format!("{what} of any size"),
        |width| format!("{what} of {} bytes", grouped(width.into())),
    )
}

fn restarts_on(ttl: Ttl) -> &'static str {
    match ttl.update {
        TtlUpdate::OnCreateAndWrite => "write",
        TtlUpdate::OnReadAndWrite => "read-and-write",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tidemill_core::describe::{
        InputDescription, MetricDescription, OutputDescription, StateDescription, StateKind,
    };

    use super::*;

    /// An operator with one of each.
    pub(in crate::cli) fn description() -> Description {
        Description {
            name: "count".into(),
            version: "1.0.0".into(),
            inputs: vec![InputDescription { name: "in".into(), keyed: true, value_width: None }],
            outputs: vec![OutputDescription { name: "counts".into(), value_width: Some(8) }],
            states: vec![StateDescription {
                name: "seen".into(),
                kind: StateKind::Value,
                width: Some(8),
                schema_version: 1,
                ttl: Some(Ttl { milliseconds: 1000, update: TtlUpdate::OnReadAndWrite }),
            }],
            metrics: vec![MetricDescription {
                name: "late".into(),
                kind: MetricKind::Counter,
                unit: "records".into(),
                help: "came too late".into(),
            }],
        }
    }

    #[test]
    fn a_description_is_told_in_rows() {
        let rows = DescriptionView::new(&description()).rows();
        let expected = [
            row("operator", "count 1.0.0"),
            row("input", "in (keyed, values of any size)"),
            row("output", "counts (values of 8 bytes)"),
            row("state", "seen (value, items of 8 bytes, schema 1, expires after 1000 ms)"),
            row("metric", "late (counter in records): came too late"),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn settings_keep_their_order_in_json() {
        let settings = Settings::new([("z", "1".to_owned()), ("a", "2".to_owned())]);
        assert_eq!(serde_json::to_string(&settings).unwrap(), r#"{"z":"1","a":"2"}"#);
    }
}
