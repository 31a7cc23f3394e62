//! `reverie keys`: makes, lists and revokes API keys in the database of a configuration, beside a server that may be
//! running.

use std::{io::Write, path::PathBuf, time::Duration};

use super::{ExitCode, Failure};
use crate::{
    app,
    config::Config,
    jobs::JobQueue,
    keys::{ApiKey, KeyId, LONGEST_LIFETIME, NewKey, Scopes, Tenant, Token},
    private,
};

/// Commands for API keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key and print it: this once, for the server keeps only a digest of its secret.
    Create(CreateArgs),
    /// List the newest 1000 keys, newest first.
    List(ListArgs),
    /// Revoke a key: within 30 seconds no server accepts it any more.
    Revoke(RevokeArgs),
}

/// Arguments of `reverie keys create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Whose jobs the key opens: lower-case letters, digits, dots, hyphens and underscores.
    #[arg(long, value_name = "T")]
    tenant: Tenant,

    /// What the key allows, separated by commas: jobs:read, jobs:write, admin (keys of all tenants).
    #[arg(long, value_name = "SCOPES")]
    scopes: Scopes,

    /// Time until it expires, such as 90d or 12h; without, it does not.
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,

    /// Largest priority of its jobs, from 0 to 10; without, they may have any.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i8).range(0..=10))]
    max_priority: Option<i8>,

    #[command(flatten)]
    at: Place,
}

/// Arguments of `reverie keys list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only keys of this tenant.
    #[arg(long, value_name = "T")]
    tenant: Option<Tenant>,

    #[command(flatten)]
    at: Place,
}

/// Arguments of `reverie keys revoke`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Id of the key: the part between its underscores.
    #[arg(value_name = "ID", value_parser = key_id)]
    id: KeyId,

    #[command(flatten)]
    at: Place,
}

/// Where the keys are.
#[derive(Debug, clap::Args)]
struct Place {
    /// Configuration file, see deploy/reverie.toml; REVERIE__SECTION__KEY in the environment overrides it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Longest text of a duration: longer ones can make the reader of durations panic.
const LONGEST_TEXT: usize = 20;

fn lifetime(text: &str) -> Result<Duration, String> {
    let read = Some(text).filter(|text| text.len() <= LONGEST_TEXT);
    let read = read.and_then(|text| humantime::parse_duration(text).ok());
    let fits = |lifetime: &Duration| (Duration::from_secs(1)..=LONGEST_LIFETIME).contains(lifetime);
    read.filter(fits).ok_or_else(|| "give a time from 1s to 3650d, such as 90d or 12h".to_owned())
}

fn key_id(text: &str) -> Result<KeyId, String> {
    // Not the whole key: it would stay in the shell's history.
    text.parse()
        .map_err(|_| "give the id of a key: the 16 hexadecimal digits between its underscores".to_owned())
}

/// Runs the command.
pub(super) fn run(command: Command) -> Result<ExitCode, Failure> {
    let place = match &command {
        Command::Create(args) => &args.at,
        Command::List(args) => &args.at,
        Command::Revoke(args) => &args.at,
    };
    let config = Config::load(place.config.as_deref())?;
    private::mask();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = app::open_keys(&config).await?;
        let outcome = act(&*store, command).await;
        store.close().await;
        outcome
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn act(store: &dyn JobQueue, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => {
            let token = Token::generate()?;
            let CreateArgs { tenant, scopes, expires: lifetime, max_priority, .. } = args;
            let new = NewKey { lifetime, max_priority, ..NewKey::new(&token, tenant, scopes) };
            let key = store.add_key(&new).await?;
            let expiry = key.expires_at.map_or("does not expire".to_owned(), |at| format!("expires at {at}"));
            eprintln!(
                "key {} of tenant {} ({}) {expiry}; it is shown only now:",
                key.id, key.tenant, key.scopes
            );
            writeln!(std::io::stdout(), "{}", token.reveal())?;
        }
        Command::List(args) => {
            let keys = store.list_keys(args.tenant.as_ref()).await?;
            write!(std::io::stdout(), "{}", table(&keys))?;
        }
        Command::Revoke(args) => {
            let key = store.revoke_key(&args.id).await?;
            eprintln!("key {} of tenant {} is revoked", key.id, key.tenant);
        }
    }
    Ok(())
}

/// One line per key, in columns.
fn table(keys: &[ApiKey]) -> String {
    let time = |time: Option<crate::clock::Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    let line = |cells: [&str; 8]| {
        let [id, tenant, scopes, priority, created, expires, revoked, used] = cells;
        format!(
            "{id:16}  {tenant:16}  {scopes:26}  {priority:12}  {created:24}  {expires:24}  {revoked:24}  {used}\n"
        )
    };
    let mut text =
        line(["ID", "TENANT", "SCOPES", "MAX PRIORITY", "CREATED", "EXPIRES", "REVOKED", "LAST USED"]);
    for key in keys {
        let times = [Some(key.created_at), key.expires_at, key.revoked_at, key.last_used_at].map(time);
        let [created, expires, revoked, used] = &times;
        let scopes = key.scopes.to_string();
        let priority = key.max_priority.map_or("-".to_owned(), |bound| bound.to_string());
        let (id, tenant) = (key.id.as_str(), key.tenant.as_str());
        text += &line([id, tenant, &scopes, &priority, created, expires, revoked, used]);
    }
    text
}
