//! Sources and sinks in the words of a job file.

use toml::Value;

use super::{Setting, Shown, path, size, text, whole};
use crate::connectors::settings::{
    Compression, Encoding, FieldType, Fields, Format, RecordFormat, Selector, SinkSettings,
    SourceSettings, Stream, Style,
};

/// A connector's word, and its settings.
type Connector = (&'static str, Vec<Setting>);

/// One pattern as it is, several as a list.
fn patterns(patterns: &[String]) -> Value {
    match patterns {
        [one] => text(one),
        several => Value::Array(several.iter().map(text).collect()),
    }
}

impl SourceSettings {
    /// This source in the words of a job file.
    pub fn show(&self) -> Shown {
        Shown::new(self.settings())
    }

    pub(super) fn settings(&self) -> Connector {
        match self {
            Self::File(file) => {
                let mut settings = vec![("path", patterns(&file.patterns))];
                settings.extend(format_and_key(file.format, file.key.as_deref()));
                settings.push(("split-size", size(file.split_bytes)));
                ("file", settings)
            }
            Self::Stdin(stream) => ("stdin", format_and_key(stream.format, stream.key.as_deref())),
            Self::Tcp(tcp) => ("tcp", vec![("listen", text(tcp.listen.to_string()))]),
            Self::Nexmark(generator) => {
                let mut settings = vec![("stream", text(stream_word(generator.stream)))];
                settings.extend(generator.events.map(|events| ("events", whole(events))));
                settings.push(("seed", whole(generator.seed)));
                settings.push(("partitions", whole(generator.partitions.into())));
                if generator.stream == Stream::Uniform {
                    settings.push(("keys", whole(generator.keys)));
                }
                let rate = generator.per_second;
                settings.extend(rate.map(|rate| ("events-per-second", whole(rate))));
                if generator.stream != Stream::Lines {
                    settings.push(("encoding", text(encoding_word(generator.encoding))));
                }
                settings.extend(generator.key.as_ref().map(|key| ("key", text(key))));
                ("nexmark", settings)
            }
        }
    }
}

impl SinkSettings {
    /// This sink in the words of a job file.
    pub fn show(&self) -> Shown {
        Shown::new(self.settings())
    }

    pub(super) fn settings(&self) -> Connector {
        match self {
            Self::File(file) => {
                let mut settings = vec![("path", path(&file.directory))];
                settings.extend(record_format(&file.format));
                settings.push(("compression", text(compression_word(file.compression))));
                ("file", settings)
            }
            Self::Stdout(format) => ("stdout", record_format(format)),
            Self::Discard(discard) => {
                ("discard", discard.fields.as_ref().map_or_else(Vec::new, fields))
            }
        }
    }
}

fn format_and_key(format: Format, key: Option<&str>) -> Vec<Setting> {
    let word = match format {
        Format::Lines => "lines",
        Format::Ndjson => "ndjson",
        Format::Csv => "csv",
    };
    let mut settings = vec![("format", text(word))];
    settings.extend(key.map(|key| ("key", text(key))));
    settings
}

fn record_format(format: &RecordFormat) -> Vec<Setting> {
    let word = match format.style {
        Style::Raw => "raw",
        Style::Text => "text",
        Style::Ndjson => "ndjson",
    };
    let mut settings = vec![("format", text(word))];
    if format.style != Style::Raw {
        settings.extend(fields(&format.fields));
    }
    settings
}

fn fields(fields: &Fields) -> Vec<Setting> {
    let mut settings = Vec::new();
    settings.extend(fields.key.map(|key| ("key-type", text(field_word(key)))));
    settings.push(("value-type", text(field_word(fields.value))));
    if !fields.select.is_empty() {
        let select = fields.select.iter().map(|field| match field {
            Selector::Index(index) => whole(*index as u64),
            Selector::Name(name) => text(name),
        });
        settings.push(("fields", Value::Array(select.collect())));
    }
    settings
}

fn stream_word(stream: Stream) -> &'static str {
    match stream {
        Stream::Nexmark => "nexmark",
        Stream::Uniform => "uniform",
        Stream::Lines => "lines",
    }
}

fn encoding_word(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Ndjson => "ndjson",
        Encoding::MessagePack => "msgpack",
    }
}

fn compression_word(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

fn field_word(field: FieldType) -> &'static str {
    match field {
        FieldType::Bytes => "bytes",
        FieldType::Text => "text",
        FieldType::Integer => "integer",
        FieldType::U64 => "u64",
        FieldType::I64 => "i64",
        FieldType::F64 => "f64",
        FieldType::Json => "json",
        FieldType::MessagePack => "msgpack",
    }
}
