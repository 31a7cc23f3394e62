//! `reverie openapi`: prints the OpenAPI document, from which clients are generated.

use std::io::{Write, stdout};

use super::{ExitCode, Failure};
use crate::http::contract;

/// Prints the document.
pub(super) fn run() -> Result<ExitCode, Failure> {
    stdout().write_all(contract::yaml()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
