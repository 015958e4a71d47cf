//! Reads records from standard input.
//!
//! Owns the thread that waits there. It cannot be called back from a read, so after a stop it is
//! left alone and ends with the next bytes or with the process. Invariant: there is one such
//! thread.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;

use tidemill_core::connector::{ConnectorError, ConnectorFault, Wake};

use crate::connectors::inlet::Inlet;
use crate::connectors::settings::StreamFormat;
use crate::connectors::stream::{Stop, StreamReader};

/// Id of the one partition.
pub(super) const PARTITION: &str = "stdin";
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Starts to read standard input.
pub(super) fn reader(
    format: &StreamFormat,
    waker: Arc<dyn Wake>,
) -> Result<StreamReader<StopThread>, ConnectorError> {
    start(io::stdin(), format, waker)
}

fn start(
    input: impl Read + Send + 'static,
    format: &StreamFormat,
    waker: Arc<dyn Wake>,
) -> Result<StreamReader<StopThread>, ConnectorError> {
    let inlet = Arc::new(Inlet::new(waker));
    let receiver = Arc::clone(&inlet);
    let started = thread::Builder::new().name("tidemill-stdin".to_owned());
    started.spawn(move || receive(input, &receiver)).map_err(|error| {
        let what = format!("cannot start the thread that reads standard input: {error}");
        ConnectorError::new(ConnectorFault::Io, format!("{what}; raise the limit on threads"))
    })?;
    let stop = StopThread(Arc::clone(&inlet));
    Ok(StreamReader::new(PARTITION, "standard input".to_owned(), format, inlet, stop))
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

/// Ends the stream for the lane; the thread follows when it can.
pub(super) struct StopThread(Arc<Inlet>);

impl Stop for StopThread {
    fn stop(&mut self) {
        if !self.0.stop() {
            self.0.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tidemill_core::connector::{SourcePoll, SourceReader};

    use super::*;
    use crate::connectors::settings::Format;
    use crate::connectors::tests::{bell, drain, target};

    /// Gives what is sent, part by part, and waits in between.
    struct Slow(mpsc::Receiver<io::Result<Vec<u8>>>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Ok(part) = self.0.recv() else { return Ok(0) };
            let part = part?;
            buffer[..part.len()].copy_from_slice(&part);
            Ok(part.len())
        }
    }

    fn lines() -> StreamFormat {
        StreamFormat { format: Format::Lines, key: None }
    }

    #[test]
    fn lines_come_as_they_are_given_and_the_last_needs_no_end() {
        let (waker, wakes) = bell();
        let mut reader = start(&b"a\nb\r\n\nlast"[..], &lines(), waker).unwrap();
        let records = drain(&mut reader, &wakes).unwrap();
        assert_eq!(records, [&b"a"[..], b"b", b"", b"last"].map(|value| (None, value.to_vec())));
        let position = &reader.positions()[0].position;
        assert_eq!((position.offset, position.ended), (4, true));
    }

    #[test]
    fn after_a_stop_whole_lines_still_come_and_the_beginning_of_one_does_not() {
        let (parts, input) = mpsc::channel();
        let (waker, wakes) = bell();
        let mut reader = start(Slow(input), &lines(), waker).unwrap();
        assert!(!reader.is_ready());
        assert!(matches!(reader.poll(target(), Default::default()), Ok(SourcePoll::Pending)));
        parts.send(Ok(b"one\ntwo\nthr".to_vec())).unwrap();
        wakes.recv().unwrap();
        assert!(reader.is_ready());
        reader.stop();
        let records = drain(&mut reader, &wakes).unwrap();
        assert_eq!(records, [&b"one"[..], b"two"].map(|value| (None, value.to_vec())));
        let position = &reader.positions()[0].position;
        assert_eq!((position.offset, position.ended), (2, false));
    }

    #[test]
    fn a_failed_read_and_a_bad_record_say_where() {
        let (parts, input) = mpsc::channel();
        let (waker, wakes) = bell();
        let mut reader = start(Slow(input), &lines(), waker).unwrap();
        parts.send(Ok(b"one\n".to_vec())).unwrap();
        parts.send(Err(io::Error::other("gone"))).unwrap();
        let error = drain(&mut reader, &wakes).unwrap_err();
        assert!(error.message.contains("after byte 4: gone"), "{error}");
        let (waker, wakes) = bell();
        let format = StreamFormat { format: Format::Ndjson, key: None };
        let mut reader = start(&b"{}\n[]\n"[..], &format, waker).unwrap();
        let error = drain(&mut reader, &wakes).unwrap_err();
        assert_eq!(error.fault, ConnectorFault::BadData);
        assert!(error.message.starts_with("standard input, record 2 at byte 3: "), "{error}");
    }
}
