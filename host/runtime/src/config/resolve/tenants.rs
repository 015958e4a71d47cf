//! Tenants and their quotas.

use super::bounds::{Quantity, within, within_or};
use super::job::is_job_name;
use super::operators::{lower, not_empty};
use crate::config::load::Origin;
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{RawGrantPolicy, RawTenant, RawTenants};
use crate::config::scalar::{At, Ratio};
use crate::config::tenants::{HOST_SANDBOXES, HOST_SANDBOXES_BOUNDS, TenantPlan, TenantsPlan};
use crate::tenants::GrantPolicy;

/// Cores that a quota may speak of: from a thousandth to more than any machine has.
const CPU_BOUNDS: std::ops::RangeInclusive<f64> = 0.001..=4096.0;

/// Checks a whole tenants' file.
pub(in crate::config) fn tenants(
    raw: RawTenants,
    origin: &Origin,
) -> Result<TenantsPlan, Rejection> {
    let sandboxes = raw.host.sandboxes.as_ref();
    let sandboxes = within_or("sandboxes", sandboxes, HOST_SANDBOXES, HOST_SANDBOXES_BOUNDS)
        .map_err(|rejection| rejection.under("host"))?;
    let tenants = raw.tenants.0.into_iter().map(|(name, raw)| {
        if !is_job_name(&name.value) {
            let problem = Problem::BadTenantName(name.value);
            return Err(Rejection::at(problem, &name.span, &["tenants"]));
        }
        let read = tenant(&name.value, raw, origin);
        read.map_err(|rejection| rejection.under(&name.value).under("tenants"))
    });
    let tenants = tenants.collect::<Result<_, _>>()?;
    Ok(TenantsPlan { sandboxes: sandboxes as u32, tenants, file: Some(origin.file.clone()) })
}

fn tenant(name: &str, raw: RawTenant, origin: &Origin) -> Result<TenantPlan, Rejection> {
    let default = TenantPlan::with_defaults(name);
    let jobs_dir = raw.jobs_dir.as_ref().map(|at| not_empty("jobs-dir", at)).transpose()?;
    let limits = lower(&raw.limits.unwrap_or_default());
    Ok(TenantPlan {
        jobs_dir: jobs_dir.map(|at| origin.directory.join(&at.value)),
        sandboxes: some("sandboxes", raw.sandboxes.as_ref(), default.sandboxes)?,
        components: some("components", raw.components.as_ref(), default.components)?,
        memory_bytes: some("memory", raw.memory.as_ref(), default.memory_bytes)?,
        state_bytes: some("state", raw.state.as_ref(), default.state_bytes)?,
        input_log_bytes: some("input-log", raw.input_log.as_ref(), default.input_log_bytes)?,
        checkpoint_bytes: some("checkpoints", raw.checkpoints.as_ref(), default.checkpoint_bytes)?,
        cpu_us_per_second: raw.cpu.as_ref().map(cpu).transpose()?,
        cpu_share: within_or("cpu-share", raw.cpu_share.as_ref(), default.cpu_share, 1..=1000)?,
        output_bytes_per_second: rate("output-rate", raw.output_rate.as_ref(), 1)?,
        log_lines_per_second: rate("log-lines-per-second", raw.log_lines_per_second.as_ref(), 0)?
            .or(default.log_lines_per_second),
        limits: limits.map_err(|rejection| rejection.under("limits"))?,
        grants: grants(raw.grants.unwrap_or_default(), origin)
            .map_err(|rejection| rejection.under("grants"))?,
        ..default
    })
}

fn grants(raw: RawGrantPolicy, origin: &Origin) -> Result<GrantPolicy, Rejection> {
    let directories = raw.directories.unwrap_or_default();
    let directories = directories
        .iter()
        .map(|path| Ok(origin.directory.join(&not_empty("directories", path)?.value)));
    let environment = raw.environment.unwrap_or_default().into_iter().map(|name| name.value);
    Ok(GrantPolicy {
        directories: directories.collect::<Result<_, Rejection>>()?,
        environment: environment.collect(),
    })
}

/// An amount that is at least one.
fn some<Q: Quantity>(key: &str, at: Option<&At<Q>>, default: u64) -> Result<u64, Rejection> {
    within_or(key, at, default, 1..=u64::MAX)
}

fn rate<Q: Quantity>(key: &str, at: Option<&At<Q>>, min: u64) -> Result<Option<u64>, Rejection> {
    at.map(|at| within(key, at, min..=u64::MAX)).transpose()
}

fn cpu(At { value: Ratio(cores), span }: &At<Ratio>) -> Result<u64, Rejection> {
    if CPU_BOUNDS.contains(cores) {
        return Ok((cores * 1e6) as u64);
    }
    let (min, max) = (CPU_BOUNDS.start().to_string(), CPU_BOUNDS.end().to_string());
    let problem = Problem::OutOfRange { found: cores.to_string(), min, max };
    Err(Rejection::at(problem, span, &["cpu"]))
}
