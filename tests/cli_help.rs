//! What the command line says about itself: the help in sections, completions of shells, and manual pages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/scratch.rs"]
mod scratch;

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use scratch::{Scratch, reverie};

/// What the program prints; it must succeed and say nothing on stderr.
fn printed(arguments: &[&str]) -> String {
    let run = reverie(arguments);
    assert!(run.status.success() && run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn the_short_help_fits_on_a_screen_and_the_long_one_has_all() {
    let (short, long) = (printed(&["render", "-h"]), printed(&["render", "--help"]));
    assert!(short.lines().count() <= 40, "{} lines:\n{short}", short.lines().count());
    assert!(short.lines().all(|line| line.chars().count() <= 100), "{short}");
    let headings = |help: &str| {
        let lines = help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' '));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let sections = [
        "Arguments:",
        "Input and output:",
        "Look and model:",
        "What to dream:",
        "How it is dreamed:",
        "Size:",
        "Motion:",
        "Result:",
        "Machine and messages:",
    ];
    // An option without a section would stand under "Options". The size of a photo is seldom a matter of the first look.
    assert_eq!(headings(&long)[..sections.len()], sections);
    assert_eq!(
        headings(&short),
        sections.map(str::to_owned).into_iter().filter(|section| section != "Size:").collect::<Vec<_>>()
    );
    for (text, is_short) in [("--look <NAME>", true), ("--laplacian-levels <N>", false), ("--kernels", false)]
    {
        assert_eq!(short.contains(text), is_short, "{text}");
    }
    for text in
        ["--laplacian-levels <N>", "(1 to 12) [default: 4]", "Examples:\n  reverie render", "Exit codes:"]
    {
        assert!(long.contains(text), "{text}");
    }
    assert!(!long.contains("--kernels"));
}

/// Whether a program is there; says that what needs it is skipped where not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        // Past the test harness, which swallows what passing tests print.
        let _ = std::io::stderr().write_all(format!("skipped: there is no {program}\n").as_bytes());
    }
    found
}

#[test]
fn shells_complete_commands_options_and_values() {
    for (shell, expected) in [
        ("bash", "complete -F _reverie"),
        ("zsh", "#compdef reverie"),
        ("fish", "complete -c reverie"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[reverie]"),
    ] {
        let script = printed(&["completions", shell]);
        assert!(script.contains(expected) && script.contains("laplacian-levels"), "{shell}");
    }
    assert_eq!(reverie(&["completions", "tcsh"]).status.code(), Some(2));
    if !has("bash") {
        assert!(std::env::var_os("CI").is_none(), "there is no bash, and CI skips nothing");
        return;
    }
    let scratch = Scratch::new();
    fs::write(scratch.path("complete.bash"), printed(&["completions", "bash"])).unwrap();
    // What bash does when the key is pressed: the words of the line, which of them, and the function of the command.
    let complete = |words: &[&str]| {
        let script = "set -u; source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
            _reverie \"$1\" \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "bash", &scratch.text("complete.bash")]).args(words);
        let run = bash.output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(Command::new("bash").arg("-n").arg(scratch.path("complete.bash")).status().unwrap().success());
    assert_eq!(complete(&["reverie", "compl"]), ["completions"]);
    assert_eq!(complete(&["reverie", "render", "--oct"]), ["--octaves", "--octave-scale", "--octave-mode"]);
    assert_eq!(
        complete(&["reverie", "render", "photo.jpg", "--preset", "deepdream-"]),
        ["deepdream-lapnorm"]
    );
    assert_eq!(complete(&["reverie", "models", "cert"]), ["certify"]);
    assert_eq!(complete(&["reverie", "param"]), [""; 1], "a hidden command was offered");
}

#[test]
fn manual_pages_are_written_and_readable() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH reverie 1") && page.contains("reverie\\-render(1)"), "{page}");
    let scratch = Scratch::new();
    let run = reverie(&["man", &scratch.text("man1")]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let page = |name: &str| fs::read_to_string(scratch.path("man1").join(name)).unwrap();
    assert!(page("reverie-render.1").contains("laplacian\\-levels"));
    assert!(page("reverie-models-certify.1").contains(".TH"));
    assert!(!scratch.path("man1/reverie-parameters.1").exists(), "a hidden command has a page");
    fs::write(scratch.path("file"), "").unwrap();
    let refused = reverie(&["man", &scratch.text("file")]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("file: "));
    let files = fs::read_dir(scratch.path("man1")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.collect();
    assert!(files.len() > 20, "{files:?}");
    for file in &files {
        check_page(&fs::read_to_string(file).unwrap(), &file.display().to_string());
    }
    // What is in a page, groff knows best; the pages are checked where it is not, too.
    if !has("groff") {
        return;
    }
    let warned = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).args(&files).output().unwrap();
    let warnings = String::from_utf8_lossy(&warned.stderr).into_owned();
    assert!(warned.status.success() && warnings.is_empty(), "{warnings}");
}

/// Checks what makes `man` swallow words: a line of text that begins as a request does, a backslash that is none of ours; and
/// that what is indented ends.
fn check_page(page: &str, name: &str) {
    const REQUESTS: [&str; 10] = ["TH", "SH", "TP", "IP", "PP", "RS", "RE", "br", "ie", "el"];
    const ESCAPES: [&str; 8] = ["-", "(aq", "(bu", "*(Aq", "n(.g", "fB", "fI", "fR"];
    let mut depth = 0;
    for line in page.lines() {
        if let Some(request) = line.strip_prefix(['.', '\'']) {
            let request = request.split_whitespace().next().unwrap_or_default();
            assert!(REQUESTS.contains(&request), "{name}: {line}");
            depth += i32::from(request == "RS") - i32::from(request == "RE");
            assert!(depth >= 0, "{name}: {line}");
        }
        for after in line.split('\\').skip(1) {
            assert!(ESCAPES.iter().any(|escape| after.starts_with(escape)), "{name}: {line}");
        }
    }
    assert_eq!(depth, 0, "{name}");
    let sections = [".TH reverie", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"];
    let mut lines = page.lines();
    for section in sections {
        assert!(lines.any(|line| line.starts_with(section)), "{name}: no {section}");
    }
}
