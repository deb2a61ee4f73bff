//! spares
