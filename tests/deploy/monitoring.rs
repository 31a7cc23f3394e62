//! Prometheus with the shipped configuration, scraping a server that works; every query of the dashboard and every
//! alert is put to it.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{interval, timeout};

use super::shipped;
use crate::common::{
    client::{Client, DEADLINE, quick},
    picture,
    ports::ReservedPort,
    process::ServerProcess,
    programs::{end, program, until_it_answers},
};

/// A running Prometheus; ended when dropped.
struct Prometheus {
    client: Client,
    child: Child,
    _folder: TempDir,
    _port: ReservedPort,
}

impl Prometheus {
    /// Starts one that scrapes `target`; `None` where there is no Prometheus.
    async fn watching(test: &str, target: &str) -> Option<Self> {
        let prometheus = program(test, "prometheus")?;
        let (folder, port) = (tempfile::tempdir().unwrap(), ReservedPort::new());
        configure(&folder, target);
        let mut child = Command::new(&prometheus)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={port}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until_it_answers(&mut child, &format!("{}/-/ready", port.url())).await;
        Some(Self { client: Client::new(port.url()), child, _folder: folder, _port: port })
    }

    /// The series that a query finds.
    async fn query(&self, query: &str) -> Vec<Value> {
        let parameters = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let answer = self.client.get(&format!("/api/v1/query?{parameters}")).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Asks until a query finds something.
    async fn until(&self, query: &str) {
        let waiting = async {
            let mut looks = interval(Duration::from_millis(200));
            while self.query(query).await.is_empty() {
                looks.tick().await;
            }
        };
        assert!(timeout(DEADLINE, waiting).await.is_ok(), "nothing is ever found by {query}");
    }

    /// The alerts, when all of them have been evaluated and none is about to fire: on a busy machine a scrape can be late.
    async fn alerts(&self) -> Vec<Value> {
        let waiting = async {
            let mut looks = interval(Duration::from_millis(200));
            loop {
                let rules: Value = self.client.get("/api/v1/rules").await.json().await.unwrap();
                let alerts = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
                if alerts.iter().all(|alert| alert["health"] != "unknown" && alert["state"] == "inactive") {
                    return alerts;
                }
                looks.tick().await;
            }
        };
        timeout(DEADLINE, waiting)
            .await
            .expect("all is well, and yet the alerts are not evaluated or not inactive")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The shipped files, for one target and with shorter intervals.
fn configure(folder: &TempDir, target: &str) {
    let at = |name: &str| folder.path().join(name);
    let shipped_configuration = fs::read_to_string(shipped("prometheus/prometheus.yml")).unwrap();
    let hasty = shipped_configuration.replace("_interval: 15s", "_interval: 1s");
    assert_ne!(hasty, shipped_configuration, "the intervals are not what this test knows");
    fs::write(at("prometheus.yml"), hasty).unwrap();
    fs::copy(shipped("prometheus/alerts.yml"), at("alerts.yml")).unwrap();
    fs::create_dir(at("targets")).unwrap();
    let targets = format!("- targets: [\"{target}\"]\n  labels: {{role: api}}\n");
    fs::write(at("targets/reverie.yml"), targets).unwrap();
}

/// What the dashboard asks: the title of each panel with its queries, as Grafana would send them.
fn dashboard() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(shipped("grafana/dashboards/reverie.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().map(|panel| {
        let targets = panel["targets"].as_array().unwrap().iter();
        let queries =
            targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "1m"));
        (panel["title"].as_str().unwrap().to_owned(), queries.collect())
    });
    panels.collect()
}

/// The names in a query that are metrics of ours.
fn metrics(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("reverie_") || word.starts_with("process_")).collect()
}

/// Whether a series has a number now, and not the result of a division by nothing.
fn has_number(series: &Value) -> bool {
    series["value"][1].as_str().unwrap().parse::<f64>().unwrap().is_finite()
}

#[tokio::test]
async fn every_query_of_the_dashboard_and_of_the_alerts_finds_what_it_asks_for() {
    let test = "every_query_of_the_dashboard_and_of_the_alerts_finds_what_it_asks_for";
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path(), &[]).await;
    let target = server.admin.url.strip_prefix("http://").unwrap().to_owned();
    let Some(prometheus) = Prometheus::watching(test, &target).await else { return };
    // Rates need the numbers before and after: a job, a scrape, and another job.
    for ended in ["1", "2"] {
        let id = server.client.submit(picture(96, 64), &quick()).await;
        server.client.dream(&id).await;
        prometheus.until(&format!("reverie_jobs_ended_total{{status=\"succeeded\"}} == {ended}")).await;
    }
    prometheus.until("rate(reverie_http_requests_total{route=\"/v1/jobs\",status=\"202\"}[1m]) > 0").await;

    for (title, queries) in dashboard() {
        for query in queries {
            let found = prometheus.query(&query).await;
            assert!(found.iter().any(has_number), "{title}: {query} finds {found:?}");
        }
    }

    let runbook = fs::read_to_string(shipped("../docs/operations/runbook.md")).unwrap();
    let alerts = prometheus.alerts().await;
    assert!(!alerts.is_empty());
    for alert in &alerts {
        let (name, query) = (alert["name"].as_str().unwrap(), alert["query"].as_str().unwrap());
        assert_eq!(alert["health"], "ok", "{alert}");
        for metric in metrics(query) {
            assert!(
                !prometheus.query(metric).await.is_empty(),
                "{name} asks for {metric}, which there is not"
            );
        }
        assert!(
            runbook.contains(&format!("\n### {name}\n")),
            "docs/operations/runbook.md does not tell about {name}"
        );
        let link = format!("docs/operations/runbook.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], link);
    }

    // And one that must be raised is.
    server.kill().await;
    prometheus.until("ALERTS{alertname=\"ReverieDown\",alertstate=\"pending\"}").await;
}
