//! `tidemill explain`: the job as it would run, with every default filled in.

use serde::Serialize;
use tidemill_core::describe::Description;
use tidemill_core::graph::{Graph, NodeKind};

use super::arguments::{ExplainArguments, OutputFormat};
use super::console;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::run;
use super::table::table;
use super::view::{BOLD, DescriptionView, Settings, json, row};
use crate::config::{JobPlan, Shown, lowered_limits};
use crate::connectors::Sink;
use crate::connectors::settings::SourceSettings;

/// Explains a job.
pub(super) fn explain(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let (mut plan, options) = run::plan(&arguments.job, arguments.tenants.is_some(), false)?;
    let locations = plan.locations.clone();
    let tenants = run::tenants(arguments.tenants.as_deref())?;
    let (mut job, _engine) = run::prepare(plan.clone(), options, &tenants, &locations)?;
    job.list_sources().map_err(|error| Failure::job(error, &locations))?;
    // What is asked for, under what its tenant allows.
    for (operator, capped) in plan.operators.iter_mut().zip(&job.plan().operators) {
        operator.limits = capped.limits.clone();
    }
    let explanation = Explanation::new(&plan, job.graph(), &job.partitions());
    console::print(&match arguments.format {
        OutputFormat::Text => explanation.text(),
        OutputFormat::Json => json(&explanation),
    })?;
    Ok(ExitCode::Done)
}

/// A job as it would run.
#[derive(Serialize)]
struct Explanation {
    name: String,
    file: String,
    settings: Settings,
    sources: Vec<SourceView>,
    operators: Vec<OperatorView>,
    sinks: Vec<SinkView>,
    edges: Vec<EdgeView>,
}

#[derive(Serialize)]
struct SourceView {
    name: String,
    connector: &'static str,
    settings: Settings,
    partitions: usize,
    guarantee: &'static str,
}

#[derive(Serialize)]
struct OperatorView {
    name: String,
    component: String,
    description: DescriptionView,
    config: Settings,
    grants: Settings,
    limits: Settings,
    poison: Settings,
}

#[derive(Serialize)]
struct SinkView {
    name: String,
    connector: &'static str,
    settings: Settings,
    guarantee: &'static str,
}

#[derive(Serialize)]
struct EdgeView {
    from: String,
    to: String,
    kind: &'static str,
}

/// What a new run of the job can rely on at a source.
fn source_guarantee(settings: &SourceSettings) -> &'static str {
    match settings {
        SourceSettings::File(_) => {
            "exactly once: the files are read again from the newest checkpoint's position"
        }
        SourceSettings::Nexmark(_) => {
            "exactly once: records are made again from the newest checkpoint's position"
        }
        SourceSettings::Stdin(_) | SourceSettings::Tcp(_) => {
            "exactly once from the moment it is logged, which is before it is processed; docs/job-file.md says how a \
             tcp client learns that"
        }
    }
}

impl Explanation {
    fn new(plan: &JobPlan, graph: &Graph, partitions: &[(String, usize)]) -> Self {
        let partitions_of = |name: &str| {
            partitions.iter().find(|(source, _)| source == name).map_or(0, |(_, count)| *count)
        };
        let sources = plan.sources.iter().map(|source| {
            let Shown { connector, settings } = source.settings.show();
            SourceView {
                name: source.name.clone(),
                connector,
                settings: Settings::new(settings),
                partitions: partitions_of(&source.name),
                guarantee: source_guarantee(&source.settings),
            }
        });
        let operators = plan.operators.iter().map(|operator| OperatorView {
            name: operator.name.clone(),
            component: operator.component.display().to_string(),
            description: DescriptionView::new(&description_of(graph, &operator.name)),
            config: Settings::new(operator.config.clone()),
            grants: Settings::new(operator.show_grants()),
            limits: Settings::new(lowered_limits(&operator.limits)),
            poison: Settings::new(operator.show_poison()),
        });
        let sinks = plan.sinks.iter().map(|sink| {
            let Shown { connector, settings } = sink.settings.show();
            SinkView {
                name: sink.name.clone(),
                connector,
                settings: Settings::new(settings),
                guarantee: Sink::guarantee(&sink.settings),
            }
        });
        Self {
            name: plan.name.clone(),
            file: plan.file.display().to_string(),
            settings: Settings::new(plan.show()),
            sources: sources.collect(),
            operators: operators.collect(),
            sinks: sinks.collect(),
            edges: edges(graph),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{BOLD}job {}{BOLD:#}  {}\n", self.name, self.file);
        text += &table(&self.settings.rows(""), 2, &[]);
        for source in &self.sources {
            let SourceView { name, connector, settings, partitions, guarantee } = source;
            text += &format!("\n{BOLD}source {name}{BOLD:#}  {connector}\n");
            let mut rows = settings.rows("");
            // A generator's own setting of that name says the same.
            rows.retain(|[name, _]| name != "partitions");
            rows.extend([row("partitions", partitions), row("guarantee", guarantee)]);
            text += &table(&rows, 2, &[]);
        }
        for operator in &self.operators {
            let OperatorView { name, component, description, config, grants, limits, poison } =
                operator;
            text += &format!("\n{BOLD}operator {name}{BOLD:#}  {component}\n");
            let mut rows = description.rows();
            rows.extend(config.rows("config."));
            rows.extend(grants.rows("grants."));
            rows.extend(limits.rows("limits."));
            rows.extend(poison.rows(""));
            text += &table(&rows, 2, &[]);
        }
        for SinkView { name, connector, settings, guarantee } in &self.sinks {
            text += &format!("\n{BOLD}sink {name}{BOLD:#}  {connector}\n");
            let mut rows = settings.rows("");
            rows.push(row("guarantee", guarantee));
            text += &table(&rows, 2, &[]);
        }
        text += &format!("\n{BOLD}edges{BOLD:#}\n");
        let edges = self.edges.iter().map(|EdgeView { from, to, kind }| {
            [from.clone(), "->".to_owned(), to.clone(), (*kind).to_owned()]
        });
        text + &table(&edges.collect::<Vec<_>>(), 2, &[])
    }
}

fn description_of(graph: &Graph, name: &str) -> Description {
    let node = graph.nodes.iter().find(|node| node.name == name);
    match node.map(|node| &node.kind) {
        Some(NodeKind::Operator(description)) => description.clone(),
        _ => Description::default(),
    }
}

fn edges(graph: &Graph) -> Vec<EdgeView> {
    let edges = graph.edges.iter().map(|edge| {
        let (from, to) = (&graph.nodes[edge.from.0], &graph.nodes[edge.to.0]);
        let from = match &from.kind {
            NodeKind::Operator(_) => {
                let output = graph.output_name(edge.from, edge.output).unwrap_or_default();
                format!("{}.{output}", from.name)
            }
            NodeKind::Source | NodeKind::Sink => from.name.clone(),
        };
        let to = match &to.kind {
            NodeKind::Operator(description) => {
                format!("{}.{}", to.name, description.inputs[edge.input].name)
            }
            NodeKind::Source | NodeKind::Sink => to.name.clone(),
        };
        EdgeView { from, to, kind: edge.kind.name() }
    });
    edges.collect()
}

#[cfg(test)]
mod tests {
    use tidemill_core::graph::{Edge, EdgeKind, Node};
    use tidemill_core::ids::NodeId;

    use super::*;
    use crate::cli::view::tests::description;

    fn explained() -> JobPlan {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("job.toml");
        let text = "name = \"a\"\n[sources.in]\nconnector = \"nexmark\"\npartitions = 3\n\
                    [operators.count]\ncomponent = \"/c.wasm\"\nfrom = \"in\"\nconfig = { emit = \
                    1 }\n\
                    grants.directories = [{ path = \"/srv/models\", as = \"/m\" }]\n\
                    grants.environment = [\"HOME_REGION\"]\n\
                    limits.memory = \"1MiB\"\n\
                    [sinks.out]\nconnector = \"stdout\"\nfrom = \"count\"\n";
        std::fs::write(&path, text).unwrap();
        let mut plan = JobPlan::load(&path, &[]).unwrap();
        plan.file = "/job.toml".into();
        plan
    }

    fn explanation() -> Explanation {
        let node = |name: &str, kind, depth| Node { name: name.into(), kind, depth };
        let edge =
            |from, to, kind| Edge { from: NodeId(from), output: 0, to: NodeId(to), input: 0, kind };
        let graph = Graph {
            nodes: vec![
                node("in", NodeKind::Source, 0),
                node("count", NodeKind::Operator(description()), 1),
                node("out", NodeKind::Sink, 2),
            ],
            edges: vec![edge(0, 1, EdgeKind::Keyed), edge(1, 2, EdgeKind::Forward)],
        };
        Explanation::new(&explained(), &graph, &[("in".to_owned(), 3)])
    }

    #[test]
    fn text_tells_everything_once() {
        let text = anstream::adapter::strip_str(&explanation().text()).to_string();
        let stdout = Sink::guarantee(&explained().sinks[0].settings);
        let expected = format!(
            "\
job a  /job.toml
  tenant                                          default
  parallelism                                     1
  key-groups                                      128
  state-backend                                   memory
  state-timeout                                   none
  batch-records                                   4096
  batch-bytes                                     256KiB
  linger                                          1ms
  queue-bytes                                     1MiB
  checkpointing-mode                              exactly-once
  checkpoint-interval                             10s
  min-pause-between-checkpoints                   0s
  checkpoint-timeout                              1m
  tolerable-failed-checkpoints                    3
  checkpoints-retained                            3
  checkpoint-dir                                  in the job's data directory
  heartbeat-interval                              1s
  heartbeat-timeout                               5s
  stop-timeout                                    30s
  storage-timeout                                 30s
  wal                                             auto
  wal-quota                                       1GiB
  restart-strategy.type                           exponential-delay
  restart-strategy.initial-backoff                1s
  restart-strategy.max-backoff                    1m
  restart-strategy.backoff-multiplier             1.5
  restart-strategy.reset-backoff-threshold        1h
  restart-strategy.jitter-factor                  0.1
  restart-strategy.attempts-before-reset-backoff  unlimited

source in  nexmark
  stream      nexmark
  seed        42
  encoding    ndjson
  partitions  3
  guarantee   exactly once: records are made again from the newest checkpoint's position

operator count  /c.wasm
  operator                        count 1.0.0
  input                           in (keyed, values of any size)
  output                          counts (values of 8 bytes)
  state                           seen (value, items of 8 bytes, schema 1, expires after 1000 ms)
  metric                          late (counter in records): came too late
  config.emit                     1
  grants.directories./m           /srv/models
  grants.environment.HOME_REGION  the host's
  limits.memory                   1MiB
  on-poison                       fail

sink out  stdout
  format     raw
  guarantee  {stdout}

edges
  in            ->  count.in  keyed
  count.counts  ->  out       forward
"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn json_has_the_same_facts() {
        let value: serde_json::Value = serde_json::from_str(&json(&explanation())).unwrap();
        assert_eq!(value["settings"]["linger"], "1ms");
        assert_eq!(value["sources"][0]["partitions"], 3);
        assert_eq!(
            value["operators"][0]["description"]["states"][0]["ttl_restarts_on"],
            "read-and-write"
        );
        assert_eq!(value["operators"][0]["limits"]["memory"], "1MiB");
        assert_eq!(
            value["edges"][0],
            serde_json::json!({"from": "in", "to": "count.in", "kind": "keyed"})
        );
    }
}
