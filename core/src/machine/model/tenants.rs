//! The model's queues and nodes.

use super::{Answer, Model, Standing};
use crate::event::Event;
use crate::id::QueueName;
use crate::queue::resources::{Capacity, Demand, Teller};
use crate::queue::tenant::QueueSettings;

/// A queue's settings, and its service in millionths of items up to a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    pub(super) settings: QueueSettings,
    served: u64,
    at: u64,
}

impl Lane {
    /// Half is gone after each 2 s, in between a straight line.
    fn service(&self, now: u64) -> u64 {
        let mut served = self.served;
        let mut elapsed = now - self.at;
        while elapsed >= 2_000 && served > 0 {
            served /= 2;
            elapsed -= 2_000;
        }
        if served == 0 {
            return 0;
        }
        served - (served / 2) * elapsed / 2_000
    }

    pub(super) fn serve(&mut self, now: u64) {
        self.served = self.service(now) + 1_000_000;
        self.at = now;
    }

    pub(super) fn level(&self, now: u64, held: u64) -> u64 {
        (self.service(now) + 1_000_000 * held) / u64::from(self.settings.weight)
    }
}

/// What a held item takes of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::machine) struct Room {
    cpu: u64,
    memory: u64,
    /// Device and thousandths.
    gpus: Vec<(u16, u64)>,
}

impl Model {
    pub(super) fn set_queue(&mut self, queue: &QueueName, settings: QueueSettings) -> Answer {
        if !(1..=1_000).contains(&settings.weight) {
            return Answer::Refused("Invalid");
        }
        let is_new = !self.lanes.contains_key(queue.as_str());
        let lane = self.lanes.entry(queue.to_string()).or_default();
        let changed = is_new || lane.settings != settings;
        lane.settings = settings;
        if changed {
            self.tell(Event::QueueSet { queue: queue.clone(), settings });
        }
        Answer::Done
    }

    pub(super) fn remove_queue(&mut self, name: &QueueName) -> Answer {
        let queue = name.as_str();
        if !self.lanes.contains_key(queue) {
            return Answer::Refused("UnknownQueue");
        }
        if self.rows.iter().any(|row| row.unfinished() && row.request.queue.as_str() == queue) {
            return Answer::Refused("QueueInUse");
        }
        if self.runs.iter().any(|run| run.outcome.is_none() && run.queue == queue) {
            return Answer::Refused("QueueInUse");
        }
        self.lanes.remove(queue);
        self.tell(Event::QueueRemoved { queue: name.clone() });
        Answer::Done
    }

    pub(super) fn queued(&self, queue: &str) -> u64 {
        let of = |row: &&super::Row| row.request.queue.as_str() == queue;
        self.rows.iter().filter(of).filter(|row| row.unfinished() && !row.is_held()).count() as u64
    }

    pub(super) fn held_in(&self, queue: &str) -> u64 {
        let of = |row: &&super::Row| row.request.queue.as_str() == queue;
        self.rows.iter().filter(of).filter(|row| row.is_held()).count() as u64
    }

    /// Whether the queue's own limits let one more be held.
    pub(super) fn has_room(&self, queue: &str, lane: &Lane, demand: &Demand) -> bool {
        let of = |row: &&super::Row| row.request.queue.as_str() == queue;
        let rooms = self.rows.iter().filter(of).filter_map(|row| match &row.standing {
            Standing::Held { room, .. } => Some(room),
            _ => None,
        });
        let rooms: Vec<_> = rooms.collect();
        let gpus: u64 = rooms.iter().flat_map(|room| &room.gpus).map(|(_, milli)| milli).sum();
        let QueueSettings { weight: _, max_running, max_queued: _, max_gpu_milli } = lane.settings;
        max_running.is_none_or(|most| rooms.len() < most as usize)
            && (demand.gpu_milli == 0
                || max_gpu_milli
                    .is_none_or(|most| gpus + u64::from(demand.gpu_milli) <= most.into()))
    }

    fn rooms_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Room> {
        let held = self.rows.iter().filter_map(move |row| match &row.standing {
            Standing::Held { node: on, room, .. } if on == node => Some(room),
            _ => None,
        });
        let stops = self.stops.iter().filter(move |stop| stop.node == node);
        held.chain(stops.map(|stop| &stop.room))
    }

    /// Thousandths that are taken of one device.
    fn taken(&self, node: &str, device: u16) -> u64 {
        let gpus = self.rooms_of(node).flat_map(|room| &room.gpus);
        gpus.filter(|(other, _)| *other == device).map(|(_, milli)| milli).sum()
    }

    /// What a demand gets on a node.
    pub(super) fn room_on(&self, node: &str, demand: &Demand) -> Option<Room> {
        let Some((capacity, _)) = self.nodes.get(node) else {
            return (*demand == Demand::default()).then(Room::default);
        };
        let (cpu, memory) = (u64::from(demand.cpu_milli), u64::from(demand.memory_mib));
        let cpu_taken: u64 = self.rooms_of(node).map(|room| room.cpu).sum();
        let memory_taken: u64 = self.rooms_of(node).map(|room| room.memory).sum();
        if cpu_taken + cpu > capacity.cpu_milli.into()
            || memory_taken + memory > capacity.memory_mib.into()
            || demand.disk_floor_mib > capacity.disk_free_mib
        {
            return None;
        }
        let milli = u64::from(demand.gpu_milli);
        let devices = 0..capacity.gpu_devices;
        let gpus = if milli == 0 {
            vec![]
        } else if milli < 1_000 {
            let fits = devices.filter(|device| self.taken(node, *device) + milli <= 1_000);
            // The fullest; of equal ones the lowest.
            let mut fits: Vec<u16> = fits.collect();
            fits.sort_by_key(|device| (1_000 - self.taken(node, *device), *device));
            vec![(*fits.first()?, milli)]
        } else {
            let free = devices.filter(|device| self.taken(node, *device) == 0);
            let free: Vec<_> = free.take(demand.gpu_milli as usize / 1_000).collect();
            if free.len() * 1_000 < demand.gpu_milli as usize {
                return None;
            }
            free.into_iter().map(|device| (device, 1_000)).collect()
        };
        Some(Room { cpu, memory, gpus })
    }

    fn fits(&self, node: &str, capacity: &Capacity) -> bool {
        let cpu: u64 = self.rooms_of(node).map(|room| room.cpu).sum();
        let memory: u64 = self.rooms_of(node).map(|room| room.memory).sum();
        let beyond = |(device, _): &(u16, u64)| *device >= capacity.gpu_devices;
        cpu <= capacity.cpu_milli.into()
            && memory <= capacity.memory_mib.into()
            && !self.rooms_of(node).flat_map(|room| &room.gpus).any(beyond)
    }

    pub(super) fn set_capacity(
        &mut self,
        node: &str,
        capacity: Option<&Capacity>,
        by: Teller,
    ) -> Answer {
        if by == Teller::Agent && matches!(self.nodes.get(node), Some((_, Teller::Operator))) {
            return Answer::Done;
        }
        if capacity.is_some_and(|capacity| capacity.gpu_devices > 64) {
            return Answer::Refused("Invalid");
        }
        match capacity {
            Some(capacity) => self.nodes.insert(node.to_owned(), (capacity.clone(), by)),
            None => self.nodes.remove(node),
        };
        if !capacity.is_some_and(|capacity| self.fits(node, capacity)) {
            self.stops.retain(|stop| stop.node != node || stop.room == Room::default());
        }
        for at in self.newest_of(node) {
            if capacity.is_some_and(|capacity| self.fits(node, capacity)) {
                break;
            }
            if matches!(&self.rows[at].standing, Standing::Held { room, .. } if *room != Room::default())
            {
                self.lose_lease(at);
            }
        }
        Answer::Done
    }

    pub(super) fn expire_node(&mut self, node: &str) -> u32 {
        self.stops.retain(|stop| stop.node != node);
        let held = self.newest_of(node);
        let count = held.len();
        held.into_iter().for_each(|at| self.lose_lease(at));
        u32::try_from(count).expect("few")
    }

    fn newest_of(&self, node: &str) -> Vec<usize> {
        let held = self.rows.iter().enumerate().filter_map(|(at, row)| match &row.standing {
            Standing::Held { node: on, token, .. } if on == node => Some((*token, at)),
            _ => None,
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by(|one, other| other.cmp(one));
        held.into_iter().map(|(_, at)| at).collect()
    }
}
