//! The Studio: a page for people, made of the files in `studio/`, which are part of the program. It uses the public API only.
//!
//! `/` is the page for a browser, and an index in JSON for other clients.

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{error, path_ids::Named, revalidated, state::AppState};
use reverie_dream::digest;

/// The page itself.
const PAGE: &str = "index.html";

/// Scripts, styles and pictures come from this server alone; pictures may also be what the page has made or fetched with a
/// key (`blob:`). No other page may show this one in a frame.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file of the page: its name, its media type, its content.
type Asset = (&'static str, &'static str, &'static [u8]);

macro_rules! assets {
    ($($name:literal: $kind:literal = $path:literal;)*) => {
        &[$(($name, $kind, include_bytes!(concat!("../../", $path)) as &[u8])),*]
    };
}

const ASSETS: &[Asset] = assets! {
    "index.html": "text/html; charset=utf-8" = "studio/index.html";
    "style.css": "text/css; charset=utf-8" = "studio/style.css";
    "app.js": "text/javascript; charset=utf-8" = "studio/app.js";
    "api.js": "text/javascript; charset=utf-8" = "studio/api.js";
    "cost.js": "text/javascript; charset=utf-8" = "studio/cost.js";
    "fork.js": "text/javascript; charset=utf-8" = "studio/fork.js";
    "form.js": "text/javascript; charset=utf-8" = "studio/form.js";
    "history.js": "text/javascript; charset=utf-8" = "studio/history.js";
    "inputs.js": "text/javascript; charset=utf-8" = "studio/inputs.js";
    "job.js": "text/javascript; charset=utf-8" = "studio/job.js";
    "looks.js": "text/javascript; charset=utf-8" = "studio/looks.js";
    "mask.js": "text/javascript; charset=utf-8" = "studio/mask.js";
    "mine.js": "text/javascript; charset=utf-8" = "studio/mine.js";
    "offer.js": "text/javascript; charset=utf-8" = "studio/offer.js";
    "operations.html": "text/html; charset=utf-8" = "studio/operations.html";
    "operations.css": "text/css; charset=utf-8" = "studio/operations.css";
    "operations.js": "text/javascript; charset=utf-8" = "studio/operations.js";
    "own.js": "text/javascript; charset=utf-8" = "studio/own.js";
    "picture.js": "text/javascript; charset=utf-8" = "studio/picture.js";
    "problem.js": "text/javascript; charset=utf-8" = "studio/problem.js";
    "recipe.js": "text/javascript; charset=utf-8" = "studio/recipe.js";
    "rest.js": "text/javascript; charset=utf-8" = "studio/rest.js";
    "snippets.js": "text/javascript; charset=utf-8" = "studio/snippets.js";
    "source.js": "text/javascript; charset=utf-8" = "studio/source.js";
    "spec.js": "text/javascript; charset=utf-8" = "studio/spec.js";
    "stage.js": "text/javascript; charset=utf-8" = "studio/stage.js";
    "state.js": "text/javascript; charset=utf-8" = "studio/state.js";
    "underway.js": "text/javascript; charset=utf-8" = "studio/underway.js";
    "wall.js": "text/javascript; charset=utf-8" = "studio/wall.js";
    "icon.svg": "image/svg+xml" = "studio/icon.svg";
    "sample.jpg": "image/jpeg" = "assets/sample.jpg";
    "looks/googlenet-city.webp": "image/webp" = "studio/looks/googlenet-city.webp";
    "looks/googlenet-eyes.webp": "image/webp" = "studio/looks/googlenet-eyes.webp";
    "looks/googlenet-seals.webp": "image/webp" = "studio/looks/googlenet-seals.webp";
    "looks/googlenet-beasts.webp": "image/webp" = "studio/looks/googlenet-beasts.webp";
    "looks/googlenet-bells.webp": "image/webp" = "studio/looks/googlenet-bells.webp";
    "looks/googlenet-fish.webp": "image/webp" = "studio/looks/googlenet-fish.webp";
    "looks/googlenet-fireworks.webp": "image/webp" = "studio/looks/googlenet-fireworks.webp";
    "looks/googlenet-fur.webp": "image/webp" = "studio/looks/googlenet-fur.webp";
    "looks/googlenet-etching.webp": "image/webp" = "studio/looks/googlenet-etching.webp";
    "looks/googlenet-script.webp": "image/webp" = "studio/looks/googlenet-script.webp";
    "looks/googlenet-tiles.webp": "image/webp" = "studio/looks/googlenet-tiles.webp";
    "looks/lite0-animals.webp": "image/webp" = "studio/looks/lite0-animals.webp";
    "looks/lite0-creatures.webp": "image/webp" = "studio/looks/lite0-creatures.webp";
    "looks/lite0-eyes.webp": "image/webp" = "studio/looks/lite0-eyes.webp";
    "looks/lite0-corals.webp": "image/webp" = "studio/looks/lite0-corals.webp";
    "looks/lite0-clouds.webp": "image/webp" = "studio/looks/lite0-clouds.webp";
    "looks/lite0-scales.webp": "image/webp" = "studio/looks/lite0-scales.webp";
    "looks/lite0-woven.webp": "image/webp" = "studio/looks/lite0-woven.webp";
    "looks/lite0-glass.webp": "image/webp" = "studio/looks/lite0-glass.webp";
    "looks/lite0-stones.webp": "image/webp" = "studio/looks/lite0-stones.webp";
    "looks/lite0-lattice.webp": "image/webp" = "studio/looks/lite0-lattice.webp";
    "looks/lite0-ink.webp": "image/webp" = "studio/looks/lite0-ink.webp";
    "looks/lite2-animals.webp": "image/webp" = "studio/looks/lite2-animals.webp";
    "looks/lite2-portraits.webp": "image/webp" = "studio/looks/lite2-portraits.webp";
    "looks/lite2-pack.webp": "image/webp" = "studio/looks/lite2-pack.webp";
    "looks/lite2-creatures.webp": "image/webp" = "studio/looks/lite2-creatures.webp";
    "looks/lite2-feathers.webp": "image/webp" = "studio/looks/lite2-feathers.webp";
    "looks/lite2-braids.webp": "image/webp" = "studio/looks/lite2-braids.webp";
    "looks/lite2-fleece.webp": "image/webp" = "studio/looks/lite2-fleece.webp";
    "looks/lite2-swirls.webp": "image/webp" = "studio/looks/lite2-swirls.webp";
    "looks/lite2-maze.webp": "image/webp" = "studio/looks/lite2-maze.webp";
    "looks/lite2-pleats.webp": "image/webp" = "studio/looks/lite2-pleats.webp";
    "looks/lite2-glass.webp": "image/webp" = "studio/looks/lite2-glass.webp";
    "looks/lite2-ink.webp": "image/webp" = "studio/looks/lite2-ink.webp";
};

/// A file and its entity tag.
struct Served {
    asset: Asset,
    etag: String,
}

/// All files by their names.
static SERVED: LazyLock<HashMap<&'static str, Served>> = LazyLock::new(|| {
    let served =
        |asset: &Asset| (asset.0, Served { etag: format!("\"{}\"", digest::sha256(asset.2)), asset: *asset });
    ASSETS.iter().map(served).collect()
});

/// `/` and `/studio/…`.
pub fn pages() -> Router<AppState> {
    Router::new().route("/", get(index)).route("/studio/{*name}", get(file))
}

async fn index(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let mut response = if state.config.server.studio && wants_html(&headers) {
        serve(PAGE, &headers).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
    } else {
        Json(json!({
            "service": "reverie",
            "version": env!("CARGO_PKG_VERSION"),
            "links": {
                "jobs": "/v1/jobs", "models": "/v1/models", "looks": "/v1/looks", "formats": "/v1/formats",
                "contract": "/openapi.yaml", "docs": "/docs/", "health": "/healthz", "ready": "/readyz",
            },
        }))
        .into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

async fn file(State(state): State<AppState>, Named(name): Named, uri: Uri, headers: HeaderMap) -> Response {
    let found = if state.config.server.studio { serve(&name, &headers) } else { None };
    match found {
        Some(response) => response,
        None => error::no_such_path(uri).await.into_response(),
    }
}

/// Path of a file of the page, where there are both.
pub(super) fn path_of(state: &AppState, name: &str) -> Option<String> {
    (state.config.server.studio && SERVED.contains_key(name)).then(|| format!("/studio/{name}"))
}

/// Whether a client asks for HTML by its name, as browsers do.
fn wants_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.to_ascii_lowercase().contains("text/html"))
}

fn serve(name: &str, headers: &HeaderMap) -> Option<Response> {
    let Served { asset: (_, kind, content), etag } = SERVED.get(name)?;
    // Asked for again each time, so that a new version shows at once; mostly the answer is 304.
    let mut response = revalidated(headers, etag, ([(header::CONTENT_TYPE, *kind)], *content)).ok()?;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use reverie_dream::spec::{DreamSpec, Shape};

    #[test]
    fn the_page_is_small_and_whole() {
        let texts = ASSETS.iter().filter(|(_, kind, _)| kind.starts_with("text/") || kind.ends_with("+xml"));
        let mut wanted = 0;
        for (name, _, content) in texts {
            let text = std::str::from_utf8(content).unwrap();
            // Everything that a file names is there, and nothing is foreign.
            for part in text.split(['"', '\'', '(', '`']) {
                let local = part.strip_prefix("/studio/").or_else(|| part.strip_prefix("./"));
                let Some(named) = local.filter(|named| !named.contains("${")) else { continue };
                // Types are for the compiler alone.
                if named != "types.js" {
                    assert!(SERVED.contains_key(named), "{name} names {named}");
                    wanted += 1;
                }
            }
            let foreign = text.matches("https://").count() + text.matches("http://").count();
            assert_eq!(foreign, text.matches("http://www.w3.org/2000/svg").count(), "{name}");
        }
        assert!(wanted > 10, "{wanted} names");
        // A visit's first files, with the walls, which a wide window shows at once. The rest is loaded when it is wanted.
        let first = at_once(&["index.html", "wall.js"]);
        let bytes: usize = first.iter().map(|name| SERVED[name].asset.2.len()).sum();
        assert!(first.contains("api.js") && !first.contains("mask.js"), "{first:?}");
        assert!(bytes <= 80_000, "{bytes} bytes of {first:?}");
    }

    /// The files that a browser has to have before it can run these: what they import, and the page's own.
    fn at_once(named: &[&'static str]) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        let mut left = named.to_vec();
        while let Some(name) = left.pop() {
            if !found.insert(name) {
                continue;
            }
            let text = std::str::from_utf8(SERVED[name].asset.2).unwrap();
            // The page names its parts, and a script what it imports before it runs.
            let before = if name == PAGE { "\"/studio/" } else { " from \"./" };
            left.extend(text.split(before).skip(1).filter_map(|rest| rest.split('"').next()));
        }
        found
    }

    #[test]
    fn the_controls_of_numbers_allow_what_the_contract_does() {
        let page = std::str::from_utf8(SERVED[PAGE].asset.2).unwrap();
        let members = DreamSpec::parameters().iter().flat_map(|parameter| match parameter.shape {
            Shape::Object { members, .. } => members().iter(),
            _ => std::slice::from_ref(parameter).iter(),
        });
        let ranges: HashMap<&str, (f64, Option<f64>)> = members
            .filter_map(|parameter| match parameter.shape {
                // The largest seed has more digits than anyone types.
                Shape::Whole(low, high) => {
                    Some((parameter.name, (low as f64, u32::try_from(high).ok().map(f64::from))))
                }
                Shape::Number(low, high) => Some((parameter.name, (low, Some(high)))),
                _ => None,
            })
            .collect();
        let mut compared = 0;
        for control in page.split("<input ").skip(1).filter(|tag| tag.contains("type=\"number\"")) {
            let attribute = |name: &str| control.split(&format!("{name}=\"")).nth(1)?.split('"').next();
            let number = |name: &str| attribute(name).map(|text| text.parse::<f64>().unwrap());
            let name = attribute("id").unwrap();
            assert_eq!((number("min").unwrap(), number("max")), ranges[name], "{name}");
            compared += 1;
        }
        assert!(compared >= 5, "{compared} controls");
    }

    #[test]
    fn browsers_ask_for_html() {
        let asks = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            wants_html(&headers)
        };
        assert!(asks("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(!asks("*/*") && !asks("application/json") && !wants_html(&HeaderMap::new()));
    }
}
