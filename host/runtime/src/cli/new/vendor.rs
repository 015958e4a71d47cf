//! The SDK and the host's interface, as files that stand on their own.
//!
//! Until the SDK is published, each new operator brings a copy along. Its manifest lies in our
//! workspace and leans on it; here every `workspace = true` is replaced by what it stands for.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use toml::{Table, Value};

static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
const WORKSPACE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));

/// Where the copy lies in a new operator.
const PLACE: &str = "vendor/tidemill";
/// What only our own tests need, and what only our own workspace says.
const LEFT_OUT: [&str; 5] = ["dev-dependencies", "lints", "test", "bench", "example"];

/// All files of the copy.
///
/// # Errors The embedded manifest leans on something that the workspace does not have: a fault of
/// this build.
pub(super) fn files() -> Result<Vec<(PathBuf, String)>, String> {
    let place = Path::new(PLACE);
    let mut files = Vec::new();
    collect(&WIT, &place.join("wit"), &mut files);
    let sdk = place.join("guest-sdk");
    if let Some(sources) = SDK.get_dir("src") {
        collect(sources, &sdk, &mut files);
    }
    let manifest = SDK.get_file("Cargo.toml").and_then(|file| file.contents_utf8());
    let manifest = standalone(manifest.unwrap_or_default(), WORKSPACE)?;
    files.push((sdk.join("Cargo.toml"), manifest));
    Ok(files)
}

fn collect(directory: &Dir<'_>, place: &Path, files: &mut Vec<(PathBuf, String)>) {
    for file in directory.files() {
        if let Some(content) = file.contents_utf8() {
            files.push((place.join(file.path()), content.to_owned()));
        }
    }
    for directory in directory.dirs() {
        collect(directory, place, files);
    }
}

/// A member's manifest without its workspace.
fn standalone(manifest: &str, workspace: &str) -> Result<String, String> {
    let parse = |text: &str| text.parse::<Table>().map_err(|error| error.to_string());
    let mut manifest = parse(manifest)?;
    let workspace = parse(workspace)?;
    let inherited = |table: &str| workspace.get("workspace").and_then(|w| w.get(table)?.as_table());
    manifest.retain(|key, _| !LEFT_OUT.contains(&key));
    for (member, shared) in [
        ("package", "package"),
        ("dependencies", "dependencies"),
        ("build-dependencies", "dependencies"),
    ] {
        let Some(Value::Table(entries)) = manifest.get_mut(member) else { continue };
        for (name, value) in entries.iter_mut() {
            let Some(own) = value.as_table().filter(|own| own.contains_key("workspace")) else {
                continue;
            };
            let shared = inherited(shared).and_then(|table| table.get(name));
            let shared = shared.ok_or_else(|| format!("the workspace has no {member}.{name}"))?;
            *value = merge(own, shared);
        }
    }
    let text = toml::to_string(&manifest).map_err(|error| error.to_string())?;
    Ok(format!("# Written by `tidemill new` {}.\n\n{text}", env!("CARGO_PKG_VERSION")))
}

/// A dependency may add features and `optional` to what it inherits; anything else it takes as it
/// is.
fn merge(own: &Table, shared: &Value) -> Value {
    let mut extra = own.clone();
    extra.remove("workspace");
    if extra.is_empty() {
        return shared.clone();
    }
    let mut merged = match shared {
        Value::Table(shared) => shared.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in extra {
        match (merged.get_mut(&key), value) {
            (Some(Value::Array(shared)), Value::Array(own)) => shared.extend(own),
            (_, value) => {
                merged.insert(key, value);
            }
        }
    }
    Value::Table(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_freed_of_its_workspace() {
        let manifest = "[package]\nname = \"sdk\"\nversion.workspace = true\n[lints]\nworkspace = \
        true\n\
                        [dependencies]\na = { workspace = true, optional = true, \
                        features = [\"y\"] }\n\
                        b.workspace = true\nc = \"3\"\n[dev-dependencies]\nd.workspace = true\n";
        let workspace = "[workspace.package]\nversion = \"1.2.3\"\n[workspace.dependencies]\n\
                         a = { version = \"1\", features = [\"x\"] }\nb = \"2\"\n";
        let freed: Table = standalone(manifest, workspace).unwrap().parse().unwrap();
        let expected: Table = "[package]\nname = \"sdk\"\nversion = \"1.2.3\"\n[dependencies]\n\
                               a = { version = \"1\", features = [\"x\", \"y\"], optional = true \
                               }\n\
                               b = \"2\"\nc = \"3\"\n"
            .parse()
            .unwrap();
        assert_eq!(freed, expected);
    }

    #[test]
    fn what_the_workspace_lacks_is_told() {
        let manifest = "[dependencies]\na.workspace = true\n";
        let error = standalone(manifest, "[workspace]\n").unwrap_err();
        assert_eq!(error, "the workspace has no dependencies.a");
    }

    #[test]
    fn the_embedded_sdk_leans_on_nothing() {
        let files = files().unwrap();
        let content = |path: &str| {
            let found = files.iter().find(|(found, _)| found == Path::new(path));
            &found.unwrap_or_else(|| panic!("no {path}")).1
        };
        let manifest: Table = content("vendor/tidemill/guest-sdk/Cargo.toml").parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for (name, dependency) in dependencies {
            let version = dependency.as_str().or_else(|| dependency.get("version")?.as_str());
            assert!(version.is_some() && dependency.get("path").is_none(), "{name}: {dependency}");
        }
        assert_eq!(manifest["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        content("vendor/tidemill/guest-sdk/src/lib.rs");
        content("vendor/tidemill/wit/operator.wit");
    }
}
