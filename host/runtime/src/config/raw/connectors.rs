//! Sources and sinks: one struct for each connector, so that a setting of another one is refused.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::RawEdges;
use crate::config::scalar::{At, Size, Whole};

/// Where records come from.
#[derive(Deserialize, JsonSchema)]
#[serde(rename = "connector", rename_all = "kebab-case")]
#[schemars(rename = "Source", tag = "connector")]
pub(in crate::config) enum RawSource {
    File(RawFileSource),
    Stdin(RawStdinSource),
    Tcp(RawTcpSource),
    Nexmark(RawNexmarkSource),
}

/// Reads files, as they are or compressed (.gz, .zst).
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "FileSource")]
pub(in crate::config) struct RawFileSource {
    /// File, or a pattern such as "logs/*.ndjson", or a list of them; each must match something.
    pub(in crate::config) path: At<Patterns>,
    /// How the files are cut into records.
    pub(in crate::config) format: Option<At<InputFormat>>,
    /// Top-level field (ndjson) or column (csv) that becomes the key.
    pub(in crate::config) key: Option<At<String>>,
    /// Larger files are read in parts of this size.
    pub(in crate::config) split_size: Option<At<Size>>,
}

/// One pattern or several.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Patterns {
    One(String),
    Several(Vec<At<String>>),
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PatternsVisitor)
    }
}

struct PatternsVisitor;

impl<'de> Visitor<'de> for PatternsVisitor {
    type Value = Patterns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, a pattern, or a list of them")
    }

    fn visit_str<E>(self, pattern: &str) -> Result<Patterns, E> {
        Ok(Patterns::One(pattern.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Patterns, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = items.next_element()? {
            patterns.push(pattern);
        }
        Ok(Patterns::Several(patterns))
    }
}

/// Reads standard input.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "StdinSource")]
pub(in crate::config) struct RawStdinSource {
    /// How the stream is cut into records.
    pub(in crate::config) format: Option<At<InputFormat>>,
    /// Top-level field (ndjson) or column (csv) that becomes the key.
    pub(in crate::config) key: Option<At<String>>,
}

/// Receives lines over TCP.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "TcpSource")]
pub(in crate::config) struct RawTcpSource {
    /// Address and port to listen on, such as "127.0.0.1:7000"; port 0 takes a free one.
    pub(in crate::config) listen: At<String>,
}

/// Generates records; the same settings give the same records.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "NexmarkSource")]
pub(in crate::config) struct RawNexmarkSource {
    /// What is generated.
    pub(in crate::config) stream: Option<At<StreamWord>>,
    /// How many records in all; endless when absent.
    pub(in crate::config) events: Option<At<Whole>>,
    /// Start of the random numbers.
    pub(in crate::config) seed: Option<At<Whole>>,
    /// How many partitions the records are dealt to.
    pub(in crate::config) partitions: Option<At<Whole>>,
    /// How many different keys the records of `stream = "uniform"` have.
    pub(in crate::config) keys: Option<At<Whole>>,
    /// How many records become due each second, over all partitions; as many as are taken when absent.
    pub(in crate::config) events_per_second: Option<At<Whole>>,
    /// How a record is written.
    pub(in crate::config) encoding: Option<At<EncodingWord>>,
    /// Field that becomes the key.
    pub(in crate::config) key: Option<At<String>>,
}

/// How bytes are cut into records.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum InputFormat {
    /// Every line is a record.
    Lines,
    /// Every line is a JSON object.
    Ndjson,
    /// Every row under the header is a record; its value is a JSON object of strings.
    Csv,
}

/// What the generator makes.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum StreamWord {
    /// Persons, auctions and bids.
    Nexmark,
    /// Numbers under a million evenly spread keys.
    Uniform,
    /// Lines of ten words.
    Lines,
}

/// How a generated record is written.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum EncodingWord {
    /// A JSON object.
    Ndjson,
    /// A MessagePack array.
    Msgpack,
}

/// Where records go.
#[derive(Deserialize, JsonSchema)]
#[serde(rename = "connector", rename_all = "kebab-case")]
#[schemars(rename = "Sink", tag = "connector")]
pub(in crate::config) enum RawSink {
    File(RawFileSink),
    Stdout(RawStdoutSink),
    Discard(RawDiscardSink),
}

/// Writes files into a directory.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "FileSink")]
pub(in crate::config) struct RawFileSink {
    /// What feeds it.
    pub(in crate::config) from: Option<RawEdges>,
    /// The directory; created when missing.
    pub(in crate::config) path: At<String>,
    /// The shape of a written line.
    pub(in crate::config) format: Option<At<OutputFormat>>,
    /// What the key holds; without it keys are not written.
    pub(in crate::config) key_type: Option<At<FieldWord>>,
    /// What the value holds.
    pub(in crate::config) value_type: Option<At<FieldWord>>,
    /// Which fields of the value to write, in this order: all by position or all by name.
    pub(in crate::config) fields: Option<At<Vec<At<FieldSelector>>>>,
    /// How the files are compressed.
    pub(in crate::config) compression: Option<At<CompressionWord>>,
}

/// Writes to standard output.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "StdoutSink")]
pub(in crate::config) struct RawStdoutSink {
    /// What feeds it.
    pub(in crate::config) from: Option<RawEdges>,
    /// The shape of a written line.
    pub(in crate::config) format: Option<At<OutputFormat>>,
    /// What the key holds; without it keys are not written.
    pub(in crate::config) key_type: Option<At<FieldWord>>,
    /// What the value holds.
    pub(in crate::config) value_type: Option<At<FieldWord>>,
    /// Which fields of the value to write, in this order: all by position or all by name.
    pub(in crate::config) fields: Option<At<Vec<At<FieldSelector>>>>,
}

/// Counts and sums records and drops them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "DiscardSink")]
pub(in crate::config) struct RawDiscardSink {
    /// What feeds it.
    pub(in crate::config) from: Option<RawEdges>,
    /// What the key holds, for the check sum; without it keys are not summed.
    pub(in crate::config) key_type: Option<At<FieldWord>>,
    /// What the value holds, for the check sum; without it bytes are summed as they are.
    pub(in crate::config) value_type: Option<At<FieldWord>>,
    /// Which fields of the value to sum, in this order: all by position or all by name.
    pub(in crate::config) fields: Option<At<Vec<At<FieldSelector>>>>,
}

/// The shape of a written line.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum OutputFormat {
    /// The bytes of the value.
    Raw,
    /// Key and fields, joined by tabs.
    Text,
    /// A JSON object with `key` and `value`.
    Ndjson,
}

/// What a key or value holds.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum FieldWord {
    /// Any bytes.
    Bytes,
    /// UTF-8 text.
    Text,
    /// An integer in decimal digits.
    Integer,
    /// Little-endian 64-bit words, unsigned.
    U64,
    /// Little-endian 64-bit words, signed.
    I64,
    /// Little-endian 64-bit floating-point numbers.
    F64,
    /// JSON.
    Json,
    /// MessagePack.
    Msgpack,
}

/// How written files are compressed.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum CompressionWord {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// A field of a value: its position from 0, or its name.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum FieldSelector {
    Index(Whole),
    Name(String),
}

impl<'de> Deserialize<'de> for FieldSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SelectorVisitor)
    }
}

struct SelectorVisitor;

impl Visitor<'_> for SelectorVisitor {
    type Value = FieldSelector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's position from 0, or its name")
    }

    fn visit_i64<E: de::Error>(self, index: i64) -> Result<FieldSelector, E> {
        let read = u64::try_from(index).map(|index| FieldSelector::Index(Whole(index)));
        read.map_err(|_| E::invalid_value(de::Unexpected::Signed(index), &self))
    }

    fn visit_str<E>(self, name: &str) -> Result<FieldSelector, E> {
        Ok(FieldSelector::Name(name.to_owned()))
    }
}
