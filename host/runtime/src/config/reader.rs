//! Reads serde types out of parsed TOML, with errors that are data.
//!
//! `toml`'s own deserialiser reports text; this one reports a [`Rejection`]: what is wrong, the
//! keys that lead there and the exact place, so that hints can be given. Two conventions beyond
//! serde's: the newtype [`At`](super::scalar::At) receives the span of its value, and an enum whose
//! serde name is [`CONNECTOR_TAG`] is read from a table whose key of that name says which variant
//! it is.

use std::fmt;

use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor};
use tidemill_core::graph::nearest_name;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::{Problem, Rejection};
use super::text::Span;

/// Serde name of the newtype that receives a span.
pub(super) const AT: &str = "$tidemill::At";
/// The key that says which kind of source or sink a table describes.
pub(super) const CONNECTOR_TAG: &str = "connector";

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Rejection {}

impl de::Error for Rejection {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::WrongValue { found: in_words(found), expected: expected.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownWord { word: word.to_owned(), known })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownName { name: name.to_owned(), known })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Problem::Missing(name.to_owned()))
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Problem::Twice(name.to_owned()))
    }
}

fn in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(value) => format!("{value:?}"),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

/// A value and the place to blame when something is missing from it.
pub(super) struct Reader<'i> {
    value: DeValue<'i>,
    span: Span,
    name_span: Span,
}

impl<'i> Reader<'i> {
    /// Reads from a whole document.
    pub(super) fn document(table: Spanned<DeTable<'i>>) -> Self {
        // What the document lacks is shown at its start, not as its whole text.
        let name_span = table.span().start..table.span().start;
        Self { span: table.span(), name_span, value: DeValue::Table(table.into_inner()) }
    }

    fn of(value: Spanned<DeValue<'i>>, name_span: Span) -> Self {
        Self { span: value.span(), name_span, value: value.into_inner() }
    }

    /// Where an error that says no place of its own belongs.
    fn place(&self) -> Place {
        Place { value: self.span.clone(), name: self.name_span.clone() }
    }
}

struct Place {
    value: Span,
    name: Span,
}

impl Place {
    fn blame(self, rejection: Rejection) -> Rejection {
        let missing =
            matches!(*rejection.problem, Problem::Missing(_) | Problem::NoConnector { .. });
        rejection.or_at(if missing { &self.name } else { &self.value })
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Rejection;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        let place = self.place();
        let read = match self.value {
            DeValue::String(text) => visitor.visit_string(text.into_owned()),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => visitor.visit_i64(number),
                    Err(_) => {
                        let found = format!("the number {number}, which is too large");
                        Err(Problem::WrongValue { found, expected: expected(&visitor) }.into())
                    }
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(de::Error::invalid_value(Unexpected::Other("a number"), &visitor)),
            },
            DeValue::Boolean(value) => visitor.visit_bool(value),
            DeValue::Datetime(_) => {
                Err(de::Error::invalid_type(Unexpected::Other("a date or time"), &visitor))
            }
            DeValue::Array(items) => visitor.visit_seq(Items { items: items.into_iter() }),
            DeValue::Table(table) => {
                visitor.visit_map(Entries { entries: table.into_iter(), value: None })
            }
        };
        read.map_err(|rejection| place.blame(rejection))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rejection> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        if name == AT {
            visitor.visit_seq(SpanThenValue::new(self))
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    /// A list is no struct: serde would take its items for the fields in order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        if matches!(self.value, DeValue::Table(_)) {
            return self.deserialize_any(visitor);
        }
        let problem =
            Problem::WrongValue { found: describe(&self.value), expected: "a table".into() };
        Err(self.place().blame(problem.into()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        let place = self.place();
        let read = match self.value {
            DeValue::Table(mut table) if name == CONNECTOR_TAG => match table.remove(name) {
                Some(tag) => {
                    let value = DeValue::Table(table);
                    let rest =
                        Reader { value, span: place.value.clone(), name_span: place.name.clone() };
                    visitor.visit_enum(Tagged { tag, rest })
                }
                None => Err(without_tag(&table, words)),
            },
            DeValue::String(word) if name != CONNECTOR_TAG => {
                visitor.visit_enum(IntoDeserializer::<Rejection>::into_deserializer(&*word))
            }
            value => {
                let expected =
                    if name == CONNECTOR_TAG { "a table".to_owned() } else { one_of(words) };
                Err(Problem::WrongValue { found: describe(&value), expected }.into())
            }
        };
        read.map_err(|rejection| place.blame(rejection))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self::new(problem)
    }
}

/// A table that does not say which variant it is: the key is misspelt, or not there.
fn without_tag(table: &DeTable<'_>, known: &'static [&'static str]) -> Rejection {
    let slip =
        table.keys().find(|key| nearest_name(key.get_ref(), [CONNECTOR_TAG].into_iter()).is_some());
    match slip {
        Some(key) => {
            let name = key.get_ref().clone().into_owned();
            Rejection::new(Problem::UnknownName { name, known: &[CONNECTOR_TAG] })
                .or_at(&key.span())
        }
        None => Problem::NoConnector { known }.into(),
    }
}

fn expected(visitor: &dyn Expected) -> String {
    visitor.to_string()
}

fn one_of(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => in_words(Unexpected::Str(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => in_words(Unexpected::Bool(*value)),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => in_words(Unexpected::Seq),
        DeValue::Table(_) => in_words(Unexpected::Map),
    }
}

struct Entries<'i> {
    entries: <DeTable<'i> as IntoIterator>::IntoIter,
    value: Option<(Spanned<DeString<'i>>, Spanned<DeValue<'i>>)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Rejection;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Rejection> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        let name = Reader {
            value: DeValue::String(key.get_ref().clone().into_owned().into()),
            span: key.span(),
            name_span: key.span(),
        };
        let read = seed.deserialize(name).map(Some);
        self.value = Some((key, value));
        read
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Rejection> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let value = Reader::of(value, key.span());
        let place = value.place();
        let read = seed.deserialize(value);
        read.map_err(|rejection| place.blame(rejection).under(key.get_ref()))
    }
}

struct Items<'i> {
    items: std::vec::IntoIter<Spanned<DeValue<'i>>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Rejection;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Rejection> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let span = item.span();
        let read = seed.deserialize(Reader::of(item, span.clone()));
        read.map(Some).map_err(|rejection| rejection.or_at(&span))
    }
}

/// What [`AT`] reads: start and end of the value, then the value.
struct SpanThenValue<'i> {
    bounds: std::vec::IntoIter<usize>,
    value: Option<Reader<'i>>,
}

impl<'i> SpanThenValue<'i> {
    fn new(value: Reader<'i>) -> Self {
        Self { bounds: vec![value.span.start, value.span.end].into_iter(), value: Some(value) }
    }
}

impl<'de> de::SeqAccess<'de> for SpanThenValue<'_> {
    type Error = Rejection;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Rejection> {
        match self.bounds.next() {
            Some(bound) => seed.deserialize(bound.into_deserializer()).map(Some),
            None => {
                let Some(value) = self.value.take() else { return Ok(None) };
                let place = value.place();
                seed.deserialize(value).map(Some).map_err(|rejection| place.blame(rejection))
            }
        }
    }
}

struct Tagged<'i> {
    tag: Spanned<DeValue<'i>>,
    rest: Reader<'i>,
}

impl<'i, 'de> de::EnumAccess<'de> for Tagged<'i> {
    type Error = Rejection;
    type Variant = Variant<'i>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Variant<'i>), Rejection> {
        let span = self.tag.span();
        let tag = match self.tag.get_ref() {
            DeValue::String(_) => seed.deserialize(Reader::of(self.tag, span)),
            other => {
                let problem =
                    Problem::WrongValue { found: describe(other), expected: "a string".into() };
                Err(Rejection::new(problem).or_at(&span))
            }
        };
        let tag = tag.map_err(|rejection| rejection.under(CONNECTOR_TAG))?;
        Ok((tag, Variant(self.rest)))
    }
}

struct Variant<'i>(Reader<'i>);

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Rejection;

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Rejection> {
        seed.deserialize(self.0)
    }

    fn unit_variant(self) -> Result<(), Rejection> {
        Err(de::Error::custom("a connector has settings"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Rejection> {
        Err(de::Error::custom("a connector is not a list"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Rejection> {
        de::Deserializer::deserialize_any(self.0, visitor)
    }
}
