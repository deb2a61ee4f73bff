use axum::response::Redirect;

/// The root path leads to the documentation.
pub(crate) async fn to_documentation() -> Redirect {
    Redirect::temporary("/docs/")
}
