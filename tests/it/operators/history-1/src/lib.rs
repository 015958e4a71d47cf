//! Keeps what came for each key, in a state of each kind, and emits how many there were.
//!
//! `history-2` is its next version, which stores all of it in another form.

use tidemill_sdk::{
    Context, Description, ListState, MapState, OpenContext, Operator, Record, Result, ValueState,
};

/// The operator.
#[derive(Debug)]
pub struct History {
    count: ValueState<u32>,
    last: ValueState<String>,
    numbers: ListState<u32>,
    kinds: MapState<String, u32>,
    same: ValueState<u64>,
}

impl Operator for History {
    fn describe() -> Description {
        Description::new("history", "1.0.0")
            .keyed_input("records")
            .output_of::<u64>("counts")
            .value_state::<u32>("count")
            .value_state::<String>("last")
            .list_state::<u32>("numbers")
            .map_state::<String, u32>("kinds")
            .value_state::<u64>("same")
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
        let count = self.count.update(ctx, |count| count.unwrap_or(0) + 1)?;
        self.same.update(ctx, |same| same.unwrap_or(0) + 1)?;
        let value = record.value_str()?.to_owned();
        self.numbers.append(ctx, &count)?;
        let kind = format!("kind {}", count % 3);
        let of_kind = self.kinds.get(ctx, &kind)?.unwrap_or(0);
        self.kinds.put(ctx, &kind, &(of_kind + 1))?;
        self.last.set(ctx, &value)?;
        ctx.emit(&u64::from(count))
    }
}

tidemill_sdk::export!(History);
