//! Artefacts that are used again, and components with optional exports.

use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::artefact::ArtefactStore;
use crate::engine::EngineSettings;

#[derive(Default)]
struct Shelf(Mutex<HashMap<String, Vec<u8>>>);

impl ArtefactStore for Shelf {
    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn save(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }
}

#[test]
fn an_artefact_is_used_again_unless_a_single_bit_of_it_changed() {
    let shelf = Arc::new(Shelf::default());
    let store = shelf.clone() as Arc<dyn ArtefactStore>;
    let sandboxes = Sandboxes::new(&EngineSettings::default(), Some(store)).unwrap();
    let component = wat::parse_str("(component (core module (func)))").unwrap();
    let was_cached = || sandboxes.compile(&component).unwrap().1;
    assert!(!was_cached() && was_cached());
    let size = shelf.0.lock().unwrap().values().next().unwrap().len();
    for at in [0, 31, 32, size / 2, size - 1] {
        shelf.0.lock().unwrap().values_mut().for_each(|bytes| bytes[at] ^= 1);
        assert!(!was_cached(), "byte {at} changed");
        assert!(was_cached());
    }
    shelf.0.lock().unwrap().values_mut().for_each(|bytes| bytes.truncate(20));
    assert!(!was_cached());
    let other = wat::parse_str("(component)").unwrap();
    assert!(!sandboxes.compile(&other).unwrap().1);
}
