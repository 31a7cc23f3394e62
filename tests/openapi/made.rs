//! What the repository holds of the tables of parameters is what the code says.

use std::process::Command;

/// What `reverie parameters` prints.
fn made(what: &str) -> String {
    let printed = Command::new(env!("CARGO_BIN_EXE_reverie")).args(["parameters", what]).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap()
}

/// The lines of a file between two that begin so.
fn held<'a>(file: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = file.split_once(begin).unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once(end).unwrap().0
}

#[test]
fn the_readme_and_the_dictionary_have_every_parameter() {
    let root = env!("CARGO_MANIFEST_DIR");
    for (file, what, begin, end) in [
        ("README.md", "readme", "<!-- parameters: ", "<!-- end of parameters"),
        ("fuzz/dict/spec.dict", "dictionary", "# Begin: ", "# End."),
    ] {
        let text = std::fs::read_to_string(format!("{root}/{file}")).unwrap();
        assert_eq!(
            held(&text, begin, end).trim(),
            made(what).trim(),
            "{file} is out of date; run scripts/renew"
        );
    }
}

#[test]
fn every_option_is_in_the_help_with_its_range_and_default() {
    let help = Command::new(env!("CARGO_BIN_EXE_reverie")).args(["render", "--help"]).output().unwrap();
    // Long lines are broken.
    let help = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "--octaves <N>",
        "about 200 pixels (1 to 16, or auto) [default: auto; naive: 1; multiscale, lapnorm: 3; deepdream: 4; feature-visualization: 2]",
        "--preserve-colors[=<SHARE>]",
        "--look <NAME>",
        "--mask-feather <PIXELS>",
        "--no-jitter",
        "--channel <C>",
    ] {
        assert!(help.contains(expected), "{expected} is not in {help}");
    }
}
