//! What all incarnations of a run share: the job, its places, chance, time, the past and the trace.

use std::collections::BTreeMap;
use std::fmt::Arguments;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::ids::Now;

use crate::disk::SimDisk;
use crate::history::History;
use crate::keeper::Places;
use crate::model::Copies;
use crate::oracle::Oracle;
use crate::outside::Outside;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::trouble::Violation;
use crate::truth::Truth;

/// Wall time at the beginning of every run, in milliseconds since the Unix epoch.
const BEGAN_MS: i64 = 1_000_000;

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Seeds.
    pub runs: u64,
    /// Turns of the world.
    pub turns: u64,
    /// Operations of the disk.
    pub operations: u64,
    /// Starts.
    pub incarnations: u64,
    /// Starts from a checkpoint with another number of lanes.
    pub rescaled: u64,
    /// Starts that had commits to finish.
    pub recommitted: u64,
    /// Starts from a checkpoint with at least one delta.
    pub chained: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Losses of power.
    pub power_losses: u64,
    /// Incarnations that failed in a process that went on.
    pub failures: u64,
    /// Stops with a last checkpoint.
    pub stops: u64,
    /// Checkpoints that completed.
    pub completed: u64,
    /// Checkpoints that were given up.
    pub aborted: u64,
    /// Chains that were merged.
    pub merged: u64,
    /// Batches that were replayed.
    pub replayed: u64,
    /// Times that the log needed room.
    pub pressed: u64,
    /// Times that the log became full.
    pub filled: u64,
    /// Trims that removed something.
    pub trimmed: u64,
}

impl Events {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.turns += other.turns;
        self.operations += other.operations;
        self.incarnations += other.incarnations;
        self.rescaled += other.rescaled;
        self.recommitted += other.recommitted;
        self.chained += other.chained;
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.failures += other.failures;
        self.stops += other.stops;
        self.completed += other.completed;
        self.aborted += other.aborted;
        self.merged += other.merged;
        self.replayed += other.replayed;
        self.pressed += other.pressed;
        self.filled += other.filled;
        self.trimmed += other.trimmed;
    }
}

/// What all incarnations of a run share.
pub struct Env {
    pub(crate) plan: Plan,
    pub(crate) copies: Copies,
    pub(crate) places: Places,
    pub(crate) rng: Rng,
    pub(crate) now_us: u64,
    pub(crate) history: History,
    /// Who sends to logged sources, by node.
    pub(crate) outside: BTreeMap<usize, Outside>,
    /// What the log holds or held.
    pub(crate) truth: Truth,
    pub(crate) events: Events,
    /// Every turn, in words; only when asked for, because it costs more than the turns.
    trace: Option<String>,
}

impl Env {
    /// The world of a seed before anything has happened.
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::random(&mut rng);
        Self {
            copies: Copies::new(&plan),
            outside: plan.logged().map(|node| (node, Outside::new(&plan, node))).collect(),
            truth: Truth::default(),
            plan,
            // Sinks publish in another way on a file system of the older kind.
            places: Places::new(if seed.is_multiple_of(2) {
                SimDisk::default()
            } else {
                SimDisk::old()
            }),
            rng,
            now_us: 0,
            history: History::default(),
            events: Events::default(),
            trace: traced.then(String::new),
        }
    }

    /// The time of now.
    pub fn now(&self) -> Now {
        Now { monotonic_us: self.now_us, wall_ms: BEGAN_MS + (self.now_us / 1000) as i64 }
    }

    /// Writes a line of the trace.
    pub fn note(&mut self, line: Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push_str(&format!("{} {line}\n", self.now_us));
        }
    }

    /// The trace, if there is one.
    pub fn trace(&self) -> &str {
        self.trace.as_deref().unwrap_or_default()
    }

    /// Asks the oracle of this moment.
    ///
    /// # Errors
    /// What it found.
    pub fn ask(
        &self,
        question: impl FnOnce(&Oracle<'_>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let places = self.places.observer();
        let Self { plan, copies, history, truth, .. } = self;
        question(&Oracle { plan, copies, places: &places, history, truth })
    }

    /// A manifest's state is that of its cut.
    ///
    /// # Errors
    /// It is not.
    pub fn check_state(&self, manifest: &Manifest) -> Result<(), Violation> {
        self.ask(|oracle| oracle.check_state(manifest))
    }
}
