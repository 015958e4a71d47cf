//! What a task does for a checkpoint: freeze at the barrier, encode in slices, answer.
//!
//! Owns the life of one task's snapshot from the barrier to its settlement. Knows nothing of queues or
//! alignment. Invariants: at most one snapshot of an operator is being encoded; what an aborted checkpoint
//! took is merged back, so the next one has it; a sink's prepared output is reported until a completed
//! checkpoint holds it.

use std::collections::VecDeque;

use super::task::OperatorTask;
use crate::checkpoint::{
    AckContent, Barrier, CheckpointListener, OperatorAck, SnapshotUpload, TaskAck, UploadTask,
};
use crate::connector::{ConnectorError, ConnectorFault, Prepared, SinkWriter};
use crate::failure::Failure;
use crate::ids::{CheckpointId, LaneId, NodeId};
use crate::planted::{self, Bug};

/// Which task it is, for its answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskId {
    pub(super) node: NodeId,
    pub(super) lane: LaneId,
}

/// The snapshots of one operator's task.
#[derive(Default)]
pub(super) struct OperatorSnapshots {
    /// The snapshot that is not known to be complete or aborted.
    open: Option<OpenSnapshot>,
}

struct OpenSnapshot {
    checkpoint: CheckpointId,
    /// Until everything is encoded.
    upload: Option<(Box<dyn SnapshotUpload>, OperatorAck)>,
}

impl OperatorSnapshots {
    /// Takes the barrier: the state of now becomes the snapshot.
    ///
    /// # Errors
    /// The operator keeps state in its own memory and could not save it.
    pub(super) fn take(
        &mut self,
        task: &mut OperatorTask,
        id: TaskId,
        barrier: Barrier,
        closed: bool,
        alignment_us: u64,
        listener: &dyn CheckpointListener,
    ) -> Result<(), Failure> {
        self.settle(task, barrier.completed);
        self.abort(task);
        let (TaskId { node, lane }, checkpoint) = (id, barrier.checkpoint);
        let mut ack = OperatorAck {
            closed,
            clock_ms: task.clock_ms,
            calls: task.calls,
            is_base: true,
            file: None,
            saved: task.save()?,
        };
        let Some(state) = task.frame.state_mut() else {
            let content = AckContent::Operator(ack);
            listener.acknowledge(TaskAck { checkpoint, node, lane, alignment_us, content });
            return Ok(());
        };
        ack.is_base = state.freeze(false);
        let upload = UploadTask { checkpoint, node, lane, is_base: ack.is_base, alignment_us };
        let upload = Some((listener.begin_upload(upload), ack));
        self.open = Some(OpenSnapshot { checkpoint, upload });
        Ok(())
    }

    /// Encodes some of the open snapshot. Answers whether anything was done.
    pub(super) fn encode_slice(&mut self, task: &mut OperatorTask) -> bool {
        let (Some(open), Some(state)) = (&mut self.open, task.frame.state_mut()) else {
            return false;
        };
        let Some((mut upload, ack)) = open.upload.take() else {
            return false;
        };
        if !upload.has_room() {
            open.upload = Some((upload, ack));
            return false;
        }
        let step = state.encode();
        if !step.segments.is_empty() {
            upload.put(step.segments);
        }
        if step.done {
            upload.finish(ack);
        } else {
            open.upload = Some((upload, ack));
        }
        true
    }

    /// A checkpoint is complete: a snapshot of it, or of one that it follows, is settled.
    pub(super) fn settle(&mut self, task: &mut OperatorTask, completed: CheckpointId) {
        if self.open.as_ref().is_some_and(|open| open.checkpoint == completed) {
            self.open = None;
            if let Some(state) = task.frame.state_mut() {
                state.settle_snapshot(true);
            }
        }
    }

    /// Gives up the open snapshot if it is of `aborted` or an older checkpoint.
    pub(super) fn abort_up_to(&mut self, task: &mut OperatorTask, aborted: CheckpointId) {
        if self.open.as_ref().is_some_and(|open| open.checkpoint <= aborted) {
            self.abort(task);
        }
    }

    fn abort(&mut self, task: &mut OperatorTask) {
        if self.open.take().is_some()
            && let Some(state) = task.frame.state_mut()
        {
            state.settle_snapshot(planted::is(Bug::DeltaBasedOnAborted));
        }
    }
}

/// The transactions of one sink's task.
#[derive(Default)]
pub(super) struct SinkSnapshots {
    /// Barriers whose output is not durable yet, in order, with their alignment in microseconds.
    awaited: VecDeque<(CheckpointId, u64)>,
    /// Prepared, and held by no completed checkpoint as far as is known: at most one for the newest barrier and those before it
    /// whose checkpoints were given up, since there is one in flight at a time.
    prepared: Option<Prepared>,
}

/// Files of one task that wait for a checkpoint that completes. Each answer to a barrier has all of them.
const FILES_MAX: usize = 10_000;

impl SinkSnapshots {
    pub(super) fn take(
        &mut self,
        writer: &mut dyn SinkWriter,
        barrier: Barrier,
        alignment_us: u64,
    ) -> Result<(), ConnectorError> {
        self.settle(barrier.completed);
        self.awaited.push_back((barrier.checkpoint, alignment_us));
        writer.prepare(barrier.checkpoint)
    }

    /// Answers the barriers whose output has become durable. Answers whether there was any.
    pub(super) fn collect(
        &mut self,
        writer: &mut dyn SinkWriter,
        id: TaskId,
        listener: &dyn CheckpointListener,
    ) -> Result<bool, ConnectorError> {
        let mut any = false;
        while !self.awaited.is_empty()
            && let Some(prepared) = writer.prepared()?
            && let Some((checkpoint, alignment_us)) = self.awaited.pop_front()
        {
            any = true;
            let prepared = self.follows(prepared)?;
            let content = AckContent::Sink { prepared: vec![prepared.clone()] };
            self.prepared = Some(prepared);
            let TaskId { node, lane } = id;
            listener.acknowledge(TaskAck { checkpoint, node, lane, alignment_us, content });
        }
        Ok(any)
    }

    /// What was prepared, with the files of barriers before it whose checkpoints were given up.
    fn follows(&mut self, mut prepared: Prepared) -> Result<Prepared, ConnectorError> {
        if let Some(mut earlier) = self.prepared.take() {
            earlier.files.append(&mut prepared.files);
            prepared.files = earlier.files;
        }
        let count = prepared.files.len();
        if count > FILES_MAX {
            let message = format!(
                "{count} output files wait for a checkpoint that completes; at most {FILES_MAX} may: see why checkpoints do not \
                 complete, or let fewer of them be tried"
            );
            return Err(ConnectorError::new(ConnectorFault::Io, message));
        }
        Ok(prepared)
    }

    pub(super) fn settle(&mut self, completed: CheckpointId) {
        self.prepared.take_if(|prepared| prepared.checkpoint <= completed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::PreparedFile;

    fn prepared(checkpoint: u64, files: usize) -> Prepared {
        let file = |number| PreparedFile {
            in_progress: format!(".{checkpoint}-{number}"),
            published: format!("{checkpoint}-{number}"),
            bytes: 1,
            digest: [0; 32],
        };
        let files = (0..files).map(file).collect();
        Prepared { checkpoint: CheckpointId(checkpoint), files, state: vec![checkpoint as u8] }
    }

    /// Answers a barrier with what was prepared for it.
    fn answer(sink: &mut SinkSnapshots, prepared: Prepared) -> Result<Prepared, ConnectorError> {
        let prepared = sink.follows(prepared)?;
        sink.prepared = Some(prepared.clone());
        Ok(prepared)
    }

    #[test]
    fn files_of_barriers_that_came_to_nothing_go_on_with_the_next_in_order() {
        let mut sink = SinkSnapshots::default();
        (1..4).for_each(|checkpoint| drop(answer(&mut sink, prepared(checkpoint, 2)).unwrap()));
        let all = answer(&mut sink, prepared(4, 1)).unwrap();
        let names: Vec<&str> = all.files.iter().map(|file| file.published.as_str()).collect();
        assert_eq!(names, ["1-0", "1-1", "2-0", "2-1", "3-0", "3-1", "4-0"]);
        assert_eq!((all.checkpoint, &all.state[..]), (CheckpointId(4), &[4][..]));
        sink.settle(CheckpointId(3));
        assert!(sink.prepared.is_some(), "those of the third are in the fourth");
        sink.settle(CheckpointId(4));
        assert_eq!(answer(&mut sink, prepared(5, 1)).unwrap().files.len(), 1);
    }

    #[test]
    fn files_that_wait_for_a_checkpoint_are_not_without_end() {
        let mut sink = SinkSnapshots::default();
        let mut answers =
            (1..).map(|checkpoint| answer(&mut sink, prepared(checkpoint, FILES_MAX / 4)));
        let refused = answers.find_map(Result::err).unwrap();
        assert!(refused.message.contains("wait for a checkpoint"), "{}", refused.message);
    }
}
