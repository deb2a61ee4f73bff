//! Which tokens are accepted, and the keys that sign them.

mod clerk;
mod forgeries;
mod keys;
