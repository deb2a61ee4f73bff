//! `narthex openapi`: the document that the gateway serves at `/openapi.json`.

use std::process::ExitCode;

use super::CommandError;
use crate::http::openapi_document;

pub(super) fn run() -> Result<ExitCode, CommandError> {
    let document = openapi_document().map_err(|e| CommandError::Other(e.to_string()))?;
    say!("{document}");
    Ok(ExitCode::SUCCESS)
}
