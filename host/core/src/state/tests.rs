//! Keyed state against a plain model: any sequence of calls, with keys that repeat, writes that are
//! committed or forgotten, and items that expire.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::TaskState;
use super::memory::MemoryBackend;
use crate::batch::Dictionary;
use crate::column::{BytesColumn, Layout, OptionalColumn};
use crate::describe::{StateDescription, StateKind, Ttl, TtlUpdate};
use crate::failure::{Failure, FaultCode, Remedy};
use crate::ids::{KeyGroup, LaneId};
use crate::key_group::Assignment;
use crate::limits::{Limits, MIB};
use crate::quota::{Allowance, TenantUsage};

const GROUPS: u32 = 4;
const LIFE_MS: u64 = 50;
const FIXED: u32 = 0;
const VALUE: u32 = 1;
const LIST: u32 = 2;
const MAP: u32 = 3;
const MORTAL: u32 = 4;
const RENEWED: u32 = 5;

fn states() -> Vec<StateDescription> {
    let mortal = |update| Some(Ttl { milliseconds: LIFE_MS, update });
    let state = |name: &str, kind, width, ttl| StateDescription {
        name: name.to_owned(),
        kind,
        width,
        schema_version: 1,
        ttl,
    };
    vec![
        state("fixed", StateKind::Value, Some(4), None),
        state("value", StateKind::Value, None, None),
        state("list", StateKind::List, None, None),
        state("map", StateKind::Map, None, None),
        state("mortal", StateKind::Value, None, mortal(TtlUpdate::OnCreateAndWrite)),
        state("renewed", StateKind::Value, None, mortal(TtlUpdate::OnReadAndWrite)),
    ]
}

fn task_state(limits: Limits) -> TaskState {
    let owned = (0..GROUPS as u16).map(KeyGroup);
    let backend = MemoryBackend::new(&states(), GROUPS, owned);
    TaskState::new(Box::new(backend), states().into(), Arc::new(limits))
}

fn dictionary(keys: &[u8]) -> Dictionary {
    let mut dictionary = Dictionary::default();
    // Some keys are longer than what lies inline.
    keys.iter().for_each(|key| dictionary.keys.push(&vec![*key; 1 + 7 * (*key as usize % 5)]));
    dictionary.ensure_hashes(1);
    dictionary
}

#[derive(Clone, Debug)]
enum Write {
    Fixed(u8, Option<u32>),
    Value(u8, Option<Vec<u8>>),
    Mortal(u8, Option<Vec<u8>>),
    Renewed(u8, Option<Vec<u8>>),
    Append(u8, Vec<u8>),
    Replace(u8, Vec<Vec<u8>>),
    Put(u8, u8, Option<Vec<u8>>),
    ClearMap(u8),
}

#[derive(Clone, Debug)]
struct Call {
    keys: Vec<u8>,
    writes: Vec<Write>,
    commits: bool,
    later_ms: u8,
    sweeps: bool,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..5);
    let write = prop_oneof![
        (any::<u8>(), any::<Option<u32>>()).prop_map(|(k, v)| Write::Fixed(k, v)),
        (any::<u8>(), prop::option::of(bytes())).prop_map(|(k, v)| Write::Value(k, v)),
        (any::<u8>(), prop::option::of(bytes())).prop_map(|(k, v)| Write::Mortal(k, v)),
        (any::<u8>(), prop::option::of(bytes())).prop_map(|(k, v)| Write::Renewed(k, v)),
        (any::<u8>(), bytes()).prop_map(|(k, v)| Write::Append(k, v)),
        (any::<u8>(), prop::collection::vec(bytes(), 0..3)).prop_map(|(k, v)| Write::Replace(k, v)),
        (any::<u8>(), 0..4u8, prop::option::of(bytes())).prop_map(|(k, m, v)| Write::Put(k, m, v)),
        any::<u8>().prop_map(Write::ClearMap),
    ];
    let call = (
        prop::collection::vec(0..6u8, 1..9),
        prop::collection::vec(write, 0..8),
        any::<bool>(),
        0..30u8,
        any::<bool>(),
    );
    let call = call.prop_map(|(keys, writes, commits, later_ms, sweeps)| Call {
        keys,
        writes,
        commits,
        later_ms,
        sweeps,
    });
    prop::collection::vec(call, 1..20)
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Items {
    fixed: Option<u32>,
    value: Option<Vec<u8>>,
    list: Vec<Vec<u8>>,
    map: BTreeMap<u8, Vec<u8>>,
    mortal: Option<(Vec<u8>, i64)>,
    renewed: Option<(Vec<u8>, i64)>,
}

impl Items {
    fn drop_expired(&mut self, now_ms: i64) {
        self.mortal.take_if(|(_, expires)| *expires <= now_ms);
        self.renewed.take_if(|(_, expires)| *expires <= now_ms);
    }
}

fn optional(layout: Layout, item: Option<&[u8]>) -> OptionalColumn {
    let mut column = OptionalColumn::default();
    column.push(layout, 0, item);
    column
}

fn column(items: &[Vec<u8>]) -> BytesColumn {
    let mut column = BytesColumn::default();
    items.iter().for_each(|item| column.push(item));
    column
}

/// Applies a write to the state and to the model. A write picks one of the call's slots.
fn apply(
    state: &mut TaskState,
    slots: &[u8],
    model: &mut BTreeMap<u8, Items>,
    write: &Write,
    now: i64,
) {
    let at = |pick: u8| pick as usize % slots.len();
    let mut value = |pick: u8, id: u32, item: &Option<Vec<u8>>| {
        let column = optional(Layout::Variable, item.as_deref());
        state.value_write(id, vec![at(pick) as u32], column).unwrap();
    };
    let expires = now + LIFE_MS as i64;
    let mortal = |item: &Option<Vec<u8>>| item.clone().map(|item| (item, expires));
    let (Write::Fixed(pick, _)
    | Write::Value(pick, _)
    | Write::Mortal(pick, _)
    | Write::Renewed(pick, _)
    | Write::Append(pick, _)
    | Write::Replace(pick, _)
    | Write::Put(pick, _, _)
    | Write::ClearMap(pick)) = write;
    let items = model.entry(slots[at(*pick)]).or_default();
    match write {
        Write::Value(pick, item) => {
            value(*pick, VALUE, item);
            items.value.clone_from(item);
        }
        Write::Mortal(pick, item) => {
            value(*pick, MORTAL, item);
            items.mortal = mortal(item);
        }
        Write::Renewed(pick, item) => {
            value(*pick, RENEWED, item);
            items.renewed = mortal(item);
        }
        Write::Fixed(pick, item) => {
            let bytes = item.map(u32::to_le_bytes);
            let column = optional(Layout::Fixed(4), bytes.as_ref().map(|bytes| &bytes[..]));
            state.value_write(FIXED, vec![at(*pick) as u32], column).unwrap();
            items.fixed = *item;
        }
        Write::Append(pick, item) => {
            let one = column(std::slice::from_ref(item));
            state.list_append(LIST, &[at(*pick) as u32], &one).unwrap();
            items.list.push(item.clone());
        }
        Write::Replace(pick, list) => {
            state.list_replace(LIST, at(*pick) as u32, column(list)).unwrap();
            items.list.clone_from(list);
        }
        Write::Put(pick, entry, item) => {
            let keys = column(&[vec![*entry]]);
            let values = optional(Layout::Variable, item.as_deref());
            state.map_write(MAP, &[at(*pick) as u32], &keys, &values).unwrap();
            match item {
                Some(item) => items.map.insert(*entry, item.clone()),
                None => items.map.remove(entry),
            };
        }
        Write::ClearMap(pick) => {
            state.map_clear(MAP, at(*pick) as u32).unwrap();
            items.map.clear();
        }
    }
}

/// Compares all that the call's slots hold with the model, and renews in the model what that read.
fn compare(state: &mut TaskState, slots: &[u8], model: &mut BTreeMap<u8, Items>, now: i64) {
    let columns: Vec<OptionalColumn> =
        [FIXED, VALUE, MORTAL, RENEWED].iter().map(|id| state.value_read(*id).unwrap()).collect();
    for (slot, key) in slots.iter().enumerate() {
        let items = model.entry(*key).or_default();
        let owned = |column: usize, layout| columns[column].item(layout, slot).map(<[u8]>::to_vec);
        let variable = Layout::Variable;
        assert_eq!(owned(0, Layout::Fixed(4)), items.fixed.map(|v| v.to_le_bytes().to_vec()));
        assert_eq!(owned(1, variable), items.value);
        assert_eq!(owned(2, variable), items.mortal.as_ref().map(|(item, _)| item.clone()));
        assert_eq!(owned(3, variable), items.renewed.as_ref().map(|(item, _)| item.clone()));
        if let Some((_, expires)) = &mut items.renewed {
            *expires = now + LIFE_MS as i64;
        }
        let slot = slot as u32;
        let list = state.list_read(LIST, slot, 0).unwrap();
        assert_eq!(list.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), items.list);
        let tail = state.list_read(LIST, slot, 1).unwrap();
        assert_eq!(tail.len(), items.list.len().saturating_sub(1));
        let page = state.map_scan(MAP, slot, None, None, 100).unwrap();
        let found = page.keys.iter().zip(page.values.iter()).map(|(k, v)| (k[0], v.to_vec()));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), items.map);
        let first = state.map_scan(MAP, slot, Some(&[1]), Some(&[3]), 1).unwrap();
        let inside: Vec<u8> = items.map.range(1..3).map(|(key, _)| *key).collect();
        assert_eq!(first.keys.iter().next().map(|key| key[0]), inside.first().copied());
        assert_eq!(first.more, inside.len() > 1);
        for entry in 0..4u8 {
            let read = state.map_read(MAP, &[slot], &column(&[vec![entry]])).unwrap();
            assert_eq!(read.item(variable, 0), items.map.get(&entry).map(|item| &item[..]));
        }
    }
}

proptest! {
    #[test]
    fn state_behaves_like_a_map_of_items(calls in calls()) {
        let mut state = task_state(Limits::default());
        let mut model: BTreeMap<u8, Items> = BTreeMap::new();
        let mut now_ms = 1000;
        for call in &calls {
            now_ms += i64::from(call.later_ms);
            model.values_mut().for_each(|items| items.drop_expired(now_ms));
            let resolved = state.begin(&dictionary(&call.keys), &[], now_ms).unwrap();
            let mut distinct: Vec<u8> = Vec::new();
            for (record, key) in call.keys.iter().enumerate() {
                if !distinct.contains(key) {
                    distinct.push(*key);
                }
                let slot = distinct.iter().position(|other| other == key).unwrap();
                prop_assert_eq!(resolved.key_of[record] as usize, slot);
            }
            prop_assert_eq!(resolved.slots.len(), distinct.len());
            let mut after = model.clone();
            compare(&mut state, &distinct, &mut after, now_ms);
            for write in &call.writes {
                apply(&mut state, &distinct, &mut after, write, now_ms);
            }
            compare(&mut state, &distinct, &mut after, now_ms);
            if call.commits {
                state.commit();
                model = after;
            } else {
                state.abort();
            }
            if call.sweeps {
                state.expire(now_ms, 1000);
            }
        }
        now_ms += 10 * LIFE_MS as i64 + 5000;
        while state.expire(now_ms, 3).is_some_and(|next| next <= now_ms) {}
        model.values_mut().for_each(|items| items.drop_expired(now_ms));
        let held = model.values().filter(|items| **items != Items::default()).count();
        prop_assert_eq!(state.usage().keys, held as u64);
        if held == 0 {
            prop_assert_eq!(state.usage().bytes, 0);
        }
    }
}

#[test]
fn expired_items_go_away_without_being_asked_for() {
    let mut state = task_state(Limits::default());
    state.begin(&dictionary(&[1]), &[], 1000).unwrap();
    state.value_write(MORTAL, vec![0], optional(Layout::Variable, Some(b"x"))).unwrap();
    state.commit();
    assert_eq!(state.expire(1000, 100), Some(1000 + LIFE_MS as i64));
    assert_eq!(state.usage().keys, 1);
    assert_eq!(state.expire(1000 + LIFE_MS as i64, 100), None);
    assert_eq!((state.usage().keys, state.usage().bytes), (0, 0));
}

#[test]
fn a_key_of_another_lane_is_the_hosts_fault() {
    let assignment = Assignment::initial(GROUPS, 2);
    let backend = MemoryBackend::new(&states(), GROUPS, assignment.owned_by(LaneId(0)));
    let mut state = TaskState::new(Box::new(backend), states().into(), Arc::default());
    let keys: Vec<u8> = (0..50).collect();
    let failure = state.begin(&dictionary(&keys), &[], 0).unwrap_err();
    assert!(matches!(failure, Failure::Host(_)), "{failure}");
    assert_eq!(state.usage().keys, 0);
}

#[test]
fn what_a_guest_may_not_ask_for_is_refused_by_code() {
    let mut state =
        task_state(Limits { overlay_bytes: 1000, value_bytes: 100, ..Limits::default() });
    state.begin(&dictionary(&[1, 2]), &[], 0).unwrap();
    let one = || optional(Layout::Variable, Some(b"x"));
    let large = optional(Layout::Variable, Some(&[0; 101]));
    let code = |outcome: Result<(), crate::failure::GuestFault>| outcome.unwrap_err().code;
    assert_eq!(code(state.value_write(9, vec![0], one())), FaultCode::UnknownIndex);
    assert_eq!(code(state.value_write(LIST, vec![0], one())), FaultCode::WrongStateKind);
    assert_eq!(code(state.value_write(VALUE, vec![2], one())), FaultCode::BadSlot);
    assert_eq!(code(state.value_write(VALUE, vec![0, 1], one())), FaultCode::BadColumn);
    assert_eq!(code(state.value_write(VALUE, vec![0], large)), FaultCode::ItemTooLarge);
    let mut twice = one();
    twice.push(Layout::Variable, 1, Some(b"y"));
    assert_eq!(code(state.value_write(VALUE, vec![1, 1], twice)), FaultCode::BadSlot);
    assert_eq!(code(state.value_write(FIXED, vec![0], one())), FaultCode::BadColumn);
    let items = column(&vec![vec![0; 90]; 20]);
    assert_eq!(code(state.list_append(LIST, &[0; 20], &items)), FaultCode::OverlayLimit);
    assert_eq!(code(state.map_clear(MAP, 7)), FaultCode::BadSlot);
}

#[test]
fn tasks_of_one_tenant_share_its_quota() {
    let tenant =
        TenantUsage { state_bytes: Arc::new(Allowance::new(MIB as u64)), ..Default::default() };
    let fill = |state: &mut TaskState| {
        for key in 0..100u8 {
            state.begin(&dictionary(&[key]), &[], 0).unwrap();
            let item = optional(Layout::Variable, Some(&[1; 100_000]));
            let written = state.value_write(VALUE, vec![0], item);
            if let Err(fault) = written {
                state.abort();
                return Some((key, fault.code));
            }
            state.commit();
        }
        None
    };
    let (mut one, mut other) = (task_state(Limits::default()), task_state(Limits::default()));
    one.share(&tenant);
    other.share(&tenant);
    let (written, code) = fill(&mut one).unwrap();
    assert!((10..25).contains(&written), "{written}");
    assert_eq!((code, code.remedy()), (FaultCode::TenantState, Remedy::None));
    assert_eq!(fill(&mut other).unwrap().0, 0);
    drop(one);
    assert!(fill(&mut other).unwrap().0 >= 10);
    drop(other);
    assert_eq!(tenant.state_bytes.used(), 0);
}

#[test]
fn a_task_at_its_quota_is_refused_more_state() {
    let mut state = task_state(Limits { state_bytes: 0, ..Limits::default() });
    let mut refused = None;
    for key in 0..40u8 {
        state.begin(&dictionary(&[key]), &[], 0).unwrap();
        let item = optional(Layout::Variable, Some(&[1; 100_000]));
        match state.value_write(VALUE, vec![0], item) {
            Ok(()) => state.commit(),
            Err(fault) => {
                refused = Some(fault.code);
                state.abort();
                break;
            }
        }
    }
    assert_eq!(refused, Some(FaultCode::StateQuota));
}

#[test]
fn long_lists_and_maps_come_in_pages() {
    let mut state = task_state(Limits::default());
    state.begin(&dictionary(&[1]), &[], 0).unwrap();
    let items: Vec<Vec<u8>> = (0..40u8).map(|item| vec![item; 100_000]).collect();
    state.list_append(LIST, &[0; 40], &column(&items)).unwrap();
    state.commit();
    state.begin(&dictionary(&[1]), &[], 0).unwrap();
    let mut read = Vec::new();
    loop {
        let page = state.list_read(LIST, 0, read.len() as u64).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.data.len() <= crate::limits::PAGE_BYTES_MAX);
        read.extend(page.iter().map(<[u8]>::to_vec));
    }
    assert_eq!(read, items);
}

#[test]
fn what_is_not_there_takes_as_much_to_read_as_its_state_is_wide() {
    let wide = StateDescription { width: Some(MIB as u32), ..states().remove(FIXED as usize) };
    let value = StateDescription { name: "value".to_owned(), width: None, ..wide.clone() };
    for (described, bytes) in [(vec![wide.clone()], 3 * MIB), (vec![wide, value], 3 * MIB)] {
        let backend = MemoryBackend::new(&described, GROUPS, (0..GROUPS as u16).map(KeyGroup));
        let limits = Arc::new(Limits::default());
        let mut state = TaskState::new(Box::new(backend), described.into(), limits);
        state.begin(&dictionary(&[1, 2, 3]), &[], 0).unwrap();
        assert_eq!(state.value_bytes(), bytes);
        assert_eq!(state.value_read(0).unwrap().values.data.len(), bytes);
    }
}

#[test]
fn what_a_list_holds_beside_bytes_counts_before_it_is_held() {
    let (items, width) = (100_000, 1);
    let overlay_bytes = |ttl| {
        let states = vec![StateDescription {
            name: "list".to_owned(),
            kind: StateKind::List,
            width: Some(width),
            schema_version: 1,
            ttl,
        }];
        let limits = Limits { overlay_bytes: items, ..Limits::default() };
        let backend = MemoryBackend::new(&states, GROUPS, (0..GROUPS as u16).map(KeyGroup));
        let mut state = TaskState::new(Box::new(backend), states.into(), Arc::new(limits));
        state.begin(&dictionary(&[1]), &[], 0).unwrap();
        let column = || BytesColumn { data: vec![7; items], ends: Vec::new() };
        let replaced = state.list_replace(0, 0, column()).unwrap_err();
        let appended = state.list_append(0, &vec![0; items], &column()).unwrap_err();
        [replaced, appended].map(|fault| {
            assert_eq!(fault.code, FaultCode::OverlayLimit);
            fault.message.split(' ').next().unwrap().parse::<usize>().unwrap()
        })
    };
    let mortal = Some(Ttl { milliseconds: LIFE_MS, update: TtlUpdate::OnCreateAndWrite });
    // Each with its end, and the life of each if it has one.
    assert!(overlay_bytes(None)[0] >= items * 5 && overlay_bytes(mortal)[0] >= items * 13);
    assert!(overlay_bytes(None)[1] >= items * 5);
}

#[test]
fn slots_that_a_call_writes_to_for_the_first_time_count_with_what_holds_them() {
    let keys: Vec<u8> = (0..200).collect();
    let limits = Limits { overlay_bytes: 50_000, ..Limits::default() };
    let mut state = task_state(limits);
    state.begin(&dictionary(&keys), &[], 0).unwrap();
    let mut empty = BytesColumn::default();
    keys.iter().for_each(|_| empty.push(b""));
    let slots: Vec<u32> = (0..200).collect();
    let fault = state.list_append(LIST, &slots, &empty).unwrap_err();
    assert_eq!(fault.code, FaultCode::OverlayLimit);
    // Once: the rest of a list costs what its items do.
    state.abort();
    state.begin(&dictionary(&[1]), &[], 0).unwrap();
    for _ in 0..100 {
        state.list_append(LIST, &[0], &BytesColumn { data: Vec::new(), ends: vec![0] }).unwrap();
    }
}

#[test]
fn a_task_at_its_quota_can_take_an_entry_out_of_each_of_many_maps() {
    let keys: Vec<u8> = (0..250).collect();
    let slots: Vec<u32> = (0..250).collect();
    let mut entries = BytesColumn::default();
    keys.iter().for_each(|key| entries.push(&vec![*key; 20_000]));
    let write = |state: &mut TaskState, is_there: bool| {
        state.begin(&dictionary(&keys), &[], 0).unwrap();
        let mut values = OptionalColumn::default();
        (0..keys.len()).for_each(|at| {
            values.push(Layout::Variable, at, is_there.then_some(&b"v"[..]));
        });
        state.map_write(MAP, &slots, &entries, &values)
    };
    let mut state = task_state(Limits { state_bytes: 5_000_000, ..Limits::default() });
    write(&mut state, true).unwrap();
    state.commit();
    assert!(state.usage().bytes > 5_000_000, "{}", state.usage().bytes);
    let fault = write(&mut state, false).unwrap_err();
    assert_eq!(
        fault.code,
        FaultCode::StateQuota,
        "five megabytes of keys are more than is let through"
    );
    state.abort();
    state.begin(&dictionary(&keys), &[], 0).unwrap();
    let mut few = BytesColumn::default();
    keys.iter().for_each(|key| few.push(&[*key; 3400]));
    let mut gone = OptionalColumn::default();
    (0..keys.len()).for_each(|at| gone.push(Layout::Variable, at, None));
    // Each removal counts its key, and not the map that it is a removal from.
    state.map_write(MAP, &slots, &few, &gone).unwrap();
}
