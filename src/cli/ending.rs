//! The end of the process. Destructors of libtorch would run under threads that may still be inside it (a second signal, or
//! a render that is left behind), and the process be killed by a signal instead of ending with its code.

use std::{ffi::c_int, io::Write};

#[allow(unsafe_code, reason = "declares a function of C that may be called at any time")]
unsafe extern "C" {
    safe fn _exit(code: c_int) -> !;
}

/// How the process ends, as shells see it. Unlike the standard library's, it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// What was asked for was done.
    pub const SUCCESS: Self = Self(0);
    /// It was not done, or what was checked is not in order.
    pub const FAILURE: Self = Self(1);
    /// The command line cannot be read, or asks for what does not go together.
    pub const USAGE: Self = Self(2);

    /// Ends the process with this code and without destructors.
    pub fn end(self) -> ! {
        // A closed output is no reason to end differently.
        let _ = std::io::stdout().flush();
        _exit(self.0.into())
    }
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}
