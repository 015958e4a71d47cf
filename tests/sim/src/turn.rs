//! One turn of an incarnation: chance picks who goes next.
//!
//! A lane that says it is idle is not stepped again until somebody wakes it: a lost wake-up shows as a world
//! in which nothing can happen any more. Everything else is late for as long as chance has it.

use tidemill_core::connector::Wake;
use tidemill_core::failure::Failure;
use tidemill_core::ids::NodeId;
use tidemill_core::lane::{LaneProblem, StepOutcome};

use crate::chance::Chance;
use crate::env::Env;
use crate::incarnation::Incarnation;
use crate::log::SimLog;
use crate::mail::{Command, Event, Sender};
use crate::sink;
use crate::supervise::HEARTBEAT_TURNS;
use crate::trouble::{Trouble, blame, violation};

/// Turns without anything to do after which the world looks whether there is anything at all.
const IDLE_TURNS: u32 = 40;
/// Jumps of time without anything to do after which a run counts as stuck.
const JUMPS_MAX: u32 = 20;
/// Uses that a gate is opened for, at most.
const GATE_USES: usize = 6;

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All input is processed and committed.
    Finished,
    /// It stopped at a checkpoint.
    Stopped,
    /// It failed, and the process goes on with the next.
    Failed(String),
}

impl Incarnation {
    /// Makes one turn; answers how the incarnation ended, if it did.
    ///
    /// # Errors
    /// The machine is off, or something is wrong.
    pub fn turn(&mut self, env: &mut Env, chance: &Chance) -> Result<Option<Ended>, Trouble> {
        env.now_us += env.rng.below(env.plan.pace_us) as u64;
        let mut ended = None;
        let mut is_done = false;
        let actors = if self.log.is_some() { 24 } else { 16 };
        let actor = env.rng.below(actors);
        // A thread goes on for a while once it has its turn.
        let burst =
            if matches!(actor, 8..=12 | 16..) { 1 + env.rng.below(env.plan.burst) } else { 1 };
        for _ in 0..burst {
            let did = match actor {
                0..=7 => {
                    let lane = env.rng.below(self.lanes.len());
                    self.step_lane(lane, env, &mut ended)?
                }
                8 | 9 => self.supervise(env, chance, &mut ended)?,
                10 => self.keep(env)?,
                11 => self.upload(env, chance)?,
                12 => self.write_sinks(env)?,
                13 | 14 => self.open_gate(env),
                15 if env.events.turns < self.merge_at_turn => false,
                15 => self.make_merge(env)?,
                _ => self.log_input(actor, env, chance)?,
            };
            is_done |= did;
            if !did || ended.is_some() {
                break;
            }
        }
        if is_done {
            (self.idle, self.jumps) = (0, 0);
        } else {
            self.idle += 1;
            if self.idle > IDLE_TURNS {
                self.idle = 0;
                self.rest(env, chance, &mut ended)?;
            }
        }
        Ok(ended)
    }

    fn step_lane(
        &mut self,
        at: usize,
        env: &mut Env,
        ended: &mut Option<Ended>,
    ) -> Result<bool, Trouble> {
        let now = env.now();
        let lane = &mut self.lanes[at];
        if !lane.awake.is_set() {
            return Ok(false);
        }
        lane.awake.clear();
        // Some of what was said may not have reached the lane yet.
        let waiting = lane.commands.len();
        let heard = if env.rng.one_in(2) { waiting } else { env.rng.below(waiting + 1) };
        let mut outcome = Ok(StepOutcome::Finished);
        for command in lane.commands.drain(..heard) {
            match command {
                Command::StopSources => lane.lane.stop_sources(),
                Command::Completed(checkpoint) => lane.lane.completed(checkpoint),
                Command::Aborted(checkpoint) => lane.lane.aborted(checkpoint),
                Command::Rebase(node) => lane.lane.rebase(node),
                Command::Trigger(barrier) => {
                    outcome = lane.lane.trigger(barrier, now).map(|()| StepOutcome::Finished);
                }
            }
            if outcome.is_err() {
                break;
            }
        }
        if heard < waiting {
            lane.awake.wake();
        }
        let outcome = outcome.and_then(|_| lane.lane.step(now));
        match outcome {
            Ok(
                StepOutcome::Progress(node)
                | StepOutcome::Snapshot(node)
                | StepOutcome::SpareSnapshot(node),
            ) => {
                lane.awake.wake();
                env.note(format_args!("lane {at} node {}", node.0));
            }
            Ok(StepOutcome::Idle { .. }) => {}
            Ok(StepOutcome::Finished) => {
                if !std::mem::replace(&mut lane.has_ended, true) {
                    let fact = tidemill_core::checkpoint::coordinator::Fact::LaneEnded(
                        tidemill_core::ids::LaneId(at),
                    );
                    self.mailbox.send(Sender::Lane(at), Event::Fact(fact));
                }
            }
            Err(failed) => match failed.problem {
                LaneProblem::Call(Failure::Lost { fault }) => {
                    *ended = Some(Ended::Failed(fault.to_string()));
                }
                problem => return Err(blame(&env.places.disk, "lanes do not fail", problem)),
            },
        }
        self.check_outboxes(at, env)?;
        Ok(true)
    }

    /// A lane holds at most one call's output per node beyond its bounds.
    fn check_outboxes(&self, lane: usize, env: &Env) -> Result<(), Trouble> {
        const RECORD_BYTES_MAX: usize = 150;
        let (plan, lanes) = (&env.plan, self.lanes.len());
        let bytes = self.lanes[lane].lane.outbox_bytes();
        // Most steps are far below any bound.
        if bytes <= RECORD_BYTES_MAX {
            return Ok(());
        }
        let most = |node: usize| {
            let edges: usize =
                (0..2).map(|output| plan.graph.edges_from(NodeId(node), output).count()).sum();
            (1 + plan.fan_out[node]) * plan.batch_records.max(16) * edges
        };
        let records: usize = (0..plan.kinds.len()).map(most).sum();
        let bound = records * lanes * RECORD_BYTES_MAX;
        match bytes <= bound {
            true => Ok(()),
            false => {
                let message = format!("{bytes} bytes on lane {lane}, over {bound}");
                Err(violation("outboxes are bounded", message).into())
            }
        }
    }

    fn keep(&mut self, env: &mut Env) -> Result<bool, Trouble> {
        let worked = self.keeper.work(&env.places, &self.mailbox);
        let worked = worked.map_err(|error| blame(&env.places.disk, "the keeper", error))?;
        if worked {
            env.note(format_args!("keeper"));
        }
        Ok(worked)
    }

    fn upload(&mut self, env: &mut Env, chance: &Chance) -> Result<bool, Trouble> {
        let declines = chance.declines_one_in.is_some_and(|times| env.rng.one_in(times));
        let worked = self.uploads.work(declines);
        let worked = worked.map_err(|error| blame(&env.places.disk, "snapshot files", error))?;
        if worked {
            env.note(format_args!("uploads"));
        }
        Ok(worked)
    }

    fn write_sinks(&mut self, env: &mut Env) -> Result<bool, Trouble> {
        if self.sinks.is_empty() {
            return Ok(false);
        }
        let first = env.rng.below(self.sinks.len());
        for offset in 0..self.sinks.len() {
            let at = (first + offset) % self.sinks.len();
            let worked = sink::work(&self.sinks[at]);
            if worked.map_err(|error| blame(&env.places.disk, "sink files", error))? {
                env.note(format_args!("sink {at}"));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A source gets something to read, or a sink room.
    fn open_gate(&mut self, env: &mut Env) -> bool {
        let first = env.rng.below(self.gates.len());
        for offset in 0..self.gates.len() {
            let at = (first + offset) % self.gates.len();
            let gate = &self.gates[at];
            if !gate.gate.is_open() {
                gate.gate.open(1 + env.rng.below(GATE_USES) as u64);
                self.lanes[gate.lane].awake.wake();
                env.note(format_args!("gate {at}"));
                return true;
            }
        }
        false
    }

    /// Something happens on the way of logged input: outside, before the log, in it, or in the replay.
    fn log_input(&mut self, actor: usize, env: &mut Env, chance: &Chance) -> Result<bool, Trouble> {
        let Some(log) = &mut self.log else { return Ok(false) };
        let did = match actor {
            16 | 17 => log.outside(env, chance.is_kind)?,
            18 | 19 => log.form(env),
            20 | 21 => log.write(env, &self.mailbox)?,
            _ => log.replay(env)?,
        };
        if did {
            env.note(format_args!("input {actor}"));
        }
        Ok(did)
    }

    fn make_merge(&mut self, env: &mut Env) -> Result<bool, Trouble> {
        let Some((task, newest)) = self.merge.take() else { return Ok(false) };
        let merged = self.uploads.merge(&task, newest, env.now().wall_ms);
        let merged = merged.map_err(|error| blame(&env.places.disk, "merges", error))?;
        env.events.merged += 1;
        env.note(format_args!("merged {}", merged.name));
        self.mailbox.send(Sender::Merger, Event::Merged(task, merged));
        Ok(true)
    }

    /// Nothing was done for a while: if nothing can be, time jumps to what the coordinator waits for.
    fn rest(
        &mut self,
        env: &mut Env,
        chance: &Chance,
        ended: &mut Option<Ended>,
    ) -> Result<(), Trouble> {
        let is_awake = self.lanes.iter().any(|lane| lane.awake.is_set());
        let has_io = self.sinks.iter().any(|io| !sink::is_idle(io));
        let has_gate = self.gates.iter().any(|gate| !gate.gate.is_open());
        let waits = !self.mailbox.is_empty() || !self.keeper.is_idle() || !self.uploads.is_idle();
        if is_awake || has_io || has_gate || waits || self.merge.is_some() {
            return Ok(());
        }
        for actor in [16, 18, 20, 22] {
            if self.log_input(actor, env, chance)? {
                return Ok(());
            }
        }
        self.jumps += 1;
        // A checkpoint that only its timeout can end is stuck, too.
        if self.in_flight.is_some() {
            self.jumps = JUMPS_MAX + 1;
        }
        let deadline_ms = self.coordinator.deadline_ms();
        let Some(deadline_ms) = deadline_ms.filter(|_| self.jumps <= JUMPS_MAX) else {
            let newest = self.coordinator.completed();
            let message = format!("nothing can happen any more after checkpoint {newest}");
            return Err(violation("no lost wake-up, no deadlock", message).into());
        };
        let mut until_us = self.began_us + deadline_ms.saturating_mul(1000);
        if self.log.as_ref().is_some_and(SimLog::is_full) {
            // A full log asks for a checkpoint at every heartbeat.
            until_us = until_us.min(env.now_us + env.plan.turns_ms(HEARTBEAT_TURNS) * 1000);
        }
        env.now_us = env.now_us.max(until_us);
        env.note(format_args!("jump"));
        self.tick(env, chance, ended)
    }

    /// The incarnation ends while the process goes on: what was asked of a disk comes to its end, as when
    /// threads are joined. Answers whether all input that was received before a stop is logged.
    ///
    /// # Errors
    /// The machine is off.
    pub fn wind_down(mut self, env: &mut Env) -> Result<bool, Trouble> {
        self.lanes.clear();
        while self.uploads.work(false).map_err(|error| blame(&env.places.disk, "uploads", error))? {
        }
        self.make_merge(env)?;
        while self.keep(env)? {}
        match self.log.take() {
            Some(log) => log.close(env, &self.mailbox),
            None => Ok(true),
        }
    }
}
