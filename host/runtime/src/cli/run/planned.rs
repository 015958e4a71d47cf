//! Job files before they run: what came of reading them, and which of them may run together.
//!
//! Owns who is refused before anything is prepared. Invariant: whoever writes a job file keeps no job of another tenant from running
//! by one that its own tenant may not run.

use std::path::{Path, PathBuf};

use super::super::arguments::{JobArguments, RunArguments};
use super::super::failure::Failure;
use super::output::name_of;
use super::{Ended, plan, reads_stdin, writes_to_stdout};
use crate::config::{JobPlan, Locations};
use crate::job::{JobError, RunOptions};
use crate::tenants::Tenants;

/// What to do about a job that cannot run beside others.
const BY_ITSELF: &str = "run it by a command of its own";

/// A job file and what came of reading it.
pub(super) struct Planned {
    pub(super) file: PathBuf,
    /// Of the job; of its file, if that could not be read.
    pub(super) name: String,
    /// Unless the file could not be read.
    pub(super) tenant: Option<String>,
    pub(super) plan: Result<(JobPlan, RunOptions), Failure>,
}

impl Planned {
    pub(super) fn load(file: &Path, arguments: &RunArguments) -> Self {
        let RunArguments { sets, data_dir, fresh, .. } = arguments;
        let (sets, data_dir) = (sets.clone(), data_dir.clone());
        let job = JobArguments { job: file.to_owned(), sets, data_dir };
        let loaded = plan(&job, arguments.tenants.is_some(), *fresh);
        let plan = loaded.map(|(plan, mut options)| {
            options.allow_drop_state = arguments.allow_drop_state;
            options.from.clone_from(&arguments.from);
            options.accept_rollback = arguments.accept_rollback;
            (plan, options)
        });
        let (name, tenant) = match &plan {
            Ok((plan, _)) => (plan.name.clone(), Some(plan.tenant.clone())),
            Err(_) => (name_of(file), None),
        };
        Self { file: file.to_owned(), name, tenant, plan }
    }

    /// Its tenant, if it may run.
    pub(super) fn owner(&self) -> Option<&str> {
        self.plan.as_ref().ok().map(|(plan, _)| &*plan.tenant)
    }

    /// How it ends if the thread that drives it is lost.
    pub(super) fn lost(&self) -> impl FnOnce(JobError) -> Ended + use<> {
        let (file, job, tenant) = (self.file.clone(), self.name.clone(), self.tenant.clone());
        move |error| {
            let outcome = Err(Failure::job(error, &Locations::default()));
            Ended { file, job, tenant, outcome, figures: None }
        }
    }
}

/// Refuses options that go with one job only.
pub(super) fn check_options(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.jobs.len() < 2 {
        return Ok(());
    }
    for (is_given, option) in
        [(arguments.from.is_some(), "--from"), (arguments.dry_run, "--dry-run")]
    {
        if is_given {
            let problem = format!("{option} goes with one job, not with several");
            return Err(Failure::Together { problem, help: BY_ITSELF });
        }
    }
    Ok(())
}

/// Refuses jobs that are not their tenant's, before they can stand in the way of others.
pub(super) fn refuse_strangers(planned: &mut [Planned], tenants: &Tenants) {
    for job in planned {
        let Ok((plan, _)) = &job.plan else { continue };
        if let Err(refusal) = tenants.owner(&plan.tenant, &plan.paths()) {
            job.plan = Err(Failure::job(refusal.into(), &plan.locations));
        }
    }
}

/// Refuses jobs that cannot run beside those before them, and no others: whoever writes a job file must not keep
/// the jobs of others from running.
pub(super) fn refuse_clashing(planned: &mut [Planned]) {
    type Uses = fn(&JobPlan) -> bool;
    let once: [(&str, Uses); 2] =
        [("write to standard output", writes_to_stdout), ("read standard input", reads_stdin)];
    for at in 1..planned.len() {
        let (before, rest) = planned.split_at_mut(at);
        let Ok((plan, _)) = &rest[0].plan else { continue };
        let mut others = before.iter().filter_map(|job| Some((&job.plan.as_ref().ok()?.0, job)));
        let clash = others.find_map(|(other, job)| {
            let both = |uses: &&(&str, Uses)| uses.1(other) && uses.1(plan);
            // Names with their tenants, where they have one.
            let (name, other_name) = (plan.directory_name(), other.directory_name());
            if let Some((what, _)) = once.iter().find(both) {
                let problem = format!("the jobs {other_name:?} and {name:?} would both {what}");
                return Some(Failure::Together { problem, help: BY_ITSELF });
            }
            if name != other_name {
                return None;
            }
            let (one, two) = (job.file.display(), rest[0].file.display());
            Some(match other.real_file == plan.real_file {
                true => Failure::Together {
                    problem: format!("the job {name:?} is given twice: {one} and {two}"),
                    help: "name each job file once",
                },
                false => Failure::Together {
                    problem: format!("two jobs are named {name:?}: {one} and {two}"),
                    help: "give one of them another `name`: by it a job's data is found",
                },
            })
        });
        if let Some(clash) = clash {
            rest[0].plan = Err(clash);
        }
    }
}
