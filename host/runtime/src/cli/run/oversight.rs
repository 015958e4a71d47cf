//! What whoever runs a host of several owners is warned of before their jobs begin.
//!
//! Owns the comparison of the tenants' file with the machine and with where things lie. Refuses nothing: what is allowed is the
//! file's to say. Without a tenants' file, or for one tenant alone, there is nobody to protect.

use std::collections::BTreeMap;
use std::path::Path;

use super::Planned;
use crate::config::{TenantPlan, TenantsPlan};
use crate::machine;

/// Warns of quotas that the machine does not have, and of data that tenants could change.
pub(super) fn look(plan: &TenantsPlan, planned: &[Planned]) {
    let named = planned.iter().filter_map(|job| job.tenant.as_deref());
    let there: BTreeMap<&str, &TenantPlan> = named
        .filter_map(|name| {
            let tenant = plan.tenants.iter().find(|tenant| tenant.name == name)?;
            Some((name, tenant))
        })
        .collect();
    let tenants: Vec<&TenantPlan> = there.into_values().collect();
    for warning in overbooked(&tenants, machine::memory_bytes(), plan.sandboxes.into()) {
        tracing::warn!("{warning}");
    }
    for job in planned {
        let Ok((plan_of_job, options)) = &job.plan else { continue };
        if let Some(warning) = exposed(plan, &options.data_dir) {
            tracing::warn!("Job {}: {warning}", plan_of_job.directory_name());
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
fn exposed(plan: &TenantsPlan, data_dir: &Path) -> Option<String> {
    let mut real = data_dir.to_owned();
    // It need not be there yet.
    while !real.exists() && real.pop() {}
    let real = real.canonicalize().ok()?;
    let owner = plan.tenants.iter().find(|tenant| {
        let dir = tenant.jobs_dir.as_ref().and_then(|dir| dir.canonicalize().ok());
        dir.is_some_and(|dir| real.starts_with(dir))
    })?;
    Some(format!(
        "its data lies in {}, within the `jobs-dir` of tenant {}, who could change it. Give a directory of the host's own with \
         --data-dir.",
        data_dir.display(),
        owner.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let jobs = dir.path().join("acme/jobs");
        let plan = plan(&format!("[tenants.acme]\njobs-dir = {jobs:?}\n"));
        let told = exposed(&plan, &jobs.join("deep/.tidemill")).unwrap();
        assert!(told.contains("tenant acme") && told.contains("--data-dir"), "{told}");
        assert_eq!(exposed(&plan, &dir.path().join("acme/data")), None);
    }
}
