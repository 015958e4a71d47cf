//! The threads of a lane: one after the other drives it, and the last one tells how it ended.
//!
//! Owns how a lane gets a thread and is handed on to another, at most one of which drives it at a time, and what a panic comes
//! to. Must not know what driving is: that is `lane_drive`'s.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tidemill_core::lane::{Lane, LaneFailure};
use tidemill_core::limits::LANE_STACK_BYTES;

use super::lane_drive::{LaneDriver, Stop};
use super::lane_line::{LaneLine, lock};
use super::lane_pace::LanePace;
use crate::spawner;

/// How a lane's thread ended.
#[derive(Debug)]
pub(super) enum LaneEnd {
    /// It was told to leave.
    Left,
    /// A task failed.
    Failed(LaneFailure),
    /// The host's own code panicked.
    Panicked(String),
}

/// What a lane's thread reports.
pub(super) trait LaneReport: Send + 'static {
    /// All tasks of the lane have ended; it still answers barriers.
    fn ended(&self);

    /// The lane has ended; all that its thread still does is to clear up.
    fn gone(&self, end: LaneEnd);
}

/// What one thread of a lane hands on to the next.
struct Baton<R> {
    name: String,
    driver: LaneDriver,
    report: R,
    newest: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// The thread of a lane, or the one that took its place.
pub(super) struct LaneThread {
    newest: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl LaneThread {
    /// Waits until the lane has no thread any more.
    pub(super) fn join(self) {
        loop {
            let Some(thread) = lock(&self.newest).take() else { return };
            // A panic was caught inside and reported.
            thread.join().ok();
        }
    }
}

/// Starts a lane.
pub(super) fn start(
    job: &str,
    lane: Lane,
    line: Arc<LaneLine>,
    pace: LanePace,
    report: impl LaneReport,
) -> std::io::Result<LaneThread> {
    let name: String = format!("{}/{job}", lane.id()).chars().take(15).collect();
    let newest = Arc::new(Mutex::new(None));
    let threads = newest.clone();
    let driver = LaneDriver::new(lane, line, pace);
    spawn(Baton { name, driver, report, newest }).map_err(|(error, _)| error)?;
    Ok(LaneThread { newest: threads })
}

/// There is no thread for a lane; here it is back.
type NoThread<R> = (std::io::Error, Option<Box<Baton<R>>>);

/// Goes on with a lane in a thread of its own; hands it back when there is none.
fn spawn<R: LaneReport>(baton: Baton<R>) -> Result<(), NoThread<R>> {
    let (name, newest) = (baton.name.clone(), baton.newest.clone());
    let is_first = baton.driver.is_new();
    // Whoever gets no thread must get the lane back.
    let handed = Arc::new(Mutex::new(Some(Box::new(baton))));
    let taken = handed.clone();
    let body = move || {
        // Released before the lane begins, which takes its time.
        let baton = lock(&taken).take();
        if let Some(baton) = baton {
            baton.run();
        }
    };
    let builder = match spawner::builder("lane") {
        Ok(builder) => builder.name(name).stack_size(LANE_STACK_BYTES),
        Err(error) => return Err((error, lock(&handed).take())),
    };
    // Held so that the new thread is known before it can be replaced in turn.
    let mut newest = lock(&newest);
    let started =
        if is_first { builder.spawn(body) } else { spawner::spawn(builder, Box::new(body)) };
    match started {
        Ok(thread) => {
            *newest = Some(thread);
            Ok(())
        }
        Err(error) => Err((error, lock(&handed).take())),
    }
}

impl<R: LaneReport> Baton<R> {
    fn run(mut self) {
        self.driver.takes_thread();
        let mut gives_way = false;
        let end = loop {
            let Self { driver, report, .. } = &mut self;
            let drive = AssertUnwindSafe(|| driver.drive(gives_way, || report.ended()));
            match catch_unwind(drive) {
                Ok(Ok(Stop::NewThread)) => match self.hand_on() {
                    None => return,
                    Some(baton) => (self, gives_way) = (*baton, true),
                },
                Ok(Ok(Stop::Left)) => break LaneEnd::Left,
                Ok(Err(failure)) => break LaneEnd::Failed(failure),
                Err(panic) => break LaneEnd::Panicked(panic_message(&*panic)),
            }
        };
        let Self { driver, report, .. } = self;
        driver.end(|| report.gone(end));
    }

    /// Has another thread go on; is back if there is none.
    fn hand_on(mut self) -> Option<Box<Self>> {
        self.driver.leaves_thread();
        match spawn(self) {
            Ok(()) | Err((_, None)) => None,
            Err((error, Some(mut baton))) => {
                if baton.driver.stays() {
                    tracing::warn!(
                        "A lane stays at its low priority for now, for want of a thread: {error}."
                    );
                }
                Some(baton)
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
