use axum::response::Redirect;

/// Whoever opens the bare address wants to know what this is.
pub(crate) async fn to_documentation() -> Redirect {
    Redirect::temporary("/docs/")
}
