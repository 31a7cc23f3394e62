//! Programs that tests start: finding them, waiting for them, ending them. `scripts/test-servers` finds or fetches them.

use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use tokio::time::{interval, timeout};

use super::client::DEADLINE;

/// Where `scripts/test-servers` puts what the system lacks.
pub fn fetched() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-servers")
}

/// Where a program is: in the folder that `$REVERIE_<NAME>_BIN` names, in Debian's, on the `PATH` or among the fetched ones.
/// `None` (and a line that names `test`) where it is missing.
///
/// # Panics
/// Where it is missing and `CI` is set.
pub fn program(test: &str, name: &str) -> Option<PathBuf> {
    let chosen = std::env::var_os(format!("REVERIE_{}_BIN", name.to_uppercase())).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let folders = chosen.into_iter().chain(debian).chain(std::env::split_paths(&path));
    let mut folders = folders.chain([fetched().join("bin")]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    if found.is_none() {
        skip(test, &format!("there is no {name} (scripts/test-servers fetches it)"));
    }
    found
}

/// Says that a test is skipped, and why.
///
/// # Panics
/// Where `CI` is set: there nothing may be skipped.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
    // Past the test harness, which swallows what passing tests print.
    let _ = std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes());
}

/// Whether these tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Waits until `url` is answered with success.
///
/// # Panics
/// Where the program ends instead.
pub async fn until_it_answers(child: &mut Child, url: &str) {
    let http = reqwest::Client::new();
    let waiting = async {
        let mut looks = interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            if http.get(url).send().await.is_ok_and(|response| response.status().is_success()) {
                return;
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the program for {url} has ended: {ended:?}");
        }
    };
    timeout(DEADLINE, waiting).await.expect("it does not answer");
}

/// Ends a program as a service manager does, so that it ends its own processes too.
pub fn end(child: &mut Child) {
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let _ = child.wait();
}
