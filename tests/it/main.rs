//! Real jobs in real sandboxes by the real binary, as a user would run them.
