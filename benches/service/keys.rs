//! What keys cost: the same requests to a server that asks for a key and to one that does not, in turn, since the machine's speed
//! changes.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use reverie::{config::AuthMode, keys::Token};
use reverie_dream::model::Catalogue;
use serde_json::json;

use crate::{Row, load, serve_with, wire};

const ROUNDS: usize = 5;
const UPLOADS: usize = 600;
const POLLING: Duration = Duration::from_secs(3);

/// Photos a second and polls a second.
type Rates = [f64; 2];

pub async fn cost(folder: &Path, catalogue: &Arc<Catalogue>) -> Vec<Row> {
    let token = Token::generate().unwrap();
    // The first round warms the disk and the processors up.
    rates(folder, catalogue, None).await;
    let (mut open, mut locked) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        open.push(rates(folder, catalogue, None).await);
        locked.push(rates(folder, catalogue, Some(&token)).await);
    }
    let row = |what, of: usize| {
        let (open, locked) = (median(&open, of), median(&locked, of));
        let cost = 100.0 * (1.0 - locked / open);
        let found = format!("{cost:.1} % ({open:.0}/s without, {locked:.0}/s with)");
        Row { what, found, target: "≤ 5 %" }
    };
    vec![row("what keys cost of the accepted photos", 0), row("… of the polls", 1)]
}

async fn rates(folder: &Path, catalogue: &Arc<Catalogue>, token: Option<&Token>) -> Rates {
    let server = serve_with(folder, catalogue, false, |config| {
        if let Some(token) = token {
            config.auth.mode = AuthMode::Keys;
            config.auth.bootstrap_key = Some(token.clone());
        }
    })
    .await;
    let keyed = |request| match token {
        Some(token) => wire::with_key(request, &token.reveal()),
        None => request,
    };
    let upload = keyed(wire::upload(&crate::photo(100_000), &json!({ "iterations": 1 })));
    let began = Instant::now();
    load::accept(server.address, upload.clone(), UPLOADS).await;
    let photos = UPLOADS as f64 / began.elapsed().as_secs_f64();
    let mut connection = wire::Connection::open(server.address).await;
    let path = format!("/v1/jobs/{}", connection.submit(&upload).await);
    let shown = connection.ask(&keyed(wire::get(&path, None))).await;
    let polls = load::poll(server.address, keyed(wire::get(&path, Some(&shown.etag))), POLLING).await;
    server.stop().await;
    [photos, polls as f64 / POLLING.as_secs_f64()]
}

fn median(rates: &[Rates], of: usize) -> f64 {
    let mut rates: Vec<f64> = rates.iter().map(|rates| rates[of]).collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
