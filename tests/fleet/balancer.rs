//! nginx with `deploy/nginx/nginx.conf`, as an ordinary user. Only the list of servers and the port are the tests' own.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU16, Ordering},
};

use tempfile::TempDir;

use crate::{common::client::Client, until};

/// Who runs nginx where the tests run as root: "nobody", by number.
const NOBODY: u32 = 65534;

/// A running nginx; ended when dropped.
pub struct Balancer {
    pub client: Client,
    folder: TempDir,
    child: Child,
}

/// Where nginx is; `None` (and a line that names `test`) where it is missing.
///
/// # Panics
/// Where it is missing and `CI` is set: there nothing may be skipped.
pub fn nginx(test: &str) -> Option<PathBuf> {
    let chosen = std::env::var_os("REVERIE_NGINX_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = chosen.into_iter().chain([PathBuf::from("/usr/sbin")]).chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join("nginx")).find(|file| file.is_file());
    if found.is_none() {
        let why = "there is no nginx (scripts/test-servers installs it)";
        assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
        // Past the test harness, which swallows what passing tests print.
        let _ = std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes());
    }
    found
}

/// A port that is free and stays so: below those that the system gives to whoever takes any.
pub fn quiet_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 15_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Balancer {
    /// Starts nginx in front of these ports.
    pub async fn start(nginx: &Path, ports: &[u16]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), quiet_port());
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx/nginx.conf");
        let at = |name: &str| folder.path().join(name);
        fs::copy(shipped, at("nginx.conf")).unwrap();
        let servers = ports.iter().map(|port| format!("server 127.0.0.1:{port} max_fails=0;\n"));
        fs::write(at("servers.conf"), servers.collect::<String>()).unwrap();
        fs::write(at("listen.conf"), format!("listen 127.0.0.1:{port};\n")).unwrap();
        let mut command = Command::new(nginx);
        command.arg("-p").arg(folder.path()).arg("-c").arg(at("nginx.conf"));
        command.stdout(File::create(at("access")).unwrap()).stderr(File::create(at("errors")).unwrap());
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            for entry in fs::read_dir(folder.path()).unwrap() {
                chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().unwrap();
        let client = Client::new(format!("http://127.0.0.1:{port}"));
        let healthy = client.http.get(format!("{}/balancer/healthz", client.url));
        until("nginx answers", async || {
            let asked = healthy.try_clone().unwrap().send().await;
            asked.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Self { client, folder, child }
    }

    /// The lines of its access log that tell of a request to the server at this port.
    pub fn requests_to(&self, port: u16) -> usize {
        let log = fs::read_to_string(self.folder.path().join("access")).unwrap();
        log.lines().filter(|line| line.contains(&format!("127.0.0.1:{port}"))).count()
    }

    /// The end of its access log and its messages, for whoever looks at a failure.
    pub fn story(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let access = read("access");
        let last: Vec<&str> = access.lines().rev().take(5).collect();
        format!("{}\n{}", last.join("\n"), read("errors"))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // As a service manager does, so that it ends its own processes too.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
