//! What stands around a packet on the network. The one place that closes and opens datagrams, so that
//! encryption has one place to go to.

/// Begins every datagram: `RRG` and the version of the format.
const MAGIC: [u8; 4] = *b"RRG\x01";
const HEADER_BYTES: usize = MAGIC.len() + size_of::<u64>();

/// Marks this cluster's datagrams, so that two clusters on one network do not grow together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Envelope {
    header: [u8; HEADER_BYTES],
}

impl Envelope {
    pub(super) fn of_cluster(cluster: &str) -> Self {
        let mut header = [0; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(&MAGIC);
        header[MAGIC.len()..].copy_from_slice(&hash(cluster).to_be_bytes());
        Self { header }
    }

    pub(super) fn close(self, packet: &[u8]) -> Vec<u8> {
        [self.header.as_slice(), packet].concat()
    }

    /// The packet inside; nothing when the datagram is not of this cluster.
    pub(super) fn open(self, datagram: &[u8]) -> Option<&[u8]> {
        datagram.strip_prefix(self.header.as_slice())
    }
}

/// FNV-1a of the cluster's name. It guards against mistakes, not against attackers.
fn hash(cluster: &str) -> u64 {
    cluster.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_clusters_datagrams_open() {
        let ours = Envelope::of_cluster("blue");
        let datagram = ours.close(b"ping");
        assert_eq!(ours.open(&datagram), Some(&b"ping"[..]));
        assert_eq!(Envelope::of_cluster("green").open(&datagram), None);
        assert_eq!(ours.open(&datagram[..HEADER_BYTES - 1]), None);
        assert_eq!(ours.open(b""), None);
        let mut newer = datagram;
        newer[3] = 2;
        assert_eq!(ours.open(&newer), None, "another version of the format");
    }
}
