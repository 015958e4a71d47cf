//! Recovery by itself, where a crash must come at one place.

use tidemill_sim::directed::manifest_that_was_found_is_kept;

#[test]
fn a_manifest_that_a_start_has_found_is_not_lost_with_the_power() {
    assert!(manifest_that_was_found_is_kept());
}
