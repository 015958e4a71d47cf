//! What `tidemill run` says of the end of jobs, and where.
//!
//! A single job has one report. Of several jobs people read each end as it comes; programs get one document
//! at the end, with the jobs in the order of the command line.

use std::path::Path;
use std::sync::Arc;

use super::super::arguments::{OutputFormat, RunArguments};
use super::super::console::{self, Console};
use super::super::failure::Failure;
use super::super::report;
use super::super::tenant_view::TenantView;
use super::{Ended, writes_to_stdout};
use crate::config::JobPlan;
use crate::tenants::Tenants;

/// Where reports go. Standard output belongs to a sink if one writes to it.
pub(super) struct Output {
    format: OutputFormat,
    to_stdout: bool,
    console: Console,
    tenants: Arc<Tenants>,
    /// There is a tenants' file, so that people want to know.
    tells_tenants: bool,
}

impl Output {
    pub(super) fn choose(
        arguments: &RunArguments,
        plans: &[&JobPlan],
        console: Console,
        tenants: Arc<Tenants>,
    ) -> Self {
        let is_taken = plans.iter().any(|plan| writes_to_stdout(plan));
        let format = arguments.report;
        let to_stdout = format == OutputFormat::Json && !is_taken;
        Self { format, to_stdout, console, tenants, tells_tenants: arguments.tenants.is_some() }
    }

    fn tenants(&self) -> Vec<TenantView> {
        self.tenants.live().iter().map(|tenant| TenantView::new(tenant)).collect()
    }

    fn write(&self, report: &str) -> Result<(), Failure> {
        if self.to_stdout {
            return console::print(report);
        }
        if self.format == OutputFormat::Json || !self.console.is_quiet() {
            console::note(report);
        }
        Ok(())
    }

    /// The end of the only job. Of a failure people read the diagnostic that the command ends with; programs
    /// get it in the report as well.
    pub(super) fn one(&self, ended: &Ended) -> Result<(), Failure> {
        let is_told = self.tells_tenants || self.format == OutputFormat::Json;
        let tenant = self.tenants().pop().filter(|_| is_told);
        match (ended.told(), self.format) {
            (Ok(report), format) => self.write(&report::success(report, tenant, format)),
            (Err(failed), OutputFormat::Json) => self.write(&report::failure(&failed, tenant)),
            (Err(_), OutputFormat::Text) => Ok(()),
        }
    }

    /// The end of one of several jobs, told at once: the others may go on for a long time.
    pub(super) fn ended(&self, ended: &Ended) {
        match (&ended.outcome, self.format) {
            (Ok(report), OutputFormat::Text) if !self.console.is_quiet() => {
                console::note(&report::success(report, None, OutputFormat::Text));
            }
            (Ok(_), _) => {}
            (Err(failure), _) => {
                tracing::error!("Job {} has ended; the others go on.", ended.job);
                self.console.report(failure);
            }
        }
    }

    /// The end of all of several jobs.
    pub(super) fn several(&self, ended: &[Ended]) -> Result<(), Failure> {
        if self.format == OutputFormat::Text {
            if self.tells_tenants && !self.console.is_quiet() {
                self.tenants().iter().for_each(|tenant| console::note(&tenant.text()));
            }
            return Ok(());
        }
        self.write(&report::several(ended.iter().map(Ended::told), self.tenants()))
    }
}

/// The name of a job whose file could not be read.
pub(super) fn name_of(file: &Path) -> String {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    // Whoever names a file must not write lines of the log.
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
