//! Graphs that are refused, each by its rule, and what an accepted one looks like.

use super::*;
use crate::describe::{InputDescription, OutputDescription};

fn source(name: &str, keyed: bool) -> NodeSpec {
    NodeSpec { name: name.into(), kind: NodeSpecKind::Source { keyed }, inputs: vec![] }
}

fn from(from: &str) -> EdgeSpec {
    EdgeSpec { input: None, from: from.into(), kind: None }
}

fn into(input: &str, from: &str, kind: Option<EdgeKind>) -> EdgeSpec {
    EdgeSpec { input: Some(input.into()), from: from.into(), kind }
}

fn sink(name: &str, edge: EdgeSpec) -> NodeSpec {
    NodeSpec { name: name.into(), kind: NodeSpecKind::Sink, inputs: vec![edge] }
}

/// An operator with a plain input `a`, a keyed input `b` that takes `width`, and outputs `x`, `y` (4
/// bytes).
fn operator(name: &str, width: Option<u32>, inputs: Vec<EdgeSpec>) -> NodeSpec {
    let input =
        |name: &str, keyed, value_width| InputDescription { name: name.into(), keyed, value_width };
    let output = |name: &str, value_width| OutputDescription { name: name.into(), value_width };
    let description = Description {
        inputs: vec![input("a", false, None), input("b", true, width)],
        outputs: vec![output("x", None), output("y", Some(4))],
        ..Description::default()
    };
    NodeSpec { name: name.into(), kind: NodeSpecKind::Operator(Box::new(description)), inputs }
}

fn refusal(nodes: Vec<NodeSpec>) -> GraphError {
    GraphSpec { nodes }.validate().expect_err("the graph must be refused")
}

fn both(a: &str, b: &str) -> Vec<EdgeSpec> {
    vec![into("a", a, None), into("b", b, None)]
}

#[test]
fn an_edge_into_a_keyed_input_is_keyed_and_others_stay_on_their_lane() {
    let nodes =
        vec![source("s", true), operator("op", None, both("s", "s")), sink("out", from("op.x"))];
    let graph = GraphSpec { nodes }.validate().expect("a valid graph");
    let kinds: Vec<_> = graph.edges.iter().map(|edge| (edge.input, edge.kind)).collect();
    assert_eq!(kinds, [(0, EdgeKind::Forward), (1, EdgeKind::Keyed), (0, EdgeKind::Forward)]);
    assert_eq!(graph.nodes.iter().map(|node| node.depth).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn names_that_lead_nowhere_are_refused_with_what_there_is() {
    let error = refusal(vec![source("events", false), sink("out", from("evnts"))]);
    assert_eq!((error.node.as_str(), error.edge), ("out", Some(0)));
    assert!(error.to_string().contains("did you mean \"events\""), "{error}");
    let with = |edge| {
        let op = operator("op", None, both("s", "s"));
        refusal(vec![source("s", true), op, sink("out", edge)]).problem
    };
    assert!(matches!(with(from("op")), GraphProblem::WhichOutput { .. }));
    assert!(matches!(with(from("op.z")), GraphProblem::UnknownOutput { .. }));
    assert!(matches!(with(from("out")), GraphProblem::FromSink(_)));
    let op = |inputs| refusal(vec![source("s", true), operator("op", None, inputs)]).problem;
    assert!(matches!(op(vec![from("s")]), GraphProblem::WhichInput { .. }));
    assert!(matches!(op(vec![into("c", "s", None)]), GraphProblem::UnknownInput { .. }));
}

#[test]
fn every_input_must_be_fed() {
    let nodes = vec![source("s", true), operator("op", None, vec![into("a", "s", None)])];
    assert_eq!(refusal(nodes).problem, GraphProblem::UnconnectedInput("b".into()));
    let nodes = vec![source("s", true), operator("op", None, vec![])];
    assert_eq!(refusal(nodes).problem, GraphProblem::NoInput);
    assert_eq!(refusal(vec![]).problem, GraphProblem::NoSource);
}

#[test]
fn keys_and_widths_must_fit_along_an_edge() {
    let nodes = vec![source("s", false), operator("op", None, both("s", "s"))];
    assert_eq!(refusal(nodes).problem, GraphProblem::KeylessSource("s".into()));
    let inputs = vec![into("a", "s", None), into("b", "s", Some(EdgeKind::Broadcast))];
    let problem = refusal(vec![source("s", true), operator("op", None, inputs)]).problem;
    assert!(matches!(problem, GraphProblem::NotKeyed { kind: "broadcast", .. }));
    let chain = |output: &str, width| {
        let first = operator("one", None, both("s", "s"));
        let second = operator("two", width, both("s", output));
        GraphSpec { nodes: vec![source("s", true), first, second] }.validate()
    };
    assert!(chain("one.y", Some(4)).is_ok() && chain("one.y", None).is_ok());
    for (output, width) in [("one.y", 8), ("one.x", 4)] {
        let error = chain(output, Some(width)).expect_err("widths differ");
        assert!(matches!(error.problem, GraphProblem::WidthMismatch { .. }), "{error}");
    }
}

#[test]
fn a_cycle_is_refused_with_its_way() {
    let nodes = vec![
        source("s", true),
        operator("one", None, both("s", "three.x")),
        operator("two", None, both("one.x", "one.x")),
        operator("three", None, both("two.x", "two.x")),
        sink("out", from("three.x")),
    ];
    let GraphProblem::Cycle(way) = refusal(nodes).problem else { panic!("a cycle") };
    assert_eq!((way.len(), &way[0]), (4, &way[3]));
    let nodes = vec![source("s", true), operator("op", None, both("s", "op.x"))];
    assert_eq!(refusal(nodes).problem, GraphProblem::Cycle(vec!["op".into(), "op".into()]));
}

fn dead_letters(edges: Vec<EdgeSpec>) -> NodeSpec {
    NodeSpec { name: "dead".into(), kind: NodeSpecKind::DeadLetters, inputs: edges }
}

#[test]
fn dead_letters_leave_by_one_output_more_than_described() {
    let one = operator("one", None, both("s", "s"));
    let two = operator("two", None, both("one.x", "one.y"));
    let nodes = vec![source("s", true), one, two, dead_letters(vec![from("one"), from("two")])];
    let graph = GraphSpec { nodes }.validate().expect("a valid graph");
    let dead = NodeId(3);
    assert_eq!(graph.nodes[dead.0].kind, NodeKind::Sink);
    let edges: Vec<_> = graph.edges_into(dead).map(|(_, e)| (e.from, e.output, e.kind)).collect();
    let expected = [(NodeId(1), 2, EdgeKind::Forward), (NodeId(2), 2, EdgeKind::Forward)];
    assert_eq!(edges, expected);
    assert_eq!((graph.outputs_of(NodeId(1)), graph.has_dead_letters(NodeId(1))), (3, true));
    assert_eq!(graph.output_name(NodeId(1), 0), Some("x"));
    assert_eq!(graph.output_name(NodeId(1), 2), Some("dead-letters"));
    assert_eq!((graph.output_name(NodeId(0), 0), graph.output_name(dead, 0)), (None, None));
}

#[test]
fn an_operator_without_dead_letters_has_the_outputs_that_it_describes() {
    let nodes =
        vec![source("s", true), operator("op", None, both("s", "s")), sink("out", from("op.x"))];
    let graph = GraphSpec { nodes }.validate().expect("a valid graph");
    assert_eq!((graph.outputs_of(NodeId(1)), graph.has_dead_letters(NodeId(1))), (2, false));
}

#[test]
fn only_operators_have_dead_letters_and_those_carry_no_key() {
    let with = |edges| {
        let op = operator("op", None, both("s", "s"));
        refusal(vec![source("s", true), op, sink("out", from("op.x")), dead_letters(edges)]).problem
    };
    assert_eq!(with(vec![from("s")]), GraphProblem::NoDeadLetters("s".into()));
    assert_eq!(with(vec![from("out")]), GraphProblem::NoDeadLetters("out".into()));
    assert!(matches!(with(vec![from("op.x")]), GraphProblem::UnknownNode { .. }));
    let keyed = EdgeSpec { input: None, from: "op".into(), kind: Some(EdgeKind::Keyed) };
    assert_eq!(with(vec![keyed]), GraphProblem::KeylessDeadLetters("op".into()));
    assert_eq!(with(vec![]), GraphProblem::NoInput);
}
