//! What the tests of all sinks share.

use std::sync::mpsc;

use tidemill_core::connector::{Prepared, SinkWriter};
use tidemill_core::ids::{CheckpointId, Incarnation};

use super::*;

pub(super) const NEW: SinkStart = SinkStart::New { fresh: false };

/// The sink `out` of a new job.
pub(super) fn open(settings: &SinkSettings) -> Sink {
    Sink::open("job", "out", settings, NEW, Incarnation(1), CheckpointId(1)).unwrap()
}

/// The next answer to a barrier.
pub(super) fn answer(writer: &mut dyn SinkWriter, wakes: &mpsc::Receiver<()>) -> Prepared {
    loop {
        if let Some(prepared) = writer.prepared().unwrap() {
            return prepared;
        }
        wakes.recv().unwrap();
    }
}
