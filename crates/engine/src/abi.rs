//! Which libtorch runs, for functions that are looked up in it by name: a name does not tell the types.

use std::ops::RangeInclusive;

/// The versions of libtorch, major and minor, whose headers were compared with the types used here.
pub(super) const KNOWN_VERSIONS: RangeInclusive<[u8; 2]> = [2, 11]..=[2, 11];

/// `aoti_torch_abi_version`: the version of libtorch, a byte each for major, minor and patch from the highest byte on.
type AbiVersion = unsafe extern "C" fn() -> u64;

/// The version of the libtorch that runs, as `aoti_torch_abi_version` has it; none where it does not tell.
#[cfg(unix)]
pub(super) fn running() -> Option<u64> {
    let program = libloading::os::unix::Library::this();
    #[allow(unsafe_code, reason = "a function of libtorch that tch has not")]
    // SAFETY: the function has had this type in every version that has it; libtorch is linked to the program and never
    // unloaded.
    unsafe {
        program.get::<AbiVersion>(b"aoti_torch_abi_version\0").ok().map(|ask| ask())
    }
}

/// None: libraries are not looked into here.
#[cfg(not(unix))]
pub(super) fn running() -> Option<u64> {
    None
}

/// Whether a version is among [`KNOWN_VERSIONS`]; if not, which it is and which are, in words.
pub(super) fn check(version: Option<u64>) -> Result<(), String> {
    let [major, minor, patch, ..] = version.unwrap_or(0).to_be_bytes();
    if KNOWN_VERSIONS.contains(&[major, minor]) {
        return Ok(());
    }
    let found = version.map_or("unknown".into(), |_| format!("{major}.{minor}.{patch}"));
    let [low, high] =
        [KNOWN_VERSIONS.start(), KNOWN_VERSIONS.end()].map(|[major, minor]| format!("{major}.{minor}"));
    Err(format!("libtorch {found} runs; known are {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_runs_is_known_and_others_are_not() {
        assert_eq!(check(running()), Ok(()));
        for (version, words) in [(0x0209_0100_0000_0000, "libtorch 2.9.1"), (0x020c_0000_0000_0000, "2.12.0")]
        {
            assert!(check(Some(version)).unwrap_err().contains(words));
        }
        assert!(check(None).unwrap_err().contains("unknown"));
    }
}
