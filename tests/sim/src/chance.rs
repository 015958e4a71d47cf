//! What the world does to one incarnation.

use std::collections::VecDeque;

use tidemill_core::checkpoint::coordinator::CoordinatorSettings;

use crate::disk::{Fuse, LastOperation};
use crate::operator::Death;
use crate::plan::{Kind, Plan};
use crate::rng::Rng;

/// Turns after which an incarnation in a kind world counts as one that never ends.
const TURNS_MAX: u64 = 400_000;

/// What the world does to one incarnation. In a kind world nothing but delays happens, so the job must come to
/// its end.
#[derive(Clone, Debug)]
pub struct Chance {
    /// Nothing is done to it.
    pub is_kind: bool,
    /// The coordinator's settings.
    pub settings: CoordinatorSettings,
    /// The machine goes off at this disk operation.
    pub fuse: Option<Fuse>,
    /// The process is killed at this turn.
    pub killed_at: Option<u64>,
    /// A fault of the host ends the incarnation, and the process goes on.
    pub fails_at: Option<u64>,
    /// Somebody stops the job.
    pub stopped_at: Option<u64>,
    /// Somebody wants a savepoint.
    pub savepoint_at: Option<u64>,
    /// A snapshot cannot be written, once in so many.
    pub declines_one_in: Option<usize>,
    /// Turns before it counts as stuck.
    pub turns_max: u64,
}

impl Chance {
    /// What may happen while `is_kind` is not set. Crashes come in rows: one that follows another (`is_recovery`)
    /// often comes before the start is done.
    pub fn random(plan: &Plan, is_kind: bool, is_recovery: bool, rng: &mut Rng) -> Self {
        let mut chance = Self {
            is_kind,
            settings: CoordinatorSettings {
                interval_ms: plan.turns_ms(plan.interval_turns),
                min_pause_ms: 0,
                timeout_ms: 1_000_000_000,
                tolerable_failures: 3,
            },
            fuse: None,
            killed_at: None,
            fails_at: None,
            stopped_at: None,
            savepoint_at: rng.one_in(4).then(|| rng.below(2000) as u64),
            declines_one_in: None,
            turns_max: TURNS_MAX,
        };
        if is_kind {
            return chance;
        }
        let timeout_turns = [30, 200, 1000, 1_000_000, 1_000_000, 1_000_000][rng.below(6)];
        chance.settings.timeout_ms = plan.turns_ms(timeout_turns);
        chance.settings.min_pause_ms = [0, 0, 2][rng.below(3)];
        chance.settings.tolerable_failures = [0, 2, 10, 10][rng.below(4)];
        chance.declines_one_in = [None, None, Some(3), Some(20)][rng.below(4)];
        let turns = [300, 2000, 5000][rng.below(3)];
        let last =
            [LastOperation::Nothing, LastOperation::Half, LastOperation::Whole][rng.below(3)];
        match rng.below(8) {
            _ if is_recovery && rng.one_in(2) => {
                // With a log a start is longer.
                let most = [40, 200][rng.below(2)];
                let operations = 1 + rng.below(most) as u64;
                chance.fuse = Some(Fuse { operations, only: None, last });
            }
            0..=3 => {
                // Most operations are harmless ones: some fuses wait for one that is not.
                let only = ["link", "link", "sync", "remove", "rename", "write"][rng.below(6)];
                let (only, most) = match rng.one_in(2) {
                    true => (None, [12, 100, 500, 1500][rng.below(4)]),
                    false => (Some(only), [3, 20, 100][rng.below(3)]),
                };
                chance.fuse = Some(Fuse { operations: 1 + rng.below(most) as u64, only, last });
            }
            4 | 5 => chance.killed_at = Some(1 + rng.below(turns) as u64),
            6 => chance.fails_at = Some(1 + rng.below(turns) as u64),
            _ => {}
        }
        if rng.one_in(4) {
            chance.stopped_at = Some(1 + rng.below(turns) as u64);
        }
        // Whatever else was to happen to it, it does not go on for ever.
        chance.killed_at.get_or_insert(10_000);
        chance
    }

    /// The deaths that await an operator's task.
    pub fn deaths(&self, plan: &Plan, node: usize, rng: &mut Rng) -> VecDeque<(u64, Death)> {
        let mut deaths = VecDeque::new();
        let loses_memory = plan.kinds[node] == Kind::Memory;
        if loses_memory && (self.is_kind || !rng.one_in(4)) {
            return deaths;
        }
        while rng.one_in(2) {
            let death = [Death::Trap, Death::TrapTwice, Death::Limit][rng.below(3)];
            // Far enough apart that no part of a batch dies again before it is down to one record.
            deaths.push_back((10 + rng.below(30) as u64, death));
        }
        if rng.one_in(4) {
            deaths.push_back((0, Death::AtClose));
        }
        deaths
    }
}
