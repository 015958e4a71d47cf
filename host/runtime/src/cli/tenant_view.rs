//! What the report says of tenants.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::table::short_bytes;
use crate::tenants::Tenant;

/// What a tenant's jobs in this process have used.
#[derive(Serialize)]
pub(super) struct TenantView {
    name: String,
    cpu_s: f64,
    /// CPU time of the compiler, which is not in the other.
    compile_cpu_s: f64,
    /// How long lanes were held back by its rates, added up.
    held_s: f64,
    log_lines_dropped: u64,
    host_calls: u64,
    copied_bytes: u64,
    /// Sandboxes that took the place of others.
    restarts: u64,
    quotas: BTreeMap<&'static str, QuotaView>,
}

#[derive(Serialize)]
struct QuotaView {
    /// The most that was used at once.
    peak: u64,
    /// `null` without one.
    quota: Option<u64>,
}

impl TenantView {
    pub(super) fn new(tenant: &Tenant) -> Self {
        let usage = tenant.usage();
        let quota = |limit: u64| (limit != u64::MAX).then_some(limit);
        let quotas = usage
            .quotas()
            .into_iter()
            .map(|(name, of)| (name, QuotaView { peak: of.peak(), quota: quota(of.limit()) }));
        Self {
            name: tenant.name().to_owned(),
            cpu_s: usage.used_cpu_us.load(Relaxed) as f64 / 1e6,
            compile_cpu_s: usage.compile_cpu_us.load(Relaxed) as f64 / 1e6,
            held_s: usage.held_us.load(Relaxed) as f64 / 1e6,
            log_lines_dropped: usage.dropped_log_lines.load(Relaxed),
            host_calls: usage.host_calls.load(Relaxed),
            copied_bytes: usage.copied_bytes.load(Relaxed),
            restarts: usage.restarts.load(Relaxed),
            quotas: quotas.collect(),
        }
    }

    /// A line for people.
    pub(super) fn text(&self) -> String {
        let Self { name, cpu_s, compile_cpu_s, held_s, log_lines_dropped, quotas, .. } = self;
        let mut parts = vec![format!("{cpu_s:.2} s of CPU time")];
        if *compile_cpu_s > 0.0 {
            parts.push(format!("{compile_cpu_s:.2} s of the compiler's"));
        }
        for (of, what) in [("memory", "of memory"), ("state", "of state")] {
            if let Some(QuotaView { peak, quota }) = quotas.get(of) {
                let of = quota.map(|quota| format!(" of {}", short_bytes(quota)));
                let of = of.unwrap_or_default();
                parts.push(format!("at most {}{of} {what}", short_bytes(*peak)));
            }
        }
        if *held_s > 0.0 {
            parts.push(format!("held back for {held_s:.2} s"));
        }
        if *log_lines_dropped > 0 {
            parts.push(format!("{log_lines_dropped} log lines dropped"));
        }
        format!("tenant {name}: {}\n", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::TenantsPlan;
    use crate::tenants::Tenants;

    #[test]
    fn a_quota_is_shown_where_there_is_one() {
        let path = Path::new("/tenants.toml");
        let text = "[tenants.a]\nstate = \"1GiB\"\nmemory = \"2GiB\"\n".to_owned();
        let tenants = Tenants::new(TenantsPlan::from_text(path, path, text).unwrap());
        let tenant = tenants.owner("a", &[Path::new("/job.toml")]).unwrap();
        tenant.usage().held_us.store(1_500_000, Relaxed);
        let view = TenantView::new(&tenant);
        let expected = "tenant a: 0.00 s of CPU time, at most 0 B of 2.00 GiB of memory, at most 0 B of \
                        1.00 GiB of state, held back for 1.50 s\n";
        assert_eq!(view.text(), expected);
        let free = Tenants::default().owner("b", &[Path::new("/job.toml")]).unwrap();
        let view = serde_json::to_value(TenantView::new(&free)).unwrap();
        assert_eq!(view["quotas"]["state"]["quota"], serde_json::Value::Null);
    }
}
