//! 6. Delivering.
