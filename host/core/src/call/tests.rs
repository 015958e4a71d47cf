//! What a call may do when, and how much of it.

use super::*;
use crate::describe::{InputDescription, OutputDescription};

fn frame(limits: Limits) -> CallFrame {
    frame_into(limits, 1)
}

/// A frame for an operator each of whose outputs leads to so many queues.
fn frame_into(limits: Limits, queues: usize) -> CallFrame {
    let output = |name: &str, value_width| OutputDescription { name: name.into(), value_width };
    let description = Description {
        inputs: vec![InputDescription { name: "in".into(), keyed: false, value_width: None }],
        outputs: vec![output("keyed", None), output("fixed", Some(2))],
        ..Description::default()
    };
    let rules = CallRules {
        description: Arc::new(description),
        outputs: [true, false].map(|needs_key| OutputRule { needs_key, queues }).into(),
        limits: Arc::new(limits),
        random_key: [3; 32],
    };
    let mut frame = CallFrame::new(Arc::new(rules), None);
    frame.begin(Phase::Process { keyed: false }, 1, 1000);
    frame
}

fn column(items: &[&str]) -> BytesColumn {
    let mut column = BytesColumn::default();
    items.iter().for_each(|item| column.push(item.as_bytes()));
    column
}

fn batch(keys: KeySource, key_of: &[u32], values: &[&str]) -> OutputBatch {
    OutputBatch { keys, key_of: key_of.to_vec(), values: column(values), timestamps: vec![] }
}

fn refusal(outcome: Checked<()>) -> FaultCode {
    outcome.expect_err("it must be refused").code
}

#[test]
fn emits_that_break_the_contract_are_refused_by_code() {
    let mut frame = frame(Limits { key_bytes: 4, value_bytes: 8, ..Limits::default() });
    let new_keys = |keys: &[&str]| KeySource::NewKeys(column(keys));
    let mut emit = |output, batch| refusal(frame.emit(output, batch));
    assert_eq!(emit(2, batch(KeySource::None, &[], &["v"])), FaultCode::UnknownIndex);
    assert_eq!(emit(0, batch(KeySource::None, &[], &["v"])), FaultCode::MissingKey);
    assert_eq!(emit(0, batch(new_keys(&["k"]), &[], &["v", "w"])), FaultCode::BadColumn);
    assert_eq!(emit(0, batch(new_keys(&["k"]), &[1], &["v"])), FaultCode::BadColumn);
    assert_eq!(emit(0, batch(KeySource::InputKeys, &[0], &["v"])), FaultCode::BadColumn);
    assert_eq!(emit(0, batch(new_keys(&["long key"]), &[], &["v"])), FaultCode::ItemTooLarge);
    assert_eq!(emit(0, batch(new_keys(&["k"]), &[], &["a long value"])), FaultCode::ItemTooLarge);
    assert_eq!(emit(1, batch(KeySource::None, &[], &["vv"])), FaultCode::BadColumn);
    let mut untimely = batch(new_keys(&["k"]), &[], &["v"]);
    untimely.timestamps = vec![1, 2];
    assert_eq!(emit(0, untimely), FaultCode::BadColumn);
}

#[test]
fn emitting_under_the_keys_of_the_input_charges_those_in_use() {
    let mut frame = frame(Limits::default());
    let mut dictionary = Dictionary::default();
    (0..4096).for_each(|key: u32| dictionary.keys.push(&key.to_le_bytes()));
    (0..256).for_each(|_| dictionary.keys.push(&[7; 4096]));
    frame.input.dictionary = Arc::new(dictionary);
    for key in 0..4096 {
        frame.emit(0, batch(KeySource::InputKeys, &[key], &["v"])).unwrap();
    }
    assert_eq!(frame.take_emitted().count(), 4096);
    // Each brings 1 MiB of keys.
    let long: Vec<u32> = (4096..4352).collect();
    let values = vec![""; long.len()];
    frame.forget();
    let emit = || frame.emit(0, batch(KeySource::InputKeys, &long, &values));
    assert_eq!(std::iter::repeat_with(emit).take_while(Result::is_ok).take(99).count(), 15);
}

#[test]
fn a_call_may_emit_so_much_and_no_more() {
    let mut by_records = frame(Limits { emit_records: 2, ..Limits::default() });
    let mut by_bytes = frame(Limits { emit_bytes: 1000, ..Limits::default() });
    let three = || OutputBatch {
        keys: KeySource::None,
        key_of: vec![],
        values: BytesColumn { data: vec![0; 6], ends: vec![] },
        timestamps: vec![],
    };
    assert_eq!(refusal(by_records.emit(1, three())), FaultCode::EmitLimit);
    let emits = (0..10).take_while(|_| by_bytes.emit(1, three()).is_ok()).count();
    assert_eq!(emits, 3);
    by_bytes.forget();
    assert!(by_bytes.emit(1, three()).is_ok());
}

#[test]
fn random_bytes_are_the_same_when_a_call_is_made_again_and_others_in_the_next() {
    let mut frame = frame(Limits::default());
    let first = (frame.random(5).unwrap(), frame.random(5).unwrap());
    assert_ne!(first.0, first.1);
    frame.forget();
    assert_eq!((frame.random(5).unwrap(), frame.random(5).unwrap()), first);
    frame.begin_part(Phase::Process { keyed: false }, 1, 0, 1000);
    assert_eq!(frame.random(5).unwrap(), first.0, "the first part has the chance of the whole");
    frame.begin_part(Phase::Process { keyed: false }, 1, 7, 1000);
    assert_ne!(frame.random(5).unwrap(), first.0);
    frame.begin(Phase::Process { keyed: false }, 2, 900);
    assert_ne!(frame.random(5).unwrap(), first.0);
    assert_eq!(frame.clock().unwrap(), 1000, "the clock never goes back");
    assert_eq!(refusal(frame.random(RANDOM_BYTES_MAX + 1).map(drop)), FaultCode::HostCallLimit);
}

#[test]
fn each_import_has_its_place() {
    let mut frame = frame(Limits::default());
    assert_eq!(refusal(frame.state().map(drop)), FaultCode::NotAllowedHere);
    frame.begin(Phase::Open, 2, 0);
    assert_eq!(refusal(frame.state().map(drop)), FaultCode::NotAllowedHere);
    let emitted = frame.emit(0, batch(KeySource::None, &[], &["v"]));
    assert_eq!(refusal(emitted), FaultCode::NotAllowedHere);
    assert_eq!(refusal(frame.put_metric(0, 1.0)), FaultCode::UnknownIndex);
    frame.begin(Phase::Snapshot, 3, 0);
    assert!(frame.clock().is_ok() && frame.random(1).is_ok());
    assert_eq!(refusal(frame.put_metric(0, 1.0)), FaultCode::NotAllowedHere);
    assert_eq!(refusal(frame.state().map(drop)), FaultCode::NotAllowedHere);
    let emitted = frame.emit(0, batch(KeySource::None, &[], &["v"]));
    assert_eq!(refusal(emitted), FaultCode::NotAllowedHere);
    frame.begin(Phase::Migrate, 3, 0);
    assert_eq!(refusal(frame.clock().map(drop)), FaultCode::NotAllowedHere);
    assert_eq!(refusal(frame.random(1).map(drop)), FaultCode::NotAllowedHere);
    assert!(frame.check_described("the log").is_ok());
    frame.begin(Phase::Describe, 3, 0);
    assert_eq!(refusal(frame.clock().map(drop)), FaultCode::NotAllowedHere);
    assert_eq!(refusal(frame.random(1).map(drop)), FaultCode::NotAllowedHere);
    assert_eq!(refusal(frame.check_described("the log")), FaultCode::NotAllowedHere);
}

#[test]
fn an_emit_costs_more_the_more_queues_it_goes_into() {
    let emits = |queues| {
        let limits = Limits { emit_bytes: 1 << 20, ..Limits::default() };
        let mut frame = frame_into(limits, queues);
        let values = BytesColumn { data: b"ab".to_vec(), ends: Vec::new() };
        let one = OutputBatch { values, ..batch(KeySource::None, &[], &[]) };
        (0..).take_while(|_| frame.emit(1, one.clone()).is_ok()).count()
    };
    assert!(emits(1) > 3900 && emits(900) * 900 < 70_000, "{} {}", emits(1), emits(900));
}
