//! Reads records from standard input.
//!
//! Owns the thread that waits there. It cannot be called back from a read, so after a stop it is
//! left alone and ends with the next bytes or with the process. Invariant: there is one such
//! thread in the life of the process.

use std::io::{self, Read};
use std::sync::Arc;

use tidemill_core::connector::{ConnectorError, ConnectorFault};

use crate::connectors::inlet::Inlet;
use crate::connectors::logged::{Former, Forming, Intake, Stop};
use crate::connectors::no_thread;
use crate::connectors::settings::StreamFormat;
use crate::spawner;

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
    let inlet = Arc::<Inlet>::default();
    let name = "standard input".to_owned();
    intake.begin(Box::new(StopThread(inlet.clone())), None);
    let account = forming.account.clone();
    let former = Former::new(name, format, inlet.clone(), intake.clone(), forming);
    // Both end by themselves: with the input, or when nothing more is wanted.
    let no_thread = |error| no_thread("that reads standard input", &error);
    former.start().map_err(no_thread)?;
    let reader = spawner::builder("tidemill-stdin").map_err(no_thread)?;
    let body = move || {
        let _employed = account.employ_thread();
        receive(input, &inlet);
    };
    reader.spawn(body).map(drop).map_err(no_thread)
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tidemill_core::connector::{SourcePoll, SourceReader};

    use super::*;
    use crate::connectors::logged::tests::{Bench, Lane, beginning, forming};
    use crate::connectors::settings::Format;
    use crate::connectors::tests::{drain, target};

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

    fn stream(format: Format, key: Option<&str>) -> StreamFormat {
        StreamFormat { format, key: key.map(str::to_owned) }
    }

    fn lines() -> StreamFormat {
        stream(Format::Lines, None)
    }

    fn begin(input: impl Read + Send + 'static, format: &StreamFormat) -> (Bench, Lane) {
        let mut bench = Bench::new();
        let lane = bench.begin(&beginning());
        read(input, format, &bench.intake, forming()).unwrap();
        (bench, lane)
    }

    #[test]
    fn lines_come_as_they_are_given_and_the_last_needs_no_end() {
        let (_bench, mut lane) = begin(&b"a\nb\r\n\nlast"[..], &lines());
        let records = drain(&mut lane.reader, &lane.wakes).unwrap();
        assert_eq!(records, [&b"a"[..], b"b", b"", b"last"].map(|value| (None, value.to_vec())));
        assert!(lane.position().position.ended);
    }

    #[test]
    fn rows_of_csv_come_with_their_keys_and_come_again_with_them() {
        let input = b"id,name\n7,tide\n8,mill\n";
        let (mut bench, mut lane) = begin(&input[..], &stream(Format::Csv, Some("id")));
        let expected = [
            (Some(b"7".to_vec()), br#"{"id":"7","name":"tide"}"#.to_vec()),
            (Some(b"8".to_vec()), br#"{"id":"8","name":"mill"}"#.to_vec()),
        ];
        assert_eq!(drain(&mut lane.reader, &lane.wakes).unwrap(), expected);
        bench.end();
        let mut lane = bench.begin(&beginning());
        assert_eq!(drain(&mut lane.reader, &lane.wakes).unwrap(), expected);
    }

    #[test]
    fn after_a_stop_whole_lines_are_kept_for_the_next_run_and_the_beginning_of_one_is_not() {
        let (parts, input) = mpsc::channel();
        let (mut bench, mut lane) = begin(Slow(input), &lines());
        assert!(matches!(lane.reader.poll(target(), Default::default()), Ok(SourcePoll::Pending)));
        parts.send(Ok(b"one\n".to_vec())).unwrap();
        assert_eq!(lane.take(1), ["one"]);
        parts.send(Ok(b"two\nthr".to_vec())).unwrap();
        while !lane.reader.is_ready() {
            lane.wakes.recv().unwrap();
        }
        lane.reader.stop();
        let at = lane.position();
        assert!(!at.position.ended);
        bench.end();
        // Another process, with other input.
        let (mut other, input) = (Bench::new(), &b"four\n"[..]);
        std::mem::swap(&mut bench.intake, &mut other.intake);
        let mut lane = bench.begin(&at);
        read(input, &lines(), &bench.intake, forming()).unwrap();
        assert_eq!(lane.take(2), ["two", "four"]);
    }

    #[test]
    fn a_failed_read_and_a_bad_record_say_where_after_all_that_was_good() {
        let (parts, input) = mpsc::channel();
        parts.send(Ok(b"one\n".to_vec())).unwrap();
        parts.send(Err(io::Error::other("gone"))).unwrap();
        let (_bench, mut lane) = begin(Slow(input), &lines());
        assert_eq!(lane.take(1), ["one"]);
        let error = drain(&mut lane.reader, &lane.wakes).unwrap_err();
        assert!(error.message.contains("after byte 4: gone"), "{error}");
        let (_bench, mut lane) = begin(&b"{}\n[]\n"[..], &stream(Format::Ndjson, None));
        assert_eq!(lane.take(1), ["{}"]);
        let error = drain(&mut lane.reader, &lane.wakes).unwrap_err();
        assert_eq!(error.fault, ConnectorFault::BadData);
        assert!(error.message.starts_with("standard input, record 2 at byte 3: "), "{error}");
    }
}
