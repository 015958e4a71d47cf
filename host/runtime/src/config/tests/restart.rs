//! The restart strategy: a word, or a table with parameters.

use tidemill_core::restart::{ExponentialDelay, FailureRate, FixedDelay, RestartStrategy};

use super::{load, refused_with};

fn strategy(value: &str) -> RestartStrategy {
    let text = format!("name = \"a\"\nrestart-strategy = {value}\n");
    load(&text, &[]).unwrap_or_else(|error| panic!("{error}")).restart
}

/// What is wrong with a strategy; its value begins in column 20 of line 2.
#[track_caller]
fn refused(value: &str, expected: &str) {
    refused_with(&format!("name = \"a\"\nrestart-strategy = {value}\n"), &[], expected);
}

#[test]
fn a_word_takes_the_default_parameters() {
    assert_eq!(load("name = \"a\"\n", &[]).unwrap().restart, RestartStrategy::default());
    let exponential = RestartStrategy::ExponentialDelay(ExponentialDelay::default());
    assert_eq!(strategy("\"exponential-delay\""), exponential);
    assert_eq!(strategy("\"fixed-delay\""), RestartStrategy::FixedDelay(FixedDelay::default()));
    assert_eq!(strategy("\"failure-rate\""), RestartStrategy::FailureRate(FailureRate::default()));
    assert_eq!(strategy("\"none\""), RestartStrategy::None);
    assert_eq!(strategy("{ type = \"none\" }"), RestartStrategy::None);
}

#[test]
fn a_table_gives_parameters() {
    assert_eq!(
        strategy("{ type = \"fixed-delay\", attempts = 5, delay = \"2s\" }"),
        RestartStrategy::FixedDelay(FixedDelay { attempts: 5, delay_ms: 2_000 })
    );
    assert_eq!(
        strategy("{ type = \"fixed-delay\", delay = 0 }"),
        RestartStrategy::FixedDelay(FixedDelay { attempts: 1, delay_ms: 0 })
    );
    assert_eq!(
        strategy(
            "{ type = \"failure-rate\", max-failures-per-interval = 3, failure-rate-interval = \
             \"5m\", delay = \"10s\" }"
        ),
        RestartStrategy::FailureRate(FailureRate {
            max_failures_per_interval: 3,
            failure_rate_interval_ms: 300_000,
            delay_ms: 10_000
        })
    );
    assert_eq!(
        strategy(
            "{ type = \"exponential-delay\", initial-backoff = 5, max-backoff = 5, \
             backoff-multiplier = 2, reset-backoff-threshold = \"1d\", jitter-factor = 0.25, \
             attempts-before-reset-backoff = 9 }"
        ),
        RestartStrategy::ExponentialDelay(ExponentialDelay {
            initial_backoff_ms: 5,
            max_backoff_ms: 5,
            backoff_multiplier: 2.0,
            reset_backoff_threshold_ms: 86_400_000,
            jitter_factor: 0.25,
            attempts_before_reset_backoff: Some(9),
        })
    );
}

#[test]
fn overrides_make_a_table() {
    let sets = ["restart-strategy.type=fixed-delay", "restart-strategy.attempts=4"];
    let plan = load("name = \"a\"\n", &sets).unwrap();
    let expected = FixedDelay { attempts: 4, ..FixedDelay::default() };
    assert_eq!(plan.restart, RestartStrategy::FixedDelay(expected));
    refused_with(
        "name = \"a\"\n",
        &["restart-strategy.type=fixed-delay", "restart-strategy.attempts=0"],
        "--set:1:27: restart-strategy.attempts: 0 is outside 1 to 4294967295",
    );
}

#[test]
fn a_strategy_that_does_not_exist() {
    refused(
        "\"fixed\"",
        "job.toml:2:20: restart-strategy: \"fixed\" is not one of `exponential-delay`, \
         `fixed-delay`, `failure-rate`, `none`",
    );
    refused(
        "{ type = \"fixed-dela\" }",
        "job.toml:2:29: restart-strategy.type: \"fixed-dela\" is not one of `exponential-delay`, \
         `fixed-delay`, `failure-rate`, `none`\nhelp: did you mean \"fixed-delay\"?",
    );
    refused(
        "{ attempts = 3 }",
        "job.toml:2:1: restart-strategy: `type` is missing\nhelp: add `type = ...`",
    );
    refused(
        "[\"none\"]",
        "job.toml:2:20: restart-strategy: expected a string that names a strategy, or a table with \
         `type`, found a list",
    );
}

#[test]
fn a_parameter_that_does_not_exist_names_the_nearest() {
    refused(
        "{ type = \"fixed-delay\", atempts = 3 }",
        "job.toml:2:44: restart-strategy: there is no setting `atempts` here\n\
         help: did you mean `attempts`?",
    );
}

#[test]
fn a_parameter_of_another_strategy_says_whose_it_is() {
    refused(
        "{ type = \"exponential-delay\", attempts = 3 }",
        "job.toml:2:61: restart-strategy.attempts: `attempts` is a parameter of `fixed-delay`, \
         not of `exponential-delay`\n\
         help: `exponential-delay` has `initial-backoff`, `max-backoff`, `backoff-multiplier`, \
         `reset-backoff-threshold`, `jitter-factor`, `attempts-before-reset-backoff`; or set \
         another `type`",
    );
    refused(
        "{ type = \"none\", delay = 3 }",
        "job.toml:2:45: restart-strategy.delay: `delay` is a parameter of `fixed-delay`, \
         `failure-rate`, not of `none`\n\
         help: `none` has no parameters: remove it, or set another `type`",
    );
}

#[test]
fn each_parameter_is_foreign_to_the_strategies_that_do_not_have_it() {
    let parameters = [
        ("initial-backoff = 5", "exponential-delay"),
        ("max-backoff = 5000", "exponential-delay"),
        ("backoff-multiplier = 2", "exponential-delay"),
        ("reset-backoff-threshold = 5", "exponential-delay"),
        ("jitter-factor = 0", "exponential-delay"),
        ("attempts-before-reset-backoff = 5", "exponential-delay"),
        ("attempts = 5", "fixed-delay"),
        ("delay = 5", "fixed-delay failure-rate"),
        ("max-failures-per-interval = 5", "failure-rate"),
        ("failure-rate-interval = 5", "failure-rate"),
    ];
    for (parameter, owners) in parameters {
        for strategy in ["exponential-delay", "fixed-delay", "failure-rate", "none"] {
            let set = format!("restart-strategy={{ type = \"{strategy}\", {parameter} }}");
            let is_accepted = load("name = \"a\"\n", &[&set]).is_ok();
            let owns = owners.split(' ').any(|owner| owner == strategy);
            assert_eq!(is_accepted, owns, "{set}");
        }
    }
}

#[test]
fn a_parameter_outside_its_bounds() {
    let outside = |parameter: &str, found: &str| {
        let (name, value) = parameter.split_once(" = ").unwrap();
        let column = 20 + format!("{{ {name} = ").len();
        let strategy = match name {
            "failure-rate-interval" => "failure-rate",
            "delay" => "fixed-delay",
            _ => "exponential-delay",
        };
        refused(
            &format!("{{ {name} = {value}, type = \"{strategy}\" }}"),
            &format!("job.toml:2:{column}: restart-strategy.{name}: {found}"),
        );
    };
    outside("initial-backoff = 0", "0s is outside 1ms to 1day");
    outside("max-backoff = \"25h\"", "1day 1h is outside 1ms to 1day");
    outside("backoff-multiplier = 0.5", "0.5 is outside 1 to 100");
    outside("backoff-multiplier = nan", "NaN is outside 1 to 100");
    outside("jitter-factor = 1.5", "1.5 is outside 0 to 1");
    outside("jitter-factor = -inf", "-inf is outside 0 to 1");
    outside("attempts-before-reset-backoff = 0", "0 is outside 1 to 4294967295");
    outside("failure-rate-interval = 0", "0s is outside 1ms to 1year");
    outside("delay = \"2days\"", "2days is outside 0s to 1day");
    outside("jitter-factor = \"0.1\"", "expected a number, found \"0.1\"");
}

#[test]
fn a_first_delay_above_the_longest() {
    refused(
        "{ type = \"exponential-delay\", initial-backoff = \"2m\" }",
        "job.toml:2:68: restart-strategy.initial-backoff: `max-backoff` is 1m, but must be at \
         least `initial-backoff`, which is 2m\n\
         help: raise `max-backoff`, or lower `initial-backoff`",
    );
}
