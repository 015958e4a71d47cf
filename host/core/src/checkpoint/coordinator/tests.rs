//! The coordinator by itself: what it does when, and what changes nothing.

use super::*;
use crate::checkpoint::{AckContent, OperatorAck};

fn settings() -> CoordinatorSettings {
    CoordinatorSettings {
        interval_ms: 100,
        min_pause_ms: 30,
        timeout_ms: 50,
        tolerable_failures: 1,
    }
}

fn coordinator() -> Coordinator {
    Coordinator::new(settings(), 2, 1, CheckpointId(4), 0)
}

fn ack(checkpoint: u64, node: usize) -> Fact {
    Fact::Acknowledged(TaskAck {
        checkpoint: CheckpointId(checkpoint),
        node: NodeId(node),
        lane: LaneId(0),
        alignment_us: 7,
        content: AckContent::Source { positions: Vec::new() },
    })
}

fn trigger(checkpoint: u64, completed: u64) -> Vec<Action> {
    let (checkpoint, completed) = (CheckpointId(checkpoint), CheckpointId(completed));
    vec![Action::Trigger(Barrier { checkpoint, completed })]
}

fn is_writing(actions: &[Action], checkpoint: u64) -> bool {
    matches!(actions, [Action::WriteManifest(g)] if g.checkpoint == CheckpointId(checkpoint))
}

/// Takes a checkpoint that was triggered to its end.
fn complete(coordinator: &mut Coordinator, checkpoint: u64, now_ms: u64) -> Vec<Action> {
    coordinator.learn(ack(checkpoint, 0), now_ms);
    assert!(is_writing(&coordinator.learn(ack(checkpoint, 1), now_ms), checkpoint));
    let id = CheckpointId(checkpoint);
    let told = coordinator.learn(Fact::ManifestWritten(id), now_ms);
    assert_eq!(told, [Action::TellCompleted(id), Action::Commit(id)]);
    coordinator.learn(Fact::Committed(id), now_ms)
}

#[test]
fn a_checkpoint_goes_from_trigger_to_manifest_to_commit() {
    let mut coordinator = coordinator();
    assert_eq!(coordinator.learn(Fact::Active, 1), []);
    assert_eq!(coordinator.deadline_ms(), Some(100));
    assert_eq!(coordinator.tick(99), []);
    assert_eq!(coordinator.tick(100), trigger(5, 4));
    let done = complete(&mut coordinator, 5, 120);
    let completion = Completion {
        checkpoint: CheckpointId(5),
        purpose: Purpose::Periodic,
        duration_ms: 20,
        alignment_us: 7,
        added_bytes: 0,
    };
    assert_eq!(done, [Action::Finished(completion)]);
    assert_eq!(coordinator.completed(), CheckpointId(5));
}

#[test]
fn nothing_is_committed_before_the_manifest_and_no_other_begins_before_the_commit() {
    let mut coordinator = coordinator();
    coordinator.learn(Fact::Active, 0);
    coordinator.tick(100);
    assert_eq!(coordinator.learn(Fact::Committed(CheckpointId(5)), 101), []);
    assert_eq!(coordinator.learn(Fact::ManifestWritten(CheckpointId(5)), 101), []);
    coordinator.learn(ack(5, 0), 101);
    coordinator.learn(ack(5, 1), 101);
    coordinator.learn(Fact::Active, 102);
    assert_eq!(coordinator.learn(Fact::SavepointWanted, 900), []);
    coordinator.learn(Fact::ManifestWritten(CheckpointId(5)), 901);
    assert_eq!(coordinator.tick(5000), []);
    let actions = coordinator.learn(Fact::Committed(CheckpointId(5)), 5001);
    assert!(matches!(actions[..], [Action::Finished(_), Action::Trigger(_)]), "{actions:?}");
}

#[test]
fn answers_that_come_twice_late_or_from_nowhere_change_nothing() {
    let mut coordinator = coordinator();
    coordinator.learn(Fact::Active, 0);
    coordinator.tick(100);
    for fact in [ack(5, 0), ack(5, 0), ack(4, 1), ack(6, 1), ack(5, 9)] {
        assert_eq!(coordinator.learn(fact, 101), []);
    }
    assert!(is_writing(&coordinator.learn(ack(5, 1), 102), 5));
    assert_eq!(coordinator.learn(ack(5, 1), 102), []);
}

#[test]
fn one_that_takes_too_long_is_given_up_and_its_late_answers_are_ignored() {
    let mut coordinator = coordinator();
    coordinator.learn(Fact::Active, 0);
    coordinator.tick(100);
    coordinator.learn(ack(5, 0), 101);
    assert_eq!(coordinator.deadline_ms(), Some(150));
    let actions = coordinator.tick(150);
    let [Action::Abort { checkpoint: CheckpointId(5), reason, .. }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert!(reason.contains("node 1 on lane 0") && !reason.contains("node 0"), "{reason}");
    assert_eq!(coordinator.learn(ack(5, 1), 151), []);
    assert_eq!(coordinator.tick(199), []);
    assert_eq!(coordinator.tick(200), trigger(6, 4));
    complete(&mut coordinator, 6, 201);
}

#[test]
fn more_failures_in_a_row_than_are_tolerable_fail_the_job_and_a_success_begins_anew() {
    let mut coordinator = coordinator();
    let decline = |checkpoint| Fact::Declined {
        checkpoint: CheckpointId(checkpoint),
        reason: "disk".to_owned(),
    };
    coordinator.learn(Fact::Active, 0);
    coordinator.tick(100);
    assert!(matches!(coordinator.learn(decline(5), 100)[..], [Action::Abort { .. }]));
    coordinator.tick(200);
    complete(&mut coordinator, 6, 200);
    coordinator.learn(Fact::Active, 300);
    coordinator.tick(300);
    coordinator.learn(decline(7), 300);
    coordinator.tick(400);
    let actions = coordinator.learn(decline(8), 400);
    assert!(matches!(actions[..], [Action::Abort { .. }, Action::Fail { .. }]), "{actions:?}");
    assert_eq!((coordinator.tick(10_000), coordinator.deadline_ms()), (vec![], None));
}

#[test]
fn an_idle_job_skips_checkpoints_but_one_that_was_given_up_is_made_up_for() {
    let mut coordinator = coordinator();
    assert_eq!(coordinator.tick(100), []);
    assert_eq!(coordinator.deadline_ms(), Some(200));
    coordinator.learn(Fact::Active, 150);
    assert_eq!(coordinator.tick(200), trigger(5, 4));
    coordinator.tick(250);
    assert_eq!(coordinator.tick(300), trigger(6, 4));
}

#[test]
fn the_pause_after_a_checkpoint_is_kept() {
    let mut coordinator = coordinator();
    coordinator.learn(Fact::Active, 0);
    coordinator.tick(100);
    complete(&mut coordinator, 5, 190);
    coordinator.learn(Fact::Active, 191);
    assert_eq!(coordinator.tick(219), []);
    assert_eq!(coordinator.tick(220), trigger(6, 5));
}

#[test]
fn a_stop_takes_one_last_checkpoint_even_after_one_that_failed() {
    let mut coordinator = coordinator();
    let actions = coordinator.learn(Fact::StopWanted, 1);
    assert_eq!(actions, [vec![Action::StopSources], trigger(5, 4)].concat());
    let reason = "no".to_owned();
    let declined = Fact::Declined { checkpoint: CheckpointId(5), reason };
    let actions = coordinator.learn(declined, 2);
    assert!(matches!(actions[..], [Action::Abort { .. }, Action::Trigger(_)]), "{actions:?}");
    let done = complete(&mut coordinator, 6, 3);
    assert!(matches!(&done[..], [Action::Finished(c)] if c.purpose == Purpose::Stop), "{done:?}");
    coordinator.learn(Fact::Active, 4);
    assert_eq!(coordinator.tick(10_000), []);
}

#[test]
fn the_end_of_all_lanes_takes_a_last_checkpoint() {
    let mut coordinator = Coordinator::new(settings(), 1, 2, CheckpointId(0), 0);
    assert_eq!(coordinator.learn(Fact::LaneEnded(LaneId(1)), 5), []);
    assert_eq!(coordinator.learn(Fact::LaneEnded(LaneId(1)), 5), []);
    assert_eq!(coordinator.learn(Fact::LaneEnded(LaneId(0)), 6), trigger(1, 0));
}

#[test]
fn who_is_to_rest_does_so_for_so_many_times_as_long_as_the_last_checkpoint_took() {
    let mut coordinator = coordinator();
    coordinator.learn(Fact::Active, 1);
    assert_eq!(coordinator.tick(100), trigger(5, 4));
    coordinator.rest_at_least(4);
    complete(&mut coordinator, 5, 140);
    coordinator.learn(Fact::Active, 150);
    assert_eq!(coordinator.deadline_ms(), Some(140 + 4 * 40));
    assert_eq!(coordinator.tick(299), []);
    // It need not any more.
    coordinator.rest_at_least(0);
    assert_eq!(coordinator.deadline_ms(), Some(200));
    assert_eq!(coordinator.tick(299), trigger(6, 5));
}

#[test]
fn who_is_to_rest_does_so_though_room_is_wanted_in_the_wal_but_not_for_ever_nor_before_a_stop() {
    let mut coordinator = coordinator();
    coordinator.learn(Fact::Active, 1);
    assert_eq!(coordinator.tick(100), trigger(5, 4));
    coordinator.rest_at_least(4);
    complete(&mut coordinator, 5, 120);
    assert_eq!(coordinator.learn(Fact::WalPressure, 130), []);
    assert_eq!(coordinator.deadline_ms(), Some(200), "its interval is over by then");
    assert_eq!(coordinator.tick(200), trigger(6, 5));
    // This one takes very long.
    complete(&mut coordinator, 6, 1_000_000);
    assert_eq!(coordinator.learn(Fact::WalPressure, 1_000_001), []);
    assert_eq!(coordinator.deadline_ms(), Some(1_000_000 + REST_MS_MAX));
    let stopped = coordinator.learn(Fact::StopWanted, 1_000_002);
    assert_eq!(stopped[1..], trigger(7, 6));
}

#[test]
fn more_memory_of_operators_than_a_manifest_has_room_for_gives_the_checkpoint_up() {
    let saving = |node, bytes| {
        let Fact::Acknowledged(ack) = ack(5, node) else { unreachable!() };
        let content = AckContent::Operator(OperatorAck {
            closed: false,
            clock_ms: 0,
            calls: 0,
            is_base: true,
            file: None,
            saved: Some(vec![0; bytes]),
        });
        Fact::Acknowledged(TaskAck { content, ..ack })
    };
    let triggered = || {
        let mut coordinator = coordinator();
        coordinator.learn(Fact::Active, 0);
        assert_eq!(coordinator.tick(100), trigger(5, 4));
        coordinator
    };
    let mut small = triggered();
    small.learn(saving(0, SAVED_BYTES_MAX / 2), 101);
    assert!(is_writing(&small.learn(saving(1, SAVED_BYTES_MAX / 2), 101), 5));
    let mut large = triggered();
    large.learn(saving(0, SAVED_BYTES_MAX / 2), 101);
    let actions = large.learn(saving(1, SAVED_BYTES_MAX / 2 + 2), 101);
    let reason = match &actions[..] {
        [Action::Abort { reason, .. }, ..] => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("of their own memory"), "{reason}");
}
