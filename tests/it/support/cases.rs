//! How much of a fault matrix is played.

/// All cases with `scripts/test --full` (it sets `NARTHEX_TEST_FULL`), otherwise the first, the middle and the last.
pub fn played<T: Copy>(all: &[T]) -> Vec<T> {
    match std::env::var_os("NARTHEX_TEST_FULL") {
        None if all.len() > 3 => vec![all[0], all[all.len() / 2], all[all.len() - 1]],
        _ => all.to_vec(),
    }
}
