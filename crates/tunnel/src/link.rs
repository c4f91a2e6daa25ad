//! The byte stream below HTTP/2, with a switch that cuts it and counters of what went through.
//!
//! hyper ends a client connection only when its last stream has ended. A revoked agent must go at once, so the cut is
//! made where no stream can object: the next read fails, HTTP/2 takes that for a broken link, and every stream ends.
//!
//! Must not know: HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::metrics::TunnelMetrics;

/// Handle on a [`Link`].
#[derive(Default)]
pub(crate) struct Control {
    cut: AtomicBool,
    reader: AtomicWaker,
    gone: CancellationToken,
}

impl Control {
    /// Cuts the link. Takes effect when the reader next runs, which this wakes.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Waits until the link has been dropped.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

/// A byte stream that can be cut.
pub(crate) struct Link<IO> {
    io: IO,
    control: Arc<Control>,
    metrics: TunnelMetrics,
}

impl<IO> Link<IO> {
    pub(crate) fn new(io: IO, control: Arc<Control>, metrics: TunnelMetrics) -> Self {
        Self { io, control, metrics }
    }

    fn check(&self) -> io::Result<()> {
        if self.control.is_cut() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl<IO> Drop for Link<IO> {
    fn drop(&mut self) {
        self.control.gone.cancel();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Link<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Registered before the check, so that no cut falls between the two.
        self.control.reader.register(cx.waker());
        self.check()?;
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        self.metrics.received((buf.filled().len() - before) as u64);
        Poll::Ready(result)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Link<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.metrics.sent(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.metrics.sent(written as u64);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.control.is_cut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
