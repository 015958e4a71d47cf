//! Kills at any time: whatever a run was doing, the next ones publish the rest, once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::case::{Case, OFTEN, Watch, killed_after};
use super::inputs;

/// Kills of each job, unless the environment says otherwise.
const KILLS: usize = 6;

/// Times of kills.
struct Chance(u64);

impl Chance {
    fn new(job: &str) -> Self {
        let given = std::env::var("TIDEMILL_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("{job}: TIDEMILL_KILL_SEED={seed}");
        Self(seed)
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        longest.mul_f64((z ^ z >> 31) as f64 / u64::MAX as f64)
    }
}

/// Kills the job again and again; whenever it comes to its end all is checked, and it begins anew elsewhere.
#[track_caller]
fn survives(case: &Case, name: &str) {
    let wanted = std::env::var("TIDEMILL_KILLS").ok().and_then(|kills| kills.parse().ok());
    let wanted: usize = wanted.unwrap_or(KILLS);
    let (expected, takes) = case.undisturbed();
    assert!(expected.len() > 10_000, "{} lines are too few", expected.len());
    let mut chance = Chance::new(name);
    let (mut kills, mut resumed) = (0, 0);
    while kills < wanted {
        let place = case.place();
        let mut watch = Watch::new(&expected);
        loop {
            let delay = if kills < wanted { chance.up_to(takes) } else { Duration::MAX };
            let ended = killed_after(place.run(), delay);
            watch.check(&place);
            match ended {
                None => kills += 1,
                Some(ended) => {
                    resumed += usize::from(ended.stderr.contains("Going on from checkpoint"));
                    break;
                }
            }
        }
        watch.check_end(&place);
    }
    println!("{name}: {kills} kills, takes {takes:?}, {resumed} runs ended that had gone on");
}

#[test]
fn words_are_counted_once_whatever_is_killed() {
    let job = format!(
        r#"
        name = "words"
        parallelism = 2
        {OFTEN}
        [sources.lines]
        connector = "nexmark"
        stream = "lines"
        events = 8000
        partitions = 4
        [operators.split]
        component = "@operators/word_split.wasm"
        from = "lines"
        [operators.count]
        component = "@operators/word_count.wasm"
        from = "split"
        config = {{ emit = "every" }}
        [sinks.out]
        connector = "file"
        from = "count"
        path = "out"
        format = "text"
        key-type = "text"
        value-type = "u64"
        "#
    );
    survives(&Case { job, prepare: |_| {}, in_memory: false }, "words");
}

#[test]
fn bids_that_come_by_two_ways_are_counted_once_on_each() {
    let job = format!(
        r#"
        name = "bids"
        parallelism = 2
        {OFTEN}
        [sources.events]
        connector = "nexmark"
        events = 40000
        partitions = 4
        encoding = "msgpack"
        [operators.left]
        component = "@operators/nexmark.wasm"
        from = "events"
        config = {{ query = "split" }}
        [operators.right]
        component = "@operators/nexmark.wasm"
        from = {{ from = "events", edge = "rebalance" }}
        config = {{ query = "split" }}
        [operators.count]
        component = "@operators/nexmark_count.wasm"
        from = ["left.bids", "right.bids"]
        [sinks.out]
        connector = "file"
        from = "count"
        path = "out"
        format = "text"
        key-type = "integer"
        value-type = "u64"
        # The count; sums so far depend on the order of the partitions.
        fields = [0]
        "#
    );
    survives(&Case { job, prepare: |_| {}, in_memory: false }, "bids");
}

#[test]
fn bids_that_wait_for_their_auction_in_lists_are_joined_once() {
    let job = format!(
        r#"
        name = "join"
        parallelism = 2
        {OFTEN}
        [sources.events]
        connector = "nexmark"
        events = 60000
        partitions = 4
        encoding = "msgpack"
        [operators.split]
        component = "@operators/nexmark.wasm"
        from = "events"
        config = {{ query = "split" }}
        [operators.enrich]
        component = "@operators/enrich.wasm"
        inputs.bids = "split.bids"
        inputs.auctions = "split.auctions"
        [sinks.out]
        connector = "file"
        from = "enrich"
        path = "out"
        format = "text"
        value-type = "msgpack"
        fields = [0, 1, 2, 3]
        "#
    );
    survives(&Case { job, prepare: |_| {}, in_memory: false }, "join");
}

#[test]
fn compressed_and_split_files_are_read_once() {
    let job = format!(
        r#"
        name = "files"
        parallelism = 2
        {OFTEN}
        [sources.text]
        connector = "file"
        path = ["text/*.txt", "text/*.gz", "text/*.zst"]
        split-size = "64KiB"
        [operators.split]
        component = "@operators/word_split.wasm"
        from = "text"
        [operators.count]
        component = "@operators/word_count.wasm"
        from = "split"
        config = {{ emit = "every" }}
        [sinks.out]
        connector = "file"
        from = "count"
        path = "out"
        format = "text"
        key-type = "text"
        value-type = "u64"
        "#
    );
    survives(&Case { job, prepare: inputs::texts, in_memory: false }, "files");
}

#[test]
fn ndjson_is_read_once_and_written_compressed_once() {
    let job = format!(
        r#"
        name = "ndjson"
        parallelism = 2
        {OFTEN}
        [sources.records]
        connector = "file"
        path = "in/*.ndjson"
        format = "ndjson"
        key = "k"
        split-size = "64KiB"
        [operators.count]
        component = "@operators/word_count.wasm"
        from = "records"
        config = {{ emit = "every" }}
        [sinks.out]
        connector = "file"
        from = "count"
        path = "out"
        format = "ndjson"
        key-type = "text"
        value-type = "u64"
        compression = "gzip"
        "#
    );
    survives(&Case { job, prepare: inputs::records, in_memory: false }, "ndjson");
}
