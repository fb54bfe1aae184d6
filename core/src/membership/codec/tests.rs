use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

use foca::{Codec as _, Header, Member, Message, State};
use proptest::prelude::*;

use super::*;

fn identity(node: &str, swim: &str, raft: Option<&str>) -> Identity {
    let swim: SocketAddr = swim.parse().unwrap();
    let raft = raft.map(ToString::to_string);
    Identity::new(node.parse().unwrap(), 7, swim, "host:8770".to_string(), raft).unwrap()
}

fn messages() -> Vec<Message<Identity>> {
    let third = identity("third", "[2001:db8::1]:9", Some("third:4321"));
    let (target, origin, probe_number) = (third.clone(), third, 9);
    let mut messages = alloc::vec![
        Message::Ping(1),
        Message::Ack(2),
        Message::Announce,
        Message::Feed,
        Message::Gossip,
        Message::Broadcast,
        Message::TurnUndead,
    ];
    messages.push(Message::PingReq { target: target.clone(), probe_number });
    messages.push(Message::IndirectPing { origin: origin.clone(), probe_number });
    messages.push(Message::IndirectAck { target, probe_number });
    messages.push(Message::ForwardedAck { origin, probe_number });
    messages
}

fn header(message: Message<Identity>) -> Header<Identity> {
    let src = identity("a", "127.0.0.1:7947", None);
    let dst = identity("b", "[::1]:7947", Some("127.0.0.1:4321"));
    Header { src, src_incarnation: 3, dst, message }
}

fn encoded(header: &Header<Identity>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Codec.encode_header(header, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_message_and_state_reads_back() {
    for message in messages() {
        let header = header(message);
        let bytes = encoded(&header);
        let mut rest = bytes.as_slice();
        assert_eq!(Codec.decode_header(&mut rest), Ok(header));
        assert!(rest.is_empty());
    }
    for state in [State::Alive, State::Suspect, State::Down] {
        let member = Member::new(identity("m", "10.0.0.1:1", Some("r:1")), 65_535, state);
        let mut bytes = Vec::new();
        Codec.encode_member(&member, &mut bytes).unwrap();
        assert_eq!(bytes.len(), size_of(member.id()) + MEMBER_TAIL_BYTES);
        assert_eq!(Codec.decode_member(&mut bytes.as_slice()), Ok(member));
    }
}

#[test]
fn every_cut_is_refused() {
    for message in messages() {
        let bytes = encoded(&header(message));
        for length in 0..bytes.len() {
            let outcome = Codec.decode_header(&mut &bytes[..length]);
            assert!(matches!(outcome, Err(CodecError::Truncated(_))), "{length}: {outcome:?}");
        }
    }
}

#[test]
fn wrong_tags_lengths_and_texts_are_refused() {
    let good = encoded(&header(Message::Gossip));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Codec.decode_header(&mut bytes.as_slice())
    };
    assert_eq!(with(0, 12), Err(CodecError::Tag { what: "message", value: 12 }));
    assert_eq!(with(0, 0), Err(CodecError::Tag { what: "message", value: 0 }));
    // Byte 1 is the length of the sender's node id, byte 2 its only letter.
    assert_eq!(with(1, 255), Err(CodecError::Text("the node id")));
    assert_eq!(with(1, 0), Err(CodecError::Text("the node id")));
    assert_eq!(with(2, b' '), Err(CodecError::Text("the node id")));
    assert_eq!(with(2, 0xff), Err(CodecError::Text("the node id")));
    assert_eq!(with(11, 5), Err(CodecError::Tag { what: "address family", value: 5 }));
}

#[test]
fn the_largest_header_fits_a_packet_and_a_full_packet_refuses_more() {
    let name = "n".repeat(NAME_BYTES_MAX);
    let address = "h".repeat(ADDRESS_BYTES_MAX);
    let swim: SocketAddr = "[2001:db8::1]:65535".parse().unwrap();
    let node_id: NodeId = name.parse().unwrap();
    let large = Identity::new(node_id, u64::MAX, swim, address.clone(), Some(address)).unwrap();
    assert_eq!(size_of(&large), IDENTITY_BYTES_MAX);
    let message = Message::PingReq { target: large.clone(), probe_number: 255 };
    let header = Header { src: large.clone(), src_incarnation: 1, dst: large.clone(), message };
    assert!(encoded(&header).len() <= PACKET_BYTES_MAX);

    let mut small = Vec::new();
    let mut room = (&mut small).limit(IDENTITY_BYTES_MAX);
    assert_eq!(Codec.encode_member(&Member::alive(large), &mut room), Err(CodecError::NoRoom));
    assert!(small.is_empty(), "a member that does not fit leaves nothing behind");
}

#[test]
fn an_announcement_reaches_whoever_listens() {
    let own = identity("c", "10.1.1.1:1", None);
    let stranger = encoded(&header(Message::Announce));
    let readdressed = readdress_announce(&stranger, &own).unwrap().unwrap();
    let read = Codec.decode_header(&mut readdressed.as_slice()).unwrap();
    assert_eq!((read.dst, read.src), (own.clone(), header(Message::Announce).src));
    assert_eq!(readdress_announce(&encoded(&header(Message::Gossip)), &own), Ok(None));
    assert!(readdress_announce(&stranger[..9], &own).is_err());
}

#[test]
fn a_packet_names_its_sender_and_its_members() {
    let mut packet = encoded(&header(Message::Gossip));
    packet.extend_from_slice(&2_u16.to_be_bytes());
    for swim in ["10.0.0.1:1", "10.0.0.2:1"] {
        Codec.encode_member(&Member::alive(identity("m", swim, None)), &mut packet).unwrap();
    }
    let named: Vec<String> =
        addresses_in(&packet).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(named, ["127.0.0.1:7947", "10.0.0.1:1", "10.0.0.2:1"]);
    packet.pop();
    assert!(addresses_in(&packet).is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..PACKET_BYTES_MAX)) {
        let _refused = Codec.decode_header(&mut bytes.as_slice());
        let _refused = Codec.decode_member(&mut bytes.as_slice());
        let _refused = addresses_in(&bytes);
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0_usize..60, byte in any::<u8>()) {
        let mut bytes = encoded(&header(Message::Ping(1)));
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        let _refused = Codec.decode_header(&mut bytes.as_slice());
    }
}
