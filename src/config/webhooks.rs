//! `[webhooks]`: the secrets that sign webhooks.

use super::{Fields, secret_files};
use crate::keys::{Tenant, WebhookSecret};

/// Secrets for webhooks. Without any, the server takes no webhooks and delivers none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Each with the tenant whose messages it signs; `None` for those of every tenant without secrets of its own.
    pub secrets: Vec<(Option<Tenant>, WebhookSecret)>,
}

impl WebhooksConfig {
    /// The secrets that sign a tenant's messages: its own, or those for all. A message carries a signature by each, so
    /// that a receiver may know the old or the new one while they are changed.
    pub fn secrets_of(&self, tenant: &Tenant) -> Vec<&WebhookSecret> {
        let of = |wanted: Option<&Tenant>| -> Vec<&WebhookSecret> {
            let matching = self.secrets.iter().filter(|(named, _)| named.as_ref() == wanted);
            matching.map(|(_, secret)| secret).collect()
        };
        let own = of(Some(tenant));
        if own.is_empty() { of(None) } else { own }
    }
}

pub(super) fn webhooks(fields: &mut Fields, default: WebhooksConfig) -> WebhooksConfig {
    let Some(texts) = secret_files::texts(fields, "secrets") else { return default };
    let mut secrets = Vec::with_capacity(texts.len());
    for text in texts {
        let text = text.trim();
        // The end of the base64 may have the same character.
        let (tenant, secret) = match text.split_once("=whsec_") {
            Some((tenant, _)) => (Some(tenant.parse::<Tenant>()), &text[tenant.len() + 1..]),
            None => (None, text),
        };
        match (tenant.transpose(), secret.parse::<WebhookSecret>()) {
            (Ok(tenant), Ok(secret)) => secrets.push((tenant, secret)),
            // The messages do not repeat the secret.
            (Err(error), _) => fields.error("secrets", error.to_string()),
            (_, Err(error)) => fields.error("secrets", format!("{error}, or TENANT=whsec_…")),
        }
    }
    WebhooksConfig { secrets }
}
