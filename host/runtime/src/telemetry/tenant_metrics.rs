//! What tenants use of their quotas, in the text format of Prometheus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tidemill_core::quota::TenantUsage;

use super::names::{self, Name};
use crate::tenants::Tenant;

/// Encodes the figures of all tenants.
pub(super) fn encode(tenants: &[Arc<Tenant>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let seconds = |us: &AtomicU64| us.load(Relaxed) as f64 / 1e6;
    counter(encoder, tenants, &names::TENANT_CPU, |usage| seconds(&usage.used_cpu_us))?;
    counter(encoder, tenants, &names::TENANT_COMPILE_CPU, |usage| seconds(&usage.compile_cpu_us))?;
    counter(encoder, tenants, &names::TENANT_HELD, |usage| seconds(&usage.held_us))?;
    counter(encoder, tenants, &names::TENANT_LOG_DROPPED, |usage| {
        usage.dropped_log_lines.load(Relaxed) as f64
    })?;
    let number = |figure: &AtomicU64| figure.load(Relaxed) as f64;
    counter(encoder, tenants, &names::TENANT_HOST_CALLS, |usage| number(&usage.host_calls))?;
    counter(encoder, tenants, &names::TENANT_COPIED_BYTES, |usage| number(&usage.copied_bytes))?;
    counter(encoder, tenants, &names::TENANT_RESTARTS, |usage| number(&usage.restarts))?;
    quotas(encoder, tenants, &names::TENANT_USED, |quota| Some(quota.used()))?;
    quotas(encoder, tenants, &names::TENANT_PEAK, |quota| Some(quota.peak()))?;
    let has_limit = |limit: &u64| *limit != u64::MAX;
    quotas(encoder, tenants, &names::TENANT_QUOTA, |quota| Some(quota.limit()).filter(has_limit))
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    tenants: &[Arc<Tenant>],
    Name { name, help }: &Name,
    value: impl Fn(&TenantUsage) -> f64,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    tenants.iter().try_for_each(|tenant| {
        let labels = [("tenant", tenant.name())];
        let value = value(tenant.usage());
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    })
}

fn quotas(
    encoder: &mut DescriptorEncoder<'_>,
    tenants: &[Arc<Tenant>],
    Name { name, help }: &Name,
    value: impl Fn(&tidemill_core::quota::Allowance) -> Option<u64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for tenant in tenants {
        for (of, quota) in tenant.usage().quotas() {
            let labels = [("tenant", tenant.name()), ("of", of)];
            if let Some(value) = value(quota) {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
    }
    Ok(())
}
