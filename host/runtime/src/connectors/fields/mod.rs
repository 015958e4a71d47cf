//! Decodes the keys and values that a sink gets into fields.
//!
//! Owns what each field type means and which fields are selected. Knows nothing of what is done
//! with a field. Invariants: bytes that are not what the settings say are an error, never a guess;
//! nothing is allocated per record once the buffers have grown.

mod line;
mod nested;
mod sum;

use crate::connectors::fields::nested::{Places, json_fields, message_fields, show};
use crate::connectors::settings::{FieldType, Fields, Selector};

pub(super) use line::LineFormat;
pub(super) use sum::FieldSum;

/// One field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Boolean(bool),
    Null,
    /// A number in JSON notation.
    Number(&'a str),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// An object or array in JSON notation.
    Json(&'a str),
}

/// Whoever takes fields one by one.
pub(super) trait Take: FnMut(Field<'_>) -> Result<(), String> {}
impl<T: FnMut(Field<'_>) -> Result<(), String>> Take for T {}

/// Decodes the records of one sink.
#[derive(Debug)]
pub(super) struct Decoder {
    fields: Fields,
    /// Where in the value each selected field is.
    places: Vec<Option<(usize, usize)>>,
    scratch: Vec<u8>,
}

impl Decoder {
    /// Checks that the selection goes with the type.
    pub(super) fn new(fields: &Fields) -> Result<Self, String> {
        let by_index = fields.select.iter().filter(|one| matches!(one, Selector::Index(_))).count();
        let by_name = fields.select.len() - by_index;
        let (may_index, may_name) = match fields.value {
            FieldType::Bytes | FieldType::Text | FieldType::Integer => (false, false),
            FieldType::U64 | FieldType::I64 | FieldType::F64 => (true, false),
            FieldType::Json | FieldType::MessagePack => (true, true),
        };
        if by_index > 0 && by_name > 0 {
            return Err(
                "fields are selected by index or by name, not by both; choose one".to_owned()
            );
        }
        if (by_index > 0 && !may_index) || (by_name > 0 && !may_name) {
            let how = if by_name > 0 { "by name" } else { "by index" };
            let what = describe(fields.value);
            return Err(format!(
                "fields cannot be selected {how} from {what}; remove the selection"
            ));
        }
        let places = vec![None; fields.select.len()];
        Ok(Self { fields: fields.clone(), places, scratch: Vec::new() })
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The fields of the key, if its type is given.
    pub(super) fn key(&mut self, key: Option<&[u8]>, take: &mut impl Take) -> Result<(), String> {
        let Some(kind) = self.fields.key else { return Ok(()) };
        let key = key.ok_or("it has no key; leave the key's type out of the sink's settings")?;
        decode(kind, key, &[], &mut [], &mut self.scratch, take)
            .map_err(|what| format!("its key {what}"))
    }

    /// The selected fields of the value.
    pub(super) fn value(&mut self, value: &[u8], take: &mut impl Take) -> Result<(), String> {
        let Self { fields, places, scratch } = self;
        decode(fields.value, value, &fields.select, places, scratch, take)
            .map_err(|what| format!("its value {what}"))
    }
}

/// What a type is called in messages.
fn describe(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Bytes => "bytes",
        FieldType::Text => "a text",
        FieldType::Integer => "a decimal integer",
        FieldType::U64 | FieldType::I64 | FieldType::F64 => "64-bit words",
        FieldType::Json => "JSON",
        FieldType::MessagePack => "MessagePack",
    }
}

fn decode(
    kind: FieldType,
    bytes: &[u8],
    select: &[Selector],
    places: &mut Places,
    scratch: &mut Vec<u8>,
    take: &mut impl Take,
) -> Result<(), String> {
    match kind {
        FieldType::Bytes => take(Field::Bytes(bytes)),
        FieldType::Text => take(Field::Text(text(bytes)?)),
        FieldType::Integer => take(integer(text(bytes)?)?),
        FieldType::U64 => {
            words(bytes, select, |word| take(Field::Unsigned(u64::from_le_bytes(word))))
        }
        FieldType::I64 => {
            words(bytes, select, |word| take(Field::Signed(i64::from_le_bytes(word))))
        }
        FieldType::F64 => words(bytes, select, |word| take(Field::Float(f64::from_le_bytes(word)))),
        FieldType::Json => json_fields(text(bytes)?, select, places, scratch, take)
            .map_err(|what| format!("is not the JSON that the sink wants: {what}")),
        FieldType::MessagePack => message_fields(bytes, select, places, scratch, take)
            .map_err(|what| format!("is not the MessagePack that the sink wants: {what}")),
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

fn integer(text: &str) -> Result<Field<'_>, String> {
    let signed = text.strip_prefix('-');
    if signed.unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(value) = text.parse() {
            return Ok(Field::Unsigned(value));
        }
        if let Ok(value) = text.parse() {
            return Ok(Field::Signed(value));
        }
    }
    Err("is not a decimal integer of 64 bits".to_owned())
}

fn words(
    bytes: &[u8],
    select: &[Selector],
    mut take: impl FnMut([u8; 8]) -> Result<(), String>,
) -> Result<(), String> {
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || words.is_empty() {
        return Err(format!("has {} bytes, which are no 64-bit words", bytes.len()));
    }
    if select.is_empty() {
        return words.iter().try_for_each(|word| take(*word));
    }
    for one in select {
        let word = match one {
            Selector::Index(index) => words.get(*index),
            Selector::Name(_) => None,
        };
        take(*word.ok_or_else(|| format!("has {} words and no {}", words.len(), show(one)))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: FieldType, select: Vec<Selector>) -> Fields {
        Fields { key: None, value, select }
    }

    fn decode(fields: &Fields, value: &[u8]) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        Decoder::new(fields)?.value(value, &mut |field: Field<'_>| {
            found.push(format!("{field:?}"));
            Ok(())
        })?;
        Ok(found)
    }

    fn names(names: &[&str]) -> Vec<Selector> {
        names.iter().map(|name| Selector::Name((*name).to_owned())).collect()
    }

    fn indexes(indexes: &[usize]) -> Vec<Selector> {
        indexes.iter().map(|index| Selector::Index(*index)).collect()
    }

    #[test]
    fn fields_come_in_the_order_of_the_selection() {
        let text = r#"{"a":"x\n","b":1.0,"c":[ 2 ],"d":null}"#;
        let packed =
            rmp_serde::to_vec(&json!({"a": "x\n", "b": 1.0, "c": [2], "d": null})).unwrap();
        let array = rmp_serde::to_vec(&json!(["x\n", 1.0, [2], null])).unwrap();
        for (kind, value, select, expected) in [
            (
                FieldType::Json,
                text.as_bytes(),
                names(&["c", "a", "d"]),
                ["Json(\"[ 2 ]\")", "Text(\"x\\n\")", "Null"],
            ),
            (
                FieldType::MessagePack,
                &packed,
                names(&["d", "b", "a"]),
                ["Null", "Float(1.0)", "Text(\"x\\n\")"],
            ),
            (
                FieldType::MessagePack,
                &array,
                indexes(&[3, 2, 0]),
                ["Null", "Json(\"[2]\")", "Text(\"x\\n\")"],
            ),
            (
                FieldType::Json,
                b"[true,-7, \"\"]",
                indexes(&[2, 0, 1]),
                ["Text(\"\")", "Boolean(true)", "Number(\"-7\")"],
            ),
            (
                FieldType::U64,
                &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
                indexes(&[1, 0, 2]),
                ["Unsigned(2)", "Unsigned(1)", "Unsigned(3)"],
            ),
        ] {
            assert_eq!(decode(&fields(kind, select), value).unwrap(), expected, "{kind:?}");
        }
    }

    #[test]
    fn without_a_selection_all_fields_come() {
        assert_eq!(
            decode(&fields(FieldType::Json, vec![]), b"{\"a\":1,\"b\":{}}").unwrap(),
            ["Number(\"1\")", "Json(\"{}\")"]
        );
        assert_eq!(decode(&fields(FieldType::Json, vec![]), b" \"a\" ").unwrap(), ["Text(\"a\")"]);
        assert_eq!(
            decode(&fields(FieldType::MessagePack, vec![]), &[0x92, 1, 0xff]).unwrap(),
            ["Unsigned(1)", "Signed(-1)"]
        );
        assert_eq!(decode(&fields(FieldType::MessagePack, vec![]), &[7]).unwrap(), ["Unsigned(7)"]);
        assert_eq!(decode(&fields(FieldType::I64, vec![]), &[0xff; 8]).unwrap(), ["Signed(-1)"]);
        assert_eq!(
            decode(&fields(FieldType::Integer, vec![]), b"-9223372036854775808").unwrap(),
            ["Signed(-9223372036854775808)"]
        );
        assert_eq!(
            decode(&fields(FieldType::Integer, vec![]), b"18446744073709551615").unwrap(),
            ["Unsigned(18446744073709551615)"]
        );
    }

    #[test]
    fn bytes_that_are_something_else_are_an_error() {
        for (kind, value, select) in [
            (FieldType::Text, &b"\xff"[..], vec![]),
            (FieldType::Integer, b"", vec![]),
            (FieldType::Integer, b"+1", vec![]),
            (FieldType::Integer, b"-", vec![]),
            (FieldType::Integer, b"18446744073709551616", vec![]),
            (FieldType::U64, b"", vec![]),
            (FieldType::U64, b"1234567", vec![]),
            (FieldType::U64, b"12345678", indexes(&[1])),
            (FieldType::Json, b"{\"a\":1", vec![]),
            (FieldType::Json, b"", vec![]),
            (FieldType::Json, b"{\"a\":1} x", names(&["a"])),
            (FieldType::Json, b"{\"a\":1}", names(&["b"])),
            (FieldType::Json, b"{\"a\":1}", indexes(&[0])),
            (FieldType::Json, b"1", names(&["a"])),
            (FieldType::MessagePack, &[0x91], vec![]),
            (FieldType::MessagePack, &[1, 2], vec![]),
            (FieldType::MessagePack, &[0x91, 1], indexes(&[1])),
            (FieldType::MessagePack, &[0x91, 1], names(&["a"])),
        ] {
            let result = decode(&fields(kind, select), value);
            assert!(result.is_err(), "{kind:?} {value:?}: {result:?}");
        }
    }

    #[test]
    fn a_selection_must_go_with_the_type() {
        for (kind, select) in [
            (FieldType::Text, indexes(&[0])),
            (FieldType::U64, names(&["a"])),
            (FieldType::Json, [names(&["a"]), indexes(&[0])].concat()),
        ] {
            assert!(Decoder::new(&fields(kind, select)).is_err());
        }
    }
}
