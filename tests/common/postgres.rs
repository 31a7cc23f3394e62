//! A PostgreSQL server of the tests' own: a throw-away cluster on a socket in a temporary folder, one per test
//! process, with a database for whoever asks.
//!
//! The programs come from `$REVERIE_POSTGRES_BIN`, from where Debian puts them, from the `PATH`, or from where
//! `scripts/test-servers` puts what it fetches. The server runs as another user where the tests run as root, which
//! PostgreSQL refuses to. It ends with the test process, however that ends: a shell holds it, and ends it when its own
//! standard input, whose other end is here, is closed.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may fail loudly"
)]

use std::{
    fs,
    io::Write,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use reverie::config::PostgresUrl;
use sqlx::{Connection, Executor, PgConnection};

/// Nothing here takes this long, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Starts the server, stops and starts it when told to, and ends it and its folder with our end of the pipe. What
/// comes behind the two folders are settings of the server.
const KEEP: &str = r#"
bin=$0 folder=$1
shift
begin() {
    "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c max_connections=300 \
        -c log_min_messages=fatal -c logging_collector=off "$@" >>"$folder/log" 2>&1 &
    server=$!
}
end() {
    kill "-$1" "$server"
    wait "$server"
}
begin "$@"
while read -r word; do
    case $word in
        stop) end INT ;;
        start) begin "$@" ;;
    esac
done
end QUIT
rm -rf "$folder"
"#;

/// For tests, which lose nothing with a power cut.
const HASTY: [&str; 4] = ["-c", "fsync=off", "-c", "shared_buffers=64MB"];

/// A running server.
pub struct Cluster {
    folder: PathBuf,
    bin: PathBuf,
    /// The shell; its standard input is closed when this process ends.
    keeper: Mutex<Child>,
    databases: AtomicU32,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();

/// The server of this process; `None` (and a line that names `test`) where there are no programs for one.
///
/// # Panics
/// Where there are none and `CI` is set: there nothing may be skipped.
pub fn cluster(test: &str) -> Option<&'static Cluster> {
    let cluster = CLUSTER.get_or_init(|| Cluster::with(&HASTY));
    if cluster.is_none() {
        let why = "no PostgreSQL server programs (scripts/test-servers fetches them)";
        assert!(std::env::var_os("CI").is_none(), "{test}: {why}");
        // Past the test harness, which swallows what passing tests print.
        let _ = std::io::stderr().write_all(format!("skipped: {test}: {why}\n").as_bytes());
    }
    cluster.as_ref()
}

/// The folder with `initdb` and `postgres`.
fn binaries() -> Option<PathBuf> {
    let chosen = std::env::var_os("REVERIE_POSTGRES_BIN").map(PathBuf::from);
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    // The newest first.
    debian.sort_by(|one, other| other.cmp(one));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = chosen.into_iter().chain(debian.into_iter().map(|(_, bin)| bin));
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-servers/bin");
    let mut folders = folders.chain(std::env::split_paths(&path)).chain([fetched]);
    folders.find(|bin| ["initdb", "postgres"].iter().all(|program| bin.join(program).exists()))
}

/// Whom to be where we are root: user and group.
fn somebody() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).ok()? != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    Some(user("postgres").or_else(|| user("nobody")).expect("a user who is not root"))
}

impl Cluster {
    /// A server with settings (`-c`, `name=value`) of its own, which ends when dropped; `None` where there are no
    /// programs for one.
    pub fn with(settings: &[&str]) -> Option<Self> {
        binaries().map(|bin| Self::begin(&bin, settings))
    }

    fn begin(bin: &Path, settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("reverie-pg-").tempdir().unwrap().keep();
        let whom = somebody();
        if let Some((user, group)) = whom {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let as_somebody = |mut command: Command| {
            command.current_dir(&folder).env("LC_ALL", "C").env("TZ", "UTC");
            if let Some((user, group)) = whom {
                command.uid(user).gid(group);
            }
            command
        };
        let mut init = as_somebody(Command::new(bin.join("initdb")));
        init.args(["--auth=trust", "--username=reverie", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        let made = init.arg(folder.join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut keeper = as_somebody(Command::new("sh"));
        keeper.args(["-c", KEEP]).arg(bin).arg(&folder).args(settings).stdin(Stdio::piped());
        let keeper = keeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let keeper = Mutex::new(keeper);
        let cluster = Self { folder, bin: bin.to_owned(), keeper, databases: AtomicU32::new(0) };
        cluster.wait_until_ready();
        cluster
    }

    /// Stops the server as its own restart does: sessions are ended, what was committed is kept.
    pub fn stop(&self) {
        self.tell("stop");
        let began = Instant::now();
        while self.answers() {
            assert!(began.elapsed() < DEADLINE, "the server does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again.
    pub fn start(&self) {
        self.tell("start");
        self.wait_until_ready();
    }

    fn tell(&self, word: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        writeln!(keeper.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    fn answers(&self) -> bool {
        let mut ask = Command::new(self.bin.join("pg_isready"));
        ask.arg("-q").arg("-h").arg(&self.folder);
        ask.status().unwrap().success()
    }

    /// Asks until it answers.
    fn wait_until_ready(&self) {
        let began = Instant::now();
        loop {
            if self.answers() {
                return;
            }
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(began.elapsed() < DEADLINE, "the server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Number of the server's first process.
    pub fn id(&self) -> u32 {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().trim().parse().unwrap()
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://reverie@{folder}/{database}")
    }

    /// The same as text, for a process.
    pub fn url_of(&self, database: &PostgresUrl) -> String {
        self.url(&name(database))
    }

    /// A new, empty database.
    pub async fn database(&self) -> PostgresUrl {
        let name = format!("case_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name).parse().unwrap()
    }

    /// A connection to a database, to look into it and to disturb it.
    pub async fn connect(&self, database: &PostgresUrl) -> PgConnection {
        PgConnection::connect(&self.url_of(database)).await.unwrap()
    }

    /// Ends every connection to a database, as a restart of the server does; their number.
    pub async fn end_connections(&self, database: &PostgresUrl) -> i64 {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let ended = sqlx::query_scalar(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1",
        );
        ended.bind(name(database)).fetch_one(&mut connection).await.unwrap()
    }
}

/// Of a database, out of what is shown of its address.
fn name(database: &PostgresUrl) -> String {
    database.to_string().split(' ').next().unwrap().to_owned()
}
