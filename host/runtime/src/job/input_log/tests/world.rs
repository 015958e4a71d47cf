//! Incarnations of a job's log without its lanes: who uses this is the lanes, and the coordinator.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};

use tempfile::TempDir;
use tidemill_core::checkpoint::manifest::SourceSnapshot;
use tidemill_core::checkpoint::store::{CheckpointStore, KnownFiles};
use tidemill_core::connector::{BatchTarget, SourcePoll};
use tidemill_core::ids::{CheckpointId, Incarnation, Now};
use tidemill_core::quota::Unmetered;
use tidemill_storage::RealDisk;

use crate::connectors::Listing;
use crate::job::input_log::*;
use crate::job::keeper::Places;

pub(super) const TCP: &str = "[sources.in]\nconnector = \"tcp\"\nlisten = \"127.0.0.1:0\"";
pub(super) const FILES: &str =
    "wal = \"inputs\"\n[sources.in]\nconnector = \"file\"\npath = \"in/*\"\nsplit-size = 4096";

/// A directory with a job file and the job's data.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) job: String,
}

/// A job in a process.
pub(super) struct Process {
    pub(super) log: InputLog,
    pub(super) sources: Vec<Source>,
    pub(super) places: Places,
    pub(super) manifest: Manifest,
    pub(super) lanes: Vec<Lane>,
    pub(super) events: Option<Receiver<Event>>,
}

pub(super) struct Lane {
    pub(super) reader: Box<dyn SourceReader>,
    pub(super) wakes: Receiver<()>,
}

struct Bell(Mutex<Sender<()>>);

impl Wake for Bell {
    fn wake(&self) {
        lock(&self.0).send(()).ok();
    }
}

impl World {
    pub(super) fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let job = format!(
            "name = \"tide\"\n{settings}\n[sinks.out]\nconnector = \"discard\"\nfrom = \"in\"\n"
        );
        Self { dir, job }
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn plan(&self) -> JobPlan {
        fs::write(self.path("job.toml"), &self.job).unwrap();
        JobPlan::load(&self.path("job.toml"), &[]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a process on what is there: the newest of `checkpoints`, or nothing.
    pub(super) fn start(&self, incarnation: u64) -> Process {
        let plan = self.plan();
        let list = |source: &SourcePlan| {
            Source::list(&source.name, &source.settings, &mut Listing::default()).unwrap()
        };
        let sources: Vec<Source> = plan.sources.iter().map(list).collect();
        let log = InputLog::new(&plan, &sources, Arc::default(), Arc::<Unmetered>::default());
        let disk = |name| Arc::new(RealDisk::create(&self.path(name)).unwrap());
        let checkpoints = CheckpointStore::new(disk("checkpoints"));
        let places = Places { job: disk("data"), checkpoints, published: Arc::default() };
        let newest = places.checkpoints.manifests().unwrap().pop();
        let partitions = log.first_positions(0, &sources[0]);
        let mut manifest = match newest {
            Some(newest) => places.checkpoints.load(&newest).unwrap(),
            None => empty(SourceSnapshot { name: "in".to_owned(), partitions }),
        };
        manifest.incarnation = Incarnation(incarnation);
        let lanes = Vec::new();
        Process { log, sources, places, manifest, lanes, events: None }
    }

    pub(super) fn begin(&self, incarnation: u64) -> Process {
        let mut process = self.start(incarnation);
        process.begin().unwrap_or_else(|error| panic!("{error}"));
        process
    }
}

fn empty(source: SourceSnapshot) -> Manifest {
    Manifest {
        job: "tide".to_owned(),
        identity: "id".to_owned(),
        files_identity: None,
        checkpoint: CheckpointId(0),
        incarnation: Incarnation(0),
        created_ms: 0,
        written_by: String::new(),
        finished: false,
        hash_seed: 0,
        owners: Vec::new(),
        parallelism: 1,
        plan: String::new(),
        wal_start: None,
        sources: vec![source],
        operators: Vec::new(),
        sinks: Vec::new(),
    }
}

impl Process {
    /// Begins an incarnation.
    pub(super) fn begin(&mut self) -> Result<(), JobError> {
        let (events, reports) = mpsc::channel();
        self.log.open(&self.manifest, &self.sources, &self.places, &events)?;
        self.events = Some(reports);
        let lane = |lane| {
            let (sender, wakes) = mpsc::channel();
            let reader = self.log.reader(0, lane, Arc::new(Bell(Mutex::new(sender)))).unwrap();
            Lane { reader, wakes }
        };
        self.lanes = (0..self.log.lanes).map(lane).collect();
        Ok(())
    }

    /// Ends the incarnation, and begins another from the newest checkpoint.
    pub(super) fn restart(&mut self) {
        self.lanes.clear();
        self.log.close().unwrap();
        self.manifest.incarnation.0 += 1;
        self.begin().unwrap();
    }

    /// A checkpoint of what was handed out.
    pub(super) fn checkpoint(&mut self, retained: usize) {
        let said: BTreeMap<String, Position> = self
            .lanes
            .iter()
            .flat_map(|lane| lane.reader.positions())
            .map(|at| (at.partition, at.position))
            .collect();
        for at in &mut self.manifest.sources[0].partitions {
            if let Some(position) = said.get(&at.partition) {
                at.position = position.clone();
            }
        }
        self.manifest.checkpoint.0 += 1;
        self.manifest.wal_start = self.log.wal_start(&self.manifest);
        self.places.checkpoints.write_manifest(&self.manifest).unwrap();
        self.log.completed(&self.manifest, retained);
        self.places.checkpoints.drop_old(retained, &mut KnownFiles::default()).unwrap();
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.sources[0].local_address().unwrap()
    }

    pub(super) fn take(&mut self, count: usize) -> Vec<String> {
        self.lanes[0].take(count)
    }
}

impl Lane {
    /// The next records; fewer than `count` at the end of the input.
    pub(super) fn take(&mut self, count: usize) -> Vec<String> {
        let mut records = Vec::new();
        while records.len() < count {
            let target = BatchTarget { records: 1, bytes: 1 };
            match self.reader.poll(target, Now::default()).unwrap() {
                SourcePoll::Batch(batch) => {
                    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
                    records.extend(batch.values.iter().map(text));
                }
                SourcePoll::Pending => self.wakes.recv().unwrap(),
                SourcePoll::Ended => break,
            }
        }
        records
    }
}

pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) answers: BufReader<TcpStream>,
    pub(super) known: usize,
}

impl Client {
    pub(super) fn hello(process: &Process, id: &str) -> Self {
        let mut stream = TcpStream::connect(process.address()).unwrap();
        writeln!(stream, "TIDEMILL-CLIENT {id}").unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let known = line.trim_end().strip_prefix("TIDEMILL-OK ").unwrap().parse().unwrap();
        Self { stream, answers, known }
    }

    /// Sends lines and waits until all of them are durable.
    pub(super) fn send(&mut self, lines: std::ops::Range<usize>) {
        let text: String = lines.clone().map(|line| format!("{line}\n")).collect();
        self.stream.write_all(text.as_bytes()).unwrap();
        let last = format!("TIDEMILL-ACK {}\n", lines.end);
        let mut answer = String::new();
        while answer != last {
            answer.clear();
            assert_ne!(self.answers.read_line(&mut answer).unwrap(), 0, "waiting for {last}");
        }
    }
}

pub(super) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
