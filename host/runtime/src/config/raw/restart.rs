//! The restart strategy: one word, or a table with `type` and the parameters of that type.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::scalar::{At, Ratio, Time, Whole};
use crate::config::text::Span;

/// A restart strategy by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(in crate::config) enum RestartWord {
    ExponentialDelay,
    FixedDelay,
    FailureRate,
    None,
}

/// Which parameters each strategy has.
pub(in crate::config) const RESTART_PARAMETERS: [(RestartWord, &str, &[&str]); 4] = [
    (
        RestartWord::ExponentialDelay,
        "exponential-delay",
        &[
            "initial-backoff",
            "max-backoff",
            "backoff-multiplier",
            "reset-backoff-threshold",
            "jitter-factor",
            "attempts-before-reset-backoff",
        ],
    ),
    (RestartWord::FixedDelay, "fixed-delay", &["attempts", "delay"]),
    (
        RestartWord::FailureRate,
        "failure-rate",
        &["max-failures-per-interval", "failure-rate-interval", "delay"],
    ),
    (RestartWord::None, "none", &[]),
];

/// The word alone, or with parameters.
pub(in crate::config) enum RawRestartStrategy {
    Word(RestartWord),
    Table(Box<RawRestartTable>),
}

/// A strategy with parameters; those of other strategies are refused later, by name.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct RawRestartTable {
    /// Which strategy.
    #[serde(rename = "type")]
    pub(in crate::config) word: At<RestartWord>,
    /// Time before the first restart.
    pub(in crate::config) initial_backoff: Option<At<Time>>,
    /// Time before a restart at most; not below `initial-backoff`.
    pub(in crate::config) max_backoff: Option<At<Time>>,
    /// What each delay is multiplied by for the next.
    pub(in crate::config) backoff_multiplier: Option<At<Ratio>>,
    /// How long the job must run without failure for the delays to begin anew.
    pub(in crate::config) reset_backoff_threshold: Option<At<Time>>,
    /// The share of a delay that chance adds or takes away.
    pub(in crate::config) jitter_factor: Option<At<Ratio>>,
    /// Restarts at most unless the delays begin anew in between; any number by default.
    pub(in crate::config) attempts_before_reset_backoff: Option<At<Whole>>,
    /// Restarts at most.
    pub(in crate::config) attempts: Option<At<Whole>>,
    /// Failures within `failure-rate-interval` that are still followed by a restart.
    pub(in crate::config) max_failures_per_interval: Option<At<Whole>>,
    /// The time over which failures are counted.
    pub(in crate::config) failure_rate_interval: Option<At<Time>>,
    /// Time before each restart.
    pub(in crate::config) delay: Option<At<Time>>,
}

impl RawRestartTable {
    /// The parameters that were given, and where.
    pub(in crate::config) fn given(&self) -> impl Iterator<Item = (&'static str, &Span)> {
        fn span<T>(at: &Option<At<T>>) -> Option<&Span> {
            at.as_ref().map(|at| &at.span)
        }
        let all = [
            ("initial-backoff", span(&self.initial_backoff)),
            ("max-backoff", span(&self.max_backoff)),
            ("backoff-multiplier", span(&self.backoff_multiplier)),
            ("reset-backoff-threshold", span(&self.reset_backoff_threshold)),
            ("jitter-factor", span(&self.jitter_factor)),
            ("attempts-before-reset-backoff", span(&self.attempts_before_reset_backoff)),
            ("attempts", span(&self.attempts)),
            ("max-failures-per-interval", span(&self.max_failures_per_interval)),
            ("failure-rate-interval", span(&self.failure_rate_interval)),
            ("delay", span(&self.delay)),
        ];
        all.into_iter().filter_map(|(name, span)| Some((name, span?)))
    }
}

impl<'de> Deserialize<'de> for RawRestartStrategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrategyVisitor)
    }
}

struct StrategyVisitor;

impl<'de> Visitor<'de> for StrategyVisitor {
    type Value = RawRestartStrategy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string that names a strategy, or a table with `type`")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<RawRestartStrategy, E> {
        RestartWord::deserialize(word.into_deserializer()).map(RawRestartStrategy::Word)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawRestartStrategy, A::Error> {
        let table = RawRestartTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(RawRestartStrategy::Table(Box::new(table)))
    }
}

impl JsonSchema for RawRestartStrategy {
    fn schema_name() -> Cow<'static, str> {
        "RestartStrategy".into()
    }

    /// A word or one table for each strategy: the flat table's parameters, sorted by strategy.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let flat = RawRestartTable::json_schema(generator).to_value();
        let words = RestartWord::json_schema(generator);
        let tables = RESTART_PARAMETERS.map(|(_, word, parameters)| {
            let mut properties = serde_json::Map::new();
            properties.insert("type".into(), serde_json::json!({ "const": word }));
            properties.extend(
                parameters.iter().map(|name| ((*name).into(), flat["properties"][*name].clone())),
            );
            serde_json::json!({
                "type": "object",
                "additionalProperties": false,
                "properties": properties,
                "required": ["type"]
            })
        });
        json_schema!({
            "description": "Whether and when the job is started again after a failure.",
            "anyOf": [words, { "oneOf": tables }]
        })
    }
}
