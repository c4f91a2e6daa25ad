//! AWS Signature Version 4 in the query string
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
//!
//! Must not know: what is signed, where keys come from.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;

use crate::error::UpstreamError;

/// The address of a `GET` without a body, with its signature over host, query and `headers`.
pub(super) fn presign(
    url: &str,
    headers: &[(&str, &str)],
    region: &str,
    service: &str,
    keys: &Credentials,
    at: SystemTime,
    expires: Duration,
) -> Result<String, UpstreamError> {
    let failed =
        |why: &dyn std::fmt::Display| UpstreamError::credentials(format!("the request cannot be signed: {why}"));
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires);
    let identity = keys.clone().into();
    let params = SigningParams::builder().identity(&identity).region(region).name(service).time(at).settings(settings);
    let params = params.build().map_err(|error| failed(&error))?.into();
    let signable = SignableRequest::new("GET", url, headers.iter().copied(), SignableBody::Bytes(&[]));
    let signed = sign(signable.map_err(|error| failed(&error))?, &params).map_err(|error| failed(&error))?;
    let (instructions, _) = signed.into_parts();
    let mut request = http::Request::new(());
    *request.uri_mut() = url.parse().map_err(|error: http::uri::InvalidUri| failed(&error))?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// From AWS's published test suite (`aws-signing-test-suite/v4/<name>/query-signature.txt` in the AWS SDKs).
    const VECTORS: [(&str, &str, Option<&str>, &str); 4] = [
        ("get-vanilla", "/", None, "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"),
        (
            "get-vanilla-with-session-token",
            "/",
            Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
            "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c",
        ),
        (
            "get-vanilla-query-order-key-case",
            "/?Param2=value2&Param1=value1",
            None,
            "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5",
        ),
        (
            "get-vanilla-query-unreserved",
            "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            None,
            "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf",
        ),
    ];

    #[test]
    fn published_vectors() {
        // 2015-08-30T12:36:00Z
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        for (name, target, token, signature) in VECTORS {
            let keys = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                token.map(str::to_owned),
                None,
                "test",
            );
            let url = format!("https://example.amazonaws.com{target}");
            let expires = Duration::from_secs(3600);
            let signed = presign(&url, &[], "us-east-1", "service", &keys, at, expires).unwrap();
            let query = signed.split_once('?').unwrap().1;
            let pairs: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            assert_eq!(pairs["X-Amz-Signature"], signature, "{name}");
            assert_eq!(pairs["X-Amz-SignedHeaders"], "host", "{name}");
        }
    }
}
