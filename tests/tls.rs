//! TLS in the program itself: clients that trust the certificate are served, a renewed one is used without a restart, and what
//! cannot work ends the start with a reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{fs, path::Path};

use common::{
    authority::{Authority, Issued},
    client::{Client, DEADLINE, form, quick},
    picture,
    process::{self, ServerProcess},
    until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Writes the files, and the settings that name them.
fn store(folder: &Path, Issued { certificate, key }: &Issued) -> [(&'static str, String); 2] {
    let (chain, private) = (folder.join("chain.pem"), folder.join("key.pem"));
    fs::write(&chain, certificate).unwrap();
    fs::write(&private, key).unwrap();
    [
        ("REVERIE__SERVER__TLS_CERTIFICATE", chain.display().to_string()),
        ("REVERIE__SERVER__TLS_KEY", private.display().to_string()),
    ]
}

/// A client that trusts one authority only, and makes a new connection for every request.
fn trusting(authority: &Authority, url: &str) -> Client {
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap()])
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    Client { http, url: url.to_owned() }
}

async fn server(folder: &Path, settings: &[(&str, String)]) -> ServerProcess {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ServerProcess::start(folder, &settings).await
}

#[tokio::test]
async fn clients_are_served_over_tls_and_a_renewed_certificate_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let settings = store(folder.path(), &old.issue("127.0.0.1"));
    let server = server(folder.path(), &settings).await;
    let url = &server.client.url;
    assert!(url.starts_with("https://"), "{url}");
    let (trusts_old, trusts_new) = (trusting(&old, url), trusting(&new, url));
    assert_eq!(trusts_old.get("/healthz").await.status(), 200);
    let job = trusts_old.post_form(form(picture(64, 64), &quick())).await;
    assert_eq!(job.status(), 202);
    // Not by those who do not trust it, and not without TLS.
    trusts_new.http.get(format!("{url}/healthz")).send().await.unwrap_err();
    let address = url.strip_prefix("https://").unwrap();
    assert!(reqwest::get(format!("http://{address}/healthz")).await.is_err());
    store(folder.path(), &new.issue("127.0.0.1"));
    until("the new certificate is used", async || {
        trusts_new.http.get(format!("{url}/healthz")).send().await.is_ok()
    })
    .await;
    trusts_old.http.get(format!("{url}/healthz")).send().await.unwrap_err();
}

#[tokio::test]
async fn a_client_that_does_not_finish_the_handshake_loses_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut settings = store(folder.path(), &authority.issue("127.0.0.1")).to_vec();
    settings.push(("REVERIE__SERVER__KEEP_ALIVE_SECONDS", "1".into()));
    let server = server(folder.path(), &settings).await;
    let address = server.client.url.strip_prefix("https://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The head of a handshake message that never comes.
    stream.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    let _ = ended.expect("the connection stays open for ever");
    assert_eq!(trusting(&authority, &server.client.url).get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn files_that_cannot_work_end_the_start_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let [good, other] = [authority.issue("127.0.0.1"), authority.issue("127.0.0.1")];
    let with = |certificate: &str, key: &str| Issued { certificate: certificate.into(), key: key.into() };
    for (issued, expected) in [
        (with("nothing", &good.key), "server.tls_certificate"),
        (with(&good.certificate, &good.certificate), "server.tls_key"),
        (with(&good.certificate, &other.key), "do not fit together"),
    ] {
        let settings = store(folder.path(), &issued);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (code, _, error) = process::ended(folder.path(), &["serve"], &settings).await;
        assert!(code == 1 && error.contains(expected), "{code} {error}");
        let (code, _, error) = process::ended(folder.path(), &["serve", "--check-config"], &settings).await;
        assert!(code == 0 && error.contains(expected), "{code} {error}");
    }
    let [certificate, _] = store(folder.path(), &good);
    let missing = [certificate.clone(), ("REVERIE__SERVER__TLS_KEY", "/nowhere/key.pem".into())];
    let missing = missing.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
    let (code, _, error) = process::ended(folder.path(), &["serve"], &missing).await;
    assert!(code == 1 && error.contains("server.tls_key: /nowhere/key.pem"), "{error}");
    // A probe cannot trust a certificate that is for the server's public name.
    let only_tls = store(folder.path(), &good);
    let mut only_tls: Vec<_> = only_tls.iter().map(|(name, value)| (*name, value.as_str())).collect();
    only_tls.push(("REVERIE__SERVER__ADMIN_LISTEN", ""));
    let (code, _, error) = process::ended(folder.path(), &["health"], &only_tls).await;
    assert!(code != 0 && error.contains("server.admin_listen"), "{error}");
    let alone = [(certificate.0, certificate.1.as_str())];
    let (code, _, error) = process::ended(folder.path(), &["serve", "--check-config"], &alone).await;
    assert!(code != 0 && error.contains("server.tls_key"), "{code} {error}");
}
