//! Writes records as lines.
//!
//! Owns the three styles. Invariants: `Text` and `Ndjson` write exactly one line feed per record,
//! at its end, whatever is in it; an NDJSON line is one valid JSON object.

use memchr::{memchr, memchr3};

use crate::connectors::fields::nested::is_used_up;
use crate::connectors::fields::{Decoder, Field, decode, text, words};
use crate::connectors::json;
use crate::connectors::msgpack::Reader;
use crate::connectors::settings::{FieldType, RecordFormat, Selector, Style};

/// Formats the records of one sink.
#[derive(Debug)]
pub(in crate::connectors) struct LineFormat {
    style: Style,
    decoder: Decoder,
}

impl LineFormat {
    pub(in crate::connectors) fn new(format: &RecordFormat) -> Result<Self, String> {
        Ok(Self { style: format.style, decoder: Decoder::new(&format.fields)? })
    }

    /// Appends a record as a line. After an error `out` holds a part of it.
    pub(in crate::connectors) fn write(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        match self.style {
            Style::Raw => out.extend_from_slice(value),
            Style::Text => self.write_text(key, value, out)?,
            Style::Ndjson => self.write_json(key, value, out)?,
        }
        out.push(b'\n');
        Ok(())
    }

    fn write_text(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut is_first = true;
        let mut write = |field: Field<'_>| {
            if !std::mem::take(&mut is_first) {
                out.push(b'\t');
            }
            write_text_field(out, field);
            Ok(())
        };
        self.decoder.key(key, &mut write)?;
        self.decoder.value(value, &mut write)
    }

    fn write_json(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        out.push(b'{');
        if let Some(kind) = self.decoder.fields().key {
            let key =
                key.ok_or("it has no key; leave the key's type out of the sink's settings")?;
            out.extend_from_slice(b"\"key\":");
            write_whole(&mut self.decoder, kind, key, out)
                .map_err(|what| format!("its key {what}"))?;
            out.push(b',');
        }
        out.extend_from_slice(b"\"value\":");
        if self.decoder.fields().select.is_empty() {
            let kind = self.decoder.fields().value;
            write_whole(&mut self.decoder, kind, value, out)
                .map_err(|what| format!("its value {what}"))?;
        } else {
            self.write_selected(value, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes selected fields: by name as an object; by index alone as it is, several as an array.
    fn write_selected(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let Decoder { fields, places, scratch } = &mut self.decoder;
        let select = &fields.select;
        let is_object = matches!(select.first(), Some(Selector::Name(_)));
        let is_bare = !is_object && select.len() == 1;
        let (open, close) = if is_object { (b'{', b'}') } else { (b'[', b']') };
        if !is_bare {
            out.push(open);
        }
        let mut place = 0;
        let mut write = |field: Field<'_>| {
            if place > 0 {
                out.push(b',');
            }
            if let Some(Selector::Name(name)) = select.get(place) {
                json::write_string(out, name.as_bytes());
                out.push(b':');
            }
            place += 1;
            write_json_field(out, field);
            Ok(())
        };
        decode(fields.value, value, select, places, scratch, &mut write)
            .map_err(|what| format!("its value {what}"))?;
        if !is_bare {
            out.push(close);
        }
        Ok(())
    }
}

/// Writes a key or value without a selection as one JSON value.
fn write_whole(
    decoder: &mut Decoder,
    kind: FieldType,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    match kind {
        FieldType::Json => {
            let json = text(bytes)?;
            json::check(json).map_err(|what| format!("is not JSON: {what}"))?;
            json::write_on_one_line(out, json.trim_ascii());
            Ok(())
        }
        FieldType::MessagePack => {
            let mut reader = Reader::new(bytes);
            let written = reader.write_json(out).and_then(|()| is_used_up(&reader));
            written.map_err(|what| format!("is not MessagePack: {what}"))
        }
        FieldType::U64 | FieldType::I64 | FieldType::F64 => {
            let is_bare = bytes.len() == 8;
            if !is_bare {
                out.push(b'[');
            }
            let mut is_first = true;
            words(bytes, &[], |word| {
                if !std::mem::take(&mut is_first) {
                    out.push(b',');
                }
                write_json_field(
                    out,
                    match kind {
                        FieldType::I64 => Field::Signed(i64::from_le_bytes(word)),
                        FieldType::F64 => Field::Float(f64::from_le_bytes(word)),
                        _ => Field::Unsigned(u64::from_le_bytes(word)),
                    },
                );
                Ok(())
            })?;
            if !is_bare {
                out.push(b']');
            }
            Ok(())
        }
        FieldType::Bytes | FieldType::Text | FieldType::Integer => {
            decode(kind, bytes, &[], &mut [], &mut decoder.scratch, &mut |field: Field<'_>| {
                write_json_field(out, field);
                Ok(())
            })
        }
    }
}

fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_json_field(out: &mut Vec<u8>, field: Field<'_>) {
    match field {
        Field::Unsigned(value) => write_integer(out, value),
        Field::Signed(value) => write_integer(out, value),
        Field::Float(value) => json::write_float(out, value),
        Field::Boolean(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Field::Null => out.extend_from_slice(b"null"),
        Field::Number(text) => out.extend_from_slice(text.as_bytes()),
        Field::Text(text) => json::write_string(out, text.as_bytes()),
        Field::Bytes(bytes) => json::write_hex(out, bytes),
        Field::Json(json) => json::write_on_one_line(out, json),
    }
}

fn write_text_field(out: &mut Vec<u8>, field: Field<'_>) {
    match field {
        Field::Text(text) => write_escaped(out, text.as_bytes()),
        Field::Bytes(bytes) => write_escaped(out, bytes),
        Field::Float(value) if value.is_nan() => out.extend_from_slice(b"NaN"),
        Field::Float(f64::INFINITY) => out.extend_from_slice(b"inf"),
        Field::Float(f64::NEG_INFINITY) => out.extend_from_slice(b"-inf"),
        other => write_json_field(out, other),
    }
}

/// Appends bytes with `\t`, `\n`, `\r` and `\\` for what would be taken for the end of the field or
/// line.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let escape = |byte| match byte {
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\\' => Some(b'\\'),
        _ => None,
    };
    // There seldom is one, and to look for one this way takes a tenth of the time.
    if memchr3(b'\t', b'\n', b'\r', bytes).or_else(|| memchr(b'\\', bytes)).is_none() {
        return out.extend_from_slice(bytes);
    }
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let Some(escape) = escape(byte) else { continue };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(&[b'\\', escape]);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::connectors::settings::Fields;

    fn line(
        style: Style,
        fields: Fields,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> Result<String, String> {
        let mut out = Vec::new();
        LineFormat::new(&RecordFormat { style, fields })?.write(key, value, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn fields(key: Option<FieldType>, value: FieldType, select: &[Selector]) -> Fields {
        Fields { key, value, select: select.to_vec() }
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn text_is_fields_and_tabs() {
        let key = Some(FieldType::Text);
        for (fields, value, expected) in [
            (fields(key, FieldType::U64, &[]), words(&[3, 70]), "a\\tb\\\\\t3\t70\n"),
            (fields(None, FieldType::U64, &[Selector::Index(1)]), words(&[3, 70]), "70\n"),
            (
                fields(key, FieldType::Json, &[]),
                b"{\"x\":\"l\\n\",\"y\":[1,\n2]}".to_vec(),
                "a\\tb\\\\\tl\\n\t[1, 2]\n",
            ),
            (
                fields(None, FieldType::F64, &[]),
                words(&[1.5f64.to_bits(), f64::NAN.to_bits()]),
                "1.5\tNaN\n",
            ),
        ] {
            assert_eq!(line(Style::Text, fields, Some(b"a\tb\\"), &value).unwrap(), expected);
        }
        assert_eq!(
            line(Style::Raw, fields(key, FieldType::U64, &[]), None, b"as it is").unwrap(),
            "as it is\n"
        );
    }

    #[test]
    fn ndjson_is_one_object_per_record() {
        let name = |name: &str| Selector::Name(name.to_owned());
        for (fields, key, value, expected) in [
            (
                fields(Some(FieldType::Text), FieldType::U64, &[]),
                &b"w"[..],
                words(&[3]),
                r#"{"key":"w","value":3}"#,
            ),
            (
                fields(Some(FieldType::U64), FieldType::U64, &[]),
                &[1, 0, 0, 0, 0, 0, 0, 0],
                words(&[3, 4]),
                r#"{"key":1,"value":[3,4]}"#,
            ),
            (
                fields(None, FieldType::U64, &[Selector::Index(1)]),
                b"",
                words(&[3, 4]),
                r#"{"value":4}"#,
            ),
            (
                fields(None, FieldType::Json, &[]),
                b"",
                b" {\"a\":\r\n1} ".to_vec(),
                r#"{"value":{"a":  1}}"#,
            ),
            (
                fields(None, FieldType::Json, &[name("b"), name("a")]),
                b"",
                b"{\"a\":1,\"b\":\"\\u0041\"}".to_vec(),
                r#"{"value":{"b":"A","a":1}}"#,
            ),
            (
                fields(Some(FieldType::Integer), FieldType::Bytes, &[]),
                b"007",
                vec![0, 255],
                r#"{"key":7,"value":"00ff"}"#,
            ),
            (
                fields(None, FieldType::MessagePack, &[Selector::Index(0), Selector::Index(1)]),
                b"",
                vec![0x92, 0xa1, b'x', 0xc3],
                r#"{"value":["x",true]}"#,
            ),
            (
                fields(None, FieldType::MessagePack, &[]),
                b"",
                vec![0x81, 0xa1, b'x', 0xc0],
                r#"{"value":{"x":null}}"#,
            ),
        ] {
            let found = line(Style::Ndjson, fields, Some(key), &value).unwrap();
            assert_eq!(found, format!("{expected}\n"));
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_told() {
        let keyed = fields(Some(FieldType::Text), FieldType::Json, &[]);
        for style in [Style::Text, Style::Ndjson] {
            assert!(line(style, keyed.clone(), None, b"1").unwrap_err().contains("no key"));
            assert!(
                line(style, keyed.clone(), Some(b"\xff"), b"1")
                    .unwrap_err()
                    .starts_with("its key is not UTF-8")
            );
            assert!(
                line(style, keyed.clone(), Some(b"k"), b"{")
                    .unwrap_err()
                    .starts_with("its value is not")
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_stays_on_its_line(key in any::<String>(), value in any::<String>()) {
            let fields = fields(Some(FieldType::Text), FieldType::Text, &[]);
            let (key_bytes, value_bytes) = (Some(key.as_bytes()), value.as_bytes());
            let found = line(Style::Text, fields.clone(), key_bytes, value_bytes).unwrap();
            prop_assert_eq!(found.matches(['\n', '\r']).count(), 1);
            let (first, second) = found.trim_end_matches('\n').split_once('\t').unwrap();
            let unescape = |text: &str| {
                let text = text.replace("\\\\", "\0").replace("\\t", "\t");
                text.replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")
            };
            if !key.contains('\0') && !value.contains('\0') {
                prop_assert_eq!((unescape(first), unescape(second)), (key.clone(), value.clone()));
            }
            let found = line(Style::Ndjson, fields, key_bytes, value_bytes).unwrap();
            prop_assert_eq!(found.matches(['\n', '\r']).count(), 1);
            let object: Value = serde_json::from_str(&found).unwrap();
            prop_assert_eq!(&object["key"], &Value::from(key));
            prop_assert_eq!(&object["value"], &Value::from(value));
        }
    }
}
