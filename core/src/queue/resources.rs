//! What items need of a machine, and which part of a node a claim reserves.
//!
//! Placement inside a node: whole devices are taken from those that nobody uses, lowest number
//! first. Fractions go where the least is left that still suffices (best fit), so that whole devices
//! stay whole.
//!
//! What a node has is said by its agent, which measures it, or by an operator, whose word stands.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// A device that is wholly taken, in thousandths.
pub const DEVICE_MILLI: u16 = 1_000;

/// What an item needs while it is held. Nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Demand {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// Mebibytes of memory.
    pub memory_mib: u32,
    /// Thousandths of GPU devices: whole devices as multiples of 1,000, or a part of one below that.
    pub gpu_milli: u32,
    /// Mebibytes of disk that must be free at the claim. A floor: it is not reserved.
    pub disk_floor_mib: u32,
}

/// What a node offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// Mebibytes of memory.
    pub memory_mib: u32,
    /// Number of GPU devices, numbered from 0.
    pub gpu_devices: u16,
    /// Mebibytes of free disk when last reported.
    pub disk_free_mib: u32,
}

/// Who says what a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Teller {
    /// A person. What they say stands until they take it back.
    Operator,
    /// The node's own agent. It changes nothing while an operator's word stands.
    Agent,
}

/// What a node has, as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// What it has.
    pub capacity: Capacity,
    /// Who said so.
    pub by: Teller,
}

/// What an agent has to say of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Nothing: the ledger is right, or an operator's word stands.
    Nothing,
    /// This is what it has.
    Say(Capacity),
    /// Nothing is offered any more.
    TakeBack,
}

/// The least change of free disk that is said again: caches and logs move by this much all the time.
const DISK_STEP_MIN_MIB: u32 = 64;
/// Of what was said, the free disk must have changed by one part of so many.
const DISK_STEP_PART: u32 = 8;

impl Word {
    /// What an agent has to say that offers so much, or nothing, and finds so much in the ledger.
    #[must_use]
    pub fn on(offered: Option<&Capacity>, ledger: Option<&Stated>) -> Self {
        match (offered, ledger) {
            (_, Some(Stated { by: Teller::Operator, .. })) | (None, None) => Self::Nothing,
            (None, Some(_)) => Self::TakeBack,
            (Some(offered), Some(stated)) if stated.capacity.tells_of(offered) => Self::Nothing,
            (Some(offered), _) => Self::Say(offered.clone()),
        }
    }
}

impl Capacity {
    /// Whether this is still as good as what there is now. Free disk changes all the time, so it may
    /// differ by a step.
    fn tells_of(&self, now: &Self) -> bool {
        let Self { cpu_milli, memory_mib, gpu_devices, disk_free_mib } = self;
        let step = (disk_free_mib / DISK_STEP_PART).max(DISK_STEP_MIN_MIB);
        *cpu_milli == now.cpu_milli
            && *memory_mib == now.memory_mib
            && *gpu_devices == now.gpu_devices
            && disk_free_mib.abs_diff(now.disk_free_mib) < step
    }
}

/// What a claim reserves on its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// Mebibytes of memory.
    pub memory_mib: u32,
    /// Devices by number, each with the thousandths that are taken of it.
    pub gpus: Vec<(u16, u16)>,
}

/// The sum of the shares on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a processor.
    pub cpu_milli: u64,
    /// Mebibytes of memory.
    pub memory_mib: u64,
    /// Thousandths taken of each device that is in use.
    pub gpus: BTreeMap<u16, u16>,
}

impl Demand {
    /// Whether it asks for nothing, so that a node which never said what it has can serve it.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        let Self { cpu_milli, memory_mib, gpu_milli, disk_floor_mib } = self;
        *cpu_milli == 0 && *memory_mib == 0 && *gpu_milli == 0 && *disk_floor_mib == 0
    }

    /// Whether the GPU part is zero, a part of one device, or whole devices.
    #[must_use]
    pub const fn is_placeable(&self) -> bool {
        let device = DEVICE_MILLI as u32;
        self.gpu_milli < device || self.gpu_milli.is_multiple_of(device)
    }
}

impl Share {
    /// Thousandths of GPU devices, together.
    #[must_use]
    pub fn gpu_milli(&self) -> u64 {
        self.gpus.iter().map(|(_, milli)| u64::from(*milli)).sum()
    }

    /// Whether it reserves nothing.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.cpu_milli == 0 && self.memory_mib == 0 && self.gpus.is_empty()
    }
}

impl Reserved {
    /// Adds a share.
    pub fn add(&mut self, share: &Share) {
        let Share { cpu_milli, memory_mib, gpus } = share;
        self.cpu_milli += u64::from(*cpu_milli);
        self.memory_mib += u64::from(*memory_mib);
        for (device, milli) in gpus {
            *self.gpus.entry(*device).or_default() += milli;
        }
    }

    /// Takes a share back that was added.
    pub fn remove(&mut self, share: &Share) {
        let Share { cpu_milli, memory_mib, gpus } = share;
        self.cpu_milli = self.cpu_milli.saturating_sub(u64::from(*cpu_milli));
        self.memory_mib = self.memory_mib.saturating_sub(u64::from(*memory_mib));
        for (device, milli) in gpus {
            if let Some(taken) = self.gpus.get_mut(device) {
                *taken = taken.saturating_sub(*milli);
                if *taken == 0 {
                    self.gpus.remove(device);
                }
            }
        }
    }

    /// Whether nothing is reserved.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.cpu_milli == 0 && self.memory_mib == 0 && self.gpus.is_empty()
    }

    /// Whether this much fits a node.
    #[must_use]
    pub fn fits(&self, capacity: &Capacity) -> bool {
        let Capacity { cpu_milli, memory_mib, gpu_devices, disk_free_mib: _ } = capacity;
        self.cpu_milli <= u64::from(*cpu_milli)
            && self.memory_mib <= u64::from(*memory_mib)
            && self
                .gpus
                .iter()
                .all(|(device, milli)| device < gpu_devices && *milli <= DEVICE_MILLI)
    }

    /// The share that a demand gets on a node where this much is reserved; nothing when it does not
    /// fit.
    #[must_use]
    pub fn place(&self, demand: &Demand, capacity: &Capacity) -> Option<Share> {
        let Demand { cpu_milli, memory_mib, gpu_milli, disk_floor_mib } = *demand;
        let free = |have: u32, taken: u64| u64::from(have).saturating_sub(taken);
        if u64::from(cpu_milli) > free(capacity.cpu_milli, self.cpu_milli)
            || u64::from(memory_mib) > free(capacity.memory_mib, self.memory_mib)
            || disk_floor_mib > capacity.disk_free_mib
        {
            return None;
        }
        let gpus = self.place_gpus(gpu_milli, capacity.gpu_devices)?;
        Some(Share { cpu_milli, memory_mib, gpus })
    }

    fn place_gpus(&self, milli: u32, devices: u16) -> Option<Vec<(u16, u16)>> {
        let taken = |device: u16| self.gpus.get(&device).copied().unwrap_or_default();
        if milli == 0 {
            return Some(Vec::new());
        }
        if milli < u32::from(DEVICE_MILLI) {
            let part = u16::try_from(milli).ok()?;
            let fits = |device: &u16| taken(*device) + part <= DEVICE_MILLI;
            let tightest = (0..devices).filter(fits).max_by_key(|device| (taken(*device), !device));
            return tightest.map(|device| [(device, part)].into());
        }
        let wanted = usize::try_from(milli / u32::from(DEVICE_MILLI)).ok()?;
        let whole = (0..devices).filter(|device| taken(*device) == 0);
        let whole: Vec<_> = whole.map(|device| (device, DEVICE_MILLI)).take(wanted).collect();
        (whole.len() == wanted).then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(milli: u32) -> Demand {
        Demand { gpu_milli: milli, ..Demand::default() }
    }

    fn node(gpu_devices: u16) -> Capacity {
        Capacity { cpu_milli: 4_000, memory_mib: 1_024, gpu_devices, disk_free_mib: 100 }
    }

    #[test]
    fn fractions_share_a_device_and_leave_the_others_whole() {
        let (node, mut reserved) = (node(3), Reserved::default());
        for (milli, device) in [(500, 0), (600, 1), (400, 1), (500, 0), (10, 2)] {
            let share = reserved.place(&gpu(milli), &node).expect("room");
            assert_eq!(share.gpus, [(device, u16::try_from(milli).unwrap())], "{milli}");
            reserved.add(&share);
        }
        assert_eq!(reserved.place(&gpu(1_000), &node), None, "no device is whole any more");
        assert!(reserved.fits(&node));
    }

    #[test]
    fn whole_devices_are_the_lowest_free_ones() {
        let (node, mut reserved) = (node(4), Reserved::default());
        reserved.add(&Share { gpus: [(1, 10)].into(), ..Share::default() });
        let share = reserved.place(&gpu(2_000), &node).expect("room");
        assert_eq!(share.gpus, [(0, 1_000), (2, 1_000)]);
        reserved.add(&share);
        assert_eq!(reserved.place(&gpu(2_000), &node), None);
        reserved.remove(&share);
        assert_eq!(reserved.gpus, BTreeMap::from([(1, 10)]));
    }

    #[test]
    fn processors_memory_and_the_floor_of_the_disk_bound_a_placement() {
        let (node, mut reserved) = (node(0), Reserved::default());
        let half = Demand { cpu_milli: 2_000, memory_mib: 512, ..Demand::default() };
        for _ in 0..2 {
            let share = reserved.place(&half, &node).expect("room");
            reserved.add(&share);
        }
        let least = Demand { cpu_milli: 1, ..Demand::default() };
        assert_eq!(reserved.place(&least, &node), None);
        let floor = |disk_floor_mib| Demand { disk_floor_mib, ..Demand::default() };
        assert_eq!(reserved.place(&floor(100), &node), Some(Share::default()));
        assert_eq!(reserved.place(&floor(101), &node), None);
        assert_eq!(reserved.place(&gpu(1), &node), None, "it has no device");
    }

    #[test]
    fn an_agent_speaks_when_the_ledger_is_wrong_and_no_operator_has_spoken() {
        let has = node(1);
        let stated = |capacity: &Capacity, by| Stated { capacity: capacity.clone(), by };
        let by_agent = stated(&has, Teller::Agent);
        assert_eq!(Word::on(Some(&has), None), Word::Say(has.clone()));
        assert_eq!(Word::on(Some(&has), Some(&by_agent)), Word::Nothing);
        assert_eq!(Word::on(None, Some(&by_agent)), Word::TakeBack);
        assert_eq!(Word::on(None, None), Word::Nothing);
        for other in [
            Capacity { cpu_milli: 3_999, ..has.clone() },
            Capacity { memory_mib: 1_025, ..has.clone() },
            Capacity { gpu_devices: 0, ..has.clone() },
        ] {
            assert_eq!(Word::on(Some(&other), Some(&by_agent)), Word::Say(other.clone()));
            let by_operator = stated(&other, Teller::Operator);
            assert_eq!(Word::on(Some(&has), Some(&by_operator)), Word::Nothing);
            assert_eq!(Word::on(None, Some(&by_operator)), Word::Nothing);
        }
    }

    #[test]
    fn free_disk_is_said_again_when_it_moved_by_a_step() {
        let disk = |disk_free_mib| Capacity { disk_free_mib, ..Capacity::default() };
        let news = |said, now| {
            let stated = Stated { capacity: disk(said), by: Teller::Agent };
            Word::on(Some(&disk(now)), Some(&stated)) != Word::Nothing
        };
        assert!(!news(80_000, 80_000) && !news(80_000, 70_001) && !news(80_000, 89_999));
        assert!(news(80_000, 70_000) && news(80_000, 90_000));
        // An eighth of little is less than what moves all the time.
        assert!(!news(100, 37) && !news(0, 63));
        assert!(news(100, 36) && news(0, 64));
    }

    #[test]
    fn one_and_a_half_devices_cannot_be_placed() {
        assert!(gpu(500).is_placeable() && gpu(3_000).is_placeable() && gpu(0).is_placeable());
        assert!(!gpu(1_500).is_placeable());
    }
}
