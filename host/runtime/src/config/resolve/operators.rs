//! Operators: their component, what feeds them, configuration and limits.

use tidemill_core::graph::{EdgeKind, EdgeSpec};
use tidemill_core::limits::Limits;

use super::bounds::lowered;
use super::durability::operator_poison;
use super::grants::grants;
use crate::config::load::Origin;
use crate::config::plan::{GrantSpans, OperatorPlan, PoisonPlan};
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{EdgeWord, RawEdge, RawEdges, RawLimits, RawOperator};
use crate::config::scalar::At;
use crate::config::text::Span;

/// Checks an operator, which inherits the job's `inherited` rules for poison records; the spans are those of
/// its inputs and of its grants.
pub(super) fn operator(
    name: String,
    raw: RawOperator,
    origin: &Origin,
    inherited: PoisonPlan,
) -> Result<(OperatorPlan, Vec<Span>, GrantSpans), Rejection> {
    let component = origin.directory.join(&not_empty("component", &raw.component)?.value);
    let (inputs, spans) = match (raw.from, raw.inputs) {
        (Some(_), Some(inputs)) => {
            return Err(Rejection::at(Problem::FromAndInputs, &inputs.span, &["inputs"]));
        }
        (from, None) => edges(None, from),
        (None, Some(inputs)) => {
            let each = inputs.value.0.into_iter();
            let (inputs, spans): (Vec<_>, Vec<_>) =
                each.map(|(input, from)| edges(Some(&input.value), Some(from))).unzip();
            (inputs.concat(), spans.concat())
        }
    };
    let config = raw.config.unwrap_or_default().0.into_iter();
    let config: Vec<_> = config.map(|(key, text)| (key.value, text.value.0)).collect();
    let grants = grants(raw.grants.unwrap_or_default(), origin, &config);
    let (grants, grant_spans) = grants.map_err(|rejection| rejection.under("grants"))?;
    let limits =
        lower(&raw.limits.unwrap_or_default()).map_err(|rejection| rejection.under("limits"))?;
    let poison = operator_poison(raw.on_poison.as_ref(), raw.poison_limit.as_ref(), inherited)?;
    let plan = OperatorPlan { name, component, inputs, config, grants, limits, poison };
    Ok((plan, spans, grant_spans))
}

/// The edges into one input, and where each was written.
pub(super) fn edges(input: Option<&str>, raw: Option<RawEdges>) -> (Vec<EdgeSpec>, Vec<Span>) {
    let edges = raw.map(|edges| edges.0).unwrap_or_default();
    let edges = edges.into_iter().map(|At { value, span }| {
        let (from, kind, span) = match value {
            RawEdge::Plain(from) => (from, None, span),
            RawEdge::Full(full) => (full.from.value, full.edge.map(kind), full.from.span),
        };
        (EdgeSpec { input: input.map(str::to_owned), from, kind }, span)
    });
    edges.unzip()
}

fn kind(word: EdgeWord) -> EdgeKind {
    match word {
        EdgeWord::Forward => EdgeKind::Forward,
        EdgeWord::Keyed => EdgeKind::Keyed,
        EdgeWord::Rebalance => EdgeKind::Rebalance,
        EdgeWord::Broadcast => EdgeKind::Broadcast,
    }
}

pub(super) fn not_empty<'a>(key: &str, at: &'a At<String>) -> Result<&'a At<String>, Rejection> {
    if !at.value.is_empty() {
        return Ok(at);
    }
    let problem =
        Problem::WrongValue { found: "an empty string".into(), expected: "a path".into() };
    Err(Rejection::at(problem, &at.span, &[key]))
}

/// The limits of a sandbox, of which none is raised.
pub(super) fn lower(raw: &RawLimits) -> Result<Limits, Rejection> {
    let RawLimits {
        component_size,
        memory,
        table_elements,
        key,
        value,
        emit_bytes,
        emit_records,
        overlay,
        host_call,
        state,
        log_lines_per_second,
        log_line,
        process_cpu,
        process_cpu_per_record,
        process_cpu_max,
        hook_cpu,
    } = raw;
    let host = Limits::default();
    let size = |key, at: &Option<_>, ceiling: usize| {
        lowered(key, at.as_ref(), 1, ceiling as u64).map(|bytes| bytes as usize)
    };
    let time = |key, at: &Option<_>, min, ceiling| lowered(key, at.as_ref(), min, ceiling);
    let log_lines = u64::from(host.log_lines_per_second);
    let emit_records = lowered("emit-records", emit_records.as_ref(), 1, host.emit_records as u64)?;
    let table_elements = table_elements.as_ref();
    let component_size = component_size.as_ref();
    Ok(Limits {
        component_bytes: lowered("component-size", component_size, 1, host.component_bytes)?,
        memory_bytes: lowered("memory", memory.as_ref(), 1, host.memory_bytes)?,
        table_elements: lowered("table-elements", table_elements, 1, host.table_elements)?,
        key_bytes: size("key", key, host.key_bytes)?,
        value_bytes: size("value", value, host.value_bytes)?,
        emit_bytes: size("emit-bytes", emit_bytes, host.emit_bytes)?,
        emit_records: emit_records as usize,
        overlay_bytes: size("overlay", overlay, host.overlay_bytes)?,
        host_call_bytes: size("host-call", host_call, host.host_call_bytes)?,
        state_bytes: lowered("state", state.as_ref(), 1, host.state_bytes)?,
        log_lines_per_second: lowered(
            "log-lines-per-second",
            log_lines_per_second.as_ref(),
            0,
            log_lines,
        )? as u32,
        log_line_bytes: size("log-line", log_line, host.log_line_bytes)?,
        process_cpu_us: time("process-cpu", process_cpu, 1_000, host.process_cpu_us)?,
        process_cpu_us_per_record: time(
            "process-cpu-per-record",
            process_cpu_per_record,
            0,
            host.process_cpu_us_per_record,
        )?,
        process_cpu_us_max: time(
            "process-cpu-max",
            process_cpu_max,
            1_000,
            host.process_cpu_us_max,
        )?,
        hook_cpu_us: time("hook-cpu", hook_cpu, 1_000, host.hook_cpu_us)?,
    })
}
