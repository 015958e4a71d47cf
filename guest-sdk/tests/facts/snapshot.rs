//! Operators that keep state in their own memory.

use tidemill_sdk::testing::Harness;
use tidemill_sdk::{Context, Description, Error, OpenContext, Operator, Record, Result, Snapshot};

/// Counts lines and bytes, and saves both only if it is told to.
struct Counting {
    lines: u64,
    bytes: u64,
    saves_bytes: bool,
    save_bytes: usize,
}

impl Operator for Counting {
    fn describe() -> Description {
        Description::new("counting", "1").input("lines").output("out")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        let (saves_bytes, save_bytes) = (ctx.config_or("all", true)?, ctx.config_or("save", 0)?);
        Ok(Self { lines: 0, bytes: 0, saves_bytes, save_bytes })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        match record.value() {
            b"bad" => return Err(Error::bad_record("no")),
            b"fatal" => return Err(Error::fatal("enough")),
            b"much" => return (0..9).try_for_each(|_| ctx.emit_unkeyed(&vec![0; 1024 * 1024])),
            line => self.bytes += line.len() as u64,
        }
        self.lines += 1;
        ctx.emit_unkeyed(&format!("{} {}", self.lines, self.bytes))
    }
}

impl Snapshot for Counting {
    fn save(&self) -> Result<Vec<u8>> {
        let bytes = if self.saves_bytes { self.bytes } else { 0 };
        let mut saved = [self.lines.to_le_bytes(), bytes.to_le_bytes()].concat();
        saved.resize(saved.len().max(self.save_bytes), 0);
        Ok(saved)
    }

    fn restore(&mut self, saved: &[u8]) -> Result<()> {
        let (numbers, _) = saved.as_chunks();
        [self.lines, self.bytes] = [numbers[0], numbers[1]].map(u64::from_le_bytes);
        Ok(())
    }
}

fn opened(config: &[(&str, &str)]) -> Harness<Counting> {
    let harness = Harness::new().with_snapshot().batch_size(1);
    let set = |harness: Harness<_>, (key, value): &(&str, &str)| harness.config(key, value);
    config.iter().fold(harness, set).open().unwrap()
}

fn last(harness: &Harness<Counting>) -> String {
    let (_, value) = harness.outputs("out").pop().unwrap();
    String::from_utf8(value).unwrap()
}

#[test]
fn what_was_saved_outlives_the_instance() {
    let mut harness = opened(&[]);
    assert_eq!(harness.saved(), None);
    harness.send_unkeyed("lines", &["a", "bb", "bad", "ccc"]).unwrap();
    assert_eq!((last(&harness).as_str(), harness.rejected().len()), ("3 6", 1));
}

#[test]
fn what_was_forgotten_in_save_shows() {
    let mut harness = opened(&[("all", "false")]);
    harness.send_unkeyed("lines", &["a", "bb"]).unwrap();
    assert_eq!(last(&harness), "2 2");
}

#[test]
fn a_call_that_fails_changes_nothing_of_what_was_saved() {
    let mut harness = opened(&[]);
    harness.send_unkeyed("lines", &["a"]).unwrap();
    assert_eq!(harness.send_unkeyed("lines", &["fatal"]).unwrap_err().message(), "enough");
    harness.send_unkeyed("lines", &["bb"]).unwrap();
    assert_eq!(last(&harness), "2 3");
}

#[test]
fn a_batch_over_a_limit_is_neither_halved_nor_blamed() {
    let open = || Harness::<Counting>::new().with_snapshot().batch_size(2).open().unwrap();
    let mut harness = open();
    let refused = harness.send_unkeyed("lines", &["much", "much"]).unwrap_err();
    assert!(refused.message().contains("16 MiB"), "{refused}");
    assert!(harness.rejected().is_empty() && harness.outputs("out").is_empty());
    open().send_unkeyed("lines", &["much"]).unwrap();
}

#[test]
fn more_than_may_be_saved_is_refused() {
    let mut harness = opened(&[("save", "16777216")]);
    harness.send_unkeyed("lines", &["a"]).unwrap();
    let mut harness = opened(&[("save", "16777217")]);
    assert!(harness.send_unkeyed("lines", &["a"]).unwrap_err().message().contains("16 MiB"));
}

struct Both;

impl Operator for Both {
    fn describe() -> Description {
        Description::new("both", "1").keyed_input("in").value_state::<u64>("sum")
    }

    fn open(_ctx: &mut OpenContext) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, _record: Record<'_>, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

impl Snapshot for Both {
    fn save(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _saved: &[u8]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn state_is_kept_in_one_place() {
    let refused = Harness::<Both>::new().with_snapshot().open().unwrap_err();
    assert!(refused.message().contains("keyed state"), "{refused}");
}
