//! `tidemill inspect`: what a component is, as the host sees it.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tidemill_core::limits::COMPONENT_BYTES_MAX;
use tidemill_sandbox::compiler::{Confinement, Layer};
use tidemill_sandbox::{AdmissionError, Component, ComponentKind};
use tidemill_storage::open_regular;

use super::arguments::{InspectArguments, OutputFormat};
use super::console;
use super::exit_code::ExitCode;
use super::failure::{Failure, RefusedFor};
use super::table::{grouped, table};
use super::view::{BOLD, DescriptionView, json, row};
use crate::config::{TenantPlan, TenantsPlan};
use crate::job::Engine;
use crate::tenants::{JobNeeds, Tenant};

/// Inspects a component. One that would be refused is told so, with its own exit code.
pub(super) fn inspect(arguments: &InspectArguments) -> Result<ExitCode, Failure> {
    let path = &arguments.file;
    let policy = arguments.policy.as_deref().map(TenantsPlan::load).transpose()?;
    let bytes = read(path).map_err(|error| Failure::Unreadable { path: path.clone(), error })?;
    // Compiled anew each time: the time is one of the answers.
    let engine = Engine::without_cache().map_err(|error| Failure::Host(error.to_string()))?;
    let admitted = engine.admit(&bytes, &Tenant::new(TenantPlan::without_quotas("host")));
    let component = match (admitted, arguments.format) {
        (Ok(component), _) => component,
        (Err(error), format) => {
            if format == OutputFormat::Json {
                console::print(&json(&Refusal::new(bytes.len(), &error, policy.as_ref())))?;
            }
            return Err(Failure::Refused { path: path.clone(), error });
        }
    };
    let tenants = policy.iter().flat_map(|policy| &policy.tenants);
    let room = policy.as_ref().map_or(u32::MAX, |policy| policy.sandboxes);
    let verdicts =
        tenants.map(|tenant| (&*tenant.name, refused_for(tenant, room, &engine, &bytes)));
    let verdicts: Vec<(&str, Option<RefusedFor>)> = verdicts.collect();
    let mut facts = Facts::new(&component);
    facts.tenants = policy.is_some().then(|| verdicts.iter().map(Verdict::new).collect());
    console::print(&match arguments.format {
        OutputFormat::Text => text(path, &facts),
        OutputFormat::Json => json(&facts),
    })?;
    match verdicts.into_iter().find_map(|(tenant, error)| Some((tenant.to_owned(), error?))) {
        Some((tenant, error)) => Err(Failure::RefusedFor { path: path.clone(), tenant, error }),
        None => Ok(ExitCode::Done),
    }
}

/// Why a tenant could not run it on a host with so many sandboxes, be it alone and on one lane.
fn refused_for(
    tenant: &TenantPlan,
    room: u32,
    engine: &Engine,
    bytes: &[u8],
) -> Option<RefusedFor> {
    let owner = Tenant::new(tenant.clone());
    match engine.admit(bytes, &owner) {
        Err(error) => Some(RefusedFor::Component(error)),
        Ok(component) if component.pool_share() > u64::from(room) => {
            let words = format!(
                "it takes the room of {} sandboxes, and the host has room for {room}",
                component.pool_share()
            );
            Some(RefusedFor::Component(AdmissionError::HostFull(words)))
        }
        Ok(component) => {
            let alone = JobNeeds { sandboxes: component.pool_share(), ..JobNeeds::default() };
            let checked = owner.check_memory(component.least_memory_bytes());
            let checked = checked.and_then(|()| owner.reserve(alone).map(drop));
            checked.err().map(|refusal| RefusedFor::Quota(Box::new(refusal)))
        }
    }
}

/// Whether a tenant could run it.
#[derive(Serialize)]
struct Verdict {
    tenant: String,
    admitted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

impl Verdict {
    fn new((tenant, refused): &(&str, Option<RefusedFor>)) -> Self {
        Self {
            tenant: (*tenant).to_owned(),
            admitted: refused.is_none(),
            code: refused.as_ref().map(RefusedFor::code),
            refusal: refused.as_ref().map(ToString::to_string),
        }
    }

    fn row(&self) -> [String; 2] {
        let verdict = self.refusal.clone().unwrap_or_else(|| "admitted".to_owned());
        row("tenant", format!("{}: {verdict}", self.tenant))
    }
}

/// Reads no more than shows that the file is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Serialize)]
struct Facts {
    admitted: bool,
    kind: &'static str,
    bytes: usize,
    digest: String,
    compile_us: u64,
    confinement: ConfinementView,
    imports: Vec<String>,
    exports: Vec<String>,
    description: DescriptionView,
    /// With a policy, what it means for each tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<Vec<Verdict>>,
}

/// What kept the compiler from doing anything but compiling, and what this system does not have for it.
#[derive(Serialize)]
struct ConfinementView {
    active: Vec<&'static str>,
    missing: Vec<&'static str>,
}

#[derive(Serialize)]
struct Refusal {
    admitted: bool,
    bytes: usize,
    code: &'static str,
    refusal: String,
    /// With a policy: what the host refuses, it refuses for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<Vec<Verdict>>,
}

impl ConfinementView {
    fn new(confinement: Option<&Confinement>) -> Self {
        let names = |layers: &[Layer]| layers.iter().copied().map(Layer::name).collect();
        Self {
            active: confinement.map(|it| names(&it.active)).unwrap_or_default(),
            missing: confinement.map(|it| names(&it.missing)).unwrap_or_default(),
        }
    }

    fn text(&self) -> String {
        let active = match &self.active[..] {
            [] => "without limits".to_owned(),
            active => active.join(", "),
        };
        let missing = match &self.missing[..] {
            [] => String::new(),
            missing => format!("; this system lacks: {}", missing.join(", ")),
        };
        format!("in a child process: {active}{missing}")
    }
}

impl Refusal {
    fn new(bytes: usize, error: &AdmissionError, policy: Option<&TenantsPlan>) -> Self {
        let (code, refusal) = (error.code(), error.to_string());
        let of = |tenant: &TenantPlan| Verdict {
            tenant: tenant.name.clone(),
            admitted: false,
            code: Some(code),
            refusal: Some(refusal.clone()),
        };
        let tenants = policy.map(|policy| policy.tenants.iter().map(of).collect());
        Self { admitted: false, bytes, code, refusal, tenants }
    }
}

impl Facts {
    fn new(component: &Component) -> Self {
        let facts = component.facts();
        Self {
            admitted: true,
            kind: match facts.kind {
                ComponentKind::Component => "component",
                ComponentKind::CoreModule => "core module with component type",
            },
            bytes: facts.bytes,
            digest: facts.digest.clone(),
            compile_us: facts.compile_us,
            confinement: ConfinementView::new(facts.confinement.as_ref()),
            imports: facts.imports.clone(),
            exports: facts.exports.clone(),
            description: DescriptionView::new(component.description()),
            tenants: None,
        }
    }
}

fn text(path: &Path, facts: &Facts) -> String {
    let compiled = Duration::from_micros(facts.compile_us);
    let mut rows = vec![
        row("kind", facts.kind),
        row("size", format!("{} bytes", grouped(facts.bytes as u64))),
        row("digest", format!("blake3:{}", facts.digest)),
        row("compiled in", format!("{:.1} ms", compiled.as_secs_f64() * 1e3)),
        row("compiled", facts.confinement.text()),
    ];
    rows.extend(facts.tenants.iter().flatten().map(Verdict::row));
    rows.extend(facts.description.rows());
    rows.extend(facts.imports.iter().map(|name| row("import", name)));
    rows.extend(facts.exports.iter().map(|name| row("export", name)));
    format!("{BOLD}{}{BOLD:#}\n{}", path.display(), table(&rows, 2, &[]))
}
