//! A source of a job: its partitions, and one reader for each lane.
//!
//! Owns listing the partitions, once, and dealing them to lanes: partition p goes to lane p mod n,
//! so their ids and their number do not depend on the parallelism. Knows nothing of what readers
//! do. Invariant: a listener or standard input has one reader in its life.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::connector::{
    BatchTarget, ConnectorError, ConnectorFault, PartitionPosition, SourcePoll, SourceReader, Wake,
};
use tidemill_core::ids::Now;

use crate::connectors::file::{self, FilePartition, FileReader};
use crate::connectors::nexmark::{Generator, GeneratorReader};
use crate::connectors::settings::{FileSource, SourceSettings, StreamFormat};
use crate::connectors::{stdin, tcp};

/// A source whose partitions are listed.
pub struct Source {
    partitions: Vec<String>,
    kind: Kind,
}

enum Kind {
    File { settings: FileSource, partitions: Vec<FilePartition> },
    Stdin(StreamFormat),
    Tcp { address: Option<SocketAddr>, listener: Mutex<Option<TcpListener>> },
    Nexmark(Arc<Generator>),
}

impl Source {
    /// Lists the partitions of source `name`: looks for its files, binds its address, prepares its
    /// generator.
    ///
    /// # Errors
    /// There is nothing to read, or it cannot be opened.
    pub fn list(name: &str, settings: &SourceSettings) -> Result<Self, ConnectorError> {
        let (partitions, kind) = match settings {
            SourceSettings::File(settings) => {
                let partitions = file::partitions(name, settings)?;
                let ids = partitions.iter().map(|partition| partition.id().to_owned()).collect();
                (ids, Kind::File { settings: settings.clone(), partitions })
            }
            SourceSettings::Stdin(format) => {
                (vec![stdin::PARTITION.to_owned()], Kind::Stdin(format.clone()))
            }
            SourceSettings::Tcp(settings) => {
                let listener = tcp::bind(settings.listen)?;
                let address = listener.local_addr().ok();
                let listener = Mutex::new(Some(listener));
                (vec![tcp::PARTITION.to_owned()], Kind::Tcp { address, listener })
            }
            SourceSettings::Nexmark(settings) => {
                let generator = Generator::new(settings).map_err(|what| {
                    ConnectorError::new(
                        ConnectorFault::MissingInput,
                        format!("source `{name}`: {what}"),
                    )
                })?;
                let ids = (0..generator.partitions()).map(|index| generator.partition_id(index));
                (ids.collect(), Kind::Nexmark(Arc::new(generator)))
            }
        };
        Ok(Self { partitions, kind })
    }

    /// Stable ids of the partitions.
    pub fn partitions(&self) -> &[String] {
        &self.partitions
    }

    /// The reader of lane `lane` of `lanes`. Reading ahead begins here.
    ///
    /// # Errors
    /// Threads cannot be started, or standard input or the listener has its reader already.
    pub fn reader(
        &self,
        lane: usize,
        lanes: usize,
        waker: Arc<dyn Wake>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let lanes = lanes.max(1);
        if lane >= self.partitions.len().min(lanes) {
            return Ok(Box::new(Nothing));
        }
        Ok(match &self.kind {
            Kind::File { settings, partitions } => {
                let own = partitions.iter().skip(lane).step_by(lanes).cloned().collect();
                Box::new(FileReader::new(settings.clone(), own, waker)?)
            }
            Kind::Stdin(format) => Box::new(stdin::reader(format, waker)?),
            Kind::Tcp { listener, .. } => {
                let taken = listener.lock().unwrap_or_else(PoisonError::into_inner).take();
                let listener = taken.ok_or_else(|| {
                    ConnectorError::new(
                        ConnectorFault::Io,
                        "the tcp listener has a reader already; list the source anew",
                    )
                })?;
                Box::new(tcp::reader(listener, waker)?)
            }
            Kind::Nexmark(generator) => {
                Box::new(GeneratorReader::new(Arc::clone(generator), lane, lanes))
            }
        })
    }

    /// The address that clients can reach, for a source that listens.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp { address, .. } => *address,
            Kind::File { .. } | Kind::Stdin(_) | Kind::Nexmark(_) => None,
        }
    }
}

/// The reader of a lane without partitions.
struct Nothing;

impl SourceReader for Nothing {
    fn poll(&mut self, _target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        Ok(SourcePoll::Ended)
    }

    fn is_ready(&mut self) -> bool {
        true
    }

    fn stop(&mut self) {}

    fn positions(&self) -> Vec<PartitionPosition> {
        Vec::new()
    }
}
