//! The model's holders that do not know yet that their item has ended.

use super::tenants::Room;
use super::{Model, Standing};
use crate::id::Token;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) struct Stop {
    pub(in crate::machine) id: u64,
    pub(in crate::machine) until: u64,
    pub(super) node: String,
    pub(super) token: Token,
    pub(super) room: Room,
    pub(super) group: Option<(String, String)>,
}

impl Model {
    /// To be called before a held item ends without a word of its holder.
    pub(super) fn stop(&mut self, at: usize) {
        let row = &self.rows[at];
        if let Standing::Held { node, token, deadline, room, started: _ } = &row.standing
            && *deadline > self.now
        {
            self.stops.push(Stop {
                id: row.id,
                until: *deadline,
                node: node.clone(),
                token: *token,
                room: room.clone(),
                group: row.group().map(|(queue, group)| (queue.to_owned(), group.to_owned())),
            });
        }
    }

    pub(super) fn hear(&mut self, id: u64, token: Token) {
        self.stops.retain(|stop| (stop.id, stop.token) != (id, token));
    }

    /// Five seconds from here it has stopped.
    pub(super) fn tell_holder(&mut self, node: &str, id: u64, token: Token) {
        for stop in &mut self.stops {
            if (stop.id, stop.token, stop.node.as_str()) == (id, token, node) {
                stop.until = stop.until.min(self.now + 5_000);
            }
        }
    }
}
