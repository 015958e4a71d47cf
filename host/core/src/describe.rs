//! What an operator says it is, checked against limits.
//!
//! The guest's words (a `describe` call) become these types once, at admission; everything behind it
//! may rely on unique names, known kinds and bounded counts.

use serde::{Deserialize, Serialize};

use crate::limits;

/// An operator's own description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The operator's name, for people.
    pub name: String,
    /// The operator's version, for people.
    pub version: String,
    /// Inputs, in the order of their indices.
    pub inputs: Vec<InputDescription>,
    /// Outputs, in the order of their indices.
    pub outputs: Vec<OutputDescription>,
    /// States, in the order of their ids.
    pub states: Vec<StateDescription>,
    /// Metrics, in the order of their indices.
    pub metrics: Vec<MetricDescription>,
}

/// One input of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputDescription {
    /// Unique among the operator's inputs.
    pub name: String,
    /// Whether records arrive by key, with access to keyed state.
    pub keyed: bool,
    /// Bytes of every value, when fixed.
    pub value_width: Option<u32>,
}

/// One output of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputDescription {
    /// Unique among the operator's outputs.
    pub name: String,
    /// Bytes of every value, when fixed.
    pub value_width: Option<u32>,
}

/// The shape of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateKind {
    /// One item per key.
    Value,
    /// A list of items per key, in order of appending.
    List,
    /// A map per key, ordered by the bytes of the map's keys.
    Map,
}

impl StateKind {
    /// The word used in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
        }
    }
}

/// When the time to live of an item starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TtlUpdate {
    /// When it is written.
    OnCreateAndWrite,
    /// When it is written or read.
    OnReadAndWrite,
}

/// Time to live of the items of a state, in processing time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttl {
    /// Life of an item in milliseconds, above 0.
    pub milliseconds: u64,
    /// What starts it anew.
    pub update: TtlUpdate,
}

/// One state of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescription {
    /// Unique among the operator's states.
    pub name: String,
    /// Its shape.
    pub kind: StateKind,
    /// Bytes of every item, when fixed.
    pub width: Option<u32>,
    /// The author's version of the item format.
    pub schema_version: u32,
    /// Time to live, if any.
    pub ttl: Option<Ttl>,
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A value that is set.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDescription {
    /// Unique among the operator's metrics; letters, digits and `_`.
    pub name: String,
    /// What it measures.
    pub kind: MetricKind,
    /// Its unit, for people.
    pub unit: String,
    /// One sentence, for people.
    pub help: String,
}

/// Why a description is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Too many of something.
    #[error("it describes {found} {what}; at most {} are allowed", limits::DESCRIBED_ITEMS_MAX)]
    TooMany {
        /// Inputs, outputs, states or metrics.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// A name that is empty, too long or holds characters that no name may hold.
    #[error(
        "the {what} name {name:?} is refused: 1 to {} of letters, digits, '-', '_' and '.'",
        limits::NAME_BYTES_MAX
    )]
    BadName {
        /// What carries the name.
        what: &'static str,
        /// The name, cut to a printable length.
        name: String,
    },
    /// A version, unit or help text that is too long or holds control characters.
    #[error(
        "the text {text:?} is refused: at most {} bytes, without control characters",
        limits::MESSAGE_BYTES_MAX
    )]
    BadText {
        /// The text, cut to a printable length.
        text: String,
    },
    /// Two of a kind with one name.
    #[error("two {what} are called {name:?}; names must be unique")]
    Duplicate {
        /// Inputs, outputs, states or metrics.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A width of 0 or over the limit for a value.
    #[error("{what} {name:?} has a width of {width} bytes; 1 to {} are allowed", limits::MIB)]
    BadWidth {
        /// What carries the width.
        what: &'static str,
        /// Its name.
        name: String,
        /// The width.
        width: u32,
    },
    /// A time to live of 0.
    #[error("state {0:?} has a time to live of 0 ms")]
    ZeroTtl(String),
    /// No input at all.
    #[error("it describes no input; an operator needs at least one")]
    NoInput,
    /// States without any keyed input to reach them from.
    #[error("it describes states but no keyed input to use them from")]
    UnreachableState,
}

impl Description {
    /// Checks names, counts and widths.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), DescriptionError> {
        let inputs = || self.inputs.iter().map(|i| (i.name.as_str(), i.value_width));
        let outputs = || self.outputs.iter().map(|o| (o.name.as_str(), o.value_width));
        check_items("input", inputs())?;
        check_items("output", outputs())?;
        check_items("state", self.states.iter().map(|s| (s.name.as_str(), s.width)))?;
        check_items("metric", self.metrics.iter().map(|m| (m.name.as_str(), None)))?;
        check_name("operator", &self.name)?;
        if self.inputs.is_empty() {
            return Err(DescriptionError::NoInput);
        }
        if !self.states.is_empty() && !self.inputs.iter().any(|input| input.keyed) {
            return Err(DescriptionError::UnreachableState);
        }
        let metrics = self.metrics.iter().flat_map(|metric| [&metric.unit, &metric.help]);
        metrics.chain([&self.version]).try_for_each(|text| check_text(text))?;
        match self.states.iter().find(|state| state.ttl.is_some_and(|ttl| ttl.milliseconds == 0)) {
            Some(state) => Err(DescriptionError::ZeroTtl(state.name.clone())),
            None => Ok(()),
        }
    }
}

fn check_items<'a>(
    what: &'static str,
    items: impl Iterator<Item = (&'a str, Option<u32>)>,
) -> Result<(), DescriptionError> {
    let items: Vec<_> = items.collect();
    if items.len() > limits::DESCRIBED_ITEMS_MAX {
        return Err(DescriptionError::TooMany { what, found: items.len() });
    }
    for (index, (name, width)) in items.iter().enumerate() {
        check_name(what, name)?;
        if items[..index].iter().any(|(other, _)| other == name) {
            return Err(DescriptionError::Duplicate { what, name: (*name).to_owned() });
        }
        if let Some(width) = width.filter(|width| *width == 0 || *width as usize > limits::MIB) {
            return Err(DescriptionError::BadWidth { what, name: (*name).to_owned(), width });
        }
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), DescriptionError> {
    if text.len() > limits::MESSAGE_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(DescriptionError::BadText { text: text.chars().take(64).collect() });
    }
    Ok(())
}

fn check_name(what: &'static str, name: &str) -> Result<(), DescriptionError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || !name.chars().all(allowed) {
        return Err(DescriptionError::BadName { what, name: name.chars().take(64).collect() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            name: "count".into(),
            version: "1".into(),
            inputs: vec![InputDescription { name: "in".into(), keyed: true, value_width: None }],
            states: vec![StateDescription {
                name: "seen".into(),
                kind: StateKind::Value,
                width: Some(8),
                schema_version: 1,
                ttl: None,
            }],
            ..Description::default()
        }
    }

    #[test]
    fn a_plain_description_is_accepted() {
        assert_eq!(description().validate(), Ok(()));
    }

    #[test]
    fn each_rule_refuses_by_name() {
        let broken = |change: fn(&mut Description)| {
            let mut description = description();
            change(&mut description);
            description.validate().unwrap_err()
        };
        assert_eq!(broken(|d| d.inputs.clear()), DescriptionError::NoInput);
        assert_eq!(broken(|d| d.inputs[0].keyed = false), DescriptionError::UnreachableState);
        assert!(matches!(broken(|d| d.name.clear()), DescriptionError::BadName { .. }));
        assert!(matches!(
            broken(|d| d.states[0].width = Some(0)),
            DescriptionError::BadWidth { .. }
        ));
        assert!(matches!(
            broken(|d| d.states.push(d.states[0].clone())),
            DescriptionError::Duplicate { .. }
        ));
        assert!(matches!(
            broken(|d| d.states[0].ttl =
                Some(Ttl { milliseconds: 0, update: TtlUpdate::OnCreateAndWrite })),
            DescriptionError::ZeroTtl(_)
        ));
        assert!(matches!(
            broken(|d| d.inputs = (0..65)
                .map(|i| InputDescription { name: format!("i{i}"), keyed: true, value_width: None })
                .collect()),
            DescriptionError::TooMany { found: 65, .. }
        ));
    }
}
