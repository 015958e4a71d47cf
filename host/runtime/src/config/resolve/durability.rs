//! Checkpoints, heartbeats, timeouts, the input log and poison records.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::bounds::{Quantity, within_or};
use super::operators::not_empty;
use crate::config::defaults;
use crate::config::load::Origin;
use crate::config::plan::{
    CheckpointPlan, CheckpointingMode, HeartbeatPlan, OnPoison, OperatorPlan, PoisonPlan,
    TimeoutPlan, WalMode, WalPlan,
};
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{CheckpointingWord, PoisonWord, RawJob, WalWord};
use crate::config::scalar::{At, Time, Whole};

/// A duration in milliseconds, rounded up.
pub(super) fn milliseconds(
    key: &str,
    at: Option<&At<Time>>,
    default_us: u64,
    bounds_us: RangeInclusive<u64>,
) -> Result<u64, Rejection> {
    within_or(key, at, default_us, bounds_us).map(|microseconds| microseconds.div_ceil(1_000))
}

/// The settings of checkpoints.
pub(super) fn checkpoints(raw: &RawJob, origin: &Origin) -> Result<CheckpointPlan, Rejection> {
    let mode = match raw
        .checkpointing_mode
        .as_ref()
        .map_or(defaults::CHECKPOINTING_MODE, |word| word.value)
    {
        CheckpointingWord::ExactlyOnce => CheckpointingMode::ExactlyOnce,
        CheckpointingWord::AtLeastOnce => CheckpointingMode::AtLeastOnce,
    };
    Ok(CheckpointPlan {
        mode,
        interval_ms: milliseconds(
            "checkpoint-interval",
            raw.checkpoint_interval.as_ref(),
            defaults::CHECKPOINT_INTERVAL_US,
            defaults::CHECKPOINT_INTERVAL_BOUNDS_US,
        )?,
        min_pause_ms: milliseconds(
            "min-pause-between-checkpoints",
            raw.min_pause_between_checkpoints.as_ref(),
            defaults::MIN_PAUSE_US,
            defaults::MIN_PAUSE_BOUNDS_US,
        )?,
        timeout_ms: milliseconds(
            "checkpoint-timeout",
            raw.checkpoint_timeout.as_ref(),
            defaults::CHECKPOINT_TIMEOUT_US,
            defaults::CHECKPOINT_TIMEOUT_BOUNDS_US,
        )?,
        tolerable_failures: within_or(
            "tolerable-failed-checkpoints",
            raw.tolerable_failed_checkpoints.as_ref(),
            defaults::TOLERABLE_FAILED_CHECKPOINTS,
            defaults::TOLERABLE_FAILED_CHECKPOINTS_BOUNDS,
        )? as u32,
        retained: within_or(
            "checkpoints-retained",
            raw.checkpoints_retained.as_ref(),
            defaults::CHECKPOINTS_RETAINED,
            defaults::CHECKPOINTS_RETAINED_BOUNDS,
        )? as usize,
        directory: directory("checkpoint-dir", raw.checkpoint_dir.as_ref(), origin)?,
    })
}

/// An absolute directory from one that may be relative to the job file.
fn directory(
    key: &str,
    at: Option<&At<String>>,
    origin: &Origin,
) -> Result<Option<PathBuf>, Rejection> {
    at.map(|at| Ok(origin.directory.join(&not_empty(key, at)?.value))).transpose()
}

/// The settings of heartbeats.
pub(super) fn heartbeat(raw: &RawJob) -> Result<HeartbeatPlan, Rejection> {
    let (interval, timeout) = (raw.heartbeat_interval.as_ref(), raw.heartbeat_timeout.as_ref());
    let interval_ms = milliseconds(
        "heartbeat-interval",
        interval,
        defaults::HEARTBEAT_INTERVAL_US,
        defaults::HEARTBEAT_INTERVAL_BOUNDS_US,
    )?;
    let timeout_ms = milliseconds(
        "heartbeat-timeout",
        timeout,
        defaults::HEARTBEAT_TIMEOUT_US,
        defaults::HEARTBEAT_TIMEOUT_BOUNDS_US,
    )?;
    if timeout_ms <= interval_ms {
        let (timeout, interval) = (
            ("heartbeat-timeout", timeout, timeout_ms),
            ("heartbeat-interval", interval, interval_ms),
        );
        return Err(too_small(timeout, "more than", interval));
    }
    Ok(HeartbeatPlan { interval_ms, timeout_ms })
}

/// A duration: its key, where it was written if it was, and its milliseconds.
type Written<'a> = (&'static str, Option<&'a At<Time>>, u64);

/// Blames the duration that was written for being smaller than `rule` allows.
pub(super) fn too_small(small: Written<'_>, rule: &'static str, large: Written<'_>) -> Rejection {
    let shown = |milliseconds: u64| Time::of(milliseconds.saturating_mul(1_000)).to_string();
    let problem = Problem::TooSmall {
        name: small.0,
        found: shown(small.2),
        rule,
        other: large.0,
        other_value: shown(large.2),
    };
    match (small, large) {
        ((key, Some(at), _), _) | ((_, None, _), (key, Some(at), _)) => {
            Rejection::at(problem, &at.span, &[key])
        }
        ((_, None, _), (_, None, _)) => problem.into(),
    }
}

/// How long the job waits for its own end.
pub(super) fn timeouts(raw: &RawJob) -> Result<TimeoutPlan, Rejection> {
    let (stop, storage) = (raw.stop_timeout.as_ref(), raw.storage_timeout.as_ref());
    let stop_bounds = defaults::STOP_TIMEOUT_BOUNDS_US;
    let storage_bounds = defaults::STORAGE_TIMEOUT_BOUNDS_US;
    let (stop_us, storage_us) = (defaults::STOP_TIMEOUT_US, defaults::STORAGE_TIMEOUT_US);
    Ok(TimeoutPlan {
        stop_ms: milliseconds("stop-timeout", stop, stop_us, stop_bounds)?,
        storage_ms: milliseconds("storage-timeout", storage, storage_us, storage_bounds)?,
    })
}

/// The settings of the input log.
pub(super) fn wal(raw: &RawJob) -> Result<WalPlan, Rejection> {
    let mode = match raw.wal.as_ref().map_or(defaults::WAL, |word| word.value) {
        WalWord::Auto => WalMode::Auto,
        WalWord::Inputs => WalMode::Inputs,
    };
    let quota_bytes = within_or(
        "wal-quota",
        raw.wal_quota.as_ref(),
        defaults::WAL_QUOTA_BYTES,
        defaults::WAL_QUOTA_BOUNDS,
    )?;
    Ok(WalPlan { mode, quota_bytes })
}

/// What the job says of poison records, for operators that say nothing themselves.
pub(super) fn job_poison(raw: &RawJob) -> Result<PoisonPlan, Rejection> {
    poison(raw.on_poison.as_ref(), raw.poison_limit.as_ref(), default_poison())
}

fn default_poison() -> PoisonPlan {
    PoisonPlan {
        on_poison: on_poison(defaults::ON_POISON),
        limit_per_minute: defaults::POISON_LIMIT as u32,
    }
}

/// What an operator says of poison records, or inherits from the job.
pub(super) fn operator_poison(
    word: Option<&At<PoisonWord>>,
    limit: Option<&At<Whole>>,
    inherited: PoisonPlan,
) -> Result<PoisonPlan, Rejection> {
    let plan = poison(word, limit, inherited)?;
    match (plan.on_poison, limit) {
        (OnPoison::Fail, Some(limit)) => Err(pointless_limit(limit)),
        (OnPoison::Fail, None) => Ok(PoisonPlan { on_poison: OnPoison::Fail, ..default_poison() }),
        (OnPoison::Skip | OnPoison::DeadLetter, _) => Ok(plan),
    }
}

fn poison(
    word: Option<&At<PoisonWord>>,
    limit: Option<&At<Whole>>,
    inherited: PoisonPlan,
) -> Result<PoisonPlan, Rejection> {
    let limit_per_minute = within_or(
        "poison-limit",
        limit,
        inherited.limit_per_minute.into(),
        defaults::POISON_LIMIT_BOUNDS,
    )? as u32;
    let on_poison = word.map_or(inherited.on_poison, |word| on_poison(word.value));
    Ok(PoisonPlan { on_poison, limit_per_minute })
}

fn on_poison(word: PoisonWord) -> OnPoison {
    match word {
        PoisonWord::Fail => OnPoison::Fail,
        PoisonWord::Skip => OnPoison::Skip,
        PoisonWord::DeadLetter => OnPoison::DeadLetter,
    }
}

fn pointless_limit(limit: &At<Whole>) -> Rejection {
    let help = "say `on-poison = \"skip\"` or \"dead-letter\", or remove it";
    let problem =
        Problem::Pointless { name: "poison-limit", beside: "on-poison = \"fail\"".into(), help };
    Rejection::at(problem, &limit.span, &["poison-limit"])
}

/// The directory of dead letters, once it is known what the operators do: a setting of the job that no
/// operator has a use for is refused.
pub(super) fn dead_letter_dir(
    raw: &RawJob,
    origin: &Origin,
    job: PoisonPlan,
    operators: &[OperatorPlan],
) -> Result<Option<PathBuf>, Rejection> {
    let anywhere = |matches: fn(OnPoison) -> bool| {
        matches(job.on_poison) || operators.iter().any(|plan| matches(plan.poison.on_poison))
    };
    if let Some(limit) = &raw.poison_limit
        && !anywhere(|on_poison| on_poison != OnPoison::Fail)
    {
        return Err(pointless_limit(limit));
    }
    let given = directory("dead-letter-dir", raw.dead_letter_dir.as_ref(), origin)?;
    if let Some(at) = &raw.dead_letter_dir
        && !anywhere(|on_poison| on_poison == OnPoison::DeadLetter)
    {
        let help = "say `on-poison = \"dead-letter\"`, or remove it";
        let beside = "no `on-poison = \"dead-letter\"`".to_owned();
        let problem = Problem::Pointless { name: "dead-letter-dir", beside, help };
        return Err(Rejection::at(problem, &at.span, &["dead-letter-dir"]));
    }
    let is_used = operators.iter().any(|plan| plan.poison.on_poison == OnPoison::DeadLetter);
    let directory = || given.unwrap_or_else(|| origin.directory.join(defaults::DEAD_LETTER_DIR));
    Ok(is_used.then(directory))
}
