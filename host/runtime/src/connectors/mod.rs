//! Sources and sinks: where a job's records come from and where they go.
//!
//! Owns every way in and out of a job: files, standard input and output, TCP, the built-in
//! generator, and what is counted and thrown away. A lane sees only the traits
//! [`SourceReader`](tidemill_core::connector::SourceReader) and
//! [`SinkWriter`](tidemill_core::connector::SinkWriter). Must not know the job's graph, operators
//! or sandboxes. Invariants: nothing here makes a lane wait: threads of their own do, behind
//! bounded buffers; every message about bad input or a failing device says where, what, and what to
//! do; only the storage crate opens files.

mod ended;
mod fields;
mod file;
mod formats;
mod inlet;
mod json;
pub(crate) mod logged;
mod msgpack;
pub mod nexmark;
mod records;
pub mod settings;
mod sink;
mod source;
mod stdin;
mod tcp;

pub use file::Listing;
pub use sink::{BROKEN_PIPE, Sink, SinkStart, SinkSummary};
pub use source::Source;
pub(crate) use tcp::LISTENER_BYTES;

use std::io;

use tidemill_core::connector::{ConnectorError, ConnectorFault};

/// The system gives no thread, for what says which.
fn no_thread(which: &str, error: &io::Error) -> ConnectorError {
    let what = format!("HOST_FULL: cannot start the thread {which}: {error}");
    ConnectorError::new(
        ConnectorFault::HostFull,
        format!("{what}; raise the limit on threads, or run fewer jobs"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use tidemill_core::connector::{BatchTarget, ConnectorError, SourcePoll, SourceReader, Wake};
    use tidemill_core::ids::Now;
    use tidemill_core::quota::{Account, Unmetered};

    pub(super) use crate::connectors::formats::tests::Flat;

    struct Bell(mpsc::Sender<()>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.send(()).ok();
        }
    }

    /// A waker, and where its calls arrive.
    pub(super) fn bell() -> (Arc<dyn Wake>, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel();
        (Arc::new(Bell(sender)), receiver)
    }

    /// Whom nothing is charged.
    pub(super) fn nobody() -> Arc<dyn Account> {
        Arc::<Unmetered>::default()
    }

    pub(super) fn target() -> BatchTarget {
        BatchTarget { records: 4096, bytes: 256 * 1024 }
    }

    /// Reads to the end.
    pub(super) fn drain(
        reader: &mut (impl SourceReader + ?Sized),
        wakes: &mpsc::Receiver<()>,
    ) -> Result<Flat, ConnectorError> {
        let mut flat = Flat::new();
        loop {
            match reader.poll(target(), Now::default())? {
                SourcePoll::Batch(batch) => {
                    assert!(!batch.is_empty() && batch.is_within_limits());
                    for index in 0..batch.len() {
                        let key = batch.key(index).map(<[u8]>::to_vec);
                        flat.push((key, batch.values.get(index).to_vec()));
                    }
                }
                SourcePoll::Pending => wakes.recv().unwrap(),
                SourcePoll::Ended => return Ok(flat),
            }
        }
    }
}
