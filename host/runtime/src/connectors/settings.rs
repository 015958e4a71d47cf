//! Validated settings of sources and sinks.
//!
//! Owns the plain values that a connector needs and nothing else: no parsing, no defaults, no file
//! format. Knows nothing of job files. Invariant: whoever builds these has checked what can be
//! checked without touching the world; what needs the world (files, addresses) is checked by
//! [`Source::list`](super::Source::list) and [`Sink::open`](super::Sink::open).

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// Files that match a pattern.
    File(FileSource),
    /// Standard input.
    Stdin(StreamFormat),
    /// Lines that clients send over TCP.
    Tcp(TcpSource),
    /// The built-in deterministic generator.
    Nexmark(GeneratorSource),
}

impl SourceSettings {
    /// Whether the records carry keys.
    pub fn is_keyed(&self) -> bool {
        match self {
            Self::File(file) => file.key.is_some(),
            Self::Stdin(stream) => stream.key.is_some(),
            Self::Tcp(_) => false,
            Self::Nexmark(generator) => generator.key.is_some(),
        }
    }
}

/// How bytes are cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A record is a line, as it is; the bytes need not be UTF-8, and an empty line is a record
    /// too.
    Lines,
    /// A record is a line that holds one JSON object; empty lines are skipped.
    Ndjson,
    /// A record is a row under a header; its value is a JSON object of strings.
    Csv,
}

/// Files that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// Absolute glob patterns; each must match a file.
    pub patterns: Vec<String>,
    /// How the files are cut into records.
    pub format: Format,
    /// Top-level field or column that becomes the key; only for `Ndjson` and `Csv`.
    pub key: Option<String>,
    /// Bytes of a partition of an uncompressed file.
    pub split_bytes: u64,
}

/// A stream of bytes and how it is cut into records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// How the stream is cut into records.
    pub format: Format,
    /// Top-level field or column that becomes the key; only for `Ndjson` and `Csv`.
    pub key: Option<String>,
}

/// Lines that clients send over TCP; without key. A client that sends a line over the limit is told
/// so and cut off; the job goes on. The source ends only when it is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSource {
    /// Address to listen on; port 0 lets the system pick one.
    pub listen: SocketAddr,
}

/// The built-in deterministic generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorSource {
    /// What is generated.
    pub stream: Stream,
    /// The same seed gives the same events.
    pub seed: u64,
    /// Events in all, over all partitions; `None` is endless.
    pub events: Option<u64>,
    /// How many partitions the events are dealt to; at least 1.
    pub partitions: u32,
    /// How an event becomes a value.
    pub encoding: Encoding,
    /// How many different keys `Uniform` has; nothing to the other streams.
    pub keys: u64,
    /// Events that become due each second, over all partitions; `None` is as fast as they are taken. The
    /// events are the same either way.
    pub per_second: Option<u64>,
    /// Field that becomes the key, as text. For `Nexmark` one that every kind of event has
    /// (`date_time`, `extra`), for `Uniform` `key`, `value` or `ts`, for `Lines` none.
    pub key: Option<String>,
}

/// What the generator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Persons, auctions and bids.
    Nexmark,
    /// Numbers under a million evenly spread keys.
    Uniform,
    /// Lines of ten words.
    Lines,
}

/// How a generated event becomes a value. `Stream::Lines` is text in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One JSON object without spaces.
    Ndjson,
    /// One array: for `Stream::Nexmark` the kind (0 person, 1 auction, 2 bid) and then the fields,
    /// for `Stream::Uniform` the fields, in the order of the JSON object.
    MessagePack,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkSettings {
    /// Files in a directory.
    File(FileSink),
    /// Standard output.
    Stdout(RecordFormat),
    /// Nowhere; records are counted and summed.
    Discard(DiscardSink),
}

/// Files in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSink {
    /// Absolute path; created when missing.
    pub directory: PathBuf,
    /// How a record is written.
    pub format: RecordFormat,
    /// How the files are compressed.
    pub compression: Compression,
}

/// How written files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip; the name ends in `.gz`.
    Gzip,
    /// Zstandard; the name ends in `.zst`.
    Zstd,
}

/// How a record is written. Every record is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFormat {
    /// The shape of the line.
    pub style: Style,
    /// What keys and values hold.
    pub fields: Fields,
}

/// The shape of a written line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The bytes of the value and a newline; nothing is decoded or escaped.
    Raw,
    /// The key if its type is given, and the fields of the value, joined by tabs. A tab, newline,
    /// carriage return or backslash in a string is written as `\t`, `\n`, `\r` or `\\`; nested JSON
    /// is written as JSON.
    Text,
    /// `{"key":..,"value":..}`, without `key` when its type is not given.
    Ndjson,
}

/// What keys and values hold, and which part of the value counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// What the key holds; `None` leaves it out.
    pub key: Option<FieldType>,
    /// What the value holds.
    pub value: FieldType,
    /// Which fields of the value, in this order; empty takes all. Either all by index (words of
    /// `U64`, `I64`, `F64`; items of a JSON or MessagePack array) or all by name (fields of a JSON
    /// or MessagePack object).
    pub select: Vec<Selector>,
}

/// Picks one field of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By position, from 0.
    Index(usize),
    /// By name.
    Name(String),
}

/// What a run of bytes holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Any bytes. In `Style::Ndjson` a string of lower-case hexadecimal digits.
    Bytes,
    /// UTF-8 text.
    Text,
    /// An integer in decimal ASCII digits that fits in 64 bits, signed or unsigned.
    Integer,
    /// One or more little-endian 64-bit words, unsigned.
    U64,
    /// One or more little-endian 64-bit words, signed.
    I64,
    /// One or more little-endian 64-bit floating-point numbers.
    F64,
    /// JSON; an object or array has several fields.
    Json,
    /// MessagePack; an array or map has several fields.
    MessagePack,
}

/// Nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscardSink {
    /// What to decode for the check sum of fields; `None` sums the bytes as they are.
    pub fields: Option<Fields>,
}
