//! What an operator asks for of the host. Whether it is allowed and there is not asked here.

use std::path::Path;

use super::operators::not_empty;
use crate::config::defaults;
use crate::config::load::Origin;
use crate::config::plan::{DirectoryGrant, GrantSpans, Grants};
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{RawDirectory, RawGrants};
use crate::config::scalar::At;

/// Checks what an operator with this `config` asks for.
pub(super) fn grants(
    raw: RawGrants,
    origin: &Origin,
    config: &[(String, String)],
) -> Result<(Grants, GrantSpans), Rejection> {
    let (mut grants, mut spans) = (Grants::default(), GrantSpans::default());
    for raw in few("directories", raw.directories)? {
        let (span, directory) = (raw.path.span.clone(), directory(raw, origin)?);
        let is_there = |other: &DirectoryGrant| other.guest_path == directory.guest_path;
        if grants.directories.iter().any(is_there) {
            let problem = Problem::Twice(directory.guest_path);
            return Err(Rejection::at(problem, &span, &["directories"]));
        }
        spans.directories.push(span);
        grants.directories.push(directory);
    }
    for at in few("environment", raw.environment)? {
        variable_name(&at)?;
        let At { value: name, span } = at;
        let refused = |problem| Err(Rejection::at(problem, &span, &["environment"]));
        if grants.environment.contains(&name) || config.iter().any(|(key, _)| *key == name) {
            return refused(Problem::Twice(name));
        }
        spans.environment.push(span);
        grants.environment.push(name);
    }
    Ok((grants, spans))
}

/// Checks that a variable of the environment can have this name.
pub(super) fn variable_name(At { value: name, span }: &At<String>) -> Result<(), Rejection> {
    if !name.is_empty() && !name.contains(['=', '\0']) {
        return Ok(());
    }
    let expected = "the name of a variable of the environment".to_owned();
    let problem = Problem::WrongValue { found: format!("{name:?}"), expected };
    Err(Rejection::at(problem, span, &["environment"]))
}

/// The items of a list that must not be long.
fn few<T>(key: &str, list: Option<At<Vec<T>>>) -> Result<Vec<T>, Rejection> {
    let Some(At { value: list, span }) = list else {
        return Ok(Vec::new());
    };
    if list.len() <= defaults::GRANTS_MAX {
        return Ok(list);
    }
    let problem = Problem::OutOfRange {
        found: format!("a list of {}", list.len()),
        min: "0".to_owned(),
        max: defaults::GRANTS_MAX.to_string(),
    };
    Err(Rejection::at(problem, &span, &[key]))
}

fn directory(raw: RawDirectory, origin: &Origin) -> Result<DirectoryGrant, Rejection> {
    let under = |rejection: Rejection| rejection.under("directories");
    let path = origin.directory.join(&not_empty("path", &raw.path).map_err(under)?.value);
    let guest_path = match raw.guest_path {
        Some(At { value, .. }) if is_guest_path(&value) => value,
        Some(At { value, span }) => {
            let problem = Problem::WrongValue {
                found: format!("{value:?}"),
                expected: "an absolute path, such as \"/models\"".to_owned(),
            };
            return Err(under(Rejection::at(problem, &span, &["as"])));
        }
        None => named_as(&path).ok_or_else(|| {
            let problem = Problem::Missing("as".to_owned());
            under(Rejection::at(problem, &raw.path.span, &["path"]))
        })?,
    };
    Ok(DirectoryGrant { path, guest_path })
}

/// "/" and the last component, where that is a name.
fn named_as(path: &Path) -> Option<String> {
    let guest_path = format!("/{}", path.file_name()?.to_str()?);
    is_guest_path(&guest_path).then_some(guest_path)
}

/// Whether a guest's own library takes it as it is: absolute, and nothing in it that leads elsewhere.
fn is_guest_path(path: &str) -> bool {
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0');
    match path.strip_prefix('/') {
        Some("") => true,
        Some(names) => {
            names.split('/').all(is_name) && path.len() <= defaults::GUEST_PATH_BYTES_MAX
        }
        None => false,
    }
}
