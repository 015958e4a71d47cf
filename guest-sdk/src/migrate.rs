//! What an operator's older versions have stored, rewritten for the version of today.
//!
//! Owns the trait, the typed list of migrations, and their part of the shell. Knows nothing of keys: an item is
//! all that a migration sees. Invariant: an answer has an item for each that was given, in the same order.

use std::fmt;

use crate::bindings::exports::tidemill::operator::operator::StateDescription;
use crate::bindings::tidemill::operator::types::{BytesColumn, Failure};
use crate::codec::{Codec, Encode};
use crate::column::{Column, item, items};
use crate::error::{Error, Result};
use crate::operator::{Operator, failure};

/// An operator that can go on with the state of its older versions.
///
/// The items of a state have a form, and the form a number:
/// [`schema_version`](crate::StateOptions::schema_version), 1 unless it is said. Whoever changes the type of a
/// state raises the number and says here how an item of each older form becomes one of today. When a job goes on
/// from a checkpoint of an older version, the host has all of its items rewritten before the job runs, each once;
/// if one of them cannot be, nothing has happened, and the older component can still go on. `tidemill run
/// --dry-run` tries it on the state of a real job.
///
/// A migration sees one item: the value of a value state, an item of a list, the value of a map's entry. Keys,
/// the kind of the state and the time that an item has left to live stay. What it answers may depend on the item
/// alone: of the host only the [log](crate::log) can be used, and the operator is not open.
///
/// ```
/// use tidemill_sdk::{
///     Context, Description, Migrate, Migrations, OpenContext, Operator, Record, Result,
///     StateOptions, ValueState,
/// };
///
/// /// Counts words, and remembers when each came last. Version 1 only counted, in 32 bits.
/// struct WordCount {
///     seen: ValueState<(u64, i64)>,
/// }
///
/// impl Operator for WordCount {
///     fn describe() -> Description {
///         let second = StateOptions::new().schema_version(2);
///         Description::new("word-count", "2.0.0")
///             .keyed_input("words")
///             .output_of::<u64>("counts")
///             .value_state_with::<(u64, i64)>("seen", second)
///     }
///
///     fn open(ctx: &mut OpenContext) -> Result<Self> {
///         Ok(Self { seen: ctx.value_state("seen")? })
///     }
///
///     fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
///         let last = record.timestamp_ms();
///         let (n, _) = self.seen.update(ctx, |seen| (seen.map_or(0, |(n, _)| n) + 1, last))?;
///         ctx.emit(&n)
///     }
/// }
///
/// impl Migrate for WordCount {
///     fn migrations() -> Migrations {
///         Migrations::new().state("seen", 1, |n: u32| Ok((u64::from(n), 0_i64)))
///     }
/// }
///
/// tidemill_sdk::export!(WordCount, migrate);
///
/// # fn main() -> Result<()> {
/// use tidemill_sdk::testing::Harness;
///
/// let mut harness = Harness::<WordCount>::new().stored_value("seen", 1, "tide", &41_u32)?.open()?;
/// harness.send("words", &[("tide", "")])?;
/// assert_eq!(harness.outputs_as::<String, u64>("counts")?, [("tide".into(), 42)]);
/// # Ok(())
/// # }
/// ```
pub trait Migrate: Operator {
    /// How items of older forms become those of today.
    fn migrations() -> Migrations;
}

/// How items of older schema versions become those of today: one step for each state and version that may still be
/// stored somewhere, each to the form of today.
#[derive(Default)]
#[must_use]
pub struct Migrations {
    known: Vec<Migration>,
}

struct Migration {
    state: String,
    version: u32,
    /// Width of the old items.
    width: Option<u32>,
    rewrite: Box<Rewrite>,
}

/// Appends what an old item becomes.
type Rewrite = dyn Fn(&[u8], &mut Column) -> Result<()>;

impl Migrations {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Items of the state of this name that were stored with this schema version are read as `Old`, and stored as
    /// what `rewrite` makes of them.
    ///
    /// `New` must be what the state is described with: a width that is not its own is refused. Any error of
    /// `rewrite` keeps the job from starting; the host says at which key.
    pub fn state<Old: Codec, New: Encode>(
        mut self,
        state: impl Into<String>,
        schema_version: u32,
        rewrite: impl Fn(Old) -> Result<New> + 'static,
    ) -> Self {
        self.known.push(Migration {
            state: state.into(),
            version: schema_version,
            width: Old::WIDTH,
            rewrite: Box::new(move |old, out| out.push(&rewrite(Old::decode(old)?)?)),
        });
        self
    }
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.iter().map(|Migration { state, version, .. }| (state, version));
        f.debug_list().entries(known).finish()
    }
}

/// What the host calls: rewrites a column of old items.
pub(crate) fn migrate<O: Migrate>(
    state: &str,
    version: u32,
    old: &BytesColumn,
) -> Result<BytesColumn, Failure> {
    rewrite::<O>(state, version, old).map(|column| column.raw).map_err(failure)
}

fn rewrite<O: Migrate>(state: &str, version: u32, old: &BytesColumn) -> Result<Column> {
    let description = O::describe().raw;
    let about = description.states.iter().find(|about| about.name == state);
    let about = about.ok_or_else(|| Error::fatal(format!("there is no state `{state}`")))?;
    let migrations = O::migrations();
    let known = migrations.known.iter();
    let migration =
        known.clone().find(|known| known.state == about.name && known.version == version);
    let migration = migration.ok_or_else(|| unknown(about, version, &migrations))?;
    check_width(migration, old)?;
    let mut new = Column::new(about.width);
    for index in 0..items(old, migration.width) {
        (migration.rewrite)(item(old, migration.width, index), &mut new)?;
    }
    Ok(new)
}

#[cold]
fn unknown(about: &StateDescription, version: u32, migrations: &Migrations) -> Error {
    let of_state = migrations.known.iter().filter(|known| known.state == about.name);
    let versions: Vec<_> = of_state.map(|known| known.version.to_string()).collect();
    let versions = if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
    Error::fatal(format!(
        "there is no migration of state `{}` from schema version {version}; there are: {versions}",
        about.name
    ))
}

/// Whether the items are in the layout of the type that they are read as.
fn check_width(
    Migration { state, version, width, .. }: &Migration,
    old: &BytesColumn,
) -> Result<()> {
    let fits = match width {
        Some(width) => old.ends.is_empty() && old.data.len().is_multiple_of(*width as usize),
        None => old.data.is_empty() || !old.ends.is_empty(),
    };
    if fits {
        return Ok(());
    }
    let expected = width.map_or("any length".to_owned(), |width| format!("{width} bytes each"));
    Err(Error::fatal(format!(
        "the items of state `{state}` of schema version {version} are read as items of {expected}, and were \
         described otherwise"
    )))
}
