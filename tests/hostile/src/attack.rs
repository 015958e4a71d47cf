//! What an attack is: its row of the table, its operator, the job around it and what must come of it.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// How the job of an attack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its component is refused before any record; exit code 77.
    Refused,
    /// It runs and fails; exit code 1.
    Fails,
    /// It runs and comes to no checkpoint; exit code 74.
    Unsaved,
    /// It comes to the end of its input.
    Finishes,
    /// It goes on until it is stopped.
    GoesOn,
    /// The host's own code fails in one of its calls; exit code 70.
    HostFault,
}

impl End {
    /// The exit codes that the job by itself may come to. One that has to be stopped may be too busy to come to a
    /// checkpoint in time (75).
    pub fn exit_codes(self) -> &'static [u64] {
        match self {
            Self::Refused => &[77],
            Self::Fails => &[1],
            Self::Unsaved => &[74],
            Self::Finishes => &[0],
            Self::GoesOn => &[143, 75],
            Self::HostFault => &[70],
        }
    }

    /// For the table.
    pub fn words(self) -> &'static str {
        match self {
            Self::Refused => "refused (77)",
            Self::Fails => "the job fails (1)",
            Self::Unsaved => "the job fails (74)",
            Self::Finishes => "no harm: the job finishes (0)",
            Self::GoesOn => "no harm: the job goes on",
            Self::HostFault => "the job fails, and nobody is blamed (70)",
        }
    }
}

/// The job in which an attack runs: a generator of records, the operator, a sink.
#[derive(Clone, Debug)]
pub struct Job {
    /// Records, and how many of them in a second; without a rate as fast as they are taken.
    pub records: Option<u64>,
    /// See `records`.
    pub rate: Option<u64>,
    /// How many keys they have.
    pub keys: u64,
    /// Lines of the job.
    pub settings: String,
    /// Lines of the operator.
    pub operator: String,
    /// Whether output goes to files, to be looked at, or nowhere.
    pub to_files: bool,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            records: Some(100),
            rate: None,
            keys: 100,
            settings: String::new(),
            operator: String::new(),
            to_files: false,
        }
    }
}

impl Job {
    /// The job file.
    pub fn toml(&self) -> String {
        let mut text = "name = \"attack\"\ntenant = \"mallory\"\n".to_owned();
        if !self.settings.contains("checkpoint-interval") {
            text += "checkpoint-interval = \"200ms\"\n";
        }
        if !self.settings.contains("restart-strategy") {
            text += "restart-strategy = \"none\"\n";
        }
        text += &self.settings;
        text +=
            "\n[sources.records]\nconnector = \"nexmark\"\nstream = \"uniform\"\nkey = \"key\"\n";
        writeln!(text, "keys = {}", self.keys).expect("text grows");
        if let Some(records) = self.records {
            writeln!(text, "events = {records}").expect("text grows");
        }
        if let Some(rate) = self.rate {
            writeln!(text, "events-per-second = {rate}").expect("text grows");
        }
        text += "[operators.attack]\ncomponent = \"attack.wasm\"\nfrom = \"records\"\n";
        text += &self.operator;
        let sink = match self.to_files {
            true => "\n[sinks.out]\nconnector = \"file\"\npath = \"out\"\nformat = \"raw\"\n",
            false => "\n[sinks.out]\nconnector = \"discard\"\n",
        };
        text + sink + "from = \"attack\"\n"
    }
}

/// What is seen of a job that has ended.
#[derive(Debug)]
pub struct Seen {
    /// All that the process said on stderr.
    pub stderr: String,
    /// The job's part of the report.
    pub report: serde_json::Value,
    /// What the report says of its tenant.
    pub tenant: serde_json::Value,
    /// The lines of its output files.
    pub output: Vec<u8>,
}

/// A check of what is seen; answers what is wrong.
pub type Check = fn(&Seen) -> Result<(), String>;

/// One hostile operator.
#[derive(Debug)]
pub struct Attack {
    /// The rows of the table that it belongs to.
    pub rows: &'static [u8],
    /// Its name.
    pub name: &'static str,
    /// What it tries.
    pub tries: &'static str,
    /// The limit or rule that stops it.
    pub stopped_by: &'static str,
    /// The code that its owner is told; empty where there is nothing to tell.
    pub code: &'static str,
    /// What else stderr must hold.
    pub says: &'static [&'static str],
    /// How its job ends.
    pub end: End,
    /// The job around it.
    pub job: Job,
    /// Lines of its tenant in the tenants' file, where that of the canary has none. Without them nobody has quotas.
    pub quotas: &'static str,
    /// Puts files beside its job.
    pub files: Option<fn(&Path) -> io::Result<()>>,
    /// Makes the component.
    pub component: fn() -> Vec<u8>,
    /// What else must hold.
    pub check: Option<Check>,
    /// A failpoint of the host that it runs into; only in a build with debug assertions.
    pub failpoint: Option<&'static str>,
    /// Settings of the job with which it keeps on attacking for a longer time, where one end would soon be all.
    pub storm: Option<Job>,
    /// With `storm` it goes on without ever failing.
    pub storm_goes_on: bool,
    /// It goes on, and keeps its job from being stopped with a savepoint for as long as it likes: its owner has to stop the process,
    /// or wait.
    pub holds_out: bool,
    /// What it does ends its job for good, whatever the restart strategy says.
    pub is_final: bool,
}

/// Defaults, for the parts of an attack that most have in common.
pub const fn nothing() -> Vec<u8> {
    Vec::new()
}

impl Default for Attack {
    fn default() -> Self {
        Self {
            rows: &[],
            name: "",
            tries: "",
            stopped_by: "",
            code: "",
            says: &[],
            end: End::Fails,
            job: Job::default(),
            quotas: "",
            files: None,
            component: nothing,
            check: None,
            failpoint: None,
            storm: None,
            storm_goes_on: false,
            holds_out: false,
            is_final: false,
        }
    }
}

impl Seen {
    /// A number of the report on its tenant.
    pub fn of_tenant(&self, figure: &str) -> f64 {
        self.tenant[figure].as_f64().unwrap_or(f64::NAN)
    }

    /// The most of one of its quotas that its tenant held at once.
    pub fn peak(&self, quota: &str) -> u64 {
        self.tenant["quotas"][quota]["peak"].as_u64().unwrap_or(u64::MAX)
    }

    /// Seconds from the start of its job to its end.
    pub fn elapsed_s(&self) -> f64 {
        self.report["elapsed_s"].as_f64().unwrap_or(f64::NAN)
    }
}

impl Attack {
    /// The tenants' file; `None` where nobody has quotas.
    pub fn tenants(&self) -> Option<String> {
        let quotas = Some(self.quotas).filter(|quotas| !quotas.is_empty());
        quotas.map(|quotas| format!("[tenants.alice]\n[tenants.mallory]\n{quotas}"))
    }

    /// Whether its job is over as soon as it has attacked, so that it must begin anew to attack again.
    pub fn ends_at_once(&self) -> bool {
        self.end == End::Refused || self.is_final
    }

    /// The job with which it attacks for as long as it is let; `None` when it [ends at once](Self::ends_at_once).
    pub fn lasting(&self) -> Option<Job> {
        if self.ends_at_once() {
            return None;
        }
        let endless = |rate| Job { records: None, rate: Some(rate), ..self.job.clone() };
        let restarting = |mut job: Job| {
            job.settings += "\nrestart-strategy = { type = \"fixed-delay\", attempts = 1000000, delay = \"20ms\" }\n";
            job
        };
        match (self.end, &self.storm) {
            (End::Refused | End::HostFault, _) => None,
            (End::Fails | End::Unsaved, Some(storm)) => Some(restarting(storm.clone())),
            (End::Fails | End::Unsaved, None) => Some(restarting(endless(500))),
            (End::GoesOn, _) => Some(self.job.clone()),
            (End::Finishes, Some(storm)) => Some(storm.clone()),
            (End::Finishes, None) => Some(endless(self.job.rate.unwrap_or(500))),
        }
    }
}

/// A job that leaves out what cannot be processed, so that an operator can fail at each record for ever.
pub fn storm(rate: u64) -> Job {
    Job {
        records: None,
        rate: Some(rate),
        settings: "on-poison = \"skip\"\npoison-limit = 100000000\n".to_owned(),
        ..Job::default()
    }
}
