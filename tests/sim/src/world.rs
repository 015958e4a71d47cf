//! A run: incarnation after incarnation, through crashes, until the job has finished.
//!
//! Owns the order of a start, which is the product's: decide (nothing is changed by that) -> begin -> finish the
//! commits of the newest manifest -> clean up -> restore -> run. A crash may come at any operation of any of it.

use tidemill_core::checkpoint::basis::Basis;
use tidemill_core::checkpoint::coordinator::Fact;
use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::recovery::{self, Restored, Start};

use crate::basis;
use crate::chance::Chance;
use crate::env::{Env, Events};
use crate::incarnation::{Incarnation, clean_up_sinks};
use crate::keeper::commit_all;
use crate::receiver::Process;
use crate::trouble::{Trouble, Violation, blame, violation};
use crate::turn::Ended;

/// Incarnations that something may be done to, at most.
const HOSTILE_MAX: usize = 6;
/// Incarnations in a kind world after which a run counts as one that never ends.
const KIND_MAX: usize = 3;

/// A job in a world.
pub struct World {
    env: Env,
    lanes: usize,
    hostile: usize,
    /// The process that runs, or ran last and goes on.
    process: Option<Process>,
    /// All input that it received is logged.
    is_logged: bool,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        Self::of(Env::new(seed, false))
    }

    /// The world of a seed, with a trace of every turn.
    pub fn traced(seed: u64) -> Self {
        Self::of(Env::new(seed, true))
    }

    fn of(mut env: Env) -> Self {
        let lanes = env.plan.lanes;
        let hostile = env.rng.below(HOSTILE_MAX + 1);
        Self { env, lanes, hostile, process: None, is_logged: false }
    }

    /// The trace of the run so far.
    pub fn trace(&self) -> &str {
        self.env.trace()
    }

    /// What the job is, for people.
    pub fn describe(&self) -> String {
        format!("{:#?}", self.env.plan)
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// What an oracle found.
    pub fn run(&mut self) -> Result<Events, Violation> {
        let (mut incarnations, mut has_crashed) = (0, false);
        self.env.events.runs = 1;
        loop {
            let is_kind = incarnations >= self.hostile;
            if incarnations >= self.hostile + KIND_MAX {
                return Err(violation("liveness", "a kind world did not bring the job to its end"));
            }
            incarnations += 1;
            let Env { plan, rng, .. } = &mut self.env;
            let chance = Chance::random(plan, is_kind, has_crashed, rng);
            has_crashed = false;
            if let Some(fuse) = chance.fuse {
                self.env.places.disk.set_fuse(fuse);
            }
            if self.env.plan.rescales && self.env.rng.one_in(2) {
                self.lanes = 1 + self.env.rng.below(4);
            }
            let ended = self.incarnation(&chance);
            self.env.note(format_args!("ended {ended:?}"));
            self.end_process(&ended)?;
            match ended {
                Ok(Ended::Finished) => break,
                Ok(Ended::Stopped) => self.env.events.stops += 1,
                Ok(Ended::Failed(_)) => self.env.events.failures += 1,
                Err(Trouble::Down) => {
                    has_crashed = true;
                    self.crash();
                }
                Err(Trouble::Violation(violation)) => return Err(violation),
            }
        }
        self.check_end()?;
        self.env.events.operations = self.env.places.disk.operations();
        Ok(self.env.events)
    }

    /// The process is gone, unless it goes on with another incarnation.
    fn end_process(&mut self, ended: &Result<Ended, Trouble>) -> Result<(), Violation> {
        let is_stopping = self.process.as_ref().is_some_and(Process::is_stopping);
        if matches!(ended, Ok(Ended::Failed(_))) && !is_stopping {
            return Ok(());
        }
        self.process = None;
        let was_orderly = matches!(ended, Ok(Ended::Finished | Ended::Stopped)) && self.is_logged;
        let Env { outside, plan, truth, rng, .. } = &mut self.env;
        let mut outside = outside.values_mut();
        outside.try_for_each(|outside| outside.process_ended(plan, truth, rng, was_orderly))
    }

    /// The process is gone, and sometimes the power was.
    fn crash(&mut self) {
        let Env { places, rng, events, .. } = &mut self.env;
        if rng.one_in(2) {
            events.kills += 1;
            places.disk.kill();
        } else {
            events.power_losses += 1;
            places.disk.lose_power(rng);
        }
    }

    /// One incarnation, from the decision to its end.
    fn incarnation(&mut self, chance: &Chance) -> Result<Ended, Trouble> {
        let Env { places, .. } = &self.env;
        let start = recovery::decide(&places.job, &places.checkpoints);
        let Start { incarnation, from } =
            start.map_err(|error| blame(&places.disk, "the newest checkpoint is found", error))?;
        self.env.history.finds(from.as_ref().map(|from| &from.manifest))?;
        recovery::begin(&self.env.places.job, incarnation)
            .map_err(|error| blame(&self.env.places.disk, "incarnations begin", error))?;
        if let Some(Restored { manifest, is_committed }) = &from {
            self.finish_commits(manifest, *is_committed)?;
            if manifest.finished {
                clean_up_sinks(&self.env.plan, &self.env.places)?;
                return Ok(Ended::Finished);
            }
        }
        let lanes = self.lanes;
        let manifest = from.as_ref().map(|from| &from.manifest);
        self.count(manifest, lanes);
        self.env.history.begins(&self.env.plan, manifest, lanes);
        let basis = match from {
            None => {
                let seed = self.env.rng.next_u64();
                basis::first(&self.env.plan, lanes, incarnation, seed)
            }
            Some(Restored { manifest, .. }) => {
                Basis::resume(&self.env.plan.graph, manifest, lanes, incarnation)
                    .map_err(|error| violation("manifest", error))?
            }
        };
        let process = self.process.get_or_insert_with(|| Process::new(&self.env.plan));
        let begun = Incarnation::start(&mut self.env, process, basis, chance)?;
        self.live(begun, chance)
    }

    fn count(&mut self, from: Option<&Manifest>, lanes: usize) {
        let events = &mut self.env.events;
        events.incarnations += 1;
        let Some(manifest) = from else { return };
        events.rescaled += u64::from(manifest.parallelism as usize != lanes);
        events.chained += u64::from(manifest.files().any(|file| !file.is_base));
    }

    /// Publishes what the newest manifest holds, if that is not known to be done, and compares.
    fn finish_commits(&mut self, manifest: &Manifest, is_committed: bool) -> Result<(), Trouble> {
        let Env { places, events, .. } = &mut self.env;
        if !is_committed {
            events.recommitted += 1;
            commit_all(places, manifest)
                .map_err(|error| blame(&places.disk, "commits are finished", error))?;
        }
        self.env.history.commits(manifest);
        self.check(manifest)?;
        Ok(())
    }

    fn check(&self, manifest: &Manifest) -> Result<(), Violation> {
        self.env.ask(|oracle| {
            oracle.check_published(manifest)?;
            oracle.check_state(manifest)?;
            oracle.check_retained()
        })
    }

    fn live(&mut self, mut live: Incarnation, chance: &Chance) -> Result<Ended, Trouble> {
        for turn in 0..chance.turns_max {
            self.env.events.turns += 1;
            if chance.killed_at == Some(turn) {
                return Err(Trouble::Down);
            }
            let mut ended = None;
            if chance.stopped_at == Some(turn) {
                live.want(Fact::StopWanted, &mut self.env, chance, &mut ended)?;
            }
            if chance.savepoint_at == Some(turn) {
                live.want(Fact::SavepointWanted, &mut self.env, chance, &mut ended)?;
            }
            if chance.fails_at == Some(turn) {
                ended = Some(Ended::Failed("a fault of the host".to_owned()));
            }
            if ended.is_none() {
                ended = live.turn(&mut self.env, chance)?;
            }
            if let Some(ended) = ended {
                self.is_logged = live.wind_down(&mut self.env)?;
                return Ok(ended);
            }
        }
        Err(violation("liveness", format!("not finished after {} turns", chance.turns_max)).into())
    }

    /// The job has finished: so it is found after whatever may still happen to the machine.
    fn check_end(&mut self) -> Result<(), Violation> {
        let manifest = self.newest()?;
        self.env.ask(|oracle| oracle.check_end(&manifest))?;
        let Env { outside, plan, truth, .. } = &self.env;
        outside.values().try_for_each(|outside| outside.check_end(plan, truth))?;
        self.check(&manifest)?;
        let Env { places, rng, .. } = &mut self.env;
        places.disk.lose_power(rng);
        let found = self.newest()?;
        self.env.history.finds(Some(&found))?;
        self.check(&found)
    }

    fn newest(&self) -> Result<Manifest, Violation> {
        let places = self.env.places.observer();
        let start = recovery::decide(&places.job, &places.checkpoints);
        let start = start.map_err(|error| violation("the newest checkpoint is found", error))?;
        let from = start.from.ok_or_else(|| violation("liveness", "no checkpoint at the end"))?;
        Ok(from.manifest)
    }
}
