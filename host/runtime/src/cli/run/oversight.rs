//! What whoever runs a host of several owners is warned of before their jobs begin.
//!
//! Owns the comparison of the tenants' file with the machine and with where things lie. Refuses nothing: what is allowed is the
//! file's to say. Without a tenants' file, or for one tenant alone, there is nobody to protect.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Planned;
use crate::config::TenantPlan;
use crate::job::checkpoint_directory;
use crate::machine;
use crate::tenants::Tenants;

/// Warns of quotas that the machine does not have, and of data that tenants could change.
pub(super) fn look(tenants: &Tenants, planned: &[Planned]) {
    let plan = tenants.plan();
    let owners: BTreeSet<&str> = planned.iter().filter_map(Planned::owner).collect();
    let there = plan.tenants.iter().filter(|tenant| owners.contains(&*tenant.name));
    let there: Vec<&TenantPlan> = there.collect();
    for warning in overbooked(&there, machine::memory_bytes(), plan.sandboxes.into()) {
        tracing::warn!("{warning}");
    }
    for job in planned {
        let Ok((plan, options)) = &job.plan else { continue };
        let checkpoints = checkpoint_directory(plan, &options.data_dir);
        let places = [&options.data_dir, &checkpoints].into_iter();
        if let Some(warning) = places.filter_map(|place| exposed(tenants, place)).next() {
            tracing::warn!("Job {}: {warning}", plan.directory_name());
        }
    }
}

/// What these tenants may take together and the host does not have.
fn overbooked(tenants: &[&TenantPlan], memory: Option<u64>, sandboxes: u64) -> Vec<String> {
    let sum = |of: fn(&TenantPlan) -> u64| {
        tenants.iter().fold(0u64, |sum, tenant| sum.saturating_add(of(tenant)))
    };
    let mut warnings = Vec::new();
    if tenants.len() < 2 {
        return warnings;
    }
    let wanted = sum(|tenant| {
        tenant.memory_bytes.saturating_add(tenant.state_bytes).saturating_add(tenant.buffer_bytes)
    });
    if let Some(memory) = memory.filter(|memory| wanted > *memory) {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        warnings.push(format!(
            "The tenants of these jobs may use {:.0} GiB of memory together (`memory`, `state` and `buffers`), and {:.1} GiB are \
             there: when they do, the system ends the process with the jobs of all. Lower these quotas.",
            gib(wanted),
            gib(memory)
        ));
    }
    let wanted = sum(|tenant| tenant.sandboxes);
    if wanted > sandboxes {
        warnings.push(format!(
            "The tenants of these jobs may use {wanted} sandboxes together, and the host has room for {sandboxes}: one may keep \
             another's job from starting again. Lower `sandboxes` of tenants, or raise that of [host]."
        ));
    }
    warnings
}

/// What is wrong with where a job keeps its data: whoever can write there can have the host do what checkpoints say.
fn exposed(tenants: &Tenants, place: &Path) -> Option<String> {
    let owner = real_places(place).iter().find_map(|place| tenants.whose_directory(place))?;
    Some(format!(
        "its data lies in {}, within the `jobs-dir` of tenant {owner}, who could change it. Give a directory of the host's own with \
         --data-dir, and no `checkpoint-dir` that a tenant can write to.",
        place.display(),
    ))
}

/// Where this is, as far as it is there already, and where the last name of it is, which may be a link.
fn real_places(place: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let Ok(mut there) = std::path::absolute(place) else { return places };
    while !there.exists() && there.pop() {}
    places.extend(there.canonicalize());
    if let (Some(parent), Some(name)) = (there.parent(), there.file_name()) {
        places.extend(parent.canonicalize().map(|parent| parent.join(name)));
    }
    places
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::TenantsPlan;

    const GIB: u64 = 1 << 30;

    fn plan(text: &str) -> TenantsPlan {
        let path = Path::new("/etc/tidemill/tenants.toml");
        TenantsPlan::from_text(path, path, text.to_owned()).unwrap()
    }

    #[test]
    fn tenants_that_may_take_more_than_there_is_are_told_of() {
        let plan = plan(
            "[tenants.a]\n[tenants.b]\nmemory = \"1GiB\"\nstate = \"1GiB\"\nbuffers = \"2GiB\"\n",
        );
        let [a, b] = &plan.tenants[..] else { panic!("{plan:?}") };
        let both = [a, b];
        assert_eq!(overbooked(&both, Some(36 * GIB), 512), Vec::<String>::new());
        assert_eq!(overbooked(&both, None, 512), Vec::<String>::new());
        let told = overbooked(&both, Some(35 * GIB), 511);
        assert!(told[0].contains("36 GiB of memory together") && told[0].contains("35.0 GiB"));
        assert!(told[1].contains("512 sandboxes together") && told[1].contains("room for 511"));
        assert_eq!(overbooked(&[a], Some(GIB), 1), Vec::<String>::new(), "it harms itself alone");
    }

    #[test]
    fn data_within_reach_of_a_tenant_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("acme/jobs")).unwrap();
        std::fs::create_dir_all(dir.path().join("acme/data")).unwrap();
        let jobs = dir.path().join("acme/jobs");
        symlink("../data", jobs.join(".tidemill")).unwrap();
        let tenants = Tenants::new(plan(&format!("[tenants.acme]\njobs-dir = {jobs:?}\n")));
        for place in ["deep/data", ".tidemill"] {
            let told = exposed(&tenants, &jobs.join(place)).unwrap();
            assert!(told.contains("tenant acme") && told.contains("--data-dir"), "{told}");
        }
        assert_eq!(exposed(&tenants, &dir.path().join("acme/data")), None);
        assert_eq!(exposed(&tenants, Path::new("not-there-yet")), None);
    }
}
