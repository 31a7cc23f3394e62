//! Connections: more than there are file handles, and requests for other hosts and from other pages.

use std::{
    net::Ipv4Addr,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::Command;

use super::target::{Target, connect_from, send};

/// Health is answered within this time, however many connections are idle: sooner than those would be closed.
const SOON: Duration = Duration::from_secs(20);

/// The same command with other limits of file handles.
fn with_handles(command: &Command, limits: &str) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(command.as_std().get_program());
    limited.args(command.as_std().get_args());
    limited.envs(command.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdout(Stdio::piped()).kill_on_drop(true);
    limited
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_one_client_leave_room_for_others() {
    // Few file handles, which the server cannot raise.
    let target = Target::with(&[], |command| with_handles(&command, "ulimit -n 256")).await;
    let stranger = Ipv4Addr::new(127, 0, 0, 2);
    let address = target.address();
    let open = std::thread::spawn(move || -> Vec<_> {
        (0..300).filter_map(|_| connect_from(stranger, address).ok()).collect()
    });
    let idle = open.join().unwrap();
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost";
    for address in [target.admin_address(), address] {
        let began = Instant::now();
        assert_eq!(send(address, get, b"").status, 200, "{} connections are idle", idle.len());
        assert!(began.elapsed() < SOON, "health was told after {:?}", began.elapsed());
    }
    // Work goes on too: files are opened and stored.
    let client = &target.process.client;
    let id = client.submit(super::common::picture(64, 48), &super::common::client::quick()).await;
    client.dream(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_handles_is_raised_as_far_as_it_may() {
    let target = Target::with(&[], |command| with_handles(&command, "ulimit -Sn 256; ulimit -Hn 1024")).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", target.process.id())).unwrap();
    let handles = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = handles.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["1024", "1024"], "soft and hard: {handles}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_others_and_from_strangers_pages_are_refused() {
    let target = Target::start(&[("REVERIE__SERVER__CORS_ORIGINS", "https://friend.example")]).await;
    let (api, admin) = (target.address(), target.admin_address());
    let status = |address, method: &str, path: &str, headers: &str| {
        send(address, &format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: 0"), b"").status
    };
    for address in [api, admin] {
        assert_eq!(status(address, "GET", "/healthz", "Host: localhost\r\n"), 200);
        // A name that a stranger's page had point here.
        assert_eq!(status(address, "GET", "/healthz", "Host: evil.example\r\n"), 421);
        for bad in [
            "",
            "Host: localhost\r\nHost: localhost\r\n",
            "Host: a b\r\n",
            "Host: \r\n",
            "Host: u@localhost\r\n",
        ] {
            assert_eq!(status(address, "GET", "/healthz", bad), 400, "{bad}");
        }
    }
    assert_eq!(send(api, "GET /healthz HTTP/1.0", b"").status, 200, "HTTP/1.0 knows no Host");
    let post = |headers: &str| status(api, "POST", "/v1/jobs", &format!("Host: localhost\r\n{headers}"));
    for stranger in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
    {
        assert_eq!(post(stranger), 403, "{stranger}");
    }
    // What these are refused for is what they sent.
    for friend in [
        "",
        "Origin: http://localhost\r\n",
        "Origin: https://friend.example\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(post(friend), 415, "{friend}");
    }
}
