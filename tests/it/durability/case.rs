//! A job whose output is known, and what must hold of its files at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Command, Ended, Place};

/// Settings for many checkpoints in little time. Restarts do not wait.
pub(super) const OFTEN: &str = r#"
    checkpoint-interval = "50ms"
    restart-strategy = { type = "fixed-delay", attempts = 1000, delay = "1ms" }
"#;

/// Counts words, slowly and with many checkpoints, so that it can be interrupted. `slow` has two states, the count one of the same name and kind.
pub(super) const SLOW_WORDS: &str = r#"
    name = "words"
    checkpoint-interval = "10ms"
    # The starts that are refused are no reason to wait before the next one.
    restart-strategy = "none"
    batch-records = 128
    queue-bytes = "8KiB"
    [sources.lines]
    connector = "file"
    path = "in/*.txt"
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "lines"
    [operators.slow]
    component = "@operators/misbehave.wasm"
    from = "split"
    config = { mode = "slow" }
    [operators.count]
    component = "@operators/word_count.wasm"
    from = "slow"
    config = { emit = "every" }
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out"
    format = "text"
    key-type = "text"
    value-type = "u64"
"#;

/// A job, and the input that it wants.
pub(super) struct Case {
    pub(super) job: String,
    pub(super) prepare: fn(&Place),
    /// Whether it lies in memory, so that there are as many checkpoints as it wants.
    pub(super) in_memory: bool,
}

impl Case {
    /// A place in which it can be run.
    pub(super) fn place(&self) -> Place {
        let place = if self.in_memory { Place::in_memory() } else { Place::new() };
        place.job(&self.job);
        (self.prepare)(&place);
        place
    }

    /// What a run without disturbance publishes, and how long it takes.
    pub(super) fn undisturbed(&self) -> (Vec<String>, Duration) {
        let place = self.place();
        let began = Instant::now();
        place.run().end().expect(0);
        (sorted(published(&place).into_values()), began.elapsed())
    }
}

/// The published files in `out`, with their contents.
pub(super) fn published(place: &Place) -> BTreeMap<String, String> {
    let names = place.names("out").into_iter().filter(|name| name.starts_with("part-"));
    let read = |name: String| {
        let bytes = fs::read(place.path("out").join(&name)).expect("outputs are readable");
        let text = match name.ends_with(".gz") {
            false => String::from_utf8(bytes).expect("outputs are text"),
            true => {
                let mut text = String::new();
                let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
                decoder.read_to_string(&mut text).expect("a published file is whole");
                text
            }
        };
        (name, text)
    };
    names.map(read).collect()
}

pub(super) fn sorted(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let lines = texts.into_iter().flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>());
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}

/// What was published at the moments that were looked at.
pub(super) struct Watch<'a> {
    expected: &'a [String],
    seen: BTreeMap<String, String>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(expected: &'a [String]) -> Self {
        Self { expected, seen: BTreeMap::new() }
    }

    /// Fails if a published file is gone or has changed, or if a line is there too often.
    #[track_caller]
    pub(super) fn check(&mut self, place: &Place) {
        let now = published(place);
        for (name, text) in &self.seen {
            assert!(now.get(name) == Some(text), "{name} has changed after it was published");
        }
        let mut expected = self.expected.iter();
        for line in sorted(now.values().cloned()) {
            assert!(expected.any(|e| *e == line), "{line:?} is published too often");
        }
        self.seen = now;
    }

    /// Fails unless all is published, and nothing unfinished is left.
    #[track_caller]
    pub(super) fn check_end(&mut self, place: &Place) {
        self.check(place);
        let lines = sorted(self.seen.values().cloned());
        let lost = self.expected.len() - lines.len();
        assert!(lines == self.expected, "{lost} of {} lines are lost", self.expected.len());
        let names = place.names("out");
        assert!(names.iter().all(|name| name.starts_with("part-")), "{names:?}");
    }
}

/// Starts `run` and kills it unless it ends within `delay`. Answers how it ended if it did, well.
#[track_caller]
pub(super) fn killed_after(run: Command, delay: Duration) -> Option<Ended> {
    let running = run.start();
    if running.ends_within(delay) {
        return Some(running.end().expect(0));
    }
    running.signal(Signal::KILL);
    let ended = running.end().has_no_panic();
    match ended.is_killed() {
        true => None,
        // It came to its end before the signal did.
        false => Some(ended.expect(0)),
    }
}
