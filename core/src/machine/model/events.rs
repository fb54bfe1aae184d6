//! The model's events: told where the model itself sees something happen.

use super::{Model, Standing};
use crate::event::Event;
use crate::id::WorkId;
use crate::queue::item::{Cause, Status};

impl Model {
    pub(super) fn tell(&mut self, event: Event) {
        self.events.push((self.now, event));
    }

    /// Tells of an end to whoever asked for it. Ends that come with the end of a run, of a match-up
    /// or of an array are none of these: planners and arrays do not ask.
    pub(super) fn tell_end(&mut self, at: usize, status: Status) {
        let row = &self.rows[at];
        if row.request.notify {
            let (work_id, work_type) = (WorkId(row.id), row.request.work_type.clone());
            self.tell(Event::ItemEnded { work_id, work_type, status });
        }
    }

    pub(super) fn die(&mut self, at: usize, cause: Cause) {
        let row = &mut self.rows[at];
        row.standing = Standing::Dead;
        let (work_id, work_type) = (WorkId(row.id), row.request.work_type.clone());
        let attempts = row.attempts;
        self.tell(Event::ItemDied { work_id, work_type, cause, attempts });
        self.tell_end(at, Status::Dead);
        self.lose(at);
    }
}
