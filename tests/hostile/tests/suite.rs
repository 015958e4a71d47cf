//! The short form of the suite: each attack once, beside the canary, with the command as these tests were built.

use std::path::Path;
use std::sync::OnceLock;

use tidemill_hostile::trial::Arena;
use tidemill_hostile::{attacks, table};

mod common;

fn arena() -> &'static Arena {
    static ARENA: OnceLock<Arena> = OnceLock::new();
    ARENA.get_or_init(|| common::arena(Path::new(env!("CARGO_TARGET_TMPDIR")), "hostile-cache"))
}

/// Tries all attacks of a group and says all that does not hold.
#[track_caller]
fn hold(group: &str) {
    let groups = attacks::groups();
    let (_, attacks) =
        groups.iter().find(|(name, _)| *name == group).expect("there is such a group");
    let failed: Vec<String> = attacks
        .iter()
        .filter_map(|attack| Some(format!("{}: {}", attack.name, arena().short(attack).err()?)))
        .collect();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), attacks.len(), failed.join("\n\n"));
}

/// One test for each group of attacks, so that they run beside each other.
macro_rules! groups {
    ($($fact:ident: $group:literal,)*) => {
        const TRIED: &[&str] = &[$($group),*];
        $(
            #[test]
            fn $fact() {
                hold($group);
            }
        )*
    };
}

groups! {
    attacks_on_processor_time_harm_nobody_else: "cpu",
    attacks_on_memory_harm_nobody_else: "memory",
    attacks_on_admission_harm_nobody_else: "admission",
    attacks_on_the_compiler_harm_nobody_else: "bombs",
    attacks_through_host_calls_harm_nobody_else: "host-calls",
    attacks_on_state_harm_nobody_else: "state",
    attacks_through_output_harm_nobody_else: "output",
    attacks_on_what_lies_around_a_sandbox_harm_nobody_else: "isolation",
    attacks_through_granted_directories_harm_nobody_else: "granted",
    attacks_on_how_keys_are_spread_harm_nobody_else: "keys",
    attacks_beyond_what_a_tenant_may_use_harm_nobody_else: "quotas",
    attacks_through_sources_and_sinks_harm_nobody_else: "connectors",
}

#[test]
fn every_group_of_attacks_is_tried() {
    let groups: Vec<&str> = attacks::groups().iter().map(|(name, _)| *name).collect();
    assert_eq!(groups, TRIED);
}

#[test]
fn a_thousand_sandboxes_that_die_leave_nothing_behind() {
    arena().soak(1000).unwrap_or_else(|problem| panic!("{problem}"));
}

#[test]
fn every_number_of_the_table_has_an_attack_or_a_reason_and_names_are_unique() {
    let attacks = attacks::all();
    for row in 1..=table::ROWS {
        let is_tried = attacks.iter().any(|attack| attack.rows.contains(&row));
        let is_left_out = table::LEFT_OUT.iter().any(|left| left.0 == row);
        assert!(is_tried != is_left_out, "number {row}: {is_tried}, {is_left_out}");
    }
    let mut names: Vec<&str> = attacks.iter().map(|attack| attack.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn the_page_of_the_table_is_that_of_the_catalogue() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/hostile.md");
    let written = std::fs::read_to_string(page).unwrap_or_default();
    let command = "cargo run -p tidemill-hostile -- --table > docs/hostile.md";
    assert!(written == table::page(), "make docs/hostile.md anew: {command}");
}
