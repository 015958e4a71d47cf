//! Tenants and their quotas.

use tidemill_core::limits::AdmissionLimits;

use super::bounds::{Quantity, lowered, within, within_or};
use super::grants::variable_name;
use super::job::is_job_name;
use super::operators::{lower, not_empty};
use crate::config::load::Origin;
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{RawGrantPolicy, RawTenant, RawTenants};
use crate::config::scalar::{At, Ratio};
use crate::config::tenants::{
    COMPILE_CPU_MIN_US, COMPILE_MEMORY_MIN, CPU_BOUNDS, CPU_SHARE_BOUNDS, HOST_SANDBOXES,
    HOST_SANDBOXES_BOUNDS, TenantPlan, TenantsPlan,
};
use crate::tenants::GrantPolicy;

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
    let host = &default.admission;
    let second_us = 1_000_000;
    let (cpu_us, memory) = (host.compile_cpu_s * second_us, host.compile_memory_bytes);
    let (cpu_min, memory_min) = (COMPILE_CPU_MIN_US, COMPILE_MEMORY_MIN);
    let compile_cpu_us = lowered("compile-cpu", raw.compile_cpu.as_ref(), cpu_min, cpu_us)?;
    let memory = lowered("compile-memory", raw.compile_memory.as_ref(), memory_min, memory)?;
    let admission = AdmissionLimits {
        compile_cpu_s: compile_cpu_us.div_ceil(second_us),
        compile_memory_bytes: memory,
        ..default.admission.clone()
    };
    Ok(TenantPlan {
        admission,
        jobs_dir: jobs_dir.map(|at| origin.directory.join(&at.value)),
        sandboxes: some("sandboxes", raw.sandboxes.as_ref(), default.sandboxes)?,
        components: some("components", raw.components.as_ref(), default.components)?,
        memory_bytes: some("memory", raw.memory.as_ref(), default.memory_bytes)?,
        state_bytes: some("state", raw.state.as_ref(), default.state_bytes)?,
        buffer_bytes: some("buffers", raw.buffers.as_ref(), default.buffer_bytes)?,
        open_files: some("open-files", raw.open_files.as_ref(), default.open_files)?,
        connectors: some("connectors", raw.connectors.as_ref(), default.connectors)?,
        partitions: some("partitions", raw.partitions.as_ref(), default.partitions)?,
        input_log_bytes: some("input-log", raw.input_log.as_ref(), default.input_log_bytes)?,
        checkpoint_bytes: some("checkpoints", raw.checkpoints.as_ref(), default.checkpoint_bytes)?,
        cpu_us_per_second: raw.cpu.as_ref().map(cpu).transpose()?,
        cpu_share: within_or(
            "cpu-share",
            raw.cpu_share.as_ref(),
            default.cpu_share,
            CPU_SHARE_BOUNDS,
        )?,
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
    let environment = raw.environment.unwrap_or_default().into_iter();
    let environment = environment.map(|name| variable_name(&name).map(|()| name.value));
    Ok(GrantPolicy {
        directories: directories.collect::<Result<_, Rejection>>()?,
        environment: environment.collect::<Result<_, Rejection>>()?,
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
