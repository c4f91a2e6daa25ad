//! Signing in with a browser: through a port of this machine (RFC 8252, with PKCE), or on another device (RFC 8628).
//!
//! Must not know: where tokens are kept.

use std::process::Stdio;
use std::time::{Duration, Instant};

use flotilla_identity::oidc::{challenge, new_secret};
use flotilla_types::api::TokenResponse;
use flotilla_types::sign_in::{DeviceAuthorization, DeviceTokenRequest, ExchangeRequest};
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::error::{CliError, Doing};
use crate::hub_client::{Answer, Call, CallError, Transport};
use crate::hub_url::HubUrl;
use crate::terminal;

/// How long a person may take in the browser.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a browser may take to send one request to us.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Longest request line that is read, in bytes.
const MAX_LINE: u64 = 8 * 1024;

/// RFC 8628 section 3.5: by so much the interval grows when the hub says `slow_down`.
const SLOWER: Duration = Duration::from_secs(5);

/// Signs in through the browser of this machine.
///
/// # Errors
/// Exit code 3 when the person denies, the hub refuses, or nobody answers within ten minutes.
pub(crate) async fn by_browser(hub: &HubUrl, transport: &Transport) -> Result<Answer<TokenResponse>, CliError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.doing("listen for the browser")?;
    let redirect_uri = format!("http://{}/", listener.local_addr().doing("listen for the browser")?);
    let (state, verifier) = (new_secret().value, new_secret().value);
    let mut url = hub.join(&["auth", "cli"]);
    url.query_pairs_mut()
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("state", state.expose_secret())
        .append_pair("code_challenge", &challenge(&verifier));
    terminal::note("opening the browser; if none opens here, visit the address, or run: flotilla login --device");
    terminal::note(url.as_str());
    open(&url);
    let waiting = tokio::time::timeout(PATIENCE, wait_for_code(&listener, state.expose_secret()));
    let code = waiting.await.map_err(|_| CliError::not_signed_in("nobody signed in within ten minutes"))??;
    let body = ExchangeRequest {
        code,
        code_verifier: Some(verifier.expose_secret().to_owned()),
        redirect_uri: Some(redirect_uri),
    };
    Ok(transport.call(&Call::post(&["auth", "oauth", "exchange"]).json(&body)?, None).await?)
}

/// Signs in with a browser anywhere.
///
/// # Errors
/// As [`by_browser`].
pub(crate) async fn by_device(transport: &Transport) -> Result<Answer<TokenResponse>, CliError> {
    let device: DeviceAuthorization = transport.call(&Call::post(&["auth", "device"]), None).await?.body;
    terminal::note(&format!("visit {} and type the code {}", device.verification_uri, device.user_code));
    terminal::note(&format!("or follow {}", device.verification_uri_complete));
    let body = DeviceTokenRequest { device_code: device.device_code };
    let call = Call::post(&["auth", "device", "token"]).json(&body)?;
    let mut interval = Duration::from_secs(device.interval);
    let ends = Instant::now() + Duration::from_secs(device.expires_in);
    let ran_out = || CliError::not_signed_in("the code ran out; run flotilla login --device again");
    loop {
        tokio::time::sleep(interval).await;
        // A hub that stays away would never say so.
        if Instant::now() > ends {
            return Err(ran_out());
        }
        match transport.call(&call, None).await {
            Ok(answer) => return Ok(answer),
            Err(CallError::Refused { status: StatusCode::BAD_REQUEST, detail, .. }) => match detail.as_str() {
                "authorization_pending" => {}
                "slow_down" => interval += SLOWER,
                "access_denied" => return Err(CliError::not_signed_in("the sign-in was denied")),
                _ => return Err(ran_out()),
            },
            // The hub may be away for a moment while the person is busy in the browser.
            Err(CallError::Unreachable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts the system's browser. That there is none is no error: the address was printed.
fn open(url: &Url) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(opener);
    let _ = command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

/// Waits for the browser that comes back with our state. Whoever else comes to the port is told nothing.
async fn wait_for_code(listener: &TcpListener, state: &str) -> Result<String, CliError> {
    loop {
        let (stream, _) = listener.accept().await.doing("listen for the browser")?;
        // Browsers open connections ahead and send nothing on them.
        let Ok(Ok(Some(answer))) = tokio::time::timeout(REQUEST_DEADLINE, visit(stream, state)).await else { continue };
        return answer.map_err(|()| CliError::not_signed_in("the sign-in was denied in the browser"));
    }
}

/// One request: the code, that it was denied, or nothing of ours.
async fn visit(stream: TcpStream, state: &str) -> std::io::Result<Option<Result<String, ()>>> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    tokio::io::AsyncReadExt::take(&mut stream, MAX_LINE).read_line(&mut line).await?;
    let answer = answer_of(&line, state);
    let (status, text) = match &answer {
        Some(Ok(_)) => ("200 OK", "You are signed in on the command line. You can close this page."),
        Some(Err(())) => ("200 OK", "The command line stays out. You can close this page."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answered = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.get_mut().write_all(answered.as_bytes()).await?;
    stream.get_mut().shutdown().await?;
    Ok(answer)
}

fn answer_of(line: &str, state: &str) -> Option<Result<String, ()>> {
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let url = Url::parse("http://127.0.0.1/").ok()?.join(target).ok()?;
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if value("state")? != state {
        return None;
    }
    Some(value("code").ok_or(()))
}

#[cfg(test)]
mod tests {
    use super::answer_of;

    #[test]
    fn only_our_own_answer_counts() {
        assert_eq!(answer_of("GET /?code=c&state=s HTTP/1.1\r\n", "s"), Some(Ok("c".to_owned())));
        assert_eq!(answer_of("GET /?error=access_denied&state=s HTTP/1.1\r\n", "s"), Some(Err(())));
        for other in
            ["GET /?code=c&state=x HTTP/1.1", "GET /favicon.ico HTTP/1.1", "POST /?code=c&state=s HTTP/1.1", ""]
        {
            assert_eq!(answer_of(other, "s"), None, "{other}");
        }
    }
}
