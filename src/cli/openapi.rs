//! `reverie openapi`: prints the contract, from which clients are generated.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use super::Failure;
use crate::http::contract;

/// Prints it.
pub(super) fn run() -> Result<ExitCode, Failure> {
    stdout().write_all(contract::yaml()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
