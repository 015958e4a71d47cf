//! Lanes that write at once, readers that leave or take nothing, and the end.

use super::*;
use crate::connectors::fields::LineFormat;
use crate::connectors::settings::{FieldType, Fields, RecordFormat, Style};
use crate::connectors::sink::tests::answer;
use crate::connectors::tests::bell;
use std::thread;

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

/// Takes nothing until the other end is dropped.
struct Full(std::sync::mpsc::Receiver<()>);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.recv().ok();
        Ok(bytes.len())
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
    (0..1000)
        .for_each(|n| batch.values.push(format!("{lane} {run} {n} {}", "x".repeat(50)).as_bytes()));
    batch
}

#[test]
fn lines_of_several_lanes_stay_whole_and_in_their_order() {
    let paper = Paper::default();
    let outlet = Outlet::start(paper.clone()).unwrap();
    let lanes: Vec<_> = (0..3)
        .map(|lane| {
            let (waker, wakes) = bell();
            let (mut writer, paper) = (outlet.writer(lines(lane), waker), paper.clone());
            thread::spawn(move || {
                let lines_of = |run| batch(lane, run).values.data.len() + 1000;
                let mut written = 0;
                for run in 0..50 {
                    while !writer.has_room() {
                        wakes.recv().unwrap();
                    }
                    writer.write(batch(lane, run)).unwrap();
                    written += lines_of(run);
                    if run % 10 == 9 {
                        writer.prepare(CheckpointId(run as u64)).unwrap();
                    }
                }
                for checkpoint in [9, 19, 29, 39, 49] {
                    let prepared = answer(&mut writer, &wakes);
                    assert_eq!(prepared.checkpoint, CheckpointId(checkpoint));
                    assert!(prepared.files.is_empty());
                }
                // All of this lane is on paper now, whatever the others do.
                let start = format!("{lane} ");
                let paper = String::from_utf8_lossy(&paper.0.lock().unwrap()).into_owned();
                let found = paper.lines().filter(|line| line.starts_with(&start));
                assert_eq!(found.map(|line| line.len() + 1).sum::<usize>(), written);
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
    wakes.recv().unwrap();
    assert_eq!(first.prepared().unwrap_err().message, BROKEN_PIPE);
    assert_eq!(first.prepare(CheckpointId(1)).unwrap_err().message, BROKEN_PIPE);
    assert!(second.has_room());
    assert_eq!(second.write(batch(1, 0)).unwrap_err().message, BROKEN_PIPE);
}

#[test]
fn an_outlet_whose_reader_takes_nothing_is_not_waited_for_without_end() {
    let (reader, full) = std::sync::mpsc::channel();
    let mut outlet = Outlet::start(Full(full)).unwrap();
    let (waker, _wakes) = bell();
    outlet.writer(lines(0), waker).write(batch(0, 0)).unwrap();
    while !outlet.queue.lock().items.is_empty() {
        thread::yield_now();
    }
    assert!(!outlet.close(Duration::ZERO));
    drop(reader);
    assert!(outlet.close(Duration::MAX));
}

#[test]
fn a_closed_outlet_is_at_rest_and_writes_nothing_more() {
    let paper = Paper::default();
    let mut outlet = Outlet::start(paper.clone()).unwrap();
    let (waker, wakes) = bell();
    let mut writer = outlet.writer(lines(0), waker);
    writer.write(batch(0, 0)).unwrap();
    writer.prepare(CheckpointId(1)).unwrap();
    answer(&mut writer, &wakes);
    assert!(outlet.close(Duration::MAX));
    let written = paper.0.lock().unwrap().len();
    for run in 0..200 {
        assert!(writer.has_room(), "a lane that has not seen the end yet is not held up");
        writer.write(batch(0, run)).unwrap();
    }
    writer.prepare(CheckpointId(2)).unwrap();
    assert_eq!(writer.prepared(), Ok(None));
    assert_eq!(paper.0.lock().unwrap().len(), written);
}
