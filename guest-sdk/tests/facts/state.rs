//! State beyond what the model shows: limits, time, cursors, the places where there is none.

use tidemill_sdk::testing::Harness;
use tidemill_sdk::{
    Aggregate, AggregatingState, Context, Description, OpenContext, Operator, Ordered, Record,
    ReducingState, Result,
};

use crate::script::{Script, open, open_with, processing, values};

#[test]
fn items_beyond_their_limits_are_rejected() {
    let mut harness = processing(|handles, record, ctx| {
        let long = "x".repeat(1024 * 1024 + 1);
        match record.value() {
            b"value" => handles.text.set(ctx, &long),
            b"item" => handles.list.append(ctx, &long),
            b"key" => handles.map.put(ctx, &"x".repeat(4097), &1),
            _ => handles.text.set(ctx, &long[1..].to_owned()),
        }
    });
    let records = [("a", "value"), ("a", "item"), ("a", "key"), ("a", "fits")];
    harness.send("keyed", &records).unwrap();
    assert_eq!(harness.rejected().len(), 3);
    assert_eq!(harness.value::<String>("text", "a").unwrap().map(|text| text.len()), Some(1 << 20));
}

#[test]
fn a_record_that_writes_too_much_is_rejected_and_the_others_leave_in_pieces() {
    let mut harness = processing(|handles, record, ctx| {
        let items = if record.value() == b"many" { 20 } else { 3 };
        (0..items).try_for_each(|n| {
            handles.map.put(ctx, &format!("{n} {}", "x".repeat(1000)), &n)?;
            handles.list.append(ctx, &"x".repeat(1_000_000))
        })
    });
    harness.send("keyed", &[("a", ""), ("b", "many"), ("c", ""), ("a", "")]).unwrap();
    assert_eq!(harness.rejected().len(), 1);
    let sizes = ["a", "b", "c"].map(|key| harness.list::<String>("list", key).unwrap().len());
    assert_eq!(sizes, [6, 0, 3]);
    assert_eq!(harness.map::<String, u64>("map", "a").unwrap().len(), 3);
}

#[test]
fn state_can_be_used_only_with_a_key() {
    let use_of_state: crate::script::Process = |handles, record, ctx| match record.value() {
        b"value" => handles.sum.get(ctx).map(drop),
        b"list" => handles.list.append(ctx, &String::new()),
        _ => handles.map.get(ctx, &String::new()).map(drop),
    };
    for kind in ["value", "list", "map"] {
        let mut harness = processing(use_of_state);
        let failed = harness.send("plain", &[("key", kind)]).unwrap_err();
        assert!(failed.message().contains("only while a record of a keyed input"), "{failed}");
        assert!(failed.is_fatal());
    }
    let mut outside = open(Script {
        batch: Some(|handles, _, ctx| {
            handles.sum.set(ctx.context(), &1)?;
            Ok(Vec::new())
        }),
        ..Script::PASS
    });
    assert!(outside.send("keyed", &[("", "")]).unwrap_err().is_fatal());
}

#[test]
fn items_expire_after_their_time_to_live() {
    let mut harness = processing(|handles, record, ctx| {
        if record.value() == b"set" {
            handles.brief.set(ctx, &1)?;
        }
        let item = handles.brief.get(ctx)?;
        ctx.emit(&format!("{item:?}"))
    });
    harness.send("keyed", &[("a", "set")]).unwrap();
    harness.advance_ms(999);
    harness.send("keyed", &[("a", "")]).unwrap();
    harness.advance_ms(1);
    harness.send("keyed", &[("a", ""), ("b", "")]).unwrap();
    assert_eq!(values(&harness), ["Some(1)", "Some(1)", "None", "None"]);
}

#[test]
fn items_that_are_read_live_on_where_the_state_says_so() {
    let mut harness = processing(|handles, record, ctx| match record.value() {
        b"add" => handles.used.append(ctx, &1),
        _ => {
            let items = handles.used.to_vec(ctx)?.len();
            ctx.emit(&items.to_string())
        }
    });
    harness.send("keyed", &[("a", "add")]).unwrap();
    for _ in 0..3 {
        harness.advance_ms(900);
        harness.send("keyed", &[("a", "read")]).unwrap();
    }
    harness.advance_ms(1000);
    harness.send("keyed", &[("a", "read")]).unwrap();
    assert_eq!(values(&harness), ["1", "1", "1", "0"]);
}

#[test]
fn one_can_emit_and_write_between_two_steps_of_a_cursor() {
    let mut harness = processing(|handles, record, ctx| {
        if record.value() == b"add" {
            handles.list.append(ctx, &"one".into())?;
            handles.list.append(ctx, &"two".into())?;
            return handles.map.put(ctx, &"three".into(), &3);
        }
        let mut items = handles.list.cursor();
        while let Some(item) = items.next(ctx)? {
            ctx.emit(&item)?;
        }
        handles.list.clear(ctx)?;
        let mut entries = handles.map.scan(..)?;
        while let Some((key, _)) = entries.next(ctx)? {
            handles.map.remove(ctx, &key)?;
            ctx.emit(&key)?;
        }
        Ok(())
    });
    harness.send("keyed", &[("a", "add"), ("a", "drain"), ("a", "drain")]).unwrap();
    assert_eq!(values(&harness), ["one", "two", "three"]);
    harness.send("keyed", &[("a", "drain")]).unwrap();
    assert_eq!(harness.outputs("out").len(), 3);
}

#[test]
fn a_list_that_is_taken_is_gone() {
    let mut harness = processing(|handles, record, ctx| {
        if record.value() == b"take" {
            let items = handles.list.take(ctx)?;
            return ctx.emit(&items.concat());
        }
        handles.list.append(ctx, &str::from_utf8(record.value())?.to_owned())
    });
    let records = ["1", "2", "take", "take", "3"].map(|value| ("a", value));
    harness.send("keyed", &records).unwrap();
    harness.send("keyed", &[("a", "take")]).unwrap();
    assert_eq!(values(&harness), ["12", "", "3"]);
}

#[test]
fn guest_memory_does_not_last_unless_the_test_says_so() {
    let script = Script {
        process: |handles, _, ctx| ctx.emit(&handles.calls.get().to_string()),
        ..Script::PASS
    };
    let mut dropped = open_with(script, |harness| harness.batch_size(1));
    dropped.send_unkeyed("plain", &[""; 3]).unwrap();
    assert_eq!(values(&dropped), ["1", "1", "1"]);
    let mut kept = open_with(script, |harness| harness.batch_size(1).keep_instance());
    kept.send_unkeyed("plain", &[""; 3]).unwrap();
    assert_eq!(values(&kept), ["1", "2", "3"]);
}

struct Mean;

impl Aggregate for Mean {
    type Input = u64;
    type Accumulator = (u64, u64);
    type Output = u64;

    fn create() -> (u64, u64) {
        (0, 0)
    }

    fn add((sum, count): (u64, u64), value: u64) -> (u64, u64) {
        (sum + value, count + 1)
    }

    fn result((sum, count): &(u64, u64)) -> u64 {
        sum / count
    }
}

struct Folding {
    highest: ReducingState<u64>,
    mean: AggregatingState<Mean>,
    byday: tidemill_sdk::MapState<Ordered<i32>, u64>,
}

impl Operator for Folding {
    fn describe() -> Description {
        Description::new("folding", "1")
            .keyed_input_of::<u64>("numbers")
            .output_of::<(u64, u64)>("folded")
            .value_state::<u64>("highest")
            .value_state::<(u64, u64)>("mean")
            .map_state::<Ordered<i32>, u64>("by-day")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self {
            highest: ctx.reducing_state("highest", u64::max)?,
            mean: ctx.aggregating_state("mean")?,
            byday: ctx.map_state("by-day")?,
        })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let number = record.value_as::<u64>()?;
        self.byday.put(ctx, &Ordered(-(number as i32)), &number)?;
        let highest = self.highest.add(ctx, number)?;
        let mean = self.mean.add(ctx, number)?;
        assert_eq!((Some(highest), Some(mean)), (self.highest.get(ctx)?, self.mean.get(ctx)?));
        ctx.emit(&(highest, mean))
    }
}

#[test]
fn values_are_reduced_and_aggregated_and_ordered_keys_sort_as_numbers() {
    let mut harness = Harness::<Folding>::new().batch_size(2).open().unwrap();
    let numbers = [2_u64, 300, 1].map(|number| ("a", number.to_le_bytes()));
    harness.send("numbers", &numbers).unwrap();
    let folded = harness.outputs_as::<String, (u64, u64)>("folded").unwrap();
    assert_eq!(folded.map_values(), [(2, 2), (300, 151), (300, 101)]);
    let entries = harness.map::<Ordered<i32>, u64>("by-day", "a").unwrap();
    assert_eq!(entries.map_values(), [300, 2, 1]);
}

trait MapValues<V> {
    fn map_values(self) -> Vec<V>;
}

impl<K, V> MapValues<V> for Vec<(K, V)> {
    fn map_values(self) -> Vec<V> {
        self.into_iter().map(|(_, value)| value).collect()
    }
}
