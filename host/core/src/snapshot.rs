//! STUB
/// STUB
pub struct Segment;
