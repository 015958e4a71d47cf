//! A source of a job: its partitions, how far they were read, and one reader for each lane.
//!
//! Owns listing the partitions when a job is created, making them anew from their positions when it
//! goes on, and dealing them to lanes: partition p goes to lane p mod n, so their ids and their
//! number do not depend on the parallelism. Knows nothing of what readers do. Invariants: a source
//! that goes on has exactly the partitions it had; a listener or standard input has one reader in
//! its life.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::connector::{
    ConnectorError, ConnectorFault, PartitionPosition, Position, SourceReader, Wake,
};
use tidemill_core::input_log::{ClientTable, inner_position};
use tidemill_core::quota::Account;

use crate::connectors::ended::EndedReader;
use crate::connectors::file::{self, FilePartition, FileReader, Listing, Rest};
use crate::connectors::logged::{Forming, Intake, Relay};
use crate::connectors::nexmark::{Generator, GeneratorReader};
use crate::connectors::settings::{FileSource, GeneratorSource, SourceSettings, StreamFormat};
use crate::connectors::{stdin, tcp};

/// A source whose partitions are known.
pub struct Source {
    positions: Vec<PartitionPosition>,
    kind: Kind,
}

enum Kind {
    /// For each partition what is left of it.
    File {
        settings: FileSource,
        rests: Vec<Option<Rest>>,
    },
    Stdin(StreamFormat),
    Tcp {
        listen: SocketAddr,
        listener: Mutex<Listener>,
    },
    /// For each partition the number of its next event.
    Nexmark {
        generator: Arc<Generator>,
        nexts: Vec<u64>,
    },
}

/// The one listener of a tcp source.
enum Listener {
    Unbound,
    Bound(TcpListener),
    /// Its reader has it.
    Taken(Option<SocketAddr>),
}

impl Source {
    /// Lists the partitions of source `name` for a job that is created: looks for its files, prepares
    /// its generator. Every partition is at its start. `listing` is for all sources of the job.
    ///
    /// # Errors
    /// There is nothing to read, or it cannot be opened.
    pub fn list(
        name: &str,
        settings: &SourceSettings,
        listing: &mut Listing<'_>,
    ) -> Result<Self, ConnectorError> {
        Ok(match settings {
            SourceSettings::File(settings) => {
                Self::file(settings, file::list(name, settings, listing)?)
            }
            SourceSettings::Stdin(format) => Self::stream(stdin::PARTITION, Kind::stdin(format)),
            SourceSettings::Tcp(settings) => {
                Self::stream(tcp::PARTITION, Kind::tcp(settings.listen))
            }
            SourceSettings::Nexmark(settings) => {
                let generator = generator(name, settings)?;
                let positions = generator.starts();
                let nexts = vec![0; positions.len()];
                Self { positions, kind: Kind::Nexmark { generator, nexts } }
            }
        })
    }

    /// Source `name` before it is known whether its job is created or goes on: as [`list`](Self::list), but
    /// no file is looked for. A job that goes on need not have those that it has read to their end.
    ///
    /// # Errors
    /// The settings do not fit together.
    pub fn unlisted(name: &str, settings: &SourceSettings) -> Result<Self, ConnectorError> {
        match settings {
            SourceSettings::File(settings) => Ok(Self::file(settings, Vec::new())),
            other => Self::list(name, other, &mut Listing::default()),
        }
    }

    /// Makes source `name` anew for a job that goes on from `positions`: those of all its partitions,
    /// in the order in which they were listed. The parallelism may be another one than before. What
    /// the world holds beside these partitions is no part of the source. A partition of a stream goes
    /// on with what is received from here on.
    ///
    /// # Errors
    /// A file of an unfinished partition is gone or has another length, the settings give another
    /// stream of records, or the positions are not those of such a source.
    pub fn resume(
        name: &str,
        settings: &SourceSettings,
        positions: &[PartitionPosition],
    ) -> Result<Self, ConnectorError> {
        check_ids(name, positions)?;
        check_not_logged(name, positions)?;
        Ok(match settings {
            SourceSettings::File(settings) => {
                Self::file(settings, file::resume(name, settings, positions)?)
            }
            SourceSettings::Stdin(format) => {
                check_stream(name, stdin::PARTITION, positions)?;
                Self { positions: positions.to_vec(), kind: Kind::stdin(format) }
            }
            SourceSettings::Tcp(settings) => {
                check_stream(name, tcp::PARTITION, positions)?;
                Self { positions: positions.to_vec(), kind: Kind::tcp(settings.listen) }
            }
            SourceSettings::Nexmark(settings) => {
                let generator = generator(name, settings)?;
                let nexts = generator.nexts(positions).map_err(|what| other_source(name, &what))?;
                Self { positions: positions.to_vec(), kind: Kind::Nexmark { generator, nexts } }
            }
        })
    }

    fn file(settings: &FileSource, partitions: Vec<FilePartition>) -> Self {
        let each = |partition: FilePartition| (partition.at, partition.rest);
        let (positions, rests) = partitions.into_iter().map(each).unzip();
        Self { positions, kind: Kind::File { settings: settings.clone(), rests } }
    }

    fn stream(partition: &str, kind: Kind) -> Self {
        let (partition, position) = (partition.to_owned(), Position::default());
        Self { positions: vec![PartitionPosition { partition, position }], kind }
    }

    /// Binds the address of a source that listens, unless it is bound. Clients can connect from here
    /// on; what they send is read once there is a reader.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(&self) -> Result<(), ConnectorError> {
        if let Kind::Tcp { listen, listener } = &self.kind {
            let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
            if matches!(*listener, Listener::Unbound) {
                *listener = Listener::Bound(tcp::bind(*listen)?);
            }
        }
        Ok(())
    }

    /// Whether the records come from outside as they are made, so that there is one listener or standard
    /// input in the life of the process.
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stdin(_) | Kind::Tcp { .. })
    }

    /// Stable ids of the partitions, in the order in which they were listed.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.positions.iter().map(|at| &*at.partition)
    }

    /// Where the readers of this source begin, in the order in which the partitions were listed.
    pub fn positions(&self) -> Vec<PartitionPosition> {
        self.positions.clone()
    }

    /// The reader of lane `lane` of `lanes`: of the partitions p with p mod `lanes` = `lane`, each from
    /// its position on. Reading ahead begins here, and is paid for by `account`.
    ///
    /// Not for a stream, whose input goes through the log.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn reader(
        &self,
        lane: usize,
        lanes: usize,
        waker: Arc<dyn Wake>,
        account: Arc<dyn Account>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let lanes = lanes.max(1);
        let own = || self.positions.iter().skip(lane).step_by(lanes);
        if lane >= lanes || own().all(|at| at.position.ended) {
            let positions = if lane < lanes { own().cloned().collect() } else { Vec::new() };
            return Ok(Self::ended_reader(positions));
        }
        Ok(match &self.kind {
            Kind::File { settings, rests } => {
                let rests = rests.iter().skip(lane).step_by(lanes).cloned();
                let each = |(at, rest): (&PartitionPosition, _)| FilePartition {
                    at: PartitionPosition::clone(at),
                    rest,
                };
                let partitions = own().zip(rests).map(each).collect();
                Box::new(FileReader::new(settings.clone(), partitions, waker, account)?)
            }
            Kind::Stdin(_) | Kind::Tcp { .. } => return Err(defect("a stream is always logged")),
            Kind::Nexmark { generator, nexts } => {
                let generator = Arc::clone(generator);
                Box::new(GeneratorReader::new(generator, nexts, (lane, lanes), waker, account))
            }
        })
    }

    /// The reader of a lane whose partitions, if it has any, have all ended.
    pub(crate) fn ended_reader(positions: Vec<PartitionPosition>) -> Box<dyn SourceReader> {
        Box::new(EndedReader::new(positions))
    }

    /// Starts to receive the input of a stream, whose one partition it is, once in the life of the process.
    /// `clients` is what the log knows of those that number their lines; lines that come again are counted in
    /// `duplicates`.
    ///
    /// # Errors
    /// The address cannot be bound, or threads cannot be started.
    pub(crate) fn receive(
        &self,
        intake: &Arc<Intake>,
        forming: Forming,
        clients: &ClientTable,
        duplicates: &Arc<AtomicU64>,
    ) -> Result<(), ConnectorError> {
        match &self.kind {
            Kind::Stdin(format) => stdin::start(format, intake, forming),
            Kind::Tcp { listener, .. } => {
                self.bind()?;
                let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = Listener::Taken(listener.address());
                match std::mem::replace(&mut *listener, taken) {
                    Listener::Bound(bound) => {
                        tcp::start(bound, clients, duplicates.clone(), intake, forming)
                    }
                    Listener::Unbound | Listener::Taken(_) => {
                        Err(defect("a listener is received from once"))
                    }
                }
            }
            Kind::File { .. } | Kind::Nexmark { .. } => Err(defect("only a stream is received")),
        }
    }

    /// Starts to read the source, from its positions on, into the log.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn relay(
        self,
        intake: &Arc<Intake>,
        forming: Forming,
    ) -> Result<(), ConnectorError> {
        Relay::start(self, intake, forming)
    }

    /// How many partitions one thread should read at a time: a few, unless they cost nothing.
    pub(super) fn open_at_once(&self) -> usize {
        match self.kind {
            Kind::File { .. } => 4,
            Kind::Stdin(_) | Kind::Tcp { .. } | Kind::Nexmark { .. } => usize::MAX,
        }
    }

    /// Whether clients number their lines.
    pub(crate) fn is_numbered(&self) -> bool {
        matches!(self.kind, Kind::Tcp { .. })
    }

    /// The address that clients can reach, for a source that listens and is bound.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp { listener, .. } => {
                listener.lock().unwrap_or_else(PoisonError::into_inner).address()
            }
            Kind::File { .. } | Kind::Stdin(_) | Kind::Nexmark { .. } => None,
        }
    }
}

impl Kind {
    fn stdin(format: &StreamFormat) -> Self {
        Self::Stdin(format.clone())
    }

    fn tcp(listen: SocketAddr) -> Self {
        Self::Tcp { listen, listener: Mutex::new(Listener::Unbound) }
    }
}

/// What cannot happen.
fn defect(rule: &str) -> ConnectorError {
    let what = format!("a defect in Tidemill ({rule}), please report it");
    ConnectorError::new(ConnectorFault::Io, what)
}

fn generator(name: &str, settings: &GeneratorSource) -> Result<Arc<Generator>, ConnectorError> {
    Generator::new(settings).map(Arc::new).map_err(|what| {
        ConnectorError::new(ConnectorFault::MissingInput, format!("source `{name}`: {what}"))
    })
}

/// Positions that are not those of the source as it is set up now.
pub(crate) fn other_source(name: &str, what: &str) -> ConnectorError {
    ConnectorError::new(
        ConnectorFault::MissingInput,
        format!("source `{name}` cannot go on from its checkpoint: {what}"),
    )
}

/// A source has partitions, and each once: one that came twice would be read twice.
fn check_ids(name: &str, positions: &[PartitionPosition]) -> Result<(), ConnectorError> {
    let mut known = HashSet::with_capacity(positions.len());
    let twice = positions.iter().find(|at| !known.insert(&*at.partition));
    let what = match twice {
        Some(at) => format!("it has partition `{}` twice", at.partition),
        None if positions.is_empty() => "it has no partitions of this source".to_owned(),
        None => return Ok(()),
    };
    Err(other_source(name, &format!("{what}; start the job anew with --fresh")))
}

/// Positions in a log are not those of what was logged.
fn check_not_logged(name: &str, positions: &[PartitionPosition]) -> Result<(), ConnectorError> {
    match positions.iter().any(|at| inner_position(&at.position.detail).is_some()) {
        true => Err(other_source(
            name,
            "its input was logged and is not any more; set wal = \"inputs\" again, or start the job anew \
             with --fresh",
        )),
        false => Ok(()),
    }
}

/// The positions of a stream are that of its one partition.
fn check_stream(
    name: &str,
    partition: &str,
    positions: &[PartitionPosition],
) -> Result<(), ConnectorError> {
    match positions.iter().find(|at| at.partition != partition) {
        Some(other) => {
            let other = &other.partition;
            let what = format!("its partition was `{other}` and is `{partition}` now");
            let advice = "set the kind of the source back, or start the job anew with --fresh";
            Err(other_source(name, &format!("{what}; {advice}")))
        }
        None => Ok(()),
    }
}

impl Listener {
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unbound => None,
            Self::Bound(listener) => listener.local_addr().ok(),
            Self::Taken(address) => *address,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::connector::SourcePoll;
    use tidemill_core::ids::Now;

    use super::*;
    use crate::connectors::settings::Format;
    use crate::connectors::tests::{bell, nobody, target};

    fn stdin() -> SourceSettings {
        SourceSettings::Stdin(StreamFormat { format: Format::Lines, key: None })
    }

    #[test]
    fn a_stream_that_has_ended_is_not_read_again() {
        let mut positions =
            Source::list("in", &stdin(), &mut Listing::default()).unwrap().positions();
        positions[0].position = Position { offset: 5, detail: Vec::new(), ended: true };
        let source = Source::resume("in", &stdin(), &positions).unwrap();
        let mut reader = source.reader(0, 1, bell().0, nobody()).unwrap();
        assert!(matches!(reader.poll(target(), Now::default()), Ok(SourcePoll::Ended)));
        assert_eq!(reader.positions(), positions);
    }

    #[test]
    fn positions_of_another_kind_of_source_are_refused() {
        let mut positions =
            Source::list("in", &stdin(), &mut Listing::default()).unwrap().positions();
        assert!(Source::resume("in", &stdin(), &positions).is_ok());
        positions[0].partition = tcp::PARTITION.to_owned();
        let error = Source::resume("in", &stdin(), &positions).map(|_| ()).unwrap_err();
        assert!(error.message.contains("was `listener` and is `stdin` now"), "{error}");
    }
}
