mod entry;
pub use entry::{ChunkBytes, ENTRY_BYTES_MAX, Item, put_chunk, put_entry};
/// Encoded entries of one state in one key group, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The key group.
    pub group: u16,
    /// The state, by its id.
    pub state: u16,
    /// Entries in `bytes`.
    pub entries: u32,
    /// The entries, one after the other.
    pub bytes: Vec<u8>,
}
