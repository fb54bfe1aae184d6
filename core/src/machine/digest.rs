//! Deterministic mixing: the digest of a request, and the chance of a backoff. Written out, since
//! the standard library's hashes may differ between versions and replicas may not.

use crate::queue::item::{Dependency, Element, Needs, NewItem, Origin, Payload, Predecessor};
use crate::queue::resources::Demand;

/// FNV-1a over 128 bits. Not a defence against someone who looks for collisions: who finds one gets
/// the answer to an older request of his own.
struct Fnv(u128);

impl Fnv {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// The length goes first, so that neighbouring texts cannot trade characters.
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn payload(&mut self, payload: &Payload) {
        match payload {
            Payload::Opaque(text) => {
                self.number(0);
                self.text(text);
            }
            Payload::OfRun(Origin { run, matchup, index, replay }) => {
                self.number(1);
                self.text(run.as_str());
                self.number(u64::from(*matchup));
                self.number(u64::from(*index));
                self.number(u64::from(*replay));
            }
            Payload::OfArray(Element { array, index }) => {
                self.number(2);
                self.number(array.0);
                self.number(u64::from(*index));
            }
        }
    }
}

/// The digest of everything that a request says, and of how many items it asks for when it asks for an
/// array.
pub(super) fn of_request(request: &NewItem, count: Option<u32>) -> [u64; 2] {
    let NewItem {
        key,
        queue,
        work_type,
        priority,
        payload,
        needs,
        attempts_max,
        attempt_timeout,
        pending_timeout,
        total_timeout,
        delay,
        group,
        after,
        notify,
    } = request;
    let mut fnv = Fnv(Fnv::BASIS);
    fnv.text(key.as_deref().unwrap_or_default());
    fnv.text(queue.as_str());
    fnv.text(work_type);
    fnv.number(u64::from(*priority));
    fnv.payload(payload);
    let Needs { capabilities, labels, demand } = needs;
    let Demand { cpu_milli, memory_mib, gpu_milli, disk_floor_mib } = demand;
    for number in [cpu_milli, memory_mib, gpu_milli, disk_floor_mib] {
        fnv.number(u64::from(*number));
    }
    fnv.number(capabilities.len() as u64);
    for capability in capabilities {
        fnv.text(capability);
    }
    for (label, value) in labels {
        fnv.text(label);
        fnv.text(value);
    }
    fnv.number(u64::from(*attempts_max));
    fnv.number(attempt_timeout.0);
    // A span is never nothing, so nothing is free to say that there is none.
    fnv.number(pending_timeout.unwrap_or_default().0);
    fnv.number(total_timeout.unwrap_or_default().0);
    fnv.number(delay.0);
    fnv.text(group.as_ref().map_or("", |group| group.as_str()));
    for Dependency { on, ok } in after {
        let (kind, number) = match on {
            Predecessor::Item(id) => (0, id.0),
            Predecessor::Earlier(place) => (1, u64::from(*place)),
        };
        fnv.number(kind);
        fnv.number(number);
        fnv.number(u64::from(*ok));
    }
    // Nothing is written for a request that does not ask for it.
    if *notify {
        fnv.number(1);
    }
    if let Some(count) = count {
        fnv.number(2);
        fnv.number(u64::from(count));
    }
    let [high, low] = [fnv.0 >> 64, fnv.0 & u128::from(u64::MAX)];
    [u64::try_from(high).unwrap_or_default(), u64::try_from(low).unwrap_or_default()]
}

/// A number that looks random and is the same on every replica: one step of SplitMix64 for each
/// argument.
pub(super) const fn chance(first: u64, second: u64) -> u64 {
    mix(mix(first).wrapping_add(second))
}

const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
