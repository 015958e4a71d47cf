//! Records in and out.

use tidemill_sdk::{Column, Error, Output, OutputColumns, OutputKeys};

use crate::script::{Script, open, open_with, processing, texts, values};

fn reasons(harness: &tidemill_sdk::testing::Harness<crate::script::Scripted>) -> Vec<&str> {
    harness.rejected().iter().map(|record| record.reason.as_str()).collect()
}

#[test]
fn an_error_leaves_no_trace_of_the_record() {
    let mut harness = processing(|handles, record, ctx| {
        handles.text.set(ctx, &"text".into())?;
        handles.sum.update(ctx, |sum| sum.unwrap_or(0) + 1)?;
        handles.list.append(ctx, &"item".into())?;
        handles.map.put(ctx, &"key".into(), &1)?;
        ctx.emit(record.value())?;
        ctx.emit_keyed("other", record.value())?;
        ctx.emit_unkeyed(record.value())?;
        ctx.to(handles.numbers).emit(&7_u64)?;
        if record.value() == b"bad" { Err(Error::bad_record("as told")) } else { Ok(()) }
    });
    harness.send("keyed", &[("a", "bad"), ("b", "good"), ("b", "bad")]).unwrap();
    assert_eq!(values(&harness), ["good"; 3]);
    assert_eq!(harness.outputs("numbers").len(), 1);
    assert_eq!(reasons(&harness), ["as told"; 2]);
    for (key, sum, items) in [("a", None, 0), ("b", Some(1), 1)] {
        assert_eq!(harness.value::<u64>("sum", key).unwrap(), sum);
        assert_eq!(harness.value::<String>("text", key).unwrap().is_some(), sum.is_some());
        assert_eq!(harness.list::<String>("list", key).unwrap().len(), items);
        assert_eq!(harness.map::<String, u64>("map", key).unwrap().len(), items);
    }
}

#[test]
fn a_fatal_error_leaves_no_trace_of_the_call() {
    let mut harness = processing(|handles, record, ctx| {
        handles.sum.update(ctx, |sum| sum.unwrap_or(0) + 1)?;
        ctx.emit(record.value())?;
        if record.value() == b"end" { Err(Error::fatal("the end")) } else { Ok(()) }
    });
    harness.send("keyed", &[("a", "1")]).unwrap();
    let failed = harness.send("keyed", &[("a", "2"), ("a", "end"), ("a", "3")]).unwrap_err();
    assert_eq!((failed.is_fatal(), failed.message()), (true, "the end"));
    assert_eq!(values(&harness), ["1"]);
    assert_eq!(harness.value::<u64>("sum", "a").unwrap(), Some(1));
    harness.send("keyed", &[("a", "4")]).unwrap();
    assert_eq!(harness.value::<u64>("sum", "a").unwrap(), Some(2));
}

#[test]
fn records_of_an_output_keep_their_order_whatever_their_keys() {
    let mut harness = processing(|_, record, ctx| {
        ctx.emit("1")?;
        ctx.emit_keyed("new", "2")?;
        ctx.emit_keyed(record.key(), "3")?;
        ctx.emit_unkeyed("4")?;
        ctx.emit_keyed("new", "5")
    });
    harness.send("keyed", &[("a", ""), ("b", "")]).unwrap();
    let of = |key: &str| {
        [(key, "1"), ("new", "2"), (key, "3"), ("", "4"), ("new", "5")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    assert_eq!(texts(&harness), [of("a"), of("b")].concat());
    assert_eq!(harness.emitted("out")[3].key, None);
}

#[test]
fn a_batch_costs_one_read_one_write_and_one_emit() {
    let mut harness = processing(|handles, record, ctx| {
        let sum = handles.sum.update(ctx, |sum| sum.unwrap_or(0) + 1)?;
        ctx.to(handles.numbers).emit_keyed(record.key(), &sum)?;
        handles.seen.increment(ctx);
        Ok(())
    });
    let records: Vec<_> = (0..200).map(|n| (format!("k{}", n % 9), "")).collect();
    harness.send("keyed", &records).unwrap();
    assert_eq!(harness.host_calls(), 4);
    assert_eq!(harness.metric("seen"), 200.0);
}

#[test]
fn large_outputs_leave_in_pieces_and_in_order() {
    let mut harness = processing(|_, record, ctx| {
        for n in 0..30_u32 {
            ctx.emit_keyed(&n.to_be_bytes(), &vec![record.value()[0]; 40_000])?;
        }
        if record.value() == b"x" { Err(Error::bad_record("x")) } else { Ok(()) }
    });
    harness.send("keyed", &[("", "a"), ("", "x"), ("", "b"), ("", "x")]).unwrap();
    let outputs = harness.outputs("out");
    assert_eq!(outputs.len(), 60);
    for (index, (key, value)) in outputs.iter().enumerate() {
        assert_eq!(key, &(index as u32 % 30).to_be_bytes());
        assert_eq!(value, &vec![if index < 30 { b'a' } else { b'b' }; 40_000]);
    }
}

#[test]
fn many_small_records_leave_in_pieces_and_in_order() {
    let mut harness = processing(|handles, _, ctx| {
        (0..5000_u64).try_for_each(|n| ctx.to(handles.numbers).emit(&n))
    });
    harness.send("keyed", &[("a", ""); 7]).unwrap();
    let outputs = harness.outputs_as::<String, u64>("numbers").unwrap();
    let expected: Vec<_> = (0..35_000).map(|n| ("a".to_owned(), n % 5000)).collect();
    assert_eq!(outputs, expected);
}

#[test]
fn a_record_that_is_taken_back_leaves_full_columns_as_they_were() {
    let mut harness = processing(|handles, record, ctx| {
        let (count, at_ms) = match record.value() {
            b"early" => (5000_u64, 0),
            b"late" => (4000, 9),
            _ => (9000, 7),
        };
        (0..count).try_for_each(|n| ctx.to(handles.numbers).at_ms(at_ms).emit(&n))?;
        if record.value() == b"bad" { Err(Error::bad_record("bad")) } else { Ok(()) }
    });
    let records = [("a", "early"), ("a", "bad"), ("b", "late"), ("a", "bad"), ("a", "early")];
    harness.send("keyed", &records).unwrap();
    let kept = [("a", 5000, 0), ("b", 4000, 9), ("a", 5000, 0)];
    let expected = kept.iter().flat_map(|(key, count, at_ms)| {
        (0..*count).map(move |n: u64| (key.as_bytes(), n.to_le_bytes(), *at_ms))
    });
    let emitted = harness.emitted("numbers");
    assert_eq!(emitted.len(), 14_000);
    for (record, (key, value, at_ms)) in emitted.iter().zip(expected) {
        assert_eq!((record.key.as_deref(), &*record.value), (Some(key), &value[..]));
        assert_eq!(record.timestamp_ms, at_ms);
    }
}

#[test]
fn a_record_that_emits_more_than_a_call_may_is_rejected_alone() {
    let mut harness = processing(|_, record, ctx| match record.value() {
        b"bytes" => (0..20).try_for_each(|_| ctx.emit(&vec![0_u8; 1_000_000])),
        b"records" => (0..1_100_000).try_for_each(|_| ctx.emit(&())),
        value => ctx.emit(value),
    });
    let records = [("a", "1"), ("a", "bytes"), ("a", "2"), ("a", "records"), ("a", "3")];
    harness.send("keyed", &records).unwrap();
    assert_eq!(values(&harness), ["1", "2", "3"]);
    assert_eq!(reasons(&harness).len(), 2);
}

#[test]
fn a_batch_that_emits_more_than_a_call_may_is_halved() {
    let mut harness = processing(|_, _, ctx| ctx.emit(&vec![0_u8; 1_000_000]));
    harness.send_unkeyed("plain", &[""; 50]).unwrap();
    assert_eq!(harness.emitted("out").len(), 50);
    assert!(harness.rejected().is_empty());
}

#[test]
fn keys_and_values_beyond_their_limits_are_rejected() {
    let mut harness = processing(|_, record, ctx| match record.value() {
        b"key" => ctx.emit_keyed(&[0_u8; 4097], &()),
        b"value" => ctx.emit(&vec![0_u8; 1024 * 1024 + 1]),
        _ => ctx.emit_keyed(&[0_u8; 4096], &vec![0_u8; 1024 * 1024]),
    });
    harness.send("keyed", &[("a", "key"), ("a", "value"), ("a", "")]).unwrap();
    assert_eq!(
        reasons(&harness),
        [
            "a key of 4097 bytes; at most 4096 are allowed",
            "a value of 1048577 bytes; at most 1048576 are allowed"
        ]
    );
    assert_eq!(harness.emitted("out").len(), 1);
}

#[test]
fn an_error_that_is_swallowed_leaves_the_columns_whole() {
    let mut harness = processing(|handles, record, ctx| {
        assert!(ctx.emit_keyed(&[0_u8; 5000], "lost").is_err());
        assert!(ctx.emit(&vec![0_u8; 2_000_000]).is_err());
        assert!(handles.text.set(ctx, &"x".repeat(2_000_000)).is_err());
        assert!(handles.list.append(ctx, &"x".repeat(2_000_000)).is_err());
        handles.list.append(ctx, &"item".into())?;
        ctx.emit(record.value())
    });
    harness.send("keyed", &[("a", "1"), ("b", "2")]).unwrap();
    assert_eq!(values(&harness), ["1", "2"]);
    assert_eq!(harness.list::<String>("list", "a").unwrap(), ["item"]);
    assert_eq!(harness.value::<String>("text", "a").unwrap(), None);
}

#[test]
fn event_time_is_inherited_unless_it_is_set() {
    let mut harness = processing(|_, record, ctx| {
        ctx.emit("same")?;
        ctx.to(Output::FIRST).at_ms(record.timestamp_ms() + 5).emit("later")
    });
    harness.send_at("keyed", &[("a", "", 0), ("a", "", 70), ("b", "", -3)]).unwrap();
    let times: Vec<_> = harness.emitted("out").iter().map(|record| record.timestamp_ms).collect();
    assert_eq!(times, [0, 5, 70, 75, -3, 2]);
}

#[test]
fn a_value_of_another_width_than_described_is_fatal() {
    let mut harness = processing(|handles, _, ctx| ctx.to(handles.numbers).emit("seven"));
    let failed = harness.send("keyed", &[("a", "")]).unwrap_err();
    assert_eq!(failed.message(), "the description says 8 bytes, the value has 5");
}

#[test]
fn records_without_keys_emit_without_keys() {
    let mut harness = open(Script::PASS);
    harness.send_unkeyed("plain", &["1", "2"]).unwrap();
    assert!(harness.emitted("out").iter().all(|record| record.key.is_none()));
    harness.send("plain", &[("k", "3"), ("l", "4")]).unwrap();
    assert_eq!(harness.emitted("out")[3].key.as_deref(), Some(b"l".as_slice()));
    assert!(harness.send_unkeyed("keyed", &[""]).unwrap_err().is_fatal());
}

#[test]
fn records_tell_their_input() {
    let mut harness = processing(|handles, record, ctx| {
        ctx.emit(if record.input() == handles.plain { "plain" } else { "keyed" })
    });
    harness.send("keyed", &[("", "")]).unwrap();
    harness.send("plain", &[("", "")]).unwrap();
    assert_eq!(values(&harness), ["keyed", "plain"]);
}

#[test]
fn columns_can_be_processed_as_a_whole() {
    let mut harness = open(Script {
        batch: Some(|handles, batch, ctx| {
            let mut sums = ctx.value_column(&handles.sum);
            let mut values = Column::new(Some(8));
            let mut slots = Vec::new();
            for (amount, record) in batch.values_of::<u64>()?.zip(batch.records()) {
                let slot = record.slot().expect("a keyed input");
                let sum = sums.get(slot)?.unwrap_or(0) + amount;
                sums.set(slot, &sum)?;
                values.push(&sum)?;
                slots.push(slot);
            }
            let keys = OutputKeys::Slots(slots);
            let columns = OutputColumns { keys, values, timestamps_ms: Vec::new() };
            ctx.emit_columns(handles.numbers, columns)?;
            Ok(Vec::new())
        }),
        ..Script::PASS
    });
    let amounts = [("a", 1_u64), ("b", 2), ("a", 3)];
    harness.send("amounts", &amounts.map(|(key, amount)| (key, amount.to_le_bytes()))).unwrap();
    let sums = harness.outputs_as::<String, u64>("numbers").unwrap();
    assert_eq!(sums, [("a".into(), 1), ("b".into(), 2), ("a".into(), 4)]);
    assert_eq!(harness.value("sum", "a").unwrap(), Some(4_u64));
}

#[test]
fn what_remains_can_be_emitted_at_the_end() {
    let mut harness = open(Script { close: |ctx| ctx.emit_keyed("end", "last"), ..Script::PASS });
    harness.close().unwrap();
    assert_eq!(texts(&harness), [("end".into(), "last".into())]);
}

#[test]
fn chance_and_time_are_those_of_the_call() {
    let run = |seed| {
        let script = Script {
            process: |_, _, ctx| {
                let (now_ms, random) = (ctx.now_ms(), ctx.random(4));
                ctx.emit(&format!("{now_ms} {random:?}"))
            },
            ..Script::PASS
        };
        let mut harness = open_with(script, |harness| harness.seed(seed).starts_at_ms(100));
        harness.send_unkeyed("plain", &[""; 2]).unwrap();
        harness.advance_ms(20);
        harness.send_unkeyed("plain", &[""; 1]).unwrap();
        values(&harness)
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
    assert!(first[0] != first[1] && first[1].starts_with("100 ") && first[2].starts_with("120 "));
}

#[test]
fn metrics_and_logs_of_bad_records_stay() {
    let mut harness = processing(|handles, record, ctx| {
        handles.seen.add(ctx, 2.0);
        handles.level.set(ctx, record.timestamp_ms() as f64);
        handles.sizes.record(ctx, record.value().len() as f64);
        let size = record.value().len();
        tidemill_sdk::warn!(size, at = record.timestamp_ms(); "record {}", record.index());
        Err(Error::bad_record("all are"))
    });
    harness.send_at("plain", &[("", "four", 4), ("", "seventeen", 17)]).unwrap();
    assert_eq!((harness.metric("seen"), harness.metric("level")), (4.0, 17.0));
    assert_eq!(harness.observations("sizes"), [4.0, 9.0]);
    let line = &harness.logs()[1];
    assert_eq!(line.message, "record 1");
    assert_eq!(line.fields, [("size".into(), "9".into()), ("at".into(), "17".into())]);
}
