//! One JSON object on a line, and its key.
//!
//! Owns what counts as valid and how a field becomes a key. Builds no document. Invariant: exactly
//! one key is appended when a key is asked for and the line is valid.

use tidemill_core::column::BytesColumn;

use crate::connectors::json;
use crate::connectors::records::KEY_BYTES_MAX;

/// Checks that `line` is one JSON object, and appends the text of field `key` to `keys`.
pub(super) fn check(line: &[u8], key: Option<&str>, keys: &mut BytesColumn) -> Result<(), String> {
    let text = std::str::from_utf8(line).map_err(|error| {
        format!("not UTF-8 from byte {} of the line on; convert it", error.valid_up_to())
    })?;
    let Some(key) = key else { return check_object(text) };
    let before = keys.len();
    json::object(
        text,
        |name| (name == key).then_some(0),
        |_, raw| {
            if keys.len() > before {
                return Err(format!("field `{key}` is there twice"));
            }
            push_key(key, raw, keys)
        },
    )
    .map_err(|reason| not_an_object(text, reason))?;
    if keys.len() == before {
        return Err(format!(
            "there is no field `{key}` to take the key from; add it or correct the line"
        ));
    }
    Ok(())
}

fn check_object(text: &str) -> Result<(), String> {
    json::check(text).map_err(|reason| not_an_object(text, reason))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(not_an_object(text, "expected a JSON object".to_owned()));
    }
    Ok(())
}

fn push_key(key: &str, raw: &str, keys: &mut BytesColumn) -> Result<(), String> {
    let start = keys.data.len();
    match raw.as_bytes().first() {
        Some(b'"') => json::unescape(&mut keys.data, raw)?,
        Some(b'{' | b'[' | b'n') => {
            return Err(format!(
                "field `{key}` is null, an object or an array; a key is a string, number or boolean"
            ));
        }
        _ => keys.data.extend_from_slice(raw.as_bytes()),
    }
    let length = keys.data.len() - start;
    keys.data.truncate(start + length.min(KEY_BYTES_MAX));
    keys.push(b"");
    if length > KEY_BYTES_MAX {
        return Err(format!("field `{key}` has {length} bytes; a key has at most {KEY_BYTES_MAX}"));
    }
    Ok(())
}

fn not_an_object(text: &str, reason: String) -> String {
    if text.starts_with('\u{feff}') {
        return "the file begins with a byte order mark; remove it".to_owned();
    }
    format!("not a valid line of NDJSON: {reason}; each line must hold one JSON object")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn key_of(line: &str, key: &str) -> Result<Vec<u8>, String> {
        let mut keys = BytesColumn::default();
        check(line.as_bytes(), Some(key), &mut keys)?;
        assert_eq!(keys.len(), 1);
        Ok(keys.get(0).to_vec())
    }

    #[test]
    fn a_key_is_the_text_of_its_field() {
        for (line, expected) in [
            (r#"{"k":"a b"}"#, "a b"),
            (r#"{"x":{"k":1},"k":"\u00e9\n\"","y":[]}"#, "é\n\""),
            (r#"{"k":-1.50e3}"#, "-1.50e3"),
            (r#"{"\u006b":true}"#, "true"),
            (r#"{"k":""}"#, ""),
        ] {
            assert_eq!(key_of(line, "k").unwrap(), expected.as_bytes(), "{line}");
        }
    }

    #[test]
    fn a_line_without_a_usable_key_is_refused() {
        let long = format!("{{\"k\":\"{}\"}}", "x".repeat(KEY_BYTES_MAX + 1));
        for (line, reason) in [
            ("{}", "no field `k`"),
            (r#"{"k":null}"#, "null, an object or an array"),
            (r#"{"k":{}}"#, "null, an object or an array"),
            (r#"{"k":1,"k":2}"#, "twice"),
            (r#"{"k":"\ud800"}"#, "not a valid line"),
            (&long, "at most 4096"),
        ] {
            let error = key_of(line, "k").unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    const TOKENS: &[&str] =
        &["{", "}", "\"k\"", ":", ",", "1", "[", "]", "null", " ", "\"\\n\"", "-", ".5", "e"];

    proptest! {
        #[test]
        fn what_is_valid_is_what_a_full_parser_takes_for_an_object(
            text in prop::collection::vec(
                prop::sample::select(TOKENS),
                0..12,
            ),
        ) {
            let text = format!("{{{}}}", text.concat());
            let valid = serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object());
            let found = check(text.as_bytes(), None, &mut BytesColumn::default());
            prop_assert_eq!(found.is_ok(), valid);
            if key_of(&text, "k").is_ok() {
                prop_assert!(valid);
            }
        }
    }

    #[test]
    fn only_objects_in_utf8_are_lines() {
        for line in [
            &b"[1]"[..],
            b"1",
            b"{} x",
            b"{\"a\":\"\xff\"}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\x01\"}",
        ] {
            assert!(check(line, None, &mut BytesColumn::default()).is_err(), "{line:?}");
            assert!(check(line, Some("a"), &mut BytesColumn::default()).is_err(), "{line:?}");
        }
        assert!(check(b" {\"a\":[{}]} ", None, &mut BytesColumn::default()).is_ok());
    }
}
