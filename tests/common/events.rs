//! A client of server-sent events.

use serde_json::Value;
use tokio::time::timeout;

use super::client::{Client, DEADLINE};

/// One event.
pub struct Event {
    pub name: String,
    pub id: u64,
    pub data: Value,
}

/// An open stream of events.
pub struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    /// Follows a job, from the start or from behind an event.
    pub async fn open(client: &Client, id: &str, last: Option<u64>) -> Self {
        let mut request = client.http.get(format!("{}/v1/jobs/{id}/events", client.url));
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = timeout(DEADLINE, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        Self::of(response)
    }

    /// Reads an answer that is a stream of events.
    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = parse(event);
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    // A heartbeat.
                    None => continue,
                }
            }
            let piece =
                timeout(DEADLINE, self.response.chunk()).await.expect("the stream is silent").unwrap()?;
            self.text += std::str::from_utf8(&piece).unwrap();
        }
    }
}

fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        lines.next().map(str::to_owned)
    };
    Some(Event {
        name: field("event")?,
        id: field("id")?.parse().unwrap(),
        data: serde_json::from_str(&field("data")?).unwrap(),
    })
}
