//! The built program as a process of its own, which can be killed.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::client::{Client, DEADLINE};

/// A running `reverie serve`; killed when dropped.
pub struct ServerProcess {
    pub client: Client,
    /// Of the listener for health and metrics.
    pub admin: Client,
    child: Child,
}

impl ServerProcess {
    /// Starts a server on a free port and waits until it says that it listens.
    pub async fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::of(Self::command(folder, settings)).await
    }

    /// Starts what [`ServerProcess::command`] made.
    pub async fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut client = async |prefix: &str| {
            let line = timeout(DEADLINE, lines.next_line()).await.expect("the server does not start");
            let line = line.unwrap().expect("the server ended at once");
            Client::new(line.strip_prefix(prefix).expect("the lines say where it listens").to_owned())
        };
        let (client, admin) = (client("listening on ").await, client("admin listening on ").await);
        Self { client, admin, child }
    }

    /// The command that starts a server.
    pub fn command(folder: &Path, settings: &[(&str, &str)]) -> Command {
        let mut command = reverie(folder, settings);
        command.arg("serve");
        command
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the server is running")
    }

    /// Kills the process as a power cut would: it gets no chance to tidy up.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks the process to stop, as a service manager does.
    pub fn terminate(&self) {
        let id = self.id().to_string();
        let status = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the process to end; whether it ended well.
    pub async fn ended(mut self) -> bool {
        timeout(DEADLINE, self.child.wait()).await.expect("the server does not end").unwrap().success()
    }
}

/// A running `reverie worker`; killed when dropped.
pub struct WorkerProcess {
    /// Of its only listener.
    pub admin: Client,
    pub child: Child,
}

impl WorkerProcess {
    /// Starts a worker and waits until it is ready.
    pub async fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = reverie(folder, settings);
        let mut child = command.arg("worker").spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(DEADLINE, lines.next_line()).await.expect("the worker does not start");
        let line = line.unwrap().expect("the worker ended at once");
        let url = line.strip_prefix("admin listening on ").expect("the line says where it listens");
        Self { admin: Client::new(url.to_owned()), child }
    }
}

/// The program with the settings of a test, to be given a command.
pub fn reverie(folder: &Path, settings: &[(&str, &str)]) -> Command {
    reverie_at(Path::new(env!("CARGO_BIN_EXE_reverie")), folder, settings)
}

/// What a run of the program that must end by itself leaves: exit code, standard output and error.
pub async fn ended(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = reverie(folder, settings);
    command.args(arguments).stderr(Stdio::piped());
    let output = timeout(DEADLINE, command.output()).await.expect("it does not end").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// As [`reverie`], for a program of another version.
pub fn reverie_at(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .env("REVERIE__SERVER__LISTEN", "127.0.0.1:0")
        .env("REVERIE__SERVER__ADMIN_LISTEN", "127.0.0.1:0")
        .env("REVERIE__STORAGE__DIR", folder)
        .env("REVERIE__MODELS__DIR", super::models_dir())
        .env("REVERIE__WORKER__DEVICE", "cpu")
        .env("REVERIE__WORKER__THREADS", "1")
        .env("REVERIE__LOG__FILTER", "warn")
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}
