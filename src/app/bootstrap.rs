//! The first key: made at the start from the configuration, so that there is one to make others with.

use std::fs;

use tracing::warn;

use super::StartError;
use crate::{
    config::{AuthConfig, AuthMode},
    jobs::JobQueue,
    keys::{NewKey, Scopes, Tenant, Token},
};

/// Adds the configured key with all scopes, of the default tenant. A key that is there stays as it is: one that was
/// revoked does not come back with a restart.
pub(super) async fn add_key(queue: &dyn JobQueue, auth: &AuthConfig) -> Result<(), StartError> {
    if auth.mode == AuthMode::Off {
        return Ok(());
    }
    let Some(token) = configured(auth)? else { return Ok(()) };
    queue.add_key(&NewKey::new(&token, Tenant::DEFAULT, Scopes::all())).await?;
    let stored = queue.find_key(token.id()).await?;
    match stored {
        Some(stored) if stored.key.revoked_at.is_some() => {
            warn!(key = %token.id(), "the bootstrap key was revoked and opens nothing; remove it from the settings");
        }
        Some(stored) if stored.digest.matches(&token) => {}
        _ => {
            warn!(key = %token.id(), "another key has the id of the bootstrap key, which opens nothing; make a new one")
        }
    }
    Ok(())
}

/// The key from the settings, or from the file that they name.
fn configured(auth: &AuthConfig) -> Result<Option<Token>, StartError> {
    let Some(path) = &auth.bootstrap_key_file else { return Ok(auth.bootstrap_key.clone()) };
    let failed = |problem: String| StartError::Bootstrap { path: path.clone(), problem };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.trim().parse().map(Some).map_err(|error: crate::keys::MalformedToken| failed(error.to_string()))
}
