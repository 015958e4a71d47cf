//! What feeds an input: a name, a table with the kind of edge, or a list of these.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::scalar::At;

/// How records are spread over the lanes of the receiving node.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum EdgeWord {
    /// Stay on their lane.
    Forward,
    /// Go to the lane that owns the key.
    Keyed,
    /// Go to the lanes in turn.
    Rebalance,
    /// Go to every lane.
    Broadcast,
}

/// An edge from "NODE" or "NODE.OUTPUT".
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Edge")]
pub(in crate::config) enum RawEdge {
    Plain(String),
    Full(RawFullEdge),
}

/// An edge with its kind.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "FullEdge")]
pub(in crate::config) struct RawFullEdge {
    /// "NODE" or "NODE.OUTPUT".
    pub(in crate::config) from: At<String>,
    /// How records are spread; keyed into a keyed input and forward otherwise.
    pub(in crate::config) edge: Option<EdgeWord>,
}

/// The edges into one input.
pub(in crate::config) struct RawEdges(pub(in crate::config) Vec<At<RawEdge>>);

const EDGE: &str = "a string, a table with `from`, or a list of these";

enum OneOrMany {
    One(RawEdge),
    Many(Vec<At<RawEdge>>),
}

impl<'de> Deserialize<'de> for RawEdges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value, span } = At::<OneOrMany>::deserialize(deserializer)?;
        Ok(Self(match value {
            OneOrMany::One(edge) => vec![At { value: edge, span }],
            OneOrMany::Many(edges) => edges,
        }))
    }
}

impl JsonSchema for RawEdges {
    fn schema_name() -> Cow<'static, str> {
        "Edges".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let edge = generator.subschema_for::<RawEdge>();
        json_schema!({
            "description": "What feeds an input: one edge or several.",
            "anyOf": [edge, { "type": "array", "items": edge }]
        })
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EdgesVisitor)
    }
}

struct EdgesVisitor;

impl<'de> Visitor<'de> for EdgesVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EDGE)
    }

    fn visit_str<E>(self, from: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(RawEdge::Plain(from.to_owned())))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OneOrMany, A::Error> {
        let full = RawFullEdge::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(OneOrMany::One(RawEdge::Full(full)))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
        let mut edges = Vec::new();
        while let Some(edge) = items.next_element()? {
            edges.push(edge);
        }
        Ok(OneOrMany::Many(edges))
    }
}

impl<'de> Deserialize<'de> for RawEdge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(edge) => Ok(edge),
            OneOrMany::Many(_) => Err(de::Error::invalid_type(
                de::Unexpected::Seq,
                &"a string or a table with `from`",
            )),
        }
    }
}
