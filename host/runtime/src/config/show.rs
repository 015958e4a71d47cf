//! Settings back in the words of a job file, with every default filled in.
//!
//! For `tidemill explain`. What is shown here, written into a job file, gives the same settings
//! again.

use tidemill_core::limits::Limits;

use super::scalar::{format_duration_us, format_size};
use crate::connectors::settings::{
    Compression, Encoding, FieldType, Fields, Format, RecordFormat, Selector, SinkSettings,
    SourceSettings, Stream, Style,
};

/// A connector and its settings, by the names of the job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The word for the connector.
    pub connector: &'static str,
    /// Names and values.
    pub settings: Vec<(&'static str, String)>,
}

/// One pattern as it is, several as the list that a job file takes.
fn show_patterns(patterns: &[String]) -> String {
    match patterns {
        [one] => one.clone(),
        several => format!("{several:?}"),
    }
}

impl SourceSettings {
    /// This source in the words of a job file.
    pub fn show(&self) -> Shown {
        let (connector, settings) = match self {
            Self::File(file) => {
                let mut settings = vec![("path", show_patterns(&file.patterns))];
                settings.extend(format_and_key(file.format, file.key.as_deref()));
                settings.push(("split-size", format_size(file.split_bytes)));
                ("file", settings)
            }
            Self::Stdin(stream) => ("stdin", format_and_key(stream.format, stream.key.as_deref())),
            Self::Tcp(tcp) => ("tcp", vec![("listen", tcp.listen.to_string())]),
            Self::Nexmark(generator) => {
                let mut settings = vec![("stream", stream_word(generator.stream).to_owned())];
                settings.extend(generator.events.map(|events| ("events", events.to_string())));
                settings.push(("seed", generator.seed.to_string()));
                settings.push(("partitions", generator.partitions.to_string()));
                if generator.stream != Stream::Lines {
                    settings.push(("encoding", encoding_word(generator.encoding).to_owned()));
                }
                settings.extend(generator.key.clone().map(|key| ("key", key)));
                ("nexmark", settings)
            }
        };
        Shown { connector, settings }
    }
}

impl SinkSettings {
    /// This sink in the words of a job file.
    pub fn show(&self) -> Shown {
        let (connector, settings) = match self {
            Self::File(file) => {
                let mut settings = vec![("path", file.directory.display().to_string())];
                settings.extend(record_format(&file.format));
                settings.push(("compression", compression_word(file.compression).to_owned()));
                ("file", settings)
            }
            Self::Stdout(format) => ("stdout", record_format(format)),
            Self::Discard(discard) => {
                ("discard", discard.fields.as_ref().map_or_else(Vec::new, fields))
            }
        };
        Shown { connector, settings }
    }
}

/// The limits of `limits` that differ from the host's, by the names of the job file.
pub fn lowered_limits(limits: &Limits) -> Vec<(&'static str, String)> {
    let host = Limits::default();
    let bytes = |name, own: u64, host: u64| (name, format_size(own), own != host);
    let count = |name, own: u64, host: u64| (name, own.to_string(), own != host);
    let time = |name, own: u64, host: u64| (name, format_duration_us(own), own != host);
    let all = [
        bytes("memory", limits.memory_bytes, host.memory_bytes),
        count("table-elements", limits.table_elements, host.table_elements),
        bytes("key", limits.key_bytes as u64, host.key_bytes as u64),
        bytes("value", limits.value_bytes as u64, host.value_bytes as u64),
        bytes("emit-bytes", limits.emit_bytes as u64, host.emit_bytes as u64),
        count("emit-records", limits.emit_records as u64, host.emit_records as u64),
        bytes("overlay", limits.overlay_bytes as u64, host.overlay_bytes as u64),
        bytes("host-call", limits.host_call_bytes as u64, host.host_call_bytes as u64),
        bytes("state", limits.state_bytes, host.state_bytes),
        count(
            "log-lines-per-second",
            limits.log_lines_per_second.into(),
            host.log_lines_per_second.into(),
        ),
        bytes("log-line", limits.log_line_bytes as u64, host.log_line_bytes as u64),
        time("process-cpu", limits.process_cpu_us, host.process_cpu_us),
        time(
            "process-cpu-per-record",
            limits.process_cpu_us_per_record,
            host.process_cpu_us_per_record,
        ),
        time("process-cpu-max", limits.process_cpu_us_max, host.process_cpu_us_max),
        time("hook-cpu", limits.hook_cpu_us, host.hook_cpu_us),
    ];
    all.into_iter().filter(|(_, _, differs)| *differs).map(|(name, own, _)| (name, own)).collect()
}

fn format_and_key(format: Format, key: Option<&str>) -> Vec<(&'static str, String)> {
    let word = match format {
        Format::Lines => "lines",
        Format::Ndjson => "ndjson",
        Format::Csv => "csv",
    };
    let mut settings = vec![("format", word.to_owned())];
    settings.extend(key.map(|key| ("key", key.to_owned())));
    settings
}

fn record_format(format: &RecordFormat) -> Vec<(&'static str, String)> {
    let word = match format.style {
        Style::Raw => "raw",
        Style::Text => "text",
        Style::Ndjson => "ndjson",
    };
    let mut settings = vec![("format", word.to_owned())];
    if format.style != Style::Raw {
        settings.extend(fields(&format.fields));
    }
    settings
}

fn fields(fields: &Fields) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    settings.extend(fields.key.map(|key| ("key-type", field_word(key).to_owned())));
    settings.push(("value-type", field_word(fields.value).to_owned()));
    if !fields.select.is_empty() {
        let select = fields.select.iter().map(|field| match field {
            Selector::Index(index) => index.to_string(),
            Selector::Name(name) => format!("{name:?}"),
        });
        settings.push(("fields", format!("[{}]", select.collect::<Vec<_>>().join(", "))));
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
