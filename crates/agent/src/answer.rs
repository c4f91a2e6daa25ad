//! Answers of the API server that the agent reads itself.
//!
//! Must not know: what was asked.

use anyhow::{anyhow, ensure};
use flotilla_tunnel::body::Body;
use http_body_util::BodyExt as _;

/// All of a body, unless it is longer than `limit` bytes.
pub(crate) async fn read(mut body: Body, limit: usize) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow!("the answer broke off: {error}"))?;
        answer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        ensure!(answer.len() <= limit, "the answer is larger than {limit} bytes");
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use flotilla_tunnel::body;

    use super::*;

    #[tokio::test]
    async fn reads_up_to_the_limit() {
        assert_eq!(read(body::full("abc"), 3).await.unwrap(), b"abc");
        assert!(read(body::full("abc"), 2).await.unwrap_err().to_string().contains("larger than 2 bytes"));
    }
}
