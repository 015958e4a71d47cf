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
    Tcp { listen: SocketAddr, listener: Mutex<Listener> },
    Nexmark(Arc<Generator>),
}

/// The one listener of a tcp source.
enum Listener {
    Unbound,
    Bound(TcpListener),
    /// Its reader has it.
    Taken(Option<SocketAddr>),
}

impl Source {
    /// Lists the partitions of source `name`: looks for its files, prepares its generator.
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
                let (listen, listener) = (settings.listen, Mutex::new(Listener::Unbound));
                (vec![tcp::PARTITION.to_owned()], Kind::Tcp { listen, listener })
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

    /// Stable ids of the partitions.
    pub fn partitions(&self) -> &[String] {
        &self.partitions
    }

    /// The reader of lane `lane` of `lanes`. Reading ahead begins here.
    ///
    /// # Errors
    /// The address cannot be bound, threads cannot be started, or standard input or the listener has
    /// its reader already.
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
        self.bind()?;
        Ok(match &self.kind {
            Kind::File { settings, partitions } => {
                let own = partitions.iter().skip(lane).step_by(lanes).cloned().collect();
                Box::new(FileReader::new(settings.clone(), own, waker)?)
            }
            Kind::Stdin(format) => Box::new(stdin::reader(format, waker)?),
            Kind::Tcp { listener, .. } => {
                let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = Listener::Taken(listener.address());
                match std::mem::replace(&mut *listener, taken) {
                    Listener::Bound(bound) => Box::new(tcp::reader(bound, waker)?),
                    Listener::Unbound | Listener::Taken(_) => {
                        return Err(ConnectorError::new(
                            ConnectorFault::Io,
                            "the tcp listener has a reader already; list the source anew",
                        ));
                    }
                }
            }
            Kind::Nexmark(generator) => {
                Box::new(GeneratorReader::new(Arc::clone(generator), lane, lanes))
            }
        })
    }

    /// The address that clients can reach, for a source that listens and is bound.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp { listener, .. } => {
                listener.lock().unwrap_or_else(PoisonError::into_inner).address()
            }
            Kind::File { .. } | Kind::Stdin(_) | Kind::Nexmark(_) => None,
        }
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
