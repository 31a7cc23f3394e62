//! Tests of the shipped file, of the environment over it, and of errors.

use super::*;
use crate::keys::WebhookSecret;

fn environment(settings: &[(&str, &str)]) -> HashMap<String, String> {
    settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn shipped() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/reverie.toml"))
}

#[test]
fn the_shipped_file_shows_the_defaults() {
    let read = Config::read(Some(shipped()), Some(HashMap::new())).unwrap();
    assert_eq!(read, Config::default());
    assert_eq!(Config::read(None, Some(HashMap::new())).unwrap(), Config::default());
}

#[test]
fn the_shipped_file_shows_every_setting() {
    // An unknown key lists the known ones: each must stand in the file.
    let sections = [
        "server",
        "auth",
        "quotas",
        "egress",
        "webhooks",
        "storage",
        "s3",
        "models",
        "queue",
        "worker",
        "limits",
        "retention",
        "log",
        "telemetry",
    ];
    let text = std::fs::read_to_string(shipped()).unwrap();
    for section in sections {
        assert!(text.contains(&format!("[{section}]")), "{section}");
        let key = format!("REVERIE__{}__NO_SUCH_KEY", section.to_uppercase());
        let error = Config::read(None, Some(environment(&[(&key, "1")]))).unwrap_err().to_string();
        let (_, known) = error.split_once("allowed are ").unwrap();
        for name in known.trim().split(", ") {
            assert!(text.contains(&format!("\n{name} = ")), "{section}.{name}");
        }
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = environment(&[
        ("REVERIE__SERVER__LISTEN", "0.0.0.0:0"),
        ("REVERIE__SERVER__ADMIN_LISTEN", ""),
        ("REVERIE__SERVER__CORS_ORIGINS", "https://a.example,https://b.example"),
        ("REVERIE__STORAGE__DIR", "2024"),
        ("REVERIE__STORAGE__DATABASE", "postgres://dream:s3cret@db.example/reverie"),
        ("REVERIE__STORAGE__CONNECTIONS", "4"),
        ("REVERIE__QUEUE__CAPACITY", "7"),
        ("REVERIE__QUOTAS__MAX_WAITING_JOBS", "0"),
        ("REVERIE__QUOTAS__REQUESTS_PER_SECOND", "50"),
        ("REVERIE__QUOTAS__WEIGHTS", "lab=3,other=1"),
        ("REVERIE__EGRESS__ALLOWED_HOSTS", "images.example,*.Other.example"),
        ("REVERIE__EGRESS__ALLOWED_NETWORKS", "10.1.0.0/16"),
        ("REVERIE__LOG__FORMAT", "json"),
        ("REVERIE__RETENTION__RESULTS_DAYS", "0.5"),
        ("REVERIE__RETENTION__JOBS_DAYS", "0"),
        ("REVERIE_UNRELATED", "x"),
    ]);
    let config = Config::read(Some(shipped()), Some(settings)).unwrap();
    assert_eq!((config.server.listen.as_str(), config.server.admin_listen.as_str()), ("0.0.0.0:0", ""));
    assert_eq!(config.server.cors_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.storage.dir, Path::new("2024"));
    let Database::Postgres(url) = &config.storage.database else { panic!("{:?}", config.storage) };
    assert_eq!((url.to_string().as_str(), config.storage.connections), ("reverie at db.example:5432", 4));
    assert!(!format!("{config:?}").contains("s3cret"), "the password is shown");
    assert_eq!(config.queue.capacity, 7);
    assert_eq!((config.quotas.max_waiting_jobs, config.quotas.requests_per_second), (None, Some(50)));
    assert_eq!(config.quotas.weights.get("lab"), Some(&3));
    assert_eq!(config.egress.allowed_hosts, ["images.example", "*.other.example"]);
    assert_eq!(config.egress.allowed_networks, ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(config.log.format, LogFormat::Json);
    let half_a_day = RetentionConfig { results: Some(Duration::from_secs(43_200)), jobs: None };
    assert_eq!(config.retention, half_a_day);
    assert_eq!(config.worker, WorkerConfig::default());
}

#[test]
fn every_mistake_is_reported_at_once() {
    let settings = environment(&[
        ("REVERIE__SERVER__LISTEN", "somewhere"),
        ("REVERIE__SERVER__ADMIN_LISTEN", "9090"),
        ("REVERIE__SERVER__CORS_ORIGINS", "example.org"),
        ("REVERIE__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
        ("REVERIE__SERVER__PUBLIC_URL", "dreams.example"),
        ("REVERIE__STORAGE__DATABASE", "mysql://dream:s3cret@db.example/reverie"),
        ("REVERIE__STORAGE__CONNECTIONS", "1"),
        ("REVERIE__AUTH__MODE", "on"),
        ("REVERIE__AUTH__BOOTSTRAP_KEY", "rvk_0123456789abcdef_s3cret"),
        ("REVERIE__AUTH__ALLOW_ANONYMOUS", "maybe"),
        ("REVERIE__AUTH__LINK_SECRETS", "s3cret"),
        ("REVERIE__QUOTAS__WEIGHTS", "lab=3,other"),
        ("REVERIE__EGRESS__ALLOWED_HOSTS", "https://images.example"),
        ("REVERIE__EGRESS__ALLOWED_NETWORKS", "10.0.0.0/8,inside"),
        ("REVERIE__EGRESS__PROXY", "user:s3cret@proxy:3128"),
        ("REVERIE__WEBHOOKS__SECRETS", "whsec_s3cret,LAB=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("REVERIE__WORKER__COUNT", "65"),
        ("REVERIE__WORKER__KERNELS", "fast"),
        ("REVERIE__QUEUE__CAPACITY", "0"),
        ("REVERIE__RETENTION__RESULTS_DAYS", "31"),
        ("REVERIE__TELEMETRY__OTLP_ENDPOINT", "collector.example:4318"),
        ("REVERIE__STORAGE__OBJECTS", "s3://Dreams"),
        ("REVERIE__STORAGE__REDIRECT_RESULTS", "true"),
        ("REVERIE__S3__ENDPOINT", "http://key:secret@minio:9000"),
        ("REVERIE__S3__TIMEOUT_SECONDS", "0"),
        ("REVERIE__LOG__FORMAT", "xml"),
        ("REVERIE__LOG__FILTER", "reverie=loud"),
        ("REVERIE__LIMITS__MAX_PIXLES", "1"),
        ("REVERIE__LIMITS__MAX_JOB_SECONDS", "soon"),
        ("REVERIE__LIMITS__MAX_JOB_MEMORY_MB", "-1"),
        ("REVERIE__LIMITS__MAX_DECODE_MB", "some"),
        ("REVERIE__SERVR__LISTEN", "x"),
    ]);
    let error = Config::read(None, Some(settings)).unwrap_err().to_string();
    for name in [
        "server.listen: ",
        "server.admin_listen: ",
        "server.cors_origins: ",
        "server.trusted_proxies: \"proxy\"",
        "server.public_url: \"dreams.example\" is not a usable URL",
        "storage.database: must be \"sqlite\" or a postgres:// URL",
        "storage.connections: 1 is not allowed",
        "auth.mode: ",
        "auth.bootstrap_key: not a key",
        "auth.allow_anonymous: ",
        "auth.link_secrets: a secret for links needs at least 32",
        "quotas.weights: \"other\" is not a share",
        "egress.allowed_hosts: \"https://images.example\" is not a host",
        "egress.allowed_networks: \"inside\" is not an IP address",
        "egress.proxy: expected a URL",
        "webhooks.secrets: not a secret for webhooks",
        "worker.count: 65 is not allowed",
        "worker.kernels: \"fast\" is not allowed; use auto or library",
        "queue.capacity: 0 is not allowed",
        "retention.results_days: must not be more",
        "telemetry.otlp_endpoint: ",
        "storage.objects: \"s3://Dreams\" is neither",
        "s3.endpoint: must be",
        "s3.timeout_seconds: 0 is not allowed",
        "log.format: ",
        "log.filter: ",
        "limits.max_pixles: unknown field",
        "limits.max_job_seconds: \"soon\" is not allowed",
        "limits.max_job_memory_mb: -1 is not allowed",
        "limits.max_decode_mb: \"some\" is not allowed",
        "servr: unknown field",
    ] {
        assert!(error.contains(&format!("\n  {name}")), "{name} is missing in {error}");
    }
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn a_bucket_is_read() {
    let read = |settings| Config::read(None, Some(environment(settings)));
    let bucket = ("REVERIE__STORAGE__OBJECTS", "s3://dreams/team/a/");
    let settings =
        [bucket, ("REVERIE__S3__ENDPOINT", "http://s3:9000/"), ("REVERIE__S3__ALLOW_HTTP", "true")];
    let config = read(&settings).unwrap();
    let expected = Place::Bucket { bucket: "dreams".into(), prefix: "team/a".into() };
    assert_eq!((config.storage.objects, config.s3.endpoint.as_str()), (expected, "http://s3:9000"));
    // Two mistakes that would otherwise show only when something does not work.
    let error = read(&[("REVERIE__S3__ENDPOINT", "http://s3:9000")]).unwrap_err().to_string();
    assert!(error.contains("s3.endpoint: \"http://s3:9000\" is not encrypted"), "{error}");
    let error = read(&[("REVERIE__STORAGE__REDIRECT_RESULTS", "true")]).unwrap_err().to_string();
    assert!(error.contains("storage.redirect_results: "), "{error}");
    let error = read(&[("REVERIE__S3__ENDPOINT", "http://key:secret@s3:9000")]).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::read(Some(Path::new("/nowhere/reverie.toml")), Some(HashMap::new()));
    assert!(error.unwrap_err().to_string().contains("/nowhere/reverie.toml"));
}

#[test]
fn a_tenant_with_secrets_of_its_own_has_no_others() {
    let names = ["AAAA", "BBBB", "CCCC", "DDDD"];
    let [one, two, lab, new_lab] = names.map(|name| format!("whsec_{}", name.repeat(10)));
    let text = format!("{one},lab={lab}, {two} ,lab={new_lab}");
    let config = Config::read(None, Some(environment(&[("REVERIE__WEBHOOKS__SECRETS", &text)]))).unwrap();
    let of = |tenant: &str| -> Vec<String> {
        let secrets = config.webhooks.secrets_of(&tenant.parse().unwrap());
        secrets.iter().map(|secret| secret.sign("msg", 1, b"")).collect()
    };
    let expected =
        |texts: [&String; 2]| texts.map(|text| text.parse::<WebhookSecret>().unwrap().sign("msg", 1, b""));
    assert_eq!(of("lab"), expected([&lab, &new_lab]));
    assert_eq!(of("other"), expected([&one, &two]));
    assert!(!format!("{config:?}").contains("AAAA"), "a secret is shown");
}

#[test]
fn a_secret_is_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let database = file("database", "postgres://dream:s3cret@db.example/reverie\n");
    let [one, other] = ["AAAA", "BBBB"].map(|name| format!("whsec_{}", name.repeat(10)));
    let secrets = file("secrets", &format!("{one}\n\n lab={other} \n"));
    let settings = [
        ("REVERIE__STORAGE__DATABASE_FILE", &*database),
        ("REVERIE__WEBHOOKS__SECRETS_FILE", &secrets),
        ("REVERIE__AUTH__BOOTSTRAP_KEY_FILE", "/run/secrets/key"),
    ];
    let config = Config::read(None, Some(environment(&settings))).unwrap();
    assert!(
        matches!(&config.storage.database, Database::Postgres(url) if url.to_string().contains("db.example"))
    );
    assert_eq!(config.webhooks.secrets.len(), 2);
    // This one is a setting that names a file.
    assert_eq!(config.auth.bootstrap_key_file, Some("/run/secrets/key".into()));
    let wrong = [
        ("REVERIE__STORAGE__DATABASE", "sqlite"),
        ("REVERIE__STORAGE__DATABASE_FILE", &*database),
        ("REVERIE__WEBHOOKS__SECRETS_FILE", "/nowhere/secrets"),
    ];
    let error = Config::read(None, Some(environment(&wrong))).unwrap_err().to_string();
    for words in [
        "storage.database: is given by REVERIE__STORAGE__DATABASE and",
        "webhooks.secrets: the file /nowhere",
    ] {
        assert!(error.contains(words), "{error}");
    }
}
