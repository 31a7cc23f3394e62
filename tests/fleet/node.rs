//! One process of the fleet: a test can kill, pause and restart it, and read its log.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::common::{
    client::{Client, DEADLINE},
    process::{reverie, reverie_at},
};

/// How a process is started: always in the same way.
#[derive(Clone)]
pub struct Recipe {
    pub arguments: Vec<&'static str>,
    /// The program of another version; none for this one's.
    pub program: Option<PathBuf>,
    pub settings: Vec<(String, String)>,
}

/// A process, killed when dropped.
pub struct Node {
    recipe: Recipe,
    folder: PathBuf,
    /// Where it writes to; new with every start.
    log: PathBuf,
    starts: u32,
    child: Child,
    /// Of its listener for health and metrics.
    pub admin: Client,
}

impl Node {
    /// Starts a process and waits until it is ready. Its logs lie in `folder`.
    pub async fn start(folder: &Path, name: &str, recipe: Recipe) -> Self {
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        let log = folder.join("1");
        let (child, admin) = begin(&folder, &log, &recipe).await;
        Self { recipe, folder, log, starts: 1, child, admin }
    }

    /// Starts it again after its end.
    pub async fn again(&mut self) {
        self.starts += 1;
        self.log = self.folder.join(self.starts.to_string());
        (self.child, self.admin) = begin(&self.folder, &self.log, &self.recipe).await;
    }

    /// Ends it as a service manager does, and starts it as another version.
    pub async fn become_version(&mut self, program: Option<&Path>) {
        self.signal("TERM");
        assert!(self.ended().await.success());
        self.recipe.program = program.map(Path::to_owned);
        self.again().await;
    }

    /// Kills it as a power cut would.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("it is running").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for it to end.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.expect("it does not end").unwrap()
    }

    /// What it has logged since its start.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// How often something stands in its log.
    pub fn logged(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }
}

async fn begin(folder: &Path, log: &Path, recipe: &Recipe) -> (Child, Client) {
    let settings: Vec<(&str, &str)> =
        recipe.settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut command: Command = match &recipe.program {
        Some(program) => reverie_at(program, folder, &settings),
        None => reverie(folder, &settings),
    };
    command.args(&recipe.arguments).stderr(File::create(log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let admin = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(url) = line.strip_prefix("admin listening on ") {
                return url.to_owned();
            }
        }
        panic!("it ended at once: {}", fs::read_to_string(log).unwrap());
    };
    let admin = timeout(DEADLINE, admin).await.expect("it does not start");
    (child, Client::new(admin))
}
