//! Recovery by itself, where a crash must come at one place.

use tidemill_sim::directed::{manifest_that_was_found_is_kept, torn_group_is_cut};

#[test]
fn a_manifest_that_a_start_has_found_is_not_lost_with_the_power() {
    assert!(manifest_that_was_found_is_kept());
}

#[test]
fn a_group_that_was_torn_with_its_zeros_is_cut_and_not_taken_for_damage() {
    assert!(torn_group_is_cut());
}
