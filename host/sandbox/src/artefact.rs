//! Compiled artefacts kept between runs, under a keyed digest.
//!
//! An artefact is machine code: loading a forged one would be game over. So each carries a digest keyed
//! with a secret of this installation, over the artefact and the name that it is kept under; one that
//! does not verify is compiled anew. The name is a keyed digest of the component and of everything in
//! the engine that the code depends on.

use std::hash::{Hash, Hasher};

use wasmtime::Engine;
use wasmtime::component::Component;

/// Where artefacts are kept. Losing or refusing one only costs time.
pub trait ArtefactStore: Send + Sync {
    /// A secret of this installation, the same in every run.
    fn secret(&self) -> [u8; 32];
    /// The bytes saved under `name`, if any.
    fn load(&self, name: &str) -> Option<Vec<u8>>;
    /// Keeps bytes under `name`.
    fn save(&self, name: &str, bytes: &[u8]);
}

const DIGEST_BYTES: usize = blake3::OUT_LEN;

/// The name of the artefact of a component on this engine.
pub(crate) fn name(store: &dyn ArtefactStore, engine: &Engine, component: &[u8]) -> String {
    struct Digest(blake3::Hasher);
    impl Hasher for Digest {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut digest = Digest(blake3::Hasher::new_keyed(&store.secret()));
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.0.update(component);
    format!("{}.artefact", digest.0.finalize().to_hex())
}

/// Loads the artefact kept under `name`, if there is one that verifies.
pub(crate) fn load(store: &dyn ArtefactStore, engine: &Engine, name: &str) -> Option<Component> {
    let bytes = store.load(name)?;
    let (digest, artefact) = bytes.split_at_checked(DIGEST_BYTES)?;
    let digest = <[u8; DIGEST_BYTES]>::try_from(digest).ok()?;
    // Constant-time: `blake3::Hash` compares so.
    if keyed_digest(store, name, artefact) != blake3::Hash::from_bytes(digest) {
        tracing::warn!(name, "A compiled artefact does not verify; compiling anew.");
        return None;
    }
    #[expect(unsafe_code, reason = "loading our own compiled artefacts needs it")]
    // SAFETY: the keyed digest shows that these bytes were written by `save` of this installation, for
    // this name, which covers the engine's settings and version: they are what `serialize` gave.
    let loaded = unsafe { Component::deserialize(engine, artefact) };
    loaded.ok()
}

/// Keeps the artefact of a compiled component under `name`.
pub(crate) fn save(store: &dyn ArtefactStore, name: &str, component: &Component) {
    let Ok(artefact) = component.serialize() else { return };
    let mut bytes = Vec::with_capacity(DIGEST_BYTES + artefact.len());
    bytes.extend_from_slice(keyed_digest(store, name, &artefact).as_bytes());
    bytes.extend_from_slice(&artefact);
    store.save(name, &bytes);
}

fn keyed_digest(store: &dyn ArtefactStore, name: &str, artefact: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&store.secret());
    hasher.update(name.as_bytes()).update(artefact);
    hasher.finalize()
}
