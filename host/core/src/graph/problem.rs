//! Why a graph is refused, in words that say where and what would be right.
//!
//! Owns the wording; the rules are in `build`.

/// Why a graph is refused, and at which node and which of its input edges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node}: {problem}")]
pub struct GraphError {
    /// Name of the node.
    pub node: String,
    /// Index into the node's input edges, when one edge is to blame.
    pub edge: Option<usize>,
    /// What is wrong.
    pub problem: GraphProblem,
}

/// What is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphProblem {
    /// No node reads anything.
    #[error("the job has no source")]
    NoSource,
    /// `from` names nothing.
    #[error("nothing is called {name:?}{}", nearest.as_ref().map_or(String::new(), |n| format!("; did you mean {n:?}?")))]
    UnknownNode {
        /// The name.
        name: String,
        /// The closest existing name.
        nearest: Option<String>,
    },
    /// `from` names a sink.
    #[error("{0:?} is a sink and has no output")]
    FromSink(String),
    /// `from` names an output that does not exist.
    #[error("{node:?} has no output {output:?}; it has {}", list(has))]
    UnknownOutput {
        /// Sending node.
        node: String,
        /// The output.
        output: String,
        /// What it has.
        has: Vec<String>,
    },
    /// `from` names a node with several outputs (or none).
    #[error("{node:?} has {} outputs: say which one, as in \"{node}.{}\"", has.len(), has.first().map_or("OUTPUT", |o| o))]
    WhichOutput {
        /// Sending node.
        node: String,
        /// What it has.
        has: Vec<String>,
    },
    /// An input that the component does not have.
    #[error("it has no input {input:?}; it has {}", list(has))]
    UnknownInput {
        /// The input.
        input: String,
        /// What it has.
        has: Vec<String>,
    },
    /// `from` on a component with several inputs.
    #[error("it has several inputs ({}): name each under `inputs`", list(has))]
    WhichInput {
        /// What it has.
        has: Vec<String>,
    },
    /// An input that nothing is connected to.
    #[error("nothing feeds its input {0:?}")]
    UnconnectedInput(String),
    /// A node without any input.
    #[error("it has no input: say where its records come from with `from`")]
    NoInput,
    /// An edge into a keyed input that is not keyed.
    #[error("its input {input:?} is keyed, so the edge must be keyed, not {kind}")]
    NotKeyed {
        /// The input.
        input: String,
        /// What was asked for.
        kind: &'static str,
    },
    /// A keyed edge from records without keys.
    #[error("{0:?} gives its records no key, but this edge needs one: set the source's `key`")]
    KeylessSource(String),
    /// Dead letters of a node that has none.
    #[error("{0:?} is no operator, so it has no dead letters")]
    NoDeadLetters(String),
    /// A keyed edge for dead letters.
    #[error("the dead letters of {0:?} carry no key, so the edge cannot be keyed")]
    KeylessDeadLetters(String),
    /// Sender and receiver disagree on the size of a value.
    #[error("{from:?} sends values of {}, but its input {input:?} takes values of {}", width(*sends), width(*takes))]
    WidthMismatch {
        /// Sending node and output.
        from: String,
        /// Receiving input.
        input: String,
        /// Width of the sender's values.
        sends: Option<u32>,
        /// Width that the receiver takes.
        takes: Option<u32>,
    },
    /// The graph has a cycle through these nodes.
    #[error("the graph has a cycle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn width(width: Option<u32>) -> String {
    width.map_or_else(|| "any size".to_owned(), |width| format!("{width} bytes"))
}
