//! Sources and sinks: from the words of a job file to the settings of connectors.

use std::path::{Path, PathBuf};

use tidemill_storage::files::PATTERN_BYTES_MAX;

use super::bounds::{within, within_or};
use super::operators::{edges, not_empty};
use crate::config::defaults;
use crate::config::load::Origin;
use crate::config::plan::{SinkPlan, SourcePlan};
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{
    CompressionWord, EncodingWord, FieldSelector, FieldWord, InputFormat, OutputFormat, Patterns,
    RawDiscardSink, RawFileSink, RawFileSource, RawNexmarkSource, RawSink, RawSource,
    RawStdinSource, RawStdoutSink, RawTcpSource, StreamWord,
};
use crate::config::scalar::At;
use crate::config::text::Span;
use crate::connectors::settings::{
    Compression, DiscardSink, Encoding, FieldType, Fields, FileSink, FileSource, Format,
    GeneratorSource, RecordFormat, Selector, SinkSettings, SourceSettings, Stream, StreamFormat,
    Style, TcpSource,
};

/// Checks a source.
pub(super) fn source(
    name: String,
    raw: RawSource,
    origin: &Origin,
) -> Result<SourcePlan, Rejection> {
    let settings = match raw {
        RawSource::File(raw) => SourceSettings::File(file_source(&raw, &origin.directory)?),
        RawSource::Stdin(RawStdinSource { format, key }) => {
            let (format, key) = format_and_key(format.as_ref(), key.as_ref())?;
            SourceSettings::Stdin(StreamFormat { format, key })
        }
        RawSource::Tcp(RawTcpSource { listen }) => {
            let listen = listen.value.parse().map_err(|_| {
                let found = format!("{:?}", listen.value);
                let expected = "an IP address and port such as \"127.0.0.1:7000\"".to_owned();
                Rejection::at(Problem::WrongValue { found, expected }, &listen.span, &["listen"])
            })?;
            SourceSettings::Tcp(TcpSource { listen })
        }
        RawSource::Nexmark(raw) => SourceSettings::Nexmark(generator(&raw)?),
    };
    Ok(SourcePlan { name, settings })
}

fn file_source(raw: &RawFileSource, directory: &Path) -> Result<FileSource, Rejection> {
    let patterns = match &raw.path.value {
        Patterns::One(path) => vec![pattern(path, &raw.path.span, directory)?],
        Patterns::Several(paths) if paths.is_empty() => {
            let found = "an empty list".to_owned();
            let problem = Problem::WrongValue { found, expected: "a path or a pattern".to_owned() };
            return Err(Rejection::at(problem, &raw.path.span, &["path"]));
        }
        Patterns::Several(paths) if paths.len() > defaults::PATTERNS_MAX => {
            let problem = too_many(paths.len(), defaults::PATTERNS_MAX, "patterns");
            return Err(Rejection::at(problem, &raw.path.span, &["path"]));
        }
        Patterns::Several(paths) => {
            let each = paths.iter().map(|path| pattern(&path.value, &path.span, directory));
            each.collect::<Result<_, _>>()?
        }
    };
    let (format, key) = format_and_key(raw.format.as_ref(), raw.key.as_ref())?;
    let split_bytes = within_or(
        "split-size",
        raw.split_size.as_ref(),
        defaults::SPLIT_BYTES,
        defaults::SPLIT_BYTES_BOUNDS,
    )?;
    Ok(FileSource { patterns, format, key, split_bytes })
}

/// An absolute pattern from one that may be relative to the job file.
fn pattern(path: &str, span: &Span, directory: &Path) -> Result<String, Rejection> {
    let reject = |found: String, expected: &str| {
        let problem = Problem::WrongValue { found, expected: expected.to_owned() };
        Rejection::at(problem, span, &["path"])
    };
    if path.is_empty() {
        return Err(reject("an empty text".to_owned(), "a path or a pattern"));
    }
    let within = |path: String| match path.len() {
        0..=PATTERN_BYTES_MAX => Ok(path),
        size => {
            let expected = format!("at most {PATTERN_BYTES_MAX} bytes");
            Err(reject(format!("a pattern of {size} bytes"), &expected))
        }
    };
    glob::Pattern::new(path)
        .map_err(|error| reject(format!("{path:?}: {}", error.msg), "a path or a pattern"))?;
    if Path::new(path).is_absolute() {
        return within(path.to_owned());
    }
    let directory = directory.to_str().ok_or_else(|| {
        let found = "a job file in a directory whose name is not UTF-8".to_owned();
        reject(found, "an absolute path")
    })?;
    within(format!("{}/{path}", glob::Pattern::escape(directory)))
}

fn format_and_key(
    format: Option<&At<InputFormat>>,
    key: Option<&At<String>>,
) -> Result<(Format, Option<String>), Rejection> {
    let format = format.map_or(defaults::INPUT_FORMAT, |format| format.value);
    let format = match format {
        InputFormat::Lines => Format::Lines,
        InputFormat::Ndjson => Format::Ndjson,
        InputFormat::Csv => Format::Csv,
    };
    match key {
        Some(key) if format == Format::Lines => Err(pointless(
            "key",
            &key.span,
            "format = \"lines\"",
            "say `format = \"ndjson\"` or \"csv\", or let an operator set the key",
        )),
        key => Ok((format, key.map(|key| key.value.clone()))),
    }
}

fn pointless(name: &'static str, span: &Span, beside: &str, help: &'static str) -> Rejection {
    Rejection::at(Problem::Pointless { name, beside: beside.to_owned(), help }, span, &[name])
}

fn generator(raw: &RawNexmarkSource) -> Result<GeneratorSource, Rejection> {
    let stream = raw.stream.as_ref().map_or(defaults::STREAM, |stream| stream.value);
    let (stream, keys): (_, &'static [&'static str]) = match stream {
        StreamWord::Nexmark => (Stream::Nexmark, &["date_time", "extra"]),
        StreamWord::Uniform => (Stream::Uniform, &["key", "value", "ts"]),
        StreamWord::Lines => (Stream::Lines, &[]),
    };
    let lines = "stream = \"lines\"";
    match &raw.key {
        Some(key) if stream == Stream::Lines => {
            return Err(pointless("key", &key.span, lines, "a line has no fields: remove it"));
        }
        Some(key) if !keys.contains(&key.value.as_str()) => {
            let problem = Problem::UnknownWord { word: key.value.clone(), known: keys };
            return Err(Rejection::at(problem, &key.span, &["key"]));
        }
        _ => {}
    }
    if let (Stream::Lines, Some(encoding)) = (stream, &raw.encoding) {
        return Err(pointless("encoding", &encoding.span, lines, "lines are text: remove it"));
    }
    let encoding = match raw.encoding.as_ref().map_or(defaults::ENCODING, |encoding| encoding.value)
    {
        EncodingWord::Ndjson => Encoding::Ndjson,
        EncodingWord::Msgpack => Encoding::MessagePack,
    };
    let events = raw.events.as_ref();
    let events =
        events.map(|events| within("events", events, defaults::EVENTS_BOUNDS)).transpose()?;
    let partitions = within_or(
        "partitions",
        raw.partitions.as_ref(),
        defaults::PARTITIONS,
        defaults::PARTITIONS_BOUNDS,
    )? as u32;
    let seed = raw.seed.as_ref().map_or(defaults::SEED, |seed| seed.value.0);
    let key = raw.key.as_ref().map(|key| key.value.clone());
    let keys = match &raw.keys {
        Some(keys) if stream != Stream::Uniform => {
            let help = "only `stream = \"uniform\"` has keys to choose from: remove it";
            return Err(pointless("keys", &keys.span, "another stream than \"uniform\"", help));
        }
        keys => within_or("keys", keys.as_ref(), defaults::KEYS, defaults::KEYS_BOUNDS)?,
    };
    let per_second = raw.events_per_second.as_ref();
    let per_second = per_second
        .map(|rate| within("events-per-second", rate, defaults::EVENTS_BOUNDS))
        .transpose()?;
    Ok(GeneratorSource { stream, seed, events, partitions, encoding, keys, per_second, key })
}

/// Checks a sink; the spans are those of its inputs.
pub(super) fn sink(
    name: String,
    raw: RawSink,
    origin: &Origin,
) -> Result<(SinkPlan, Vec<Span>), Rejection> {
    let (from, settings) = match raw {
        RawSink::File(RawFileSink {
            from,
            path,
            format,
            key_type,
            value_type,
            fields,
            compression,
        }) => {
            let directory: PathBuf = origin.directory.join(&not_empty("path", &path)?.value);
            let format =
                record_format(format.as_ref(), &FieldWords { key_type, value_type, fields })?;
            let compression = compression.map_or(defaults::COMPRESSION, |word| word.value);
            let compression = match compression {
                CompressionWord::None => Compression::None,
                CompressionWord::Gzip => Compression::Gzip,
                CompressionWord::Zstd => Compression::Zstd,
            };
            (from, SinkSettings::File(FileSink { directory, format, compression }))
        }
        RawSink::Stdout(RawStdoutSink { from, format, key_type, value_type, fields }) => {
            let format =
                record_format(format.as_ref(), &FieldWords { key_type, value_type, fields })?;
            (from, SinkSettings::Stdout(format))
        }
        RawSink::Discard(RawDiscardSink { from, key_type, value_type, fields }) => {
            let words = FieldWords { key_type, value_type, fields };
            let fields = match words.first() {
                Some((name, span)) if words.value_type.is_none() => {
                    let help = "add `value-type`, or remove it to sum bytes as they are";
                    return Err(pointless(name, span, "no `value-type`", help));
                }
                Some(_) => Some(words.resolve()?),
                None => None,
            };
            (from, SinkSettings::Discard(DiscardSink { fields }))
        }
    };
    let (inputs, spans) = edges(None, from);
    Ok((SinkPlan { name, inputs, settings }, spans))
}

/// The settings that say what keys and values hold.
struct FieldWords {
    key_type: Option<At<FieldWord>>,
    value_type: Option<At<FieldWord>>,
    fields: Option<At<Vec<At<FieldSelector>>>>,
}

fn record_format(
    format: Option<&At<OutputFormat>>,
    words: &FieldWords,
) -> Result<RecordFormat, Rejection> {
    let style = match format.map_or(defaults::OUTPUT_FORMAT, |format| format.value) {
        OutputFormat::Raw => Style::Raw,
        OutputFormat::Text => Style::Text,
        OutputFormat::Ndjson => Style::Ndjson,
    };
    if let (Style::Raw, Some((name, span))) = (style, words.first()) {
        let help = "say `format = \"text\"` or \"ndjson\"";
        return Err(pointless(name, span, "format = \"raw\"", help));
    }
    let fields = match style {
        Style::Raw => Fields { key: None, value: FieldType::Bytes, select: Vec::new() },
        Style::Text | Style::Ndjson => words.resolve()?,
    };
    Ok(RecordFormat { style, fields })
}

impl FieldWords {
    /// The first of them that was given.
    fn first(&self) -> Option<(&'static str, &Span)> {
        let key = self.key_type.as_ref().map(|at| ("key-type", &at.span));
        let value = self.value_type.as_ref().map(|at| ("value-type", &at.span));
        let fields = self.fields.as_ref().map(|at| ("fields", &at.span));
        key.or(value).or(fields)
    }

    fn resolve(&self) -> Result<Fields, Rejection> {
        let value = self.value_type.as_ref().map_or(defaults::VALUE_TYPE, |word| word.value);
        let select = match &self.fields {
            None => Vec::new(),
            Some(fields) => select(fields, value)?,
        };
        let key = self.key_type.as_ref().map(|word| field_type(word.value));
        Ok(Fields { key, value: field_type(value), select })
    }
}

fn select(
    fields: &At<Vec<At<FieldSelector>>>,
    value: FieldWord,
) -> Result<Vec<Selector>, Rejection> {
    let words = match value {
        FieldWord::Json | FieldWord::Msgpack => false,
        FieldWord::U64 | FieldWord::I64 | FieldWord::F64 => true,
        FieldWord::Bytes | FieldWord::Text | FieldWord::Integer => {
            let help = "such a value is a single field: remove it, or set another `value-type`";
            return Err(pointless("fields", &fields.span, "a `value-type` of one field", help));
        }
    };
    if fields.value.len() > defaults::FIELDS_MAX {
        let problem = too_many(fields.value.len(), defaults::FIELDS_MAX, "fields");
        return Err(Rejection::at(problem, &fields.span, &["fields"]));
    }
    let mut select: Vec<Selector> = Vec::new();
    for At { value: field, span } in &fields.value {
        let field = match field {
            FieldSelector::Index(index) => {
                Selector::Index(usize::try_from(index.0).unwrap_or(usize::MAX))
            }
            FieldSelector::Name(name) => Selector::Name(name.clone()),
        };
        let mixed = select.first().is_some_and(|first| {
            matches!(first, Selector::Name(_)) != matches!(field, Selector::Name(_))
        });
        if mixed || (words && matches!(field, Selector::Name(_))) {
            let (found, expected) = match &field {
                Selector::Index(index) => {
                    (format!("position {index}"), "a name, as the fields before it")
                }
                Selector::Name(name) if words => {
                    (format!("{name:?}"), "the position of a 64-bit word, from 0")
                }
                Selector::Name(name) => {
                    (format!("{name:?}"), "a position, as the fields before it")
                }
            };
            let problem = Problem::WrongValue { found, expected: expected.to_owned() };
            return Err(Rejection::at(problem, span, &["fields"]));
        }
        if select.contains(&field) {
            let found = match &field {
                Selector::Index(index) => format!("position {index} again"),
                Selector::Name(name) => format!("{name:?} again"),
            };
            // A line would grow with each time.
            let problem = Problem::WrongValue { found, expected: "each field once".to_owned() };
            return Err(Rejection::at(problem, span, &["fields"]));
        }
        select.push(field);
    }
    Ok(select)
}

fn too_many(found: usize, max: usize, what: &str) -> Problem {
    let (found, max) = (format!("{found} {what}"), max.to_string());
    Problem::OutOfRange { found, min: "1".to_owned(), max }
}

fn field_type(word: FieldWord) -> FieldType {
    match word {
        FieldWord::Bytes => FieldType::Bytes,
        FieldWord::Text => FieldType::Text,
        FieldWord::Integer => FieldType::Integer,
        FieldWord::U64 => FieldType::U64,
        FieldWord::I64 => FieldType::I64,
        FieldWord::F64 => FieldType::F64,
        FieldWord::Json => FieldType::Json,
        FieldWord::Msgpack => FieldType::MessagePack,
    }
}
