//! Small pieces of JSON: writing strings, looking at one level of an object or array.
//!
//! Owns nothing but these functions; no document is ever built. Invariant: whatever is written here
//! is valid JSON on one line.

use std::fmt;
use std::io::Write;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::Deserializer;
use serde_json::value::RawValue;

/// Appends `text` as a JSON string. It must be UTF-8 for the result to be.
pub(super) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut from = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex_digit(byte >> 4), hex_digit(byte)]);
            }
        }
    }
    out.extend_from_slice(&text[from..]);
    out.push(b'"');
}

/// Appends a number; what has no notation in JSON (infinite, not a number) becomes `null`.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        // The shortest digits that read back as the same number; always valid JSON.
        write!(out, "{value:?}").ok();
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends bytes as a string of lower-case hexadecimal digits.
pub(super) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend(bytes.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(*byte)]));
    out.push(b'"');
}

fn hex_digit(four_bits: u8) -> u8 {
    b"0123456789abcdef"[usize::from(four_bits & 15)]
}

/// Appends valid JSON with its line breaks and tabs, which stand only between tokens, as spaces.
pub(super) fn write_on_one_line(out: &mut Vec<u8>, json: &str) {
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r' | b'\t') {
            *byte = b' ';
        }
    }
}

/// The contents of a string in JSON notation, appended to `out`.
pub(super) fn unescape(out: &mut Vec<u8>, raw: &str) -> Result<(), String> {
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(inner) if memchr::memchr(b'\\', inner.as_bytes()).is_none() => {
            out.extend_from_slice(inner.as_bytes());
        }
        _ => {
            out.extend_from_slice(serde_json::from_str::<String>(raw).map_err(explain)?.as_bytes())
        }
    }
    Ok(())
}

/// What is wrong with a JSON text of one line.
pub(super) fn explain(error: serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("{} at column {}", &text[..at], error.column()),
        None => text,
    }
}

/// Checks that a text is one valid JSON value.
pub(super) fn check(json: &str) -> Result<(), String> {
    let mut deserializer = Deserializer::from_str(json);
    IgnoredAny::deserialize(&mut deserializer).and_then(|_| deserializer.end()).map_err(explain)
}

/// Calls `each(name, value)` for the fields of an object in their order, the value in JSON
/// notation. `name` tells which names matter; the values of others are checked and skipped.
pub(super) fn object<'de, N, E>(json: &'de str, name: N, each: E) -> Result<(), String>
where
    N: FnMut(&str) -> Option<usize>,
    E: FnMut(usize, &'de str) -> Result<(), String>,
{
    let mut deserializer = Deserializer::from_str(json);
    deserializer.deserialize_map(Object { name, each }).map_err(explain)?;
    deserializer.end().map_err(explain)
}

/// Calls `each(index, item)` for the items of an array, each in JSON notation.
pub(super) fn array<'de, E>(json: &'de str, each: E) -> Result<(), String>
where
    E: FnMut(usize, &'de str) -> Result<(), String>,
{
    let mut deserializer = Deserializer::from_str(json);
    deserializer.deserialize_seq(Array { each }).map_err(explain)?;
    deserializer.end().map_err(explain)
}

struct Object<N, E> {
    name: N,
    each: E,
}

impl<'de, N, E> Visitor<'de> for Object<N, E>
where
    N: FnMut(&str) -> Option<usize>,
    E: FnMut(usize, &'de str) -> Result<(), String>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Name(&mut self.name))? {
            match found {
                Some(index) => {
                    let value: &'de RawValue = map.next_value()?;
                    (self.each)(index, value.get()).map_err(A::Error::custom)?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Name<'a, N>(&'a mut N);

impl<'de, N: FnMut(&str) -> Option<usize>> DeserializeSeed<'de> for Name<'_, N> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<N: FnMut(&str) -> Option<usize>> Visitor<'_> for Name<'_, N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0)(name))
    }
}

struct Array<E> {
    each: E,
}

impl<'de, E: FnMut(usize, &'de str) -> Result<(), String>> Visitor<'de> for Array<E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(item) = items.next_element::<&'de RawValue>()? {
            (self.each)(index, item.get()).map_err(A::Error::custom)?;
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_string_is_read_back_by_any_json_parser(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, text.as_bytes());
            let json = String::from_utf8(out).unwrap();
            prop_assert!(!json.contains(['\n', '\r', '\t']));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text.clone());
            let mut back = Vec::new();
            unescape(&mut back, &json).unwrap();
            prop_assert_eq!(back, text.as_bytes());
        }
    }

    #[test]
    fn fields_and_items_come_in_order_and_unescaped_names_match() {
        let mut seen = Vec::new();
        let json = r#" {"a":1, "\u0062":{"c":[2]} ,"d":"x"}"#;
        object(
            json,
            |name| ["b", "a"].iter().position(|n| *n == name),
            |index, raw| {
                seen.push((index, raw));
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(seen, [(1, "1"), (0, r#"{"c":[2]}"#)]);
        let mut items = Vec::new();
        array("[1, null ,\"x\"]", |index, raw| {
            items.push((index, raw));
            Ok(())
        })
        .unwrap();
        assert_eq!(items, [(0, "1"), (1, "null"), (2, "\"x\"")]);
        for broken in ["", "{", "{} {}", "[1]", "{\"a\":01}", "{\"a\":\"\u{1}\"}"] {
            assert!(object(broken, |_| None, |_, _| Ok(())).is_err(), "{broken}");
        }
    }
}
