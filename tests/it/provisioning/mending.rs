//! mending
