//! State and output against a plain model: whatever records do, in whatever batches they come, and
//! whichever of them fail, the SDK gives what a loop over maps gives.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range, RangeBounds};

use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tidemill_sdk::testing::Harness;
use tidemill_sdk::{
    Codec, Context, Description, Encode, Error, ListState, MapState, MsgPack, OpenContext,
    Operator, Record, Result, ValueState,
};

type Bytes = Vec<u8>;
type KeyRange = (Bound<Bytes>, Bound<Bytes>);

/// What a record asks for; its value is a list of these.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    SetText(Bytes),
    ClearText,
    AddNumber(u64),
    ClearNumber,
    Append(Bytes),
    Replace(Vec<Bytes>),
    ClearList,
    ReadList,
    Put(Bytes, u64),
    Remove(Bytes),
    ClearMap,
    Get(Bytes),
    Scan(KeyRange),
    EmitUnder(Bytes),
    EmitWithoutKey,
    Fail,
}

/// What a step answers; it is emitted.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Text(Option<Bytes>),
    Number(Option<u64>),
    /// Hashes of the items, so that an answer about a long list is a short one.
    List(Vec<u64>),
    Entries(Vec<(Bytes, u64)>),
    Nothing,
}

fn hashes(items: &[Bytes]) -> Answer {
    let hash = |item: &Bytes| {
        item.iter().fold(item.len() as u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
    };
    Answer::List(items.iter().map(hash).collect())
}

struct Scripted {
    text: ValueState<Bytes>,
    number: ValueState<u64>,
    list: ListState<Bytes>,
    map: MapState<Bytes, u64>,
}

impl Operator for Scripted {
    fn describe() -> Description {
        Description::new("scripted", "1")
            .keyed_input("scripts")
            .output("answers")
            .value_state::<Bytes>("text")
            .map_state::<Bytes, u64>("map")
            .value_state::<u64>("number")
            .list_state::<Bytes>("list")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self {
            text: ctx.value_state("text")?,
            number: ctx.value_state("number")?,
            list: ctx.list_state("list")?,
            map: ctx.map_state("map")?,
        })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        let MsgPack(steps) = record.value_as::<MsgPack<Vec<Step>>>()?;
        steps.iter().try_for_each(|step| self.run(step, ctx))
    }
}

impl Scripted {
    fn run(&self, step: &Step, ctx: &mut Context) -> Result<()> {
        match step {
            Step::SetText(text) => {
                let before = self.text.get(ctx)?;
                self.text.set(ctx, text)?;
                ctx.emit(&MsgPack(Answer::Text(before)))
            }
            Step::ClearText => self.text.clear(ctx),
            Step::AddNumber(n) => {
                self.number.update(ctx, |sum| sum.unwrap_or(0).wrapping_add(*n))?;
                let sum = self.number.get(ctx)?;
                ctx.emit(&MsgPack(Answer::Number(sum)))
            }
            Step::ClearNumber => self.number.clear(ctx),
            Step::Append(item) => self.list.append(ctx, item),
            Step::Replace(items) => self.list.replace(ctx, items),
            Step::ClearList => self.list.clear(ctx),
            Step::ReadList => {
                let items = self.list.to_vec(ctx)?;
                ctx.emit(&MsgPack(hashes(&items)))
            }
            Step::Put(key, value) => self.map.put(ctx, key, value),
            Step::Remove(key) => self.map.remove(ctx, key),
            Step::ClearMap => self.map.clear(ctx),
            Step::Get(key) => {
                let value = self.map.get(ctx, key)?;
                ctx.emit(&MsgPack(Answer::Number(value)))
            }
            Step::Scan(range) => {
                let entries = self.map.entries(ctx, range.clone())?;
                ctx.emit(&MsgPack(Answer::Entries(entries)))
            }
            Step::EmitUnder(key) => ctx.emit_keyed(key, &MsgPack(Answer::Nothing)),
            Step::EmitWithoutKey => ctx.emit_unkeyed(&MsgPack(Answer::Nothing)),
            Step::Fail => Err(Error::bad_record("as told")),
        }
    }
}

/// The state of one key, without any of the machinery.
#[derive(Clone, Debug, Default, PartialEq)]
struct Plain {
    text: Option<Bytes>,
    number: Option<u64>,
    list: Vec<Bytes>,
    map: BTreeMap<Bytes, u64>,
}

type Emitted = (Option<Bytes>, Answer);

impl Plain {
    /// Runs all steps, or says that one of them fails.
    fn run(&mut self, key: &Bytes, steps: &[Step]) -> Option<Vec<Emitted>> {
        let mut emitted = Vec::new();
        for step in steps {
            let mut answer = |answer| emitted.push((Some(key.clone()), answer));
            match step.clone() {
                Step::SetText(text) => answer(Answer::Text(self.text.replace(text))),
                Step::ClearText => self.text = None,
                Step::AddNumber(n) => {
                    self.number = Some(self.number.unwrap_or(0).wrapping_add(n));
                    answer(Answer::Number(self.number));
                }
                Step::ClearNumber => self.number = None,
                Step::Append(item) => self.list.push(item),
                Step::Replace(items) => self.list = items,
                Step::ClearList => self.list.clear(),
                Step::ReadList => answer(hashes(&self.list)),
                Step::Put(key, value) => {
                    self.map.insert(key, value);
                }
                Step::Remove(key) => {
                    self.map.remove(&key);
                }
                Step::ClearMap => self.map.clear(),
                Step::Get(key) => answer(Answer::Number(self.map.get(&key).copied())),
                Step::Scan(range) => answer(Answer::Entries(self.scan(range))),
                Step::EmitUnder(key) => emitted.push((Some(key), Answer::Nothing)),
                Step::EmitWithoutKey => emitted.push((None, Answer::Nothing)),
                Step::Fail => return None,
            }
        }
        Some(emitted)
    }

    fn scan(&self, range: KeyRange) -> Vec<(Bytes, u64)> {
        let entries = self.map.iter().filter(|(key, _)| range.contains(*key));
        entries.map(|(key, value)| (key.clone(), *value)).collect()
    }
}

fn short() -> impl Strategy<Value = Bytes> {
    vec(0_u8..3, 0..3)
}

fn bound() -> impl Strategy<Value = Bound<Bytes>> {
    prop_oneof![
        Just(Bound::Unbounded),
        short().prop_map(Bound::Included),
        short().prop_map(Bound::Excluded),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..200).prop_map(Step::SetText),
        1 => Just(Step::ClearText),
        1 => any::<u64>().prop_map(Step::AddNumber),
        1 => Just(Step::ClearNumber),
        3 => short().prop_map(Step::Append),
        1 => vec(short(), 0..4).prop_map(Step::Replace),
        1 => Just(Step::ClearList),
        2 => Just(Step::ReadList),
        3 => (short(), any::<u64>()).prop_map(|(key, value)| Step::Put(key, value)),
        1 => short().prop_map(Step::Remove),
        1 => Just(Step::ClearMap),
        2 => short().prop_map(Step::Get),
        2 => (bound(), bound()).prop_map(Step::Scan),
        1 => short().prop_map(Step::EmitUnder),
        1 => Just(Step::EmitWithoutKey),
        1 => Just(Step::Fail),
    ]
}

fn encoded(steps: &[Step]) -> Bytes {
    let mut bytes = Vec::new();
    MsgPack(steps).encode(&mut bytes).unwrap();
    bytes
}

fn assert_same(scripts: &[(u8, Vec<Step>)], max: usize, seed: u64, keep: bool) {
    let mut states: HashMap<Bytes, Plain> = HashMap::new();
    let mut expected = Vec::new();
    let mut rejected = 0;
    for (key, steps) in scripts {
        let state = states.entry(vec![*key]).or_default();
        let before = state.clone();
        match state.run(&vec![*key], steps) {
            Some(emitted) => expected.extend(emitted),
            None => {
                *state = before;
                rejected += 1;
            }
        }
    }
    let mut harness = Harness::<Scripted>::new().batches_up_to(max, seed);
    if keep {
        harness = harness.keep_instance();
    }
    let mut harness = harness.open().unwrap();
    let records: Vec<_> = scripts.iter().map(|(key, steps)| ([*key], encoded(steps))).collect();
    harness.send("scripts", &records).unwrap();
    let answers = harness
        .emitted("answers")
        .iter()
        .map(|record| (record.key.clone(), MsgPack::<Answer>::decode(&record.value).unwrap().0));
    assert_eq!(answers.collect::<Vec<_>>(), expected);
    assert_eq!(harness.rejected().len(), rejected);
    for (key, state) in states {
        let found = Plain {
            text: harness.value("text", &key).unwrap(),
            number: harness.value("number", &key).unwrap(),
            list: harness.list("list", &key).unwrap(),
            map: harness.map("map", &key).unwrap().into_iter().collect(),
        };
        assert_eq!(found, state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn state_and_output_are_those_of_a_plain_loop(
        scripts in vec((0_u8..3, vec(step(), 0..6)), 0..40),
        max in 1_usize..20,
        seed: u64,
        keep: bool,
    ) {
        assert_same(&scripts, max, seed, keep);
    }
}

#[test]
fn long_lists_and_large_maps_are_read_a_page_at_a_time() {
    let append = |n: u32| Step::Append(vec![n as u8; 5000]);
    let put = |n: u32| Step::Put(n.to_be_bytes().to_vec(), u64::from(n));
    let steps = |items: Range<u32>, entries: Range<u32>| {
        items.map(append).chain(entries.map(put)).collect::<Vec<_>>()
    };
    let mut last = steps(250..260, 1200..1210);
    let all = Step::Scan((Bound::Unbounded, Bound::Unbounded));
    last.extend([Step::Remove(7_u32.to_be_bytes().to_vec()), Step::ReadList, all]);
    let scripts = [(0, steps(0..100, 0..600)), (0, steps(100..250, 600..1200)), (0, last)];
    assert_same(&scripts, 1, 0, false);
    assert_same(&scripts, 3, 1, true);
}

#[test]
fn large_items_of_a_hot_key_outlive_the_compaction_of_the_cache() {
    let scripts: Vec<_> =
        (0..40).map(|n| (0, vec![Step::SetText(vec![n as u8; 100_000 + n])])).collect();
    assert_same(&scripts[..], 100, 3, false);
}
