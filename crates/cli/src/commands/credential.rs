//! `flotilla credential`: the credential plugin that kubectl, Helm and others call.
//!
//! They call it before every request, so a token that still holds is printed without touching the network,
//! and nothing here ever asks a person.

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::context::Context;
use crate::credentials::Session;
use crate::error::CliError;
use crate::hub_url::HubUrl;
use crate::output::write_stdout;
use crate::session;

/// Print a token for kubectl (client.authentication.k8s.io/v1)
///
/// A kubeconfig made by `flotilla kubeconfig` calls this; people seldom do. Never asks for anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla credential --hub https://hub.example.com:8080")]
pub(crate) struct Args {
    /// Hub for which the token is
    #[arg(long, value_name = "URL")]
    hub: Option<HubUrl>,
}

/// Prints an `ExecCredential`.
///
/// # Errors
/// Exit code 3 when there is no session or it is over.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let hub = args.hub.map_or_else(|| context.hub(), Ok)?;
    let stored = session::stored(&context.store, &hub)?;
    let session = if session::needs_renewal(&stored, Timestamp::now()) {
        session::current(&context.store, &hub, &context.transport(&hub)?).await?
    } else {
        stored
    };
    write_stdout(&format!("{}\n", exec_credential(&session)))
}

/// <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>. With an expiry, a client that
/// runs for long asks again when the token has ended.
fn exec_credential(session: &Session) -> Value {
    json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {
            "expirationTimestamp": session.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "token": session.token.expose_secret(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_that_client_go_reads() {
        let session = Session {
            email: "a@b".into(),
            token: "tok".into(),
            refresh_token: "ref".into(),
            obtained_at: Timestamp::UNIX_EPOCH,
            expires_at: "2026-01-02T03:04:05.678Z".parse().unwrap(),
        };
        assert_eq!(
            exec_credential(&session),
            json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                "status": {"expirationTimestamp": "2026-01-02T03:04:05Z", "token": "tok"}})
        );
    }
}
