//! nginx with `deploy/nginx/nginx.conf`, as an ordinary user, in front of real servers. Only the list of servers and
//! the port are the tests' own.

use std::{
    fs::{self, File},
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{interval, timeout};

use super::{
    client::{Client, DEADLINE},
    ports::ReservedPort,
    programs::{end, is_root, until_it_answers},
};

/// Who runs nginx where the tests run as root: "nobody", by number.
const NOBODY: u32 = 65534;

/// A running nginx; ended when dropped.
pub struct Balancer {
    pub client: Client,
    folder: TempDir,
    child: Child,
    _port: ReservedPort,
}

impl Balancer {
    /// Starts the program `nginx` in front of the servers at these addresses, `host:port` each.
    pub async fn start(nginx: &Path, servers: &[impl AsRef<str>]) -> Self {
        Self::start_on(&std::env::temp_dir(), nginx, servers).await
    }

    /// As [`Self::start`], with its folder on this disk.
    pub async fn start_on(disk: &Path, nginx: &Path, servers: &[impl AsRef<str>]) -> Self {
        let (folder, port) = (tempfile::tempdir_in(disk).unwrap(), ReservedPort::new());
        let mut child = spawn(nginx, &folder, port.number(), servers);
        until_it_answers(&mut child, &format!("{}/balancer/healthz", port.url())).await;
        Self { client: Client::new(port.url()), folder, child, _port: port }
    }

    /// Its access log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("access")).unwrap()
    }

    /// Waits until the access log is as wanted; a line is written a moment after the answer.
    pub async fn until_logged(&self, wanted: impl Fn(&str) -> bool) {
        let waiting = async {
            let mut looks = interval(Duration::from_millis(20));
            while !wanted(&self.log()) {
                looks.tick().await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("the log never says so");
    }

    /// The lines of its access log that tell of a request to the server at this port.
    pub fn requests_to(&self, port: u16) -> usize {
        self.log().lines().filter(|line| line.contains(&format!("127.0.0.1:{port}"))).count()
    }

    /// The end of its access log and its messages, for whoever looks at a failure.
    pub fn story(&self) -> String {
        let access = self.log();
        let last: Vec<&str> = access.lines().rev().take(5).collect();
        let errors = fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default();
        format!("{}\n{errors}", last.join("\n"))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(nginx: &Path, folder: &TempDir, port: u16, servers: &[impl AsRef<str>]) -> Child {
    let at = |name: &str| folder.path().join(name);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx/nginx.conf");
    fs::copy(shipped, at("nginx.conf")).unwrap();
    // As the documentation has it: a server that refuses is asked again all the same.
    let servers = servers.iter().map(|address| format!("server {} max_fails=0;\n", address.as_ref()));
    fs::write(at("servers.conf"), servers.collect::<String>()).unwrap();
    fs::write(at("listen.conf"), format!("listen 127.0.0.1:{port};\n")).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(folder.path()).arg("-c").arg(at("nginx.conf"));
    // Its messages are for whoever looks at a failure.
    command.stdout(File::create(at("access")).unwrap()).stderr(File::create(at("errors")).unwrap());
    if is_root() {
        for entry in fs::read_dir(folder.path()).unwrap() {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    command.spawn().unwrap()
}
