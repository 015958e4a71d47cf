//! The strategies against what Flink documents of them.

use proptest::prelude::*;

use super::*;

/// No part of chance: the middle.
const MIDDLE: f64 = 0.5;

fn delay(decision: RestartDecision) -> u64 {
    match decision {
        RestartDecision::RestartAfter { delay_ms } => delay_ms,
        RestartDecision::GiveUp { reason } => panic!("gave up: {reason}"),
    }
}

fn reason(decision: RestartDecision) -> GiveUpReason {
    match decision {
        RestartDecision::GiveUp { reason } => reason,
        RestartDecision::RestartAfter { delay_ms } => panic!("restarts after {delay_ms} ms"),
    }
}

fn exponential(change: impl FnOnce(&mut ExponentialDelay)) -> RestartPolicy {
    let mut parameters = ExponentialDelay { jitter_factor: 0.0, ..ExponentialDelay::default() };
    change(&mut parameters);
    RestartPolicy::new(RestartStrategy::ExponentialDelay(parameters))
}

/// Fails as soon as each restart is due, and answers the delays.
fn fail_at_once(policy: &mut RestartPolicy, times: usize) -> Vec<u64> {
    let mut now_ms = 0;
    let mut delays = Vec::new();
    for _ in 0..times {
        let delay_ms = delay(policy.on_failure(now_ms, MIDDLE));
        delays.push(delay_ms);
        now_ms += delay_ms;
    }
    delays
}

#[test]
fn the_default_is_exponential_delay_with_flinks_parameters() {
    let RestartStrategy::ExponentialDelay(parameters) = RestartStrategy::default() else {
        panic!()
    };
    assert_eq!((parameters.initial_backoff_ms, parameters.max_backoff_ms), (1_000, 60_000));
    assert_eq!((parameters.backoff_multiplier, parameters.jitter_factor), (1.5, 0.1));
    assert_eq!(parameters.reset_backoff_threshold_ms, 3_600_000);
    assert_eq!(parameters.attempts_before_reset_backoff, None);
}

#[test]
fn none_gives_up_at_the_first_failure() {
    let mut policy = RestartPolicy::new(RestartStrategy::None);
    assert_eq!(reason(policy.on_failure(0, MIDDLE)), GiveUpReason::NoStrategy);
}

#[test]
fn fixed_delay_restarts_as_often_as_allowed_however_long_the_job_ran() {
    let strategy = RestartStrategy::FixedDelay(FixedDelay { attempts: 2, delay_ms: 7 });
    let mut policy = RestartPolicy::new(strategy);
    assert_eq!(delay(policy.on_failure(0, MIDDLE)), 7);
    assert_eq!(delay(policy.on_failure(u64::MAX / 2, MIDDLE)), 7);
    let last = reason(policy.on_failure(u64::MAX, MIDDLE));
    assert_eq!(last, GiveUpReason::AttemptsUsed { attempts: 2 });
}

#[test]
fn fixed_delay_without_attempts_never_restarts() {
    let strategy = RestartStrategy::FixedDelay(FixedDelay { attempts: 0, delay_ms: 7 });
    let last = reason(RestartPolicy::new(strategy).on_failure(0, MIDDLE));
    assert_eq!(last, GiveUpReason::AttemptsUsed { attempts: 0 });
}

fn rate() -> RestartPolicy {
    RestartPolicy::new(RestartStrategy::FailureRate(FailureRate {
        max_failures_per_interval: 2,
        failure_rate_interval_ms: 100,
        delay_ms: 5,
    }))
}

#[test]
fn failure_rate_gives_up_at_one_failure_more_than_an_interval_may_hold() {
    let mut policy = rate();
    assert_eq!(delay(policy.on_failure(0, MIDDLE)), 5);
    assert_eq!(delay(policy.on_failure(50, MIDDLE)), 5);
    let last = reason(policy.on_failure(100, MIDDLE));
    assert_eq!(last, GiveUpReason::TooManyFailures { failures: 3, interval_ms: 100 });
}

#[test]
fn failure_rate_forgets_a_failure_that_is_older_than_the_interval() {
    let mut policy = rate();
    for now_ms in [0, 50, 101, 151, 202, 252] {
        assert_eq!(delay(policy.on_failure(now_ms, MIDDLE)), 5, "at {now_ms}");
    }
    assert!(matches!(policy.on_failure(302, MIDDLE), RestartDecision::GiveUp { .. }));
}

#[test]
fn exponential_delay_grows_up_to_the_longest_and_goes_on_for_ever() {
    let delays = fail_at_once(&mut exponential(|_| {}), 2_000);
    assert_eq!(delays[..5], [1_000, 1_500, 2_250, 3_375, 5_063]);
    assert_eq!(delays[10..13], [57_665, 60_000, 60_000]);
    assert_eq!(delays[1_999], 60_000);
}

#[test]
fn exponential_delay_begins_anew_once_the_job_ran_for_the_threshold() {
    let mut policy = exponential(|parameters| parameters.reset_backoff_threshold_ms = 1_000);
    assert_eq!(delay(policy.on_failure(0, MIDDLE)), 1_000);
    // Due at 1,000; ran until 1,999: not long enough.
    assert_eq!(delay(policy.on_failure(1_999, MIDDLE)), 1_500);
    // Due at 3,499; ran for the threshold.
    assert_eq!(delay(policy.on_failure(4_499, MIDDLE)), 1_000);
    assert_eq!(delay(policy.on_failure(5_499, MIDDLE)), 1_500);
}

#[test]
fn failures_while_a_restart_is_due_are_one_attempt() {
    let mut policy = exponential(|parameters| parameters.attempts_before_reset_backoff = Some(1));
    assert_eq!(delay(policy.on_failure(0, MIDDLE)), 1_000);
    assert_eq!(delay(policy.on_failure(400, MIDDLE)), 600);
    assert_eq!(delay(policy.on_failure(999, MIDDLE)), 1);
    assert!(matches!(policy.on_failure(1_000, MIDDLE), RestartDecision::GiveUp { .. }));
}

#[test]
fn exponential_delay_gives_up_when_its_attempts_are_used_without_a_reset() {
    let limited = |parameters: &mut ExponentialDelay| {
        parameters.attempts_before_reset_backoff = Some(3);
        parameters.reset_backoff_threshold_ms = 10_000;
    };
    let mut policy = exponential(limited);
    fail_at_once(&mut policy, 3);
    let last = reason(policy.clone().on_failure(4_750, MIDDLE));
    assert_eq!(last, GiveUpReason::NeverStable { attempts: 3, threshold_ms: 10_000 });
    // The same failure after a long good run is a first one.
    assert_eq!(delay(policy.on_failure(14_750, MIDDLE)), 1_000);
}

#[test]
fn jitter_adds_or_takes_its_share_within_the_bounds() {
    let delay_with = |attempts: usize, jitter: f64| {
        let mut policy = exponential(|parameters| {
            parameters.backoff_multiplier = 2.0;
            parameters.jitter_factor = 0.25;
        });
        let waited_ms: u64 = fail_at_once(&mut policy, attempts).iter().sum();
        delay(policy.on_failure(waited_ms, jitter))
    };
    assert_eq!([delay_with(1, 0.0), delay_with(1, 0.5), delay_with(1, 1.0)], [1_500, 2_000, 2_500]);
    assert_eq!([delay_with(0, 0.0), delay_with(0, 1.0)], [1_000, 1_250]);
    assert_eq!([delay_with(9, 0.0), delay_with(9, 1.0)], [45_000, 60_000]);
}

#[test]
fn a_start_waits_from_the_third_without_a_checkpoint_on() {
    let parameters = ExponentialDelay { jitter_factor: 0.0, ..ExponentialDelay::default() };
    let exponential = RestartStrategy::ExponentialDelay(parameters);
    let delays = [0, 1, 2, 3, 4, 5, 50].map(|starts| start_delay(&exponential, starts, MIDDLE));
    assert_eq!(delays, [None, None, None, Some(1_000), Some(1_500), Some(2_250), Some(60_000)]);
    let fixed = RestartStrategy::FixedDelay(FixedDelay { attempts: 1, delay_ms: 9 });
    assert_eq!(
        [2, 3, 90].map(|starts| start_delay(&fixed, starts, MIDDLE)),
        [None, Some(9), Some(9)]
    );
    let rate = RestartStrategy::FailureRate(FailureRate::default());
    assert_eq!(start_delay(&rate, 3, MIDDLE), Some(1_000));
    assert_eq!(start_delay(&RestartStrategy::None, 3, MIDDLE), Some(0));
}

#[test]
fn a_reason_names_the_strategy_and_what_to_change() {
    let all = [
        (GiveUpReason::NoStrategy, "restart-strategy"),
        (GiveUpReason::AttemptsUsed { attempts: 1 }, "`attempts`"),
        (
            GiveUpReason::TooManyFailures { failures: 2, interval_ms: 1 },
            "`max-failures-per-interval`",
        ),
        (
            GiveUpReason::NeverStable { attempts: 1, threshold_ms: 1 },
            "`attempts-before-reset-backoff`",
        ),
    ];
    for (reason, setting) in all {
        let text = reason.to_string();
        assert!(text.contains(setting) && text.contains("strategy"), "{text}");
    }
}

proptest! {
    #[test]
    fn a_delay_stays_between_the_bounds_whatever_the_arguments(
        initial_backoff_ms: u64,
        more_ms: u64,
        backoff_multiplier: f64,
        jitter_factor: f64,
        jitter: f64,
        attempts in proptest::collection::vec(any::<u64>(), 1..8),
    ) {
        let max_backoff_ms = initial_backoff_ms.saturating_add(more_ms);
        let parameters = ExponentialDelay {
            initial_backoff_ms,
            max_backoff_ms,
            backoff_multiplier,
            jitter_factor,
            ..ExponentialDelay::default()
        };
        let strategy = RestartStrategy::ExponentialDelay(parameters);
        let mut policy = RestartPolicy::new(strategy.clone());
        let mut now_ms = 0u64;
        for starts in attempts {
            let delay_ms = delay(policy.on_failure(now_ms, jitter));
            prop_assert!((initial_backoff_ms..=max_backoff_ms).contains(&delay_ms));
            now_ms = now_ms.saturating_add(delay_ms);
            if let Some(delay_ms) = start_delay(&strategy, starts, jitter) {
                prop_assert!((initial_backoff_ms..=max_backoff_ms).contains(&delay_ms));
            }
        }
    }

    #[test]
    fn failure_rate_keeps_to_its_rate(gaps_ms in proptest::collection::vec(0u64..80, 1..60)) {
        let mut policy = rate();
        let mut failures_ms: Vec<u64> = Vec::new();
        let mut now_ms = 0;
        for gap_ms in gaps_ms {
            now_ms += gap_ms;
            failures_ms.push(now_ms);
            let recent = failures_ms.iter().filter(|failure_ms| now_ms - **failure_ms <= 100).count();
            let gives_up = matches!(policy.on_failure(now_ms, MIDDLE), RestartDecision::GiveUp { .. });
            prop_assert_eq!(gives_up, recent > 2);
            if gives_up {
                break;
            }
        }
    }
}
