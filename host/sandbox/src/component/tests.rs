//! Artefacts that are used again, and components with optional exports.

mod guest;

use std::collections::HashMap;
use std::sync::Mutex;

use tidemill_core::call::{CallFrame, CallInput};
use tidemill_core::column::BytesColumn;
use tidemill_core::failure::FaultCode;
use tidemill_core::limits::AdmissionLimits;
use tidemill_core::operator::{OpenContext, SAVED_BYTES_MAX};

use super::*;
use crate::artefact::ArtefactStore;
use crate::engine::EngineSettings;
use guest::{LARGE_FROM, REFUSES, SHORT, TRAPS, guest, guest_with};

#[derive(Default)]
struct Shelf(Mutex<HashMap<String, Vec<u8>>>);

impl ArtefactStore for Shelf {
    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn save(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }
}

#[test]
fn an_artefact_is_used_again_unless_a_single_bit_of_it_changed() {
    let shelf = Arc::new(Shelf::default());
    let store = shelf.clone() as Arc<dyn ArtefactStore>;
    let sandboxes = Sandboxes::new(&EngineSettings::default(), Some(store)).unwrap();
    let component = guest(false);
    let was_cached =
        || sandboxes.admit(&component).unwrap_or_else(|e| panic!("{e}")).facts().cached;
    assert!(!was_cached() && was_cached());
    let size = shelf.0.lock().unwrap().values().next().unwrap().len();
    for at in [0, 31, 32, size / 2, size - 1] {
        shelf.0.lock().unwrap().values_mut().for_each(|bytes| bytes[at] ^= 1);
        assert!(!was_cached(), "byte {at} changed");
        assert!(was_cached());
    }
    shelf.0.lock().unwrap().values_mut().for_each(|bytes| bytes.truncate(20));
    assert!(!was_cached());
    assert!(was_cached());
    let lower = AdmissionLimits { functions: 1000, ..AdmissionLimits::default() };
    let settings = EngineSettings { admission: lower, ..EngineSettings::default() };
    let store = shelf.clone() as Arc<dyn ArtefactStore>;
    let lower = Sandboxes::new(&settings, Some(store)).unwrap();
    let component = lower.admit(&component).unwrap_or_else(|error| panic!("{error}"));
    assert!(!component.facts().cached, "it was admitted under other limits");
}

#[test]
fn a_file_over_the_limit_of_its_owner_is_refused_with_its_size() {
    let component = guest(false);
    let size = component.len() as u64;
    let admit = |component_bytes| {
        let limits = Arc::new(Limits { component_bytes, ..Limits::default() });
        sandboxes()
            .admit_within(&component, &AdmissionLimits::default(), &limits, &Arc::default())
            .err()
    };
    assert_eq!(admit(size), None);
    let (bytes, limit) = (size, size - 1);
    assert_eq!(admit(limit), Some(AdmissionError::TooLarge { bytes, limit }));
}

fn sandboxes() -> Sandboxes {
    Sandboxes::new(&EngineSettings::default(), None).unwrap()
}

fn frame(rules: &Arc<CallRules>) -> Box<CallFrame> {
    Box::new(CallFrame::new(rules.clone(), None))
}

/// An opened instance and its frame.
fn open(
    factory: &mut dyn InstanceFactory,
    rules: &Arc<CallRules>,
) -> (Box<dyn OperatorInstance>, Box<CallFrame>) {
    let (mut instance, mut frame) = (factory.instantiate().unwrap(), frame(rules));
    frame.begin(Phase::Open, 1, 0);
    instance.open(&mut frame, &OpenContext::default()).unwrap();
    (instance, frame)
}

fn process(instance: &mut dyn OperatorInstance, frame: &mut Box<CallFrame>, records: usize) {
    let mut values = BytesColumn::default();
    (0..records).for_each(|_| values.push(b"v"));
    frame.begin(Phase::Process { keyed: false }, 2, 0);
    frame.input = CallInput { values, ..CallInput::default() };
    assert_eq!(instance.process(frame, 0).unwrap(), []);
    assert_eq!(frame.input_len(), records, "the input is as it was");
}

fn factory_of(component: &Component) -> (Box<dyn InstanceFactory>, Arc<CallRules>) {
    let limits = Arc::new(Limits { host_call_bytes: 1000, ..Limits::default() });
    let rules = rules_outside_of_jobs(component.description().clone(), limits);
    let factory = component.factory(
        rules.clone(),
        TaskIdentity::default(),
        Surroundings::default(),
        Arc::default(),
    );
    (factory, rules)
}

#[test]
fn what_an_operator_saved_is_restored_in_another_sandbox() {
    let component = sandboxes().admit(&guest(false)).unwrap_or_else(|error| panic!("{error}"));
    assert!(component.has_snapshot() && component.has_migrate());
    let (mut factory, rules) = factory_of(&component);
    assert!(factory.has_snapshot());
    let (mut first, mut frame) = open(&mut *factory, &rules);
    process(&mut *first, &mut frame, 7);
    frame.begin(Phase::Snapshot, 3, 0);
    let saved = first.save(&mut frame).unwrap();
    assert_eq!(saved, 7u32.to_le_bytes());
    let (mut second, mut frame) = open(&mut *factory, &rules);
    frame.begin(Phase::Snapshot, 3, 0);
    second.restore(&mut frame, &saved).unwrap();
    process(&mut *second, &mut frame, 5);
    assert_eq!(second.save(&mut frame).unwrap(), 12u32.to_le_bytes());
    let Err(Failure::Fatal(words)) = second.restore(&mut frame, b"odd") else { panic!("refused") };
    assert_eq!(words, REFUSES);
}

#[test]
fn what_is_saved_may_be_larger_than_a_host_call_but_not_without_limit() {
    let component = sandboxes().admit(&guest(false)).unwrap_or_else(|error| panic!("{error}"));
    let (mut factory, rules) = factory_of(&component);
    let (mut instance, mut frame) = open(&mut *factory, &rules);
    process(&mut *instance, &mut frame, LARGE_FROM);
    frame.begin(Phase::Snapshot, 3, 0);
    assert_eq!(instance.save(&mut frame).unwrap().len(), SAVED_BYTES_MAX);
    process(&mut *instance, &mut frame, 1);
    frame.begin(Phase::Snapshot, 3, 0);
    let Err(Failure::Guest(fault)) = instance.save(&mut frame) else { panic!("too much") };
    assert_eq!(fault.code, FaultCode::SaveLimit, "{fault}");
}

#[test]
fn an_operator_keeps_state_in_one_place_only() {
    let error = sandboxes().admit(&guest(true)).err().unwrap();
    assert_eq!(error, AdmissionError::StateTwice);
}

#[test]
fn a_plain_operator_has_no_optional_exports() {
    let plain = guest_with("include tidemill:operator/plain@0.1.0;", true);
    let component = sandboxes().admit(&plain).unwrap_or_else(|error| panic!("{error}"));
    assert!(!component.has_snapshot() && !component.has_migrate());
    let (mut factory, rules) = factory_of(&component);
    let (mut instance, mut frame) = open(&mut *factory, &rules);
    assert!(!factory.has_snapshot());
    assert!(matches!(instance.save(&mut frame), Err(Failure::Host(_))));
    assert!(matches!(migrate(&component, 1, &[1; 8]), Err(Failure::Host(_))));
}

/// Migrates 4-byte items of schema version `version`.
fn migrate(component: &Component, version: u32, items: &[u8]) -> Result<BytesColumn, Failure> {
    let old = StateDescription {
        name: "seen".to_owned(),
        kind: StateKind::Value,
        width: Some(4),
        schema_version: version,
        ttl: None,
    };
    let values = BytesColumn { data: items.to_vec(), ends: Vec::new() };
    let limits = Arc::new(Limits::default());
    component.migrator(limits, TaskIdentity::default()).migrate(&old, &values)
}

#[test]
fn items_are_migrated_and_what_comes_back_is_checked() {
    let world = "include tidemill:operator/plain@0.1.0; export tidemill:operator/migrate@0.1.0;";
    let component = sandboxes().admit(&guest_with(world, true));
    let component = component.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(migrate(&component, 1, &[5; 12]).unwrap().data, [5; 12]);
    let code = |version| match migrate(&component, version, &[5; 12]) {
        Err(Failure::Guest(fault)) => fault.code,
        other => panic!("{other:?}"),
    };
    assert_eq!((code(SHORT), code(TRAPS)), (FaultCode::BadAnswer, FaultCode::Trap));
    assert!(matches!(migrate(&component, 1, &[5; 11]), Err(Failure::Host(_))));
}
