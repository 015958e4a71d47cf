//! Reads records from standard input.
//!
//! Owns the thread that waits there. It cannot be called back from a read, so after a stop it is
//! left alone and ends with the next bytes or with the process. Invariant: there is one such
//! thread in the life of the process.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;

use tidemill_core::connector::{ConnectorError, ConnectorFault};

use crate::connectors::inlet::Inlet;
use crate::connectors::logged::{Former, Forming, Intake, Stop};
use crate::connectors::settings::StreamFormat;

/// Id of the one partition.
pub(super) const PARTITION: &str = "stdin";
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Starts to read standard input.
pub(super) fn start(
    format: &StreamFormat,
    intake: &Arc<Intake>,
    forming: Forming,
) -> Result<(), ConnectorError> {
    read(io::stdin(), format, intake, forming)
}

fn read(
    input: impl Read + Send + 'static,
    format: &StreamFormat,
    intake: &Arc<Intake>,
    forming: Forming,
) -> Result<(), ConnectorError> {
    let failed = |error: io::Error| {
        let what = format!("cannot start the threads that read standard input: {error}");
        ConnectorError::new(ConnectorFault::Io, format!("{what}; raise the limit on threads"))
    };
    let inlet = Arc::<Inlet>::default();
    let name = "standard input".to_owned();
    intake.begin(Box::new(StopThread(inlet.clone())), None);
    let former = Former::new(name, format, inlet.clone(), intake.clone(), forming);
    // Both end by themselves: with the input, or when nothing more is wanted.
    former.start().map_err(failed)?;
    let reader = thread::Builder::new().name("tidemill-stdin".to_owned());
    reader.spawn(move || receive(input, &inlet)).map(drop).map_err(failed)
}

fn receive(mut input: impl Read, inlet: &Inlet) {
    let mut buffer = vec![0; READ_BYTES];
    let mut total = 0u64;
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return inlet.end(),
            Ok(count) => {
                total += count as u64;
                if !inlet.append_from_thread(&buffer[..count]) {
                    return inlet.end();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let what = format!("cannot read standard input after byte {total}: {error}");
                let what = format!("{what}; connect it to a file or a pipe");
                return inlet.fail(ConnectorError::new(ConnectorFault::Io, what));
            }
        }
    }
}

/// Ends the stream for those behind; the thread follows when it can.
struct StopThread(Arc<Inlet>);

impl Stop for StopThread {
    fn stop(&mut self) {
        if !self.0.stop() {
            self.0.end();
        }
    }
}

