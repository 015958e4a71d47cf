//! The job's own settings, and the names of its nodes.

use std::collections::BTreeMap;
use std::mem::take;

use tidemill_core::connector::BatchTarget;
use tidemill_core::limits;

use super::bounds::within_or;
use super::restart::restart;
use super::{connectors, durability, operators};
use crate::config::defaults;
use crate::config::load::Origin;
use crate::config::plan::{GrantSpans, JobPlan, Locations, NodeSpans};
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{Nodes, RawJob, StateBackend};
use crate::config::scalar::At;
use crate::config::text::{JobText, Span};

/// Checks a whole job.
pub(in crate::config) fn job(
    mut raw: RawJob,
    origin: Origin,
    text: JobText,
) -> Result<JobPlan, Rejection> {
    check_job_name(&raw.name)?;
    let tenant = tenant(raw.tenant.take())?;
    check_node_names(&raw)?;
    refuse_disk(raw.state_backend.as_ref())?;
    let (parallelism, key_groups) = lanes_and_key_groups(&raw)?;
    let batch = batch(&raw)?;
    let linger_us =
        within_or("linger", raw.linger.as_ref(), defaults::LINGER_US, defaults::LINGER_BOUNDS_US)?;
    let queue_bytes = within_or(
        "queue-bytes",
        raw.queue_bytes.as_ref(),
        defaults::QUEUE_BYTES,
        defaults::QUEUE_BYTES_BOUNDS,
    )? as usize;
    let state_timeout = raw.state_timeout.as_ref();
    let state_timeout_us =
        within_or("state-timeout", state_timeout, 0, defaults::STATE_TIMEOUT_BOUNDS_US)?;
    let checkpoints = durability::checkpoints(&raw, &origin)?;
    let heartbeat = durability::heartbeat(&raw)?;
    let timeouts = durability::timeouts(&raw)?;
    let wal = durability::wal(&raw)?;
    let restart = restart(raw.restart_strategy.as_ref())?;
    let poison = durability::job_poison(&raw)?;

    let mut nodes = Vec::new();
    let sources = each("sources", take(&mut raw.sources), |name, raw| {
        nodes.push(spans("sources", &name, Vec::new()));
        connectors::source(name.value, raw, &origin)
    })?;
    let operators = each("operators", take(&mut raw.operators), |name, raw| {
        let component = Some(raw.component.span.clone());
        let (plan, inputs, grants) = operators::operator(name.value.clone(), raw, &origin, poison)?;
        nodes.push(NodeSpans { component, grants, ..spans("operators", &name, inputs) });
        Ok(plan)
    })?;
    let sinks = each("sinks", take(&mut raw.sinks), |name, raw| {
        let (plan, inputs) = connectors::sink(name.value.clone(), raw, &origin)?;
        nodes.push(spans("sinks", &name, inputs));
        Ok(plan)
    })?;
    let dead_letter_dir = durability::dead_letter_dir(&raw, &origin, poison, &operators)?;
    Ok(JobPlan {
        name: raw.name.value,
        tenant,
        real_file: origin.file.clone(),
        file: origin.file,
        parallelism,
        key_groups,
        batch,
        linger_us,
        queue_bytes,
        state_timeout_ms: state_timeout.map(|_| state_timeout_us / 1_000),
        checkpoints,
        heartbeat,
        timeouts,
        wal,
        restart,
        dead_letter_dir,
        sources,
        operators,
        sinks,
        locations: Locations { text, nodes },
    })
}

fn batch(raw: &RawJob) -> Result<BatchTarget, Rejection> {
    Ok(BatchTarget {
        records: within_or(
            "batch-records",
            raw.batch_records.as_ref(),
            defaults::BATCH_RECORDS,
            defaults::BATCH_RECORDS_BOUNDS,
        )? as usize,
        bytes: within_or(
            "batch-bytes",
            raw.batch_bytes.as_ref(),
            defaults::BATCH_BYTES,
            defaults::BATCH_BYTES_BOUNDS,
        )? as usize,
    })
}

/// Resolves the nodes of one table, with the keys that lead to each added to its error.
fn each<R, P>(
    table: &str,
    nodes: Nodes<R>,
    mut resolve: impl FnMut(At<String>, R) -> Result<P, Rejection>,
) -> Result<Vec<P>, Rejection> {
    let nodes = nodes.0.into_iter().map(|(name, raw)| {
        let key = name.value.clone();
        resolve(name, raw).map_err(|rejection| rejection.under(&key).under(table))
    });
    nodes.collect()
}

fn spans(table: &'static str, name: &At<String>, inputs: Vec<Span>) -> NodeSpans {
    let (At { value, span }, grants) = (name.clone(), GrantSpans::default());
    NodeSpans { table, name: value, name_span: span, component: None, inputs, grants }
}

fn lanes_and_key_groups(raw: &RawJob) -> Result<(usize, u32), Rejection> {
    let lanes = raw.parallelism.as_ref();
    let parallelism =
        within_or("parallelism", lanes, defaults::PARALLELISM, defaults::PARALLELISM_BOUNDS)?;
    let groups = raw.key_groups.as_ref();
    let key_groups =
        within_or("key-groups", groups, defaults::KEY_GROUPS, defaults::KEY_GROUPS_BOUNDS)?;
    if parallelism > key_groups {
        let problem = Problem::TooFewKeyGroups { parallelism, key_groups };
        let (span, key) = match (lanes, groups) {
            (_, Some(groups)) => (&groups.span, "key-groups"),
            (Some(lanes), None) => (&lanes.span, "parallelism"),
            (None, None) => return Err(problem.into()),
        };
        return Err(Rejection::at(problem, span, &[key]));
    }
    Ok((parallelism as usize, key_groups as u32))
}

fn refuse_disk(backend: Option<&At<StateBackend>>) -> Result<(), Rejection> {
    match backend {
        Some(At { value: StateBackend::Disk, span }) => {
            Err(Rejection::at(Problem::NoDiskBackend, span, &["state-backend"]))
        }
        Some(At { value: StateBackend::Memory, .. }) | None => Ok(()),
    }
}

fn check_job_name(name: &At<String>) -> Result<(), Rejection> {
    if is_job_name(&name.value) {
        return Ok(());
    }
    Err(Rejection::at(Problem::BadJobName(name.value.clone()), &name.span, &["name"]))
}

fn tenant(tenant: Option<At<String>>) -> Result<String, Rejection> {
    match tenant {
        None => Ok(defaults::TENANT.to_owned()),
        Some(At { value, .. }) if is_job_name(&value) => Ok(value),
        Some(At { value, span }) => {
            Err(Rejection::at(Problem::BadTenantName(value), &span, &["tenant"]))
        }
    }
}

/// Whether `name` may name a job: `^[a-z0-9][a-z0-9-]{0,62}$`.
pub(in crate::config) fn is_job_name(name: &str) -> bool {
    name.len() <= defaults::JOB_NAME_BYTES_MAX && is_name(name, &['-'])
}

fn is_name(name: &str, also: &[char]) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.chars().all(|c| plain(c) || also.contains(&c))
}

fn check_node_names(raw: &RawJob) -> Result<(), Rejection> {
    let sources = raw.sources.0.iter().map(|(name, _)| ("sources", name));
    let operators = raw.operators.0.iter().map(|(name, _)| ("operators", name));
    let sinks = raw.sinks.0.iter().map(|(name, _)| ("sinks", name));
    let mut seen: BTreeMap<&str, &Span> = BTreeMap::new();
    for (table, At { value: name, span }) in sources.chain(operators).chain(sinks) {
        if name.len() > limits::NAME_BYTES_MAX || !is_name(name, &['-', '_']) {
            return Err(Rejection::at(Problem::BadNodeName(name.clone()), span, &[table]));
        }
        if let Some(first) = seen.insert(name, span) {
            let mut rejection = Rejection::at(Problem::DuplicateNode(name.clone()), span, &[table]);
            rejection.beside = Some((first.clone(), "the other one"));
            return Err(rejection);
        }
    }
    Ok(())
}
