//! What can be wrong with a job file, in the words that its author reads.
//!
//! A [`Problem`] says what is wrong and what to do about it; a [`Rejection`] adds the place.
//! Nothing here reads texts or prints: `error.rs` turns a rejection into a diagnostic.

use std::path::PathBuf;

use tidemill_core::graph::{GraphProblem, nearest_name};

use super::text::Span;

/// What is wrong with a job file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read the job file {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// The tenants' file cannot be read.
    #[error("cannot read the tenants' file {}: {error}", path.display())]
    UnreadableTenants {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// A component file does not exist or cannot be opened.
    #[error("cannot read the component {}: {error}", path.display())]
    MissingComponent {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// It is not TOML.
    #[error("this is not TOML: {0}")]
    Syntax(String),
    /// An override without `=`, or with a key that is none.
    #[error("an override reads KEY=VALUE, for example `--set parallelism=2`: {0}")]
    BadSet(&'static str),
    /// An override of something below a value that is not a table.
    #[error("`{0}` is a value and has no settings below it")]
    SetBelowValue(String),
    /// A setting that does not exist.
    #[error("there is no setting `{name}` here")]
    UnknownName {
        /// The name.
        name: String,
        /// What may stand there.
        known: &'static [&'static str],
    },
    /// A word that is not one of those allowed.
    #[error("{word:?} is not one of {}", list(known))]
    UnknownWord {
        /// The word.
        word: String,
        /// The words allowed.
        known: &'static [&'static str],
    },
    /// A setting that must be there and is not.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A source or sink that does not say which one it is.
    #[error("`connector` is missing")]
    NoConnector {
        /// The connectors there are.
        known: &'static [&'static str],
    },
    /// A setting that has been given twice.
    #[error("`{0}` is set twice")]
    Twice(String),
    /// A value of the wrong type, or a text that cannot be read.
    #[error("expected {expected}, found {found}")]
    WrongValue {
        /// What was given.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// A number outside its bounds.
    #[error("{found} is outside {min} to {max}")]
    OutOfRange {
        /// What was given.
        found: String,
        /// The least allowed.
        min: String,
        /// The most allowed.
        max: String,
    },
    /// A number below the least that is allowed, where more is always allowed.
    #[error("{found} is below the least, {min}")]
    TooLittle {
        /// What was given.
        found: String,
        /// The least allowed.
        min: String,
    },
    /// A limit above the host's.
    #[error("{found} is above the host's limit of {ceiling}")]
    RaisedLimit {
        /// What was given.
        found: String,
        /// The host's limit.
        ceiling: String,
    },
    /// A job name that breaks the rule.
    #[error("{0:?} cannot name a job")]
    BadJobName(String),
    /// A tenant name that breaks the rule.
    #[error("{0:?} cannot name a tenant")]
    BadTenantName(String),
    /// A node name that breaks the rule.
    #[error("{0:?} cannot name a node")]
    BadNodeName(String),
    /// Two nodes with one name.
    #[error("two nodes are called {0:?}")]
    DuplicateNode(String),
    /// More lanes than key groups to give them.
    #[error("{parallelism} lanes cannot share {key_groups} key groups: each needs at least one")]
    TooFewKeyGroups {
        /// Lanes asked for.
        parallelism: u64,
        /// Key groups asked for.
        key_groups: u64,
    },
    /// `state-backend = "disk"`.
    #[error("the state backend \"disk\" does not exist yet")]
    NoDiskBackend,
    /// Both `from` and `inputs`.
    #[error("`from` and `inputs` say the same thing twice")]
    FromAndInputs,
    /// A setting that has no meaning beside another.
    #[error("`{name}` has no effect with {beside}")]
    Pointless {
        /// The setting.
        name: &'static str,
        /// What makes it pointless.
        beside: String,
        /// What to do.
        help: &'static str,
    },
    /// Two settings of which one must be the larger.
    #[error("`{name}` is {found}, but must be {rule} `{other}`, which is {other_value}")]
    TooSmall {
        /// The setting.
        name: &'static str,
        /// What was given or is its default.
        found: String,
        /// "more than" or "at least".
        rule: &'static str,
        /// The setting that it is compared with.
        other: &'static str,
        /// What that was given or is its default.
        other_value: String,
    },
    /// A parameter of another restart strategy.
    #[error("`{name}` is a parameter of {}, not of `{strategy}`", list(owners))]
    ForeignParameter {
        /// The parameter.
        name: &'static str,
        /// The strategies that have it.
        owners: Vec<&'static str>,
        /// The strategy asked for.
        strategy: &'static str,
        /// The parameters that this one has.
        known: &'static [&'static str],
    },
    /// A broken rule of the graph.
    #[error("{0}")]
    Graph(GraphProblem),
    /// Anything else that serde reports.
    #[error("{0}")]
    Other(String),
}

impl Problem {
    /// What the reader of TOML has to say of `text`, at this place of it.
    pub(super) fn syntax(message: &str, text: &str, at: &std::ops::Range<usize>) -> Self {
        match (message, text.get(at.clone())) {
            ("duplicate key", Some(key)) if !key.is_empty() => Self::Twice(key.to_owned()),
            _ => Self::Syntax(message.to_owned()),
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => Some("give the path of a job file (TOML)".to_owned()),
            Self::UnreadableTenants { .. } => {
                Some("give the path of a tenants' file (TOML)".to_owned())
            }
            Self::MissingComponent { .. } => Some(
                "build it first (Rust: cargo build --release --target wasm32-wasip2); \
                 the path counts from the job file's directory"
                    .to_owned(),
            ),
            Self::UnknownName { name, known } => Some(hint(name, known, "it can hold")),
            Self::UnknownWord { word, known } => nearest_name(word, known.iter().copied())
                .map(|near| format!("did you mean {near:?}?")),
            Self::Missing(name) => Some(format!("add `{name} = ...`")),
            Self::NoConnector { known } => {
                Some(format!("add `connector = \"{}\"`; there are {}", known[0], list(known)))
            }
            Self::Twice(_) => Some("keep one of them".to_owned()),
            Self::WrongValue { found, expected } => quoting_help(found, expected),
            Self::RaisedLimit { .. } => Some(
                "the host's limits can only be lowered: give less, or remove the line".to_owned(),
            ),
            Self::BadJobName(_) => Some(
                "1 to 63 of a-z, 0-9 and '-', the first a letter or digit; \
                 it names the job's data directory"
                    .to_owned(),
            ),
            Self::BadTenantName(_) => {
                Some("1 to 63 of a-z, 0-9 and '-', the first a letter or digit".to_owned())
            }
            Self::BadNodeName(_) => {
                Some("1 to 128 of a-z, 0-9, '-' and '_', the first a letter or digit".to_owned())
            }
            Self::DuplicateNode(_) => {
                Some("a name is unique over sources, operators and sinks: rename one".to_owned())
            }
            Self::TooFewKeyGroups { parallelism, .. } => Some(format!(
                "lower `parallelism`, or set `key-groups = {}` (it cannot change later without \
                losing state)",
                parallelism.next_power_of_two()
            )),
            Self::NoDiskBackend => Some("say \"memory\", or remove the line".to_owned()),
            Self::FromAndInputs => {
                Some("keep `from` for a single input, `inputs.NAME` for several".to_owned())
            }
            Self::Pointless { help, .. } => Some((*help).to_owned()),
            Self::SetBelowValue(_) => Some("override the whole value instead".to_owned()),
            Self::TooSmall { name, other, .. } => {
                Some(format!("raise `{name}`, or lower `{other}`"))
            }
            Self::ForeignParameter { strategy, known: [], .. } => {
                Some(format!("`{strategy}` has no parameters: remove it, or set another `type`"))
            }
            Self::ForeignParameter { strategy, known, .. } => {
                Some(format!("`{strategy}` has {}; or set another `type`", list(known)))
            }
            Self::Graph(problem) => graph_help(problem),
            Self::Syntax(_)
            | Self::BadSet(_)
            | Self::OutOfRange { .. }
            | Self::TooLittle { .. }
            | Self::Other(_) => None,
        }
    }
}

fn hint(name: &str, known: &[&str], else_it_can_hold: &str) -> String {
    match nearest_name(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{else_it_can_hold} {}", list(known)),
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn quoting_help(found: &str, expected: &str) -> Option<String> {
    let bare = found.strip_prefix("the number ").or_else(|| found.strip_prefix("the boolean "))?;
    expected.contains("a string").then(|| format!("put it in quotes: \"{bare}\""))
}

fn graph_help(problem: &GraphProblem) -> Option<String> {
    let help = match problem {
        GraphProblem::NoSource => "add a [sources.NAME] table",
        GraphProblem::FromSink(_) => "read from the node that feeds the sink",
        GraphProblem::NoInput => "add `from = \"NODE\"`",
        GraphProblem::UnconnectedInput(_) => "name where it comes from under `inputs`",
        GraphProblem::NotKeyed { .. } => "remove `edge`, or say \"keyed\"",
        GraphProblem::Cycle(_) => "let one of them read from somewhere else",
        _ => return None,
    };
    Some(help.to_owned())
}

/// A problem and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// Boxed, for it passes through every `Result` of the reader.
    pub(super) problem: Box<Problem>,
    /// Keys that lead to the place, outermost first.
    pub(super) keys: Vec<String>,
    pub(super) span: Option<Span>,
    /// A second place that belongs to it, and what it is.
    pub(super) beside: Option<(Span, &'static str)>,
}

impl Rejection {
    pub(super) fn new(problem: Problem) -> Self {
        Self { problem: Box::new(problem), keys: Vec::new(), span: None, beside: None }
    }

    /// A problem at a place below `keys`.
    pub(super) fn at(problem: Problem, span: &Span, keys: &[&str]) -> Self {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Self { problem: Box::new(problem), keys, span: Some(span.clone()), beside: None }
    }

    /// Adds the place, unless a more exact one is known.
    pub(super) fn or_at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    /// Adds the key around what is known so far.
    pub(super) fn under(mut self, key: &str) -> Self {
        self.keys.insert(0, key.to_owned());
        self
    }
}
