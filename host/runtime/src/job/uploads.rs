//! Snapshot files in the making: from the segments that lanes encode to durable files and acks.
//!
//! Owns one thread of low priority for each incarnation, which sorts, compresses and writes, so that a lane
//! only hands segments over. Order for each file: created under its own name, which must be free -> written
//! -> synced -> directory synced -> the task's ack. An upload that is dropped leaves a file that no manifest
//! names; it is collected later. Merging a chain goes on in a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tidemill_core::checkpoint::coordinator::Fact;
use tidemill_core::checkpoint::ledger::{MergeTask, NodeRole};
use tidemill_core::checkpoint::manifest::SnapshotFile;
use tidemill_core::checkpoint::store::snapshot_name;
use tidemill_core::checkpoint::{
    AckContent, CheckpointListener, OperatorAck, SnapshotUpload, TaskAck, UploadTask,
};
use tidemill_core::connector::Wake;
use tidemill_core::disk::{Disk, DiskError};
use tidemill_core::ids::{CheckpointId, Incarnation, LaneId, NodeId};
use tidemill_core::snapshot::{Segment, SnapshotHeader, SnapshotWriter};

use super::failpoint::failpoint;
use super::lane_thread::LaneLine;
use super::supervisor::Event;

/// Bytes of segments that may wait for the thread before a lane stops encoding.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What all snapshot files of an incarnation have in common.
pub(super) struct SnapshotSeed {
    pub(super) identity: String,
    pub(super) incarnation: Incarnation,
    pub(super) hash_seed: u64,
    pub(super) key_groups: u32,
    pub(super) roles: Vec<NodeRole>,
}
