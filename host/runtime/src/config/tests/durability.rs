//! Checkpoints, heartbeats, timeouts, the input log and poison records.

use std::path::Path;

use super::{load, refused_with};
use crate::config::{
    CheckpointPlan, CheckpointingMode, HeartbeatPlan, JobPlan, OnPoison, PoisonPlan, TimeoutPlan,
    WalMode, WalPlan,
};

fn job(lines: &str) -> JobPlan {
    load(&format!("name = \"a\"\n{lines}\n"), &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Lines of the job's own settings, from line 2 on.
#[track_caller]
fn setting(lines: &str, expected: &str) {
    refused_with(&format!("name = \"a\"\n{lines}\n"), &[], expected);
}

#[test]
fn what_is_left_out_takes_its_default() {
    let plan = job("[operators.op]\ncomponent = \"x\"");
    let checkpoints = CheckpointPlan {
        mode: CheckpointingMode::ExactlyOnce,
        interval_ms: 10_000,
        min_pause_ms: 0,
        timeout_ms: 60_000,
        tolerable_failures: 3,
        retained: 3,
        directory: None,
    };
    assert_eq!(plan.checkpoints, checkpoints);
    assert_eq!(plan.heartbeat, HeartbeatPlan { interval_ms: 1_000, timeout_ms: 5_000 });
    assert_eq!(plan.timeouts, TimeoutPlan { stop_ms: 30_000, storage_ms: 30_000 });
    assert_eq!(plan.wal, WalPlan { mode: WalMode::Auto, quota_bytes: 1 << 30 });
    let poison = PoisonPlan { on_poison: OnPoison::Fail, limit_per_minute: 100 };
    assert_eq!(plan.operators[0].poison, poison);
    assert_eq!(plan.dead_letter_dir, None);
}

#[test]
fn every_setting_can_be_given() {
    let plan = job("checkpointing-mode = \"at-least-once\"\ncheckpoint-interval = \"2s\"\n\
         min-pause-between-checkpoints = \"500ms\"\ncheckpoint-timeout = 1_500\n\
         tolerable-failed-checkpoints = 0\ncheckpoints-retained = 1\ncheckpoint-dir = \"cp\"\n\
         heartbeat-interval = \"100ms\"\nheartbeat-timeout = \"101ms\"\nstop-timeout = \"1m\"\n\
         storage-timeout = \"2m\"\nwal = \"inputs\"\nwal-quota = \"16MiB\"");
    let checkpoints = CheckpointPlan {
        mode: CheckpointingMode::AtLeastOnce,
        interval_ms: 2_000,
        min_pause_ms: 500,
        timeout_ms: 1_500,
        tolerable_failures: 0,
        retained: 1,
        directory: Some("/jobs/cp".into()),
    };
    assert_eq!(plan.checkpoints, checkpoints);
    assert_eq!(plan.heartbeat, HeartbeatPlan { interval_ms: 100, timeout_ms: 101 });
    assert_eq!(plan.timeouts, TimeoutPlan { stop_ms: 60_000, storage_ms: 120_000 });
    assert_eq!(plan.wal, WalPlan { mode: WalMode::Inputs, quota_bytes: 16 << 20 });
}

#[test]
fn a_part_of_a_millisecond_counts_as_a_whole_one() {
    assert_eq!(job("stop-timeout = \"1500us\"").timeouts.stop_ms, 2);
}

#[test]
fn an_operator_overrides_what_the_job_says_of_poison_records() {
    let plan = job("on-poison = \"skip\"\npoison-limit = 7\n\
         [operators.a]\ncomponent = \"x\"\n\
         [operators.b]\ncomponent = \"x\"\non-poison = \"dead-letter\"\n\
         [operators.c]\ncomponent = \"x\"\npoison-limit = 1\n\
         [operators.d]\ncomponent = \"x\"\non-poison = \"fail\"");
    let poison: Vec<_> = plan.operators.iter().map(|operator| operator.poison).collect();
    let of = |on_poison, limit_per_minute| PoisonPlan { on_poison, limit_per_minute };
    assert_eq!(
        poison,
        [
            of(OnPoison::Skip, 7),
            of(OnPoison::DeadLetter, 7),
            of(OnPoison::Skip, 1),
            of(OnPoison::Fail, 100)
        ]
    );
}

#[test]
fn dead_letters_go_beside_the_job_file_or_elsewhere() {
    let op = "[operators.a]\ncomponent = \"x\"";
    let plan = job(&format!("on-poison = \"dead-letter\"\n{op}"));
    assert_eq!(plan.dead_letter_dir.as_deref(), Some(Path::new("/jobs/dead-letters")));
    let plan = job(&format!("on-poison = \"dead-letter\"\ndead-letter-dir = \"/var/dead\"\n{op}"));
    assert_eq!(plan.dead_letter_dir.as_deref(), Some(Path::new("/var/dead")));
    let plan = job("dead-letter-dir = \"dead\"\npoison-limit = 5\n\
         [operators.a]\ncomponent = \"x\"\non-poison = \"dead-letter\"");
    assert_eq!(plan.dead_letter_dir.as_deref(), Some(Path::new("/jobs/dead")));
    assert_eq!(plan.operators[0].poison.limit_per_minute, 5);
}

#[test]
fn overrides_reach_every_setting() {
    let text = "name = \"a\"\n[operators.op]\ncomponent = \"x\"\n";
    let sets = ["checkpoint-interval=2s", "wal-quota=50MiB", "operators.op.on-poison=skip"];
    let plan = load(text, &sets).unwrap();
    assert_eq!((plan.checkpoints.interval_ms, plan.wal.quota_bytes), (2_000, 50 << 20));
    assert_eq!(plan.operators[0].poison.on_poison, OnPoison::Skip);
    refused_with(text, &["wal=al"], "--set:1:5: wal: \"al\" is not one of `auto`, `inputs`");
}

#[test]
fn an_unknown_word() {
    setting(
        "checkpointing-mode = \"exactly-onc\"",
        "job.toml:2:22: checkpointing-mode: \"exactly-onc\" is not one of `exactly-once`, \
         `at-least-once`\nhelp: did you mean \"exactly-once\"?",
    );
    setting(
        "on-poison = \"dead-leter\"",
        "job.toml:2:13: on-poison: \"dead-leter\" is not one of `fail`, `skip`, `dead-letter`\n\
         help: did you mean \"dead-letter\"?",
    );
    setting(
        "checkpoint-intervall = 5",
        "job.toml:2:1: there is no setting `checkpoint-intervall` here\n\
         help: did you mean `checkpoint-interval`?",
    );
}

#[test]
fn a_value_outside_its_bounds() {
    let outside = |line: &str, expected: &str| {
        let (key, _) = line.split_once(' ').unwrap();
        let column = key.len() + 4;
        setting(line, &format!("job.toml:2:{column}: {key}: {expected}"));
    };
    outside("checkpoint-interval = 9", "9ms is outside 10ms to 1day");
    outside("min-pause-between-checkpoints = \"2days\"", "2days is outside 0s to 1day");
    outside("checkpoint-timeout = \"999us\"", "999us is outside 1ms to 1day");
    outside("tolerable-failed-checkpoints = 4294967296", "4294967296 is outside 0 to 4294967295");
    outside("checkpoints-retained = 0", "0 is outside 1 to 1000");
    outside("heartbeat-interval = 0", "0s is outside 10ms to 1h");
    outside("heartbeat-timeout = 99", "99ms is outside 100ms to 1day");
    outside("stop-timeout = \"11m\"", "11m is outside 1ms to 10m");
    outside("storage-timeout = 0", "0s is outside 1ms to 1day");
    outside("wal-quota = \"1023KiB\"", "1023KiB is outside 16MiB to 16TiB");
    outside("poison-limit = 0", "0 is outside 1 to 4294967295");
}

#[test]
fn an_empty_directory() {
    for key in ["checkpoint-dir", "dead-letter-dir"] {
        let place = format!("job.toml:2:{}", key.len() + 4);
        setting(
            &format!("{key} = \"\"\non-poison = \"dead-letter\""),
            &format!("{place}: {key}: expected a path, found an empty string"),
        );
    }
}

#[test]
fn a_heartbeat_timeout_that_is_not_longer_than_its_interval() {
    setting(
        "heartbeat-interval = \"1s\"\nheartbeat-timeout = \"1s\"",
        "job.toml:3:21: heartbeat-timeout: `heartbeat-timeout` is 1s, but must be more than \
         `heartbeat-interval`, which is 1s\n\
         help: raise `heartbeat-timeout`, or lower `heartbeat-interval`",
    );
    setting(
        "heartbeat-interval = \"6s\"",
        "job.toml:2:22: heartbeat-interval: `heartbeat-timeout` is 5s, but must be more than \
         `heartbeat-interval`, which is 6s\n\
         help: raise `heartbeat-timeout`, or lower `heartbeat-interval`",
    );
}

#[test]
fn a_setting_of_poison_records_that_nothing_uses() {
    let limit = "`poison-limit` has no effect with on-poison = \"fail\"\n\
                 help: say `on-poison = \"skip\"` or \"dead-letter\", or remove it";
    setting("poison-limit = 5", &format!("job.toml:2:16: poison-limit: {limit}"));
    setting(
        "on-poison = \"skip\"\n[operators.op]\ncomponent = \"x\"\non-poison = \"fail\"\n\
         poison-limit = 5",
        &format!("job.toml:6:16: operators.op.poison-limit: {limit}"),
    );
    setting(
        "on-poison = \"skip\"\ndead-letter-dir = \"d\"",
        "job.toml:3:19: dead-letter-dir: `dead-letter-dir` has no effect with no `on-poison = \
         \"dead-letter\"`\nhelp: say `on-poison = \"dead-letter\"`, or remove it",
    );
}
