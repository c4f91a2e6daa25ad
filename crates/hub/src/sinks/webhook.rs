//! Rows as JSON lines in a POST, signed as Standard Webhooks (<https://www.standardwebhooks.com>) has it: HMAC-SHA256
//! over `id.timestamp.body` in `webhook-signature: v1,<base64>`.
//!
//! The id follows from the rows, so a batch that comes twice has the same id.
//!
//! Must not know: when to try again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flotilla_types::audit::AuditRow;
use flotilla_types::time::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, redirect};

use crate::config::Sink;

/// Longest time for one request.
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) struct Webhook {
    url: String,
    key: hmac::Key,
    client: Client,
}

impl Webhook {
    pub(super) fn new(url: String, sink: &Sink) -> Result<Self> {
        let secret = sink.secret.as_ref().context("it has no secret")?.expose();
        let mut builder = Client::builder().timeout(DEADLINE).redirect(redirect::Policy::none());
        if let Some(path) = &sink.ca_file {
            let pem = std::fs::read(path).with_context(|| format!("ca_file {} cannot be read", path.display()))?;
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem)?);
        }
        let client = builder.build()?;
        Ok(Self { url, key: hmac::Key::new(hmac::HMAC_SHA256, &key_of(secret)), client })
    }

    pub(super) async fn deliver(&self, rows: &[AuditRow]) -> Result<()> {
        let mut body = Vec::with_capacity(1024 * rows.len());
        for row in rows {
            serde_json::to_writer(&mut body, row)?;
            body.push(b'\n');
        }
        let id = rows.first().map(|row| row.id.to_string()).unwrap_or_default();
        let timestamp = Timestamp::now().as_second();
        let signature = sign(&self.key, &id, timestamp, &body);
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/x-ndjson").header("webhook-id", id);
        let request = request.header("webhook-timestamp", timestamp).header("webhook-signature", signature);
        // The address may hold a token, so the error must not.
        let response = request.body(body).send().await.map_err(reqwest::Error::without_url)?;
        ensure!(response.status().is_success(), "the receiver answered {}", response.status());
        Ok(())
    }
}

/// `whsec_` and base64, as the standard writes secrets, or any text.
fn key_of(secret: &str) -> Vec<u8> {
    let standard = secret.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    standard.unwrap_or_else(|| secret.as_bytes().to_vec())
}

fn sign(key: &hmac::Key, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signs_as_the_standard_does() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let signature = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
