//! The values that settings hold: sizes, durations, whole numbers, and where each was written.
//!
//! Knows nothing of particular settings. Bounds are checked where the setting is known.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

use super::reader::AT;
use super::text::Span;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(AT, AtVisitor(PhantomData))
    }
}

struct AtVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtVisitor<T> {
    type Value = At<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<At<T>, A::Error> {
        let missing = || de::Error::custom("only the job file's own reader knows places");
        let start = parts.next_element()?.ok_or_else(missing)?;
        let end = parts.next_element()?.ok_or_else(missing)?;
        let value = parts.next_element()?.ok_or_else(missing)?;
        Ok(At { value, span: start..end })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Duration);

/// A whole number, not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole(pub(super) u64);

/// A number that need not be whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio(pub(super) f64);

/// A configuration value of an operator; operators see text only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigText(pub(super) String);

const SIZE: &str = "a size such as \"64MiB\" (a whole number, under 16 EiB), or a number of bytes";
const TIME: &str = "a duration such as \"500ms\" or \"1h\", or a number of milliseconds";
const WHOLE: &str = "a whole number, 0 or more";
const RATIO: &str = "a number";
const CONFIG_TEXT: &str = "a string, a number or a boolean";

const SIZE_UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

fn parse_size(text: &str) -> Option<u64> {
    let (number, factor) =
        SIZE_UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    number.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

/// A size as people write it, in the largest unit that leaves it whole.
pub(crate) fn format_size(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*factor);
    match SIZE_UNITS[..4].iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A duration as people write it.
pub(crate) fn format_duration_us(microseconds: u64) -> String {
    Time(Duration::from_micros(microseconds)).to_string()
}

impl Size {
    fn from_text(text: &str) -> Option<Self> {
        parse_size(text.trim()).map(Self)
    }
}

impl Time {
    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text.trim()).ok().map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_size(self.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a scalar from a bare number or from text, whichever of the two it has.
struct ScalarVisitor<T> {
    expecting: &'static str,
    of_number: fn(u64) -> Option<T>,
    of_text: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let read = u64::try_from(number).ok().and_then(self.of_number);
        read.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.of_number)(number)
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.of_text)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor {
            expecting: SIZE,
            of_number: |bytes| Some(Self(bytes)),
            of_text: Self::from_text,
        })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor {
            expecting: TIME,
            of_number: |milliseconds| Some(Self(Duration::from_millis(milliseconds))),
            of_text: Self::from_text,
        })
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor {
            expecting: WHOLE,
            of_number: |number| Some(Self(number)),
            of_text: |_| None,
        })
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RatioVisitor)
    }
}

struct RatioVisitor;

impl Visitor<'_> for RatioVisitor {
    type Value = Ratio;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RATIO)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Ratio, E> {
        Ok(Ratio(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Ratio, E> {
        Ok(Ratio(number))
    }
}

impl<'de> Deserialize<'de> for ConfigText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConfigTextVisitor)
    }
}

struct ConfigTextVisitor;

impl Visitor<'_> for ConfigTextVisitor {
    type Value = ConfigText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CONFIG_TEXT)
    }

    fn visit_str<E>(self, text: &str) -> Result<ConfigText, E> {
        Ok(ConfigText(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<ConfigText, E> {
        Ok(ConfigText(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<ConfigText, E> {
        Ok(ConfigText(number.to_string()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<ConfigText, E> {
        Ok(ConfigText(value.to_string()))
    }
}

macro_rules! scalar_schema {
    ($type:ident, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

scalar_schema!(Size, {
    "description": "A size such as \"64MiB\" (B, KiB, MiB, GiB, TiB, kB, MB, GB), or a number of \
    bytes.",
    "type": ["string", "integer"],
    "pattern": "^\\s*[0-9]+\\s*(B|[KMGT]iB|kB|MB|GB)\\s*$",
    "minimum": 0
});
scalar_schema!(Time, {
    "description": "A duration such as \"500ms\", \"10s\" or \"1h 30m\", or a number of \
    milliseconds.",
    "type": ["string", "integer"],
    "minimum": 0
});
scalar_schema!(Whole, { "description": "A whole number.", "type": "integer", "minimum": 0 });
scalar_schema!(Ratio, { "description": "A number.", "type": "number" });
scalar_schema!(ConfigText, {
    "description": "A configuration value; the operator receives it as text.",
    "type": ["string", "integer", "number", "boolean"]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_binary_or_decimal_units() {
        let bytes = |text| Size::from_text(text).map(|size| size.0);
        assert_eq!(bytes("64MiB"), Some(64 << 20));
        assert_eq!(bytes(" 256 KiB "), Some(256 << 10));
        assert_eq!(bytes("3kB"), Some(3000));
        assert_eq!(bytes("7B"), Some(7));
        for bad in ["64", "MiB", "1.5GiB", "-1B", "64mib", "99999999999TiB", ""] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_size_is_shown_in_the_unit_that_leaves_it_whole() {
        assert_eq!(format_size(64 << 20), "64MiB");
        assert_eq!(format_size(1536), "1536B");
        assert_eq!(format_size(0), "0B");
    }

    #[test]
    fn durations_carry_units() {
        let time = |text| Time::from_text(text).map(|time| time.0);
        assert_eq!(time("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(time("100us"), Some(Duration::from_micros(100)));
        assert_eq!(time("1h 30m"), Some(Duration::from_secs(5400)));
        assert_eq!(time("500"), None);
        assert_eq!(time("soon"), None);
    }
}
