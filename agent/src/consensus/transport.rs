//! Where connections come from: the kernel, or a simulated network that a seed decides.

use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

/// Opens connections and listens for them.
pub trait Transport: Send + Sync + 'static {
    /// Connects to a host and port.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Stream>>;

    /// Listens; port 0 takes a free one.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
}

/// Hands over the connections that others open.
pub trait Listener: Send + Sync + 'static {
    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not know.
    fn address(&self) -> io::Result<SocketAddr>;

    /// The next connection, and whose it is.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>>;
}

/// What comes in on a connection.
pub trait Incoming: AsyncRead + Send + Sync + Unpin + 'static {
    /// Reads what is there without waiting for more; zero bytes are the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there, others when the connection broke.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A connection's two directions.
pub struct Stream {
    /// From the peer.
    pub incoming: Box<dyn Incoming>,
    /// To the peer; dropping it ends the direction.
    pub outgoing: Box<dyn AsyncWrite + Send + Sync + Unpin>,
}

/// The kernel's TCP.
pub(super) struct Tcp;

impl Transport for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Stream>> {
        Box::pin(async move { TcpStream::connect(address).await.map(Stream::of) })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener: Box<dyn Listener> = Box::new(TcpListener::bind(address).await?);
            Ok(listener)
        })
    }
}

impl Listener for TcpListener {
    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = Self::accept(self).await?;
            Ok((Stream::of(stream), from))
        })
    }
}

impl Incoming for OwnedReadHalf {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }
}

impl Stream {
    /// Both directions of a connection of the kernel's.
    pub(super) fn of(stream: TcpStream) -> Self {
        // Appends and votes are small and urgent. Without this they are slow, not wrong; it fails when
        // the peer has gone already, which reading tells.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self { incoming: Box::new(reader), outgoing: Box::new(writer) }
    }
}
