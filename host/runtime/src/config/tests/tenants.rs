//! Tenants' files: what they may hold, and what is said of them.

use std::path::Path;

use tidemill_core::limits::{Limits, MIB};

use crate::config::{ConfigError, Problem, TenantPlan, TenantsPlan};
use crate::tenants::GrantPolicy;

const PAGE: &str = include_str!("../../../../../docs/tenants.md");
const GIB: u64 = 1024 * MIB as u64;

fn load(text: &str) -> Result<TenantsPlan, ConfigError> {
    let file = Path::new("/etc/tidemill/tenants.toml");
    TenantsPlan::from_text(Path::new("tenants.toml"), file, text.to_owned())
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = load(text).unwrap_err();
    let place = error.place().unwrap();
    let shown = format!("{}:{}: {error}", place.line, place.column);
    assert_eq!(shown, expected);
}

#[test]
fn what_a_tenant_leaves_out_has_a_default() {
    let plan = load("[tenants.a]\n").unwrap();
    assert_eq!((plan.sandboxes, &*plan.tenants[0].name), (2048, "a"));
    let TenantPlan { sandboxes, components, memory_bytes, state_bytes, .. } = plan.tenants[0];
    assert_eq!((sandboxes, components), (256, 64));
    assert_eq!((memory_bytes, state_bytes), (8 * GIB, 8 * GIB));
    assert_eq!(plan.tenants[0].limits, Limits::default());
    assert!(load("").unwrap().tenants.is_empty());
}

#[test]
fn the_example_of_the_page_is_read_as_it_says() {
    let example = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let plan = load(example).unwrap();
    let acme = &plan.tenants[0];
    assert_eq!(plan.sandboxes, 4096);
    assert_eq!(acme.jobs_dir.as_deref(), Some(Path::new("/etc/tidemill/acme/jobs")));
    assert_eq!((acme.sandboxes, acme.memory_bytes, acme.state_bytes), (64, 4 * GIB, 8 * GIB));
    assert_eq!((acme.cpu_us_per_second, acme.cpu_share), (Some(1_500_000), 2));
    assert_eq!(acme.output_bytes_per_second, Some(50 * MIB as u64));
    assert_eq!(acme.limits.memory_bytes, 64 * MIB as u64);
    assert_eq!(acme.limits.component_bytes, 4 * MIB as u64);
}

#[test]
fn the_page_explains_every_setting_of_a_tenant() {
    let error = load("[tenants.a]\nnonsense = 1\n").unwrap_err();
    let Problem::UnknownName { known, .. } = error.problem() else { panic!("{error}") };
    for setting in *known {
        assert!(PAGE.contains(&format!("| `{setting}` |")), "{setting}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    refused("[tenants.Acme]\n", "1:10: tenants: \"Acme\" cannot name a tenant");
    refused("[tenants.a]\ncpu = 0\n", "2:7: tenants.a.cpu: 0 is outside 0.001 to 4096");
    refused("[tenants.a]\nsandboxes = 0\n", "2:13: tenants.a.sandboxes: 0 is below the least, 1");
    refused(
        "[tenants.a.limits]\nmemory = \"1GiB\"\n",
        "2:10: tenants.a.limits.memory: 1GiB is above the host's limit of 128MiB",
    );
    refused(
        "[tenants.a.limits]\ncomponent-size = \"33MiB\"\n",
        "2:18: tenants.a.limits.component-size: 33MiB is above the host's limit of 32MiB",
    );
    refused("[tenant.a]\n", "1:2: there is no setting `tenant` here");
    refused(
        "[host]\nsandboxes = 1_000_000\n",
        "2:13: host.sandboxes: 1000000 is outside 1 to 100000",
    );
}

#[test]
fn a_tenant_is_granted_what_is_listed_and_nothing_unless_something_is() {
    let text = "[tenants.a.grants]\ndirectories = [\"models\", \"/srv\"]\nenvironment = [\"REGION\"]\n\
                [tenants.b]\n";
    let plan = load(text).unwrap();
    let directories = ["/etc/tidemill/models", "/srv"].map(Into::into).to_vec();
    let expected = GrantPolicy { directories, environment: vec!["REGION".to_owned()] };
    assert_eq!(plan.tenants[0].grants, expected);
    assert_eq!(plan.tenants[1].grants, GrantPolicy::none());
}

#[test]
fn a_list_of_grants_that_cannot_be() {
    refused(
        "[tenants.a.grants]\ndirectory = []\n",
        "2:1: tenants.a.grants: there is no setting `directory` here",
    );
    refused(
        "[tenants.a.grants]\nenvironment = [\"A=B\"]\n",
        "2:16: tenants.a.grants.environment: expected the name of a variable of the environment, found \"A=B\"",
    );
    refused(
        "[tenants.a.grants]\ndirectories = [\"\"]\n",
        "2:16: tenants.a.grants.directories: expected a path, found an empty string",
    );
}
