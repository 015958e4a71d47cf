//! Tenants' files: what a tenant's operators may see of the host.

use crate::config::TenantsPlan;
use crate::tenants::GrantPolicy;

fn plan(text: &str) -> Result<TenantsPlan, String> {
    let file = "/etc/tidemill/tenants.toml".as_ref();
    TenantsPlan::from_text(file, file, text.to_owned()).map_err(|error| error.to_string())
}

#[test]
fn a_tenant_is_granted_what_is_listed_and_nothing_unless_something_is() {
    let text = "[tenants.a.grants]\ndirectories = [\"models\", \"/srv\"]\nenvironment = [\"REGION\"]\n\
                [tenants.b]\n";
    let plan = plan(text).unwrap();
    let directories = ["/etc/tidemill/models", "/srv"].map(Into::into).to_vec();
    let expected = GrantPolicy { directories, environment: vec!["REGION".to_owned()] };
    assert_eq!(plan.tenants[0].grants, expected);
    assert_eq!(plan.tenants[1].grants, GrantPolicy::none());
}

#[test]
fn a_list_of_grants_that_cannot_be() {
    let refused = |line: &str| plan(&format!("[tenants.a.grants]\n{line}\n")).unwrap_err();
    assert!(
        refused("directory = []").contains("tenants.a.grants: there is no setting `directory`")
    );
    let empty = refused("directories = [\"\"]");
    assert_eq!(empty, "tenants.a.grants.directories: expected a path, found an empty string");
}
