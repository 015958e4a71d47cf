//! Operators that go on with the state of their older versions.

use tidemill_sdk::testing::Harness;
use tidemill_sdk::{
    Context, Description, Error, ListState, MapState, Migrate, Migrations, OpenContext, Operator,
    Record, Result, StateOptions, ValueState, log,
};

/// Keeps a sum, the records and the last record of each kind; version 3.
struct Third {
    sum: ValueState<u64>,
    all: ListState<String>,
    kinds: MapState<String, (u32, u32)>,
}

impl Operator for Third {
    fn describe() -> Description {
        let third = StateOptions::new().schema_version(3);
        Description::new("third", "3")
            .keyed_input("in")
            .output_of::<u64>("out")
            .value_state_with::<u64>("sum", third)
            .list_state_with::<String>("all", third)
            .map_state_with::<String, (u32, u32)>("kinds", third)
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        let (sum, all) = (ctx.value_state("sum")?, ctx.list_state("all")?);
        Ok(Self { sum, all, kinds: ctx.map_state("kinds")? })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let sum = self.sum.update(ctx, |sum| sum.unwrap_or(0) + 1)?;
        self.all.append(ctx, &record.value_str()?.to_owned())?;
        self.kinds.put(ctx, &"new".to_owned(), &(1, 1))?;
        ctx.emit(&sum)
    }
}

impl Migrate for Third {
    fn migrations() -> Migrations {
        Migrations::new()
            .state("sum", 1, |text: String| Ok(text.parse::<u64>()?))
            .state("sum", 2, |sum: u32| Ok(u64::from(sum)))
            .state("all", 2, |number: u16| {
                log::write(log::Level::Info, "an old number", &[("number", &number)]);
                Ok(number.to_string())
            })
            .state("kinds", 1, |n: u32| {
                if n == 0 { Err(Error::fatal("no kind is empty")) } else { Ok((n, n + 1)) }
            })
    }
}

fn new() -> Harness<Third> {
    Harness::new()
}

#[test]
fn every_older_version_becomes_that_of_today() {
    let harness = new().stored_value("sum", 1, "a", "41").unwrap();
    let harness = harness.stored_value("sum", 2, "b", &7_u32).unwrap();
    let harness = harness.stored_list("all", 2, "a", &[1_u16, 2]).unwrap();
    let entries = [("x".to_owned(), 5_u32), ("y".to_owned(), 6)];
    let mut harness = harness.stored_map("kinds", 1, "a", &entries).unwrap().open().unwrap();
    assert_eq!(harness.logs().len(), 2);
    harness.send("in", &[("a", "v"), ("b", "w")]).unwrap();
    let sums = harness.outputs_as::<String, u64>("out").unwrap();
    assert_eq!(sums, [("a".into(), 42), ("b".into(), 8)]);
    assert_eq!(harness.list::<String>("all", "a").unwrap(), ["1", "2", "v"]);
    let kinds = harness.map::<String, (u32, u32)>("kinds", "a").unwrap();
    assert_eq!(kinds, [("new".into(), (1, 1)), ("x".into(), (5, 6)), ("y".into(), (6, 7))]);
}

#[track_caller]
fn is_refused(harness: Result<Harness<Third>>, says: &str) {
    let refused = harness.unwrap_err();
    assert!(refused.is_fatal(), "there is no record to blame");
    assert!(refused.message().contains(says), "{refused}");
}

#[test]
fn an_item_that_cannot_be_migrated_is_refused() {
    is_refused(new().stored_value("sum", 1, "a", "many"), "invalid digit");
    is_refused(new().stored_map("kinds", 1, "a", &[(1_u16, 0_u32)]), "no kind is empty");
}

#[test]
fn items_of_another_width_than_their_type_are_refused() {
    is_refused(new().stored_value("sum", 2, "a", "text"), "read as items of 4 bytes each");
    is_refused(new().stored_value("sum", 1, "a", &7_u32), "read as items of any length");
}

#[test]
fn versions_without_a_migration_are_named() {
    let says = "no migration of state `kinds` from schema version 2; there are: 1";
    is_refused(new().stored_map("kinds", 2, "a", &[(1_u16, 0_u32)]), says);
    is_refused(new().stored_value("sum", 3, "a", &7_u64), "of older ones only");
}
