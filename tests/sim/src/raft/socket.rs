//! The ends of connections, as the agents hold them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use ringrift_agent::consensus::simulation::{Incoming, Listener, Stream, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::raft::net::{Net, PipeId, address_of};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// What comes in on a connection.
pub(crate) struct Input {
    pub(super) net: Net,
    pub(super) pipe: PipeId,
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut room = vec![0; buffer.remaining().min(READ_BYTES)];
        match self.net.read(self.pipe, &mut room, Some(context.waker())) {
            None => Poll::Pending,
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(count)) => {
                buffer.put_slice(room.get(..count).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Incoming for Input {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.net.read(self.pipe, buffer, None);
        read.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.net.forget_reader(self.pipe);
    }
}

/// What goes out on a connection.
pub(crate) struct Output {
    pub(super) net: Net,
    pub(super) pipe: PipeId,
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.net.write(self.pipe, bytes, context.waker()).map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.net.forget_writer(self.pipe);
    }
}

/// The network as one host has it.
pub(crate) struct Port {
    pub(super) net: Net,
    pub(super) host: usize,
}

impl Transport for Port {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Stream>> {
        let dialled = self.net.dial(self.host, address);
        Box::pin(async move {
            // The network ends with the world.
            dialled?.await.unwrap_or_else(|_gone| Err(io::ErrorKind::NotConnected.into()))
        })
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let listener: Box<dyn Listener> = Box::new(Self { net: self.net.clone(), host: self.host });
        Box::pin(async move { Ok(listener) })
    }
}

impl Listener for Port {
    fn address(&self) -> io::Result<SocketAddr> {
        Ok(address_of(self.host))
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(std::future::poll_fn(|context| {
            match self.net.accept(self.host, context.waker()) {
                None => Poll::Pending,
                Some((stream, from)) => Poll::Ready(Ok((stream, address_of(from)))),
            }
        }))
    }
}
