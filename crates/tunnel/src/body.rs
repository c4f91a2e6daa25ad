//! The one body type that passes between crates: streaming, boxed, of `Bytes`.
//!
//! Must not know: where a body comes from or goes to.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streaming HTTP body. Nothing is read ahead of whoever polls it.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body without content.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is all in memory.
pub fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Boxes any body.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body that never yields an empty data frame.
///
/// The `h2` crate closes a connection after 100 empty DATA frames in its whole life (its answer to a flood of them),
/// and any upstream may legally send one now and then. On a connection that lives for days, that is an outage.
pub(crate) struct NonEmpty<B>(pub(crate) B);

impl<B> http_body::Body for NonEmpty<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            let next = ready!(Pin::new(&mut self.0).poll_frame(cx));
            if !matches!(&next, Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty)) {
                return Poll::Ready(next);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    #[tokio::test]
    async fn empty_frames_are_left_out_and_others_kept() {
        let frames = ["", "a", "", "", "b", ""].map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
        let mut body = NonEmpty(StreamBody::new(stream::iter(frames)));
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            seen.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(seen, ["a", "b"]);
    }
}
