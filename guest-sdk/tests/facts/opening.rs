//! What an operator finds when it opens, and what it is refused.

use tidemill_sdk::testing::Harness;
use tidemill_sdk::{Context, Description, OpenContext, Operator, Record, Result};

use std::cell::Cell;

type Open = fn(&mut OpenContext) -> Result<()>;

thread_local! {
    static OPEN: Cell<Open> = const { Cell::new(|_| Ok(())) };
}

struct Opening;

impl Operator for Opening {
    fn describe() -> Description {
        Description::new("opening", "1")
            .input("in")
            .output("out")
            .value_state::<u64>("sum")
            .list_state::<String>("items")
            .counter("seen", "records", "")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        OPEN.get()(ctx).map(|()| Self)
    }

    fn process(&mut self, _record: Record<'_>, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

#[track_caller]
fn refused(open: Open, message: &str) {
    OPEN.set(open);
    let refused = Harness::<Opening>::new().config("n", "x").open().unwrap_err();
    assert!(refused.is_fatal());
    assert_eq!(refused.message(), message);
}

#[test]
fn an_operator_knows_its_place() {
    OPEN.set(|ctx| {
        assert_eq!((ctx.tenant(), ctx.job(), ctx.operator_id()), ("tenant", "job", "opening"));
        assert_eq!((ctx.task(), ctx.parallelism(), ctx.incarnation()), (1, 3, 0));
        Ok(())
    });
    Harness::<Opening>::new().task(1, 3).open().unwrap();
}

#[test]
fn configuration_is_text_number_or_choice() {
    OPEN.set(|ctx| {
        assert_eq!(
            (ctx.config("n"), ctx.required("n")?, ctx.config("m")),
            (Some("12"), "12", None)
        );
        assert_eq!((ctx.config_as::<u8>("n")?, ctx.config_as::<u8>("m")?), (Some(12), None));
        assert_eq!((ctx.config_or("n", 1_u8)?, ctx.config_or("m", 1_u8)?), (12, 1));
        assert_eq!(ctx.choice("m", &[("first", 1), ("second", 2)])?, 1);
        assert_eq!(ctx.choice("n", &[("11", 1), ("12", 2)])?, 2);
        Ok(())
    });
    Harness::<Opening>::new().config("n", "12").open().unwrap();
}

#[test]
fn missing_and_malformed_configuration_is_refused() {
    refused(|ctx| ctx.required("path").map(drop), "config value `path` is missing");
    refused(
        |ctx| ctx.config_as::<u8>("n").map(drop),
        "config value `n` = `x` is no u8: invalid digit found in string",
    );
    refused(
        |ctx| ctx.choice("n", &[("a", ()), ("b", ())]),
        "config value `n` = `x` is none of `a`, `b`",
    );
}

#[test]
fn names_that_were_not_described_are_refused() {
    refused(
        |ctx| ctx.output("counts").map(drop),
        "no output `counts` in the description, which has `out`",
    );
    refused(
        |ctx| ctx.value_state::<u64>("total").map(drop),
        "no state `total` in the description, which has `sum`, `items`",
    );
    refused(
        |ctx| ctx.gauge("level").map(drop),
        "no metric `level` in the description, which has `seen`",
    );
}

#[test]
fn states_and_metrics_of_another_kind_or_width_are_refused() {
    refused(
        |ctx| ctx.list_state::<u64>("sum").map(drop),
        "state `sum` is described as a value state, not as a list state",
    );
    refused(
        |ctx| ctx.value_state::<u32>("sum").map(drop),
        "state `sum` is described with items of 8 bytes, and used with items of 4 bytes",
    );
    refused(
        |ctx| ctx.list_state::<u64>("items").map(drop),
        "state `items` is described with items of any length, and used with items of 8 bytes",
    );
    refused(
        |ctx| ctx.gauge("seen").map(drop),
        "metric `seen` is described as a counter, not as a gauge",
    );
}

struct Twice;

impl Operator for Twice {
    fn describe() -> Description {
        Description::new("twice", "1").output("out").output("out")
    }

    fn open(_ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, _record: Record<'_>, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_name_that_is_described_twice_is_refused() {
    let refused = Harness::<Twice>::new().open().map(drop).unwrap_err();
    assert_eq!(refused.message(), "the description has two of output `out`");
}
