//! Compiled artefacts kept between runs, under a keyed digest.
//!
//! An artefact is machine code: loading a forged one would be game over. So each carries a digest keyed
//! with a secret of this installation, over the artefact and the name that it is kept under; one that
//! does not verify is compiled anew. The name is a keyed digest of the file, of the limits that it was admitted
//! under, and of everything in the engine that the code depends on. What was just compiled and what was kept
//! become runnable in the same function.

use std::hash::{Hash, Hasher};

use tidemill_core::limits::AdmissionLimits;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::compiler::Compiled;

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

/// Which kind of artefact this is: part of each name, so that older ones are passed over.
const FORMAT: &[u8] = b"tidemill artefact 2";

/// The name of the artefact of a file on this engine, admitted under these limits.
pub(crate) fn name(
    store: &dyn ArtefactStore,
    engine: &Engine,
    limits: &AdmissionLimits,
    file: &[u8],
) -> Option<String> {
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
    digest.0.update(FORMAT);
    engine.precompile_compatibility_hash().hash(&mut digest);
    let limits = rmp_serde::to_vec(limits).ok()?;
    digest.0.update(&(limits.len() as u64).to_le_bytes()).update(&limits).update(file);
    Some(format!("{}.artefact", digest.0.finalize().to_hex()))
}

/// What was kept under `name`, if there is something that verifies.
pub(crate) fn load(store: &dyn ArtefactStore, name: &str) -> Option<Compiled> {
    let bytes = store.load(name)?;
    let (digest, artefact) = bytes.split_at_checked(DIGEST_BYTES)?;
    let digest = <[u8; DIGEST_BYTES]>::try_from(digest).ok()?;
    // Constant-time: `blake3::Hash` compares so.
    if keyed_digest(store, name, artefact) != blake3::Hash::from_bytes(digest) {
        tracing::warn!(name, "A compiled artefact does not verify; compiling anew.");
        return None;
    }
    rmp_serde::from_slice(artefact).ok()
}

/// Keeps a compiled component under `name`.
pub(crate) fn save(store: &dyn ArtefactStore, name: &str, compiled: &Compiled) {
    let Ok(artefact) = rmp_serde::to_vec(compiled) else { return };
    let mut bytes = Vec::with_capacity(DIGEST_BYTES + artefact.len());
    bytes.extend_from_slice(keyed_digest(store, name, &artefact).as_bytes());
    bytes.extend_from_slice(&artefact);
    store.save(name, &bytes);
}

/// Makes machine code runnable.
///
/// # Errors
/// When it was compiled for another engine, or asks for more than the pool gives to one component.
pub(crate) fn link_in(engine: &Engine, compiled: &Compiled) -> wasmtime::Result<Component> {
    #[expect(unsafe_code, reason = "loading our own compiled artefacts needs it")]
    // SAFETY: a `Compiled` comes from our own compiler, in this process or in a child that runs the same
    // binary, or was one when `save` of this installation kept it, which the keyed digest shows. So these bytes
    // are what `precompile_component` gave.
    unsafe {
        Component::deserialize(engine, &compiled.code)
    }
}

fn keyed_digest(store: &dyn ArtefactStore, name: &str, artefact: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&store.secret());
    hasher.update(name.as_bytes()).update(artefact);
    hasher.finalize()
}
