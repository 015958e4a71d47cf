//! The next version of `history-1`: what it keeps has another form, but `same`.
//!
//! A value in `last` that names a rule of the host has its migration break it.

use std::hint::black_box;

use tidemill_sdk::{
    Context, Description, Error, ListState, MapState, Migrate, Migrations, OpenContext, Operator,
    Record, Result, StateOptions, ValueState,
};

const MIB: usize = 1024 * 1024;

/// The operator.
#[derive(Debug)]
pub struct History {
    /// The count, and its square.
    count: ValueState<(u64, u64)>,
    last: ValueState<String>,
    numbers: ListState<String>,
    kinds: MapState<String, u64>,
    same: ValueState<u64>,
}

impl Operator for History {
    fn describe() -> Description {
        let second = StateOptions::new().schema_version(2);
        Description::new("history", "2.0.0")
            .keyed_input("records")
            .output_of::<u64>("counts")
            // In another order.
            .map_state_with::<String, u64>("kinds", second)
            .value_state_with::<(u64, u64)>("count", second)
            .list_state_with::<String>("numbers", second)
            .value_state::<u64>("same")
            .value_state_with::<String>("last", second)
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self {
            count: ctx.value_state("count")?,
            last: ctx.value_state("last")?,
            numbers: ctx.list_state("numbers")?,
            kinds: ctx.map_state("kinds")?,
            same: ctx.value_state("same")?,
        })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let next = |old: Option<(u64, u64)>| {
            let count = old.map_or(0, |(count, _)| count) + 1;
            (count, count * count)
        };
        let (count, _) = self.count.update(ctx, next)?;
        self.same.update(ctx, |same| same.unwrap_or(0) + 1)?;
        let value = record.value_str()?.to_owned();
        self.numbers.append(ctx, &count.to_string())?;
        let kind = format!("kind {}", count % 3);
        let of_kind = self.kinds.get(ctx, &kind)?.unwrap_or(0);
        self.kinds.put(ctx, &kind, &(of_kind + 1))?;
        self.last.set(ctx, &format!("last was {value}"))?;
        ctx.emit(&count)
    }
}

impl Migrate for History {
    fn migrations() -> Migrations {
        Migrations::new()
            .state("count", 1, |count: u32| {
                let count = u64::from(count);
                Ok((count, count * count))
            })
            .state("last", 1, last)
            .state("numbers", 1, |number: u32| Ok(number.to_string()))
            .state("kinds", 1, |of_kind: u32| Ok(u64::from(of_kind)))
    }
}

fn last(value: String) -> Result<String> {
    let rules = ["panic", "loop", "refuse", "memory", "long"];
    match rules.into_iter().find(|rule| value.contains(rule)) {
        Some("panic") => panic!("this was never written"),
        Some("loop") => loop {
            black_box(&value);
        },
        Some("refuse") => Err(Error::fatal("nobody can read this")),
        Some("memory") => Ok(use_up_memory().len().to_string()),
        Some(_) => Ok("x".repeat(2 * MIB)),
        None => Ok(format!("last was {value}")),
    }
}

fn use_up_memory() -> Vec<Vec<u8>> {
    (0..).map(|n: usize| vec![n as u8; MIB]).take_while(|block| !block.is_empty()).collect()
}

tidemill_sdk::export!(History, migrate);
