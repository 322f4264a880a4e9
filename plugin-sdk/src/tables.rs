//! The carrier's look-up tables, as they stood when the event's chain began.

/// The value for a key. `None` when there is no such table or no such key.
pub fn get(table: &str, key: &str) -> Option<String> {
    crate::imports::table(table, key)
}
