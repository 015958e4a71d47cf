//! Runs a prepared job: opens outputs, starts the lanes, waits, and publishes or abandons.
//!
//! Order: job directory locked -> outputs created (in progress, invisible) -> lanes run -> every sink
//! settled (its files durable) -> every sink published -> the job's outcome recorded. A failure
//! before the last sink is published leaves no output behind.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use tidemill_core::call::CallRules;
use tidemill_core::connector::Wake;
use tidemill_core::counters::TaskCounters;
use tidemill_core::describe::Description;
use tidemill_core::failure::Failure;
use tidemill_core::graph::{EdgeKind, NodeKind};
use tidemill_core::ids::{LaneId, NodeId};
use tidemill_core::key_group::Assignment;
use tidemill_core::lane::{Lane, LaneParts, LaneProblem, LaneSettings, OperatorParts, build_lanes};
use tidemill_core::operator::OpenContext;
use tidemill_core::state::TaskState;
use tidemill_core::state::memory::MemoryBackend;
use tidemill_sandbox::TaskIdentity;

use super::lane_thread::{self, LaneEnd};
use super::report::TaskInfo;
use super::{Job, JobError, Outcome, Report, SinkReport, SourceReport, open_job_dir};
use crate::connectors::Sink;

/// The tenant of a host that has only one.
const DEFAULT_TENANT: &str = "default";

impl Job {
    /// Runs the job to its end. Blocks the calling thread.
    ///
    /// # Errors
    /// The first failure of a task, or what kept the outputs from being opened or published.
    pub fn run(self) -> Result<Report, JobError> {
        self.bind()?;
        let dir = open_job_dir(&self.plan, &self.options)?;
        let mut sinks = self.create_sinks()?;
        let outcome = self.run_lanes(&mut sinks);
        let elapsed = match outcome {
            Ok(elapsed) => elapsed,
            Err(error) => {
                sinks.iter_mut().for_each(Sink::abandon);
                return Err(error);
            }
        };
        for index in 0..sinks.len() {
            if let Err(error) = sinks[index].commit() {
                // Those before it are taken back: the outputs of a job appear as a whole.
                sinks.iter_mut().for_each(Sink::abandon);
                return Err(self.sink_error(index, error));
            }
        }
        let stopped = self.shared.requests.drain.load(SeqCst);
        let outcome = if stopped { Outcome::Stopped } else { Outcome::Finished };
        let word = if stopped { "was stopped" } else { "finished" };
        dir.record_outcome(word).map_err(|error| JobError::DataDir {
            path: dir.path().to_path_buf(),
            problem: error.to_string(),
            help: "the outputs are complete; only this record is missing".to_owned(),
        })?;
        Ok(self.report(outcome, elapsed, &sinks))
    }

    fn sink_error(
        &self,
        index: usize,
        error: tidemill_core::connector::ConnectorError,
    ) -> JobError {
        JobError::Connector { node: self.plan.sinks[index].name.clone(), error }
    }

    fn create_sinks(&self) -> Result<Vec<Sink>, JobError> {
        let mut sinks = Vec::new();
        for (index, plan) in self.plan.sinks.iter().enumerate() {
            match Sink::create(&self.plan.name, &plan.name, &plan.settings, self.options.fresh) {
                Ok(sink) => sinks.push(sink),
                Err(error) => {
                    sinks.iter_mut().for_each(Sink::abandon);
                    return Err(self.sink_error(index, error));
                }
            }
        }
        Ok(sinks)
    }

    fn run_lanes(&self, sinks: &mut [Sink]) -> Result<std::time::Duration, JobError> {
        let lanes = self.build_lanes(sinks)?;
        let began = Instant::now();
        let (ended, ends) = mpsc::channel();
        let mut threads = Vec::new();
        let mut failure = None;
        for (lane, waker) in lanes.into_iter().zip(&self.shared.wakers) {
            let (ended, requests) = (ended.clone(), self.shared.requests.clone());
            let report = move |lane, end| {
                // The receiver outlives every lane: `run_lanes` waits for all of them.
                ended.send((lane, end)).ok();
            };
            match lane_thread::start(&self.plan.name, lane, waker.clone(), requests, report) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    failure = Some(JobError::Host(format!("no thread for a lane: {error}")));
                    self.abort();
                    break;
                }
            }
        }
        drop(ended);
        for (lane, end) in ends {
            let problem = match end {
                LaneEnd::Finished | LaneEnd::Aborted => continue,
                LaneEnd::Failed(failed) => self.lane_error(lane, failed),
                LaneEnd::Panicked(message) => JobError::Host(format!("lane {lane}: {message}")),
            };
            failure.get_or_insert(problem);
            self.abort();
        }
        for thread in threads {
            // A panic was caught inside and reported above.
            thread.join().ok();
        }
        failure.map_or_else(|| Ok(began.elapsed()), Err)
    }

    fn abort(&self) {
        self.shared.requests.abort.store(true, SeqCst);
        self.shared.wake_all();
    }

    fn lane_error(&self, lane: usize, failed: tidemill_core::lane::LaneFailure) -> JobError {
        let node = self.graph.nodes[failed.node.0].name.clone();
        match failed.problem {
            LaneProblem::Call(Failure::Host(message)) => {
                JobError::Host(format!("{node} (lane {lane}): {message}"))
            }
            LaneProblem::Call(failure) => JobError::Operator { node, lane, failure },
            LaneProblem::Connector(error) => JobError::Connector { node, error },
        }
    }

    fn build_lanes(&self, sinks: &mut [Sink]) -> Result<Vec<Lane>, JobError> {
        let parallelism = self.plan.parallelism;
        let assignment = Arc::new(Assignment::initial(self.plan.key_groups, parallelism));
        let settings = LaneSettings {
            assignment: assignment.clone(),
            hash_seed: job_hash_seed(&self.plan.name),
            target: self.plan.batch,
            linger_us: self.plan.linger_us,
            queue_bytes: self.plan.queue_bytes,
        };
        let wakers: Vec<Arc<dyn Wake>> =
            self.shared.wakers.iter().map(|waker| waker.clone() as Arc<dyn Wake>).collect();
        let mut parts = Vec::new();
        for (lane, waker) in wakers.iter().enumerate() {
            parts.push(self.lane_parts(lane, &assignment, waker, sinks)?);
        }
        let lanes = build_lanes(&self.graph, &settings, parts, &wakers);
        let tasks = lanes.iter().flat_map(|lane| self.task_infos(lane)).collect();
        // `run` consumes the job, so this is the first and only time.
        self.shared.tasks.set(tasks).ok();
        Ok(lanes)
    }

    fn lane_parts(
        &self,
        lane: usize,
        assignment: &Assignment,
        waker: &Arc<dyn Wake>,
        sinks: &mut [Sink],
    ) -> Result<LaneParts, JobError> {
        let lanes = self.plan.parallelism;
        let mut parts = LaneParts::default();
        let mut node = (0..).map(NodeId);
        let mut next_node = || node.next().unwrap_or(NodeId(usize::MAX));
        for (plan, source) in self.plan.sources.iter().zip(&self.sources) {
            let reader = source
                .reader(lane, lanes, waker.clone())
                .map_err(|error| JobError::Connector { node: plan.name.clone(), error })?;
            parts.sources.insert(next_node(), reader);
        }
        for index in 0..self.plan.operators.len() {
            let node = next_node();
            parts.operators.insert(node, self.operator_parts(index, node, lane, assignment)?);
        }
        for (index, sink) in sinks.iter_mut().enumerate() {
            let writer =
                sink.writer(lane, waker.clone()).map_err(|error| self.sink_error(index, error))?;
            parts.sinks.insert(next_node(), writer);
        }
        Ok(parts)
    }

    fn operator_parts(
        &self,
        index: usize,
        node: NodeId,
        lane: usize,
        assignment: &Assignment,
    ) -> Result<OperatorParts, JobError> {
        let plan = &self.plan.operators[index];
        let NodeKind::Operator(description) = &self.graph.nodes[node.0].kind else {
            return Err(JobError::Host("the graph and the plan disagree".to_owned()));
        };
        let description = Arc::new(description.clone());
        let limits = Arc::new(plan.limits.clone());
        let keyed_edge = |output| {
            self.graph.edges_from(node, output).any(|(_, edge)| edge.kind == EdgeKind::Keyed)
        };
        let rules = Arc::new(CallRules {
            output_needs_key: (0..description.outputs.len()).map(keyed_edge).collect(),
            random_key: random_key(&self.plan.name, &plan.name, lane),
            description: description.clone(),
            limits: limits.clone(),
        });
        let identity = TaskIdentity {
            job: self.plan.name.clone(),
            operator: plan.name.clone(),
            task: lane as u32,
        };
        let stop = self.shared.requests.abort.clone();
        let instance = self.components[index]
            .instantiate(rules.clone(), &identity, &plan.config, stop)
            .map_err(|failure| JobError::Operator { node: plan.name.clone(), lane, failure })?;
        let context = OpenContext {
            tenant: DEFAULT_TENANT.to_owned(),
            job: self.plan.name.clone(),
            operator_id: plan.name.clone(),
            task: lane as u32,
            parallelism: self.plan.parallelism as u32,
            incarnation: 0,
            config: plan.config.clone(),
        };
        let state = keyed_state(&description, assignment, lane, &limits);
        Ok(OperatorParts { instance, rules, state, context })
    }

    fn task_infos(&self, lane: &Lane) -> Vec<TaskInfo> {
        let nodes = self.graph.nodes.iter().zip(lane.counters());
        let info = |(node, counters): (&tidemill_core::graph::Node, &Arc<TaskCounters>)| {
            let (kind, metrics) = match &node.kind {
                NodeKind::Source => ("source", Arc::default()),
                NodeKind::Operator(described) => ("operator", described.metrics.clone().into()),
                NodeKind::Sink => ("sink", Arc::default()),
            };
            let (node, lane) = (node.name.clone(), lane.id().0);
            TaskInfo { node, kind, lane, metrics, counters: counters.clone() }
        };
        nodes.map(info).collect()
    }

    fn report(&self, outcome: Outcome, elapsed: std::time::Duration, sinks: &[Sink]) -> Report {
        let progress = self.handle().progress();
        let mut records: BTreeMap<&str, u64> = BTreeMap::new();
        for task in progress.tasks.iter().filter(|task| task.kind == "source") {
            *records.entry(&task.node).or_default() += task.records_in;
        }
        let sources = self.partitions().into_iter().map(|(name, partitions)| SourceReport {
            records: records.get(&*name).copied().unwrap_or(0),
            name,
            partitions,
        });
        let sinks = self.plan.sinks.iter().zip(sinks);
        let sinks = sinks
            .map(|(plan, sink)| SinkReport { name: plan.name.clone(), summary: sink.summary() });
        Report {
            job: self.plan.name.clone(),
            outcome,
            elapsed,
            sources: sources.collect(),
            sinks: sinks.collect(),
            progress,
        }
    }
}

/// The keyed state of one task: any operator with a keyed input has it, if only to resolve keys.
fn keyed_state(
    description: &Description,
    assignment: &Assignment,
    lane: usize,
    limits: &Arc<tidemill_core::limits::Limits>,
) -> Option<Box<TaskState>> {
    if !description.inputs.iter().any(|input| input.keyed) {
        return None;
    }
    let owned = assignment.owned_by(LaneId(lane));
    let backend = MemoryBackend::new(&description.states, assignment.groups(), owned);
    let states = description.states.clone().into();
    Some(Box::new(TaskState::new(Box::new(backend), states, limits.clone())))
}

/// The seed of the key hash, fixed for a job.
fn job_hash_seed(job: &str) -> u64 {
    let key = blake3::derive_key("tidemill 0.1 key hash seed", job.as_bytes());
    u64::from_le_bytes([key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]])
}

/// The key of a task's random generator.
fn random_key(job: &str, operator: &str, task: usize) -> [u8; 32] {
    let name = format!("{job}\0{operator}\0{task}");
    blake3::derive_key("tidemill 0.1 operator random", name.as_bytes())
}
