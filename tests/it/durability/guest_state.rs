//! State that an operator keeps in its own memory goes with the checkpoints, too.

use super::case::{Case, Watch};
use super::failpoints::run_to;

const JOB: &str = r#"
    name = "top-bids"
    checkpoint-interval = "10ms"
    [sources.events]
    connector = "nexmark"
    events = 1000000
    partitions = 2
    encoding = "msgpack"
    [operators.top-bids]
    component = "@operators/top_bids.wasm"
    from = "events"
    config = { count = 1000 }
    [sinks.out]
    connector = "file"
    from = "top-bids"
    path = "out"
    format = "text"
    value-type = "msgpack"
    fields = [0, 1, 2]
"#;

#[test]
fn the_highest_bids_are_those_of_a_run_without_kills() {
    let case = Case { job: JOB.to_owned(), prepare: |_| {}, in_memory: true };
    let (expected, _) = case.undisturbed();
    assert_eq!(expected.len(), 1000);
    let place = case.place();
    let mut watch = Watch::new(&expected);
    let kills =
        [("manifest.after", 3), ("commit.after", 1), ("commit.mark", 2), ("manifest.before", 2)];
    for (at, count) in kills {
        run_to(&place, at, count, &[]);
        watch.check(&place);
    }
    // What lies in one memory cannot be dealt to two.
    let says = ["operator top-bids keeps state in its own memory", "run it with parallelism 1"];
    place.run().set("parallelism=2").end().refuses(78, &says);
    let ended = place.run().end().expect(0).has_no_panic();
    ended.says(&["Going on from checkpoint"]);
    watch.check_end(&place);
}
