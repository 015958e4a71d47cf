//! What the host checks of columns before it looks into them.
//!
//! A breach is a trap, which no operator that uses the SDK can cause: hence a panic.

use std::panic;

use crate::bindings::tidemill::operator::types::{BytesColumn, OptionalColumn};
use crate::column::{is_present, item, items};
use crate::limits::HOST_CALL_BYTES_MAX;

/// Thrown where the host would end the call because it is too large as a whole.
#[derive(Debug)]
pub(super) struct LimitHit(pub(super) String);

/// Ends the call without a message on the console: the harness then tries a smaller batch.
pub(super) fn limit_hit(what: impl Into<String>) -> ! {
    panic::resume_unwind(Box::new(LimitHit(what.into())))
}

/// The items of a column, which must be `len` where that is known.
pub(super) fn checked_items(
    column: &BytesColumn,
    width: Option<u32>,
    len: Option<usize>,
) -> Vec<Vec<u8>> {
    if column.data.len() + 4 * column.ends.len() > HOST_CALL_BYTES_MAX {
        limit_hit("more than 16 MiB in one host call");
    }
    match width {
        Some(width) => {
            assert!(column.ends.is_empty(), "trap: ends in a column of fixed width");
            assert_eq!(column.data.len() % width as usize, 0, "trap: half an item in a column");
        }
        None => {
            assert!(column.ends.is_sorted(), "trap: ends of a column decrease");
            let last = column.ends.last().map_or(0, |&end| end as usize);
            assert_eq!(last, column.data.len(), "trap: a column does not end where its data do");
        }
    }
    let found = items(column, width);
    assert_eq!(found, len.unwrap_or(found), "trap: a column of another length");
    (0..found).map(|index| item(column, width, index).to_vec()).collect()
}

/// The items of a column in which some may be absent.
pub(super) fn checked_optional(
    column: &OptionalColumn,
    width: Option<u32>,
    len: usize,
) -> Vec<Option<Vec<u8>>> {
    let items = checked_items(&column.values, width, Some(len));
    assert_eq!(column.present.len(), len.div_ceil(8), "trap: bits of another length");
    let items = items.into_iter().enumerate();
    items
        .map(|(index, item)| {
            let present = is_present(&column.present, index);
            assert!(present || width.is_some() || item.is_empty(), "trap: bytes of an absent item");
            present.then_some(item)
        })
        .collect()
}
