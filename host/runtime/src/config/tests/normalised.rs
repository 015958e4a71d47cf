//! The whole plan as text: everything is in it, and it gives the same plan again.

use proptest::prelude::*;

use super::load;
use super::show::{SINKS, SOURCES};
use crate::config::{JobPlan, Locations};

/// A plan without what depends on where it was written. Debug output holds every field, so none can be
/// forgotten in the text.
fn facts(plan: &JobPlan) -> String {
    format!("{:#?}", JobPlan { locations: Locations::default(), ..plan.clone() })
}

#[track_caller]
fn survives(text: &str) -> String {
    let plan = load(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let normalised = plan.normalised();
    let again = load(&normalised, &[]).unwrap_or_else(|error| panic!("{error}\n{normalised}"));
    assert_eq!(facts(&again), facts(&plan), "{normalised}");
    assert_eq!(again.normalised(), normalised);
    normalised
}

const RESTARTS: [&str; 5] = [
    "\"none\"",
    "\"exponential-delay\"",
    "{ type = \"exponential-delay\", backoff-multiplier = 2, jitter-factor = 0, \
     attempts-before-reset-backoff = 3, max-backoff = \"1h 5ms\" }",
    "{ type = \"fixed-delay\", attempts = 7, delay = 1 }",
    "{ type = \"failure-rate\", max-failures-per-interval = 2, failure-rate-interval = \"1y\" }",
];

#[test]
fn sources_sinks_and_strategies_survive() {
    for lines in SOURCES {
        survives(&format!("name = \"a\"\n[sources.x]\n{lines}\n"));
    }
    for lines in SINKS {
        survives(&format!("name = \"a\"\n[sinks.x]\n{lines}\nfrom = \"op\"\n"));
    }
    for restart in RESTARTS {
        survives(&format!("name = \"a\"\nrestart-strategy = {restart}\n"));
    }
}

#[test]
fn operators_survive_with_inputs_configuration_limits_and_poison_rules() {
    survives(
        "name = \"a\"\non-poison = \"skip\"\npoison-limit = 5\ndead-letter-dir = \"dead\"\n\
         state-timeout = \"3h\"\ncheckpoint-dir = \"cp\"\n\
         [operators.one]\ncomponent = \"x.wasm\"\nfrom = \"in\"\n\
         [operators.many]\ncomponent = \"/x\"\n\
         from = [\"in\", { from = \"b.c\", edge = \"keyed\" }]\non-poison = \"dead-letter\"\n\
         [operators.named]\ncomponent = \"x\"\ninputs.\"odd \\\"name\\n\" = \"in\"\n\
         inputs.right = [\"in\", { from = \"b\", edge = \"broadcast\" }]\non-poison = \"fail\"\n\
         config = { s = \"a \\\"b\\\"\\n'c'\", \"k.l\" = 1.5, b = true }\n\
         limits = { memory = \"1MiB\", process-cpu = \"1500us\", log-lines-per-second = 0 }\n\
         grants.environment = [\"A\", \"b c\"]\n\
         grants.directories = [{ path = \"m\" }, { path = \"/\", as = \"/deep/er\" }]\n\
         [operators.alone]\ncomponent = \"x\"\n",
    );
}

#[test]
fn texts_that_look_like_something_else_stay_texts() {
    survives(
        "name = \"7\"\n[sources.a]\nconnector = \"file\"\npath = \"/[x]*\"\nformat = \"csv\"\n\
         key = \"7\"\n[sources.b]\nconnector = \"file\"\npath = [\"/x\", \"/y \\\"z\"]\n\
         format = \"csv\"\nkey = \"[1]\"\n\
         [sinks.out]\nconnector = \"stdout\"\nformat = \"text\"\nvalue-type = \"json\"\n\
         fields = [\"1\", \"it's\"]\n",
    );
}

#[test]
fn the_text_reads_like_a_job_file() {
    let normalised = survives(
        "name = \"a\"\n[sources.in]\nconnector = \"stdin\"\n\
         [sinks.out]\nconnector = \"stdout\"\nfrom = \"in\"\n",
    );
    let expected = r#"name = "a"
tenant = "default"
parallelism = 1
key-groups = 128
state-backend = "memory"
batch-records = 4096
batch-bytes = "256KiB"
linger = "1ms"
queue-bytes = "1MiB"
checkpointing-mode = "exactly-once"
checkpoint-interval = "10s"
min-pause-between-checkpoints = "0s"
checkpoint-timeout = "1m"
tolerable-failed-checkpoints = 3
checkpoints-retained = 3
heartbeat-interval = "1s"
heartbeat-timeout = "5s"
stop-timeout = "30s"
storage-timeout = "30s"
wal = "auto"
wal-quota = "1GiB"

[restart-strategy]
type = "exponential-delay"
initial-backoff = "1s"
max-backoff = "1m"
backoff-multiplier = 1.5
reset-backoff-threshold = "1h"
jitter-factor = 0.1

[sources.in]
connector = "stdin"
format = "lines"

[sinks.out]
connector = "stdout"
from = "in"
format = "raw"
"#;
    assert_eq!(normalised, expected);
}

#[test]
fn what_is_shown_of_a_job_has_every_setting_and_says_what_is_absent() {
    let plan = load("name = \"a\"\nrestart-strategy = \"exponential-delay\"\n", &[]).unwrap();
    let shown = plan.show();
    let value = |key: &str| {
        let found = shown.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("{key}"))
    };
    assert_eq!((value("parallelism"), value("state-timeout")), ("1", "none"));
    assert_eq!(value("checkpoint-dir"), "in the job's data directory");
    assert_eq!(value("restart-strategy.type"), "exponential-delay");
    assert_eq!(value("restart-strategy.backoff-multiplier"), "1.5");
    assert_eq!(value("restart-strategy.attempts-before-reset-backoff"), "unlimited");
    assert!(shown.iter().all(|(name, _)| name != "dead-letter-dir"));
    let text = "name = \"a\"\non-poison = \"dead-letter\"\n[operators.op]\ncomponent = \"x\"\n";
    let plan = load(text, &[]).unwrap();
    assert!(plan.show().contains(&("dead-letter-dir".into(), "/jobs/dead-letters".into())));
    let poison = [("on-poison", "dead-letter".to_owned()), ("poison-limit", "100".to_owned())];
    assert_eq!(plan.operators[0].show_poison(), poison);
}

proptest! {
    #[test]
    fn any_settings_survive(
        times_us in proptest::collection::vec(10_000u64..80_000_000_000, 6),
        heartbeat_us in 10_000u64..3_600_000_000,
        counts in proptest::collection::vec(1u64..1_000, 3),
        quota_bytes in 1u64 << 24..1 << 44,
        multiplier in 1.0f64..100.0,
        jitter in 0.0f64..1.0,
        attempts in proptest::option::of(1u32..),
    ) {
        let us = |index: usize| format!("\"{}us\"", times_us[index]);
        let stop_us = format!("\"{}us\"", times_us[3].min(600_000_000));
        let attempts = attempts.map_or(String::new(), |attempts| {
            format!("attempts-before-reset-backoff = {attempts}\n")
        });
        let text = format!(
            "name = \"a\"\ncheckpoint-interval = {}\nmin-pause-between-checkpoints = {}\n\
             checkpoint-timeout = {}\nstop-timeout = {}\nstorage-timeout = {}\n\
             heartbeat-interval = \"{heartbeat_us}us\"\nheartbeat-timeout = \"{}us\"\n\
             tolerable-failed-checkpoints = {}\ncheckpoints-retained = {}\n\
             wal-quota = {quota_bytes}\non-poison = \"skip\"\npoison-limit = {}\n\
             [restart-strategy]\ntype = \"exponential-delay\"\nbackoff-multiplier = {multiplier:?}\n\
             jitter-factor = {jitter:?}\nreset-backoff-threshold = {}\n{attempts}\
             [operators.op]\ncomponent = \"x\"\n",
            us(0), us(1), us(2), stop_us, us(4), heartbeat_us + 1_000_000,
            counts[0], counts[1], counts[2], us(5)
        );
        survives(&text);
    }
}
