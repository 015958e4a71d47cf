//! What the host tells about itself while it runs: log lines and figures.
//!
//! Owns the names of metrics, the log format and the endpoint that serves figures. It must not know
//! how a job runs: figures are read from its counters when somebody asks, and cost nothing before.

mod durability_metrics;
mod endpoint;
mod logs;
mod metrics;
mod names;
mod operator_metrics;
mod tenant_metrics;

pub use endpoint::MetricsEndpoint;
pub use logs::{LogOptions, LogStyle, init_logs};
pub use metrics::{JobFigures, JobMetrics};
