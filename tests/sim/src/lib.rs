//! A seeded simulator of the pure core: a job with checkpoints, crashes and recovery, in virtual time.
//!
//! Lanes, state, coordinator, ledger, manifests, snapshot files, transactions, the input log and recovery are the
//! product's own. Around them everything is scripted: sources that can be read again, clients and a pipe behind the
//! log, operators whose results do not depend on order, a disk that forgets. One seeded generator decides everything that the world could: which
//! actor goes next, how late a message is, when the machine goes off and what survives. A seed reproduces a
//! run byte by byte.
//!
//! Where the product's driver (which thread does what in which order) is outside of the core, it is followed
//! here in the same order: [`world`] starts, [`supervise`] performs actions, [`keeper`], [`uploads`] and [`log`]
//! have their turns.
//! A change of the driver changes these too.

pub mod basis;
pub mod chance;
pub mod directed;
pub mod disk;
pub mod dump;
pub mod env;
pub mod gate;
pub mod history;
pub mod incarnation;
pub mod keeper;
pub mod log;
pub mod mail;
pub mod model;
pub mod operator;
pub mod oracle;
pub mod outside;
pub mod plan;
pub mod receiver;
pub mod rng;
pub mod seeds;
pub mod sink;
pub mod source;
pub mod supervise;
pub mod trouble;
pub mod truth;
pub mod turn;
pub mod uploads;
pub mod world;
