//! Mail that the hub sends: invitations. Over TLS unless configured otherwise, within a deadline.
//!
//! Must not know: what an invitation is to.

use std::time::Duration;

use anyhow::Context;
use http::StatusCode;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{SUBMISSION_PORT, SUBMISSIONS_PORT};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::config::Mail;
use crate::error::ApiError;
use flotilla_types::problem::Code;

/// Longest wait for the server to take a mail.
const DEADLINE: Duration = Duration::from_secs(20);

/// Sends mail.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// Whom we take the server's certificate from.
fn tls(config: &Mail) -> anyhow::Result<TlsParameters> {
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_file {
        let pem = std::fs::read(path).with_context(|| format!("mail.ca_file {} cannot be read", path.display()))?;
        parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).context("mail.ca_file")?);
    }
    parameters.build().context("mail.host")
}

impl Mailer {
    /// A mailer for this server. Nothing is sent yet.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn new(config: &Mail) -> anyhow::Result<Self> {
        type Smtp = AsyncSmtpTransport<Tokio1Executor>;
        let builder = Smtp::builder_dangerous(&config.host);
        let builder = match config.encryption.as_str() {
            "tls" => builder.port(SUBMISSIONS_PORT).tls(Tls::Wrapper(tls(config)?)),
            "starttls" => builder.port(SUBMISSION_PORT).tls(Tls::Required(tls(config)?)),
            "none" => builder,
            other => anyhow::bail!("mail.encryption is {other:?}; use tls, starttls or none"),
        };
        let builder = config.port.into_iter().fold(builder, lettre::transport::smtp::AsyncSmtpTransportBuilder::port);
        let builder = match (&config.username, &config.password) {
            (Some(user), Some(password)) => {
                builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()))
            }
            (None, None) => builder,
            _ => anyhow::bail!("mail.username and mail.password belong together; give both or neither"),
        };
        let from = config.from.parse().context("mail.from is no sender such as Flotilla <flotilla@example.com>")?;
        Ok(Self { transport: builder.timeout(Some(DEADLINE)).build(), from })
    }

    /// Sends an invitation.
    ///
    /// # Errors
    /// The server does not take it; the invitation itself stands and can be taken back or passed on by link.
    pub async fn invite(
        &self,
        to: &str,
        by: &str,
        place: &str,
        role: &str,
        link: &str,
        token: &str,
    ) -> Result<(), ApiError> {
        let text = format!(
            "{by} invites you to {place} on Flotilla, as {role}.\n\nAccept here, once:\n\n  {link}\n\n\
             or on the command line, with the code {token}:\n\n  flotilla invite accept\n\n\
             Whoever has this mail can accept in your place: do not pass it on.\n"
        );
        let to: Mailbox =
            to.parse().map_err(|_| ApiError::invalid(format!("{to} is no address that mail can go to")))?;
        let mail = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(format!("Invitation to {place}"))
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| ApiError::internal(&error))?;
        let sent = tokio::time::timeout(DEADLINE, self.transport.send(mail)).await;
        let failed = |reason: String| {
            tracing::warn!(reason, "mail was not taken");
            let detail = "the mail server did not take the invitation; try again, or invite without an address and pass the link on";
            ApiError::new(StatusCode::BAD_GATEWAY, Code::Unreachable, detail)
        };
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("no answer in time".to_owned())),
        }
    }
}
