//! Calls that fail: which record is found, what the others come to, and what the job is told.

mod bench;

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::TaskStart;
use crate::failure::{Failure, FaultCode, GuestFault};
use crate::operator::SAVED_BYTES_MAX;
use crate::poison::{OnPoison, PoisonCause, PoisonError};
use bench::{KEYED, Kills, Script, UNKEYED, bench, bench_from, has};

#[test]
fn a_trap_that_does_not_come_again_blames_nobody() {
    let mut bench = bench(Script::killing(|r, before| {
        (before == 1 && !r.is_empty()).then_some(FaultCode::Trap)
    }));
    bench.run(KEYED, &[1]).unwrap();
    bench.run(KEYED, &[2, 3, 4]).unwrap();
    assert_eq!((bench.out.clone(), bench.state()), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
    assert_eq!(bench.counts(), [1, 0, 0, 2]);
    let calls = bench.script.calls.lock().unwrap();
    let (failed, again) = (&calls[1], &calls[2]);
    assert_eq!((&failed.records, failed.clock_ms), (&again.records, again.clock_ms));
    assert_eq!(failed.chance, again.chance);
    assert_ne!((failed.instance, &failed.chance), (again.instance, &calls[0].chance));
}

#[test]
fn a_record_that_always_traps_is_found_and_the_others_have_one_effect() {
    let mut bench = bench(Script::killing(|r, _| has(r, 5).then_some(FaultCode::Trap)));
    bench.run(KEYED, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let others = [0, 1, 2, 3, 4, 6, 7];
    assert_eq!((bench.out.clone(), bench.state()), (others.to_vec(), others.to_vec()));
    assert_eq!(bench.letters.len(), 1);
    let expected = r#"{"operator":"op","lane":3,"clock_ms":1001,"code":"TRAP","error":"as the script says","key":"k\u0001","value":"\u0005","timestamp_ms":0}"#;
    assert_eq!(bench.letters[0], expected);
    let expected: [&[u8]; 8] = [
        &[0, 1, 2, 3, 4, 5, 6, 7],
        &[0, 1, 2, 3, 4, 5, 6, 7],
        &[0, 1, 2, 3],
        &[4, 5, 6, 7],
        &[4, 5],
        &[4],
        &[5],
        &[5],
    ];
    assert_eq!(bench.calls()[..8], expected);
    assert_eq!(bench.calls()[8..], [vec![6, 7]]);
    assert_eq!(bench.counts()[..3], [2, 0, 1]);
}

#[test]
fn a_limit_is_halved_at_once_and_blames_nobody_if_all_parts_succeed() {
    let mut bench = bench(Script::killing(|r, _| (r.len() > 2).then_some(FaultCode::CpuLimit)));
    bench.run(KEYED, &[1, 2, 3, 4, 5]).unwrap();
    bench.run(KEYED, &[6, 7]).unwrap();
    let expected: [&[u8]; 6] = [&[1, 2, 3, 4, 5], &[1, 2], &[3, 4, 5], &[3], &[4, 5], &[6, 7]];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.out, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bench.state(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bench.counts(), [0, 1, 0, 3], "one batch was split, in however many steps");
}

#[test]
fn after_a_limit_the_next_batches_are_cut_before_they_break_it() {
    let mut bench = bench(Script::killing(|r, _| (r.len() > 2).then_some(FaultCode::CpuLimit)));
    for input in [UNKEYED, KEYED] {
        bench.run(input, &[1, 2, 3, 4]).unwrap();
        bench.run(input, &[5, 6, 7]).unwrap();
    }
    let expected: [&[u8]; 9] =
        [&[1, 2, 3, 4], &[1, 2], &[3, 4], &[5, 6], &[7], &[1, 2], &[3, 4], &[5, 6], &[7]];
    assert_eq!(bench.calls(), expected);
    assert_eq!(bench.out, [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7]);
    // A record that is too much by itself makes no other call smaller.
    let mut other = bench::bench(Script::killing(|r, _| has(r, 5).then_some(FaultCode::CpuLimit)));
    other.run(KEYED, &[4, 5, 6, 7]).unwrap();
    other.run(KEYED, &[1, 2, 3, 4]).unwrap();
    assert_eq!(other.calls().last().unwrap(), &[1, 2, 3, 4]);
}

#[test]
fn parts_have_the_clock_of_the_whole_and_chance_of_their_own() {
    let mut bench = bench(Script::killing(|r, _| (r.len() > 1).then_some(FaultCode::MemoryLimit)));
    bench.run(UNKEYED, &[1, 2, 3]).unwrap();
    bench.run(UNKEYED, &[4]).unwrap();
    let calls = bench.script.calls.lock().unwrap();
    let clocks: Vec<i64> = calls.iter().map(|seen| seen.clock_ms).collect();
    assert_eq!(clocks, [1001, 1001, 1001, 1001, 1001, 1006]);
    assert_eq!(calls[0].chance, calls[1].chance, "record 0 begins the whole and the first half");
    let own: std::collections::BTreeSet<_> = calls[1..].iter().map(|seen| &seen.chance).collect();
    assert_eq!((own.len(), calls[2].records.as_slice()), (4, &[2, 3][..]));
    assert_eq!(calls[2].chance, calls[3].chance);
}

#[test]
fn a_single_record_over_a_limit_is_poison_only_in_a_new_sandbox() {
    let leaks: Kills = |_, before| (before >= 2).then_some(FaultCode::MemoryLimit);
    let mut leaking = bench(Script::killing(leaks));
    (0..6).for_each(|record| leaking.run(KEYED, &[record]).unwrap());
    assert_eq!((leaking.out.len(), leaking.counts()), (6, [2, 0, 0, 3]));
    let mut greedy = bench(Script::killing(|r, _| has(r, 1).then_some(FaultCode::EmitLimit)));
    (0..3).for_each(|record| greedy.run(KEYED, &[record]).unwrap());
    assert_eq!((greedy.out.as_slice(), greedy.counts()[2]), (&[0, 2][..], 1));
    assert!(greedy.letters[0].contains("EMIT_LIMIT"), "{:?}", greedy.letters);
}

#[test]
fn rejected_records_leave_no_effect_and_the_rest_of_the_batch_counts() {
    let script = || Script { rejects: Some(2), ..Script::killing(|_, _| None) };
    let mut bench = bench(script());
    bench.run(KEYED, &[1, 2, 3]).unwrap();
    assert_eq!((bench.out.clone(), bench.state()), (vec![1, 3], vec![1, 3]));
    assert!(bench.letters[0].contains(r#""code":"REJECTED","error":"not this""#));
    assert_eq!(bench.counts(), [0, 0, 1, 1]);
    let mut skipping = bench_from(script(), OnPoison::Skip, 1, TaskStart::default());
    skipping.run(UNKEYED, &[1, 2, 3]).unwrap();
    assert_eq!((skipping.out.as_slice(), skipping.letters.len()), (&[1, 3][..], 0));
    assert_eq!(skipping.counts()[2], 1);
}

#[test]
fn a_policy_that_ends_the_job_leaves_no_effect_of_the_call() {
    let rejecting = || Script { rejects: Some(2), ..Script::killing(|_, _| None) };
    let mut failing = bench_from(rejecting(), OnPoison::Fail, 100, TaskStart::default());
    let Err(Failure::Poison(error)) = failing.run(KEYED, &[1, 2]) else { panic!("it must fail") };
    let PoisonError::Record { record } = *error else { panic!("{error}") };
    assert_eq!(record.cause, PoisonCause::Rejected);
    assert_eq!((failing.out.len(), failing.state().len(), failing.counts()[2]), (0, 0, 0));
    let mut limited = bench_from(rejecting(), OnPoison::DeadLetter, 1, TaskStart::default());
    limited.run(KEYED, &[2]).unwrap();
    let Err(Failure::Poison(error)) = limited.run(KEYED, &[1, 2]) else { panic!("it must fail") };
    assert!(matches!(*error, PoisonError::Limit { limit_per_minute: 1, .. }), "{error}");
    assert_eq!((limited.out.len(), limited.state().len(), limited.letters.len()), (0, 0, 1));
    limited.now.monotonic_us += 61_000_000;
    limited.run(KEYED, &[1, 2]).unwrap();
    assert_eq!((limited.out.as_slice(), limited.letters.len()), (&[1][..], 2));
}

#[test]
fn an_instance_that_cannot_be_opened_is_the_operators_failure() {
    for bad_opening in [1, 2] {
        let kills: Kills = |r, _| has(r, 1).then_some(FaultCode::Trap);
        let script = Script { bad_opening, ..Script::killing(kills) };
        let mut bench = bench_from(script, OnPoison::Skip, 100, TaskStart::default());
        let opened = bench.task.open(bench.now, &bench.counters);
        let failure = opened.and_then(|()| bench.run(KEYED, &[1, 2])).unwrap_err();
        assert_eq!(failure, GuestFault::new(FaultCode::Trap, "in open").into());
        assert_eq!((bench.out.len(), bench.counts()[2]), (0, 0));
    }
}

#[test]
fn a_stop_and_a_full_state_are_nobodys_fault() {
    let stopped: Kills = |_, _| Some(FaultCode::Stopped);
    let full: Kills = |_, _| Some(FaultCode::StateQuota);
    for kills in [stopped, full] {
        let mut bench = bench(Script::killing(kills));
        let failure = bench.run(KEYED, &[1, 2]).unwrap_err();
        assert!(matches!(failure, Failure::Guest(_)), "{failure}");
        assert_eq!((bench.calls().len(), bench.counts(), bench.out.len()), (1, [0, 0, 0, 1], 0));
    }
}

#[test]
fn an_operator_that_keeps_state_in_its_memory_is_never_called_again_but_saved_and_restored() {
    let stateful = |kills| Script { has_snapshot: true, ..Script::killing(kills) };
    let mut dying = bench(stateful(|r, _| has(r, 1).then_some(FaultCode::CpuLimit)));
    assert!(matches!(dying.run(UNKEYED, &[1, 2]), Err(Failure::Lost { .. })));
    assert_eq!((dying.calls().len(), dying.counts()), (1, [0, 0, 0, 1]));
    let mut first = bench(stateful(|_, _| None));
    first.run(UNKEYED, &[1, 2]).unwrap();
    let saved = first.task.save().unwrap();
    assert_eq!(saved, Some(vec![1, 2]));
    let start = TaskStart { clock_ms: 9000, calls: 70, saved };
    let mut second = bench_from(stateful(|_, _| None), OnPoison::Skip, 1, start.clone());
    second.task.open(second.now, &second.counters).unwrap();
    second.run(UNKEYED, &[3]).unwrap();
    assert_eq!(second.task.save().unwrap(), Some(vec![1, 2, 3]));
    assert!(second.task.calls > 70);
    assert_eq!(second.script.calls.lock().unwrap()[0].clock_ms, 9000);
    let mut unable = bench_from(Script::killing(|_, _| None), OnPoison::Skip, 1, start);
    let refused = unable.task.open(unable.now, &unable.counters).unwrap_err();
    assert!(matches!(refused, Failure::Fatal(_)), "{refused}");
    assert_eq!(bench(Script::killing(|_, _| None)).task.save().unwrap(), None);
}

#[test]
fn what_is_saved_has_a_limit_and_dying_of_it_loses_the_state() {
    let kills: Kills = |r, _| (r == b"save").then_some(FaultCode::Trap);
    let mut dying = bench(Script { has_snapshot: true, ..Script::killing(kills) });
    assert!(matches!(dying.task.save(), Err(Failure::Lost { .. })));
    let saved = Some(vec![0; SAVED_BYTES_MAX + 1]);
    let start = TaskStart { saved, ..TaskStart::default() };
    let script = Script { has_snapshot: true, ..Script::killing(|_, _| None) };
    let mut large = bench_from(script, OnPoison::Skip, 1, start);
    large.task.open(large.now, &large.counters).unwrap();
    let Err(Failure::Guest(fault)) = large.task.save() else { panic!("it must be refused") };
    assert_eq!(fault.code, FaultCode::SaveLimit);
}

#[test]
fn close_is_repeated_once() {
    let mut once = bench(Script::killing(|r, before| {
        (r.is_empty() && before == 1).then_some(FaultCode::Trap)
    }));
    once.run(KEYED, &[1]).unwrap();
    once.task.close(once.now, &once.counters, &mut |_, _| {}).unwrap();
    assert_eq!((once.script.closed.load(Relaxed), once.counts()), (2, [1, 0, 0, 2]));
    let mut always = bench(Script::killing(|_, _| Some(FaultCode::Trap)));
    let failure = always.task.close(always.now, &always.counters, &mut |_, _| {}).unwrap_err();
    assert_eq!(failure, GuestFault::new(FaultCode::Trap, "in close").into());
    assert_eq!(always.script.closed.load(Relaxed), 2);
}

proptest! {
    #[test]
    fn exactly_the_poison_is_found_and_order_is_kept(
        batches in prop::collection::vec(prop::collection::vec(0u8..40, 1..40), 1..6),
        keyed in any::<bool>(),
    ) {
        // 7 traps, 11 is too much by itself, four records of 20 and more are too much together.
        let kills: Kills = |records, before| {
            let heavy = records.iter().filter(|record| **record >= 20).count();
            match records {
                _ if before == 5 && !records.is_empty() => Some(FaultCode::Trap),
                _ if has(records, 7) => Some(FaultCode::Exit),
                _ if has(records, 11) || heavy > 3 => Some(FaultCode::OverlayLimit),
                _ => None,
            }
        };
        let mut bench = bench(Script { rejects: Some(13), ..Script::killing(kills) });
        let input = if keyed { KEYED } else { UNKEYED };
        for records in &batches {
            bench.run(input, records).unwrap();
        }
        let poison = |record: &u8| matches!(record, 7 | 11 | 13);
        let (bad, good): (Vec<u8>, Vec<u8>) = batches.concat().into_iter().partition(poison);
        prop_assert_eq!(&bench.out, &good);
        let mut sorted = good;
        sorted.sort_unstable();
        prop_assert_eq!(bench.state(), if keyed { sorted } else { Vec::new() });
        prop_assert_eq!(bench.letters.len(), bad.len());
        let value = |record: &u8| match record {
            13 => "\"value\":\"\\r\"".to_owned(),
            record => format!("\"value\":\"\\u{record:04x}\""),
        };
        for (letter, record) in bench.letters.iter().zip(&bad) {
            prop_assert!(letter.contains(&value(record)), "{} {}", letter, record);
        }
        prop_assert_eq!(bench.counts()[2], bad.len() as u64);
    }
}
