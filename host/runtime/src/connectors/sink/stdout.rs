//! Writes lines to standard output.
//!
//! Owns the thread that may wait there, and each lane's share of the queue in front of it.
//! Invariants: lines of several lanes never mix, since a block holds whole ones; what was written
//! is flushed before anybody waits for more; once the reader has gone, every writer learns it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, ConnectorFault, SinkWriter, Wake};
use tidemill_storage::output::QUEUED_BYTES_MAX;

use crate::connectors::sink::lines::Lines;

/// The whole message of the failure that means: whoever reads standard output has gone.
pub const BROKEN_PIPE: &str =
    "standard output: the reader has closed the pipe, so the job's output has nowhere to go";

/// Written blocks that are kept to be filled again.
const SPENT_MAX: usize = 4;

struct Lane {
    queued_bytes: usize,
    waker: Arc<dyn Wake>,
}

#[derive(Default)]
struct State {
    blocks: VecDeque<(usize, Vec<u8>)>,
    lanes: Vec<Lane>,
    spent: Vec<Vec<u8>>,
    failure: Option<ConnectorError>,
    is_closed: bool,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes blocks until the outlet is gone or nothing can be written.
    fn serve(&self, mut output: impl Write) {
        loop {
            let mut state = self.lock();
            let (lane, block) = loop {
                match state.blocks.pop_front() {
                    Some(block) => break block,
                    None if state.is_closed => return,
                    None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            let result = output.write_all(&block).and_then(|()| output.flush());
            if let Err(error) = result {
                return self.fail(explain(&error));
            }
            self.written(lane, block);
        }
    }

    fn written(&self, lane: usize, mut block: Vec<u8>) {
        let mut state = self.lock();
        let Lane { queued_bytes, waker } = &mut state.lanes[lane];
        let was_full = *queued_bytes >= QUEUED_BYTES_MAX;
        *queued_bytes -= block.len();
        let wake = *queued_bytes == 0 || (was_full && *queued_bytes < QUEUED_BYTES_MAX);
        let waker = wake.then(|| Arc::clone(waker));
        if state.spent.len() < SPENT_MAX {
            block.clear();
            state.spent.push(block);
        }
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn fail(&self, failure: ConnectorError) {
        let mut state = self.lock();
        state.failure = Some(failure);
        state.blocks.clear();
        let wakers: Vec<_> = state.lanes.iter().map(|lane| Arc::clone(&lane.waker)).collect();
        drop(state);
        wakers.iter().for_each(|waker| waker.wake());
    }
}

fn explain(error: &io::Error) -> ConnectorError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ConnectorError::new(ConnectorFault::Io, BROKEN_PIPE);
    }
    let message = format!("cannot write to standard output: {error}; check where it leads to");
    ConnectorError::new(ConnectorFault::Io, message)
}

/// Standard output with its thread.
pub(super) struct Outlet {
    queue: Arc<Queue>,
}

impl Outlet {
    /// Starts the thread.
    pub(super) fn start(output: impl Write + Send + 'static) -> Result<Arc<Self>, ConnectorError> {
        let queue = Arc::new(Queue::default());
        let served = Arc::clone(&queue);
        let started = thread::Builder::new().name("tidemill-stdout".to_owned());
        started.spawn(move || served.serve(output)).map_err(|error| {
            let what = format!("cannot start the thread that writes standard output: {error}");
            ConnectorError::new(ConnectorFault::Io, format!("{what}; raise the limit on threads"))
        })?;
        Ok(Arc::new(Self { queue }))
    }

    /// A writer for one lane.
    pub(super) fn writer(&self, lines: Lines, waker: Arc<dyn Wake>) -> StdoutWriter {
        let mut state = self.queue.lock();
        let slot = state.lanes.len();
        state.lanes.push(Lane { queued_bytes: 0, waker });
        drop(state);
        StdoutWriter { queue: Arc::clone(&self.queue), slot, lines, block: Vec::new() }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.work.notify_all();
    }
}

/// One lane's part of standard output.
pub(super) struct StdoutWriter {
    queue: Arc<Queue>,
    slot: usize,
    lines: Lines,
    block: Vec<u8>,
}

impl StdoutWriter {
    fn check(state: &State) -> Result<(), ConnectorError> {
        state.failure.clone().map_or(Ok(()), Err)
    }
}

impl SinkWriter for StdoutWriter {
    fn has_room(&mut self) -> bool {
        let state = self.queue.lock();
        // After a failure there is room: the next call tells why.
        state.failure.is_some() || state.lanes[self.slot].queued_bytes < QUEUED_BYTES_MAX
    }

    fn write(&mut self, batch: Batch) -> Result<(), ConnectorError> {
        self.lines.append(&batch, &mut self.block)?;
        let mut state = self.queue.lock();
        Self::check(&state)?;
        let next = state.spent.pop().unwrap_or_default();
        let block = std::mem::replace(&mut self.block, next);
        state.lanes[self.slot].queued_bytes += block.len();
        state.blocks.push_back((self.slot, block));
        drop(state);
        self.queue.work.notify_one();
        Ok(())
    }

    fn end(&mut self) -> Result<(), ConnectorError> {
        Self::check(&self.queue.lock())
    }

    fn is_settled(&mut self) -> Result<bool, ConnectorError> {
        let state = self.queue.lock();
        Self::check(&state)?;
        Ok(state.lanes[self.slot].queued_bytes == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::connectors::fields::LineFormat;
    use crate::connectors::settings::{FieldType, Fields, RecordFormat, Style};
    use crate::connectors::tests::bell;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A few bytes at a time, as a pipe may.
            let count = bytes.len().min(1000);
            self.0.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(lane: usize) -> Lines {
        let fields = Fields { key: None, value: FieldType::Text, select: vec![] };
        let format = LineFormat::new(&RecordFormat { style: Style::Raw, fields }).unwrap();
        Lines::new(lane, format, Arc::default())
    }

    fn batch(lane: usize, run: usize) -> Batch {
        let mut batch = Batch::default();
        (0..1000).for_each(|n| {
            batch.values.push(format!("{lane} {run} {n} {}", "x".repeat(50)).as_bytes())
        });
        batch
    }

    fn settle(writer: &mut StdoutWriter, wakes: &mpsc::Receiver<()>) -> Result<(), ConnectorError> {
        writer.end()?;
        while !writer.is_settled()? {
            wakes.recv().unwrap();
        }
        Ok(())
    }

    #[test]
    fn lines_of_several_lanes_stay_whole_and_in_their_order() {
        let paper = Paper::default();
        let outlet = Outlet::start(paper.clone()).unwrap();
        let lanes: Vec<_> = (0..3)
            .map(|lane| {
                let (waker, wakes) = bell();
                let mut writer = outlet.writer(lines(lane), waker);
                thread::spawn(move || {
                    for run in 0..50 {
                        while !writer.has_room() {
                            wakes.recv().unwrap();
                        }
                        writer.write(batch(lane, run)).unwrap();
                    }
                    settle(&mut writer, &wakes).unwrap();
                })
            })
            .collect();
        lanes.into_iter().for_each(|lane| lane.join().unwrap());
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        for lane in 0..3 {
            let start = format!("{lane} ");
            let found: Vec<_> = written.lines().filter(|line| line.starts_with(&start)).collect();
            let expected: Vec<_> = (0..50).map(|run| batch(lane, run)).collect();
            let expected: Vec<_> = expected.iter().flat_map(|batch| batch.values.iter()).collect();
            assert!(found.iter().map(|line| line.as_bytes()).eq(expected));
        }
    }

    #[test]
    fn a_closed_pipe_fails_every_writer_with_the_same_words() {
        let outlet = Outlet::start(Closed).unwrap();
        let (waker, wakes) = bell();
        let mut first = outlet.writer(lines(0), waker.clone());
        let mut second = outlet.writer(lines(1), waker);
        first.write(batch(0, 0)).unwrap();
        assert_eq!(settle(&mut first, &wakes).unwrap_err().message, BROKEN_PIPE);
        assert!(second.has_room());
        assert_eq!(second.write(batch(1, 0)).unwrap_err().message, BROKEN_PIPE);
    }
}
