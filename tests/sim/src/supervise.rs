//! The supervisor of an incarnation: feeds the coordinator and performs its actions, in the product's order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidemill_core::checkpoint::coordinator::{Action, Completion, Fact, Purpose};
use tidemill_core::checkpoint::ledger::MergeTask;
use tidemill_core::connector::Wake;
use tidemill_core::ids::{LaneId, NodeId};

use crate::chance::Chance;
use crate::env::Env;
use crate::incarnation::Incarnation;
use crate::keeper::Task;
use crate::mail::{Command, Event};
use crate::trouble::Trouble;
use crate::turn::Ended;

/// Turns between two looks at what nobody tells.
pub const HEARTBEAT_TURNS: u64 = 200;

impl Incarnation {
    fn now_ms(&self, env: &Env) -> u64 {
        (env.now_us - self.began_us) / 1000
    }

    /// Reads one letter and looks at the clock; answers whether there was anything.
    pub(crate) fn supervise(
        &mut self,
        env: &mut Env,
        chance: &Chance,
        ended: &mut Option<Ended>,
    ) -> Result<bool, Trouble> {
        let event = self.mailbox.take(&mut env.rng);
        let is_due = self.coordinator.deadline_ms().is_some_and(|due| due <= self.now_ms(env));
        if event.is_none() && !is_due {
            return Ok(false);
        }
        if let Some(event) = event {
            let actions = self.take_in(event, env)?;
            self.perform(actions, env, chance, ended)?;
        }
        self.tick(env, chance, ended)?;
        Ok(true)
    }

    /// Time has passed.
    pub(crate) fn tick(
        &mut self,
        env: &mut Env,
        chance: &Chance,
        ended: &mut Option<Ended>,
    ) -> Result<(), Trouble> {
        if ended.is_some() {
            return Ok(());
        }
        let read = self.sources.iter().map(|counters| counters.records_in.load(Relaxed)).sum();
        if std::mem::replace(&mut self.read, read) != read {
            let actions = self.coordinator.learn(Fact::Active, self.now_ms(env));
            self.perform(actions, env, chance, ended)?;
        }
        let (now_ms, every_ms) = (self.now_ms(env), env.plan.turns_ms(HEARTBEAT_TURNS));
        if self.log.as_mut().is_some_and(|log| log.asks_for_room(now_ms, every_ms)) {
            let actions = self.coordinator.learn(Fact::WalPressure, now_ms);
            self.perform(actions, env, chance, ended)?;
        }
        let actions = self.coordinator.tick(self.now_ms(env));
        self.perform(actions, env, chance, ended)
    }

    /// Somebody wants something of the job.
    pub(crate) fn want(
        &mut self,
        fact: Fact,
        env: &mut Env,
        chance: &Chance,
        ended: &mut Option<Ended>,
    ) -> Result<(), Trouble> {
        let actions = self.coordinator.learn(fact, self.now_ms(env));
        self.perform(actions, env, chance, ended)
    }

    fn take_in(&mut self, event: Event, env: &mut Env) -> Result<Vec<Action>, Trouble> {
        let now_ms = self.now_ms(env);
        match event {
            Event::Fact(fact) => Ok(self.coordinator.learn(fact, now_ms)),
            Event::ManifestWritten(manifest) => {
                env.events.completed += 1;
                env.history.completes(&manifest)?;
                // Reading everything back costs more than writing it.
                if env.rng.one_in(4) {
                    env.check_state(&manifest)?;
                }
                let fact = Fact::ManifestWritten(manifest.checkpoint);
                self.ledger.completed(manifest);
                Ok(self.coordinator.learn(fact, now_ms))
            }
            Event::Committed(checkpoint) => {
                env.history.commits(self.ledger.newest());
                Ok(self.coordinator.learn(Fact::Committed(checkpoint), now_ms))
            }
            Event::WalPressure => Ok(self.coordinator.learn(Fact::WalPressure, now_ms)),
            Event::Merged(task, base) => {
                self.is_merging = false;
                self.ledger.merged(task, base);
                Ok(Vec::new())
            }
        }
    }

    fn perform(
        &mut self,
        actions: Vec<Action>,
        env: &mut Env,
        chance: &Chance,
        ended: &mut Option<Ended>,
    ) -> Result<(), Trouble> {
        for action in actions {
            if ended.is_some() {
                return Ok(());
            }
            match action {
                Action::StopSources => self.tell_all(Command::StopSources),
                Action::Trigger(barrier) => {
                    env.note(format_args!("trigger {barrier:?}"));
                    self.in_flight = Some(barrier.checkpoint);
                    for at in 0..self.lanes.len() {
                        // A lane takes a barrier once, however often it is told.
                        for _ in 0..1 + usize::from(!chance.is_kind && env.rng.one_in(4)) {
                            self.lanes[at].commands.push_back(Command::Trigger(barrier));
                        }
                        self.lanes[at].awake.wake();
                    }
                }
                Action::WriteManifest(gathered) => {
                    let before = self.ledger.newest().wal_start;
                    let mut manifest = self.ledger.compose(&gathered, env.now().wall_ms, before);
                    manifest.wal_start = self.log.as_ref().and_then(|log| log.wal_start(&manifest));
                    env.note(format_args!("compose {manifest:?}"));
                    env.history.composed(&manifest);
                    let manifest = Arc::new(manifest);
                    self.keeper.ask(Task::WriteManifest(manifest));
                }
                Action::TellCompleted(checkpoint) => {
                    self.tell_all(Command::Completed(checkpoint));
                }
                Action::Commit(_) => {
                    let manifest = self.ledger.newest().clone();
                    self.keeper.ask(Task::Commit(manifest));
                }
                Action::Finished(completion) => self.finished(&completion, env, ended),
                Action::Abort { checkpoint, reason, .. } => {
                    env.note(format_args!("abort {checkpoint}: {reason}"));
                    env.events.aborted += 1;
                    self.in_flight = None;
                    self.tell_all(Command::Aborted(checkpoint));
                }
                Action::Fail { reason, .. } => *ended = Some(Ended::Failed(reason)),
            }
        }
        Ok(())
    }

    fn tell_all(&mut self, command: Command) {
        for lane in &mut self.lanes {
            lane.commands.push_back(command);
            lane.awake.wake();
        }
    }

    fn finished(&mut self, completion: &Completion, env: &mut Env, ended: &mut Option<Ended>) {
        env.note(format_args!("finished {}", completion.checkpoint));
        self.in_flight = None;
        match completion.purpose {
            Purpose::End => *ended = Some(Ended::Finished),
            Purpose::Stop => *ended = Some(Ended::Stopped),
            Purpose::Periodic | Purpose::Pressure | Purpose::Savepoint => {}
        }
        let newest = self.ledger.newest();
        let retained = match &mut self.log {
            Some(log) => log.completed(newest, env.plan.retained),
            None => env.plan.retained,
        };
        if retained < env.plan.retained {
            env.history.only_kept(completion.checkpoint);
        }
        if ended.is_none() {
            self.ask_for_bases(env);
        }
        // The file of a merge has no manifest yet, so nothing is collected while there is one.
        if ended.is_some() || self.is_merging {
            return;
        }
        let due = self.ledger.due_merge().or_else(|| self.early_merge(env));
        match due {
            Some(task) => {
                self.is_merging = true;
                self.merge = Some((task, completion.checkpoint));
                let turns = 1 + env.rng.below(env.plan.merge_turns) as u64;
                self.merge_at_turn = env.events.turns + turns;
            }
            None if self.ledger.may_collect() => self.keeper.ask(Task::DropOld(retained)),
            None => {}
        }
    }

    /// Snapshots in simulation are rarely large enough: some bases are taken before they are due.
    fn ask_for_bases(&mut self, env: &mut Env) {
        let mut tasks: Vec<_> = self.ledger.due_bases().collect();
        if env.rng.one_in(4) {
            let (nodes, lanes) = (env.plan.kinds.len(), self.lanes.len());
            tasks.push((NodeId(env.rng.below(nodes)), LaneId(env.rng.below(lanes))));
        }
        for (node, LaneId(lane)) in tasks {
            let lane = &mut self.lanes[lane];
            lane.commands.push_back(Command::Rebase(node));
            lane.awake.wake();
        }
    }

    /// Chains in simulation are rarely long enough: some are merged before it is due.
    fn early_merge(&self, env: &mut Env) -> Option<MergeTask> {
        if !env.rng.one_in(2) {
            return None;
        }
        let newest = self.ledger.newest();
        let mut tasks = Vec::new();
        for snapshot in &newest.operators {
            let node = (0..env.plan.kinds.len()).find(|n| env.plan.name(*n) == snapshot.name)?;
            let long = snapshot.tasks.iter().filter(|task| task.files.len() > 1);
            tasks.extend(long.map(|task| MergeTask {
                node: NodeId(node),
                lane: LaneId(task.lane as usize),
                chain: task.files.clone(),
            }));
        }
        if tasks.is_empty() {
            return None;
        }
        Some(tasks.swap_remove(env.rng.below(tasks.len())))
    }
}
