//! The packet format: every length is checked before it is believed.
//!
//! A packet is a header and, for most messages, a count and as many members. All numbers are
//! big-endian; a text is its length in one byte and its bytes.
//!
//! | part | layout |
//! |---|---|
//! | header | message tag, sender, its incarnation (2), addressee, what the message adds |
//! | what a message adds | a probe number (1) for pings; for indirect ones a third identity before it |
//! | identity | node id, generation (8), 4 or 6, IP address (4 or 16), port (2), HTTP address, Raft address or an empty text |
//! | member | identity, incarnation (2), state (1) |

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Codec as _, Header, Message, State};

use super::identity::{ADDRESS_BYTES_MAX, Identity};
use crate::id::NodeId;
use crate::limits::NAME_BYTES_MAX;

/// Largest packet: below the 1,400 bytes that pass every usual network in one piece, with 64 left for
/// what the shell adds (cluster, sealing).
pub const PACKET_BYTES_MAX: usize = 1_336;

const TEXT_LENGTH_BYTES: usize = 1;
const IDENTITY_BYTES_MAX: usize = (TEXT_LENGTH_BYTES + NAME_BYTES_MAX)
    + 8
    + (1 + 16 + 2)
    + 2 * (TEXT_LENGTH_BYTES + ADDRESS_BYTES_MAX);
/// One byte each of node id and HTTP address, IPv4, no Raft address.
const IDENTITY_BYTES_MIN: usize = 2 + 8 + (1 + 4 + 2) + 2 + 1;
const MEMBER_TAIL_BYTES: usize = 3;
/// The most members that one packet can name, its sender included.
pub(super) const PACKET_MEMBERS_MAX: usize =
    PACKET_BYTES_MAX / (IDENTITY_BYTES_MIN + MEMBER_TAIL_BYTES) + 1;

const _: () = assert!(1 + 3 * IDENTITY_BYTES_MAX + 2 + 1 + 2 <= PACKET_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize && ADDRESS_BYTES_MAX <= u8::MAX as usize);

/// Tag of an announcement, by which a stranger asks to be let in.
const ANNOUNCE: u8 = 7;

/// Why bytes are not a packet, or a packet does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The packet ends in the middle of something.
    #[error("the packet ends inside {0}")]
    Truncated(&'static str),
    /// A tag that this version does not know.
    #[error("{value} is no {what}")]
    Tag {
        /// What the tag says.
        what: &'static str,
        /// The refused tag.
        value: u8,
    },
    /// A text is not UTF-8, too long, or breaks the rules of its field.
    #[error("{0} is not valid")]
    Text(&'static str),
    /// No room is left in the packet.
    #[error("the packet has no room left")]
    NoRoom,
}

/// The packet format as foca wants it. It has no state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Codec;

impl foca::Codec<Identity> for Codec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        let (tag, third, probe) = parts(&header.message);
        let size = 1 + size_of(&header.src) + 2 + size_of(&header.dst);
        let size = size + third.map_or(0, size_of) + usize::from(probe.is_some());
        if buf.remaining_mut() < size {
            return Err(CodecError::NoRoom);
        }
        buf.put_u8(tag);
        put_identity(&header.src, &mut buf)?;
        buf.put_u16(header.src_incarnation);
        put_identity(&header.dst, &mut buf)?;
        if let Some(third) = third {
            put_identity(third, &mut buf)?;
        }
        if let Some(probe) = probe {
            buf.put_u8(probe);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, CodecError> {
        let tag = take_u8(&mut buf, "the message tag")?;
        let src = take_identity(&mut buf)?;
        let src_incarnation = take_u16(&mut buf, "the incarnation")?;
        let dst = take_identity(&mut buf)?;
        let message = take_message(tag, &mut buf)?;
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<Identity>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        if buf.remaining_mut() < size_of(member.id()) + MEMBER_TAIL_BYTES {
            return Err(CodecError::NoRoom);
        }
        put_identity(member.id(), &mut buf)?;
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<foca::Member<Identity>, CodecError> {
        let identity = take_identity(&mut buf)?;
        let incarnation = take_u16(&mut buf, "the incarnation")?;
        let state = match take_u8(&mut buf, "the member's state")? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            value => {
                return Err(CodecError::Tag { what: "member state", value });
            }
        };
        Ok(foca::Member::new(identity, incarnation, state))
    }
}

/// The announcement in `packet` as meant for `own`; nothing when the packet is something else. Who
/// joins knows a host and a port, not who listens there, nor by which address it calls itself.
pub(super) fn readdress_announce(
    packet: &[u8],
    own: &Identity,
) -> Result<Option<Vec<u8>>, CodecError> {
    if packet.first() != Some(&ANNOUNCE) {
        return Ok(None);
    }
    let mut rest = packet;
    let header = Header { dst: own.clone(), ..Codec.decode_header(&mut rest)? };
    let mut readdressed = Vec::with_capacity(packet.len());
    Codec.encode_header(&header, &mut readdressed)?;
    readdressed.extend_from_slice(rest);
    Ok(Some(readdressed))
}

/// The gossip addresses of everybody that a packet names.
pub(super) fn addresses_in(packet: &[u8]) -> Result<Vec<SocketAddr>, CodecError> {
    let mut rest = packet;
    let header = Codec.decode_header(&mut rest)?;
    let mut addresses = Vec::with_capacity(PACKET_MEMBERS_MAX);
    addresses.push(header.src.swim_address());
    if rest.len() < 2 {
        return Ok(addresses);
    }
    for _ in 0..rest.get_u16() {
        addresses.push(Codec.decode_member(&mut rest)?.id().swim_address());
    }
    Ok(addresses)
}

fn parts(message: &Message<Identity>) -> (u8, Option<&Identity>, Option<u8>) {
    match message {
        Message::Ping(probe) => (1, None, Some(*probe)),
        Message::Ack(probe) => (2, None, Some(*probe)),
        Message::PingReq { target, probe_number } => (3, Some(target), Some(*probe_number)),
        Message::IndirectPing { origin, probe_number } => (4, Some(origin), Some(*probe_number)),
        Message::IndirectAck { target, probe_number } => (5, Some(target), Some(*probe_number)),
        Message::ForwardedAck { origin, probe_number } => (6, Some(origin), Some(*probe_number)),
        Message::Announce => (ANNOUNCE, None, None),
        Message::Feed => (8, None, None),
        Message::Gossip => (9, None, None),
        Message::Broadcast => (10, None, None),
        Message::TurnUndead => (11, None, None),
    }
}

fn take_message(tag: u8, buf: &mut impl Buf) -> Result<Message<Identity>, CodecError> {
    let probe = |buf: &mut _| take_u8(buf, "the probe number");
    Ok(match tag {
        1 => Message::Ping(probe(buf)?),
        2 => Message::Ack(probe(buf)?),
        3 => Message::PingReq { target: take_identity(buf)?, probe_number: probe(buf)? },
        4 => Message::IndirectPing { origin: take_identity(buf)?, probe_number: probe(buf)? },
        5 => Message::IndirectAck { target: take_identity(buf)?, probe_number: probe(buf)? },
        6 => Message::ForwardedAck { origin: take_identity(buf)?, probe_number: probe(buf)? },
        ANNOUNCE => Message::Announce,
        8 => Message::Feed,
        9 => Message::Gossip,
        10 => Message::Broadcast,
        11 => Message::TurnUndead,
        value => {
            return Err(CodecError::Tag { what: "message", value });
        }
    })
}

fn size_of(identity: &Identity) -> usize {
    let ip_bytes = if identity.swim_address().is_ipv4() { 4 } else { 16 };
    let texts = identity.node_id().as_str().len()
        + identity.http_address().len()
        + identity.raft_address().map_or(0, str::len);
    3 * TEXT_LENGTH_BYTES + texts + 8 + 1 + ip_bytes + 2
}

/// The caller has made sure of the room.
fn put_identity(identity: &Identity, buf: &mut impl BufMut) -> Result<(), CodecError> {
    put_text(identity.node_id().as_str(), buf)?;
    buf.put_u64(identity.generation());
    match identity.swim_address().ip() {
        IpAddr::V4(ip) => {
            buf.put_u8(4);
            buf.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            buf.put_u8(6);
            buf.put_slice(&ip.octets());
        }
    }
    buf.put_u16(identity.swim_address().port());
    put_text(identity.http_address(), buf)?;
    put_text(identity.raft_address().unwrap_or_default(), buf)
}

fn put_text(text: &str, buf: &mut impl BufMut) -> Result<(), CodecError> {
    let length = u8::try_from(text.len()).map_err(|_too_long| CodecError::Text("a text"))?;
    buf.put_u8(length);
    buf.put_slice(text.as_bytes());
    Ok(())
}

fn take_identity(buf: &mut impl Buf) -> Result<Identity, CodecError> {
    let node_id = take_text(buf, NAME_BYTES_MAX, "the node id")?;
    let node_id = NodeId::try_from(node_id).map_err(|_named| CodecError::Text("the node id"))?;
    ensure(buf, 8, "the generation")?;
    let generation = buf.get_u64();
    let ip = match take_u8(buf, "the address family")? {
        4 => {
            ensure(buf, 4, "the IP address")?;
            IpAddr::V4(Ipv4Addr::from(buf.get_u32()))
        }
        6 => {
            ensure(buf, 16, "the IP address")?;
            IpAddr::V6(Ipv6Addr::from(buf.get_u128()))
        }
        value => {
            return Err(CodecError::Tag { what: "address family", value });
        }
    };
    let port = take_u16(buf, "the port")?;
    let http_address = take_text(buf, ADDRESS_BYTES_MAX, "the HTTP address")?;
    let raft_address = take_text(buf, ADDRESS_BYTES_MAX, "the Raft address")?;
    let raft_address = (!raft_address.is_empty()).then_some(raft_address);
    Identity::new(node_id, generation, SocketAddr::new(ip, port), http_address, raft_address)
        .map_err(|_named| CodecError::Text("an address of the identity"))
}

fn take_text(buf: &mut impl Buf, max: usize, what: &'static str) -> Result<String, CodecError> {
    let length = usize::from(take_u8(buf, what)?);
    if length > max {
        return Err(CodecError::Text(what));
    }
    ensure(buf, length, what)?;
    let mut bytes = alloc::vec![0; length];
    buf.copy_to_slice(&mut bytes);
    String::from_utf8(bytes).map_err(|_not_utf8| CodecError::Text(what))
}

fn take_u8(buf: &mut impl Buf, what: &'static str) -> Result<u8, CodecError> {
    ensure(buf, 1, what)?;
    Ok(buf.get_u8())
}

fn take_u16(buf: &mut impl Buf, what: &'static str) -> Result<u16, CodecError> {
    ensure(buf, 2, what)?;
    Ok(buf.get_u16())
}

fn ensure(buf: &impl Buf, bytes: usize, what: &'static str) -> Result<(), CodecError> {
    if buf.remaining() < bytes { Err(CodecError::Truncated(what)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
