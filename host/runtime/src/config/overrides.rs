//! `--set KEY=VALUE`: values from the command line laid over a parsed job file.
//!
//! A value is read as TOML, and as a plain string where it is none: `--set name=demo` needs no
//! quotes. Each override keeps its own place in the [`JobText`], so that errors show the command
//! line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Rejection};
use super::text::{JobText, Span};

/// The overrides with as many blanks in front as they have positions before them, so that the TOML
/// parser itself gives spans that are right in the whole text.
pub(super) struct Overrides {
    sets: Vec<Override>,
}

/// Stands before a value to make it a document. An override has a line end and a key before its
/// value.
const VALUE_KEY: &str = "v=";

struct Override {
    key: String,
    value: String,
    /// Of the whole override.
    span: Span,
    value_span: Span,
}

impl Overrides {
    /// Takes the overrides of `text` apart.
    pub(super) fn of(text: &JobText) -> Result<Self, Rejection> {
        let sets = text.sets().map(|(start, set)| {
            let span = start..start + set.len();
            let bad = |what| Rejection::at(Problem::BadSet(what), &span, &[]);
            let (key, value) = set.split_once('=').ok_or_else(|| bad("there is no `=`"))?;
            if key.trim().is_empty() || key.contains(['\n', '\r', '#']) {
                return Err(bad("the key is a dotted name"));
            }
            let value_start = start + key.len() + 1;
            let trimmed = value.trim();
            let at = value_start + (value.len() - value.trim_start().len());
            Ok(Override {
                key: format!("{:start$}{key} = 0", ""),
                value: format!("{:1$}{VALUE_KEY}{trimmed}", "", at - VALUE_KEY.len()),
                value_span: at..at + trimmed.len(),
                span,
            })
        });
        Ok(Self { sets: sets.collect::<Result<_, _>>()? })
    }

    /// Lays them over `document`, the later ones over the earlier.
    pub(super) fn apply<'i>(&'i self, document: &mut DeTable<'i>) -> Result<(), Rejection> {
        self.sets.iter().try_for_each(|set| {
            let key = DeTable::parse(&set.key).map_err(|_| {
                Rejection::at(Problem::BadSet("the key is a dotted name"), &set.span, &[])
            })?;
            let value = set.as_toml().unwrap_or_else(|| {
                let text = &set.value[set.value_span.start..];
                Spanned::new(set.value_span.clone(), DeValue::String(text.into()))
            });
            replace(document, key.into_inner(), value)
        })
    }
}

impl Override {
    /// The value, if it is TOML and nothing but one value.
    fn as_toml(&self) -> Option<Spanned<DeValue<'_>>> {
        let mut entries = DeTable::parse(&self.value).ok()?.into_inner().into_iter();
        let (_, value) = entries.next()?;
        entries.next().is_none().then_some(value)
    }
}

/// Follows `path`, a table with one entry that leads to the next, and puts `value` at its end.
fn replace<'i>(
    table: &mut DeTable<'i>,
    path: DeTable<'i>,
    value: Spanned<DeValue<'i>>,
) -> Result<(), Rejection> {
    let Some((key, below)) = path.into_iter().next() else { return Ok(()) };
    let span = key.span();
    let DeValue::Table(below) = below.into_inner() else {
        table.remove(&**key.get_ref());
        table.insert(key, value);
        return Ok(());
    };
    let name = key.get_ref().clone().into_owned();
    if !table.contains_key(name.as_str()) {
        table.insert(key, Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    }
    match table.get_mut(name.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(next)) => {
            replace(next, below, value).map_err(|rejection| rejection.under(&name))
        }
        _ => Err(Rejection::at(Problem::SetBelowValue(name), &span, &[])),
    }
}
