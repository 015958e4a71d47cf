//! The tenants of this host: who owns which job, and what of its quotas is used.
//!
//! Owns what is decided before a job of a tenant begins (is there such a tenant, does the file lie where its files
//! lie, may it have what of the host it asks for, is there room left for it) and the figures that all its jobs share. What is enforced while jobs run
//! is enforced where the use happens: memory and log in the sandbox, state in the core, CPU time and output by
//! the lane's thread. Of lanes it knows only what they want ([`LaneDemand`]).

mod demand;
mod fairness;
mod grants;
mod judgement;
mod staff;
mod turns;
mod turnstile;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tidemill_core::limits::Limits;
use tidemill_core::quota::{Account, Allowance, Holding, RateLimit, TenantUsage};

use crate::config::{TenantPlan, TenantsPlan};
use crate::machine;
pub use demand::LaneDemand;
pub use fairness::Fairness;
pub use grants::{AllowedDirectory, GrantPolicy, GrantRefusal};
pub use staff::Employed;
use staff::Staff;
use turnstile::Turnstile;
pub use turnstile::{LOOK_AGAIN, LaneTurns};

/// How much of a second's CPU time may be used at once.
const CPU_BURST_PART: u64 = 5;

/// The tenants of this process.
#[derive(Debug, Default)]
pub struct Tenants {
    plan: TenantsPlan,
    /// Each tenant's directory of job files, as far as it was there: without links, from before any job file was read.
    jobs_dirs: Vec<(String, PathBuf)>,
    live: Mutex<BTreeMap<String, Arc<Tenant>>>,
    turnstile: Arc<Turnstile>,
}

/// A tenant with jobs in this process.
#[derive(Debug)]
pub struct Tenant {
    plan: TenantPlan,
    usage: Arc<TenantUsage>,
    /// Its lanes are to give way to those of others.
    gives_way: AtomicBool,
    /// Held by the one of its jobs whose component is admitted.
    turn: Mutex<()>,
    /// Its lanes.
    demands: Mutex<Vec<Weak<LaneDemand>>>,
    /// Other threads that work for it.
    staff: Staff,
    /// Where its lanes wait that give way.
    turnstile: Arc<Turnstile>,
}

/// What is to be seen of a tenant's lanes.
struct Looked {
    /// CPU time that it has ever used, that of long steps that are not over yet included, and for how long its lanes were held
    /// because of it.
    used_us: u64,
    held_us: u64,
    /// What of that was used by threads that look after its jobs, and what of it some time before it was charged.
    staff_us: u64,
    late_us: u64,
    /// One of them has worked for most of the time since the last look.
    is_busy: bool,
    /// How many there are.
    lanes: u64,
}

/// Why a job of a tenant is not begun. Nothing of it has taken effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefusal {
    /// The tenants' file does not name it.
    #[error("TENANT_UNKNOWN: the job belongs to tenant {tenant:?}, which {} does not name", file.display())]
    Unknown {
        /// The tenant.
        tenant: String,
        /// The tenants' file.
        file: PathBuf,
    },
    /// The job file lies elsewhere than those of its tenant.
    #[error(
        "TENANT_DIRECTORY: the job file says that it belongs to tenant {tenant:?}, but lies in a directory of \
         {owner}"
    )]
    Directory {
        /// The tenant that the job names.
        tenant: String,
        /// Whose directory it lies in, in words.
        owner: String,
    },
    /// There is not as much left.
    #[error(
        "{code}: the job would take {wanted} {what}; tenant {tenant:?} has {used} of {limit} in use"
    )]
    Quota {
        /// Stable name.
        code: &'static str,
        /// What is short.
        what: &'static str,
        /// The tenant.
        tenant: String,
        /// What the job would take.
        wanted: u64,
        /// What the tenant's jobs have taken.
        used: u64,
        /// The quota.
        limit: u64,
    },
}

/// What a job needs to know of itself before it may begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobNeeds {
    /// One for each operator and lane, and at least one for each lane.
    pub sandboxes: u64,
    /// Different component files.
    pub components: u64,
    /// What its input log may come to; 0 without one.
    pub input_log_bytes: u64,
    /// What may wait between its tasks.
    pub buffer_bytes: u64,
    /// One for each source, sink and lane.
    pub connectors: u64,
    /// Partitions of its sources; known when they have been listed.
    pub partitions: u64,
}

/// What a job has taken of its tenant's quotas; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    _holdings: [Holding; 6],
}

impl Tenants {
    /// The tenants of a plan.
    pub fn new(plan: TenantsPlan) -> Self {
        let real = |dir: &PathBuf| dir.canonicalize().unwrap_or_else(|_| dir.clone());
        let of = |tenant: &TenantPlan| Some((tenant.name.clone(), real(tenant.jobs_dir.as_ref()?)));
        let jobs_dirs = plan.tenants.iter().filter_map(of).collect();
        Self { plan, jobs_dirs, live: Mutex::default(), turnstile: Arc::default() }
    }

    /// What the tenants' file says.
    pub fn plan(&self) -> &TenantsPlan {
        &self.plan
    }

    /// Sandboxes that this host has room for.
    pub fn sandboxes(&self) -> u32 {
        self.plan.sandboxes
    }

    /// The tenant called `name`, to which a job belongs whose file has these paths: the one that its text was read from, without
    /// links, and the one from which its relative paths count.
    ///
    /// # Errors
    /// [`TenantRefusal::Unknown`], [`TenantRefusal::Directory`].
    pub fn owner(&self, name: &str, paths: &[&Path]) -> Result<Arc<Tenant>, TenantRefusal> {
        let named = self.plan.tenants.iter().find(|tenant| tenant.name == name);
        let plan = match (named, &self.plan.file) {
            (Some(plan), _) => plan.clone(),
            (None, None) => TenantPlan::without_quotas(name),
            (None, Some(file)) => {
                let (tenant, file) = (name.to_owned(), file.clone());
                return Err(TenantRefusal::Unknown { tenant, file });
            }
        };
        // What a job file says is its owner's word only if what it leads to is the owner's, too: through a link in a directory of
        // its own, somebody else would have it name other components.
        paths.iter().try_for_each(|path| self.check_directory(&plan, path))?;
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Tenant::among(self.turnstile.clone(), plan));
        Ok(live.entry(name.to_owned()).or_insert_with(new).clone())
    }

    /// A directory of job files says who their owner is, whatever they say themselves.
    fn check_directory(&self, plan: &TenantPlan, file: &Path) -> Result<(), TenantRefusal> {
        let owner = match (&plan.jobs_dir, self.whose_directory(file)) {
            (None, None) => return Ok(()),
            (_, Some(owner)) if owner == plan.name => return Ok(()),
            (_, Some(owner)) => format!("tenant {owner:?}"),
            (Some(_), None) => "nobody".to_owned(),
        };
        Err(TenantRefusal::Directory { tenant: plan.name.clone(), owner })
    }

    /// The tenant in whose directory of job files this path lies, which has no links. Of directories in each other the innermost
    /// says it.
    pub fn whose_directory(&self, path: &Path) -> Option<&str> {
        let around = self.jobs_dirs.iter().filter(|(_, dir)| path.starts_with(dir));
        around.max_by_key(|(_, dir)| dir.components().count()).map(|(owner, _)| owner.as_str())
    }

    /// The tenants that have had jobs in this process.
    pub fn live(&self) -> Vec<Arc<Tenant>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.values().cloned().collect()
    }
}

impl TenantRefusal {
    /// The stable name of what was refused.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "TENANT_UNKNOWN",
            Self::Directory { .. } => "TENANT_DIRECTORY",
            Self::Quota { code, .. } => code,
        }
    }

    /// The same of a job that has taken `own` of it already, and wanted more: for people that is one amount.
    pub(crate) fn beside(mut self, own: u64) -> Self {
        if let Self::Quota { wanted, used, .. } = &mut self {
            (*wanted, *used) = (wanted.saturating_add(own), used.saturating_sub(own));
        }
        self
    }
}

impl Tenant {
    /// A tenant of this plan that has used nothing and is alone.
    pub fn new(plan: TenantPlan) -> Self {
        Self::among(Arc::default(), plan)
    }

    /// One of those that take turns here.
    fn among(turnstile: Arc<Turnstile>, plan: TenantPlan) -> Self {
        let rate = |rate: Option<u64>, burst_part: u64| match rate {
            Some(rate) => RateLimit::new(rate, rate.div_ceil(burst_part)),
            None => RateLimit::default(),
        };
        let allowance = |limit| Arc::new(Allowance::new(limit));
        let usage = TenantUsage {
            memory_bytes: allowance(plan.memory_bytes),
            state_bytes: allowance(plan.state_bytes),
            sandboxes: allowance(plan.sandboxes),
            buffer_bytes: allowance(plan.buffer_bytes),
            open_files: allowance(plan.open_files),
            connectors: allowance(plan.connectors),
            partitions: allowance(plan.partitions),
            input_log_bytes: allowance(plan.input_log_bytes),
            checkpoint_bytes: allowance(plan.checkpoint_bytes),
            components: allowance(plan.components),
            cpu_us: rate(plan.cpu_us_per_second, CPU_BURST_PART),
            output_bytes: rate(plan.output_bytes_per_second, 1),
            log_lines: rate(plan.log_lines_per_second, 1),
            ..TenantUsage::default()
        };
        Self {
            plan,
            usage: Arc::new(usage),
            gives_way: AtomicBool::new(false),
            turn: Mutex::default(),
            demands: Mutex::default(),
            staff: Staff::default(),
            turnstile,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its quotas.
    pub fn plan(&self) -> &TenantPlan {
        &self.plan
    }

    /// What of them is used.
    pub fn usage(&self) -> &Arc<TenantUsage> {
        &self.usage
    }

    /// Whether its lanes should give way to those of others.
    pub fn gives_way(&self) -> bool {
        self.gives_way.load(Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn tell_to_give_way(&self) {
        self.gives_way.store(true, Relaxed);
    }

    /// The demand of a new lane, which counts for as long as it is kept.
    pub fn new_lane(&self, now_us: u64) -> Arc<LaneDemand> {
        let demand = Arc::new(LaneDemand::new(now_us));
        let mut demands = self.demands.lock().unwrap_or_else(PoisonError::into_inner);
        demands.retain(|lane| lane.strong_count() > 0);
        demands.push(Arc::downgrade(&demand));
        demand
    }

    /// The turns of a new lane while it gives way.
    pub fn new_turns(self: &Arc<Self>) -> LaneTurns {
        LaneTurns::new(self.clone())
    }

    /// Charges it with CPU time; answers how long that is to be waited for, in microseconds.
    pub fn charge_cpu(&self, used_us: u64, now_us: u64) -> u64 {
        self.usage.used_cpu_us.fetch_add(used_us, Release);
        self.usage.cpu_us.charge(used_us, now_us)
    }

    /// Does work for it outside of lanes, and charges it with the CPU time that this thread takes.
    pub fn pays_for<T>(&self, work: impl FnOnce() -> T) -> T {
        let _bill = Bill { tenant: self, began_us: machine::thread_cpu_us() };
        work()
    }

    /// Does work for it, as [`pays_for`](Self::pays_for), when nobody else does any in turn.
    pub fn in_turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.pays_for(work)
    }

    /// What is to be seen of its lanes now, and since the last look.
    fn look(&self, now_us: u64) -> Looked {
        self.charge_staff(now_us);
        // Before the lanes: a step that ends meanwhile is missed until the next look, and not seen twice.
        let charged_us = self.usage.used_cpu_us.load(Acquire);
        let demands = self.demands.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes: Vec<Arc<LaneDemand>> = demands.iter().filter_map(Weak::upgrade).collect();
        drop(demands);
        let uncharged_us = lanes.iter().map(|lane| lane.take_uncharged_us(machine::cpu_us_of));
        Looked {
            used_us: charged_us + uncharged_us.sum::<u64>(),
            held_us: self.usage.cpu_held_us.load(Relaxed),
            staff_us: self.staff.used_us(),
            late_us: self.staff.late_us(),
            // Each of them is to be looked at.
            is_busy: lanes.iter().filter(|lane| lane.take_is_busy(now_us)).count() > 0,
            lanes: lanes.len() as u64,
        }
    }

    /// Limits of a sandbox that are above neither.
    pub fn cap(&self, limits: &Limits) -> Limits {
        limits.lower_of(&self.plan.limits)
    }

    /// Whether sandboxes that take so much memory at the least can ever be there at once.
    ///
    /// # Errors
    /// [`TenantRefusal::Quota`].
    pub fn check_memory(&self, wanted: u64) -> Result<(), TenantRefusal> {
        let of = &self.usage.memory_bytes;
        if wanted <= of.limit() {
            return Ok(());
        }
        let (tenant, used, limit) = (self.name().to_owned(), of.used(), of.limit());
        let (code, what) = ("TENANT_MEMORY", "bytes of linear memory at the least");
        Err(TenantRefusal::Quota { code, what, tenant, wanted, used, limit })
    }

    /// Takes what a job needs for as long as it is there.
    ///
    /// # Errors
    /// [`TenantRefusal::Quota`]; nothing is taken then.
    pub fn reserve(&self, needs: JobNeeds) -> Result<Reserved, TenantRefusal> {
        let usage = &self.usage;
        let take = |of: &Arc<Allowance>, wanted: u64, code, what| {
            let mut holding = Holding::of(of);
            if holding.grow(wanted) {
                return Ok(holding);
            }
            let (tenant, used, limit) = (self.name().to_owned(), of.used(), of.limit());
            Err(TenantRefusal::Quota { code, what, tenant, wanted, used, limit })
        };
        let JobNeeds { sandboxes, components, input_log_bytes, buffer_bytes, .. } = needs;
        let JobNeeds { connectors, partitions, .. } = needs;
        Ok(Reserved {
            _holdings: [
                take(&usage.sandboxes, sandboxes, "TENANT_SANDBOXES", "sandboxes")?,
                take(&usage.components, components, "TENANT_COMPONENTS", "components")?,
                take(
                    &usage.input_log_bytes,
                    input_log_bytes,
                    "TENANT_INPUT_LOG",
                    "bytes of input log",
                )?,
                take(&usage.buffer_bytes, buffer_bytes, "TENANT_BUFFERS", "bytes of buffers")?,
                take(&usage.connectors, connectors, "TENANT_CONNECTORS", "sources and sinks")?,
                take(&usage.partitions, partitions, "TENANT_PARTITIONS", "partitions")?,
            ],
        })
    }
}

/// Charges what this thread has used in between, also after a panic.
struct Bill<'a> {
    tenant: &'a Tenant,
    began_us: u64,
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        let used_us = machine::thread_cpu_us().saturating_sub(self.began_us);
        self.tenant.charge_cpu(used_us, machine::monotonic_us());
    }
}

impl Account for Tenant {
    fn gives_way(&self) -> bool {
        Self::gives_way(self)
    }

    fn pay_for(&self, work: &mut dyn FnMut()) {
        self.pays_for(work);
    }

    fn open_files(&self) -> &Arc<Allowance> {
        &self.usage.open_files
    }

    fn is_held(&self) -> bool {
        self.usage.cpu_us.wait(machine::monotonic_us()) > 0
    }

    fn employ_thread(self: Arc<Self>) -> Box<dyn Any> {
        Box::new(Self::employ(&self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(text: &str) -> Tenants {
        let path = Path::new("/etc/tidemill/tenants.toml");
        Tenants::new(TenantsPlan::from_text(path, path, text.to_owned()).unwrap())
    }

    #[test]
    fn without_a_tenants_file_anybody_is_welcome_and_has_no_quotas() {
        let tenants = Tenants::default();
        let tenant = tenants.owner("whoever", &[Path::new("/jobs/a.toml")]).unwrap();
        let (sandboxes, input_log_bytes, buffer_bytes) = (1 << 40, 1 << 60, 1 << 60);
        let (components, connectors, partitions) = (9, 1 << 40, 1 << 40);
        let needs = JobNeeds {
            sandboxes,
            components,
            input_log_bytes,
            buffer_bytes,
            connectors,
            partitions,
        };
        tenant.reserve(needs).unwrap();
    }

    #[test]
    fn a_tenant_that_the_file_does_not_name_is_refused() {
        let tenants = tenants("[tenants.acme]\n");
        let refused = tenants.owner("other", &[Path::new("/jobs/a.toml")]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "TENANT_UNKNOWN: the job belongs to tenant \"other\", which /etc/tidemill/tenants.toml does not name"
        );
        assert!(tenants.owner("acme", &[Path::new("/jobs/a.toml")]).is_ok());
    }

    #[test]
    fn jobs_of_one_tenant_share_its_quota_and_give_it_back() {
        let tenants = tenants("[tenants.acme]\nsandboxes = 10\n");
        let tenant = || tenants.owner("acme", &[Path::new("/jobs/a.toml")]).unwrap();
        let needs = |sandboxes| JobNeeds { sandboxes, ..JobNeeds::default() };
        let first = tenant().reserve(needs(6)).unwrap();
        let refused = tenant().reserve(needs(5)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "TENANT_SANDBOXES: the job would take 5 sandboxes; tenant \"acme\" has 6 of 10 in use"
        );
        drop(first);
        tenant().reserve(needs(10)).unwrap();
    }

    #[test]
    fn what_a_job_wants_beside_what_it_has_is_one_amount_for_people() {
        let tenants = tenants("[tenants.acme]\nsandboxes = 16\n");
        let tenant = tenants.owner("acme", &[Path::new("/jobs/a.toml")]).unwrap();
        let reserve = |sandboxes| tenant.reserve(JobNeeds { sandboxes, ..JobNeeds::default() });
        let _own = reserve(8).unwrap();
        assert_eq!(
            reserve(16).unwrap_err().beside(8).to_string(),
            "TENANT_SANDBOXES: the job would take 24 sandboxes; tenant \"acme\" has 0 of 16 in use"
        );
    }

    #[test]
    fn memory_that_can_never_be_there_is_refused() {
        let tenants = tenants("[tenants.acme]\nmemory = \"1MiB\"\n");
        let tenant = tenants.owner("acme", &[Path::new("/jobs/a.toml")]).unwrap();
        assert_eq!(tenant.check_memory(1 << 20), Ok(()));
        let refused = tenant.check_memory((1 << 20) + 1).unwrap_err().to_string();
        assert_eq!(
            refused,
            "TENANT_MEMORY: the job would take 1048577 bytes of linear memory at the least; tenant \"acme\" has 0 of \
             1048576 in use"
        );
    }

    #[test]
    fn a_directory_of_jobs_says_who_owns_them() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["acme", "other", "common", "acme/guest"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("job.toml"), "").unwrap();
        }
        let file = dir.path().join("tenants.toml");
        let text = "[tenants.acme]\njobs-dir = \"acme\"\n[tenants.other]\njobs-dir = \"other\"\n[tenants.free]\n\
                    [tenants.guest]\njobs-dir = \"acme/guest\"\n";
        let plan = TenantsPlan::from_text(&file, &file, text.to_owned()).unwrap();
        let tenants = Tenants::new(plan);
        let owner = |tenant: &str, at: &str| {
            tenants
                .owner(tenant, &[&dir.path().join(at).canonicalize().unwrap()])
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(owner("acme", "acme/job.toml"), Ok(()));
        assert_eq!(owner("free", "common/job.toml"), Ok(()));
        assert_eq!(owner("guest", "acme/guest/job.toml"), Ok(()));
        for (tenant, at, says) in [
            ("acme", "other/job.toml", "a directory of tenant \"other\""),
            ("free", "acme/../other/job.toml", "a directory of tenant \"other\""),
            ("acme", "acme/guest/job.toml", "a directory of tenant \"guest\""),
            ("acme", "common/job.toml", "a directory of nobody"),
        ] {
            let refused = owner(tenant, at).unwrap_err();
            assert!(refused.contains(says) && refused.starts_with("TENANT_DIRECTORY"), "{refused}");
        }
    }
}
