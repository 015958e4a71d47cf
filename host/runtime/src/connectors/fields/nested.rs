//! Decodes values that hold several named or numbered fields: JSON and MessagePack.
//!
//! Owns finding the selected fields in one pass, in whatever order they stand. Invariant: the whole
//! value is checked, also what is not selected.

use crate::connectors::fields::{Field, Take, text};
use crate::connectors::json;
use crate::connectors::msgpack::{Reader, Token};
use crate::connectors::settings::Selector;

/// Where in the value each selected field is.
pub(super) type Places = [Option<(usize, usize)>];

pub(super) fn json_fields(
    text: &str,
    select: &[Selector],
    places: &mut Places,
    scratch: &mut Vec<u8>,
    take: &mut impl Take,
) -> Result<(), String> {
    let first = text.trim_ascii_start().bytes().next();
    let is_object = first == Some(b'{');
    if !is_object && first != Some(b'[') {
        if let Some(one) = select.first() {
            return Err(format!("it has no fields, so no {}", show(one)));
        }
        json::check(text)?;
        return json_field(text.trim_ascii(), scratch, take);
    }
    if select.is_empty() {
        let each = |_, raw: &str| json_field(raw, scratch, take);
        return if is_object {
            json::object(text, |_| Some(0), each)
        } else {
            json::array(text, each)
        };
    }
    places.fill(None);
    let mut note = |index: usize, raw: &str| {
        let start = raw.as_ptr() as usize - text.as_ptr() as usize;
        places[index] = Some((start, start + raw.len()));
        Ok(())
    };
    if is_object {
        json::object(text, |name| find(select, |one| is_name(one, name)), note)?;
    } else {
        json::array(text, |index, raw| match find(select, |one| *one == Selector::Index(index)) {
            Some(place) => note(place, raw),
            None => Ok(()),
        })?;
    }
    selected(select, places, |(start, end)| json_field(&text[start..end], scratch, take))
}

pub(super) fn message_fields(
    bytes: &[u8],
    select: &[Selector],
    places: &mut Places,
    scratch: &mut Vec<u8>,
    take: &mut impl Take,
) -> Result<(), String> {
    let mut reader = Reader::new(bytes);
    let start = reader;
    let (count, is_map) = match reader.next()? {
        Token::Array(count) => (count, false),
        Token::Map(count) => (count, true),
        _ => {
            if let Some(one) = select.first() {
                return Err(format!("it has no fields, so no {}", show(one)));
            }
            reader = start;
            message_field(&mut reader, scratch, take)?;
            return is_used_up(&reader);
        }
    };
    places.fill(None);
    for index in 0..count as usize {
        let name = if is_map { Some(reader.next()?) } else { None };
        if select.is_empty() {
            message_field(&mut reader, scratch, take)?;
            continue;
        }
        let found = find(select, |one| match (one, name) {
            (Selector::Index(wanted), None) => *wanted == index,
            (Selector::Name(_), Some(Token::Text(name))) => is_name(one, name),
            _ => false,
        });
        let start = bytes.len() - reader.left();
        reader.skip()?;
        if let Some(place) = found {
            places[place] = Some((start, bytes.len() - reader.left()));
        }
    }
    is_used_up(&reader)?;
    selected(select, places, |(start, end)| {
        message_field(&mut Reader::new(&bytes[start..end]), scratch, take)
    })
}

pub(super) fn is_used_up(reader: &Reader<'_>) -> Result<(), String> {
    match reader.left() {
        0 => Ok(()),
        left => Err(format!("{left} bytes follow it")),
    }
}

fn find(select: &[Selector], is_it: impl Fn(&Selector) -> bool) -> Option<usize> {
    select.iter().position(is_it)
}

fn is_name(one: &Selector, name: &str) -> bool {
    matches!(one, Selector::Name(wanted) if wanted == name)
}

pub(super) fn show(one: &Selector) -> String {
    match one {
        Selector::Index(index) => format!("field {index} (counted from 0)"),
        Selector::Name(name) => format!("field `{name}`"),
    }
}

/// Calls `take` with the place of each selected field, in the order of the selection, which names each once.
fn selected(
    select: &[Selector],
    places: &Places,
    mut take: impl FnMut((usize, usize)) -> Result<(), String>,
) -> Result<(), String> {
    for (one, place) in select.iter().zip(places) {
        take(place.ok_or_else(|| format!("there is no {}", show(one)))?)?;
    }
    Ok(())
}

fn json_field(raw: &str, scratch: &mut Vec<u8>, take: &mut impl Take) -> Result<(), String> {
    match raw.as_bytes().first() {
        Some(b'"') => {
            scratch.clear();
            json::unescape(scratch, raw)?;
            take(Field::Text(text(scratch)?))
        }
        Some(b'{' | b'[') => take(Field::Json(raw)),
        Some(b't') => take(Field::Boolean(true)),
        Some(b'f') => take(Field::Boolean(false)),
        Some(b'n') => take(Field::Null),
        _ => take(Field::Number(raw)),
    }
}

fn message_field(
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u8>,
    take: &mut impl Take,
) -> Result<(), String> {
    let start = *reader;
    match reader.next()? {
        Token::Nil => take(Field::Null),
        Token::Boolean(value) => take(Field::Boolean(value)),
        Token::Unsigned(value) => take(Field::Unsigned(value)),
        Token::Signed(value) => take(Field::Signed(value)),
        Token::Float(value) => take(Field::Float(value)),
        Token::Text(text) => take(Field::Text(text)),
        Token::Bytes(bytes) => take(Field::Bytes(bytes)),
        Token::Array(_) | Token::Map(_) => {
            scratch.clear();
            *reader = start;
            reader.write_json(scratch)?;
            take(Field::Json(text(scratch)?))
        }
    }
}
